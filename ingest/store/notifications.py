"""What is told to those who listen when a batch is committed: channels and payloads.

One message for each kind in a batch: channel `ingest_<market>_<kind>`, payload a JSON object from symbol to
`[newest id or null, newest time in microseconds]`, cut into several where it would be longer than the server
takes. It is a hint to look, not the news itself: the rows are in the table before it is heard.

Pure.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

import orjson

from ingest.binance.streams import ID_RULE
from ingest.buffer.batcher import Batch
from ingest.buffer.origins import BOOK_KIND, spans
from ingest.events import StreamKey

MAX_PAYLOAD_BYTES: Final = 7_900
"""The server refuses 8,000 and more."""

Newest: TypeAlias = tuple[int | None, int]
"""Id (None for kinds that have none of the exchange's own) and time in microseconds."""


class Notification(NamedTuple):
    """One NOTIFY."""

    channel: str
    payload: str


class Names(NamedTuple):
    """Whose rows a batch holds: the stream of a mark's number, the name for a symbol's number."""

    stream_of: Callable[[int], StreamKey | None]
    symbol_of: Callable[[int], str]


def notifications(batch: Batch, names: Names) -> list[Notification]:
    """What a batch tells; nothing for stored books, which are no stream."""
    by_channel: dict[str, dict[str, Newest]] = {}
    for key, newest in _newest(batch, names):
        by_channel.setdefault(f"ingest_{key.market}_{key.kind}", {})[key.symbol] = newest
    return [
        Notification(channel, payload)
        for channel, newest_of in by_channel.items()
        for payload in payloads(newest_of)
    ]


def payloads(newest_of: Mapping[str, Newest]) -> Iterator[str]:
    """JSON objects that hold each symbol once, none longer than the server takes."""
    whole = orjson.dumps(newest_of)
    if len(whole) <= MAX_PAYLOAD_BYTES:
        yield whole.decode()
        return
    pieces: list[bytes] = []
    size = 2
    for symbol, newest in newest_of.items():
        piece = orjson.dumps({symbol: newest})[1:-1]
        if size + len(piece) + 1 > MAX_PAYLOAD_BYTES:
            yield _joined(pieces)
            pieces, size = [], 2
        pieces.append(piece)
        size += len(piece) + 1
    yield _joined(pieces)


def _joined(pieces: list[bytes]) -> str:
    return (b"{" + b",".join(pieces) + b"}").decode()


def _newest(batch: Batch, names: Names) -> Iterator[tuple[StreamKey, Newest]]:
    if not batch.marks:  # rows that were fetched again: they know themselves whose they are
        for span in spans(batch.table, batch.rows, names.symbol_of):
            if span.key.kind != BOOK_KIND:
                yield span.key, (_own_id(span.key, span.last_id), span.end_us)
        return
    for number, mark in batch.marks.items():
        key = names.stream_of(number)
        if key is not None:
            yield key, (_own_id(key, mark.last_id), mark.ts_us)


def _own_id(key: StreamKey, last_id: int | None) -> int | None:
    """Candles and quotes are numbered by us, with a time."""
    return None if ID_RULE[key.kind] in ("candle", "none") else last_id
