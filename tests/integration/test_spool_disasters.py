"""The spool on a disk that lies, a machine that loses power, a process that is killed.

The account is the same everywhere: a row comes back as it was, or its id lies in a gap, or beyond what the
spool says it knows, where the next live message finds it missing.
"""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.buffer import encode
from ingest.buffer.batcher import Batch
from ingest.buffer.origins import Span, origin
from ingest.buffer.spool import Spool, _Kept
from ingest.buffer.spool_file import SpoolFile
from ingest.buffer.spool_limits import SpoolLimits
from ingest.buffer.tables import DEPTH_DELTAS, TRADES, Table
from ingest.clock import SystemClock
from ingest.errors import SpoolError
from ingest.events import Gap, StreamKey
from tests.integration.embedded_programs import start_program
from tests.rows import BTC_TRADE, NOW_US, SYMBOL_ID, a_batch, a_delta, a_gap, trade_rows

DEPTH = StreamKey("spot", "BTCUSDT", "depth")
A_BATCH = 20
DEADLINE_S = 20
LIMITS = SpoolLimits()


@contextmanager
def a_spool(folder: Path, limits: SpoolLimits = LIMITS) -> Iterator[Spool]:
    """The spool of that folder, opened as a shard does."""
    with Spool.opened(folder / "shard-0.sqlite", limits, clock=SystemClock()) as spool:
        spool.attach(lambda _: "BTCUSDT", {BTC_TRADE: 1, DEPTH: 2}.get)
        yield spool


def trades(number: int) -> Batch:
    """The trades of batch `number`."""
    return a_batch(trade_rows(range(number * A_BATCH, (number + 1) * A_BATCH)))


def deltas(number: int) -> Batch:
    ids = range(number * A_BATCH, (number + 1) * A_BATCH)
    rows = [encode.depth_delta(SYMBOL_ID, a_delta(n, bids=[("1.10", "2")] * 40)) for n in ids]
    return a_batch(rows, table=DEPTH_DELTAS)


async def fill(folder: Path, batches: int, limits: SpoolLimits = LIMITS) -> None:
    """Trades and deltas in turn."""
    with a_spool(folder, limits) as spool:
        for number in range(batches):
            assert await spool.put(trades(number))
            assert await spool.put(deltas(number))


class Account:
    """What came out of a spool, table by table, and what it said is missing."""

    def __init__(self, *, of_this_process: bool = True) -> None:
        self._compares = of_this_process  # times differ in rows that another process has made
        self.ids: dict[Table, list[int]] = {TRADES: [], DEPTH_DELTAS: []}
        self.gaps: list[Gap] = []
        self.known: dict[StreamKey, Span] = {}
        self.batches = 0

    async def take(self, spool: Spool) -> None:
        """Everything that is in the spool, as the writer would take it."""
        self.known = dict(spool.newest())
        for table in self.ids:
            while (chunk := await spool.head(table)) is not None:
                for row in chunk.batch.rows:
                    read = origin(table, row)
                    assert read.last_id is not None
                    if self._compares:
                        assert row == original(table, read.last_id), "a row was altered"
                    self.ids[table].append(read.last_id)
                self.gaps += [gap for gap in chunk.batch.gaps if isinstance(gap, Gap)]
                await spool.forget(chunk)
        assert spool.is_empty()

    def settle(self, batches: int) -> int:
        """Every row is there in order, or told of. Returns how many are not there."""
        lost = 0
        for table, key in ((TRADES, BTC_TRADE), (DEPTH_DELTAS, DEPTH)):
            ids = self.ids[table]
            assert ids == sorted(ids), "rows are out of order"
            assert len(ids) == len(set(ids)), "rows are there twice"
            missing = set(range(batches * A_BATCH)) - set(ids)
            known = self.known.get(key)
            told = {n for n in missing if known is None or known.last_id is None or n > known.last_id}
            for gap in self.gaps:
                if gap.key == key and gap.first_id is not None and gap.last_id is not None:
                    told |= set(range(gap.first_id, gap.last_id + 1))
            assert missing <= told, f"{key}: lost without a word: {sorted(missing - told)[:5]}"
            lost += len(missing)
        return lost


