// How numbers, times and the service's own words are said to people. Values in, text out.

const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const FINE = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const NOTHING = "–";

const DIAGNOSES = {
  stream_silent: "this stream is silent, while others on its connection speak",
  feed_silent: "the whole connection brings no data, though pings come",
  half_open: "nothing at all comes on the connection: it is half open",
  consumer_lag: "we do not keep up: bytes wait in our own queue",
  shard_wedged: "its shard does not run, or its loop stands still",
  database_stalled: "rows have come that the database does not take",
  exchange_down: "the exchange itself does not answer",
};

const STATES = {
  live: "live",
  suspect: "silent past its limit; the exchange is being asked whether that is right",
  quiet: "quiet: silent, and proven right to be",
  stale: "stale",
  recovering: "its connection is coming back",
  starting: "starting: no message yet",
  halted: "halted: the exchange does not trade it",
};

const ENDS = {
  stream_silent: "a stream was silent",
  feed_silent: "silent",
  half_open: "half open",
  consumer_lag: "we lagged",
  link_silent: "no pings",
  closed_by_exchange: "closed by the exchange",
  connection_lost: "lost",
  protocol_error: "protocol error",
  subscription: "subscription refused",
  handshake: "could not connect",
  rotation: "planned rotation",
  server_shutdown: "exchange's shutdown",
  other: "other",
};

const BUDGETS = {
  connects: "connections in 5 minutes",
  weight: "request weight in a minute",
  requests: "requests in 5 minutes",
};

export function isKnown(value) {
  return value !== null && value !== undefined;
}

export function count(value) {
  return isKnown(value) ? COUNT.format(value) : NOTHING;
}

export function several(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

export function perSecond(value) {
  return isKnown(value) ? `${COUNT.format(value)}/s` : NOTHING;
}

export function milliseconds(value) {
  if (!isKnown(value)) return NOTHING;
  return value < 10_000 ? `${(value < 10 ? FINE : COUNT).format(value)} ms` : seconds(value / 1000);
}

// The two greatest units, as in "3 h 5 min" or "15 min"; tenths below a minute.
export function seconds(value) {
  if (!isKnown(value)) return NOTHING;
  if (value < 60) return `${FINE.format(value)} s`;
  const whole = Math.floor(value);
  if (whole < 3600) return both(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86_400) return both(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
  return both(Math.floor(whole / 86_400), "d", Math.floor((whole % 86_400) / 3600), "h");
}

function both(great, greatUnit, small, smallUnit) {
  return small ? `${great} ${greatUnit} ${small} ${smallUnit}` : `${great} ${greatUnit}`;
}

export function since(atMs, nowMs) {
  return isKnown(atMs) ? seconds(Math.max(0, Math.round((nowMs - atMs) / 1000))) : NOTHING;
}

export function bytes(value) {
  if (!isKnown(value)) return NOTHING;
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, value)) / 3));
  return `${FINE.format(value / 1000 ** step)} ${units[step]}`;
}

// In UTC, as the logs and the tables have it, wherever the reader is.
export function clock(atMs) {
  return new Date(atMs).toISOString().slice(11, 19);
}

// With the day, where that is another than now.
export function moment(atMs, nowMs) {
  const day = (ms) => new Date(ms).toISOString().slice(0, 10);
  return day(atMs) === day(nowMs) ? clock(atMs) : `${day(atMs)} ${clock(atMs)}`;
}

// With its name, which logs, tables and alerts use.
export function diagnosis(name) {
  const said = DIAGNOSES[name];
  return said ? `${name}: ${said}` : name.replaceAll("_", " ");
}

export function state(name) {
  return STATES[name] ?? name;
}

export function budget(name) {
  return BUDGETS[name] ?? name;
}

// Why connections ended, the most frequent reason first.
export function ends(counts) {
  const byCount = Object.entries(counts).sort((one, other) => other[1] - one[1]);
  return byCount.map(([name, times]) => `${ENDS[name] ?? name} ${count(times)}×`).join(", ");
}

export function age(ageDs) {
  return ageDs < 0 ? "no row yet" : seconds(ageDs / 10);
}

// Everything that is known of one stream, in sentences.
export function stream(detail, ageDs, nowMs) {
  const said = [`State: ${state(detail.state)}.`];
  const old = ageDs < 0 ? "No row yet" : `Newest row ${age(ageDs)} old`;
  said.push(`${old}, limit ${seconds(detail.limitS)}.`);
  if (detail.diagnosis) said.push(`Diagnosis ${diagnosis(detail.diagnosis)}.`);
  if (isKnown(detail.provenMs) && detail.state === "quiet") {
    said.push(`Proven right ${since(detail.provenMs, nowMs)} ago.`);
  }
  if (detail.tradesBehind) said.push(`${count(detail.tradesBehind)} trades behind the exchange.`);
  if (detail.openGaps) said.push(`Open gaps: ${count(detail.openGaps)}.`);
  const feed = isKnown(detail.feed) ? `, feed ${detail.feed}` : "";
  const broken = detail.reconnects ? `; its connection ended ${count(detail.reconnects)}×` : "";
  said.push(`Shard ${detail.shard}${feed}${broken}.`);
  return said;
}
