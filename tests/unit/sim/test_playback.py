"""Playing a recording at a speed, once or round and round."""

import itertools

import pytest

from ingest.sim.book import Book
from ingest.sim.happenings import Aggregated, BookChanged, Happening, Listing, TopChanged, Traded
from ingest.sim.instrument import parsed_levels
from ingest.sim.playback import Playback
from ingest.sim.recording import Moment, Recording
from ingest.sim.wire import levels

START_US = 1_700_000_000_000_000
UNIT = 10**8


def _recording() -> Recording:
    book = Book()
    book.apply(99, [(10 * UNIT, UNIT)], [(12 * UNIT, UNIT)])
    trade = Traded("AUSDT", 500, 900_000, 800_000, 12 * UNIT, UNIT, False)
    agg = Aggregated("AUSDT", 50, 900_000, 800_000, 12 * UNIT, UNIT, 500, 500, False)
    first = BookChanged("AUSDT", 100, 101, 1_000_000, b"", levels([(12 * UNIT, 0), (13 * UNIT, UNIT)]))
    top = TopChanged("AUSDT", 101, 1_100_000, 10 * UNIT, UNIT, 13 * UNIT, UNIT)
    second = BookChanged("AUSDT", 102, 102, 2_000_000, levels([(11 * UNIT, UNIT)]), b"")
    offsets = (
        (1_000_000, trade),
        (1_000_000, agg),
        (1_050_000, first),
        (1_100_000, top),
        (2_000_000, second),
    )
    listing = Listing("AUSDT", "A", "USDT", UNIT, UNIT, 12 * UNIT)
    moments = tuple(Moment(offset_us, happening) for offset_us, happening in offsets)
    return Recording(listing, book, moments, 2_000_000, 200_000)


def _started(*, speed: float = 1.0, loop: bool = False) -> Playback:
    playback = Playback(_recording(), speed=speed, loop=loop)
    playback.start(START_US)
    return playback


def _advance(playback: Playback, seconds: float) -> list[Happening]:
    """Advance and move the book as the exchange does."""
    happened = playback.advance(START_US + int(seconds * 1e6), 1000)
    for each in happened:
        if isinstance(each, BookChanged):
            playback.book("AUSDT").apply(
                each.final_update_id, parsed_levels(each.bids), parsed_levels(each.asks)
            )
    return happened


def test_moments_come_at_their_offsets() -> None:
    """Nothing comes early and nothing twice."""
    playback = _started()

    assert _advance(playback, 0.99) == []
    assert [type(h) for h in _advance(playback, 1.06)] == [Traded, Aggregated, BookChanged]
    assert [type(h) for h in _advance(playback, 9.0)] == [TopChanged, BookChanged]
    assert playback.is_over()


def test_speed_compresses_spacing_and_times() -> None:
    """At double speed a trade of 0.8 s before is dated 0.4 s after the start."""
    trade = _advance(_started(speed=2.0), 0.5)[0]

    assert isinstance(trade, Traded)
    assert (trade.ts_us, trade.event_us) == (START_US + 400_000, START_US + 450_000)


def test_settled_time_lies_before_the_next_trade() -> None:
    """Candles may be closed up to there, because later trades are dated later."""
    playback = _started()
    _advance(playback, 0.5)

    assert playback.settled_us() == START_US + 500_000
    _advance(playback, 0.9)
    assert playback.settled_us() == START_US + 800_000


def test_loop_continues_ids_and_leads_back_to_the_first_book() -> None:
    """One delta bridges the books; the second round follows on the first without a hole."""
    playback = _started(loop=True)
    first_round = _advance(playback, 2.05)
    bridge = _advance(playback, 2.2)
    first_book = _recording().first_book
    assert (playback.book("AUSDT").bids, playback.book("AUSDT").asks) == (first_book.bids, first_book.asks)
    second_round = _advance(playback, 4.2)

    deltas = [h for h in first_round + bridge + second_round if isinstance(h, BookChanged)]
    for earlier, later in itertools.pairwise(deltas):
        assert later.first_update_id == earlier.final_update_id + 1
    trades = [h.trade_id for h in first_round + second_round if isinstance(h, Traded)]
    aggs = [h for h in second_round if isinstance(h, Aggregated)]
    assert (trades, aggs[0].agg_trade_id, aggs[0].first_trade_id) == ([500, 501], 51, 501)
    assert playback.rounds == 1
    assert not playback.is_over()


def test_halted_playback_goes_on_where_it_stopped() -> None:
    """The time of a halt is not made up for."""
    playback = _started()
    playback.halt("AUSDT", True)
    assert _advance(playback, 5.0) == []

    playback.halt("AUSDT", False)
    assert _advance(playback, 5.5) == []
    assert len(_advance(playback, 6.0)) == 2


def test_speed_must_be_positive() -> None:
    """Standing still is what `pause` is for."""
    with pytest.raises(ValueError, match="speed"):
        Playback(_recording(), speed=0.0)
