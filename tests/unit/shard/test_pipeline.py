"""`ingest.shard.pipeline`: frames to their streams, control messages to their feed, commits back."""

from dataclasses import replace

import orjson
import pytest

from ingest.book.sync import BookSync
from ingest.buffer.tables import BOOK_TICKERS, TRADES
from ingest.events import Gap, StreamKey
from ingest.feed.contract import FeedEnd, FeedSession
from ingest.shard.pipeline import Commits, SessionCounters
from ingest.store.sink import Written
from tests.unit.shard import builders as a
from tests.unit.shard.builders import A_SESSION, AN_END, RECV_NS, Bench, FakeFeed, a_lane


def combined(name: str, data: object) -> bytes:
    return orjson.dumps({"stream": name, "data": data})


def test_frame_reaches_the_stream_that_it_names() -> None:
    """And no other; the lane remembers when data last came."""
    bench = Bench()
    btc, eth = bench.stream("trade"), bench.stream("trade", symbol="ETHUSDT")
    lane = a_lane([btc, eth])
    lane.on_frame(combined("ethusdt@trade", a.trade(5, symbol="ETHUSDT")), RECV_NS)

    assert (btc.messages, eth.messages) == (0, 1)
    assert lane.last_data_ns == RECV_NS


@pytest.mark.parametrize(
    "frame",
    [
        b'{"stream":"btcusdt@trade","da',
        b'{"stream":"btcusdt@trade","data":{"s":"BTC\xff\xfe"}}',
        combined("btcusdt@trade", {**a.trade(1), "p": [1]}),
        combined("neverheard@ofThis", {"e": "neverHeardOf"}),
        combined("btcusdt@trade", a.trade(1, symbol="ETHUSDT")),
        b"[7]",
        b"",
    ],
    ids=["truncated", "non-utf8", "wrong-type", "unknown-stream", "wrong-symbol", "no-object", "empty"],
)
def test_frame_that_cannot_be_used_is_kept_and_counted(frame: bytes) -> None:
    """It stops nothing: the frame behind it is taken."""
    bench, kept = Bench(), list[tuple[int, str, bytes]]()
    stream = bench.stream("trade")
    lane = a_lane([stream], on_malformed=lambda *fields: kept.append(fields))
    lane.on_frame(frame, RECV_NS)
    lane.on_frame(combined("btcusdt@trade", a.trade(1)), RECV_NS)

    ((feed, error, payload),) = kept
    assert (feed, payload) == (3, frame)
    assert error
    assert bench.rows(TRADES) == 1


@pytest.mark.parametrize(
    ("frame", "in_doubt"),
    [
        (b'{"stream":"btcusdt@bookTicker","data":{"u":8,"s":"BTC', ["BTCUSDT"]),
        (combined("ethusdt@bookTicker", {**a.book_ticker(8, symbol="ETHUSDT"), "b": [1]}), ["ETHUSDT"]),
        (b'{"stream":"btcusdt@bookTicker","data":{"s":"BTC\xff\xfe"}}', ["BTCUSDT"]),
        (combined("neverheard@ofThis", {"e": "neverHeardOf"}), ["BTCUSDT", "ETHUSDT"]),
        (b'{"stre', ["BTCUSDT", "ETHUSDT"]),
        (b"", ["BTCUSDT", "ETHUSDT"]),
        (b"[7]", ["BTCUSDT", "ETHUSDT"]),
        (b'{"e":"somethingNew","E":1}', []),
    ],
    ids=["truncated", "wrong-type", "non-utf8", "unknown-stream", "no-name", "empty", "no-object", "notice"],
)
def test_what_a_frame_that_cannot_be_used_may_have_held_is_in_the_ledger(
    frame: bytes, in_doubt: list[str]
) -> None:
    """Of streams whose ids do not tell: the one it names, or all of the feed when that is not known."""
    bench = Bench()
    streams = [bench.stream("book_ticker"), bench.stream("book_ticker", symbol="ETHUSDT")]
    lane = a_lane(streams)
    for update_id in (5, 9):
        for stream in streams:
            name = f"{stream.symbol.lower()}@bookTicker"
            lane.on_frame(combined(name, a.book_ticker(update_id, symbol=stream.symbol)), RECV_NS)
        if update_id == 5:
            lane.on_frame(frame, RECV_NS)

    gaps = [gap for gap in bench.gaps(BOOK_TICKERS) if isinstance(gap, Gap)]
    assert [(gap.key.symbol, gap.first_id, gap.last_id, gap.cause) for gap in gaps] == [
        (symbol, 6, 8, "sequence") for symbol in in_doubt
    ]


def test_late_row_bridges_no_break() -> None:
    """A book ticker from before a reconnect says nothing of what was missed in it."""
    bench = Bench()
    stream = bench.stream("book_ticker")
    for update_id in (5, 9):
        stream.accept(a.book_ticker(update_id), RECV_NS)
    stream.broke()
    for update_id in (7, 12):
        stream.accept(a.book_ticker(update_id), RECV_NS)

    batch = bench.taken(BOOK_TICKERS)
    assert batch is not None
    assert len(batch.rows) == 4
    (gap,) = batch.gaps
    assert isinstance(gap, Gap)
    assert (gap.first_id, gap.last_id, gap.cause) == (10, 11, "disconnect")


def test_answers_go_to_the_feed() -> None:
    """Acknowledgements by their number, refusals by their words."""
    feed = FakeFeed()
    lane = a_lane([Bench().stream("trade")], feed)
    lane.on_frame(b'{"result":null,"id":4}', RECV_NS)
    lane.on_frame(b'{"result":null,"id":"foreign"}', RECV_NS)
    lane.on_frame(b'{"error":{"code":2,"msg":"Invalid request"},"id":5}', RECV_NS)

    assert feed.acknowledged_ids == [4]
    assert feed.refusals == [("Invalid request", 5)]


