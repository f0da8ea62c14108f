"""What one row took, and what the table makes of it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.measure import Measure


@dataclass(frozen=True, kw_only=True)
class PeerMeasure:
    """One row in one round. `received` is what reached the user's code; the database has counted `stored`."""

    mode: str
    row: str
    round: int
    sent: int
    received: int
    cpu_s: float
    wall_s: float
    stored: int = 0
    server_cpu_s: float | None = None
    python: str = ""

    @classmethod
    def of_ours(cls, measure: Measure, mode: str, *, python: str) -> "PeerMeasure":
        """One of our own rows."""
        return cls(
            mode=mode,
            row=measure.row,
            round=measure.round,
            sent=measure.messages,
            received=measure.messages,
            cpu_s=measure.cpu_s,
            wall_s=measure.wall_s,
            stored=measure.stored_rows,
            server_cpu_s=measure.server_cpu_s,
            python=python,
        )

    @property
    def cpu_us(self) -> float:
        """CPU of the process per message that was sent to it, handed on or not."""
        return self.cpu_s / self.sent * 1e6

    @property
    def rate(self) -> float:
        """Messages a second of wall time."""
        return self.sent / self.wall_s

    @property
    def row_cpu_us(self) -> float | None:
        """CPU of the process per row stored."""
        return self.cpu_s / self.stored * 1e6 if self.stored else None

    @property
    def row_rate(self) -> float | None:
        """Rows stored a second of wall time."""
        return self.stored / self.wall_s if self.stored else None

    @property
    def server_row_us(self) -> float | None:
        """The database server's CPU per row stored."""
        if not self.stored or self.server_cpu_s is None:
            return None
        return self.server_cpu_s / self.stored * 1e6


@dataclass(frozen=True)
class PeerFailure:
    """A row that could not be measured, and why."""

    mode: str
    row: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class PeerSummary:
    """Medians over the rounds. `times_ours` compares like with like: with our `stored` by the row if it
    stores, else with our `parse` by the message."""

    row: str
    cpu_us: float
    rate: float
    times_floor: float
    times_ours: float
    row_cpu_us: float | None
    row_rate: float | None
    server_row_us: float | None
    remarks: tuple[str, ...]


def summaries(measures: Sequence[PeerMeasure]) -> list[PeerSummary]:
    """Of one mode, in the order of first measures. The floor, `parse` and `stored` must be among them."""
    by_row: dict[str, list[PeerMeasure]] = {}
    for measure in measures:
        by_row.setdefault(measure.row, []).append(measure)
    floor, parse = _cpu_us(by_row["floor"]), _cpu_us(by_row["parse"])
    stored = _middle([measure.row_cpu_us for measure in by_row["stored"]])
    return [_summary(found, floor=floor, parse=parse, stored=stored) for found in by_row.values()]


def _summary(
    found: Sequence[PeerMeasure], *, floor: float, parse: float, stored: float | None
) -> PeerSummary:
    cpu_us, row_cpu_us = _cpu_us(found), _middle([measure.row_cpu_us for measure in found])
    return PeerSummary(
        row=found[0].row,
        cpu_us=cpu_us,
        rate=median(measure.rate for measure in found),
        times_floor=cpu_us / floor,
        times_ours=row_cpu_us / stored if row_cpu_us and stored else cpu_us / parse,
        row_cpu_us=row_cpu_us,
        row_rate=_middle([measure.row_rate for measure in found]),
        server_row_us=_middle([measure.server_row_us for measure in found]),
        remarks=tuple(_remarks(found)),
    )


def _cpu_us(found: Sequence[PeerMeasure]) -> float:
    return median(measure.cpu_us for measure in found)


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _remarks(found: Sequence[PeerMeasure]) -> list[str]:
    worst = min(found, key=lambda measure: measure.received / measure.sent)
    remarks = [f"{worst.sent:,} messages"]
    if worst.received != worst.sent:
        remarks.append(f"{worst.received / worst.sent:.1%} of them handed on")
    if worst.stored and worst.stored != worst.sent:
        remarks.append(f"{worst.stored - worst.sent:+,} rows")
    return [*remarks, f"Python {worst.python}"]
