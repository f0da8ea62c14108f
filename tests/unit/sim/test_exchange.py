"""The exchange without its network: what follows from what happens."""

import itertools
from random import Random
from typing import Any
from zlib import crc32

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.sim.book import Book
from ingest.sim.channels import COMBINED_MS, RAW_MS, Outbox
from ingest.sim.decimals import units
from ingest.sim.exchange import Exchange
from ingest.sim.instrument import parsed_levels
from ingest.sim.intervals import open_time_ms
from ingest.sim.ledger import Ledger, depth_fields
from ingest.sim.market import Market, MarketPlan
from ingest.sim.playback import Playback
from ingest.sim.recording import bundled_recording
from ingest.sim.streams import KIND_OF_SUFFIX

START_US = 1_700_000_000_000_000
Event = dict[str, Any]


def _exchange(seed: int = 1, *, symbols: int = 2, rate: float = 500.0) -> Exchange:
    market = Market(MarketPlan(symbols=symbols, rate=rate, seed=seed, levels=40), Random(seed))
    exchange = Exchange([market], Ledger())
    exchange.start(START_US)
    return exchange


def _run(exchange: Exchange, seconds: float, *, since: float = 0.0) -> None:
    """Advance in steps of 5 ms, as the server does."""
    now_us, end_us = START_US + int(since * 1e6), START_US + int(seconds * 1e6)
    while now_us < end_us:
        now_us += 5_000
        while not exchange.advance(now_us):
            pass


def _listen(exchange: Exchange, *streams: str) -> Outbox:
    outbox = Outbox(1, COMBINED_MS)
    for stream in streams:
        exchange.subscribe(outbox, stream)
    return outbox


def _events(outbox: Outbox, stream: str) -> list[Event]:
    texts = [frame[frame.index(b'{"stream') :] for frame in outbox.frames]
    wrapped = [orjson.loads(text) for text in texts]
    return [each["data"] for each in wrapped if each["stream"] == stream]


def _all_streams(symbol: str) -> list[str]:
    return [f"{symbol}@{suffix}" for suffix in KIND_OF_SUFFIX]


def test_every_documented_stream_carries_events() -> None:
    """A busy symbol is heard on each of its streams."""
    exchange = _exchange(rate=1000.0)
    streams = [*_all_streams("btcusdt"), "!miniTicker@arr"]
    outbox = _listen(exchange, *streams)
    _run(exchange, 4.0)

    assert {stream for stream in streams if not _events(outbox, stream)} == set()


@pytest.mark.parametrize(
    ("kind", "suffix", "field"), [("trade", "trade", "t"), ("agg_trade", "aggTrade", "a")]
)
def test_exchange_may_leave_ids_out(kind: str, suffix: str, field: str) -> None:
    """Stream, ledger and history agree on the hole, and aggregates on the trades that they are made of."""
    exchange = _exchange(symbols=1)
    (symbol,) = exchange.instruments
    outbox = _listen(exchange, f"{symbol.lower()}@{suffix}", f"{symbol.lower()}@aggTrade")
    _run(exchange, 1.0)
    exchange.skip_ids(symbol, kind, 7)
    exchange.skip_ids(symbol, kind, 2)
    _run(exchange, 2.0, since=1.0)

    ids = [event[field] for event in _events(outbox, f"{symbol.lower()}@{suffix}")]
    steps = [later - earlier for earlier, later in itertools.pairwise(ids)]
    assert {step for step in steps if step != 1} == {10}
    assert [entry.event_id for entry in exchange.ledger.entries(symbol, kind)] == ids
    tape = exchange.instruments[symbol].tape
    history = tape.trades if kind == "trade" else tape.aggs
    assert [history.at(index)[0] for index in range(len(history))] == ids
    trades = {entry.event_id for entry in exchange.ledger.entries(symbol, "trade")}
    aggs = _events(outbox, f"{symbol.lower()}@aggTrade")
    assert trades == {each for agg in aggs for each in range(agg["f"], agg["l"] + 1)}


