"""Malformed frames: the ways in which a text can be wrong.

Pure. `truncated` is no JSON; `non_utf8` is no text (a client has to close, RFC 6455 section 8.1);
`unknown_event` is of a kind that nobody knows; `wrong_type` has a number where text belongs; `oversized`
is right but for its length, which is more than a client has to take (it closes, RFC 6455 section 7.4.1).
`altered` is the one that no parser can find: a frame like any other, with a quantity that is not the
exchange's.
"""

import re

from ingest.sim.faults import Damage

_EVENT_TYPE = re.compile(rb'"e":"[A-Za-z0-9]+"')
_OVERSIZED_BYTES = 17 << 20
_LEVEL_QTY = re.compile(rb'(\["[0-9.]+",")([0-9.]+"\])')
_QTY = re.compile(rb'("q":")([0-9.]+")')
_PRICE = re.compile(rb'"(p|b|c|o)":"([0-9.]+)"')


def damaged(text: bytes, damage: Damage) -> bytes:
    """A copy of a frame's text with this damage."""
    if damage == "truncated":
        return text[: len(text) // 2]
    if damage == "non_utf8":
        return text[:-1] + b"\xff\xfe}"
    if damage == "unknown_event":
        return _with_unknown_event(text)
    if damage == "oversized":
        return b'%b,"x":"%b"}' % (text[:-1], b"x" * _OVERSIZED_BYTES)
    if damage == "altered":
        return _with_other_quantity(text)
    return _with_wrong_type(text)


def _with_unknown_event(text: bytes) -> bytes:
    renamed, found = _EVENT_TYPE.subn(b'"e":"neverHeardOf"', text, count=1)
    if found:
        return renamed
    return b'{"stream":"neverheard@ofThis","data":{"e":"neverHeardOf","E":0}}'


def _with_wrong_type(text: bytes) -> bytes:
    """A price becomes a list; a text without one gets its data replaced by a number."""
    spoilt, found = _PRICE.subn(rb'"\1":[\2]', text, count=1)
    if found:
        return spoilt
    head, _, _ = text.partition(b',"data":')
    return head + b',"data":7}' if head != text else b"[7]"


def _with_other_quantity(text: bytes) -> bytes:
    """The last level of a depth frame, which is the furthest from the top, or the quantity of a trade."""
    found = [*_QTY.finditer(text), *_LEVEL_QTY.finditer(text)]
    if not found:
        return text
    at = found[-1].end(1)
    return text[:at] + b"9" + text[at:]
