"""The tables that the measured rows go to: emptied, brought out of staging, and looked at afterwards."""

from ingest.binance.answers import Instrument
from ingest.buffer import encode
from ingest.buffer.batcher import Batch, Mark
from ingest.buffer.tables import AGG_TRADES, BOOK_TICKERS, DEPTH_DELTAS, DEPTH_SNAPSHOTS, TRADES, Table
from ingest.clock import SystemClock
from ingest.events import AggTrade, BookTicker, DepthDelta, Trade
from ingest.store.postgres import STICKY_BATCHES, PostgresSink
from ingest.store.sessions import connected
from tests.bench.measure import RowJob
from tests.bench.mix import symbol_names

MARKET = "spot"
ID_COLUMNS = {
    TRADES: "trade_id",
    AGG_TRADES: "agg_trade_id",
    BOOK_TICKERS: "update_id",
    DEPTH_DELTAS: "final_update_id",
}


async def empty_tables(sink: PostgresSink, job: RowJob) -> dict[str, int]:
    """Nothing in them, and nothing to come that is staged; the numbers of the job's symbols."""
    names = symbol_names(job.symbols)
    instruments = [Instrument(name, "TRADING", name, "USDT", None, None) for name in names]
    ids = await sink.instrument_ids(MARKET, instruments)
    await _truncate(job.database_url)
    await _leave_staging(sink, symbol_id=ids[names[0]])
    await _truncate(job.database_url)
    return ids


async def _leave_staging(sink: PostgresSink, *, symbol_id: int) -> None:
    """As many single-row batches as it takes until a table is written by COPY alone."""
    for number in range(STICKY_BATCHES):
        for table, row in _single_rows(symbol_id, number).items():
            batch = Batch(
                table=table,
                rows=[row],
                size_bytes=len(row),
                marks={0: Mark(number, number)},
                gaps=(),
                oldest_recv_ns=None,
                newest_recv_ns=None,
            )
            await sink.write(batch)


def _single_rows(symbol_id: int, number: int) -> dict[Table, bytes]:
    now_ns = SystemClock().wall_ns()
    ts_us, level = now_ns // 1_000, ("1.00000000", "1.00000000")
    return {
        TRADES: encode.trade(symbol_id, Trade("", number, ts_us, *level, False, now_ns)),
        AGG_TRADES: encode.agg_trade(
            symbol_id, AggTrade("", number, ts_us, *level, number, number, False, now_ns)
        ),
        BOOK_TICKERS: encode.book_ticker(symbol_id, BookTicker("", number, ts_us, *level, *level, now_ns)),
        DEPTH_DELTAS: encode.depth_delta(
            symbol_id, DepthDelta("", number, number, ts_us, [level], [level], now_ns)
        ),
    }


async def _truncate(url: str) -> None:
    names = ", ".join(f"{table.schema}.{table.name}" for table in (*ID_COLUMNS, DEPTH_SNAPSHOTS))
    async with connected(url) as connection:
        await connection.execute(f"TRUNCATE {names}")


async def count_rows(url: str) -> tuple[int, int]:
    """Rows in the tables, and how many of them differ in symbol and id."""
    rows = distinct = 0
    async with connected(url) as connection:
        for table, column in ID_COLUMNS.items():
            query = f"SELECT count(*), count(DISTINCT (symbol_id, {column})) FROM {table.schema}.{table.name}"
            found = await connection.fetchrow(query)
            assert found is not None
            rows, distinct = rows + found[0], distinct + found[1]
    return rows, distinct
