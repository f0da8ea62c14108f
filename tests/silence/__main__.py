"""`python -m tests.silence`: provoke, measure, show a table, and store it."""

import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from tests.silence.report import seconds, show, write
from tests.silence.scenarios import SCENARIOS, Lengths, Scenario
from tests.silence.stage import BUSY_S, LISTING_S, SWEEP_S, Stage, a_stage
from tests.silence.trial import Row, Trial, complaints
from tests.simulation.service import NotInTime, wait_until

_FOLDER = Path(".cache/silence")
_SETTLE_S = 120.0


def _only(_: click.Context, __: click.Parameter, value: str) -> tuple[Scenario, ...]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    known = {scenario.name: scenario for scenario in SCENARIOS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(f"no such scenario: {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(scenario for scenario in SCENARIOS if not names or scenario.name in names)


@click.command()
@click.option("--only", "scenarios", default="", callback=_only, help="Names of scenarios, with commas.")
@click.option("--symbols", default=200, show_default=True)
@click.option("--rate", default=3000.0, show_default=True, help="Messages a second of the market.")
@click.option("--seed", default=1, show_default=True)
@click.option("--long", "standstill_s", default=60.0, show_default=True, help="Seconds of standing still.")
@click.option("--folder", type=click.Path(path_type=Path), default=_FOLDER, show_default=True)
@click.option("--keep", is_flag=True, help="Keep the service's log in the folder.")
def main(
    *,
    scenarios: tuple[Scenario, ...],
    symbols: int,
    rate: float,
    seed: int,
    standstill_s: float,
    folder: Path,
    keep: bool,
) -> None:
    """Each kind of silence on a running service: how soon it is noticed, named and mended."""
    told = Console(stderr=True, highlight=False)
    begun_s = time.monotonic()
    rows: list[Row] = []
    about = (
        f"{symbols} symbols, {rate:g} messages a second (trade, bookTicker, depth), 2 shards, seed {seed}. "
        f"Thresholds are fixed by each stream's rate: {BUSY_S:g} s for busy streams, 18 mean gaps for slower "
        f"ones. Sweep every {SWEEP_S:g} s, list of symbols every {LISTING_S:g} s. Seconds since the fault."
    )
    with tempfile.TemporaryDirectory(prefix="silence-") as scratch:
        place = Path(scratch)
        try:
            with a_stage(place, symbols=symbols, rate=rate, seed=seed) as stage:
                told.print(f"{time.monotonic() - begun_s:5.0f} s  {len(stage.streams)} streams are live")
                for scenario in scenarios:
                    rows.append(_play(stage, scenario, Lengths(standstill_s=standstill_s)))
                    told.print(f"{time.monotonic() - begun_s:5.0f} s  {_summary(rows[-1])}")
        finally:
            if keep:
                folder.mkdir(parents=True, exist_ok=True)
                for log in place.glob("*.log"):
                    (folder / log.name).write_bytes(log.read_bytes())
            write(folder, rows, about)
    show(Console(), rows)
    sys.exit(1 if any(row.wrong for row in rows) else 0)


def _play(stage: Stage, scenario: Scenario, lengths: Lengths) -> Row:
    trial = Trial(stage, scenario.name, scenario.title)
    try:
        wait_until("everything is well before it begins", stage.is_settled, deadline_s=_SETTLE_S)
        row = scenario.play(trial, lengths)
    except (AssertionError, OSError, NotInTime) as error:
        row = trial.row
        row.wrong.append(f"{type(error).__name__}: {error}")
        return row
    row.wrong = complaints(row, must_notice=scenario.must_notice)
    return row


def _summary(row: Row) -> str:
    return (
        f"{row.name}: {', '.join(row.diagnoses) or 'no incident'}; "
        f"noticed {seconds(row.noticed_s)}, recovered {seconds(row.recovered_s)}"
        + "".join(f"\n        wrong: {each}" for each in row.wrong)
    )


if __name__ == "__main__":
    main()
