// The status page: takes pictures from the link into the model and has them shown, at most once for each frame.

import { Chart } from "./charts.js";
import { HeatMap, SHADES } from "./heat.js";
import { Link } from "./link.js";
import { Model } from "./model.js";
import * as rows from "./rows.js";
import { Hearing, judge } from "./staleness.js";
import { Table } from "./tables.js";
import * as words from "./words.js";

const LOOK_EVERY_MS = 500;
const MOST_NOT_FRESH = 20;
const AT_ONCE = 200; // streams; thousands of rows take the browser longer than a frame to lay out
const ALL_EVERY_MS = 5_000;
const MOST_REASONS = 5;
// For whoever hears the page: said once, not with each second that passes.
const TOLD = { none: "", old: "This page is stale: what it shows is not of now." };

const byId = (id) => document.getElementById(id);
const model = new Model();
const hearing = new Hearing();
const heat = new HeatMap(byId("heat"), byId("tip"), byId("cell"));
const tables = {
  notFresh: new Table(byId("not-fresh"), rows.STREAM_COLUMNS),
  all: new Table(byId("all"), rows.STREAM_COLUMNS),
  shards: new Table(byId("shards"), rows.SHARD_COLUMNS),
  feeds: new Table(byId("feeds"), rows.FEED_COLUMNS),
  gaps: new Table(byId("gaps"), rows.GAP_COLUMNS),
  incidents: new Table(byId("incidents"), rows.INCIDENT_COLUMNS),
};
const charts = [
  [[["messagesPerS", "received"], ["rowsPerS", "rows committed"]], "Messages and rows a second", words.perSecond],
  [[["commitP50Ms", "median"], ["commitP99Ms", "99th percentile"]], "From arrival to commit", words.milliseconds],
  [[["waitingS", "oldest row"]], "Longest wait for the database", words.seconds],
  [[["loopLagMs", "worst shard"]], "Lag of the shards' loops", words.milliseconds],
].map(([lines, title, say]) => new Chart(byId("charts"), title, lines.map(([key, name]) => ({ key, name })), say));

let isShowing = false; // a frame is asked for
let sampled = -1;
let shownAllMs = 0;
let firstShown = 0; // of the streams that match

const link = new Link((name, body) => {
  if (name === "opened") hearing.forgetWay();
  else take(name, body);
  look();
});

function take(name, body) {
  if (name === "full" && model.version && model.version !== body.version) return location.reload();
  if (name === "full") model.takeFull(body);
  else model.takeNews(body);
  hearing.hear(Date.now(), body.at_ms);
  if (!isShowing) requestAnimationFrame(show);
  isShowing = true;
}

// Says whether what is shown is of now, whatever comes or does not come.
function look() {
  const { news, words: said } = judge(hearing, Date.now(), link.isConnected, link.why);
  document.documentElement.dataset.news = news;
  setText(byId("news"), said);
  setText(byId("told"), news === "live" ? model.whole.line : TOLD[news]);
  document.title = model.whole ? `${titlePrefix(news)}${titleOf(model)} · ingest` : "ingest";
}

function titlePrefix(news) {
  if (news !== "old") return "";
  return link.isPaused ? "paused: " : "stale page: ";
}

function titleOf({ whole, streams }) {
  if (whole.level === "good") return `${words.count(streams.length)} fresh`;
  return whole.level === "warn" ? `${words.count(whole.not_fresh)} not fresh` : whole.line.split(/[,:]/)[0];
}

function show() {
  isShowing = false;
  const { whole } = model;
  document.documentElement.dataset.level = whole.level;
  setText(byId("line"), whole.line);
  showList(byId("reasons"), reasons(whole));
  showTiles();
  setText(byId("streams-summary"), rows.states(whole));
  heat.show(model);
  showNotFresh();
  showAll(false);
  if (model.sampled !== sampled) charts.forEach((chart) => chart.show(model.samples, model.sampleEveryMs));
  sampled = model.sampled;
  tables.shards.show(rows.shards(whole));
  tables.feeds.show(rows.feeds(whole));
  setText(byId("gaps-summary"), rows.gapsSummary(whole));
  tables.gaps.show(rows.gaps(whole));
  setText(byId("incidents-summary"), rows.incidentsSummary(whole));
  tables.incidents.show(rows.incidents(whole));
  showBudgets(rows.budgets(whole));
  showPairs(byId("around"), rows.around(whole));
}

