// What the page knows: the newest whole picture with all news applied to it, and the samples of the last hour.
// Never touches the document.

const DETAIL = [
  "state", "diagnosis", "isNotFresh", "limitS", "shard", "feed", "openGaps", "reconnects", "tradesBehind", "provenMs",
];
const SAMPLE = ["atMs", "messagesPerS", "rowsPerS", "commitP50Ms", "commitP99Ms", "loopLagMs", "waitingS"];

function named(names, values) {
  return Object.fromEntries(names.map((name, place) => [name, values[place]]));
}

function splitName(text) {
  const [first, last] = [text.indexOf(":"), text.lastIndexOf(":")];
  const [market, symbol, kind] = [text.slice(0, first), text.slice(first + 1, last), text.slice(last + 1)];
  return { text, market, symbol, kind };
}

export class Model {
  version = "";
  streams = []; // {text, market, symbol, kind}, as long as details and agesDs
  details = [];
  agesDs = [];
  samples = [];
  whole = null; // all of the picture that has no column of its own
  layouts = 0; // goes up whenever the streams are others
  sampled = 0; // goes up with each sample
  sampleEveryMs = 0;
  #mostSamples = 0;

  takeFull(body) {
    const { names, details, version, most_samples: most, sample_every_s: everyS, ...rest } = body;
    this.version = version;
    this.#mostSamples = most;
    this.sampleEveryMs = everyS * 1000;
    this.streams = names.map(splitName);
    this.details = details.map((values) => named(DETAIL, values));
    this.samples = [];
    this.layouts += 1;
    this.#takeCommon(rest);
  }

  takeNews(body) {
    const { changed, ...rest } = body;
    for (const [place, values] of changed) this.details[place] = named(DETAIL, values);
    this.#takeCommon(rest);
  }

  #takeCommon({ ages_ds: agesDs, samples, ...whole }) {
    this.agesDs = agesDs;
    this.whole = whole;
    this.samples.push(...samples.map((values) => named(SAMPLE, values)));
    this.samples.splice(0, this.samples.length - this.#mostSamples);
    if (samples.length) this.sampled += 1;
  }

  newestSample() {
    return this.samples.at(-1) ?? named(SAMPLE, []);
  }

  // Places of the streams that are not fresh, the oldest first.
  notFresh() {
    const places = [...this.details.keys()].filter((place) => this.details[place].isNotFresh);
    return places.sort((one, other) => this.agesDs[other] - this.agesDs[one]);
  }

  // Places of the streams whose words hold all the given ones, by name; those that are not fresh come first.
  matching(text) {
    const wanted = text.toLowerCase().split(/[\s,]+/).filter(Boolean);
    const places = [...this.streams.keys()].filter((place) => {
      const { state, diagnosis } = this.details[place];
      const words = `${this.streams[place].text} ${state} ${diagnosis}`.toLowerCase();
      return wanted.every((word) => words.includes(word));
    });
    const rank = (place) => (this.details[place].isNotFresh ? 0 : 1);
    const { streams } = this;
    const byName = (one, other) => (streams[one].text < streams[other].text ? -1 : 1);
    return places.sort((one, other) => rank(one) - rank(other) || byName(one, other));
  }
}
