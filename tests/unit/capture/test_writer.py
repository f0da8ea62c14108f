"""The thread: blocks, files, bounds, and a disk that refuses."""

import time
from collections.abc import Callable
from pathlib import Path

import orjson

from ingest.capture.files import read_blocks, read_header
from ingest.capture.records import NOW_S, Kind, Record
from ingest.capture.retention import Retention
from ingest.capture.writer import CaptureWriter, WriterLimits
from ingest.clock import SystemClock
from tests.unit.capture.builders import HEADER, a_frame, read, records_in, some_frames

STOP_S = 30.0
OPENED = Record(Kind.OPENED, 4, 1, 5, b'{"url":"ws://x"}')
ADDED = Record(Kind.ADDED, 4, payload=b'{"stream":["spot","BTCUSDT","trade"],"line":1,"resume":null}')
INSTANT = Record(Kind.INSTANT, stamp_ns=77, payload=NOW_S.pack(1.5))
EACH = WriterLimits(block_bytes=1, flush_s=60.0)
"""Whatever is put is a block of its own."""


def a_writer(folder: Path, limits: WriterLimits = EACH) -> CaptureWriter:
    writer = CaptureWriter(folder, HEADER, clock=SystemClock(), limits=limits)
    writer.start()
    return writer


def written(folder: Path) -> list[list[Record]]:
    """The records of each file, in the order of their parts; none may be damaged."""
    return [records_in(read(path.read_bytes())) for path in sorted(folder.iterdir())]


def wait_until(condition: Callable[[], object]) -> None:
    """Until the thread has got so far."""
    until_s = time.monotonic() + STOP_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.005)


def put(writer: CaptureWriter, *records: Record) -> None:
    writer.put(records, sum(len(record.payload) for record in records))


def test_what_was_put_is_in_the_file_when_it_is_stopped(tmp_path: Path) -> None:
    """In its order, with a last word; the folder is made."""
    writer = a_writer(tmp_path / "raw" / "here", WriterLimits(flush_s=60.0))
    put(writer, *some_frames(5))
    put(writer, *some_frames(5, first=5))

    assert writer.stop(deadline_s=STOP_S)
    assert written(tmp_path / "raw" / "here") == [[*some_frames(10), Record(Kind.CLOSED)]]
    assert writer.taken_bytes == sum(len(frame.payload) for frame in some_frames(10))


def test_full_file_is_followed_by_another_that_says_what_stands(tmp_path: Path) -> None:
    """Streams, connections and time, as they were before its first record."""
    writer = a_writer(tmp_path, WriterLimits(block_bytes=1, retention=Retention(rotate_bytes=1)))
    put(writer, INSTANT, ADDED, OPENED)
    put(writer, a_frame(1))
    writer.stop(deadline_s=STOP_S)
    first, second, third = written(tmp_path)

    assert first == [INSTANT, ADDED, OPENED, Record(Kind.CLOSED)]
    assert second[1:] == [a_frame(1), Record(Kind.CLOSED)]
    assert (second[0].kind, second[0].stamp_ns) == (Kind.STANDING, 77)
    assert orjson.loads(second[0].payload) == {
        "now_s": 1.5,
        "streams": [[4, 1, [["spot", "BTCUSDT", "trade"]]]],
        "open": [[4, 1, 5, "ws://x"]],
    }
    assert [record.kind for record in third] == [Kind.STANDING, Kind.CLOSED]


def test_parts_are_numbered(tmp_path: Path) -> None:
    """In the header, as in the name."""
    writer = a_writer(tmp_path, WriterLimits(block_bytes=1, retention=Retention(rotate_bytes=1)))
    for number in range(3):
        put(writer, a_frame(number))
    writer.stop(deadline_s=STOP_S)
    parts = []
    for path in sorted(tmp_path.iterdir()):
        with path.open("rb") as file:
            parts.append(read_header(file).part)

    assert parts == [1, 2, 3, 4]


def test_oldest_files_are_dropped(tmp_path: Path) -> None:
    """When another one begins, whoever has written them; what is not ours stays."""
    old = tmp_path / "shard-9-20200101T000000000-000001.capture.zst"
    newer = tmp_path / "shard-9-20200101T000000000-000002.capture.zst"
    foreign = tmp_path / "notes.txt"
    for path in (old, newer, foreign):
        path.write_bytes(bytes(1000))
    writer = a_writer(tmp_path, WriterLimits(block_bytes=1, retention=Retention(keep_bytes=500)))
    put(writer, a_frame(1))
    writer.stop(deadline_s=STOP_S)

    assert (old.exists(), newer.exists(), foreign.exists()) == (False, True, True)


def test_disk_that_refuses_costs_records_and_says_how_many(tmp_path: Path) -> None:
    """When it takes again, a new file begins with what stands and what is missing."""
    folder = tmp_path / "raw"
    folder.write_text("a file where the folder should be")
    writer = a_writer(folder, WriterLimits(block_bytes=1, retry_s=0.0))
    put(writer, ADDED, *some_frames(2))
    wait_until(lambda: writer.lost_records)
    folder.unlink()
    put(writer, a_frame(9))
    writer.stop(deadline_s=STOP_S)
    ((standing, missing, *rest),) = written(folder)

    assert rest == [a_frame(9), Record(Kind.CLOSED)]
    assert orjson.loads(missing.payload) == {"records": 3}
    assert orjson.loads(standing.payload)["streams"] == [[4, 1, [["spot", "BTCUSDT", "trade"]]]]
    assert (writer.lost_records, writer.written_records) == (3, 2)


def test_block_is_written_when_its_time_has_come(tmp_path: Path) -> None:
    """A shard that is killed then has it."""
    writer = a_writer(tmp_path, WriterLimits(flush_s=0.05))
    put(writer, a_frame(1))
    wait_until(lambda: writer.written_records)
    (path,) = tmp_path.iterdir()
    with path.open("rb") as file:
        read_header(file)
        found = list(read_blocks(file))
    writer.stop(deadline_s=STOP_S)

    assert records_in(found) == [a_frame(1)]