def original(table: Table, number: int) -> bytes:
    if table is TRADES:
        return trade_rows([number])[0]
    return encode.depth_delta(SYMBOL_ID, a_delta(number, bids=[("1.10", "2")] * 40))


async def taken(folder: Path, *, of_this_process: bool = True) -> Account:
    """The account of a spool as the next process finds it; the database ends where the spool begins."""
    account = Account(of_this_process=of_this_process)
    with a_spool(folder) as spool:
        spool.committed({key: Span(key, -1, -1, NOW_US, NOW_US, 0) for key in (BTC_TRADE, DEPTH)})
        await account.take(spool)
    return account


# ---------------------------------------------------------------------- damage


async def test_whole_spool_gives_everything_back(tmp_path: Path) -> None:
    """Without damage nothing is lost, and the file is small again afterwards."""
    await fill(tmp_path, 20)

    account = await taken(tmp_path)

    assert account.settle(20) == 0
    assert account.gaps == []
    assert (account.known[BTC_TRADE].last_id, account.known[DEPTH].last_id) == (399, 399)


@pytest.mark.parametrize("seed", range(60))
async def test_flipped_bits_cost_what_they_hit_and_are_told(tmp_path: Path, seed: int) -> None:
    """One to four bits anywhere in the file: what they hit is lost and named, the rest comes back."""
    rng = random.Random(seed)
    await fill(tmp_path, 20)
    bits = rng.randint(1, 4)
    damage(tmp_path / "shard-0.sqlite", lambda data: flip(data, rng, bits))

    account = await taken(tmp_path)

    assert account.settle(20) <= bits * A_BATCH


@pytest.mark.parametrize("seed", range(30))
async def test_overwritten_stretch_costs_what_it_hits_and_is_told(tmp_path: Path, seed: int) -> None:
    """A stretch of zeros or noise of up to three pages."""
    rng = random.Random(seed)
    await fill(tmp_path, 20)

    def overwrite(data: bytearray) -> None:
        at, length = rng.randrange(len(data)), rng.randint(1, 50_000)
        filler = bytes(length) if rng.random() < 0.5 else rng.randbytes(length)
        data[at : at + length] = filler[: len(data) - at]

    damage(tmp_path / "shard-0.sqlite", overwrite)

    (await taken(tmp_path)).settle(20)


@pytest.mark.parametrize("seed", range(20))
async def test_cut_file_costs_what_is_cut_off_and_is_told(tmp_path: Path, seed: int) -> None:
    """A file that ends in the middle."""
    rng = random.Random(seed)
    await fill(tmp_path, 20)

    def cut(data: bytearray) -> None:
        del data[rng.randrange(len(data)) :]

    damage(tmp_path / "shard-0.sqlite", cut)

    (await taken(tmp_path)).settle(20)


def damage(path: Path, how: Callable[[bytearray], None]) -> None:
    """Change a file that nobody has open."""
    data = bytearray(path.read_bytes())
    how(data)
    path.write_bytes(data)


