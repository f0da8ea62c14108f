"""A shard with its capture on, then the capture into another database: the rows are the same."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import SecretStr

from ingest.binance.answers import Instrument
from ingest.capture.files import is_capture_name
from ingest.capture.records import Kind, Record
from ingest.cli import main
from ingest.clock import SystemClock
from ingest.config import (
    BackfillSection,
    CaptureSection,
    DatabaseSection,
    ServiceSection,
    Settings,
    SpotSection,
)
from ingest.events import StreamKey
from ingest.shard.job import ShardJob
from ingest.shard.orders import Adopt, Drop, Order, ReplaceFeed, Resubscribe
from ingest.shard.plan import FeedPlan, ShardPlan
from ingest.shard.process import run_shard
from ingest.shard.replay_files import Replayer, ReplayReport, find_parts
from ingest.sim import faults
from ingest.sim.faults import Fault
from ingest.sim.market import MarketPlan
from ingest.sim.server import DoubleConfig, ExchangeDouble
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.postgres import PostgresSink
from ingest.store.sessions import connected
from tests.plugin_database import create_database, drop_database, run_apart
from tests.unit.capture.builders import HEADER, a_file, some_frames

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "XRPUSDT")
KINDS = ("trade", "agg_trade", "book_ticker", "depth", "kline_1s", "mini_ticker", "ticker", "avg_price")
BTC, ETH, BNB, XRP = ([StreamKey("spot", symbol, kind) for kind in KINDS] for symbol in SYMBOLS)
MARKET = DoubleConfig(market=MarketPlan(named=SYMBOLS, rate=800.0))
RELATIONS = (
    *("trades", "agg_trades", "book_tickers", "depth_deltas"),
    *("depth_snapshots", "klines", "tickers", "avg_prices"),
)
DEADLINE_S = 40.0


class Live(NamedTuple):
    """A live run that is over: its database, and the folder of its captures."""

    url: str
    raw: Path


@pytest.fixture(scope="module")
def live(
    postgres_server: str, schema_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """Two lives of a shard under every kind of trouble."""
    folder = tmp_path_factory.mktemp("live")
    url = run_apart(create_database(postgres_server, template=schema_template))
    run_apart(a_run_with_everything(url, folder))
    yield Live(url, folder / "raw")
    run_apart(drop_database(postgres_server, url))


class Run:
    """A shard that runs in this process, its double, and its database."""

    def __init__(self, double: ExchangeDouble, url: str, ids: dict[str, int]) -> None:
        self.double, self.url, self.ids = double, url, ids
        self.orders: asyncio.Queue[Order] = asyncio.Queue()
        self.stop = asyncio.Event()

    async def value(self, sql: str, *arguments: object) -> int:
        async with connected(self.url) as connection:
            return int(await connection.fetchval(sql, *arguments) or 0)

    async def until(self, sql: str, is_enough: Callable[[int], bool] = bool) -> None:
        """Until a query says what it should."""
        async with asyncio.timeout(DEADLINE_S):
            while not is_enough(await self.value(sql)):
                await asyncio.sleep(0.1)

    async def until_newer(self, symbol: str = "BTCUSDT") -> None:
        """Until trades of a symbol have gone on."""
        sql = f"SELECT max(trade_id) FROM spot.trades WHERE symbol = '{symbol}'"
        newest = await self.value(sql)
        await self.until(sql, lambda value: value > newest)

    async def after(self, fault: Fault, touched: int = 1) -> None:
        """Until a fault has happened, and trades have gone on."""
        live = self.double.add_fault(fault)
        async with asyncio.timeout(DEADLINE_S):
            while live.touched < touched:
                await asyncio.sleep(0.02)
        await self.until_newer()


def _settings(double: ExchangeDouble, url: str, folder: Path, capture: CaptureSection) -> Settings:
    spot = SpotSection(
        ws_url=double.ws_url,
        rest_url=double.rest_url,
        symbols=list(SYMBOLS),
        stored_levels=50,
        snapshot_limit=50,
        deepest_snapshot_limit=100,
        deepest_books=5,
        audit_every_s=1.0,
    ).model_copy(update={"snapshot_every_s": 0.7})
    return Settings(
        database=DatabaseSection(url=SecretStr(url)),
        service=ServiceSection(data_dir=folder),
        capture=capture,
        spot=spot,
        # What is fetched afterwards did not come in.
        backfill=BackfillSection(enabled=False),
    )


async def _symbol_ids(url: str) -> dict[str, int]:
    instruments = [Instrument(name, "TRADING", name, "USDT", None, None) for name in SYMBOLS]
    async with PostgresSink.opened(url, connections=1) as sink:
        return await sink.instrument_ids("spot", instruments)


@asynccontextmanager
async def a_run(
    double: ExchangeDouble, url: str, folder: Path, capture: CaptureSection, plans: Sequence[FeedPlan]
) -> AsyncIterator[Run]:
    """A shard that has stored a row of every kind and whose books are stored; stopped in order at the end."""
    run = Run(double, url, await _symbol_ids(url))
    job = ShardJob(
        plan=ShardPlan(0, tuple(plans)),
        settings=_settings(double, url, folder, capture),
        symbol_ids=run.ids,
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(
            run_shard(job, run.stop, run.orders, clock=SystemClock(), rng=random.Random(1))
        )
        for relation in RELATIONS:
            await run.until(f"SELECT count(*) FROM spot.{relation}", lambda count: count > 3)
        yield run
        run.stop.set()
        assert await running == 0


async def digests(url: str) -> dict[str, tuple[int, int]]:
    """For each relation the number of its rows, and a sum over all columns of each that knows no order."""
    found = {}
    async with connected(url) as connection:
        for relation in (*(f"spot.{name}" for name in RELATIONS), "ops.gaps"):
            rows = f"SELECT to_jsonb(r) - '{{gap_id,symbol_id}}'::text[] AS row FROM {relation} AS r"
            sql = f"SELECT count(*), sum(hashtextextended(row::text, 0)::numeric) FROM ({rows}) AS rows"
            found[relation] = tuple(await connection.fetchrow(sql) or ())
    return found


async def rows_of(url: str, relation: str) -> set[str]:
    """Every row of a relation, all columns of it."""
    async with connected(url) as connection:
        rows = await connection.fetch(
            f"SELECT (to_jsonb(r) - '{{gap_id,symbol_id}}'::text[])::text FROM {relation} AS r"
        )
    return {row[0] for row in rows}


async def assert_same_rows(live: str, replayed: str) -> None:
    """Every relation holds the same rows, receive times included."""
    ours, theirs = await digests(replayed), await digests(live)
    for relation, digest in theirs.items():
        if ours[relation] != digest:
            differing = await rows_of(replayed, relation) ^ await rows_of(live, relation)
            raise AssertionError(f"{relation}: {ours[relation]} is not {digest}: {sorted(differing)[:5]}")


def captures(raw: Path) -> list[Path]:
    return sorted(file for file in raw.iterdir() if is_capture_name(file.name))


def replay(*arguments: object) -> int:
    """The command's exit code."""
    with pytest.raises(SystemExit) as caught:
        main(["replay", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


async def a_run_with_everything(url: str, folder: Path) -> None:
    """Two lives of a shard under faults and orders, in many files."""
    async with ExchangeDouble(MARKET) as double:
        await _two_lives(double, url, folder)


async def _two_lives(double: ExchangeDouble, url: str, folder: Path) -> None:
    capture = CaptureSection(enabled=True, flush_s=0.2, rotate_s=1.0)
    plans = [FeedPlan(4, tuple(BTC)), FeedPlan(5, tuple(ETH))]
    async with a_run(double, url, folder, capture, plans) as run:
        await run.after(faults.Duplicate(fraction=0.5, n=20), 20)
        await run.after(faults.Reorder(fraction=0.5, n=20), 20)
        await run.after(faults.Drop(fraction=0.5, n=20), 20)
        await run.after(faults.Drop(kind="depth", n=4), 4)
        await run.after(faults.Malformed(n=5), 5)
        await run.after(faults.Malformed(n=5, damage="wrong_type", replace=True), 5)
        for reason in ("resync", "deepened"):
            await run.until(f"SELECT count(*) FROM spot.depth_snapshots WHERE reason = '{reason}'")
        await run.after(faults.Reset(connection=1))
        await run.after(faults.MuteStream(symbol="ETHUSDT", kind="trade", until="resubscribe"), 5)
        run.orders.put_nowait(Resubscribe((ETH[0], ETH[5])))
        await run.until("SELECT count(*) FROM ops.gaps WHERE cause = 'resubscribe'")
        await run.after(faults.Shutdown(connection=2))
        run.orders.put_nowait(ReplaceFeed(5, "a test", (ETH[2],)))
        run.orders.put_nowait(Adopt(9, tuple(BNB), run.ids))
        run.orders.put_nowait(Adopt(4, tuple(XRP), run.ids))
        await run.until_newer("BNBUSDT")
        await run.until_newer("XRPUSDT")
        run.orders.put_nowait(Drop((*XRP, ETH[3])))
        await run.until_newer()
    async with a_run(double, url, folder, capture, [FeedPlan(4, tuple(BTC))]) as run:
        await run.until("SELECT count(*) FROM ops.gaps WHERE cause = 'restart'")
        await run.until_newer()


async def test_replay_gives_the_rows_of_the_live_run(live: Live, migrated_url: str) -> None:
    """After every kind of trouble, all columns of all rows are equal, gaps and stored books included."""
    assert await asyncio.to_thread(replay, live.raw, "--into", migrated_url) == 0

    await assert_same_rows(live.url, migrated_url)
    assert len(captures(live.raw)) > 4


async def test_replay_into_a_database_that_has_the_rows_changes_nothing(
    live: Live, migrated_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice is once, in whatever order the files are named."""
    files = captures(live.raw)
    for order in (files, reversed(files)):
        assert await asyncio.to_thread(replay, *order, "--into", migrated_url) == 0

    await assert_same_rows(live.url, migrated_url)
    assert ": 0 rows stored" in capsys.readouterr().out.splitlines()[-1]


async def test_damaged_files_give_what_is_whole(
    live: Live, migrated_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where they are damaged is said; no row is altered, and what is missing of consecutive ids is a gap."""
    raw = shutil.copytree(live.raw, tmp_path / "raw")
    first, second, *_, last = captures(raw)
    first.write_bytes(flipped(first.read_bytes(), first.stat().st_size // 2))
    second.unlink()
    last.write_bytes(last.read_bytes()[:-7])
    assert await asyncio.to_thread(replay, raw, "--into", migrated_url) == 3

    told = capsys.readouterr().err
    assert f"{first}: bytes " in told
    assert "part 2 of its run is missing" in told
    assert f"{last}: was not closed" in told
    for relation in ("spot.trades", "spot.depth_deltas", "spot.book_tickers"):
        assert await rows_of(migrated_url, relation) < await rows_of(live.url, relation)
    assert await holes_without_gap(migrated_url) == []


async def holes_without_gap(url: str) -> list[int]:
    """Trades between the first and the newest of BTCUSDT that are neither stored nor in a gap."""
    sql = """
        SELECT id FROM generate_series(
            (SELECT min(trade_id) FROM spot.trades WHERE symbol = 'BTCUSDT'),
            (SELECT max(trade_id) FROM spot.trades WHERE symbol = 'BTCUSDT')
        ) AS id
        WHERE NOT EXISTS (SELECT FROM spot.trades WHERE symbol = 'BTCUSDT' AND trade_id = id)
        AND NOT EXISTS (
            SELECT FROM ops.gaps
            WHERE symbol = 'BTCUSDT' AND kind = 'trade' AND id BETWEEN first_id AND last_id
        )"""
    async with connected(url) as connection:
        return [row["id"] for row in await connection.fetch(sql)]


def flipped(data: bytes, place: int) -> bytes:
    """The same bytes but for one."""
    return data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]


async def test_file_can_be_played_without_those_before_it(
    live: Live, migrated_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All its messages are stored as they were live; that books may lack is told."""
    second = captures(live.raw)[1]
    assert await asyncio.to_thread(replay, second, "--into", migrated_url) == 3

    assert f"{second}: its run begins earlier" in capsys.readouterr().err
    for relation in ("spot.trades", "spot.agg_trades", "spot.depth_deltas", "spot.tickers"):
        rows = await rows_of(migrated_url, relation)
        assert rows
        assert rows <= await rows_of(live.url, relation)


async def test_embedded_database_of_a_folder_is_made_and_filled(live: Live, tmp_path: Path) -> None:
    """With the schema; it is stopped again afterwards."""
    assert await asyncio.to_thread(replay, live.raw, "--into", tmp_path / "var") == 0

    server = EmbeddedPostgres(tmp_path / "var" / "postgres")
    assert server.url_of_running() is None
    url = await server.start()
    try:
        await assert_same_rows(live.url, url)
    finally:
        await server.stop()


async def test_file_that_goes_away_meanwhile_is_told(migrated_url: str, tmp_path: Path) -> None:
    """A running service drops its oldest files; the others are played."""
    for part in (1, 2):
        path = tmp_path / replace(HEADER, part=part).file_name()
        path.write_bytes(a_file([some_frames(1), [Record(Kind.CLOSED)]], part=part))
    report = ReplayReport()
    first, second = find_parts([tmp_path], report)
    first.path.unlink()
    async with PostgresSink.opened(migrated_url) as sink:
        replayer = Replayer(
            sink, report, clock=SystemClock(), rng=random.Random(1), on_progress=lambda _: None
        )
        await replayer.play([first, second])

    assert report.troubles == [f"{first.path}: cannot be read: No such file or directory"]
    assert report.counts.unplaced == 1


def test_database_without_the_schema_is_refused(
    live: Live, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and nothing is made in it."""
    assert replay(live.raw, "--into", database_url) == 1
    assert "error:" in capsys.readouterr().err


def test_what_is_no_capture_is_told(
    migrated_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A foreign file is degraded, an empty folder is nothing to do, and a wrong use is one."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").write_text("not a capture")

    assert replay(tmp_path / "foreign", "--into", migrated_url) == 3
    assert "not a capture" in capsys.readouterr().err
    assert replay(tmp_path / "empty", "--into", migrated_url) == 1
    assert replay(tmp_path / "empty") == 2
    assert replay(tmp_path / "nowhere", "--into", migrated_url) == 2


def test_misspelt_database_does_not_become_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong use, and its password is not shown."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign").write_text("not a capture")

    for into in ("postgresq://u:hunter2@host/db", ""):
        assert replay(tmp_path / "foreign", "--into", into) == 2
        told = capsys.readouterr().err
        assert "expected postgresql://" in told
        assert "hunter2" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["foreign"]
