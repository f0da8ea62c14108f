"""How fast trades are read: the reader beside `pandas.read_sql` and what else there is, in one run.

`python -m tests.bench.reading [--rows 1000000,10000000] [--rounds 3]`, or with `--url` against a server of
one's own (an empty, migrated database of it). Each measurement is a process of its own, so that its memory is
its own, too; each round measures every row once. `pandas.read_sql` is measured through ADBC, and through
SQLAlchemy and psycopg, which is how most people call it, where these are installed. Nothing here asserts a
duration.
"""

import argparse
import asyncio
import importlib
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import asyncpg

from ingest.clock import SystemClock
from ingest.reader import Reader
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.migrate import migrate
from ingest.store.partitions import ensure_partitions
from ingest.store.sessions import connected

SYMBOL = "BTCUSDT"
_EXACT = "SELECT trade_id, ts, price, qty, buyer_is_maker, recv_ts FROM spot.trades WHERE symbol = 'BTCUSDT'"
_FLOAT = _EXACT.replace("price, qty", "price::float8, qty::float8")
_ORDER = " ORDER BY ts, trade_id"
_FILL = """
    INSERT INTO spot_raw.trades
    SELECT
        $2::timestamptz + n * interval '2 ms',
        n,
        $2::timestamptz + n * interval '2 ms' + interval '30 ms',
        $1::integer,
        n % 3 = 0,
        (60000 + (n * 7919 % 100000)::numeric / 100)::numeric(20, 8),
        (1 + (n * 104729 % 1000000))::numeric / 100000000
    FROM generate_series($3::bigint, $4::bigint) AS n
"""


class Measured(NamedTuple):
    """One measurement; memory is the highest of the whole process, imports included."""

    seconds: float
    cpu_s: float
    peak_mib: float


# ---------------------------------------------------------------------- what is measured


def _reader(url: str, to: str, prices: str) -> int:
    with Reader.connect(url, prices="decimal" if prices == "decimal" else "float") as reader:
        answer = reader.trades(SYMBOL, timedelta(days=30), allow_stale=True, require_complete=False)
        return len(answer.polars() if to == "polars" else answer.pandas() if to == "pandas" else answer)


def _reader_parts(url: str) -> int:
    with Reader.connect(url) as reader:
        return sum(map(len, reader.iter_trades(SYMBOL, _first_ts(url))))


def _first_ts(url: str) -> datetime:
    async def asked() -> datetime:
        async with connected(url) as connection:
            first: datetime = await connection.fetchval("SELECT min(ts) FROM spot_raw.trades")
            return first + timedelta(microseconds=1)

    return asyncio.run(asked())


def _adbc(url: str, sql: str, to: str) -> int:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        table = cursor.fetch_arrow_table()
    if to == "pandas":
        return len(table.to_pandas())
    import polars

    return len(polars.DataFrame(table))


def _read_sql_adbc(url: str, sql: str) -> int:
    import pandas
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(url) as connection:
        return len(pandas.read_sql(sql, connection))


def _read_sql_sqlalchemy(url: str, sql: str) -> int:
    import pandas

    sqlalchemy = importlib.import_module("sqlalchemy")  # may not be there
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1))
    with engine.connect() as connection:
        return len(pandas.read_sql(sql, connection))


def _records(url: str) -> int:
    """asyncpg's records, column by column."""
    import pyarrow as pa

    async def fetched() -> list[asyncpg.Record]:
        async with connected(url) as connection:
            return await connection.fetch(_FLOAT + _ORDER)

    columns = zip(*asyncio.run(fetched()), strict=True)
    return int(pa.table([pa.array(column) for column in columns], list("abcdef")).num_rows)


WAYS: dict[str, Callable[[str], int]] = {
    "pandas.read_sql, SQLAlchemy and psycopg, Decimal": lambda url: _read_sql_sqlalchemy(
        url, _EXACT + _ORDER
    ),
    "pandas.read_sql, SQLAlchemy and psycopg, float8": lambda url: _read_sql_sqlalchemy(url, _FLOAT + _ORDER),
    "pandas.read_sql, ADBC, float8": lambda url: _read_sql_adbc(url, _FLOAT + _ORDER),
    "asyncpg records to Arrow, float8": _records,
    "ADBC to polars, float8": lambda url: _adbc(url, _FLOAT + _ORDER, "polars"),
    "ADBC to polars, prices as text": lambda url: _adbc(url, _EXACT + _ORDER, "polars"),
    "reader to Arrow": lambda url: _reader(url, "arrow", "float"),
    "reader to polars": lambda url: _reader(url, "polars", "float"),
    "reader to pandas": lambda url: _reader(url, "pandas", "float"),
    "reader to Arrow, exact": lambda url: _reader(url, "arrow", "decimal"),
    "reader to polars, exact": lambda url: _reader(url, "polars", "decimal"),
    "reader to pandas, exact (Decimal)": lambda url: _reader(url, "pandas", "decimal"),
    "reader, in parts of 500,000": _reader_parts,
}
_MORE = ("psycopg", "sqlalchemy")
_NEEDS_MORE = tuple(name for name in WAYS if "SQLAlchemy" in name)


