"""What a running shard can be told to do, and how that is written: one JSON object a line.

    {"order": "resubscribe", "streams": [["spot", "BTCUSDT", "trade"]]}
    {"order": "replace_feed", "feed": 3, "reason": "stream_stale", "stale": []}
    {"order": "probe", "feed": 3}
    {"order": "adopt", "feed": 9, "streams": [["spot", "NEWUSDT", "trade"]], "symbol_ids": {"NEWUSDT": 77},
     "line": 1}
    {"order": "drop", "streams": [["spot", "OLDUSDT", "trade"]]}

The supervisor writes orders into the shard's standard input. They say what to do, never why it should
be right: judging is the supervisor's, carrying out is the shard's (`shard.feeds`).

Invariants: `decode(encode(order)) == order`; a line that is not an order raises ValueError that says
what is wrong with it, whatever is in the line; no line is longer than MAX_LINE_BYTES.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import orjson

from ingest.binance.streams import is_kind
from ingest.events import Market, StreamKey

MAX_LINE_BYTES: Final = 65_536
"""The newline included."""

_SHOWN_BYTES: Final = 120
_MARKETS: Final = frozenset({"spot"})

JsonObject: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Resubscribe:
    """Give these streams up and ask for them again; their connection and its other streams stay.

    What they missed meanwhile becomes a gap.
    """

    streams: tuple[StreamKey, ...]


@dataclass(frozen=True, slots=True)
class ReplaceFeed:
    """Let a new connection take over the feed's streams, without a break if it can be had.

    `stale` names streams that were silent before: what they missed becomes a gap, though the hand-over
    itself loses nothing.
    """

    feed: int
    reason: str
    stale: tuple[StreamKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """Send a ping of our own on the feed's connection; the board says when it was answered."""

    feed: int


@dataclass(frozen=True, slots=True)
class Adopt:
    """Carry these streams from now on: on a new feed of this number, or on the one that has it.

    Their newest committed events are looked up first. `symbol_ids` are the database's, for each symbol. Only
    the first line of a stream keeps a book.
    """

    feed: int
    streams: tuple[StreamKey, ...]
    symbol_ids: Mapping[str, int]
    line: int = 1


@dataclass(frozen=True, slots=True)
class Drop:
    """Carry these streams no longer. A feed that has none left is closed."""

    streams: tuple[StreamKey, ...]


Order: TypeAlias = Resubscribe | ReplaceFeed | Probe | Adopt | Drop


def encode(order: Order) -> bytes:
    """The order as a line with its newline. ValueError when it is too long for one; split it then."""
    line = orjson.dumps(_tree(order)) + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"an order of {len(line)} bytes; a line may have {MAX_LINE_BYTES}")
    return line


def decode(line: bytes) -> Order:
    """The order of a line, with or without its newline. ValueError names the line and what is wrong."""
    try:
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"{len(line)} bytes; a line may have {MAX_LINE_BYTES}")
        return _order(orjson.loads(line))
    except ValueError as error:  # orjson's own is one
        raise ValueError(f"not an order: {_shown(line)}: {error}") from None


