// The map of all streams: one cell for each, coloured by its age against its limit. Only cells whose colour has
// changed are painted anew, so that thousands of streams cost a picture next to nothing.

import { layOut, neighbour, placeAt } from "./layout.js";
import * as words from "./words.js";

// In the order of the legend. A mark tells apart what colours alone might not.
export const SHADES = [
  { name: "h0", says: "under a quarter of its limit" },
  { name: "h1", says: "under half" },
  { name: "h2", says: "under three quarters" },
  { name: "h3", says: "nearly at its limit" },
  { name: "over", says: "past its limit", mark: "dot", ink: "ink" },
  { name: "stale", says: "stale", mark: "cross" },
  { name: "recovering", says: "recovering", mark: "slash" },
  { name: "quiet", says: "quiet: proven right to be" },
  { name: "starting", says: "starting", mark: "frame" },
  { name: "halted", says: "halted by the exchange", mark: "dash", ink: "ink" },
];
const BY_NAME = Object.fromEntries(SHADES.map((shade, number) => [shade.name, number]));
const LABEL_FONT = "11px system-ui, sans-serif";
const MOST_PIXELS = 12_000_000; // beyond it some browsers show nothing at all

export function shadeOf(detail, ageDs) {
  if (detail.state in BY_NAME && !(detail.state === "starting" && detail.isNotFresh)) return BY_NAME[detail.state];
  if (detail.isNotFresh) return BY_NAME.over;
  if (ageDs < 0) return BY_NAME.starting;
  const share = ageDs / 10 / detail.limitS;
  return share >= 1 ? BY_NAME.over : BY_NAME.h0 + Math.floor(share * 4);
}

export class HeatMap {
  #canvas;
  #tip;
  #cell;
  #brush;
  #model = null;
  #layout = null;
  #laidOut = { layouts: 0, width: 0 };
  #shades = new Int8Array(0); // as painted; -1 is not yet
  #colours = {};
  #chosen = -1;

