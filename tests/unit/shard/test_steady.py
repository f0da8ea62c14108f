"""`ingest.shard.steady`: whatever happens to a stream, the short way leaves what the long way leaves."""

from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.book.sync import BookSync
from ingest.buffer.batcher import Batch
from ingest.buffer.tables import table_of_kind
from ingest.events import DepthSnapshot, StreamKey
from ingest.shard.kinds import BookTickerStream, DeltaStream, DepthStream, TradeStream
from ingest.shard.steady import (
    SteadyBookTickerStream,
    SteadyDeltaStream,
    SteadyDepthStream,
    SteadyTradeStream,
)
from ingest.shard.stream import Stream, StreamContext
from tests.unit.shard import builders as a
from tests.unit.shard.builders import RECV_NS, SYMBOL, Bench

Step: TypeAlias = tuple[object, ...]
"""What happens, and with what."""

MESSAGES: dict[str, Callable[[int, int], dict[str, object]]] = {
    "trade": lambda first, last: a.trade(last),
    "book_ticker": lambda first, last: a.book_ticker(last),
    "depth": a.depth,
}
FIELDS = {"trade": "stTpqm", "book_ticker": "subBaA", "depth": "sEUuba"}
RUBBISH: st.SearchStrategy[object] = st.sampled_from(
    [
        *(None, True, False, -1, 0, 2**63, 10**18, 1.5, "", "x", "1", "0.0", "-1.5", "1e5", "٣.5", "1.2.3"),
        *("00.00000000", "12345.67800000", "ETHUSDT", [], {}, [["1.0"]], [[1, 2]], [["1.0", "2.0", "3.0"]]),
        *([["01.0", "2.0"]], [["100.10000000", "0.000000000"]], [["1\t2", "3"]], ["12"], [("5", "6")]),
    ]
)
STEPS = st.lists(
    st.one_of(
        # An id relative to the newest one, and how many updates a delta spans.
        st.tuples(st.just("message"), st.sampled_from([1] * 12 + [0, -1, -3, 2, 5]), st.integers(0, 2)),
        st.tuples(st.just("damaged"), st.integers(0, 5), RUBBISH),
        st.tuples(st.just("lacking"), st.integers(0, 5)),
        st.sampled_from(
            [("broke",), ("doubt",), ("overlap", True), ("overlap", False), ("taken",), ("snapshot",)]
        ),
    ),
    max_size=40,
)


def the_stream(kind: str, cls: type[Stream], bench: Bench, acted: list[object]) -> Stream:
    context = StreamContext(
        key=StreamKey("spot", SYMBOL, kind),
        slot=0,
        number=5,
        symbol_id=7,
        feed=3,
        batcher=bench.batcher,
        instant=bench.instant,
    )
    return cls(context, BookSync(SYMBOL), acted.append) if issubclass(cls, DepthStream) else cls(context)


def after(kind: str, cls: type[Stream], steps: list[Step], buffer_bytes: int) -> dict[str, object]:
    """Everything that can be seen of a stream when all this has happened to it."""
    acted: list[object] = []
    errors: list[str] = []
    bench = Bench.with_buffer(buffer_bytes)
    stream = the_stream(kind, cls, bench, acted)
    batches: list[object] = []
    newest = 100
    for number, (what, *how) in enumerate(steps):
        bench.instant.now_s += 0.25
        if what in {"message", "damaged", "lacking"}:
            ahead, span = how if what == "message" else (1, 0)
            first = newest + int(str(ahead))
            last = first + int(str(span))
            message = MESSAGES[kind](first, last)
            if what != "message":
                field = FIELDS[kind][int(str(how[0]))]
                message.pop(field, None)
                message |= {field: how[1]} if what == "damaged" else {}
            try:
                stream.accept(message, RECV_NS + number * 1_000_001)
            except ValueError as error:
                errors.append(str(error))
            newest = max(newest, last)
        elif what == "taken":
            batches.append(seen(bench.taken(table_of_kind(kind))))
        elif what == "snapshot":
            answer(stream, newest)
        elif what == "overlap":
            stream.overlap(bool(how[0]))
        else:
            getattr(stream, str(what))()
    batches.append(seen(bench.taken(table_of_kind(kind))))
    hidden = {"is_steady", "_add", "_batcher", "_instant", "_act", "book", "tracker"}
    of_class = set(vars(the_stream(kind, SLOW[cls], Bench(), [])))
    told = {name: value for name, value in vars(stream).items() if name in of_class - hidden}
    return told | {
        "batches": batches,
        "errors": errors,
        "acted": acted,
        "tracked": stream.tracker.last_id,  # type: ignore[attr-defined]
        "book": book_of(stream),
        "held": bench.batcher.stats(),
    }