class OrderLines:
    """Cuts what comes out of a pipe into lines; holds one unfinished line at most."""

    def __init__(self) -> None:
        self._begun = b""
        self._skipping = False
        self.too_long = 0
        """Lines that were thrown away because they were too long."""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete, without newlines and without empty ones."""
        *ends, begun = data.split(b"\n")
        lines: list[bytes] = []
        for end in ends:
            if not self._skipping:
                lines.append(self._begun + end)
            self._begun, self._skipping = b"", False
        if not self._skipping:
            self._begun += begun
        if len(self._begun) >= MAX_LINE_BYTES:
            self._begun, self._skipping = b"", True
            self.too_long += 1
        return [line for line in lines if line.strip()]


def _tree(order: Order) -> dict[str, object]:
    match order:
        case Resubscribe(streams):
            return {"order": "resubscribe", "streams": _lists(streams)}
        case ReplaceFeed(feed, reason, stale):
            return {"order": "replace_feed", "feed": feed, "reason": reason, "stale": _lists(stale)}
        case Probe(feed):
            return {"order": "probe", "feed": feed}
        case Adopt(feed, streams, symbol_ids, line):
            ids = dict(symbol_ids)
            return {
                "order": "adopt",
                "feed": feed,
                "streams": _lists(streams),
                "symbol_ids": ids,
                "line": line,
            }
        case Drop(streams):
            return {"order": "drop", "streams": _lists(streams)}


def _lists(streams: tuple[StreamKey, ...]) -> list[list[str]]:
    return [list(key) for key in streams]


def _resubscribe(tree: JsonObject) -> Order:
    return Resubscribe(_streams(tree, "streams"))


def _replace_feed(tree: JsonObject) -> Order:
    reason = tree.get("reason")
    if not isinstance(reason, str) or not reason:
        raise ValueError("reason must be a text")
    return ReplaceFeed(_feed(tree), reason, _streams(tree, "stale", may_be_empty=True))


def _probe(tree: JsonObject) -> Order:
    return Probe(_feed(tree))


def _adopt(tree: JsonObject) -> Order:
    streams = _streams(tree, "streams")
    ids = tree.get("symbol_ids")
    if not isinstance(ids, dict) or not all(_is_whole(number) for number in ids.values()):
        raise ValueError("symbol_ids must be an object of whole numbers")
    if missing := sorted({key.symbol for key in streams} - ids.keys()):
        raise ValueError(f"symbol_ids lacks {', '.join(missing)}")
    line = tree.get("line", 1)
    if not isinstance(line, int) or isinstance(line, bool) or line not in {1, 2}:
        raise ValueError("line must be 1 or 2")
    return Adopt(_feed(tree), streams, ids, line)


def _drop(tree: JsonObject) -> Order:
    return Drop(_streams(tree, "streams"))


_READERS: Final[dict[str, tuple[Callable[[JsonObject], Order], frozenset[str]]]] = {
    "resubscribe": (_resubscribe, frozenset({"order", "streams"})),
    "replace_feed": (_replace_feed, frozenset({"order", "feed", "reason", "stale"})),
    "probe": (_probe, frozenset({"order", "feed"})),
    "adopt": (_adopt, frozenset({"order", "feed", "streams", "symbol_ids", "line"})),
    "drop": (_drop, frozenset({"order", "streams"})),
}


def _order(tree: object) -> Order:
    name = tree.get("order") if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or not isinstance(name, str) or name not in _READERS:
        raise ValueError(f"unknown order {name!r}")
    read, known = _READERS[name]
    if unknown := sorted(tree.keys() - known):
        raise ValueError(f"{name} has no {', '.join(unknown)}")
    return read(tree)


def _feed(tree: JsonObject) -> int:
    feed = tree.get("feed")
    if not _is_whole(feed):
        raise ValueError("feed must be a number from 0")
    return cast(int, feed)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _streams(tree: JsonObject, name: str, *, may_be_empty: bool = False) -> tuple[StreamKey, ...]:
    found = tree.get(name, [] if may_be_empty else None)
    if not isinstance(found, list) or not (found or may_be_empty):
        raise ValueError(f"{name} must be a list of streams")
    return tuple(_key(parts) for parts in found)


def _key(parts: object) -> StreamKey:
    if not isinstance(parts, list) or len(parts) != 3 or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"not a stream: {parts!r:.80}")
    market, symbol, kind = parts
    if market not in _MARKETS or not symbol or not is_kind(kind):
        raise ValueError(f"unknown market or kind: {parts!r:.80}")
    return StreamKey(cast(Market, market), symbol, kind)


def _shown(line: bytes) -> str:
    text = line[:_SHOWN_BYTES].decode(errors="replace").rstrip("\n")
    return repr(text if len(line) <= _SHOWN_BYTES else f"{text}…")
