"""The board's file: made whole, replaced whole, readable whoever died."""

import stat
from pathlib import Path

import pytest

from ingest.board.layout import (
    Diagnosis,
    FeedState,
    FeedValues,
    HeaderValues,
    Heartbeat,
    ShardState,
    StreamState,
    StreamValues,
)
from ingest.board.mapped import BoardWriter, board_path, read_board
from ingest.errors import BoardError
from ingest.events import StreamKey

KEYS = [StreamKey("spot", symbol, "trade") for symbol in ("BTCUSDT", "ETHUSDT", "BNBUSDT")]


def a_writer(path: Path, *, keys: list[StreamKey] = KEYS, pid: int = 42) -> BoardWriter:
    return BoardWriter.create(path, shard=1, pid=pid, keys=keys, feeds=2, started_wall_ns=7)


def test_reader_sees_what_the_writer_wrote(tmp_path: Path) -> None:
    """Header, heartbeat, feed and stream are seen by a reader at once, each in its own place."""
    path = board_path(tmp_path, 1)
    header = HeaderValues(ShardState.RUNNING, frames=10, database_up=1)
    feed = FeedValues(feed=1, state=FeedState.LIVE, messages=9)
    stream = StreamValues(StreamState.STALE, Diagnosis.FEED_SILENT, feed=1, last_id=5, threshold_ms=60_000)

    with a_writer(path) as writer:
        writer.write_header(header)
        writer.beat(11, 12, 13)
        writer.write_feed(1, feed)
        writer.write_stream(2, stream)
        board = read_board(path)

    assert (board.header, board.heartbeat) == (header, Heartbeat(11, 12, 13))
    assert board.feeds == (FeedValues(feed=0), feed)
    assert [slot.values for slot in board.streams] == [StreamValues(), StreamValues(), stream]
    assert [slot.key for slot in board.streams] == KEYS


def test_file_stays_readable_after_the_writer_closed_it(tmp_path: Path) -> None:
    """The last state outlives the shard; closing twice is harmless and writing afterwards is an error."""
    writer = a_writer(tmp_path / "a.board")
    writer.write_header(HeaderValues(ShardState.STOPPED))
    writer.close()
    writer.close()

    assert read_board(writer.path).header.state is ShardState.STOPPED
    with pytest.raises(ValueError, match="released"):
        writer.beat(1, 2, 3)


def test_anyone_may_read_the_file_and_nothing_unfinished_is_left(tmp_path: Path) -> None:
    """The folder holds exactly the board, with mode 0644 whatever the umask says."""
    a_writer(board_path(tmp_path, 0)).close()

    files = list((tmp_path / "board").iterdir())

    assert [file.name for file in files] == ["shard-0.board"]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o644


def test_new_shard_replaces_the_board_of_the_former_one(tmp_path: Path) -> None:
    """A restarted shard with another plan starts from a clean board; the old mapping writes nowhere."""
    path = tmp_path / "a.board"
    former = a_writer(path)
    with a_writer(path, keys=KEYS[:1], pid=43):
        former.write_stream(0, StreamValues(StreamState.STALE))
        board = read_board(path)
    former.close()

    assert (board.identity.pid, len(board.streams)) == (43, 1)
    assert board.streams[0].values == StreamValues()


@pytest.mark.parametrize("index", [-1, 3])
def test_stream_slot_beyond_the_plan_is_refused(tmp_path: Path, index: int) -> None:
    """A wrong slot number never falls into a neighbour."""
    with a_writer(tmp_path / "a.board") as writer, pytest.raises(IndexError, match="of 3"):
        writer.write_stream(index, StreamValues())


@pytest.mark.parametrize("index", [-1, 2])
def test_feed_slot_beyond_the_plan_is_refused(tmp_path: Path, index: int) -> None:
    """A feed number that is too high does not overwrite the first stream."""
    with a_writer(tmp_path / "a.board") as writer, pytest.raises(IndexError, match="of 2"):
        writer.write_feed(index, FeedValues())


def test_absent_board_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    """A shard that never made its board is told by the file's name."""
    with pytest.raises(BoardError, match=r"shard-9\.board cannot be read"):
        read_board(board_path(tmp_path, 9))


def test_truncated_board_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    """A file cut short, as a full disk or a bad copy leaves it, is refused."""
    a_writer(tmp_path / "a.board").close()
    raw = (tmp_path / "a.board").read_bytes()
    (tmp_path / "a.board").write_bytes(raw[: len(raw) // 2])

    with pytest.raises(BoardError, match=r"a\.board has .* bytes, its header promises"):
        read_board(tmp_path / "a.board")


def test_folder_that_cannot_be_made_is_a_board_error(tmp_path: Path) -> None:
    """A file where the folder should be gives the reason with the path, and leaves the file alone."""
    (tmp_path / "board").write_text("in the way")

    with pytest.raises(BoardError, match=r"shard-0\.board cannot be written"):
        a_writer(board_path(tmp_path, 0))
    assert (tmp_path / "board").read_text() == "in the way"


def test_board_that_cannot_get_its_name_leaves_nothing_unfinished(tmp_path: Path) -> None:
    """When the last step fails, the half-made file is taken away and the error names the board."""
    (tmp_path / "a.board" / "in-the-way").mkdir(parents=True)

    with pytest.raises(BoardError, match=r"a\.board cannot be written"):
        a_writer(tmp_path / "a.board")
    assert [file.name for file in tmp_path.iterdir()] == ["a.board"]
