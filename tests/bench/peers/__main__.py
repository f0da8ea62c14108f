"""`python -m tests.bench.peers`: measure peers beside our own rows, show tables, store everything as JSON."""

import asyncio
import sys
from pathlib import Path

import click
import orjson
from rich.console import Console

from tests.bench.generator import BenchError
from tests.bench.peers.catalog import BY_NAME, MODES
from tests.bench.peers.measure import PeerFailure, PeerMeasure
from tests.bench.peers.report import NOTE, as_json, tables
from tests.bench.peers.suite import PeerOptions, run_peers
from tests.bench.report import machine

_FOLDER = Path(".cache/bench/peers")


def _of(known: tuple[str, ...], value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(","))
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise click.BadParameter(f"no such one: {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _rows(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    return _of(tuple(BY_NAME), value)


def _modes(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    return _of(tuple(MODES), value)


@click.command()
@click.option("--messages", default=200_000, show_default=True, help="Messages, a peer's trial included.")
@click.option("--seconds", default=8.0, show_default=True, help="A slower peer gets as many as take so long.")
@click.option("--rounds", default=1, show_default=True, help="How often each row is measured.")
@click.option("--rows", default=",".join(BY_NAME), show_default=True, callback=_rows, help="Which peers.")
@click.option(
    "--modes", default="trade,mix", show_default=True, callback=_modes, help=f"Of {', '.join(MODES)}."
)
@click.option("--symbols", default=50, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=_FOLDER,
    show_default=True,
    help="Where the peers' environments and the database lie; its disk matters.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Default: latest.json in the folder."
)
@click.option(
    "--python",
    "interpreter",
    type=click.Path(path_type=Path, exists=True),
    help="Run all peers with this instead of environments of their own.",
)
def main(
    *,
    messages: int,
    seconds: float,
    rounds: int,
    rows: tuple[str, ...],
    modes: tuple[str, ...],
    symbols: int,
    seed: int,
    folder: Path,
    json_file: Path | None,
    interpreter: Path | None,
) -> None:
    """CPU per message and per stored row of other libraries, beside ours in the same run."""
    options = PeerOptions(
        messages=messages,
        seconds=seconds,
        rounds=rounds,
        folder=folder,
        modes=modes,
        rows=rows,
        symbols=symbols,
        seed=seed,
        interpreter=interpreter,
    )
    facts = machine()
    told = Console(stderr=True)
    told.print(f"environments in {folder}, then {', '.join(modes)} of {symbols} symbols", highlight=False)
    try:
        results = asyncio.run(run_peers(options, lambda result: _tell(told, result)))
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    facts["load average after"] = machine()["load average"]
    shown = Console(width=None if sys.stdout.isatty() else 220)
    for each in tables(results):
        shown.print(each)
    shown.print(NOTE, highlight=False)
    shown.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    plain = {"messages": messages, "seconds": seconds, "rounds": rounds, "symbols": symbols, "seed": seed}
    stored = json_file or folder / "latest.json"
    stored.write_bytes(orjson.dumps(as_json(results, facts, plain), option=orjson.OPT_INDENT_2))
    shown.print(f"stored in {stored}", highlight=False)


def _tell(told: Console, result: PeerMeasure | PeerFailure) -> None:
    head = f"  {result.mode:11} {result.row:21}"
    if isinstance(result, PeerFailure):
        told.print(f"{head} {result.reason}", highlight=False, markup=False)
    else:
        told.print(f"{head} {result.cpu_us:7.2f} µs  {result.rate:9,.0f} messages/s", highlight=False)


if __name__ == "__main__":
    main()
