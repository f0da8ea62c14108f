"""What `ingest top` shows, made of what it has read. Decides nothing but the looks; reads nothing.

one line: how it is, how much comes in
kinds      streams by state, and how their ages lie between nothing and their thresholds
streams    those that are nearest to their threshold, or past it, as bars
shards     uptime, restarts, loop lag, rows a second, rows that wait
feeds      what is not open first; how often connections ended within the hour, and why
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ingest.cli.tables import Status, incidents_table, seconds

if TYPE_CHECKING:
    from ingest.cli.tables import Record

TENTHS: Final = 10
BAR_CELLS: Final = 20
FEEDS_SHOWN: Final = 12
FEWEST_STREAMS: Final = 5
_FIXED_LINES: Final = 10
"""The first line, titles and heads of four tables, and a line for feeds that are left out."""
_STEPS: Final = " ▁▂▃▄▅▆▇█"
_COLORS: Final = {"live": "green", "suspect": "yellow", "stale": "bold red", "recovering": "red"}


class Look(NamedTuple):
    """One look at the database, and the boards where they are this machine's."""

    status: Status
    streams: "Sequence[Record]"
    ages: "Sequence[Record]"
    feeds: "Sequence[Record]"
    rows_per_s: Mapping[str, float]
    """By the number of the shard."""
    messages_per_s: Mapping[str, float] | None
    """By kind; None where no board can be read."""


def screen(look: Look, *, height: int) -> RenderableType:
    """Everything; of streams as many as `height` lines leave room for."""
    status = look.status
    parts: list[RenderableType] = [headline(look)]
    if status.age_s is None:
        return Group(*parts)
    feeds = look.feeds[:FEEDS_SHOWN]
    taken = _FIXED_LINES + len(status.kinds) + len(status.shards) + len(feeds) + 2 * len(status.incidents)
    streams = look.streams[: max(FEWEST_STREAMS, height - taken)]
    parts += [kinds(look), stream_bars(streams), shards(look), feed_table(look.feeds)]
    if status.incidents:
        parts.append(incidents_table(status.incidents, "open incidents"))
    return Group(*parts)


def headline(look: Look) -> Text:
    """How it is, in one line."""
    status = look.status
    word, sentence = status.verdict
    rows = sum(look.rows_per_s.values())
    rates = [f"{rows:,.0f} rows/s"]
    if look.messages_per_s is not None:
        rates.insert(0, f"{sum(look.messages_per_s.values()):,.0f} messages/s")
    gaps = f"{status.open_gaps:,} open gaps" if status.open_gaps else "no open gap"
    color = "bold green" if word == "well" else "bold red"
    return Text.assemble((sentence, color), f"   {', '.join(rates)}   {gaps}")


def kinds(look: Look) -> Table:
    """Streams by kind. The little picture has ten columns up to the threshold, and one beyond it."""
    table = _table(
        "streams by kind", ("kind",), ("streams", "live", "quiet", "stale", "median age", "oldest")
    )
    table.add_column("ages, none … threshold | past it")
    table.add_column("gaps", justify="right")
    table.add_column("messages/s", justify="right")
    pictures = age_pictures(look.ages)
    for row in look.status.kinds:
        place = (row["market"], row["kind"])
        rates = look.messages_per_s
        table.add_row(
            row["kind"],
            f"{row['streams']:,}",
            f"{row['live']:,}",
            f"{row['quiet']:,}",
            f"[bold red]{row['stale']:,}[/]" if row["stale"] else "0",
            seconds(row["median_age_s"]),
            seconds(row["age_s"]),
            pictures.get(place, ""),
            f"{look.status.gaps.get(place, 0):,}",
            "-" if rates is None else f"{rates.get(row['kind'], 0.0):,.0f}",
        )
    return table


def age_pictures(ages: "Iterable[Record]") -> dict[tuple[str, str], str]:
    """By market and kind: how many streams are in each tenth of their thresholds, and past them."""
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * (TENTHS + 1))
    for row in ages:
        tenth = row["tenth"]
        if tenth is not None:
            found[row["market"], row["kind"]][min(max(tenth, 1), TENTHS + 1) - 1] += row["streams"]
    return {place: _picture(counts) for place, counts in found.items()}


def _picture(counts: Sequence[int]) -> str:
    most = max(counts)
    # Whoever is there at all is seen.
    steps = [0 if not count else max(1, round(count / most * (len(_STEPS) - 1))) for count in counts]
    text = "".join(_STEPS[step] for step in steps)
    past = f"[bold red]{text[TENTHS:]}[/]" if counts[TENTHS] else text[TENTHS:]
    return f"{text[:TENTHS]}|{past}"


def stream_bars(rows: "Iterable[Record]") -> Table:
    """Single streams, each with its age as a share of its threshold."""
    table = _table("nearest to their threshold, or past it", ("stream", "state", "diagnosis"), ("age",))
    table.add_column("of the threshold")
    for name in ("threshold", "shard", "feed"):
        table.add_column(name, justify="right")
    for row in rows:
        color = _COLORS.get(row["state"], "")
        table.add_row(
            escape(f"{row['market']}:{row['symbol']}:{row['kind']}"),
            f"[{color}]{row['state']}[/]" if color else row["state"],
            row["diagnosis"],
            seconds(row["age_s"]),
            bar(row["share"]),
            seconds(row["threshold_s"]),
            str(row["shard"]),
            row["feed"],
        )
    return table


def bar(share: float | None) -> str:
    """A share of 1 as a bar and a percentage; a longer one fills it."""
    if share is None:
        return ""
    cells = min(BAR_CELLS, round(share * BAR_CELLS))
    color = "green" if share < 0.5 else "yellow" if share <= 1 else "bold red"
    return f"[{color}]{'█' * cells}[/]{'░' * (BAR_CELLS - cells)} {share:>6,.0%}"


def shards(look: Look) -> Table:
    """The shard processes."""
    right = ("pid", "up", "restarts", "heartbeat", "loop lag", "rows/s", "waiting", "refused")
    table = _table("shards", ("shard", "state"), right)
    for row in look.status.shards:
        state = row["state"]
        table.add_row(
            str(row["shard"]),
            state if state == "running" else f"[bold red]{escape(state)}[/]",
            str(row["pid"] or "-"),
            seconds(row["uptime_s"]),
            f"{row['restarts']:,}",
            seconds(row["heartbeat_age_s"]),
            f"{row['loop_lag_ms'] or 0.0:.1f} ms",
            f"{look.rows_per_s.get(str(row['shard']), 0.0):,.0f}",
            f"{row['rows_waiting']:,}",
            f"{row['rows_refused']:,}",
        )
    return table


def feed_table(rows: "Sequence[Record]") -> Table:
    """The feeds, those without a connection first, then by shard; not more than fit."""
    left = len(rows) - FEEDS_SHOWN
    table = _table("feeds", ("feed", "connection"), ("since", "streams", "ends in 1 h"))
    table.add_column("why")
    for row in rows[:FEEDS_SHOWN]:
        code = f" ({row['close_code']})" if row["close_code"] else ""
        closed = f"[bold red]{escape(row['reason'] or 'closed')}{code}[/]"
        table.add_row(
            f"shard {row['shard']}, feed {row['feed']}",
            "open" if row["is_open"] else closed,
            seconds(row["since_s"]),
            f"{row['streams']:,}",
            f"{row['ends']:,}",
            escape(row["reasons"] or ""),
        )
    if left > 0:
        table.caption, table.caption_justify = f"and {left} more", "left"
    return table


def _table(title: str, left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", expand=False, box=None, padding=(0, 2, 0, 0))
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table
