"""Streams, messages and feeds as tests want them: valid by default, each test says what is different."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ingest.book.sync import Action, BookSync
from ingest.buffer.batcher import Batch, Batcher, BatchLimits
from ingest.buffer.tables import Table
from ingest.events import Gap, GapFilled, StreamKey
from ingest.feed.contract import FeedEnd, FeedSession, Signs
from ingest.feed.endings import EndCounts
from ingest.feed.lifecycle import FeedPhase
from ingest.shard.pipeline import FeedLane, SessionCounters
from ingest.shard.stream import Stream, StreamContext
from ingest.shard.streams import make_bookless, make_stream

SYMBOL = "BTCUSDT"
T0_MS = 1_760_000_000_000
T0_US = T0_MS * 1_000
RECV_NS = T0_US * 1_000
MINUTE_MS = 60_000


@dataclass
class SetInstant:
    """A time that the test sets."""

    now_s: float = 1_000.0
    wall_us: int = T0_US


class SetClock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.now_ns = RECV_NS

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_s(self) -> float:
        return self.now_s


@dataclass
class FakeFeed:
    """What a lane and the board see of a feed."""

    number: int = 3
    phase: FeedPhase = FeedPhase.LIVE
    acknowledged_ids: list[int] = field(default_factory=list)
    refusals: list[tuple[str, int | None]] = field(default_factory=list)
    shutdowns: int = 0
    messages: int = 0
    reconnects: int = 0
    last_frame_ns: int = 0
    last_close_code: int = 0
    sessions: int = 1
    ends: EndCounts = field(default_factory=EndCounts)
    signs: Signs = field(default_factory=Signs)

    def acknowledged(self, request_id: int) -> None:
        self.acknowledged_ids.append(request_id)

    def refused(self, message: str, request_id: int | None) -> None:
        self.refusals.append((message, request_id))

    def shutdown_announced(self) -> None:
        self.shutdowns += 1


@dataclass
class Bench:
    """A batcher, a time, and streams built on them."""

    batcher: Batcher = field(default_factory=Batcher)
    instant: SetInstant = field(default_factory=SetInstant)
    slots: int = 0

    @classmethod
    def with_buffer(cls, buffer_bytes: int) -> "Bench":
        """A bench whose batcher refuses rows beyond so many bytes."""
        return cls(Batcher(BatchLimits(buffer_bytes=buffer_bytes)))

    def stream(
        self,
        kind: str,
        *,
        symbol: str = SYMBOL,
        book: BookSync | None = None,
        act: Callable[[Action], None] | None = None,
        bookless: bool = False,
    ) -> Stream:
        self.slots += 1
        context = StreamContext(
            key=StreamKey("spot", symbol, kind),
            slot=self.slots - 1,
            number=self.slots + 99,
            symbol_id=7,
            feed=3,
            batcher=self.batcher,
            instant=self.instant,
        )
        if bookless:
            return make_bookless(context)
        if kind == "depth":
            return make_stream(context, book=book or BookSync(symbol), act=act or ignored)
        return make_stream(context)

    def taken(self, table: Table) -> Batch | None:
        """Everything that waits for a table, acknowledged, so that it makes room."""
        batch = self.batcher.take(table, self.instant.now_s, force=True)
        if batch is not None:
            self.batcher.acknowledge(batch)
        return batch

    def gaps(self, table: Table) -> list[Gap | GapFilled]:
        """The gaps that wait for a table; its rows go with them."""
        batch = self.taken(table)
        return list(batch.gaps) if batch is not None else []

    def rows(self, table: Table) -> int:
        """How many rows wait for a table; they are taken."""
        batch = self.taken(table)
        return len(batch.rows) if batch is not None else 0


def ignored(_: Action) -> None:
    """What a book asks for when the test is about something else."""


def a_lane(streams: Sequence[Stream], feed: FakeFeed | None = None, **callbacks: object) -> FeedLane:
    """A lane for these streams, attached to a feed that does nothing."""
    lane = FeedLane(
        streams,
        SessionCounters(),
        on_malformed=callbacks.get("on_malformed", lambda *_: None),  # type: ignore[arg-type]
        on_session=callbacks.get("on_session", lambda *_: None),  # type: ignore[arg-type]
    )
    lane.attach(feed or FakeFeed())  # type: ignore[arg-type]
    return lane


A_SESSION = FeedSession(feed=3, url="ws://exchange/stream", connected_wall_ns=RECV_NS)
AN_END = FeedEnd(reason="connection_lost", code=1006, age_s=5.0, messages=12)


# --- messages ---------------------------------------------------------------------------------------


def trade(trade_id: int, *, symbol: str = SYMBOL, at_ms: int | None = None) -> dict[str, object]:
    at_ms = T0_MS + trade_id if at_ms is None else at_ms
    fields = {"s": symbol, "t": trade_id, "p": "100.10000000", "q": "2.00000000", "m": True}
    return {"e": "trade", "E": at_ms, "T": at_ms, **fields}


def agg_trade(agg_id: int) -> dict[str, object]:
    return {**trade(1), "e": "aggTrade", "a": agg_id, "f": agg_id * 2, "l": agg_id * 2 + 1}


def book_ticker(update_id: int, *, symbol: str = SYMBOL) -> dict[str, object]:
    sides = {"b": "100.00000000", "B": "1.00000000", "a": "100.10000000", "A": "1.00000000"}
    return {"s": symbol, "u": update_id, **sides}


def depth(first: int, final: int) -> dict[str, object]:
    level = ["100.00000000", "1.00000000"]
    ids = {"U": first, "u": final}
    return {"e": "depthUpdate", "E": T0_MS + final, "s": SYMBOL, **ids, "b": [level], "a": []}


def kline(minute: int, *, closed: bool = False, after_ms: int = 1_000) -> dict[str, object]:
    open_ms = T0_MS // MINUTE_MS * MINUTE_MS + minute * MINUTE_MS
    prices = dict.fromkeys("ohlcvqVQ", "1.00000000")
    times = {"t": open_ms, "T": open_ms + MINUTE_MS - 1}
    candle = {**times, "s": SYMBOL, "i": "1m", "f": 1, "L": 2, "n": 2, "x": closed, **prices}
    return {"e": "kline", "E": open_ms + after_ms, "s": SYMBOL, "k": candle}


def mini_ticker(at_ms: int) -> dict[str, object]:
    return {"e": "24hrMiniTicker", "E": at_ms, "s": SYMBOL, **dict.fromkeys("cohlvq", "1.00000000")}
