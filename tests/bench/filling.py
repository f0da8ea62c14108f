"""Databases of the query benchmark filled: the project's schema by COPY, the naive schema from it.

The project's rows go through its own encoders into its own tables; what only a running service would know
(the gap ledger, freshness, candles) is put beside them. Both schemas then hold the same events, naive ones
in the order in which the others were written, with its indexes in place meanwhile, as in a running service.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.buffer import encode
from ingest.buffer.tables import BOOK_TICKERS, DEPTH_DELTAS, DEPTH_SNAPSHOTS, TRADES, Table
from ingest.store.candle_aggregates import refresh_late_candles
from ingest.store.candles import are_aggregates, refresh_candles
from ingest.store.partitions import ensure_partitions
from ingest.store.statements import parse_statements, statement
from tests.bench.replay import Extent, Replay, merged

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

KINDS: Final = ("trades", "book_tickers", "depth_deltas", "depth_snapshots", "klines")
CANDLES: Final = ("candles_1s", "candles_1m", "candles_1h", "candles_1d")
_BATCH_ROWS: Final = 20_000
_ROLLED_UP: Final = 500_000
"""Trades at once; a running service takes fewer, so as not to be in anybody's way."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Tell = Callable[[str], None]
_Rows = Iterator[tuple[int, bytes]]


@functools.cache
def bench_statements(name: str) -> Mapping[str, str]:
    """The SQL of this benchmark: `stores` or `questions`, by the names in it."""
    return dict(parse_statements(Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")))


class _Source(NamedTuple):
    table: Table
    rows: Callable[[Replay, int, int], _Rows]
    """Of the symbol with a number and an id."""


def _trades(replay: Replay, number: int, symbol_id: int) -> _Rows:
    return ((event.recv_ns, encode.trade(symbol_id, event)) for event in replay.trades(number))


def _book_tickers(replay: Replay, number: int, symbol_id: int) -> _Rows:
    return ((event.recv_ns, encode.book_ticker(symbol_id, event)) for event in replay.book_tickers(number))


def _depth_deltas(replay: Replay, number: int, symbol_id: int) -> _Rows:
    return ((event.recv_ns, encode.depth_delta(symbol_id, event)) for event in replay.depth_deltas(number))


def _depth_snapshots(replay: Replay, number: int, symbol_id: int) -> _Rows:
    snapshots = replay.depth_snapshots(number)
    return ((event.recv_ns, encode.depth_snapshot(symbol_id, event)) for event in snapshots)


_SOURCES: Final = (
    _Source(TRADES, _trades),
    _Source(BOOK_TICKERS, _book_tickers),
    _Source(DEPTH_DELTAS, _depth_deltas),
    _Source(DEPTH_SNAPSHOTS, _depth_snapshots),
)


async def fill(connection: "Connection", extent: Extent, tell: Tell) -> None:
    """Everything into the project's schema, which is migrated and empty."""
    ids = await _instruments(connection, extent)
    await ensure_partitions(connection, now=extent.end, days_back=extent.days)
    replay = Replay(extent)
    for source in _SOURCES:
        streams = [source.rows(replay, number, ids[name]) for number, name in enumerate(extent.names())]
        written = 0
        for batch in merged(streams, size=_BATCH_ROWS):
            await _copy(connection, source.table, batch)
            written += len(batch)
        tell(f"{source.table.name}: {written:,} rows")
    for symbol_id in ids.values():
        await connection.execute(bench_statements("stores")["fill_klines"], symbol_id)
    await _holes(connection, extent, replay)
    await connection.execute(bench_statements("stores")["fill_freshness"])
    await _make_candles(connection, extent, ids)


async def fill_naive(connection: "Connection", tell: Tell) -> None:
    """The same rows once more, in the naive schema."""
    stores = bench_statements("stores")
    await connection.execute(stores["create_naive"])
    async with connection.transaction():
        await connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        for kind in KINDS:
            status = await connection.execute(stores[f"fill_naive_{kind}"])
            tell(f"naive {kind}: {int(status.rpartition(' ')[2]):,} rows")


async def _instruments(connection: "Connection", extent: Extent) -> dict[str, int]:
    """Ids by symbol."""
    names = extent.names()
    bases, steps = [name.removesuffix("USDT") for name in names], ["0.00001000"] * len(names)
    ticks, quotes, states = ([text] * len(names) for text in ("0.01000000", "USDT", "TRADING"))
    columns = (names, states, bases, quotes, ticks, steps)
    await connection.execute(statement("insert_instruments"), "spot", *columns)
    found = await connection.fetch(statement("instrument_ids"), "spot", names)
    return {row["symbol"]: row["symbol_id"] for row in found}


async def _copy(connection: "Connection", table: Table, batch: list[bytes]) -> None:
    await connection.copy_to_table(
        table.name,
        schema_name=table.schema,
        columns=table.columns,
        # `bytes` the driver takes for the name of a file; its stubs do not know that it takes buffers.
        source=memoryview(encode.copy_payload(table, batch)),  # type: ignore[arg-type]
        format="binary" if table.format == "binary" else "text",
    )


async def _holes(connection: "Connection", extent: Extent, replay: Replay) -> None:
    gaps = [
        (name, hole.first_id, hole.last_id, _moment(hole.start_us), _moment(hole.end_us))
        for number, name in enumerate(extent.names())
        for hole in replay.holes(number)
    ]
    await connection.executemany(bench_statements("stores")["fill_gap"], gaps)


async def _make_candles(connection: "Connection", extent: Extent, ids: Mapping[str, int]) -> None:
    """What the service would have made of the trades, in whichever way it does on this server."""
    for name, symbol_id in ids.items():
        await connection.execute(statement("cover_trades"), "spot", name, extent.first_day, extent.end)
        span = (symbol_id, extent.first_day, extent.end)
        await connection.execute(bench_statements("stores")["fill_touched"], *span)
    if await are_aggregates(connection):
        while await connection.fetchval(statement("count_touched")):
            await refresh_late_candles(connection)
    else:
        while (refreshed := await refresh_candles(connection, most_trades=_ROLLED_UP)) and refreshed.batches:
            pass


def _moment(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