function reasons(whole) {
  const first = whole.reasons.slice(0, MOST_REASONS);
  const more = whole.reasons.length - first.length + whole.reasons_left_out;
  return more ? [...first, `and ${words.count(more)} more`] : first;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Keeps as many elements as there are texts, and changes only those that say something else.
function showList(list, texts) {
  resize(list, texts.length, () => document.createElement("li"));
  texts.forEach((text, place) => setText(list.children[place], text));
}

function resize(parent, length, make) {
  while (parent.children.length > length) parent.lastElementChild.remove();
  while (parent.children.length < length) parent.append(make());
}

function showPairs(list, pairs) {
  resize(list, pairs.length, () => {
    const pair = document.createElement("div");
    pair.append(document.createElement("dt"), document.createElement("dd"));
    return pair;
  });
  pairs.forEach(([name, text, level = ""], place) => {
    const [term, value] = list.children[place].children;
    setText(term, name);
    setText(value, text);
    value.dataset.level = level;
  });
}

function showTiles() {
  showPairs(byId("tiles"), rows.tiles(model));
}

function showNotFresh() {
  const places = model.notFresh();
  byId("not-fresh-part").hidden = !places.length;
  const isCut = places.length > MOST_NOT_FRESH;
  setText(byId("not-fresh-title"), isCut ? `Not fresh: the oldest ${MOST_NOT_FRESH} of ${words.count(places.length)}` : "Not fresh");
  tables.notFresh.show(rows.streams(model, places.slice(0, MOST_NOT_FRESH)));
}

// The long table: only while it is open, and seldom, because nobody reads that fast.
function showAll(isAsked) {
  if (!byId("all-streams").open || (!isAsked && Date.now() - shownAllMs < ALL_EVERY_MS)) return;
  shownAllMs = Date.now();
  const places = model.matching(byId("filter").value);
  firstShown = Math.max(0, Math.min(firstShown, AT_ONCE * Math.floor((places.length - 1) / AT_ONCE)));
  const shown = places.slice(firstShown, firstShown + AT_ONCE);
  tables.all.show(rows.streams(model, shown));
  const end = firstShown + shown.length;
  byId("previous").disabled = !firstShown;
  byId("next").disabled = end === places.length;
  const range = shown.length ? `${words.count(firstShown + 1)} to ${words.count(end)}` : "none";
  setText(byId("filter-result"), `${range} of ${words.count(places.length)}`);
}

function turn(step) {
  firstShown += step * AT_ONCE;
  showAll(true);
}

function showBudgets(budgets) {
  resize(byId("budgets"), budgets.length, () => {
    const item = document.createElement("li");
    item.append(...["span", "span", "meter"].map((name) => document.createElement(name)));
    return item;
  });
  budgets.forEach(({ name, used, limit }, place) => {
    const [said, filling, meter] = byId("budgets").children[place].children;
    setText(said, name);
    setText(filling, `${words.count(used)} of ${words.count(limit)}`);
    Object.assign(meter, { min: 0, max: limit, high: 0.8 * limit, optimum: 0, value: used, ariaLabel: name });
  });
}

function showLegend() {
  for (const { name, says } of SHADES) {
    const item = Object.assign(document.createElement("li"), { textContent: says });
    item.dataset.shade = name;
    byId("legend").append(item);
  }
}

showLegend();
byId("all-streams").addEventListener("toggle", () => model.whole && showAll(true));
byId("filter").addEventListener("input", () => {
  firstShown = 0;
  if (model.whole) showAll(true);
});
byId("previous").addEventListener("click", () => turn(-1));
byId("next").addEventListener("click", () => turn(1));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => heat.refresh());
new ResizeObserver(() => model.whole && heat.show(model)).observe(byId("heat-frame"));
document.addEventListener("visibilitychange", () => {
  link.follow(!document.hidden);
  look();
});
addEventListener("online", () => link.hurry());
setInterval(look, LOOK_EVERY_MS);
link.open();
link.follow(!document.hidden);
