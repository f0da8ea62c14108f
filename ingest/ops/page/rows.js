// What the tables and tiles say of a picture: values in, rows of text out. Never touches the document.

import * as words from "./words.js";

export const SHARD_COLUMNS = [
  "shard", "state", "#up for", "#restarts", "#loop lag", "#streams", "#rows waiting", "#oldest waits", "#commit p50, p99",
  "#books live",
];
export const FEED_COLUMNS = [
  "feed", "shard", "state", "#up for", "#messages", "#streams", "#newest data", "#reconnects", "reasons",
];
export const STREAM_COLUMNS = ["stream", "state", "#age", "#limit", "diagnosis", "shard, feed", "#gaps"];
export const GAP_COLUMNS = ["stream", "cause", "#ids missing", "#open for"];
export const INCIDENT_COLUMNS = ["where", "what", "since", "#lasted", "what was seen", "what was done"];

const MOST_ENDED = 10;
const PLANNED_ENDS = new Set(["rotation", "server_shutdown"]);

function marked(text, level) {
  return { text, level };
}

export function tiles(model) {
  const { whole } = model;
  const sample = model.newestSample();
  const streams = model.streams.length;
  const waiting = sum(whole.shards, "waiting_rows") + sum(whole.shards, "spooled_rows");
  const open = whole.incidents.filter((incident) => incident.ended_ms === null).length;
  return [
    ["streams fresh", `${words.count(streams - whole.not_fresh)} of ${words.count(streams)}`, whole.not_fresh ? "warn" : ""],
    ["oldest row", words.seconds(whole.oldest_age_s), ""],
    ["messages", words.perSecond(sample.messagesPerS), ""],
    ["rows committed", words.perSecond(sample.rowsPerS), sample.rowsPerS === 0 ? "warn" : ""],
    ["to commit, p99", words.milliseconds(sample.commitP99Ms), ""],
    ["rows waiting", words.count(waiting), sample.waitingS > 10 ? "warn" : ""],
    ["open gaps", words.count(whole.gaps.open), ""],
    ["open incidents", words.count(open), open ? "warn" : ""],
  ];
}

function sum(list, key) {
  return list.reduce((total, each) => total + (each[key] ?? 0), 0);
}

export function states(whole) {
  const order = ["live", "suspect", "quiet", "stale", "recovering", "starting", "halted"];
  const said = order.filter((name) => whole.states[name]).map((name) => `${words.count(whole.states[name])} ${name}`);
  return said.join(", ");
}

export function shards(whole) {
  return whole.shards.map((shard) => [
    `shard ${shard.shard}`,
    marked(shardState(shard), shard.doubt || shard.quarantined ? "bad" : "good"),
    words.since(shard.started_ms, whole.at_ms),
    marked(words.count(shard.restarts), shard.restarts ? "warn" : ""),
    lag(shard),
    words.count(shard.streams),
    waiting(shard),
    words.seconds(shard.waiting_s),
    shard.database_up ? `${words.milliseconds(shard.p50_ms)}, ${words.milliseconds(shard.p99_ms)}` : "–",
    "books_live" in shard ? `${words.count(shard.books_live)} of ${words.count(shard.books_wanted)}` : "–",
  ]);
}

function shardState(shard) {
  const doubt = shard.doubt || "up";
  return shard.quarantined ? `quarantined: ${doubt}; the others carry its streams` : doubt;
}

function lag(shard) {
  if (!("lag_ms" in shard)) return "–";
  const worst = Math.max(shard.lag_ms, shard.lag_max_ms);
  return marked(words.milliseconds(worst), worst > 1000 ? "warn" : "");
}

function waiting(shard) {
  if (!("waiting_rows" in shard)) return "–";
  const onDisk = shard.spooled_rows ? ` and ${words.count(shard.spooled_rows)} on disk` : "";
  const isFull = shard.spool_full ? ", which is full" : "";
  return marked(`${words.count(shard.waiting_rows)}${onDisk}${isFull}`, shard.spool_full ? "bad" : "");
}

export function feeds(whole) {
  return whole.feeds.map((feed) => [
    `feed ${feed.feed}`,
    String(feed.shard),
    marked(feed.sessions > 1 ? `${feed.state}, handing over` : feed.state, feed.state === "live" ? "good" : "warn"),
    words.since(feed.connected_ms, whole.at_ms),
    words.count(feed.messages),
    feed.silent ? `${words.count(feed.streams)}, ${words.count(feed.silent)} silent` : words.count(feed.streams),
    words.isKnown(feed.data_s) ? `${words.seconds(feed.data_s)} ago` : "–",
    marked(words.count(feed.reconnects), isUnplanned(feed.ends) ? "warn" : ""),
    words.ends(feed.ends) + (feed.close_code ? ` (last close code ${feed.close_code})` : ""),
  ]);
}

