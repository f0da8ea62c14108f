"""What tables take, and what is made of it."""

from datetime import timedelta
from math import inf
from pathlib import Path

import pytest

from ingest.clock import SystemClock
from ingest.errors import StoreUnavailable
from ingest.store.partitions import ensure_partitions
from ingest.store.postgres import PostgresSink
from ingest.store.sessions import SessionLimits, connected
from ingest.store.sizes import RelationSize, note_sizes, relation_sizes, size_history
from ingest.supervisor.storage import DATABASE, SPOOL, StorageWatch
from tests.plugin_schema import NOW
from tests.rows import a_batch, trade_rows


class _Minutes:
    """A clock that is a minute later at each question."""

    def __init__(self) -> None:
        self._now_ns = SystemClock().wall_ns()

    def wall_ns(self) -> int:
        self._now_ns += 60_000_000_000
        return self._now_ns

    def monotonic_s(self) -> float:
        return self._now_ns / 1e9


async def test_partitions_are_added_up(migrated_url: str) -> None:
    """A table has the bytes and the rows of its partitions, and begins with the oldest that has any."""
    async with PostgresSink.opened(migrated_url, connections=1) as sink:
        before = {each.relation: each for each in await _sizes(sink)}
        await sink.write(a_batch(trade_rows(range(1, 5_001))))
        async with sink.session() as connection:
            await connection.execute("ANALYZE spot_raw.trades")
        after = {each.relation: each for each in await _sizes(sink)}

    trades = after["spot_raw.trades"]
    assert trades.table_bytes > before["spot_raw.trades"].table_bytes + 300_000
    assert trades.index_bytes > before["spot_raw.trades"].index_bytes
    assert trades.rows_estimate == 5_000
    assert trades.parts > 4
    assert trades.oldest_at is not None and trades.oldest_at <= NOW
    assert before["spot_raw.trades"].oldest_at is None
    assert trades.compression is None
    assert after["ops.gaps"].parts == 1
    assert not any("_p20" in name or name.endswith("_default") for name in after)


async def _sizes(sink: PostgresSink) -> list[RelationSize]:
    async with sink.session() as connection:
        return await relation_sizes(connection)


async def test_table_that_is_locked_is_not_waited_for(migrated_url: str) -> None:
    """While somebody holds a table for himself there is no sample, and no harm."""
    async with connected(migrated_url) as holder, holder.transaction():
        await holder.execute("LOCK TABLE spot_raw.trades IN ACCESS EXCLUSIVE MODE")
        async with connected(migrated_url, limits=SessionLimits(lock_s=0.1)) as connection:
            with pytest.raises(StoreUnavailable):
                await relation_sizes(connection)


async def test_samples_are_kept_for_the_next_supervisor(migrated_url: str) -> None:
    """What is noted comes back with its time; a sample of eight days ago is gone."""
    async with connected(migrated_url) as connection:
        sizes = await relation_sizes(connection)
        await note_sizes(connection, sizes)
        await connection.execute("UPDATE ops.relation_sizes SET sampled_at = sampled_at - interval '9 days'")
        await note_sizes(connection, sizes)
        history = await size_history(connection, back=timedelta(days=30))

    assert set(history) == {each.relation for each in sizes}
    assert {len(samples) for samples in history.values()} == {1}


async def test_watch_tells_growth_and_room(migrated_url: str, tmp_path: Path) -> None:
    """After some looks: the growth of the table that grows, the room of this machine's disks, and a time."""
    async with PostgresSink.opened(migrated_url) as sink:
        watch = StorageWatch(
            sink.session, database_folder=tmp_path, spool_folder=tmp_path / "spool", clock=_Minutes()
        )
        for number in range(15):
            await sink.write(a_batch(trade_rows(range(number * 1_000 + 1, (number + 1) * 1_000 + 1))))
            await watch.look()

    facts = watch.facts
    assert facts.growth_bytes_per_s["spot_raw.trades"] > 500
    assert set(facts.free_bytes) == {DATABASE, SPOOL}
    assert facts.full_in_s is not None and 0 < facts.full_in_s < inf


async def test_room_of_a_server_elsewhere_is_unknown(migrated_url: str, tmp_path: Path) -> None:
    """Nothing is guessed: no free bytes of the database, and no forecast."""
    async with PostgresSink.opened(migrated_url) as sink:
        watch = StorageWatch(sink.session, database_folder=None, spool_folder=tmp_path, clock=_Minutes())
        for _ in range(15):
            await watch.look()

    assert set(watch.facts.free_bytes) == {SPOOL}
    assert watch.facts.full_in_s is None


async def test_retention_ends_growth(migrated_url: str, tmp_path: Path) -> None:
    """A table whose oldest rows are about to go grows no more: the disk is never full."""
    async with PostgresSink.opened(migrated_url) as sink:
        async with sink.session() as connection:
            await connection.execute(
                "INSERT INTO ops.storage (relation, kind, ts_column, keep)"
                " SELECT relation, 'table', 'ts', '0' FROM unnest($1::text[]) AS relation"
                " ON CONFLICT (relation) DO UPDATE SET keep = '0'",
                [each.relation for each in await relation_sizes(connection)],
            )
        watch = StorageWatch(sink.session, database_folder=tmp_path, spool_folder=tmp_path, clock=_Minutes())
        for number in range(15):
            await sink.write(a_batch(trade_rows(range(number * 1_000 + 1, (number + 1) * 1_000 + 1))))
            await watch.look()

    assert watch.facts.full_in_s == inf


async def test_many_partitions_are_measured(migrated_url: str) -> None:
    """Half a year of partitions is one statement."""
    async with connected(migrated_url) as connection:
        await ensure_partitions(connection, now=NOW, days_back=60)
        sizes = {each.relation: each for each in await relation_sizes(connection)}

    assert sizes["spot_raw.trades"].parts > 60
