"""Where streams go on when rows wait on the disk: what is in the spool counts as known. Pure.

A stream resumes after the newest row that is safe, committed or spooled; so rows that an earlier process
left on the disk are neither fetched again nor called missing. What a query can see is still the committed.
"""

from collections.abc import Collection, Mapping

from ingest.buffer.origins import Span
from ingest.events import StreamKey
from ingest.store.lookup import ResumePoint


def with_spooled(
    points: Mapping[tuple[str, str], ResumePoint],
    spooled: Mapping[StreamKey, Span],
    keys: Collection[StreamKey],
) -> dict[tuple[str, str], ResumePoint]:
    """The points, by symbol and kind, moved on to what is spooled of these streams."""
    found = dict(points)
    for key in keys:
        span = spooled.get(key)
        point = None if span is None else _point(span)
        if point is None:
            continue
        known = found.get((key.symbol, key.kind))
        if known is None or _reach(point) > _reach(known):
            committed_us = 0 if known is None else known.ts_us
            found[key.symbol, key.kind] = point._replace(committed_us=committed_us)
    return found


def committed_spans(points: Mapping[tuple[str, str], ResumePoint]) -> dict[StreamKey, Span]:
    """How far the database reaches, in the spool's words."""
    found = {}
    for (symbol, kind), point in points.items():
        key = StreamKey("spot", symbol, kind)
        last_id = point.ts_us // 1_000 if kind.startswith("kline_") else point.last_id
        found[key] = Span(key, last_id, last_id, point.ts_us, point.ts_us, 0)
    return found


def _point(span: Span) -> ResumePoint | None:
    if not span.key.kind.startswith("kline_"):
        return ResumePoint(span.last_id, span.end_us)
    # Candles resume after the newest closed one, whose id is its open time.
    return None if span.last_id is None else ResumePoint(None, span.last_id * 1_000)


def _reach(point: ResumePoint) -> tuple[int, int]:
    return (-1 if point.last_id is None else point.last_id, point.ts_us)
