"""Real frames and answers of the exchange, from the folders that say where they come from."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_REPOSITORY = Path(__file__).parents[2]
_DATA = _REPOSITORY / "tests" / "data"
_SPOT_BTCUSDT = _REPOSITORY / "ingest" / "sim" / "recordings"


class Frame(NamedTuple):
    """One line of a recording; a REST answer has the symbol that it was asked for."""

    recv_ns: int
    text: str
    rest_symbol: str | None = None


def single_frames() -> list[str]:
    """Return single frames of many kinds, spot and futures."""
    return (_DATA / "message-vectors" / "unicorn-fy.jsonl").read_text().splitlines()


def exchange_info() -> object:
    """Return the decoded exchangeInfo of 2021-04-17."""
    with gzip.open(_DATA / "cryptofeed-20210417" / "BINANCE.0.gz", "rt") as lines:
        body: object = json.loads(next(lines).split(": ", 1)[1])
    return body


def ten_symbols() -> Iterator[Frame]:
    """Yield the session of ten quiet symbols, answers and frames in the order of their arrival."""
    folder = _DATA / "cryptofeed-20210417"
    frames = [*_answers(folder / "BINANCE.http.0.0.gz"), *_frames(folder / "BINANCE.ws.1.0.gz")]
    yield from sorted(frames, key=lambda frame: frame.recv_ns)


def btcusdt() -> Iterator[Frame]:
    """Yield the session of BTCUSDT, the snapshot among the frames, as recorded."""
    for day in ("20240808", "20240809"):
        with gzip.open(_SPOT_BTCUSDT / f"spot-btcusdt-{day}.gz", "rt") as lines:
            for line in lines:
                recv_ns, text = line.rstrip().split(" ", 1)
                yield Frame(int(recv_ns), text, None if text.startswith('{"stream"') else "BTCUSDT")


def _answers(path: Path) -> Iterator[Frame]:
    with gzip.open(path, "rt") as lines:
        for line in filter(str.strip, lines):
            url, rest = line.split(" -> ", 1)
            recv_s, text = rest.split(": ", 1)
            symbol = url.split("symbol=")[1].split("&")[0]
            yield Frame(round(float(recv_s) * 1e9), text, symbol)


def _frames(path: Path) -> Iterator[Frame]:
    with gzip.open(path, "rt") as lines:
        next(lines)
        for line in filter(str.strip, lines):
            recv_s, text = line.split(": ", 1)
            yield Frame(round(float(recv_s) * 1e9), text)
