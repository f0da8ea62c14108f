"""From summaries to what is printed and stored."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

from rich.table import Table

from tests.bench.peers.catalog import BY_NAME
from tests.bench.peers.measure import PeerFailure, PeerMeasure, PeerSummary, summaries
from tests.bench.report import TITLES

_HEADINGS: Final = (
    "CPU µs a message",
    "messages/s",
    "x floor",
    "x ours",
    "rows stored/s",
    "CPU µs a row",
    "server µs a row",
)
NOTE: Final = (
    "x ours: what stores is compared by the row with our shard into PostgreSQL, what does not by the message"
    " with our receive + parse."
)


def title(row: str) -> str:
    """What a row is called in the table."""
    return BY_NAME[row].title if row in BY_NAME else f"ours: {TITLES[row]}"


def table(mode: str, found: Sequence[PeerSummary], failed: Sequence[PeerFailure]) -> Table:
    """For people; what could not be measured stands at the end with its reason."""
    shown = Table(title=f"{mode}: CPU of the measured process, medians of the rounds")
    shown.add_column("row")
    for heading in _HEADINGS:
        shown.add_column(heading, justify="right")
    shown.add_column("")
    for summary in found:
        shown.add_row(title(summary.row), *_cells(summary), "; ".join(summary.remarks))
    for failure in failed:
        shown.add_row(title(failure.row), *("-" for _ in _HEADINGS), failure.reason)
    return shown


def _cells(summary: PeerSummary) -> list[str]:
    return [
        _shown(summary.cpu_us, ".1f"),
        _shown(summary.rate, ",.0f"),
        _shown(summary.times_floor, ".1f"),
        _shown(summary.times_ours, ".1f"),
        _shown(summary.row_rate, ",.0f"),
        _shown(summary.row_cpu_us, ".1f"),
        _shown(summary.server_row_us, ".1f"),
    ]


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def tables(results: Sequence[PeerMeasure | PeerFailure]) -> list[Table]:
    """One for each mode, in the order of the results."""
    return [table(mode, *by_outcome(results, mode)) for mode in dict.fromkeys(each.mode for each in results)]


def by_outcome(
    results: Sequence[PeerMeasure | PeerFailure], mode: str
) -> tuple[list[PeerSummary], list[PeerFailure]]:
    """A mode's summaries, and its failures, each row's once."""
    measures = [each for each in results if isinstance(each, PeerMeasure) and each.mode == mode]
    failures = [each for each in results if isinstance(each, PeerFailure) and each.mode == mode]
    return summaries(measures), list(dict.fromkeys(failures))


def as_json(
    results: Sequence[PeerMeasure | PeerFailure], facts: Mapping[str, str], options: Mapping[str, object]
) -> dict[str, object]:
    """Everything, for comparing with another run."""
    modes = dict.fromkeys(each.mode for each in results)
    return {
        "machine": facts,
        "options": options,
        "summaries": {mode: [asdict(each) for each in by_outcome(results, mode)[0]] for mode in modes},
        "measures": [asdict(each) for each in results if isinstance(each, PeerMeasure)],
        "failures": [asdict(each) for each in results if isinstance(each, PeerFailure)],
    }
