"""Rows in the spools of other shards: known to all, and taken over when their shard is no more."""

from functools import partial
from pathlib import Path

from ingest.buffer.spool import Spool
from ingest.buffer.spool_folder import newest_elsewhere, spool_path, take_over
from ingest.buffer.spool_limits import SpoolLimits
from ingest.buffer.tables import TRADES
from ingest.clock import SystemClock
from tests.integration.test_spool_disasters import Account, a_spool, damage, trades
from tests.rows import BTC_TRADE, NOW_US, trade_rows

CLOCK = SystemClock()


async def fill(data_dir: Path, shard: int, numbers: range) -> None:
    """Batches of trades in the spool of a shard."""
    with Spool.opened(spool_path(data_dir, shard), SpoolLimits(), clock=CLOCK) as spool:
        spool.attach(lambda _: "BTCUSDT", lambda _: None)
        for number in numbers:
            assert await spool.put(trades(number))


async def account_of_first_shard(data_dir: Path, *, shards: int) -> Account:
    """What the first of so many shards finds in its spool."""
    orphans = partial(take_over, data_dir=data_dir, shards=shards, wall_ns=CLOCK.wall_ns())
    path = spool_path(data_dir, 0)
    account = Account()
    with Spool.opened(path, SpoolLimits(), clock=CLOCK, take_over=orphans) as spool:
        await account.take(spool)
    return account


async def test_what_another_shard_holds_is_known_while_it_writes(tmp_path: Path) -> None:
    """Also of a file that its owner has open; one's own counts elsewhere."""
    with Spool.opened(spool_path(tmp_path, 1), SpoolLimits(), clock=CLOCK) as spool:
        spool.attach(lambda _: "BTCUSDT", lambda _: None)
        await spool.put(trades(0))
        await spool.put(trades(1))

        assert newest_elsewhere(tmp_path, 0)[BTC_TRADE].last_id == 39
        assert newest_elsewhere(tmp_path, 1) == {}


async def test_file_that_cannot_be_read_is_its_owners_concern(tmp_path: Path) -> None:
    """A shard starts whatever lies beside its own file, or when nothing does."""
    assert newest_elsewhere(tmp_path, 0) == {}
    await fill(tmp_path, 1, range(2))
    spool_path(tmp_path, 2).write_bytes(b"no database" * 1_000)

    assert newest_elsewhere(tmp_path, 0)[BTC_TRADE].last_id == 39


async def test_first_shard_takes_over_what_has_no_owner(tmp_path: Path) -> None:
    """Fewer shards than before: the rows come out of the first one's spool, and the file is gone."""
    await fill(tmp_path, 0, range(2))
    await fill(tmp_path, 1, range(10, 12))
    await fill(tmp_path, 2, range(4, 6))

    account = await account_of_first_shard(tmp_path, shards=2)

    assert account.ids[TRADES] == [*range(40), *range(80, 120)]
    assert spool_path(tmp_path, 1).exists()
    assert not spool_path(tmp_path, 2).exists()


async def test_damage_is_taken_over_as_damage(tmp_path: Path) -> None:
    """A batch that the orphan does not give back is a gap of its range."""
    await fill(tmp_path, 1, range(3))
    needle = trade_rows([25])[0]
    damage(spool_path(tmp_path, 1), lambda data: data.__setitem__(data.index(needle) + 20, 0xEE))

    account = await account_of_first_shard(tmp_path, shards=1)

    assert account.ids[TRADES] == [*range(20), *range(40, 60)]
    assert [(gap.first_id, gap.last_id, gap.opened_us > NOW_US - 1) for gap in account.gaps] == [
        (20, 39, True)
    ]


async def test_spool_that_is_still_open_is_left_to_its_owner(tmp_path: Path) -> None:
    """A shard that is just ending writes on; the next start takes it over."""
    await fill(tmp_path, 1, range(1))
    with a_spool(tmp_path), Spool.opened(spool_path(tmp_path, 1), SpoolLimits(), clock=CLOCK):
        assert (await account_of_first_shard(tmp_path, shards=1)).ids[TRADES] == []

    assert (await account_of_first_shard(tmp_path, shards=1)).ids[TRADES] == list(range(20))
