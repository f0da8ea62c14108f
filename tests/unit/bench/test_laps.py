"""Frames that are sent lap after lap: ids go on, times are now, lanes are served in order."""

from collections.abc import Iterator, Mapping

import pytest

from ingest.binance.parse import PARSERS, split_frame
from ingest.binance.streams import stream_of
from ingest.events import AggTrade, BookTicker, DepthDelta, Event, Trade
from tests.bench.laps import IDS_FROM, Reel, Strip
from tests.bench.mix import FOUR_KINDS, Market, symbol_names
from tests.bench.pacing import Pace
from tests.bench.wire import server_frame

SYMBOLS = symbol_names(3)
NOW_MS = 1_790_000_000_000


def strip(frames: int = 400) -> Strip:
    market = Market(SYMBOLS, seed=3, start_ms=1_700_000_000_000, ids_from=IDS_FROM)
    return Strip([(f.stream, server_frame(f.payload)) for f in market.frames(frames, FOUR_KINDS)])


def lanes_of(given: Strip, lanes: int = 2) -> dict[str, int]:
    return {name: number % lanes for name, number in given.streams.items()}


def events(data: bytes) -> Iterator[Event]:
    """The events of a lane's bytes, in their order."""
    while data:
        size, head = (data[1], 2) if data[1] < 126 else (int.from_bytes(data[2:4], "big"), 4)
        item = split_frame(data[head : head + size])
        assert isinstance(item, tuple)
        yield PARSERS[stream_of(item[0])[1]](item[1], 0)
        data = data[head + size :]


def sent(reel: Reel, turns: range, lanes: int = 2) -> list[list[Event]]:
    """What each lane gets in these ticks; tick `n` is sent at NOW_MS + n."""
    outgoing = [bytearray() for _ in range(lanes)]
    for turn in turns:
        reel.patch(turn, NOW_MS + turn)
        for lane, start, end in reel.pieces(turn):
            outgoing[lane] += reel.view[start:end]
    return [list(events(bytes(data))) for data in outgoing]


def assert_goes_on(lane: list[Event], last: dict[tuple[type, str], int] | None = None) -> None:
    """Trades are consecutive, deltas touch, book tickers rise."""
    last = {} if last is None else last
    for event in lane:
        key = (type(event), getattr(event, "symbol", ""))
        match event:
            case Trade(trade_id=first) | AggTrade(agg_trade_id=first):
                begins, ends = first, first
            case DepthDelta():
                begins, ends = event.first_update_id, event.final_update_id
            case BookTicker():
                begins = ends = event.update_id
                assert event.update_id > last.get(key, 0)
                last[key] = event.update_id - 1
            case _:
                raise AssertionError(event)
        assert begins == last.get(key, begins - 1) + 1 or isinstance(event, BookTicker)
        last[key] = ends


def test_ids_go_on_from_lap_to_lap() -> None:
    """Over three laps and some, each stream's ids follow one another, on whatever lane."""
    given = strip()
    reel = Reel(given, lanes_of(given), Pace(len(given), 20_000.0))

    lanes = sent(reel, range(3 * reel.ticks + 1))

    assert sum(map(len, lanes)) > 3 * len(given)
    for lane in lanes:
        assert_goes_on(lane)


def test_times_are_those_of_sending() -> None:
    """All frames of a tick carry its time, in trades and in deltas."""
    given = strip()
    reel = Reel(given, lanes_of(given, 1), Pace(len(given), 20_000.0))

    (lane,) = sent(reel, range(reel.ticks, reel.ticks + 2), lanes=1)

    times = {event.ts_us for event in lane if isinstance(event, Trade | AggTrade | DepthDelta)}
    assert times == {(NOW_MS + reel.ticks) * 1_000, (NOW_MS + reel.ticks + 1) * 1_000}


def test_strip_goes_on_where_it_was_when_laid_out_anew() -> None:
    """At another rate, for other lanes, in the middle of a lap: no id is missing or sent twice."""
    given = strip()
    first = Reel(given, lanes_of(given, 1), Pace(len(given), 20_000.0))
    turns = first.ticks + first.ticks // 2
    second = Reel(given, lanes_of(given, 1), Pace(len(given), 3_000.0), number=first.number_at(turns))

    (before,), (after,) = sent(first, range(turns), 1), sent(second, range(2 * second.ticks), 1)

    assert_goes_on(before + after)
    assert len(before) + len(after) == second.number_at(2 * second.ticks)


def test_streams_that_nobody_reads_happen_all_the_same() -> None:
    """They are sent to nobody, and their ids go on."""
    given = strip()
    silent = next(iter(given.streams))
    lanes = {name: 0 for name in given.streams if name != silent}
    reel = Reel(given, lanes, Pace(len(given), 20_000.0))

    (lane,) = sent(reel, range(reel.ticks), lanes=1)

    assert len(lane) == len(given) - len(given.frames_of(silent))
    assert given.happened(silent, reel.number_at(reel.ticks)) == len(given.frames_of(silent))


def test_strip_knows_its_ledger() -> None:
    """How often a stream has spoken and with which id it has ended agree with what was sent."""
    given = strip()
    reel = Reel(given, lanes_of(given, 1), Pace(len(given), 20_000.0))
    turns = 2 * reel.ticks + 1
    (lane,) = sent(reel, range(turns), lanes=1)
    number = reel.number_at(turns)

    trades: Mapping[str, list[Trade]] = {
        f"{symbol.lower()}@trade": [e for e in lane if isinstance(e, Trade) and e.symbol == symbol]
        for symbol in SYMBOLS
    }
    for name, found in trades.items():
        assert given.happened(name, number) == len(found)
        assert given.first_id[given.streams[name]] == found[0].trade_id
        assert given.last_id_at(name, number) == found[-1].trade_id
        assert given.last_id_at(name, 0) == found[0].trade_id - 1


def test_ids_of_another_length_are_refused() -> None:
    """What cannot be patched in place is a mistake that is told."""
    market = Market(SYMBOLS, seed=3, start_ms=1_700_000_000_000)
    with pytest.raises(ValueError, match="not 12 digits"):
        Strip([(f.stream, server_frame(f.payload)) for f in market.frames(10, {"trade": 1})])


def test_pace_of_another_strip_is_refused() -> None:
    """Ticks must share exactly the frames that there are."""
    given = strip()
    with pytest.raises(ValueError, match="a pace for 10 frames"):
        Reel(given, {}, Pace(10, 1.0))