def test_unknown_streams_are_silent() -> None:
    """Subscribing to what does not exist changes nothing."""
    exchange = _exchange()
    outbox = _listen(exchange, "nosuchusdt@trade", "btcusdt@nosuch", "BTCUSDT@trade", "!ticker@arr")
    _run(exchange, 1.0)

    assert (outbox.frames, outbox.channels) == ([], {})


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_ledger_holds_what_was_published(seed: int) -> None:
    """Ids and digests of trades, aggregates, tickers and depth equal those of the frames."""
    exchange = _exchange(seed, symbols=1)
    outbox = _listen(exchange, *_all_streams("btcusdt"))
    _run(exchange, 1.5)
    exchange.finish(START_US + 1_500_000)

    for suffix, key, fields in (
        ("trade", "t", "pqm"),
        ("aggTrade", "a", "pqflm"),
        ("bookTicker", "u", "bBaA"),
        ("miniTicker", "E", "cohlvq"),
        ("avgPrice", "E", "w"),
    ):
        events = _events(outbox, f"btcusdt@{suffix}")
        entries = exchange.ledger.entries("BTCUSDT", KIND_OF_SUFFIX[suffix])
        digests = [crc32("|".join(_printed(event[f]) for f in fields).encode()) for event in events]
        assert [(e.event_id, e.digest) for e in entries] == list(
            zip([event[key] for event in events], digests, strict=True)
        )
    deltas = _events(outbox, "btcusdt@depth@100ms")
    entries = exchange.ledger.entries("BTCUSDT", "depth")
    assert [(e.event_id, e.digest) for e in entries] == [(d["u"], _depth_digest(d)) for d in deltas]