def answer(stream: Stream, newest: int) -> None:
    """The snapshot that a book has asked for, or is compared with."""
    if not isinstance(stream, DepthStream):
        return
    snapshot = DepthSnapshot(SYMBOL, newest, 0, [("99.00000000", "1")], [("200.00000000", "1")], "sync", 0)
    if stream.book.state.name == "BUFFERING" or stream.book.look_again():
        stream.book.on_snapshot(snapshot)


def book_of(stream: Stream) -> object:
    if not isinstance(stream, DepthStream):
        return None
    book = stream.book.book
    return stream.book.state, stream.book.update_id, None if book is None else (book.bids, book.asks)


def seen(batch: Batch | None) -> object:
    return None if batch is None else (batch.rows, batch.size_bytes, dict(batch.marks), batch.gaps)


SLOW: dict[type[Stream], type[Stream]] = {
    SteadyTradeStream: TradeStream,
    SteadyBookTickerStream: BookTickerStream,
    SteadyDeltaStream: DeltaStream,
    SteadyDepthStream: DepthStream,
}
SLOW |= {slow: slow for slow in SLOW.values()}


@pytest.mark.parametrize(
    ("kind", "steady"),
    [
        ("trade", SteadyTradeStream),
        ("book_ticker", SteadyBookTickerStream),
        ("depth", SteadyDeltaStream),
        ("depth", SteadyDepthStream),
    ],
)
@settings(max_examples=500)
@given(steps=STEPS, buffer_bytes=st.sampled_from([400, 1_200, 10**6]))
@example(steps=[("message", 1, 0)] * 4, buffer_bytes=10**6)
@example(steps=[("message", 1, 0), ("snapshot",), ("message", 1, 2), ("message", 1, 2)], buffer_bytes=10**6)
@example(steps=[("message", 1, 0), ("damaged", 2, True), ("message", 1, 0)], buffer_bytes=10**6)
@example(steps=[("message", 1, 0), ("damaged", 1, True), ("message", 1, 0)], buffer_bytes=10**6)
@example(steps=[("message", 1, 0), ("damaged", 3, 0), ("message", 1, 0)], buffer_bytes=10**6)
@example(steps=[("message", 1, 0), ("damaged", 5, "1e5"), ("message", 1, 0)], buffer_bytes=10**6)
@example(steps=[("message", 1, 0)] * 3 + [("taken",)] + [("message", 1, 0)] * 3, buffer_bytes=400)
def test_short_way_leaves_what_the_long_way_leaves(
    kind: str, steady: type[Stream], steps: list[Step], buffer_bytes: int
) -> None:
    """Rows, marks, gaps, counters, errors and books are the same for messages of any kind."""
    assert after(kind, steady, steps, buffer_bytes) == after(kind, SLOW[steady], steps, buffer_bytes)


@pytest.mark.parametrize("kind", ["trade", "book_ticker", "depth"])
def test_second_message_finds_the_stream_steady(kind: str) -> None:
    """Otherwise the comparison above would compare the long way with itself."""
    stream = Bench().stream(kind)
    stream.accept(MESSAGES[kind](1, 1), RECV_NS)
    long_way = stream.store
    stream.store = None  # type: ignore[method-assign, assignment]  # whoever takes it fails
    stream.accept(MESSAGES[kind](2, 2), RECV_NS)

    assert stream.last_id == 2
    assert long_way is not None