def flip(data: bytearray, rng: random.Random, bits: int) -> None:
    for _ in range(bits):
        at = rng.randrange(len(data) * 8)
        data[at // 8] ^= 1 << at % 8


async def test_damaged_rows_are_named_by_their_label(tmp_path: Path) -> None:
    """Exactly the batch that was hit is a gap, dated and noted; its neighbours come back."""
    await fill(tmp_path, 5)
    needle = trades(2).rows[7]
    damage(tmp_path / "shard-0.sqlite", lambda data: data.__setitem__(data.index(needle) + 20, 0xEE))

    account = await taken(tmp_path)

    assert account.settle(5) == A_BATCH
    (gap,) = account.gaps
    assert (gap.key, gap.first_id, gap.last_id, gap.cause) == (BTC_TRADE, 40, 59, "spool_damaged")
    assert "20 rows" in gap.note


async def test_gaps_of_a_damaged_batch_are_not_lost_with_its_rows(tmp_path: Path) -> None:
    """The ledger's rows that wait on the disk stand in the label, too."""
    with a_spool(tmp_path) as spool:
        await spool.put(a_batch(trade_rows(range(10)), a_gap(700, 701)))
    needle = trade_rows([5])[0]
    damage(tmp_path / "shard-0.sqlite", lambda data: data.__setitem__(data.index(needle) + 20, 0xEE))

    account = await taken(tmp_path)

    assert a_gap(700, 701) in account.gaps
    assert len(account.gaps) == 2


async def test_damaged_file_is_set_aside_when_all_else_is_out_of_it(tmp_path: Path) -> None:
    """It is kept for inspection; the spool goes on with a file of its own."""
    await fill(tmp_path, 5)
    needle = trades(2).rows[7]
    damage(tmp_path / "shard-0.sqlite", lambda data: data.__setitem__(data.index(needle) + 20, 0xEE))

    await taken(tmp_path)

    assert len(list(tmp_path.glob("shard-0.damaged-*.sqlite"))) == 1
    await fill(tmp_path, 3)
    assert (await taken(tmp_path)).settle(3) == 0


# ---------------------------------------------------------------------- not ours


async def test_file_of_another_version_is_set_aside_untouched(tmp_path: Path) -> None:
    """A program of tomorrow may still read it; this one begins anew and knows nothing of it."""
    await fill(tmp_path, 2)
    with sqlite3.connect(tmp_path / "shard-0.sqlite") as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()

    account = await taken(tmp_path)

    assert (account.ids[TRADES], account.known) == ([], {})
    (aside,) = tmp_path.glob("shard-0.version-7-*.sqlite")
    with sqlite3.connect(aside) as connection:
        assert connection.execute("SELECT count(*) FROM payloads").fetchone() == (4,)
    connection.close()


@pytest.mark.parametrize("content", [b"", b"this is no database" * 500, b"SQLite format 3\0" + bytes(4_000)])
async def test_file_that_is_no_spool_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """Whatever lies there does not keep a shard from starting."""
    (tmp_path / "shard-0.sqlite").write_bytes(content)

    await fill(tmp_path, 2)

    assert (await taken(tmp_path)).settle(2) == 0
    (aside,) = (path for path in tmp_path.glob("shard-0.*-*.sqlite"))
    assert aside.read_bytes() == content


def test_second_opener_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """One process has the file; when it has closed it another may."""
    with a_spool(tmp_path), pytest.raises(SpoolError, match="in use by another process"), a_spool(tmp_path):
        pytest.fail("opened")
    with a_spool(tmp_path):
        pass


def test_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file where the folder should be is an error with its path."""
    (tmp_path / "spool").write_text("")
    with pytest.raises(SpoolError, match=r"spool/shard-0\.sqlite"), a_spool(tmp_path / "spool"):
        pytest.fail("opened")


async def test_full_disk_refuses_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    """What was kept before stays whole."""
    with a_spool(tmp_path) as spool:
        connection = spool._file._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 8}")
        kept = 0
        while await spool.put(trades(kept)):
            kept += 1
        assert 0 < kept < 1_000
        assert spool.stats().is_full
        connection.execute("PRAGMA max_page_count = 1000000")
        assert await spool.put(trades(kept))
        assert not spool.stats().is_full
        account = Account()
        await account.take(spool)

    assert account.ids[TRADES] == list(range((kept + 1) * A_BATCH))
    assert account.gaps == []


# ---------------------------------------------------------------------- processes and power

WRITER = """
import asyncio, sys
from pathlib import Path
from tests.integration.test_spool_disasters import a_spool, trades

async def main():
    with a_spool(Path(sys.argv[1])) as spool:
        number = 0
        while await spool.put(trades(number)):
            number += 1
            print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(4))
