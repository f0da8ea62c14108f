// Whether what the page shows is still true, by the page's own clock. Numbers in, words out.
//
// The service sends a picture each second. None for LATE_MS: the page is stale, whatever the connection looks like.
// A picture that was long on its way is old, too: its way is measured against the shortest way that any had, so
// that the two machines' clocks need not agree.

import { clock, seconds } from "./words.js";

export const LATE_MS = 4_000;

// heardMs: when the newest picture came; atMs: its own time, on the service's clock; both null before the first.
export class Hearing {
  heardMs = null;
  atMs = null;
  #leastLagMs = Infinity;

  // The picture that is known already, sent once more, is no news.
  hear(nowMs, atMs) {
    if (atMs === this.atMs) return;
    this.heardMs = nowMs;
    this.atMs = atMs;
    this.#leastLagMs = Math.min(this.#leastLagMs, nowMs - atMs);
  }

  // A new connection may have another way, and the clocks may have been set meanwhile.
  forgetWay() {
    this.#leastLagMs = Infinity;
  }

  get delayMs() {
    return this.heardMs === null ? 0 : this.heardMs - this.atMs - this.#leastLagMs;
  }
}

// isConnected: the event stream is open; why: what is known about it when it is not.
export function judge(hearing, nowMs, isConnected, why) {
  if (hearing.heardMs === null) {
    return { news: "none", words: isConnected ? "Connected; no picture yet." : why || "Connecting." };
  }
  const silentMs = nowMs - hearing.heardMs;
  const shown = `What you see is of ${clock(hearing.atMs)} UTC.`;
  if (!isConnected) {
    return { news: "old", words: `Cut off for ${seconds(Math.floor(silentMs / 1000))}. ${why} ${shown}` };
  }
  if (silentMs > LATE_MS || silentMs < -LATE_MS) {
    const span = seconds(Math.floor(Math.abs(silentMs) / 1000));
    return { news: "old", words: `No news for ${span}: this page is stale. ${shown}` };
  }
  if (hearing.delayMs > LATE_MS) {
    const span = seconds(Math.floor(hearing.delayMs / 1000));
    return { news: "old", words: `News come ${span} late: the way to the service is slow. ${shown}` };
  }
  return { news: "live", words: `Live, as of ${clock(hearing.atMs)} UTC` };
}
