// Where each stream's cell stands on the map. Numbers in, numbers out.
//
// Symbols run from left to right in alphabetical order, kinds from top to bottom. Where the symbols do not fit into
// one row of cells, the next ones stand in a block below, with the kinds again. Cells are as large as leaves the map
// a readable height, and never smaller than the smallest pitch.

const PITCHES = [26, 22, 19, 16, 14];
const SMALLEST_TO_TOUCH = 16;
const FAIR_HEIGHT = 560;
const CAPTION = 18;
const BELOW_BLOCK = 8;
const KINDS = ["trade", "agg_trade", "book_ticker", "depth", "kline", "mini_ticker", "ticker", "avg_price"];

function kindRank(kind) {
  const place = KINDS.findIndex((known) => kind === known || kind.startsWith(`${known}_`));
  return place < 0 ? KINDS.length : place;
}

function byMarket(streams) {
  const markets = new Map();
  streams.forEach((stream, place) => {
    const market = markets.get(stream.market) ?? { symbols: new Map(), kinds: new Set() };
    const ofSymbol = market.symbols.get(stream.symbol) ?? [];
    ofSymbol.push({ place, kind: stream.kind });
    market.symbols.set(stream.symbol, ofSymbol);
    market.kinds.add(stream.kind);
    markets.set(stream.market, market);
  });
  return [...markets.entries()].sort().map(([name, { symbols, kinds }]) => ({
    name,
    symbols: [...symbols.entries()].sort(([one], [other]) => (one < other ? -1 : 1)),
    kinds: [...kinds].sort((one, other) => kindRank(one) - kindRank(other) || (one < other ? -1 : 1)),
  }));
}

function heightAt(pitch, markets, roomForCells) {
  const columns = Math.max(1, Math.floor(roomForCells / pitch));
  const blocks = (market) => Math.ceil(market.symbols.length / columns);
  return markets.reduce(
    (height, market) => height + blocks(market) * (CAPTION + market.kinds.length * pitch + BELOW_BLOCK), 0);
}

// streams as in the model; width in pixels; labelWidth is what the longest kind's name takes.
export function layOut(streams, width, labelWidth, isTouched) {
  const markets = byMarket(streams);
  const room = width - labelWidth;
  const pitches = PITCHES.filter((pitch) => !isTouched || pitch >= SMALLEST_TO_TOUCH);
  const pitch = pitches.find((each) => heightAt(each, markets, room) <= FAIR_HEIGHT) ?? pitches.at(-1);
  const columns = Math.max(1, Math.floor(room / pitch));
  const x = new Float32Array(streams.length);
  const y = new Float32Array(streams.length);
  const labels = [];
  const captions = [];
  let top = 0;
  for (const market of markets) {
    for (let first = 0; first < market.symbols.length; first += columns) {
      const symbols = market.symbols.slice(first, first + columns);
      captions.push({ x: labelWidth, y: top, width: symbols.length * pitch, market: market.name, symbols: [
        symbols[0][0], symbols.at(-1)[0]] });
      top += CAPTION;
      market.kinds.forEach((kind, row) => labels.push({ text: kind, y: top + (row + 0.5) * pitch }));
      symbols.forEach(([, ofSymbol], column) => {
        for (const { place, kind } of ofSymbol) {
          x[place] = labelWidth + column * pitch;
          y[place] = top + market.kinds.indexOf(kind) * pitch;
        }
      });
      top += market.kinds.length * pitch + BELOW_BLOCK;
    }
  }
  return { pitch, x, y, labels, captions, height: Math.max(1, top) };
}

// The place of the stream whose cell is at a point, or -1.
export function placeAt(layout, pointX, pointY) {
  const { x, y, pitch } = layout;
  return x.findIndex((left, place) => pointX >= left && pointX < left + pitch &&
    pointY >= y[place] && pointY < y[place] + pitch);
}

// The place of the next stream in a direction, or the same place where there is none.
export function neighbour(layout, place, stepX, stepY) {
  const { x, y, pitch } = layout;
  const next = placeAt(layout, x[place] + (stepX + 0.5) * pitch, y[place] + (stepY + 0.5) * pitch);
  if (next >= 0) return next;
  // Across the space between two blocks: the nearest cell in that direction.
  let best = place;
  let bestDistance = Infinity;
  for (let other = 0; other < x.length; other += 1) {
    const ahead = (x[other] - x[place]) * stepX + (y[other] - y[place]) * stepY;
    const aside = Math.abs((x[other] - x[place]) * stepY) + Math.abs((y[other] - y[place]) * stepX);
    if (ahead > 0 && ahead + 4 * aside < bestDistance) [best, bestDistance] = [other, ahead + 4 * aside];
  }
  return best;
}
