"""`python -m tests.verdicts`: provoke each fault, and compare what everybody says of it."""

import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from tests.chaos.stage import TROUBLE, end_on_sigterm
from tests.chaos.trial import told
from tests.verdicts.faults import FAULTS, Fault, chosen
from tests.verdicts.report import summary, write
from tests.verdicts.trial import RATE, SYMBOLS, Row, play, watched

_FILE = Path("ingest/docs/faults.md")


def _only(_: click.Context, __: click.Parameter, value: str) -> tuple[Fault, ...]:
    try:
        return chosen(value)
    except KeyError as error:
        known = ", ".join(fault.name for fault in FAULTS)
        raise click.BadParameter(f"no such fault: {error.args[0]}; there are {known}") from error


@click.command()
@click.option("--only", "faults", default="", callback=_only, help="Names of faults, with commas.")
@click.option("--symbols", default=SYMBOLS, show_default=True)
@click.option("--rate", default=RATE, show_default=True, help="Messages a second of the market.")
@click.option("--to", "file", type=click.Path(path_type=Path), default=_FILE, show_default=True)
def main(*, faults: tuple[Fault, ...], symbols: int, rate: float, file: Path) -> None:
    """Each fault on a running service: who says what of it, and whether all agree."""
    end_on_sigterm()
    shown = Console(stderr=True, highlight=False, soft_wrap=True)
    begun_s = time.monotonic()
    rows: list[Row] = []
    about = f"{symbols} symbols with four kinds of streams, {rate:g} messages a second, two shards."
    with (
        tempfile.TemporaryDirectory(prefix="verdicts-") as scratch,
        watched(Path(scratch), symbols=symbols, rate=rate) as beheld,
    ):
        for fault in faults:
            try:
                rows.append(play(beheld, fault))
            except TROUBLE as error:
                rows.append(Row(fault=fault, complaints=[told(error)]))
            write(file, rows, about)
            shown.print(f"{time.monotonic() - begun_s:5.0f} s  {summary(rows[-1])}")
    sys.exit(0 if all(row.is_good for row in rows) else 1)


if __name__ == "__main__":
    main()