def measured_here(way: str, url: str) -> tuple[Measured, int]:
    """Measure in this process; the rows that were read."""
    for package in (
        "adbc_driver_postgresql.dbapi",
        "pandas",
        "polars",
        "pyarrow.compute",
        "pyarrow.csv",
        *_MORE,
    ):
        # What it costs to start is not what is asked here.
        with suppress(ImportError):
            importlib.import_module(package)
    before = time.perf_counter(), time.process_time()
    rows = WAYS[way](url)
    seconds, cpu_s = time.perf_counter() - before[0], time.process_time() - before[1]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(seconds, cpu_s, peak_mib), rows


def measured_apart(way: str, url: str, rows: int) -> Measured:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.reading", "--one", way, "--url", url]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    # Rows on the very edge of the span may be left out, by its terms.
    assert abs(said.pop("rows") - rows) <= 1, (way, said)
    return Measured(**said)


# ---------------------------------------------------------------------- what is read


@asynccontextmanager
async def a_server(url: str | None) -> AsyncIterator[str]:
    """The one that is named, or an embedded one with its settings of production."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="ingest-bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        try:
            yield await server.start()
        finally:
            await server.stop()


async def fill(url: str, first: int, last: int) -> None:
    """Trades `first` to `last`, two milliseconds apart, the newest about now, whatever is there already."""
    async with connected(url) as connection:
        sql = (
            "INSERT INTO ops.instruments (market, symbol, status, base_asset, quote_asset)"
            " VALUES ('spot', $1, 'TRADING', 'BTC', 'USDT')"
            " ON CONFLICT (market, symbol) DO UPDATE SET status = excluded.status RETURNING symbol_id"
        )
        symbol_id = await connection.fetchval(sql, SYMBOL)
        start = _begin(last)
        await connection.execute("TRUNCATE spot_raw.trades")
        for low in range(first, last + 1, 1_000_000):
            high = min(last, low + 999_999)
            await connection.fetch(_FILL, symbol_id, start, low, high, timeout=600)
        await connection.execute("VACUUM ANALYZE spot_raw.trades", timeout=600)
        await connection.execute(
            "INSERT INTO ops.stream_state"
            " (market, symbol, kind, shard, feed, state, diagnosis, last_event_ts, threshold_s, reconnects,"
            " open_gaps, updated_at)"
            " VALUES ('spot', $1, 'trade', 0, '0', 'live', '', now() + interval '1 day', 1e6, 0, 0, now())"
            " ON CONFLICT (market, symbol, kind) DO NOTHING",
            SYMBOL,
        )


def _begin(rows: int) -> datetime:
    return _now().replace(microsecond=0) - timedelta(milliseconds=2 * rows + 60_000)


def _now() -> datetime:
    return datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC)


async def main(rows: list[int], rounds: int, url: str | None, only: str) -> None:
    """Measure the ways that match, and print a table."""
    has_more = all(find_spec(package) is not None for package in _MORE)
    ways = [way for way in WAYS if (has_more or way not in _NEEDS_MORE) and re.search(only, way)]
    async with a_server(url) as server_url:
        await migrate(server_url, deadline_s=60)
        async with connected(server_url) as connection:
            await ensure_partitions(connection, now=_now())
        for count in rows:
            await fill(server_url, 1, count)
            found: dict[str, list[Measured]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way in ways:
                    found[way].append(await asyncio.to_thread(measured_apart, way, server_url, count))
            print(f"\n{count:,} trades, median of {rounds} rounds\n")
            print(table(found))


def table(found: dict[str, list[Measured]]) -> str:
    """Medians and ranges, each beside the first row of all."""
    lines = ["| way | seconds | range | times as fast | CPU s | peak MiB |", "|---|---|---|---|---|---|"]
    yardstick = next(iter(found.values()))
    for way, measured in found.items():
        seconds = [each.seconds for each in measured]
        # Neighbours in time are compared, because other work on the machine comes and goes.
        pairs = zip(yardstick, measured, strict=True)
        times = statistics.median(mark.seconds / each.seconds for mark, each in pairs)
        cpu_s = statistics.median(each.cpu_s for each in measured)
        peak = max(each.peak_mib for each in measured)
        lines.append(
            f"| {way} | {statistics.median(seconds):.2f} | {min(seconds):.2f}-{max(seconds):.2f}"
            f" | {times:.1f} | {cpu_s:.2f} | {peak:.0f} |"
        )
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.reading", description=__doc__)
    parser.add_argument("--rows", default="1000000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url")
    parser.add_argument("--only", default="", help="a pattern that the ways have to match")
    parser.add_argument("--one", choices=list(WAYS), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    asked = _arguments()
    if asked.one:
        one, count_read = measured_here(asked.one, asked.url)
        print(json.dumps({**one._asdict(), "rows": count_read}))
    else:
        asyncio.run(main([int(each) for each in asked.rows.split(",")], asked.rounds, asked.url, asked.only))
