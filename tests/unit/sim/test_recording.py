"""The bundled recording and the reader of its format."""

import gzip
import hashlib
from importlib import resources
from pathlib import Path

import pytest

from ingest.sim.happenings import Aggregated, BookChanged, TopChanged, Traded
from ingest.sim.recording import BUNDLED, RecordingError, bundled_recording, load_recording

SNAPSHOT = '10 {"lastUpdateId":5,"bids":[["9.00000000","1.00000000"]],"asks":[["11.00000000","1.00000000"]]}'
DELTA = (
    '20 {"stream":"ausdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"AUSDT","U":6,"u":7,'
    '"b":[["9.00000000","0.00000000"]],"a":[]}}'
)


def _file(folder: Path, *lines: str) -> Path:
    path = folder / "session.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_bundled_files_are_the_published_ones() -> None:
    """The copies are byte-identical to those that ORIGIN.txt names."""
    folder = resources.files("ingest.sim") / "recordings"
    origin = (folder / "ORIGIN.txt").read_text(encoding="utf-8")

    for name in BUNDLED:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in origin


def test_bundled_recording_has_the_known_counts() -> None:
    """Trades with their id range and sum, book tickers and deltas are those of its description."""
    happenings = [moment.happening for moment in bundled_recording().moments]
    trades = [h for h in happenings if isinstance(h, Traded)]

    assert [t.trade_id for t in trades] == list(range(3735683259, 3735703163))
    assert sum(t.qty for t in trades) == 43_791_552_000
    assert sum(isinstance(h, TopChanged) for h in happenings) == 73_174
    assert sum(isinstance(h, BookChanged) for h in happenings) == 6_495


def test_aggregates_tile_the_trades_of_one_side_price_and_time() -> None:
    """Each trade is in exactly one aggregate, right behind its last trade."""
    happenings = [moment.happening for moment in bundled_recording().moments]
    open_trades: list[Traded] = []
    for happening in happenings:
        if isinstance(happening, Traded):
            open_trades.append(happening)
        elif isinstance(happening, Aggregated):
            assert [t.trade_id for t in open_trades] == list(
                range(happening.first_trade_id, happening.last_trade_id + 1)
            )
            assert {(t.price, t.ts_us, t.buyer_is_maker) for t in open_trades} == {
                (happening.price, happening.ts_us, happening.buyer_is_maker)
            }
            open_trades = []
    assert open_trades == []


def test_times_are_never_after_reception() -> None:
    """Shifted to the recorder's clock, no event comes before it happened."""
    recording = bundled_recording()
    for offset_us, happening in recording.moments:
        if isinstance(happening, Traded):
            assert happening.ts_us <= happening.event_us <= offset_us
            assert offset_us - happening.ts_us <= recording.longest_delay_us


def test_first_book_is_labelled_so_that_the_first_delta_follows(tmp_path: Path) -> None:
    """A client that takes its snapshot before the start can apply every delta."""
    recording = load_recording([_file(tmp_path, SNAPSHOT, DELTA)])

    assert (recording.first_book.update_id, recording.listing.symbol) == (5, "AUSDT")
    assert recording.first_book.best_bid() == (9 * 10**8, 10**8)


@pytest.mark.parametrize("lines", [(), (SNAPSHOT,), (DELTA,)])
def test_incomplete_recordings_are_refused(tmp_path: Path, lines: tuple[str, ...]) -> None:
    """Without a snapshot and deltas there is no book to play."""
    with pytest.raises(RecordingError):
        load_recording([_file(tmp_path, *lines)])


def test_unknown_stream_is_refused(tmp_path: Path) -> None:
    """A stream that the double cannot play is named."""
    with pytest.raises(RecordingError, match="kline_1m"):
        load_recording([_file(tmp_path, DELTA.replace("depth@100ms", "kline_1m"))])
