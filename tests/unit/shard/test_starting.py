"""`ingest.shard.starting`: a shard waits for its database, beats meanwhile, and says so on its board."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from ingest.board.layout import BoardSnapshot, ShardState, StreamValues
from ingest.board.mapped import BoardWriter, board_path, read_board
from ingest.errors import SchemaMismatch, StoreUnavailable
from ingest.events import StreamKey
from ingest.shard.starting import Waiting, carry_over, read_former
from tests.plugin_async import LoopClock

pytestmark = pytest.mark.virtual_time

BTC, ETH, NEW = (StreamKey("spot", symbol, "trade") for symbol in ("BTCUSDT", "ETHUSDT", "NEWUSDT"))
AWAY_S = 3_600.0


def a_board(folder: Path, *keys: StreamKey) -> BoardWriter:
    return BoardWriter.create(
        board_path(folder, 0), shard=0, pid=42, keys=keys, feeds=[0], started_wall_ns=1_000
    )


class Starting:
    """A shard that starts while its database is away for an hour, and what its board says."""

    def __init__(self, folder: Path) -> None:
        self.board = a_board(folder, BTC)
        self.stop = asyncio.Event()
        self.attempts = 0
        self.until_s = LoopClock().monotonic_s() + AWAY_S

    async def begin(self) -> str:
        self.attempts += 1
        if LoopClock().monotonic_s() < self.until_s:
            raise StoreUnavailable("connection refused")
        return "newest committed events"

    async def wait(self, operation: Callable[[], Awaitable[str]]) -> str | None:
        waiting = Waiting(self.board, clock=LoopClock(), rng=Random(1))
        return await waiting.until_available(self.stop, operation)

    def read(self) -> BoardSnapshot:
        return read_board(self.board.path)

    def says(self) -> tuple[ShardState, int]:
        header = self.read().header
        return header.state, header.database_up


@pytest.fixture
async def starting(tmp_path: Path) -> AsyncIterator[Starting]:
    made = Starting(tmp_path)
    yield made
    made.board.close()


async def test_database_that_is_away_is_waited_for(starting: Starting) -> None:
    """For as long as it takes, with retries that are neither hasty nor given up."""
    assert await starting.wait(starting.begin) == "newest committed events"
    assert AWAY_S / 5 <= starting.attempts <= AWAY_S
    assert starting.says() == (ShardState.STARTING, 1)


async def test_board_beats_and_says_what_is_waited_for(starting: Starting) -> None:
    """A shard that waits is neither wedged nor crashed, and its database is what is wrong."""
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(starting.wait(starting.begin))
        await asyncio.sleep(AWAY_S / 2)
        age_s = LoopClock().monotonic_s() - starting.read().heartbeat.monotonic_ns / 1e9

        assert starting.says() == (ShardState.STARTING, 0)
        assert age_s < 1.0
        starting.stop.set()
        assert await waiting is None


async def test_database_counts_as_up_until_it_has_refused(starting: Starting) -> None:
    """Every start takes a moment, which is no stalled database."""

    async def slowly() -> str:
        await asyncio.sleep(1.0)
        assert starting.says() == (ShardState.STARTING, 1)
        return "here"

    assert await starting.wait(slowly) == "here"


async def test_shard_that_is_stopped_meanwhile_ends(starting: Starting) -> None:
    """It does not wait for what it has no use for any more."""
    starting.stop.set()

    assert await starting.wait(starting.begin) is None
    assert starting.read().header.state is ShardState.STOPPED


async def test_other_errors_of_the_database_are_raised(starting: Starting) -> None:
    """Waiting mends no schema."""

    async def mismatched() -> str:
        raise SchemaMismatch("migrations are missing")

    with pytest.raises(ExceptionGroup) as raised:
        await starting.wait(mismatched)
    assert raised.group_contains(SchemaMismatch)


async def test_new_board_keeps_what_the_former_process_had_committed(tmp_path: Path) -> None:
    """Ages go on while the database is away; what the former said of its own life is gone."""
    path = board_path(tmp_path, 0)
    with a_board(tmp_path, BTC, ETH) as former:
        values = StreamValues(feed=0, committed_event_us=7, committed_wall_ns=8, messages=9, last_id=10)
        former.write_stream(1, values)
    before = read_former(path)
    with a_board(tmp_path, ETH, NEW) as board:
        carry_over(board, before, [ETH, NEW])
    streams = {slot.key: slot.values for slot in read_board(path).streams}

    assert streams == {ETH: StreamValues(committed_event_us=7, committed_wall_ns=8), NEW: StreamValues()}


async def test_first_board_has_nothing_to_keep(tmp_path: Path) -> None:
    """Nor has one that follows a damaged file."""
    path = board_path(tmp_path, 0)
    assert read_former(path) is None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"rubbish")
    assert read_former(path) is None

    with a_board(tmp_path, BTC) as board:
        carry_over(board, None, [BTC])
    assert read_board(path).streams[0].values == StreamValues()