async def test_killed_process_leaves_all_that_it_was_told_is_kept(tmp_path: Path, seed: int) -> None:
    """`kill -9` in the middle of writing: every batch that `put` has answered for is there, and no half."""
    rng = random.Random(seed)
    process = await start_program(sys.executable, "-c", WRITER, str(tmp_path))
    assert process.stdout is not None
    async with asyncio.timeout(50):
        told = [await process.stdout.readline() for _ in range(rng.randint(5, 60))]
        process.send_signal(signal.SIGKILL)
        told += (await process.stdout.read()).splitlines(keepends=True)
        await process.wait()
    acknowledged = max(int(line) for line in told if line.endswith(b"\n"))

    account = await taken(tmp_path, of_this_process=False)

    rows = len(account.ids[TRADES])
    assert rows % A_BATCH == 0
    assert rows >= acknowledged * A_BATCH
    assert account.ids[TRADES] == list(range(rows))


def image(folder: Path, to: Path) -> None:
    """What lies on the disk at this moment."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for name in ("shard-0.sqlite", "shard-0.sqlite-wal"):
        if (folder / name).exists():
            shutil.copyfile(folder / name, to / name)


@pytest.mark.parametrize("seed", range(10))
async def test_power_loss_costs_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    """`synchronous = full`: whatever became of the write after the last that was acknowledged."""
    rng = random.Random(seed)
    live, dead = tmp_path / "live", tmp_path / "dead"
    batches = rng.randint(1, 12)
    with a_spool(live) as spool:
        for number in range(batches):
            assert await spool.put(trades(number))
        image(live, dead)
        assert await spool.put(trades(batches))
        written = (live / "shard-0.sqlite-wal").read_bytes()
    log = dead / "shard-0.sqlite-wal"
    synced = log.read_bytes()
    if written[: len(synced)] == synced:  # else the log began anew, from a file that was flushed before
        torn = bytearray(written[len(synced) :])
        del torn[rng.randrange(len(torn) + 1) :]
        if torn and rng.random() < 0.5:
            flip(torn, rng, 3)
        log.write_bytes(synced + torn)

    account = await taken(dead)

    rows = len(account.ids[TRADES])
    assert account.ids[TRADES] == list(range(rows))
    assert rows in {batches * A_BATCH, (batches + 1) * A_BATCH}


@pytest.mark.parametrize("seed", range(6))
async def test_power_loss_costs_at_most_what_came_after_the_last_flush(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`synchronous = normal`: what was flushed is there, what came later may be torn off, in order."""
    rng = random.Random(seed)
    live, dead = tmp_path / "live", tmp_path / "dead"
    flush_at = rng.randint(1, 10)
    flushed = 0

    def flush_and_look(file: SpoolFile) -> None:
        nonlocal flushed
        flush(file)
        flushed = (live / "shard-0.sqlite-wal").stat().st_size

    flush = SpoolFile.flush
    monkeypatch.setattr(SpoolFile, "flush", flush_and_look)
    limits = SpoolLimits(synchronous="normal", flush_every_s=0.0)
    with a_spool(live, limits) as spool:
        for number in range(flush_at):
            assert await spool.put(trades(number))
        spool.limits = SpoolLimits(synchronous="normal", flush_every_s=3_600.0)
        for number in range(flush_at, flush_at + 5):
            assert await spool.put(trades(number))
        image(live, dead)
    log = dead / "shard-0.sqlite-wal"
    data = log.read_bytes()
    log.write_bytes(data[: rng.randint(flushed, len(data))])

    account = await taken(dead)

    rows = len(account.ids[TRADES])
    assert account.ids[TRADES] == list(range(rows))
    assert rows >= flush_at * A_BATCH


