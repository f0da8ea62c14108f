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
    return BoardWriter.create(path, shard=1, pid=pid, keys=keys, feeds=[0, 1], started_wall_ns=7)


def test_reader_sees_what_the_writer_wrote(tmp_path: Path) -> None:
    """Header, heartbeat, feed and stream are seen by a reader at once, each in its own place."""
    path = board_path(tmp_path, 1)
    header = HeaderValues(ShardState.RUNNING, frames=10, database_up=1)
    feed = FeedValues(feed=1, state=FeedState.LIVE, messages=9)
    stream = StreamValues(StreamState.STALE, Diagnosis.FEED_SILENT, feed=1, last_id=5)

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
    with a_writer(tmp_path / "a.board") as writer, pytest.raises(IndexError, match="of 3 is not taken"):
        writer.write_stream(index, StreamValues())


@pytest.mark.parametrize("index", [-1, 2])
def test_feed_slot_beyond_the_plan_is_refused(tmp_path: Path, index: int) -> None:
    """A feed number that is too high does not overwrite the first stream."""
    with a_writer(tmp_path / "a.board") as writer, pytest.raises(IndexError, match="of 2 is not taken"):
        writer.write_feed(index, FeedValues())


def a_roomy_writer(path: Path) -> BoardWriter:
    return BoardWriter.create(
        path,
        shard=1,
        pid=42,
        keys=KEYS[:1],
        feeds=[4],
        started_wall_ns=7,
        spare_streams=2,
        spare_feeds=1,
    )


def keys_on(path: Path) -> list[StreamKey]:
    return [slot.key for slot in read_board(path).streams]


def test_new_stream_gets_a_free_slot(tmp_path: Path) -> None:
    """It is seen at once, with nothing said of it yet, and can be written like any other."""
    path = tmp_path / "a.board"
    with a_roomy_writer(path) as writer:
        slot = writer.adopt_stream(KEYS[1])
        blank = read_board(path).streams[1]
        writer.write_stream(slot, StreamValues(last_id=5))

        assert (slot, writer.free_streams) == (1, 1)
        assert (blank.key, blank.values) == (KEYS[1], StreamValues())
        assert read_board(path).streams[1].values.last_id == 5


def test_slot_that_was_given_back_is_free_and_blank_for_the_next(tmp_path: Path) -> None:
    """Readers see neither its key nor, under the next key, anything that was said of it."""
    path = tmp_path / "a.board"
    with a_roomy_writer(path) as writer:
        writer.write_stream(0, StreamValues(last_id=5))
        writer.release_stream(0)
        assert keys_on(path) == []
        for key in KEYS:
            writer.adopt_stream(key)

        assert keys_on(path) == [KEYS[2], KEYS[0], KEYS[1]]
        assert {slot.values for slot in read_board(path).streams} == {StreamValues()}


def test_board_without_room_refuses_another_stream(tmp_path: Path) -> None:
    """The error says how many it has, and nothing is overwritten."""
    path = tmp_path / "a.board"
    with a_writer(path) as writer:
        with pytest.raises(BoardError, match="no room for another stream: 3 are taken"):
            writer.adopt_stream(StreamKey("spot", "XRPUSDT", "trade"))
        with pytest.raises(BoardError, match="no room for another feed"):
            writer.adopt_feed(9)

    assert keys_on(path) == KEYS


def test_key_without_a_place_takes_no_slot(tmp_path: Path) -> None:
    """A name that is too long for the board leaves its room to others."""
    with a_roomy_writer(tmp_path / "a.board") as writer:
        with pytest.raises(BoardError, match="stream 'spot:"):
            writer.adopt_stream(StreamKey("spot", "A" * 100, "trade"))

        assert writer.free_streams == 2


def test_feeds_come_and_go(tmp_path: Path) -> None:
    """A new one is seen with its number, one that is gone is not."""
    path = tmp_path / "a.board"
    with a_roomy_writer(path) as writer:
        slot = writer.adopt_feed(9)
        writer.write_feed(slot, FeedValues(feed=9, messages=3))
        writer.release_feed(0)

        assert read_board(path).feeds == (FeedValues(feed=9, messages=3),)
        assert writer.adopt_feed(10) == 0
        assert [feed.feed for feed in read_board(path).feeds] == [10, 9]


def test_slot_is_given_back_once(tmp_path: Path) -> None:
    """And not written afterwards."""
    with a_roomy_writer(tmp_path / "a.board") as writer:
        writer.release_stream(0)
        with pytest.raises(IndexError, match="not taken"):
            writer.release_stream(0)
        with pytest.raises(IndexError, match="not taken"):
            writer.write_stream(0, StreamValues())


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