  // tip is seen, cell is heard: what the arrow keys have chosen, once.
  constructor(canvas, tip, cell) {
    this.#canvas = canvas;
    this.#tip = tip;
    this.#cell = cell;
    this.#brush = canvas.getContext("2d");
    canvas.addEventListener("pointermove", (event) => event.pointerType === "mouse" && this.#point(event));
    canvas.addEventListener("pointerdown", (event) => this.#point(event));
    canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.#choose(-1));
    canvas.addEventListener("keydown", (event) => this.#move(event));
    canvas.addEventListener("blur", () => this.#choose(-1));
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.#choose(-1));
  }

  show(model) {
    this.#model = model;
    const width = this.#canvas.parentElement.clientWidth;
    if (model.layouts !== this.#laidOut.layouts || width !== this.#laidOut.width) this.#lay(width);
    for (let place = 0; place < this.#shades.length; place += 1) {
      const shade = shadeOf(model.details[place], model.agesDs[place]);
      if (shade !== this.#shades[place]) this.#paint(place, shade);
    }
    this.#tell();
  }

  // Begin anew: the colours are others, or the width is.
  refresh() {
    this.#laidOut = { layouts: 0, width: 0 };
    if (this.#model?.whole) this.show(this.#model);
  }

  #lay(width) {
    const { streams, layouts } = this.#model;
    const brush = this.#brush;
    brush.font = LABEL_FONT;
    const kinds = new Set(streams.map((stream) => stream.kind));
    const labelWidth = 8 + Math.ceil(Math.max(0, ...[...kinds].map((kind) => brush.measureText(kind).width)));
    this.#layout = layOut(streams, width, labelWidth, matchMedia("(pointer: coarse)").matches);
    this.#laidOut = { layouts, width };
    this.#shades = new Int8Array(streams.length).fill(-1);
    this.#chosen = -1;
    this.#resize(width, this.#layout.height);
    this.#mix();
    this.#write();
  }

  #resize(width, height) {
    const scale = Math.min(devicePixelRatio || 1, Math.sqrt(MOST_PIXELS / (width * height)));
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    this.#canvas.style.width = `${width}px`;
    this.#canvas.style.height = `${height}px`;
    this.#brush.setTransform(scale, 0, 0, scale, 0, 0);
  }

  #mix() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ground", "text", "soft", "mark", "ink", ...SHADES.map((shade) => shade.name)]) {
      this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
  }

  #write() {
    const { labels, captions } = this.#layout;
    const brush = this.#brush;
    brush.font = LABEL_FONT;
    brush.fillStyle = this.#colours.soft;
    brush.textBaseline = "middle";
    for (const { text, y } of labels) brush.fillText(text, 0, y);
    for (const { x, y, width, market, symbols: [first, last] } of captions) {
      brush.fillText(market, 0, y + 9);
      brush.fillText(first, x, y + 9);
      const [needed, lastWidth] = [brush.measureText(`${first}   ${last}`).width, brush.measureText(last).width];
      if (first !== last && needed < width) brush.fillText(last, x + width - lastWidth, y + 9);
    }
  }

  #paint(place, shade) {
    const { x, y, pitch } = this.#layout;
    const brush = this.#brush;
    const [left, top, side] = [x[place], y[place], pitch];
    brush.fillStyle = this.#colours.ground;
    brush.fillRect(left, top, side, side);
    const { name, mark, ink = "mark" } = SHADES[shade];
    brush.fillStyle = brush.strokeStyle = this.#colours[name];
    brush.lineWidth = 1;
    if (mark === "frame") brush.strokeRect(left + 1.5, top + 1.5, side - 4, side - 4);
    else brush.fillRect(left + 1, top + 1, side - 2, side - 2);
    brush.strokeStyle = this.#colours[ink];
    if (mark) this.#mark(mark, left + side / 2, top + side / 2, side / 5);
    if (place === this.#chosen) this.#frame(left, top, side);
    this.#shades[place] = shade;
  }

  #mark(mark, x, y, reach) {
    const brush = this.#brush;
    brush.lineWidth = 2;
    brush.beginPath();
    if (mark === "cross" || mark === "slash") [brush.moveTo(x - reach, y + reach), brush.lineTo(x + reach, y - reach)];
    if (mark === "cross") [brush.moveTo(x - reach, y - reach), brush.lineTo(x + reach, y + reach)];
    if (mark === "dash") [brush.moveTo(x - reach, y), brush.lineTo(x + reach, y)];
    if (mark === "dot") [brush.moveTo(x - 1.5, y), brush.lineTo(x + 1.5, y)];
    brush.stroke();
  }

  #frame(left, top, side) {
    this.#brush.strokeStyle = this.#colours.text;
    this.#brush.lineWidth = 2;
    this.#brush.strokeRect(left + 1, top + 1, side - 2, side - 2);
  }

  #point(event) {
    if (this.#layout) this.#choose(placeAt(this.#layout, event.offsetX, event.offsetY));
  }

  #move(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step || !this.#layout?.x.length) return;
    event.preventDefault();
    this.#choose(this.#chosen < 0 ? this.#first() : neighbour(this.#layout, this.#chosen, ...step));
    this.#cell.textContent = this.#lines().join(" ");
  }

  // Where the arrow keys begin: at the oldest stream that is not fresh, else at the first cell.
  #first() {
    const { x, y, captions: [first], pitch } = this.#layout;
    const topLeft = placeAt(this.#layout, first.x + pitch / 2, Math.min(...y) + pitch / 2);
    return this.#model.notFresh()[0] ?? (topLeft < 0 ? x.indexOf(Math.min(...x)) : topLeft);
  }

  #choose(place) {
    if (place === this.#chosen) return;
    const before = this.#chosen;
    this.#chosen = place;
    for (const each of [before, place]) if (each >= 0) this.#paint(each, this.#shades[each]);
    this.#tell();
  }

  #tell() {
    const place = this.#chosen;
    this.#tip.hidden = place < 0;
    if (place < 0) return;
    const lines = this.#lines();
    if (this.#tip.textContent !== lines.join("")) {
      this.#tip.replaceChildren(...lines.map((line) => Object.assign(document.createElement("p"), { textContent: line })));
    }
    this.#place(this.#layout.x[place], this.#layout.y[place]);
  }

  #lines() {
    const { streams, details, agesDs, whole } = this.#model;
    const { symbol, kind, market } = streams[this.#chosen];
    return [`${symbol} ${kind} (${market})`, ...words.stream(details[this.#chosen], agesDs[this.#chosen], whole.at_ms)];
  }

  #place(left, top) {
    const width = this.#canvas.clientWidth;
    const { offsetWidth, offsetHeight } = this.#tip;
    const below = top + this.#layout.pitch + 6;
    const isRoomAbove = top - offsetHeight - 6 > -80;
    this.#tip.style.left = `${Math.max(0, Math.min(left, width - offsetWidth))}px`;
    this.#tip.style.top = `${isRoomAbove ? top - offsetHeight - 6 : below}px`;
  }
}
