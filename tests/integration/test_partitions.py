"""Partitions made ahead, beside writers and other makers."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ingest.errors import StoreUnavailable
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.partitions import ensure_partitions, rows_in_default
from ingest.store.retrying import RetryPolicy, until_available
from ingest.store.sessions import connected

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

NOW = datetime(2031, 12, 30, 13, 0, tzinfo=UTC)
DAILY = {
    f"spot_raw.{name}"
    for name in ("trades", "agg_trades", "book_tickers", "depth_deltas", "depth_snapshots", "candles_1s")
}
MONTHLY = {f"spot_raw.{name}" for name in ("klines", "tickers", "avg_prices", "candles_1m")}
INSERT = (
    "INSERT INTO spot_raw.trades (ts, trade_id, recv_ts, symbol_id, buyer_is_maker, price, qty)"
    " VALUES ($1, $2, $1, 1, true, 1, 1)"
)


async def test_partitions_are_made_from_back_to_ahead(migrated_url: str) -> None:
    """The days asked for, their months and the month before get partitions, over a year's end too."""
    async with connected(migrated_url) as connection:
        made = await ensure_partitions(connection, now=NOW, days_ahead=3, days_back=1)

        days = {(partition.relation, partition.range_start) for partition in made}
        assert days == {
            *(
                (table, datetime(2031, 12, 29, tzinfo=UTC) + timedelta(days=n))
                for table in DAILY
                for n in range(5)
            ),
            *((table, datetime(2031, 11, 1, tzinfo=UTC)) for table in MONTHLY),
            *((table, datetime(2031, 12, 1, tzinfo=UTC)) for table in MONTHLY),
            *((table, datetime(2032, 1, 1, tzinfo=UTC)) for table in MONTHLY),
        }
        names = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relname LIKE '%\\_p203%' AND relkind = 'r'"
        )
    assert {"trades_p20311229", "trades_p20320102", "klines_p203112", "klines_p203201"} < {
        row[0] for row in names
    }


async def test_partitions_that_exist_are_left_alone(migrated_url: str) -> None:
    """A second call makes nothing."""
    async with connected(migrated_url) as connection:
        await ensure_partitions(connection, now=NOW)

        assert await ensure_partitions(connection, now=NOW) == []


async def test_session_time_zone_does_not_move_the_days(migrated_url: str) -> None:
    """Partitions are UTC days, whatever the session thinks of time."""
    async with connected(migrated_url) as connection:
        await connection.execute("SET timezone = 'Asia/Kathmandu'")
        made = await ensure_partitions(connection, now=NOW, days_ahead=0, days_back=0)

    assert {partition.range_start for partition in made} == {
        datetime(2031, 12, 30, tzinfo=UTC),
        datetime(2031, 12, 1, tzinfo=UTC),
        datetime(2031, 11, 1, tzinfo=UTC),
    }


async def test_row_goes_to_the_partition_of_its_day(migrated_url: str) -> None:
    """Rows at both ends of a day lie in its partition, and none in the net."""
    async with connected(migrated_url) as connection:
        await ensure_partitions(connection, now=NOW)
        midnight = datetime(2031, 12, 30, tzinfo=UTC)
        await connection.execute(INSERT, midnight, 1)
        await connection.execute(INSERT, midnight + timedelta(days=1, microseconds=-1), 2)

        assert await connection.fetchval("SELECT count(*) FROM spot_raw.trades_p20311230") == 2
        assert set((await rows_in_default(connection)).values()) == {0}


async def test_rows_in_the_net_are_counted_and_moved_home(migrated_url: str) -> None:
    """Rows that came before their partition are counted, then moved into it when it is made."""
    async with connected(migrated_url) as connection:
        await connection.execute(INSERT, NOW, 1)
        await connection.execute(INSERT, NOW + timedelta(days=400), 2)
        assert (await rows_in_default(connection))["spot_raw.trades"] == 2

        made = await ensure_partitions(connection, now=NOW)

        assert [(p.relation, p.moved) for p in made if p.moved] == [("spot_raw.trades", 1)]
        assert (await rows_in_default(connection))["spot_raw.trades"] == 1
        assert await connection.fetchval("SELECT count(*) FROM spot_raw.trades_p20311230") == 1
        assert await connection.fetchval("SELECT count(*) FROM spot_raw.trades") == 2