// Whether connections ended otherwise than they should.
function isUnplanned(ends) {
  return Object.keys(ends).some((kind) => !PLANNED_ENDS.has(kind));
}

// Of streams, by their places in the model.
export function streams(model, places) {
  return places.map((place) => {
    const detail = model.details[place];
    const { market, symbol, kind } = model.streams[place];
    const diagnosis = detail.diagnosis ? words.diagnosis(detail.diagnosis) : "";
    return [
      `${market} ${symbol} ${kind}`,
      marked(detail.state, detail.isNotFresh ? "bad" : ""),
      words.age(model.agesDs[place]),
      words.seconds(detail.limitS),
      diagnosis,
      words.isKnown(detail.feed) ? `${detail.shard}, ${detail.feed}` : String(detail.shard),
      detail.openGaps ? words.count(detail.openGaps) : "",
    ];
  });
}

export function gapsSummary({ gaps, shards: all }) {
  const closed = words.several(sum(all, "repairs_closed"), "gap");
  const failures = sum(all, "repair_failures");
  const failed = failures ? `, ${words.several(failures, "attempt")} failed` : "";
  const rows = words.several(sum(all, "repaired_rows"), "row");
  const progress = `Repairs since the shards' start: ${closed} closed with ${rows}${failed}.`;
  if (!gaps.open) return `No gap is open. ${progress}`;
  const waits = words.count(sum(all, "repairs_waiting"));
  const where = words.several(gaps.streams, "stream");
  const cut = gaps.open > gaps.oldest.length ? ` Below are the ${gaps.oldest.length} that have waited longest.` : "";
  return `${words.count(gaps.open)} open in ${where}, ${waits} of them waiting for REST. ${progress}${cut}`;
}

export function gaps({ gaps: { oldest } }) {
  return oldest.map((gap) => [
    gap.stream.replaceAll(":", " "),
    gap.cause.replaceAll("_", " "),
    words.count(gap.missing),
    words.seconds(Math.floor(gap.age_s)),
  ]);
}

export function incidentsSummary({ incidents }) {
  const open = incidents.filter((incident) => incident.ended_ms === null).length;
  const over = incidents.length - open;
  const newest = over > MOST_ENDED ? `the newest ${MOST_ENDED} of those over` : `${words.count(over)} over`;
  return incidents.length ? `${words.count(open)} open, ${newest}.` : "None since the service started.";
}

export function incidents({ incidents: all, at_ms: nowMs }) {
  const open = all.filter((incident) => incident.ended_ms === null);
  const over = all.filter((incident) => incident.ended_ms !== null).slice(0, MOST_ENDED);
  return [...open, ...over].map((incident) => [
    incident.place.replaceAll(":", " "),
    marked(what(incident), incident.ended_ms === null ? "bad" : ""),
    words.moment(incident.opened_ms, nowMs),
    (incident.ended_ms === null ? "open, " : "") + words.since(incident.opened_ms, incident.ended_ms ?? nowMs),
    incident.evidence,
    incident.story.map((step) => step.replace(/^step /, "").replaceAll("_", " ")).join(", then "),
  ]);
}

function what({ diagnosis }) {
  return diagnosis ? words.diagnosis(diagnosis) : "not diagnosed";
}

export function budgets({ budgets: all }) {
  return all.map(([name, used, limit]) => ({ name: words.budget(name), used, limit }));
}

export function around({ exchange, disk, alerts }) {
  const known = [
    ["exchange's REST", answers(exchange)],
    ["clock, against the exchange's", words.isKnown(exchange.clock_offset_s) ? words.milliseconds(
      Math.round(exchange.clock_offset_s * 1000)) : "–"],
    ["last sweep of trade ids", words.isKnown(exchange.sweep_s) ? `${words.seconds(exchange.sweep_s)} ago` : "–"],
    ["freshness table written", words.isKnown(exchange.table_s) ? `${words.seconds(exchange.table_s)} ago` : "–"],
    ...Object.entries(disk.free_bytes ?? {}).map(([name, free]) => [`disk of the ${name}`, `${words.bytes(free)} free`]),
    ["alerts that stand", words.count(alerts.standing)],
  ];
  if (words.isKnown(disk.full_in_s)) known.push(["disk full, as it grows now, in", words.seconds(disk.full_in_s)]);
  return known;
}

function answers(exchange) {
  if (exchange.banned_s) return `refused to us for ${words.seconds(exchange.banned_s)}`;
  if (!words.isKnown(exchange.answers)) return "not asked yet";
  return exchange.answers ? "answers" : "does not answer";
}