def _printed(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _depth_digest(delta: Event) -> int:
    sides = (orjson.dumps(delta[side])[1:-1] for side in "ba")
    return crc32(depth_fields(int(delta["U"]), *sides))


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_klines_aggregate_the_trades(seed: int) -> None:
    """The last kline of each minute agrees with the trade stream in every field."""
    exchange = _exchange(seed, symbols=1)
    outbox = _listen(exchange, "btcusdt@trade", "btcusdt@kline_1s")
    _run(exchange, 4.0)
    trades = _events(outbox, "btcusdt@trade")
    closed = [e["k"] for e in _events(outbox, "btcusdt@kline_1s") if e["k"]["x"]]

    assert len(closed) >= 3
    for kline in closed:
        inside = [t for t in trades if open_time_ms("1s", int(t["T"])) == kline["t"]]
        assert kline["n"] == len(inside)
        if inside:
            assert (kline["o"], kline["c"]) == (inside[0]["p"], inside[-1]["p"])
            assert units(kline["h"]) == max(units(t["p"]) for t in inside)
            assert units(kline["l"]) == min(units(t["p"]) for t in inside)
            assert units(kline["v"]) == sum(units(t["q"]) for t in inside)
            assert (kline["f"], kline["L"]) == (inside[0]["t"], inside[-1]["t"])


def test_closed_kline_enters_the_ledger_without_listeners() -> None:
    """Candles close and are kept whether or not anybody listens."""
    exchange = _exchange()
    _run(exchange, 2.5)

    assert [e.event_id for e in exchange.ledger.entries("BTCUSDT", "kline_1s")] == [
        START_US // 1000,
        START_US // 1000 + 1000,
    ]


@pytest.mark.parametrize("suffix", ["depth@100ms", "depth", "depth@1000ms"])
def test_both_depth_speeds_lead_to_the_same_book(suffix: str) -> None:
    """Windows of 100 ms and of a second are continuous and rebuild the book."""
    exchange = _exchange(symbols=1)
    book = exchange.instruments["BTCUSDT"].book.copy()
    outbox = _listen(exchange, f"btcusdt@{suffix}")
    _run(exchange, 3.0)
    exchange.finish(START_US + 3_000_000)

    for delta in _events(outbox, f"btcusdt@{suffix}"):
        assert delta["U"] == book.update_id + 1
        sides = (parsed_levels(orjson.dumps(delta[side])[1:-1]) for side in "ba")
        book.apply(int(delta["u"]), *sides)
    assert _state(book) == _state(exchange.instruments["BTCUSDT"].book)


def _state(book: Book) -> tuple[int, dict[int, int], dict[int, int]]:
    return book.update_id, book.bids, book.asks


def test_tickers_agree_with_the_trades() -> None:
    """The day's sums are those of all trades so far, and the mini ticker says the same."""
    exchange = _exchange(symbols=1)
    outbox = _listen(exchange, "btcusdt@trade", "btcusdt@ticker", "btcusdt@miniTicker")
    _run(exchange, 2.5)
    ticker, mini = _events(outbox, "btcusdt@ticker")[-1], _events(outbox, "btcusdt@miniTicker")[-1]
    trades = [t for t in _events(outbox, "btcusdt@trade") if t["t"] <= ticker["L"]]

    assert (ticker["n"], ticker["F"], ticker["L"]) == (len(trades), trades[0]["t"], trades[-1]["t"])
    assert units(ticker["v"]) == sum(units(t["q"]) for t in trades)
    assert (ticker["o"], ticker["c"], ticker["Q"]) == (trades[0]["p"], trades[-1]["p"], trades[-1]["q"])
    assert {key: mini[key] for key in "cohlvq"} == {key: ticker[key] for key in "cohlvq"}


def test_break_silences_a_symbol_and_halt_does_not() -> None:
    """BREAK generates no market data; HALT still does."""
    exchange = _exchange()
    exchange.set_status("BTCUSDT", "BREAK")
    outbox = _listen(exchange, *_all_streams("btcusdt"))
    _run(exchange, 2.0)
    assert outbox.frames == []

    exchange.set_status("BTCUSDT", "HALT")
    _run(exchange, 3.0, since=2.0)
    assert outbox.frames != []


def test_a_delisted_symbol_is_gone_for_good() -> None:
    """Nothing more comes of it, not even its open depth window; its name is neither known nor to be had."""
    exchange = _exchange()
    outbox = _listen(exchange, *_all_streams("btcusdt"))
    _run(exchange, 2.0)
    exchange.delist("BTCUSDT")
    outbox.frames.clear()
    before = {(each.symbol, each.kind): each.happened for each in exchange.ledger.all_series()}
    _run(exchange, 4.0, since=2.0)

    after = {(each.symbol, each.kind): each.happened for each in exchange.ledger.all_series()}
    assert outbox.frames == []
    assert exchange.channel("btcusdt@trade") is None
    grown = {symbol for symbol, kind in after if after[symbol, kind] > before.get((symbol, kind), 0)}
    assert grown == {"ETHUSDT"}
    with pytest.raises(KeyError):
        exchange.delist("BTCUSDT")
    with pytest.raises(KeyError):
        exchange.list_symbol("BTCUSDT", START_US)


def test_a_listed_symbol_trades_beside_the_others() -> None:
    """A new symbol speaks on all its streams, and the others are no slower for it."""
    exchange = _exchange()
    _run(exchange, 10.0)
    former = exchange.ledger.series("BTCUSDT", "book_ticker").happened
    exchange.list_symbol("NEWUSDT", START_US + 10_000_000)
    outbox = _listen(exchange, "newusdt@trade", "newusdt@depth@100ms", "newusdt@bookTicker")
    _run(exchange, 20.0, since=10.0)

    assert all(_events(outbox, name) for name in outbox.channels)
    assert exchange.ledger.series("BTCUSDT", "book_ticker").happened - former > former * 0.8


def test_pause_leaves_no_depth_window_open() -> None:
    """What REST says of the book in a pause is what the stream has said."""
    exchange = _exchange()
    outbox = _listen(exchange, "btcusdt@depth@100ms")
    _run(exchange, 1.0)
    exchange.pause(START_US + 1_000_000)

    assert _events(outbox, "btcusdt@depth@100ms")[-1]["u"] == exchange.instruments["BTCUSDT"].book.update_id


def test_paused_time_is_left_out() -> None:
    """After an hour's pause the market goes on without a burst."""
    exchange = _exchange()
    _run(exchange, 1.0)
    exchange.pause(START_US + 1_000_000)
    before = exchange.ledger.happened
    exchange.advance(START_US + 3_600_000_000)
    assert exchange.ledger.happened == before

    exchange.resume(START_US + 3_600_000_000)
    assert exchange.advance(START_US + 3_600_005_000)
    assert _happened_but_klines(exchange) < before + 100


def test_nothing_happens_after_finish() -> None:
    """Finished is finished."""
    exchange = _exchange()
    _run(exchange, 1.0)
    exchange.finish(START_US + 1_000_000)
    happened = exchange.ledger.happened
    _run(exchange, 2.0, since=1.0)

    assert exchange.ledger.happened == happened
    assert exchange.phase == "finished"


def test_connection_can_change_its_form() -> None:
    """After SET_PROPERTY the same subscriptions come in the other form."""
    exchange = _exchange()
    outbox = _listen(exchange, "btcusdt@bookTicker")
    exchange.reform(outbox, RAW_MS)
    _run(exchange, 0.5)

    assert b'"stream"' not in b"".join(outbox.frames)
    assert outbox.frames


def test_two_sources_of_one_symbol_are_refused() -> None:
    """A symbol has one truth."""
    plan = MarketPlan(symbols=1)
    with pytest.raises(ValueError, match="BTCUSDT"):
        Exchange([Market(plan, Random(1)), Market(plan, Random(2))], Ledger())


def test_exchange_skips_when_the_machine_is_too_slow() -> None:
    """Far behind, it leaves time out instead of falling back for ever, and says how much."""
    exchange = _exchange(rate=4000.0)

    assert not exchange.advance(START_US + 10_000_000)
    assert exchange.skipped_us == 10_000_000
    while not exchange.advance(START_US + 10_000_000):
        pass
    assert exchange.ledger.happened < 12_000


def test_stalled_time_is_left_out() -> None:
    """What was not taken because clients were behind is not made up for."""
    exchange = _exchange()
    _run(exchange, 1.0)
    before = _happened_but_klines(exchange)
    exchange.stalled_until(START_US + 60_000_000)
    exchange.advance(START_US + 60_005_000)

    assert _happened_but_klines(exchange) < before + 100


def _happened_but_klines(exchange: Exchange) -> int:
    """Seconds without trades have candles, so those do go on."""
    series = exchange.ledger.all_series()
    return sum(each.happened for each in series if not each.kind.startswith("kline"))


def test_start_and_finish_happen_once() -> None:
    """A second start changes nothing; finishing before the start means that nothing ever happens."""
    exchange = _exchange()
    exchange.start(START_US + 5_000_000)
    assert exchange.advance(START_US + 1_000)

    idle = Exchange([Market(MarketPlan(symbols=1), Random(1))], Ledger())
    idle.finish(START_US)
    idle.start(START_US)
    idle.advance(START_US + 1_000_000)
    assert (idle.phase, idle.ledger.happened) == ("finished", 0)


def test_dropped_connection_leaves_all_its_streams() -> None:
    """Nothing is sent to it any more, and unsubscribing twice is harmless."""
    exchange = _exchange()
    outbox = _listen(exchange, "btcusdt@trade", "btcusdt@depth5@100ms", "!miniTicker@arr")
    exchange.unsubscribe(outbox, "btcusdt@trade")
    exchange.unsubscribe(outbox, "btcusdt@trade")
    exchange.drop(outbox)
    _run(exchange, 2.0)

    assert (outbox.frames, outbox.channels) == ([], {})


def test_recorded_deltas_move_the_book() -> None:
    """A source that only tells its deltas has its book moved by the exchange, to its end."""
    recording = bundled_recording()
    exchange = Exchange([Playback(recording, speed=1e6)], Ledger())
    exchange.start(START_US)
    while not exchange.is_over():
        exchange.advance(START_US + 1_000_000)

    book = exchange.instruments["BTCUSDT"].book
    assert book.update_id == 50_093_696_318
    assert book.best_bid() == (units("61602.01"), units("1.67177"))
    assert book.best_ask() == (units("61602.02"), units("2.66795"))
