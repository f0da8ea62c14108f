"""The exchange's public archives: what a day's file is called, what its checksum says, what a line means.

Decides nothing about where files come from and reads none. A file is a zip with one CSV in it, beside it
`<name>.CHECKSUM` in the format of `sha256sum`. Times are milliseconds in older files and, for spot,
microseconds from 2025-01-01 on; they are told apart by their size. Some files begin with a heading.

Source: README of binance-public-data, 2026-07.
"""

import datetime
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from ingest.binance.fields import FIRST_MICROSECONDS, LATEST, MAX_ID, is_decimal
from ingest.binance.frames import MalformedFrame
from ingest.events import AggTrade, Trade

_NAMES: Final = {"trade": "trades", "agg_trade": "aggTrades"}
KINDS: Final = tuple(_NAMES)
"""The kinds of which single events are archived."""

_CHECKSUM: Final = re.compile(r"([0-9a-fA-F]{64})[ *]+(\S+)\s*")
_FLAGS: Final = {"true": True, "false": False}

T = TypeVar("T")


def file_name(symbol: str, kind: str, day: datetime.date) -> str:
    """Such as BTCUSDT-trades-2026-11-21.zip; KeyError for a kind that is not archived."""
    return f"{symbol}-{_NAMES[kind]}-{day.isoformat()}.zip"


def folder(symbol: str, kind: str) -> str:
    """Where the daily files of a symbol lie below the archive's address."""
    return f"data/spot/daily/{_NAMES[kind]}/{symbol}"


def checksum(text: str, name: str) -> str:
    """The SHA-256, in lower case, that a checksum file states for a file; MalformedFrame when it does not."""
    match = _CHECKSUM.fullmatch(text)
    if match is None or match[2] != name:
        raise MalformedFrame(f"not a checksum of {name}: {text[:80]!r}")
    return match[1].lower()


def trades(symbol: str, lines: Iterable[str]) -> Iterator[Trade]:
    """Read id, price, qty, quote qty, time, buyer is maker, best match. MalformedFrame names the line."""

    def read(cells: list[str]) -> Trade:
        price, qty = _decimal(cells[1]), _decimal(cells[2])
        return Trade(symbol, _id(cells[0]), _time_us(cells[4]), price, qty, _flag(cells[5]), 0)

    return _rows(lines, read)


def agg_trades(symbol: str, lines: Iterable[str]) -> Iterator[AggTrade]:
    """Read id, price, qty, first id, last id, time, buyer is maker, best match."""

    def read(cells: list[str]) -> AggTrade:
        price, qty = _decimal(cells[1]), _decimal(cells[2])
        ids = (_id(cells[3]), _id(cells[4]))
        return AggTrade(symbol, _id(cells[0]), _time_us(cells[5]), price, qty, *ids, _flag(cells[6]), 0)

    return _rows(lines, read)


def _rows(lines: Iterable[str], read: Callable[[list[str]], T]) -> Iterator[T]:
    for number, line in enumerate(lines, start=1):
        cells = line.strip().split(",")
        if number == 1 and not cells[0].isdecimal():
            continue
        try:
            yield read(cells)
        except (ValueError, IndexError, KeyError):
            raise MalformedFrame(f"line {number} is no trade: {line[:120]!r}") from None


def _id(text: str) -> int:
    value = int(text)
    if not 0 <= value <= MAX_ID:
        raise ValueError(text)
    return value


def _time_us(text: str) -> int:
    value = int(text)
    if not 0 <= value <= LATEST:
        raise ValueError(text)
    return value if value >= FIRST_MICROSECONDS else value * 1_000


def _decimal(text: str) -> str:
    if not is_decimal(text):
        raise ValueError(text)
    return text


def _flag(text: str) -> bool:
    return _FLAGS[text.lower()]