async def test_new_partition_has_the_unique_key(migrated_url: str) -> None:
    """Every partition carries the index of its table, whose key holds over all of them."""
    async with connected(migrated_url) as connection:
        await ensure_partitions(connection, now=NOW)
        invalid = await connection.fetch("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid")
        assert invalid == []
        indexes = await connection.fetchval(
            "SELECT count(*) FROM pg_index"
            " WHERE indrelid = 'spot_raw.trades_p20311230'::regclass AND indisunique"
        )
    assert indexes == 1


async def test_row_whose_partition_is_made_meanwhile_is_tried_again(migrated_url: str) -> None:
    """A writer that waits for the net while its day gets a partition is refused, for no fault of its row."""
    async with connected(migrated_url) as maker, connected(migrated_url) as writer:
        await writer.execute("SET lock_timeout = 0")
        async with maker.transaction(), asyncio.TaskGroup() as group:
            await maker.execute("LOCK TABLE ONLY spot_raw.trades_default IN ACCESS EXCLUSIVE MODE")
            writing = group.create_task(_refusal(writer, NOW))
            waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid = $1)"
            while not await maker.fetchval(waits, writer.get_server_pid()):
                await asyncio.sleep(0.05)
            await maker.execute("SELECT ops.ensure_partition('spot_raw.trades', $1)", NOW)
            await maker.execute("COMMIT; BEGIN")
            await writing
        await writer.execute(INSERT, NOW, 1)

        assert "violates partition constraint" in str(writing.result())
        assert await rows_in_default(writer) == dict.fromkeys(DAILY | MONTHLY, 0)


async def _refusal(connection: "Connection", at: datetime) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as refused:
        await _insert(connection, at, 1)
    return refused.value


async def _insert(connection: "Connection", at: datetime, trade_id: int) -> None:
    try:
        await connection.execute(INSERT, at, trade_id)
    except DRIVER_ERRORS as error:
        raise translated(error) from error


async def test_makers_and_writers_at_once_do_not_disturb_each_other(migrated_url: str) -> None:
    """Several makers and writers together: each partition is made once and every row is kept once."""

    async def make() -> int:
        async with connected(migrated_url) as connection:
            return len(await ensure_partitions(connection, now=NOW, days_ahead=8))

    async def write(first_id: int) -> None:
        async with connected(migrated_url) as connection:
            for number in range(100):
                await until_available(
                    partial(_insert, connection, NOW + timedelta(days=number % 8), first_id + number),
                    policy=RetryPolicy(),
                    rng=random.Random(number),
                    on_retry=lambda _: None,
                )

    async with asyncio.TaskGroup() as group:
        makers = [group.create_task(make()) for _ in range(4)]
        for writer in range(3):
            group.create_task(write(1_000 * writer))

    assert sum(maker.result() for maker in makers) == len(DAILY) * 10 + len(MONTHLY) * 3
    async with connected(migrated_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM spot_raw.trades") == 300
        assert set((await rows_in_default(connection)).values()) == {0}


async def test_lock_that_cannot_be_had_is_reported_and_can_be_tried_again(migrated_url: str) -> None:
    """A reader that holds everything makes it fail in time; afterwards it works."""
    async with connected(migrated_url) as connection, connected(migrated_url) as reader:
        async with reader.transaction():
            await reader.fetchval("SELECT count(*) FROM spot_raw.agg_trades")

            with pytest.raises(StoreUnavailable, match="55P03"):
                await ensure_partitions(connection, now=NOW)

        await ensure_partitions(connection, now=NOW)
        assert await ensure_partitions(connection, now=NOW) == []
