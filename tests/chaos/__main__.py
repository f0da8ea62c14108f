"""`python -m tests.chaos`: each fault on a fresh service, and what it has cost."""

import contextlib
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from tests.chaos.faults import CHAOS, Chaos, chosen
from tests.chaos.report import read, summary, write
from tests.chaos.stage import TROUBLE, Market, a_chaos_stage, a_disk, end_on_sigterm, thresholds
from tests.chaos.trial import Row, play, told
from tests.silence.observer import Key

_FOLDER = Path(".cache/chaos")


def _only(_: click.Context, __: click.Parameter, value: str) -> tuple[Chaos, ...]:
    try:
        return chosen(value)
    except KeyError as error:
        known = ", ".join(chaos.name for chaos in CHAOS)
        raise click.BadParameter(f"no such fault: {error.args[0]}; there are {known}") from error


@click.command()
@click.option("--only", "faults", default="", callback=_only, help="Names of faults, with commas.")
@click.option("--symbols", default=200, show_default=True)
@click.option("--rate", default=2000.0, show_default=True, help="Messages a second of the market.")
@click.option("--seed", default=1, show_default=True, help="Of the market and of what is hit.")
@click.option("--more", is_flag=True, help="Keep the rows that the folder has of other faults.")
@click.option("--folder", type=click.Path(path_type=Path), default=_FOLDER, show_default=True)
def main(
    *, faults: tuple[Chaos, ...], symbols: int, rate: float, seed: int, more: bool, folder: Path
) -> None:
    """Every fault, one at a time: seen, mended, and settled with the exchange's own ledger."""
    end_on_sigterm()
    shown = Console(stderr=True, highlight=False, soft_wrap=True)
    market = Market(symbols=symbols, rate=rate, seed=seed)
    about = (
        f"{symbols} symbols, {rate:g} messages a second (trade, aggTrade, bookTicker, depth), 2 shards, seed "
        f"{seed}; each fault on a service of its own. Seconds."
    )
    begun_s = time.monotonic()
    rows = read(folder) if more else []
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        silent_s = thresholds(market, Path(scratch))
    for chaos in faults:
        row = _play(chaos, market, silent_s, folder)
        rows = in_order([*(each for each in rows if each.name != chaos.name), row])
        write(folder, rows, about)
        shown.print(f"{time.monotonic() - begun_s:5.0f} s  {summary(row)}")
    sys.exit(0 if all(row.is_good for row in rows) else 1)


def in_order(rows: list[Row]) -> list[Row]:
    """As the faults are listed."""
    places = {chaos.name: place for place, chaos in enumerate(CHAOS)}
    return sorted(rows, key=lambda row: places.get(row.name, len(places)))


def _play(chaos: Chaos, market: Market, silent_s: Mapping[Key, float], folder: Path) -> Row:
    with (
        tempfile.TemporaryDirectory(prefix=f"chaos-{chaos.name}-") as scratch,
        contextlib.ExitStack() as stack,
    ):
        place = Path(scratch)
        row = Row(name=chaos.name, title=chaos.title, seed=market.seed)
        try:
            if chaos.disk_mib is not None:
                stack.enter_context(a_disk(place, chaos.disk_mib))
            with a_chaos_stage(place, market, silent_s, chaos.sections) as stage:
                row = play(stage, chaos, market.seed)
        except TROUBLE as error:
            row.complaints.append(told(error))
        if not row.is_good:
            _keep_logs(place, folder / chaos.name)
        return row


def _keep_logs(place: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for log in place.glob("*.log"):
        (folder / log.name).write_bytes(log.read_bytes())


if __name__ == "__main__":
    main()
