"""Where a message stands among those of its stream, read without parsing all of it.

The position is what rises along a stream: the exchange's id for kinds that have one (the first id of a
range), its time in microseconds for the others. A stream that is brought by two connections has the same
positions on both.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from ingest.binance.fields import integer, time_us
from ingest.binance.frames import JsonObject
from ingest.binance.streams import ID_RULE

PositionReader: TypeAlias = Callable[[JsonObject], int]

_ID_FIELD: Final = {"trade": "t", "agg_trade": "a", "depth": "U", "book_ticker": "u"}


def has_ids(kind: str) -> bool:
    """Whether positions of a kind are ids; else they are times in microseconds."""
    return kind in _ID_FIELD


def is_consecutive(kind: str) -> bool:
    """Whether a position follows the one before without a break, so that nothing can lie between them."""
    return ID_RULE[kind] in {"consecutive", "range"}


def position_reader(kind: str) -> PositionReader:
    """What reads the position of a kind's messages. It raises MalformedFrame."""
    if has_ids(kind):
        return partial(_read_id, _ID_FIELD[kind], kind)
    return partial(_read_time, kind)


def _read_id(field: str, kind: str, data: JsonObject) -> int:
    return integer(data, field, kind)


def _read_time(kind: str, data: JsonObject) -> int:
    return time_us(data, "E", kind)
