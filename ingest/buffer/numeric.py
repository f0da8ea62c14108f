"""Decimal text to PostgreSQL's binary `numeric`, keeping the scale exactly as printed.

Wire form (`numeric_send`), all big endian: length int32, then count, weight, sign, scale as int16 and
`count` digits of base 10,000. The server strips leading and trailing zero digits itself when it stores
the value, so the fast path always sends the same shape and never looks for zeros.

Decides which texts are numbers; never rounds, never goes through `float` or `Decimal`. Invariant: the
server prints a stored value exactly as it would print `text::numeric`.
"""

import re
from struct import pack
from typing import Final

_SIGN_NEGATIVE: Final = 0x4000
# Far beyond any price, far below what the server accepts: a guard against absurd exponents.
_MAX_PLACES: Final = 1_000

_MEMO_ENTRIES: Final = 8_192

_GROUP: Final = {f"{n:04d}": pack(">H", n) for n in range(10_000)}
# Length, count, weight, sign, scale and the first digit of a number with eight decimals.
_UP_TO_9999: Final = {str(n): pack(">ihhHHH", 14, 3, 0, 0, 8, n) for n in range(10_000)}
_MYRIADS: Final = {str(n): pack(">ihhHHH", 16, 4, 1, 0, 8, n) for n in range(1, 1_000)}

_DECIMAL: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,5}))?", re.ASCII)


def encode_numeric(text: str) -> bytes:
    """Encode one finite decimal, length prefix included; ValueError for any other text."""
    try:
        if text[-9] == ".":
            if len(text) <= 13:
                return _UP_TO_9999[text[:-9]] + _GROUP[text[-8:-4]] + _GROUP[text[-4:]]
            return _MYRIADS[text[:-13]] + _GROUP[text[-13:-9]] + _GROUP[text[-8:-4]] + _GROUP[text[-4:]]
    except LookupError:
        pass
    return _encode_any(text)


class _Memo(dict[str, bytes]):
    """Encodings of the texts seen lately; emptied whole when full, which is cheaper than ranking.

    A ticker repeats most of what its predecessor said, so most look-ups end here.
    """

    def __missing__(self, text: str) -> bytes:
        if len(self) >= _MEMO_ENTRIES:
            self.clear()
        encoded = self[text] = encode_numeric(text)
        return encoded


class _PlainMemo(dict[object, bytes]):
    """As `_Memo`, for texts that are digits with at most one point among them; ValueError for all else."""

    def __missing__(self, text: object) -> bytes:
        if type(text) is not str or not (text.isascii() and text.replace(".", "", 1).isdecimal()):
            raise ValueError(f"not a plain decimal: {text!r:.40}")
        if len(self) >= _MEMO_ENTRIES:
            self.clear()
        encoded = self[text] = encode_numeric(text)
        return encoded


NUMERICS: Final[dict[str, bytes]] = _Memo()
"""`NUMERICS[text]` is `encode_numeric(text)`, remembered; bounded."""

PLAIN: Final[dict[object, bytes]] = _PlainMemo()
"""The same for prices and quantities as they come, without a sign or an exponent; TypeError for a list."""


def _encode_any(text: str) -> bytes:
    sign, whole, fraction, exponent = _parts(text)
    whole, fraction = _shifted(whole, fraction, exponent)
    scale = len(fraction)
    if scale > _MAX_PLACES or len(whole) > _MAX_PLACES:
        raise ValueError(f"decimal out of range: {text[:40]!r}")
    whole = "0" * (-len(whole) % 4) + whole
    digits = whole + fraction + "0" * (-scale % 4)
    groups = [int(digits[i : i + 4]) for i in range(0, len(digits), 4)]
    head = pack(">ihhHH", 8 + 2 * len(groups), len(groups), len(whole) // 4 - 1, sign, scale)
    return head + pack(f">{len(groups)}H", *groups)


def _parts(text: str) -> tuple[int, str, str, int]:
    match = _DECIMAL.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise ValueError(f"not a finite decimal: {text[:40]!r}")
    sign = _SIGN_NEGATIVE if match[1] == "-" else 0
    return sign, match[2], match[3] or "", int(match[4] or 0)


def _shifted(whole: str, fraction: str, exponent: int) -> tuple[str, str]:
    """Move the point by `exponent` places; like the server, never to a negative scale."""
    if abs(exponent) > _MAX_PLACES:
        raise ValueError(f"decimal exponent out of range: {exponent}")
    if exponent >= 0:
        fraction = fraction.ljust(exponent, "0")
        return (whole + fraction[:exponent]).lstrip("0"), fraction[exponent:]
    whole = whole.rjust(-exponent, "0")
    return whole[:exponent].lstrip("0"), whole[exponent:] + fraction


def encode_plain(text: object) -> bytes:
    """As `PLAIN[text]`, for one that is not likely to come again."""
    if type(text) is str and len(text) <= 13 and text[-9:-8] == ".":
        try:
            return _UP_TO_9999[text[:-9]] + _GROUP[text[-8:-4]] + _GROUP[text[-4:]]
        except KeyError:
            pass
    return PLAIN[text]
