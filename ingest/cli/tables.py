"""Tables for a terminal, made of what the database says: streams by kind, shards, single streams."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from rich.console import Console
from rich.table import Table

from ingest.store.statements import statement

if TYPE_CHECKING:
    import asyncpg

    Record: TypeAlias = asyncpg.Record
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

_NOT_LIVE_SHOWN = 20
_WIDTH_OF_A_FILE = 180


def console() -> Console:
    """Standard output; wide where it is not a terminal, so that no name is cut in a file or a pipe."""
    shown = Console()
    return shown if shown.is_terminal else Console(width=_WIDTH_OF_A_FILE)


class Status(NamedTuple):
    """One look at the freshness table, the shards and the gap ledger."""

    kinds: "Sequence[Record]"
    not_live: "Sequence[Record]"
    shards: "Sequence[Record]"
    gaps: Mapping[tuple[str, str], int]
    age_s: float | None
    """How old the freshness table itself is; None when it is empty."""

    @property
    def streams(self) -> int:
        return sum(row["streams"] for row in self.kinds)

    @property
    def live(self) -> int:
        return sum(row["live"] for row in self.kinds)

    @property
    def rows_committed(self) -> int:
        return sum(row["rows_committed"] for row in self.shards)


async def read_status(connection: "Connection") -> Status:
    """Ask the database how the service is."""
    gaps: Counter[tuple[str, str]] = Counter()
    for row in await connection.fetch(statement("status_gaps")):
        gaps[row["market"], row["kind"]] += row["gaps"]
    return Status(
        kinds=await connection.fetch(statement("status_kinds")),
        not_live=await connection.fetch(statement("status_not_live"), _NOT_LIVE_SHOWN),
        shards=await connection.fetch(statement("status_shards")),
        gaps=gaps,
        age_s=await connection.fetchval(statement("status_age")),
    )


def kinds_table(status: Status, rates: Mapping[str, float] | None = None) -> Table:
    """Streams by kind; `rates` are stored rows a second by kind, where somebody measures them."""
    table = _table("streams by kind", ("kind",), ("streams", "live", "stale", "median age", "oldest", "gaps"))
    if rates is not None:
        table.add_column("rows/s", justify="right")
    for row in status.kinds:
        stale = f"[bold red]{row['stale']}[/]" if row["stale"] else "0"
        cells = [
            row["kind"],
            str(row["streams"]),
            str(row["live"]),
            stale,
            seconds(row["median_age_s"]),
            seconds(row["age_s"]),
            str(status.gaps.get((row["market"], row["kind"]), 0)),
        ]
        if rates is not None:
            cells.append(f"{rates.get(row['kind'], 0.0):,.0f}")
        table.add_row(*cells)
    return table


def shards_table(status: Status) -> Table:
    """The shard processes."""
    columns = ("pid", "up", "restarts", "heartbeat", "loop lag", "stored", "waiting", "refused")
    table = _table("shards", ("shard", "state"), columns)
    for row in status.shards:
        table.add_row(
            str(row["shard"]),
            row["state"],
            str(row["pid"] or "-"),
            seconds(row["uptime_s"]),
            str(row["restarts"]),
            seconds(row["heartbeat_age_s"]),
            f"{row['loop_lag_ms'] or 0.0:.1f} ms",
            f"{row['rows_committed']:,}",
            f"{row['rows_waiting']:,}",
            f"{row['rows_refused']:,}",
        )
    return table


def streams_table(rows: "Iterable[Record]", title: str) -> Table:
    """Single streams with their age, threshold and diagnosis."""
    table = _table(title, ("stream", "state", "diagnosis"), ("age", "threshold", "shard", "feed"))
    for row in rows:
        table.add_row(
            f"{row['market']}:{row['symbol']}:{row['kind']}",
            row["state"],
            row["diagnosis"] or "",
            seconds(row["age_s"]),
            seconds(row["threshold_s"]),
            str(row["shard"]),
            row["feed"],
        )
    return table


def seconds(value: float | None) -> str:
    """A span for people."""
    if value is None:
        return "never"
    return f"{value:.2f} s" if value < 100 else f"{value:,.0f} s"


def _table(title: str, left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", expand=False)
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table
