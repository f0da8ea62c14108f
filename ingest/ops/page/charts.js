// Lines over the last hour, drawn as SVG; under each its present and highest values, and what is pointed at.
// A service that runs for less than an hour has as much of it drawn as there is.

import { clock } from "./words.js";

const HOUR_MS = 3_600_000;
const LEAST_MS = 300_000;
const [WIDTH, HEIGHT] = [600, 120]; // units of the drawing, stretched to the room there is
const SVG = "http://www.w3.org/2000/svg";

// The least of a few round numbers times a power of ten that is not below a value.
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 6, 8, 10].map((step) => step * power).find((each) => each >= value * (1 - 1e-9));
}

// How much time a drawing of the samples spans, in milliseconds: whole minutes.
export function spanOf(samples) {
  if (!samples.length) return LEAST_MS;
  const minutes = Math.ceil((samples.at(-1).atMs - samples[0].atMs) / 60_000);
  return Math.min(HOUR_MS, Math.max(LEAST_MS, minutes * 60_000));
}

// The drawing of a line, broken where nothing is known or nobody took samples; `top` is the highest value's.
export function path(samples, key, top, spanMs, mostApartMs) {
  const endMs = samples.at(-1)?.atMs;
  let drawn = "";
  let before = null;
  for (const sample of samples) {
    if (sample[key] === null) {
      before = null;
      continue;
    }
    const x = WIDTH * (1 - (endMs - sample.atMs) / spanMs);
    const y = HEIGHT * (1 - sample[key] / top);
    const isNext = before !== null && sample.atMs - before <= mostApartMs;
    drawn += `${isNext ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    if (!isNext) drawn += "h0.1"; // so that a single sample is seen
    before = sample.atMs;
  }
  return drawn;
}

function made(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function told(name, text, className) {
  return Object.assign(document.createElement(name), { textContent: text, className });
}

export class Chart {
  #say;
  #lines;
  #svg = made("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  #cursor = made("line", { class: "cursor", y1: 0, y2: HEIGHT });
  #top = told("span", "", "top");
  #caption = told("figcaption", "", "");
  #pointed = told("p", "", "pointed small");
  #start = told("span", "", "start");
  #samples = [];
  #spanMs = HOUR_MS;

  // lines: [{key, name}] at most two, both in what `say` puts into words.
  constructor(parent, title, lines, say) {
    this.#say = say;
    this.#lines = lines.map((line, place) => ({ ...line, path: made("path", { class: `line${place}` }) }));
    const figure = document.createElement("figure");
    const frame = told("div", "", "plot");
    this.#svg.append(made("path", { class: "grid", d: `M0 ${HEIGHT / 2}H${WIDTH}` }), ...this.#lines.map((line) => line.path), this.#cursor);
    frame.append(this.#svg, this.#top, this.#start, told("span", "now", "end"));
    figure.append(told("h3", title, ""), frame, this.#caption, this.#pointed);
    parent.append(figure);
    this.#svg.addEventListener("pointermove", (event) => this.#point(event));
    this.#svg.addEventListener("pointerleave", () => this.#unpoint());
  }

  show(samples, sampleEveryMs) {
    this.#samples = samples;
    this.#spanMs = spanOf(samples);
    this.#start.textContent = `${this.#spanMs / 60_000} minutes ago`;
    const values = this.#lines.flatMap(({ key }) => samples.map((sample) => sample[key]));
    const top = ceiling(1.1 * Math.max(0, ...values));
    this.#top.textContent = this.#say(top);
    for (const { key, path: line } of this.#lines) {
      line.setAttribute("d", path(samples, key, top, this.#spanMs, 3 * sampleEveryMs));
    }
    this.#caption.replaceChildren(...this.#lines.map((line, place) => this.#sum(line, place)));
  }

  #sum({ key, name }, place) {
    const values = this.#samples.map((sample) => sample[key]).filter((value) => value !== null);
    const peak = values.length ? Math.max(...values) : null;
    const now = this.#samples.at(-1)?.[key];
    return told("span", `${name}: ${this.#say(now)} now, ${this.#say(peak)} at most`, `name${place}`);
  }

  #point(event) {
    const share = event.offsetX / this.#svg.clientWidth;
    const atMs = (this.#samples.at(-1)?.atMs ?? 0) - this.#spanMs * (1 - share);
    const apart = (sample) => Math.abs(sample.atMs - atMs);
    const nearest = this.#samples.reduce((best, each) => (best && apart(best) <= apart(each) ? best : each), null);
    if (!nearest) return;
    for (const end of ["x1", "x2"]) this.#cursor.setAttribute(end, share * WIDTH);
    this.#cursor.classList.add("shown");
    const said = this.#lines.map(({ key, name }) => `${name} ${this.#say(nearest[key])}`);
    this.#pointed.textContent = `${clock(nearest.atMs)}: ${said.join(", ")}`;
  }

  #unpoint() {
    this.#cursor.classList.remove("shown");
    this.#pointed.textContent = "";
  }
}
