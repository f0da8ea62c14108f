// The connection to the service: one event stream, opened again by itself with growing, jittered pauses.
//
// A connection that brings nothing for a while is given up, too: after a laptop's sleep or a network's change it may
// stand for ever. A page that nobody sees lets go of its connection after a while: browsers open few to one place, and the service
// makes pictures only for those who look.

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const UNSEEN_MS = 15_000;
const PROBE_MS = 3_000;
const SILENT_MS = 20_000;

export class Link {
  isConnected = false;
  isPaused = false;
  why = "";
  #source = null;
  #pauseMs = FIRST_PAUSE_MS;
  #timer = 0;
  #unseen = 0;
  #silent = 0;
  #heard;

  // heard(name, body) is called with each event, and with "opened" when a connection begins.
  constructor(heard) {
    this.#heard = heard;
  }

  open() {
    this.#close(this.why);
    this.#awaitNews();
    this.#source = new EventSource("page/live");
    this.#source.addEventListener("open", () => {
      this.isConnected = true;
      this.why = "";
      this.#heard("opened", null);
    });
    for (const name of ["full", "news"]) this.#source.addEventListener(name, (event) => this.#take(name, event));
    this.#source.addEventListener("end", () => this.#lose("The service is stopping."));
    this.#source.addEventListener("error", () => {
      this.#lose("Trying again.");
      this.#ask();
    });
  }

  // Call when the page comes into sight or goes out of it.
  follow(isSeen) {
    clearTimeout(this.#unseen);
    if (!isSeen) {
      this.#unseen = setTimeout(() => this.#pause(), UNSEEN_MS);
    } else if (this.isPaused) {
      this.isPaused = false;
      this.open();
    }
  }

  // Call when the network is there again.
  hurry() {
    this.#pauseMs = FIRST_PAUSE_MS;
    if (!this.isPaused && !this.isConnected) this.open();
  }

  #take(name, event) {
    this.#pauseMs = FIRST_PAUSE_MS;
    this.#awaitNews();
    this.#heard(name, JSON.parse(event.data));
  }

  #awaitNews() {
    clearTimeout(this.#silent);
    this.#silent = setTimeout(() => this.#lose("Nothing came any more. Trying again."), SILENT_MS);
  }

  #pause() {
    this.isPaused = true;
    this.#close("Paused while nobody looked.");
  }

  #lose(why) {
    this.#close(why);
    const pauseMs = this.#pauseMs * (0.5 + Math.random() / 2);
    this.#pauseMs = Math.min(LONGEST_PAUSE_MS, this.#pauseMs * 2);
    this.#timer = setTimeout(() => this.open(), pauseMs);
  }

  #close(why) {
    for (const timer of [this.#timer, this.#silent]) clearTimeout(timer);
    this.#source?.close();
    this.isConnected = false;
    this.why = why;
  }

  // An event stream does not say why it was refused.
  async #ask() {
    try {
      await fetch("livez", { cache: "no-store", signal: AbortSignal.timeout(PROBE_MS) });
      if (!this.isConnected) {
        this.why = "The service answers, but not to this page: too many pages are open, or the password is another.";
      }
    } catch {
      if (!this.isConnected) this.why = "The service does not answer. Trying again.";
    }
  }
}
