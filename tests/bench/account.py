"""What the database says of a load: rows beside the generator's ledger, and how late they could be seen.

A latency is from the time in a row (the exchange's event or trade time, in whole milliseconds; a book ticker
has none, so our receive time) to the commit timestamp of the row's transaction. PostgreSQL takes that
timestamp when it writes the commit record, before it flushes it: what a flush takes is not in it. The shards'
own figure on their boards runs to the acknowledged commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from ingest.binance.streams import stream_of
from ingest.buffer.tables import Table, table_of_kind
from tests.bench.steering import Happened
from tests.bench.stored_rows import ID_COLUMNS, MARKET

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

SHARES: Final = (0.5, 0.99, 0.999, 1.0)
SAMPLED_ROWS: Final = 400_000


class Latency(NamedTuple):
    """Of sampled rows, in seconds; NaN where there are none."""

    rows: int
    p50_s: float
    p99_s: float
    p999_s: float
    most_s: float


class Found(NamedTuple):
    """Rows of one stream in the database."""

    rows: int
    distinct: int
    lowest_id: int
    highest_id: int


@dataclass(frozen=True)
class Account:
    """Rows of all streams beside the ledger. `unlike` are streams that end, or begin, elsewhere."""

    happened: int
    stored: int
    lost: int
    doubled: int
    unlike: int

    @property
    def is_settled(self) -> bool:
        """Every frame is one row."""
        return not (self.lost or self.doubled or self.unlike)


def settle(ledger: Mapping[str, Happened], found: Mapping[str, Found]) -> Account:
    """Compare stream by stream, so that a row twice does not hide another that is missing."""
    lost = doubled = unlike = stored = 0
    for name, happened in ledger.items():
        there = found.get(name, Found(0, 0, 0, 0))
        stored += there.rows
        lost += max(0, happened.frames - there.distinct)
        doubled += there.rows - there.distinct
        unlike += bool(happened.frames) and not _reaches(name, happened, there)
    return Account(sum(happened.frames for happened in ledger.values()), stored, lost, doubled, unlike)


def _reaches(name: str, happened: Happened, there: Found) -> bool:
    """A depth delta is stored by its last id: the lowest one lies at or behind the first id that was sent."""
    begins = there.lowest_id == happened.first_id
    if stream_of(name)[1] == "depth":
        begins = there.lowest_id >= happened.first_id
    return begins and there.highest_id == happened.last_id


async def find_rows(connection: "Connection", names: Sequence[str]) -> dict[str, Found]:
    """By the streams' names. Looks at every row."""
    streams = {stream_of(name): name for name in names}
    symbols = await _symbols(connection)
    found = {}
    await connection.execute("SET work_mem = '256MB'")
    for kind in sorted({kind for _, kind in streams}):
        table = table_of_kind(kind)
        column = ID_COLUMNS[table]
        query = (
            f"SELECT symbol_id, count(*), count(DISTINCT {column}), min({column}), max({column})"
            f" FROM {_named(table)} GROUP BY symbol_id"
        )
        for symbol_id, *numbers in await connection.fetch(query):
            name = streams.get((symbols.get(symbol_id, ""), kind))
            if name is not None:
                found[name] = Found(*numbers)
    return found


async def commit_latencies(
    connection: "Connection", kinds: Sequence[str], *, since_us: int, until_us: int, messages: int
) -> dict[str, Latency]:
    """By kind, of the rows between two moments; `messages` says how many there are about.

    Sampled by symbol, evenly from the busiest to the quietest, so that about `SAMPLED_ROWS` are looked at.
    """
    ids = sorted(await _symbols(connection))
    every = max(1, min(len(ids) // 4, messages // SAMPLED_ROWS))
    sampled = ids[every // 2 :: every]
    return {
        kind: await _latency(connection, table_of_kind(kind), sampled, since_us, until_us) for kind in kinds
    }


async def _latency(
    connection: "Connection", table: Table, symbol_ids: Sequence[int], since_us: int, until_us: int
) -> Latency:
    query = (
        "SELECT count(*), percentile_disc($4::float8[]) WITHIN GROUP (ORDER BY late_s) FROM ("
        " SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - ts)::float8 AS late_s"
        f" FROM {_named(table)} WHERE symbol_id = ANY($1::integer[])"
        " AND ts >= to_timestamp($2::float8) AND ts < to_timestamp($3::float8)) AS rows"
        " WHERE late_s IS NOT NULL"
    )
    row = await connection.fetchrow(query, symbol_ids, since_us / 1e6, until_us / 1e6, SHARES)
    assert row is not None
    rows, quantiles = row
    return Latency(rows, *(quantiles or [float("nan")] * len(SHARES)))


async def _symbols(connection: "Connection") -> dict[int, str]:
    query = "SELECT symbol_id, symbol FROM ops.instruments WHERE market = $1"
    return {row["symbol_id"]: row["symbol"] for row in await connection.fetch(query, MARKET)}


def _named(table: Table) -> str:
    return f"{table.schema}.{table.name}"
