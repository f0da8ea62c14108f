"""One field of the exchange's JSON, read with its type checked.

Decides what counts as text, decimal, id, time, flag and list of levels. Every reader raises
`MalformedFrame` that names the kind and the field, for a field that is missing as for one of a wrong
type. A float is never a price and `true` never an id.
"""

from collections.abc import Iterable
from typing import Final

from ingest.binance.frames import JsonObject, MalformedFrame
from ingest.events import Level

_DIGITS: Final = b"0123456789."

FIRST_MICROSECONDS: Final = 10**14
"""Read as milliseconds this is the year 5138, as microseconds 1973: no time is in doubt."""


LATEST: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999, the end of what a `datetime` can hold."""

MAX_ID: Final = 2**63 - 1
"""What the exchange's int64, and the database's bigint, can hold."""


def time_us(data: JsonObject, field: str, kind: str) -> int:
    """Read a time of either unit between 1970 and 9999; return it in microseconds."""
    value = data.get(field)
    if type(value) is not int or not 0 <= value <= LATEST:
        raise wrong(kind, field, value)
    return value if value >= FIRST_MICROSECONDS else value * 1000


def wrong(kind: str, field: str, value: object) -> MalformedFrame:
    """Return the error for a field that is not what `kind` should carry (None: it is missing)."""
    shown = repr(value)
    if len(shown) > 40:
        shown = shown[:40] + "…"
    return MalformedFrame(f"{kind}: field {field!r} is {shown}", kind=kind, field=field)


def text(data: JsonObject, field: str, kind: str) -> str:
    """Read text that is not empty."""
    value = data.get(field)
    if type(value) is not str or not value:
        raise wrong(kind, field, value)
    return value


def decimal(data: JsonObject, field: str, kind: str) -> str:
    """Read a price or quantity: digits and at most one point, as text."""
    value = data.get(field)
    if type(value) is not str or not is_decimal(value):
        raise wrong(kind, field, value)
    return value


def signed_decimal(data: JsonObject, field: str, kind: str) -> str:
    """Read a decimal that may be negative, as text."""
    value = data.get(field)
    if type(value) is not str or not is_decimal(value.removeprefix("-")):
        raise wrong(kind, field, value)
    return value


def integer(data: JsonObject, field: str, kind: str) -> int:
    """Read an id or a count."""
    value = data.get(field)
    if type(value) is not int or value > MAX_ID:
        raise wrong(kind, field, value)
    return value


def flag(data: JsonObject, field: str, kind: str) -> bool:
    """Read true or false."""
    value = data.get(field)
    if type(value) is not bool:
        raise wrong(kind, field, value)
    return value


def nested(data: JsonObject, field: str, kind: str) -> JsonObject:
    """Read an object."""
    value = data.get(field)
    if type(value) is not dict:
        raise wrong(kind, field, value)
    return value


def levels(data: JsonObject, field: str, kind: str) -> list[Level]:
    """Read a list of [price, quantity], as it is."""
    value = data.get(field)
    if type(value) is not list or not are_levels(value):
        raise wrong(kind, field, value)
    return value


def is_decimal(value: str) -> bool:
    """Tell whether a text is digits with at most one point among them."""
    return value.isascii() and value.replace(".", "", 1).isdecimal()


def are_levels(rows: Iterable[Level]) -> bool:
    """Tell whether every row is two texts of digits and points.

    The whole list is joined and searched at once, as a check of each number would cost more than decoding
    the JSON did. So an empty price or one with two points passes here and is refused further on.
    """
    try:
        joined = "".join([price + qty for price, qty in rows])
    except (TypeError, ValueError):
        return False
    return not joined.encode().translate(None, _DIGITS)
