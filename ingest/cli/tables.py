"""Tables for a terminal, made of what the database says: streams by kind, shards, single streams."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ingest.ops.headline import told_incidents
from ingest.store.capability import Capability
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.statements import statement

if TYPE_CHECKING:
    import asyncpg

    Record: TypeAlias = asyncpg.Record
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

TABLE_OLD_S = 10.0
"""The freshness table is written each second; when it is older than this, nobody writes it."""
_WORKS = "running"
"""The state of a shard that receives and writes."""
_NOT_LIVE_SHOWN = 20
_INCIDENTS_SHOWN = 20
_STREAMS_NAMED = 3
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
    incidents: "Sequence[Record]"
    """Open ones, oldest first."""
    gaps: Mapping[tuple[str, str], int]
    """Not repaired, by market and kind."""
    open_gaps: int
    """Waiting for their repair."""
    age_s: float | None
    """How old the freshness table itself is; None when it is empty."""
    server: str = ""
    """What the database can do, as the service last found it; empty before."""
    stopped_at: datetime | None = None
    """When the service was stopped in order; None while it runs, and when it ended otherwise."""
    stopped_s: float | None = None
    """How long ago that was, by the server's clock."""

    @property
    def streams(self) -> int:
        return sum(row["streams"] for row in self.kinds)

    @property
    def live(self) -> int:
        return sum(row["live"] for row in self.kinds)

    @property
    def well(self) -> int:
        """Live, quiet, halted, or a suspect of which nobody knows anything bad."""
        return sum(row["well"] for row in self.kinds)

    @property
    def stale(self) -> int:
        """Stale, or being repaired."""
        return sum(row["stale"] for row in self.kinds)

    @property
    def verdict(self) -> tuple[str, str]:
        """One word for machines, and a sentence for people."""
        if self.age_s is None:
            return "empty", "the freshness table is empty: has the service run on this database?"
        if self.stopped_at is not None:
            when = f"{self.stopped_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {seconds(self.stopped_s)} ago"
            return "stopped", f"the service was stopped at {when}: nothing was received since"
        if self.age_s > TABLE_OLD_S:
            age = seconds(self.age_s)
            return "away", f"the table was last written {age} ago: the supervisor is not running"
        idle = [f"shard {row['shard']} is {row['state']}" for row in self.shards if row["state"] != _WORKS]
        if self.streams == 0 or self.well < self.streams:
            late = f"{self.streams - self.well} of {self.streams} streams are not fresh"
            return "degraded", "; ".join([late, *idle])
        fresh = f"all {self.streams} streams are fresh, or rightly silent"
        if idle:
            return "degraded", f"{fresh}, but {', '.join(idle)}"
        if self.incidents:
            return "well", f"{fresh}; {told_incidents([row['diagnosis'] for row in self.incidents])}"
        return "well", fresh

    @property
    def rows_committed(self) -> int:
        return sum(row["rows_committed"] for row in self.shards)


async def read_status(connection: "Connection") -> Status:
    """Ask the database how the service is; StoreError when it cannot be asked, or is none of ours."""
    try:
        return await _read_status(connection)
    except DRIVER_ERRORS as error:
        raise translated(error) from error


async def _read_status(connection: "Connection") -> Status:
    gaps: Counter[tuple[str, str]] = Counter()
    open_gaps = 0
    for row in await connection.fetch(statement("status_gaps")):
        gaps[row["market"], row["kind"]] += row["gaps"]
        open_gaps += row["gaps"] if row["state"] == "open" else 0
    stopped = await connection.fetchrow(statement("status_stopped"))
    return Status(
        kinds=await connection.fetch(statement("status_kinds")),
        not_live=await connection.fetch(statement("status_not_live"), _NOT_LIVE_SHOWN),
        shards=await connection.fetch(statement("status_shards")),
        incidents=await connection.fetch(statement("status_incidents_open"), _INCIDENTS_SHOWN),
        gaps=gaps,
        open_gaps=open_gaps,
        age_s=await connection.fetchval(statement("status_age")),
        server=await _server(connection),
        stopped_at=stopped["stopped_at"] if stopped is not None else None,
        stopped_s=stopped["stopped_s"] if stopped is not None else None,
    )


