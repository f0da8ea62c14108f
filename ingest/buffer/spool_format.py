"""A batch as the bytes that the spool keeps: payload and label, each with a checksum of its own.

The *label* says what a batch is: table, times, the gaps that must commit with it, and the spans of every
stream in it. The *payload* is the rows with the label once more in front. So rows survive a damaged label,
and after damage to the rows the label says which range is lost. Only when both are damaged nothing names
the range; then the neighbours do (`between`).

    payload   magic 4 | blake2b 16 | label's length 4 | rows 4 | label | rows' lengths 4 each | rows
    label     zlib of JSON

Pure. Invariant: what `unpack` returns is what `pack` was given, or it raises `DamagedBatch`.
"""

import zlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct, error
from sys import byteorder
from typing import Final, NamedTuple

import orjson

from ingest.binance.streams import ID_RULE, REPAIRABLE, interval_of
from ingest.buffer.batcher import Batch
from ingest.buffer.origins import BOOK_KIND, Span
from ingest.buffer.tables import TABLES, Table
from ingest.events import Gap, GapFilled, StreamKey
from ingest.sequence.tracker import next_open_us

MAGIC: Final = b"ISP1"
_HEAD: Final = Struct(">4s16sII")
_SUM_BYTES: Final = 16
_TABLES: Final = {table.name: table for table in TABLES}


class DamagedBatch(Exception):
    """The bytes are not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a spooled batch is; times in microseconds and nanoseconds since the epoch."""

    table: Table
    rows: int
    created_us: int
    oldest_recv_ns: int | None
    newest_recv_ns: int | None
    gaps: tuple[Gap | GapFilled, ...]
    spans: tuple[Span, ...]


class Packed(NamedTuple):
    """A batch ready to be kept."""

    label: bytes
    label_sum: bytes
    payload: bytes


def pack(batch: Batch, spans: Iterable[Span], *, created_us: int) -> Packed:
    """The bytes of a batch; `created_us` is when it went to the spool, and dates the gaps of its loss."""
    label = _label_bytes(batch, spans, created_us)
    lengths = array("I", map(len, batch.rows))
    if byteorder == "little":
        lengths.byteswap()
    body = b"".join((label, lengths.tobytes(), *batch.rows))
    counts = len(label).to_bytes(4, "big") + len(batch.rows).to_bytes(4, "big")
    head = _HEAD.pack(MAGIC, sum_of(counts, body), len(label), len(batch.rows))
    return Packed(label, sum_of(label), head + body)


def checked(label: bytes, label_sum: object) -> bytes:
    """The label itself. Raises DamagedBatch when it is not what was written."""
    if sum_of(label) != label_sum:
        raise DamagedBatch("the label's checksum does not fit")
    return label


def label_of(payload: bytes) -> bytes:
    """The label inside a payload. Raises DamagedBatch."""
    label_length, _ = _checked_counts(payload)
    return payload[_HEAD.size : _HEAD.size + label_length]


def unpack(payload: bytes) -> tuple[Label, list[bytes]]:
    """Read a payload. Raises DamagedBatch."""
    label_length, count = _checked_counts(payload)
    lengths_at = _HEAD.size + label_length
    at = lengths_at + 4 * count
    lengths = array("I", payload[lengths_at:at])
    if byteorder == "little":
        lengths.byteswap()
    rows = []
    for length in lengths:
        rows.append(payload[at : at + length])
        at += length
    return read_label(payload[_HEAD.size : lengths_at]), rows


def _checked_counts(payload: bytes) -> tuple[int, int]:
    """The lengths of the label and of the list of rows."""
    try:
        magic, checksum, label_length, count = _HEAD.unpack_from(payload)
    except error as cause:
        raise DamagedBatch("the payload is cut off") from cause
    if magic != MAGIC or sum_of(payload[_HEAD.size - 8 : _HEAD.size], payload[_HEAD.size :]) != checksum:
        raise DamagedBatch("the payload's checksum does not fit")
    return label_length, count


