"""What is read back before a shard starts: ids of symbols, and where each stream had got to."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ingest.binance.answers import Instrument
from ingest.store.instants import instant, microseconds
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection


class ResumePoint(NamedTuple):
    """The newest row of a stream that is safe; `last_id` is None for kinds without ids.

    `committed_us` is the time of the newest committed row where that is an older one (0: there is none);
    None when it is this row.
    """

    last_id: int | None
    ts_us: int
    committed_us: int | None = None


async def instrument_ids(
    connection: "Connection", market: str, instruments: Sequence[Instrument]
) -> dict[str, int]:
    """Store what is new about these instruments; the id of each symbol, the same for ever."""
    columns: list[list[str | None]] = [list(column) for column in zip(*instruments, strict=True)]
    if not columns:
        return {}
    async with connection.transaction():
        await connection.execute(statement("lock_instruments"))
        await connection.execute(statement("update_instruments"), market, *columns)
        await connection.execute(statement("insert_instruments"), market, *columns)
        rows = await connection.fetch(statement("instrument_ids"), market, columns[0])
    return {row["symbol"]: row["symbol_id"] for row in rows}


async def ensure_symbols(connection: "Connection", market: str, symbols: Sequence[str]) -> dict[str, int]:
    """The id of each symbol; one that is not known is entered, as nothing but a name."""
    names = list(symbols)
    nothing = [""] * len(names)
    async with connection.transaction():
        await connection.execute(statement("lock_instruments"))
        columns = (names, nothing, nothing, nothing, [None] * len(names), [None] * len(names))
        await connection.execute(statement("insert_instruments"), market, *columns)
        rows = await connection.fetch(statement("instrument_ids"), market, names)
    return {row["symbol"]: row["symbol_id"] for row in rows}


async def resume_points(
    connection: "Connection", market: str, symbols: Sequence[str], kinds: Iterable[str], *, since_us: int
) -> dict[tuple[str, str], ResumePoint]:
    """The newest committed row by symbol and kind; pairs without any row are absent.

    Looks first at rows since `since_us` (few partitions), then, for symbols with none, at all.
    """
    found: dict[tuple[str, str], ResumePoint] = {}
    for kind in kinds:
        name, *arguments = _resume_statement(kind)
        missing = list(symbols)
        for since in (since_us, 0):
            rows = await connection.fetch(statement(name), market, missing, instant(since), *arguments)
            points = {row["symbol"]: ResumePoint(row["last_id"], microseconds(row["ts"])) for row in rows}
            found |= {(symbol, kind): point for symbol, point in points.items()}
            missing = [symbol for symbol in missing if symbol not in points]
            if not missing:
                break
    return found


def _resume_statement(kind: str) -> tuple[str, ...]:
    """The statement for a kind of stream, and its arguments after the first three."""
    if kind.startswith("kline_"):
        return "resume_klines", kind.removeprefix("kline_")
    if kind in {"mini_ticker", "ticker"}:
        return "resume_tickers", kind
    return ("resume_depth_deltas",) if kind == "depth" else (f"resume_{kind}s",)