async def _server(connection: "Connection") -> str:
    row = await connection.fetchrow(statement("capability"))
    if row is None:
        return ""
    capability = Capability(row["postgres"], row["timescale"], row["used"])
    return "; ".join([f"{capability}, asked for: {row['asked']}", *row["warnings"]])


def kinds_table(status: Status, rates: Mapping[str, float] | None = None) -> Table:
    """Streams by kind; `rates` are stored rows a second by kind, where somebody measures them."""
    table = _table(
        "streams by kind", ("kind",), ("streams", "live", "quiet", "stale", "median age", "oldest", "gaps")
    )
    if rates is not None:
        table.add_column("rows/s", justify="right")
    for row in status.kinds:
        stale = f"[bold red]{row['stale']}[/]" if row["stale"] else "0"
        cells = [
            row["kind"],
            str(row["streams"]),
            str(row["live"]),
            str(row["quiet"]),
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
            *_judged(row),
            str(row["shard"]),
            row["feed"],
        )
    return table


def _judged(row: "Record") -> tuple[str, ...]:
    """A stream and what is said of it: the first columns of both tables of streams."""
    name = f"{row['market']}:{row['symbol']}:{row['kind']}"
    return name, row["state"], row["diagnosis"] or "", seconds(row["age_s"]), seconds(row["threshold_s"])


def symbol_table(rows: "Iterable[Record]", symbol: str) -> Table:
    """The streams of one symbol, with the proof of a quiet one and the sweep's count."""
    right = ("age", "threshold", "proven quiet", "trades behind", "shard", "feed")
    table = _table(f"streams of {symbol}", ("stream", "state", "diagnosis"), right)
    for row in rows:
        table.add_row(
            *_judged(row),
            f"{seconds(row['proof_age_s'])} ago" if row["proof_age_s"] is not None else "-",
            "-" if row["trades_behind"] is None else str(row["trades_behind"]),
            str(row["shard"]),
            row["feed"],
        )
    return table


def why_table(kinds: Iterable[str], rhythms: "Iterable[Record]") -> Table:
    """Why the thresholds are what they are, as last saved: a sentence for each kind."""
    table = _table("why the thresholds are what they are", ("kind", "threshold"), ("saved",))
    found = {row["kind"]: row for row in rhythms}
    for kind in kinds:
        row = found.get(kind)
        if row is None:
            table.add_row(
                kind,
                "nothing saved yet: until enough is learned the ceiling holds (saved every five minutes)",
                "-",
            )
        else:
            table.add_row(kind, escape(row["explanation"]), f"{seconds(row['saved_s'])} ago")
    return table


def incidents_table(rows: "Iterable[Record]", title: str) -> Table:
    """Incidents: what, where, since when, what was tried."""
    table = _table(title, ("opened (UTC)", "lasted", "diagnosis", "where", "evidence", "what was done"), ())
    for row in rows:
        over = "" if row["closed_at"] is not None else ", [bold red]open[/]"
        table.add_row(
            f"{row['opened_at'].astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            f"{seconds(row['lasted_s'])}{over}",
            row["diagnosis"],
            escape(_where(row)),
            escape(row["evidence"]),
            escape("\n".join(row["story"])),
        )
    return table


def _where(row: "Record") -> str:
    place = "everything" if row["shard"] is None else f"shard {row['shard']}"
    if row["feed"] is not None:
        place += f", feed {row['feed']}"
    streams = row["streams"]
    more = f"\nand {len(streams) - _STREAMS_NAMED} more" if len(streams) > _STREAMS_NAMED else ""
    return "\n".join([place, *streams[:_STREAMS_NAMED]]) + more


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