CRASHES = st.lists(
    st.sampled_from(["trades", "deltas", "commit trades", "commit deltas", "commit and die", "die"]),
    max_size=30,
)


@settings(max_examples=40)
@given(happenings=CRASHES)
async def test_any_crash_point_keeps_order_and_completeness(happenings: list[str]) -> None:
    """Killed anywhere, also between the commit and forgetting: all rows come in order, each stored once."""
    stored: dict[Table, dict[bytes, None]] = {TRADES: {}, DEPTH_DELTAS: {}}
    put = {TRADES: 0, DEPTH_DELTAS: 0}
    with ExitStack() as life, tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "0"
        folder.mkdir()
        spool = life.enter_context(a_spool(folder))
        for place, happening in enumerate(happenings, start=1):
            table = DEPTH_DELTAS if happening.endswith("deltas") else TRADES
            if happening in {"trades", "deltas"}:
                assert await spool.put((trades if table is TRADES else deltas)(put[table]))
                put[table] += 1
            if happening.startswith("commit"):
                chunk = await spool.head(table)
                if chunk is not None:
                    stored[table].update(dict.fromkeys(chunk.batch.rows))
                    if happening != "commit and die":
                        await spool.forget(chunk)
            if happening.endswith("die"):
                image(folder, Path(name) / str(place))
                life.close()
                folder = Path(name) / str(place)
                spool = life.enter_context(a_spool(folder))
        for table, rows in stored.items():
            while (chunk := await spool.head(table)) is not None:
                assert chunk.batch.gaps == ()
                rows.update(dict.fromkeys(chunk.batch.rows))
                await spool.forget(chunk)
        life.close()

    for table, rows in stored.items():
        assert list(rows) == [original(table, number) for number in range(put[table] * A_BATCH)]


@pytest.mark.parametrize("synchronous", ["full", "normal"])
async def test_flushing_is_what_was_asked_for(tmp_path: Path, synchronous: Literal["full", "normal"]) -> None:
    """SQLite flushes each commit, or leaves it to the spool."""
    with a_spool(tmp_path, SpoolLimits(synchronous=synchronous)) as spool:
        (level,) = spool._file._connection.execute("PRAGMA synchronous").fetchone()
        (mode,) = spool._file._connection.execute("PRAGMA journal_mode").fetchone()

    assert (level, mode) == ({"full": 2, "normal": 1}[synchronous], "wal")


async def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """Nothing has to be cleaned up by hand."""
    process = await start_program(sys.executable, "-c", WRITER, str(tmp_path))
    assert process.stdout is not None
    async with asyncio.timeout(50):
        await process.stdout.readline()
        with pytest.raises(SpoolError), a_spool(tmp_path):
            pytest.fail("opened")
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()

    with a_spool(tmp_path) as spool:
        assert spool.stats().rows > 0


class WithVisitor(deque[_Kept]):
    """A queue that somebody else is let in to while it is gone through."""

    visit: Callable[[], None]

    def __iter__(self) -> Iterator[_Kept]:
        for number, kept in enumerate(super().__iter__()):
            yield kept
            if not number:
                self.visit()


async def test_batch_that_comes_while_the_oldest_are_gathered_waits_for_that(tmp_path: Path) -> None:
    """One thread takes batches in while the loop hands out others: a queue never changes underneath it."""
    with a_spool(tmp_path) as spool:
        for number in range(2):
            assert await spool.put(trades(number))
        queue = WithVisitor(spool._queues[TRADES])
        coming = threading.Thread(target=asyncio.run, args=(spool.put(trades(2)),))

        def visit() -> None:
            coming.start()
            coming.join(0.5)

        queue.visit, spool._queues[TRADES] = visit, queue
        chunk = await spool.head(TRADES)
        coming.join(DEADLINE_S)

        assert chunk is not None
        assert len(chunk.batch.rows) == 2 * A_BATCH
        assert len(queue) == 3
