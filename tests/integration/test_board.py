"""The board between processes: one writes, another reads, and death on either side changes nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest.board.layout import BoardSnapshot
from ingest.board.mapped import read_board

WRITES_EQUAL_WORDS = """
import sys
from pathlib import Path
from ingest.board.layout import HeaderValues, ShardState, StreamValues
from ingest.board.mapped import BoardWriter
from ingest.events import StreamKey

keys = [StreamKey("spot", f"S{i}USDT", "trade") for i in range(50)]
writer = BoardWriter.create(Path(sys.argv[1]), shard=0, pid=1, keys=keys, feeds=[0], started_wall_ns=1)
writer.write_header(HeaderValues(ShardState.RUNNING))
LOW, HIGH = 0x0101010101010101, 0x7E7E7E7E7E7E7E7E
n = 0
while True:
    n += 1
    word = LOW if n % 2 else HIGH
    writer.beat(word, word, n)
    for i in range(50):
        writer.write_stream(i, StreamValues(last_event_us=word, last_recv_ns=word, messages=n))
    if n == 1:
        print("ready", flush=True)
"""
WHOLE_WORDS = {0, 0x0101010101010101, 0x7E7E7E7E7E7E7E7E}
DEADLINE_S = 30


@contextmanager
def a_writing_process(board: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes words of all low or all high bytes for ever; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES_EQUAL_WORDS, str(board)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def times_of(board: BoardSnapshot) -> set[int]:
    streams = {t for slot in board.streams for t in (slot.values.last_event_us, slot.values.last_recv_ns)}
    return streams | {board.heartbeat.monotonic_ns, board.heartbeat.wall_ns}


def test_reader_never_sees_half_a_word_while_another_process_writes(tmp_path: Path) -> None:
    """Every number read during heavy writing is one that was written, and the counters only rise."""
    path = tmp_path / "shard-0.board"
    with a_writing_process(path):
        boards = [read_board(path) for _ in range(300)]

    assert set().union(*(times_of(board) for board in boards)) <= WHOLE_WORDS
    beats = [board.heartbeat.loop_lag_us for board in boards]
    assert beats == sorted(beats)
    assert beats[-1] > beats[0]


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
def test_board_of_a_killed_or_stopped_writer_keeps_its_last_state(
    tmp_path: Path, fate: signal.Signals
) -> None:
    """What a shard wrote before it was killed or wedged can be read afterwards and stands still."""
    path = tmp_path / "shard-0.board"
    with a_writing_process(path) as process:
        os.kill(process.pid, fate)
        os.waitpid(process.pid, os.WUNTRACED)
        first, second = read_board(path), read_board(path)

    assert first == second
    assert first.heartbeat.loop_lag_us > 0
    assert times_of(first) <= WHOLE_WORDS