@pytest.mark.parametrize(
    "frame",
    [b'{"e":"serverShutdown","E":1}', b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}'],
)
def test_announced_shutdown_reaches_the_feed(frame: bytes) -> None:
    """In either form of the notice."""
    feed = FakeFeed()
    a_lane([Bench().stream("trade")], feed).on_frame(frame, RECV_NS)

    assert feed.shutdowns == 1


def test_answers_are_no_data() -> None:
    """Neither acknowledgement nor notice makes a feed look alive."""
    lane = a_lane([Bench().stream("trade")])
    lane.on_frame(b'{"result":null,"id":4}', RECV_NS)

    assert lane.last_data_ns == 0


def test_end_of_a_connection_reaches_every_stream_and_the_records() -> None:
    """Opening and end are recorded with the number of streams."""
    told = list[tuple[FeedSession, int, FeedEnd | None]]()
    bench = Bench()
    streams = [bench.stream("trade"), bench.stream("book_ticker")]
    lane = a_lane(streams, on_session=lambda *fields: told.append(fields))
    lane.on_connected(A_SESSION)
    lane.on_disconnected(A_SESSION, AN_END)

    assert told == [(A_SESSION, 2, None), (A_SESSION, 2, AN_END)]
    assert [stream.reconnects for stream in streams] == [1, 1]


def test_seamless_end_breaks_nothing() -> None:
    """Another connection carries the streams: what it brings next follows what came last."""
    bench = Bench()
    stream, book = bench.stream("trade"), BookSync(a.SYMBOL)
    depth = bench.stream("depth", book=book)
    lane = a_lane([stream, depth])
    for each in (stream, depth):
        each.accept(a.trade(1) if each is stream else a.depth(1, 2), RECV_NS)
    state = book.state
    lane.on_connected(A_SESSION)
    lane.on_connected(A_SESSION)
    lane.on_disconnected(A_SESSION, replace(AN_END, seamless=True))

    assert (stream.reconnects, depth.reconnects, book.state) == (0, 0, state)
    assert stream.messages == stream.messages_before


def test_two_connections_may_be_of_different_speed() -> None:
    """A book ticker that the faster one was subscribed too late for is kept when the slower one brings it."""
    bench = Bench()
    stream = bench.stream("book_ticker")
    lane = a_lane([stream])
    lane.on_connected(A_SESSION)
    stream.accept(a.book_ticker(5), RECV_NS)
    lane.on_connected(A_SESSION)
    for update_id in (8, 7, 7, 8, 5):
        stream.accept(a.book_ticker(update_id), RECV_NS)
    lane.on_disconnected(A_SESSION, replace(AN_END, seamless=True))
    for update_id in (4, 7):
        stream.accept(a.book_ticker(update_id), RECV_NS)

    assert bench.rows(stream.table) == 3
    assert stream.duplicates == 5


def test_streams_come_and_go() -> None:
    """A new one is heard; what still comes for one that was given up is no malformed frame."""
    bench, kept = Bench(), list[tuple[int, str, bytes]]()
    btc, eth = bench.stream("trade"), bench.stream("trade", symbol="ETHUSDT")
    lane = a_lane([btc], on_malformed=lambda *fields: kept.append(fields))
    assert lane.add([eth]) == ["ethusdt@trade"]
    assert lane.remove([btc]) == ["btcusdt@trade"]
    lane.on_frame(combined("ethusdt@trade", a.trade(5, symbol="ETHUSDT")), RECV_NS)
    lane.on_frame(combined("btcusdt@trade", a.trade(5)), RECV_NS)

    assert [stream.messages for stream in (btc, eth)] == [0, 1]
    assert kept == []


def test_streams_that_were_mute_are_marked_if_they_are_still_here() -> None:
    """And nobody else: not their neighbours, not one that was dropped meanwhile."""
    bench = Bench()
    btc, eth, bnb = (bench.stream("trade", symbol=f"{coin}USDT") for coin in ("BTC", "ETH", "BNB"))
    lane = a_lane([btc, eth, bnb])
    lane.remove([bnb])
    lane.broke([btc, bnb], "resubscribe")

    assert [stream.reconnects for stream in (btc, eth, bnb)] == [1, 0, 0]


def test_commit_makes_events_visible() -> None:
    """A stream's committed time is that of the newest row in the batch, and never goes back."""
    bench, counters = Bench(), SessionCounters()
    stream = bench.stream("trade")
    commits = Commits({stream.number: stream}, counters)
    for trade_id in (1, 5, 3):
        stream.accept(a.trade(trade_id), RECV_NS)
        batch = bench.taken(TRADES)
        assert batch is not None
        commits.on_commit(batch, Written(1, 2, staged=False), RECV_NS + 7_000_000)

    assert stream.committed_event_us == a.T0_US + 5_000
    assert stream.committed_wall_ns == RECV_NS + 7_000_000
    assert (counters.batches_committed, counters.rows_committed, counters.conflicts) == (3, 3, 6)
    assert counters.latency_us(0.5) == 7_000


def test_latency_of_nothing_is_zero() -> None:
    """Before the first commit there is none to tell of."""
    assert SessionCounters().latency_us(0.99) == 0


def test_streams_of_non_ascii_symbols_are_found() -> None:
    """The exchange has symbols beyond ASCII, and writes them in its frames as they are."""
    bench = Bench()
    stream = bench.stream("trade", symbol="币安人生USDT")
    lane = a_lane([stream])
    lane.on_frame(combined("币安人生usdt@trade", a.trade(1, symbol="币安人生USDT")), RECV_NS)

    assert stream.key == StreamKey("spot", "币安人生USDT", "trade")
    assert stream.messages == 1
