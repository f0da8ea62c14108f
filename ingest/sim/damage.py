"""Malformed frames: the ways in which a text can be wrong.

Pure. `truncated` is no JSON; `non_utf8` is no text (a client has to close, RFC 6455 section 8.1);
`unknown_event` is of a kind that nobody knows; `wrong_type` has a number where text belongs; `oversized`
is right but for its length, which is more than a client has to take (it closes, RFC 6455 section 7.4.1).
"""

import re

from ingest.sim.faults import Damage

_EVENT_TYPE = re.compile(rb'"e":"[A-Za-z0-9]+"')
_OVERSIZED_BYTES = 17 << 20
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
