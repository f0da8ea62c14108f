"""What the exchange published against what the database holds: published, stored, lost, duplicated.

An event that is missing is *noticed* when a row of the gap ledger covers it: its id lies in the gap's
range, or, for kinds without ids, its time does. Everything else that is missing is missing unnoticed,
and that is the one number that must be zero.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple
from zlib import crc32

import aiohttp
import asyncpg

from ingest.binance.streams import ID_RULE
from ingest.store.statements import statement

_DEADLINE_S = 120.0


class Published(NamedTuple):
    """One event that happened at the exchange; `digest` is crc32 of its printed fields."""

    event_id: int
    ts_ms: int
    digest: int


class Stored(NamedTuple):
    """One row of the database."""

    event_id: int
    digest: int


class GapRange(NamedTuple):
    """A row of the ledger: by ids where it has them, else by time."""

    first_id: int | None
    last_id: int | None
    start_ms: int | None
    end_ms: int | None

    def covers(self, event: Published) -> bool:
        """Whether the gap says that this event may be missing."""
        if self.first_id is not None and self.last_id is not None:
            return self.first_id <= event.event_id <= self.last_id
        start_ms, end_ms = self.start_ms, self.end_ms
        return start_ms is not None and end_ms is not None and start_ms < event.ts_ms < end_ms


@dataclass(frozen=True, slots=True)
class Account:
    """The sum of one or many streams."""

    published: int = 0
    stored: int = 0
    lost_noticed: int = 0
    lost_unnoticed: int = 0
    duplicated: int = 0
    altered: int = 0

    def __add__(self, other: "Account") -> "Account":
        return Account(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def is_good(self) -> bool:
        """Nothing is missing unnoticed, twice, or different from what was published."""
        return not (self.lost_unnoticed or self.duplicated or self.altered)


def settle(published: Sequence[Published], stored: Sequence[Stored], gaps: Sequence[GapRange]) -> Account:
    """Compare one stream. A stored row that was never published counts as altered."""
    times_stored = Counter(row.event_id for row in stored)
    digests = {event.event_id: event.digest for event in published}
    missing = [event for event in published if event.event_id not in times_stored]
    noticed = sum(any(gap.covers(event) for gap in gaps) for event in missing)
    return Account(
        published=len(published),
        stored=len(times_stored),
        lost_noticed=noticed,
        lost_unnoticed=len(missing) - noticed,
        duplicated=len(stored) - len(times_stored),
        altered=sum(digests.get(row.event_id) != row.digest for row in stored),
    )


async def audit(double_url: str, database_url: str, kinds: Iterable[str]) -> dict[str, Account]:
    """Compare everything that the double published with everything stored, by kind."""
    connection = await asyncpg.connect(database_url, timeout=10.0, command_timeout=_DEADLINE_S)
    try:
        gaps = await _gaps(connection)
        timeout = aiohttp.ClientTimeout(total=_DEADLINE_S)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            symbols = await _symbols(http, double_url)
            return {kind: await _kind(http, connection, double_url, kind, symbols, gaps) for kind in kinds}
    finally:
        connection.terminate()


async def _kind(
    http: aiohttp.ClientSession,
    connection: "asyncpg.Connection[asyncpg.Record]",
    double_url: str,
    kind: str,
    symbols: Iterable[str],
    gaps: Mapping[tuple[str, str], Sequence[GapRange]],
) -> Account:
    stored = await _stored(connection, kind)
    total = Account()
    for symbol in symbols:
        published = await _published(http, double_url, symbol, kind)
        total += settle(published, stored.pop(symbol, []), gaps.get((symbol, kind), ()))
    for rows in stored.values():
        total += settle([], rows, ())
    return total


async def _symbols(http: aiohttp.ClientSession, double_url: str) -> list[str]:
    async with http.get(f"{double_url}/_double/ledger") as answer:
        summary = await answer.json()
    return sorted({series["symbol"] for series in summary["series"]})


async def _published(http: aiohttp.ClientSession, double_url: str, symbol: str, kind: str) -> list[Published]:
    query = {"symbol": symbol, "kind": kind}
    async with http.get(f"{double_url}/_double/ledger", params=query) as answer:
        columns = await answer.json()
    return [Published(*row) for row in zip(columns["ids"], columns["ts_ms"], columns["digests"], strict=True)]


async def _stored(connection: "asyncpg.Connection[asyncpg.Record]", kind: str) -> dict[str, list[Stored]]:
    if ID_RULE[kind] == "candle":
        rows = await connection.fetch(statement("audit_kline"), kind.removeprefix("kline_"))
    else:
        rows = await connection.fetch(statement(f"audit_{kind}"))
    stored: dict[str, list[Stored]] = defaultdict(list)
    for row in rows:
        stored[row["symbol"]].append(Stored(row["id"], crc32(row["fields"].encode())))
    return stored


async def _gaps(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> dict[tuple[str, str], list[GapRange]]:
    gaps: dict[tuple[str, str], list[GapRange]] = defaultdict(list)
    for row in await connection.fetch(statement("audit_gaps")):
        gaps[row["symbol"], row["kind"]].append(GapRange(*row[2:]))
    return gaps
