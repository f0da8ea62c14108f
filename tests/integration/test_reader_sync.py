"""The reader for scripts and notebooks, and how it finds its database."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ingest.errors import ConfigError, StoreUnavailable
from ingest.reader import IncompleteData, Reader, StaleData
from ingest.reader.arrow import MissingPackage
from tests.integration.stored_market import MINUTE, SECOND, SYMBOL, now, stored_market
from tests.plugin_database import run_apart


@pytest.fixture
def start(migrated_url: str) -> datetime:
    """When a minute began of which everything is stored."""
    start = now() - MINUTE

    async def fill() -> None:
        async with stored_market(migrated_url) as market:
            await market.trades(range(1, 61), start)
            await market.agg_trades(range(61), start)
            await market.book_tickers(range(1, 61), start)
            await market.book(10, start)
            await market.deltas(range(11, 51), start)
            await market.klines([start.replace(second=0, microsecond=0) - n * MINUTE for n in (3, 2, 1)])
            for kind in ("trade", "agg_trade", "book_ticker", "depth", "kline_1m"):
                await market.fresh(kind, now())

    run_apart(fill())
    return start


@pytest.fixture
def reader(migrated_url: str, start: datetime) -> Iterator[Reader]:
    """A reader of that minute."""
    with Reader.connect(migrated_url) as reader:
        yield reader


def test_reader_has_all_that_the_asynchronous_one_has(reader: Reader, start: datetime) -> None:
    """Every method, with the same names and terms."""
    span = (start + 10 * SECOND, start + 20 * SECOND)

    assert len(reader.trades(SYMBOL, *span)) == 10
    assert len(reader.agg_trades(SYMBOL, *span, prices="decimal")) == 10
    assert len(reader.book_tickers(SYMBOL, *span)) == 10
    opened = start.replace(second=0, microsecond=0) - 2 * MINUTE
    assert len(reader.klines(SYMBOL, "1m", opened, max_age=3600)) == 2
    assert reader.book_at(SYMBOL, span[0]).update_id == 10
    assert reader.latest(SYMBOL).trade_id == 60
    reader.wait_fresh([(SYMBOL, "trade")], timeout_s=1)
    assert len(reader.freshness()) == 5
    assert len(reader.gaps()) == len(reader.incidents()) == 0
    assert len(reader.instruments()) == 2
    assert reader.completeness(SYMBOL, *span).polars()["stored"].sum() > 0


def test_refusals_come_out_as_they_are(reader: Reader, start: datetime) -> None:
    """No wrapping in anything else."""
    with pytest.raises(IncompleteData, match="begins at"):
        reader.trades(SYMBOL, start - MINUTE)
    with pytest.raises(StaleData):
        reader.trades(SYMBOL, start + SECOND, max_age=0)


def test_long_things_come_in_parts(reader: Reader, start: datetime) -> None:
    """They may be left before their end."""
    trades = [len(part) for part in reader.iter_trades(SYMBOL, start + SECOND * 1.5, chunk=20)]
    assert sum(trades) == 59 and max(trades) <= 20
    assert sum(map(len, reader.iter_agg_trades(SYMBOL, start + SECOND, chunk=timedelta(seconds=7)))) == 60
    assert sum(map(len, reader.iter_book_tickers(SYMBOL, start + SECOND, chunk=7))) == 59

    books = reader.book_replay(SYMBOL, start + 1.5 * SECOND, start + 40 * SECOND, levels=1)
    assert next(books).update_id == 10
    assert sum(1 for _ in reader.book_replay(SYMBOL, start + 1.5 * SECOND, start + 40 * SECOND)) == 30


async def test_reader_works_where_a_loop_runs_already(migrated_url: str, start: datetime) -> None:
    """As in a notebook."""
    with Reader.connect(migrated_url) as reader:
        assert len(reader.trades(SYMBOL, start + 10 * SECOND, start + 20 * SECOND)) == 10
    assert asyncio.get_running_loop().is_running()


def test_nothing_is_left_behind(migrated_url: str, start: datetime) -> None:
    """No thread, whether it went well or not."""
    before = threading.active_count()

    with pytest.raises(StaleData), Reader.connect(migrated_url) as reader:
        reader.trades(SYMBOL, start + SECOND, max_age=0)
    with pytest.raises(StoreUnavailable), Reader.connect("postgresql://nobody@127.0.0.1:1/none"):
        pytest.fail("connected")

    assert threading.active_count() == before


def test_package_that_is_not_there_is_named(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    answer = reader.instruments()

    for package, use in (
        ("polars", answer.polars),
        ("pandas", answer.pandas),
        ("pyarrow", reader.instruments),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingPackage, match=f"pip install '{package}'"):
            use()
    assert "<pre>" in answer._repr_html_()


def test_database_is_named_or_found(
    migrated_url: str, start: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INGEST_DATABASE_URL, or the embedded server of a service that runs; else it says what to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INGEST_DATABASE_URL", raising=False)
    with pytest.raises(ConfigError, match="no embedded PostgreSQL runs under"), Reader.connect():
        pytest.fail("connected")

    monkeypatch.setenv("INGEST_DATABASE_URL", migrated_url)
    with Reader.connect() as reader:
        assert reader.latest(SYMBOL).trade_id == 60
