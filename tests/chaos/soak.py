"""`python -m tests.chaos.soak`: random faults from a seed, one after another, for as long as it is told.

At the end the account is settled as for a single fault: no trade lost, twice or altered, every other loss
in the ledger. Meanwhile memory, open files, threads and tasks of the supervisor and the shards are sampled;
their slopes are told. A process that is replaced begins anew, so a slope is that within lives: of all those
of a role together that lasted three minutes.
"""

import contextlib
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import NamedTuple

import click
from rich.console import Console

from ingest.board.layout import BoardSnapshot
from ingest.board.mapped import board_path, read_board
from ingest.errors import BoardError
from tests.chaos.faults import CHAOS, Chaos
from tests.chaos.report import cells, summary, write
from tests.chaos.stage import TROUBLE, Market, a_chaos_stage, end_on_sigterm, thresholds
from tests.chaos.trial import Row, calm, settle, told
from tests.silence.stage import Stage
from tests.simulation.service import is_running

_FOLDER = Path(".cache/soak")
_EVERY_S = 5.0
_WARM_S = 60.0
"""A process fills its caches first."""
_LEAST_SAMPLES = 24
_UNFIT = frozenset({"memory-limit", "delisted", "clock-ahead", "clock-behind"})
"""What cannot be done again and again to one service, or makes the sampled times lie."""


class Sample(NamedTuple):
    """One process at one moment."""

    at_s: float
    pid: int
    memory_bytes: int
    files: int
    threads: int
    tasks: int | None = None
    """Of the event loop; only a shard says."""


@dataclass
class Samples:
    """By role: `supervisor`, `shard 0` ..."""

    of: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))

    def take(self, stage: Stage) -> None:
        """Look at every process of the service."""
        process = stage.service.process
        if process is not None:
            with contextlib.suppress(OSError):
                self.of["supervisor"].append(_sample(process.pid))
        for board in _boards(stage):
            with contextlib.suppress(OSError):
                sample = _sample(board.identity.pid)._replace(tasks=board.header.tasks)
                self.of[f"shard {board.shard}"].append(sample)

    def slopes(self) -> list[str]:
        """Of each role: what an hour adds."""
        return [line for role, samples in sorted(self.of.items()) if (line := _slope(role, samples))]


def _boards(stage: Stage) -> list[BoardSnapshot]:
    """Those that are there, whatever the database does meanwhile."""
    boards = []
    for shard in (0, 1):
        with contextlib.suppress(BoardError):
            boards.append(read_board(board_path(stage.service.data_dir, shard)))
    return boards


def _sample(pid: int) -> Sample:
    if not is_running(pid):
        raise ProcessLookupError(pid)
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    memory_bytes = int(values["VmRSS"].split()[0]) * 1024
    return Sample(time.monotonic(), pid, memory_bytes, files, int(values["Threads"]))


def _slope(role: str, samples: Sequence[Sample]) -> str:
    """What an hour adds within a life: the slope that all lives which lasted share."""
    lives: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if not (life := lives[sample.pid]) or sample.at_s - life[0].at_s > _WARM_S:
            life.append(sample)
    settled = [life[1:] for life in lives.values() if len(life) > _LEAST_SAMPLES]
    if not settled:
        return f"{role}: no life of its {len(lives)} was long enough"
    memory = _shared_slope(settled, lambda sample: sample.memory_bytes / 2**20)
    files = _shared_slope(settled, lambda sample: sample.files)
    threads = _shared_slope(settled, lambda sample: sample.threads)
    tasks = _shared_slope(settled, lambda sample: sample.tasks or 0)
    minutes = sum(life[-1].at_s - life[0].at_s for life in settled) / 60.0
    last = settled[-1][-1]
    return (
        f"{role}: over {minutes:.0f} min in {len(settled)} lives of {len(lives)} {memory:+.1f} MiB, "
        f"{files:+.1f} files, {threads:+.1f} threads and {tasks:+.1f} tasks an hour, in the end "
        f"{last.memory_bytes / 2**20:.0f} MiB, {last.files} files, {last.threads} threads"
        + (f", {last.tasks} tasks" if last.tasks is not None else "")
    )


def _shared_slope(lives: Sequence[Sequence[Sample]], value: Callable[[Sample], float]) -> float:
    """Least squares, an hour; each life has a level of its own."""
    covaried = spread = 0.0
    for life in lives:
        mean_s = sum(each.at_s for each in life) / len(life)
        mean = sum(map(value, life)) / len(life)
        covaried += sum((each.at_s - mean_s) * (value(each) - mean) for each in life)
        spread += sum((each.at_s - mean_s) ** 2 for each in life)
    return 3_600.0 * covaried / spread if spread else 0.0


@contextlib.contextmanager
def _sampled(stage: Stage) -> Iterator[Samples]:
    samples, over = Samples(), Event()

    def run() -> None:
        while not over.wait(_EVERY_S):
            samples.take(stage)

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join(timeout=3 * _EVERY_S)


@click.command()
@click.option("--minutes", default=60.0, show_default=True)
@click.option("--symbols", default=50, show_default=True)
@click.option("--rate", default=500.0, show_default=True, help="Messages a second of the market.")
@click.option("--seed", default=1, show_default=True, help="Of the market, and of which faults come when.")
@click.option("--folder", type=click.Path(path_type=Path), default=_FOLDER, show_default=True)
def main(*, minutes: float, symbols: int, rate: float, seed: int, folder: Path) -> None:
    """One service, one fault after another, and the account at the end."""
    end_on_sigterm()
    shown = Console(stderr=True, highlight=False, soft_wrap=True)
    market, rng = Market(symbols=symbols, rate=rate, seed=seed), Random(seed)
    row = Row(name="soak", title=f"random faults for {minutes:g} minutes", seed=seed)
    slopes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        place = Path(scratch)
        silent_s = thresholds(market, place)
        try:
            with a_chaos_stage(place, market, silent_s, {}) as stage, _sampled(stage) as samples:
                _torment(stage, row, rng, time.monotonic() + 60.0 * minutes, shown)
                slopes = samples.slopes()
                settle(stage, row, 0)
        except TROUBLE as error:
            row.complaints.append(told(error))
    about = f"{symbols} symbols, {rate:g} messages a second, 2 shards, seed {seed}. " + "; ".join(slopes)
    write(folder, [row], about)
    shown.print(summary(row))
    for line in slopes:
        shown.print(line)
    shown.print(" | ".join(cells(row)))
    sys.exit(0 if row.is_good else 1)


def _torment(stage: Stage, row: Row, rng: Random, until_s: float, shown: Console) -> None:
    fit = [
        chaos for chaos in CHAOS if chaos.name not in _UNFIT and not chaos.sections and chaos.disk_mib is None
    ]
    begun_s = time.monotonic()
    while time.monotonic() < until_s:
        chaos: Chaos = rng.choice(fit)
        shown.print(f"{time.monotonic() - begun_s:5.0f} s  {chaos.name}")
        try:
            chaos.provoke(stage, Random(rng.random()))
            row.recovered_s = max(row.recovered_s or 0.0, calm(stage))  # the worst of all
        except TROUBLE as error:
            row.complaints.append(f"{chaos.name} after {time.monotonic() - begun_s:.0f} s: {told(error)}")
        row.lasted_s = time.monotonic() - begun_s
        time.sleep(rng.uniform(1.0, 10.0))


if __name__ == "__main__":
    main()