def sum_of(*parts: bytes) -> bytes:
    """The checksum of these bytes, one after another."""
    digest = blake2b(digest_size=_SUM_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()


# ---------------------------------------------------------------------- labels


def _label_bytes(batch: Batch, spans: Iterable[Span], created_us: int) -> bytes:
    tree = {
        "table": batch.table.name,
        "rows": len(batch.rows),
        "created_us": created_us,
        "recv_ns": [batch.oldest_recv_ns, batch.newest_recv_ns],
        "gaps": [[*gap.key, *gap[1:]] for gap in batch.gaps if isinstance(gap, Gap)],
        "filled": [[*gap.key, *gap[1:]] for gap in batch.gaps if isinstance(gap, GapFilled)],
        "spans": [[*span.key, *span[1:]] for span in spans],
    }
    return zlib.compress(orjson.dumps(tree), 1)


def read_label(label: bytes) -> Label:
    """What a label says. Raises DamagedBatch when it is none."""
    try:
        tree = orjson.loads(zlib.decompress(label))
        gaps = [Gap(StreamKey(*gap[:3]), *gap[3:]) for gap in tree["gaps"]]
        filled = [GapFilled(StreamKey(*gap[:3]), *gap[3:]) for gap in tree["filled"]]
        oldest_recv_ns, newest_recv_ns = tree["recv_ns"]
        return Label(
            table=_TABLES[tree["table"]],
            rows=tree["rows"],
            created_us=tree["created_us"],
            oldest_recv_ns=oldest_recv_ns,
            newest_recv_ns=newest_recv_ns,
            gaps=(*gaps, *filled),
            spans=tuple(Span(StreamKey(*span[:3]), *span[3:]) for span in tree["spans"]),
        )
    except (zlib.error, ValueError, KeyError, TypeError) as cause:
        raise DamagedBatch(f"the label cannot be read: {cause}") from cause


# ---------------------------------------------------------------------- what damage costs


def lost(label: Label) -> list[Gap]:
    """The gaps that stand for a batch whose rows are damaged: one for each stream in it.

    None for stored books (no stream misses anything) and for candles of which only open versions are
    lost (a later version replaces them).
    """
    return [_lost_span(span, label.created_us) for span in label.spans if _is_missed(span)]


def _lost_span(span: Span, opened_us: int) -> Gap:
    note = f"{span.rows} rows lay in a damaged part of the spool"
    return _gap(span.key, (span.first_id, span.last_id), (span.start_us, span.end_us), opened_us, note)


def _is_missed(span: Span) -> bool:
    kind = span.key.kind
    return kind != BOOK_KIND and (span.last_id is not None or not kind.startswith("kline_"))


def between(before: Mapping[StreamKey, Span], label: Label) -> list[Gap]:
    """The gaps before a batch when something unreadable lay there: from what is known before, to it.

    Upper bounds. Streams whose ids continue have none; of a stream that is not in `before` nothing is known.
    """
    found = []
    for span in label.spans:
        known = before.get(span.key)
        if known is None or span.key.kind == BOOK_KIND:
            continue
        ids = _ids_between(known, span)
        if ids is not None:
            times = (known.end_us, max(known.end_us, span.start_us))
            note = "an upper bound: a part of the spool that cannot be read lay here"
            found.append(_gap(span.key, ids, times, label.created_us, note))
    return found


def _ids_between(known: Span, span: Span) -> tuple[int | None, int | None] | None:
    """The range of ids, (None, None) for a kind without, None when nothing is missing."""
    kind = span.key.kind
    if ID_RULE[kind] == "none":
        return None, None
    if known.last_id is None or span.first_id is None:
        return None  # open candles: the closed version is still to come
    if ID_RULE[kind] == "candle":
        return _candles_between(known.last_id, span.first_id, interval_of(kind))
    first, last = known.last_id + 1, span.first_id - 1
    return (first, last) if first <= last else None


def _candles_between(known_ms: int, next_ms: int, interval: str) -> tuple[int, int] | None:
    first_ms = last_ms = next_open_us(known_ms * 1_000, interval) // 1_000
    if first_ms >= next_ms:
        return None
    while (later_ms := next_open_us(last_ms * 1_000, interval) // 1_000) < next_ms:
        last_ms = later_ms
    return first_ms, last_ms


def _gap(
    key: StreamKey,
    ids: tuple[int | None, int | None],
    times_us: tuple[int, int],
    opened_us: int,
    note: str,
) -> Gap:
    return Gap(
        key=key,
        first_id=ids[0],
        last_id=ids[1],
        start_us=times_us[0],
        end_us=times_us[1],
        cause="spool_damaged",
        repairable=key.kind in REPAIRABLE,
        note=note,
        opened_us=opened_us,
    )


def reach(found: dict[StreamKey, Span], spans: Iterable[Span]) -> None:
    """Take into `found` those spans that reach further than what is there."""
    for span in spans:
        known = found.get(span.key)
        if known is None or _reach(span) >= _reach(known):
            found[span.key] = span


def _reach(span: Span) -> tuple[int, int]:
    return (-1 if span.last_id is None else span.last_id, span.end_us)
