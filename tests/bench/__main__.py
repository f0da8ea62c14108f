"""`python -m tests.bench`: measure, show a table, and store everything as JSON."""

import asyncio
import sys
from pathlib import Path

import click
import orjson
from rich.console import Console

from tests.bench.courses import ROWS
from tests.bench.generator import BenchError
from tests.bench.measure import Measure
from tests.bench.mix import MIX
from tests.bench.report import as_json, comparisons, machine, summaries, table, titled
from tests.bench.suite import Options, run_suite

_DEFAULT_JSON = Path(".cache/bench/latest.json")


def _rows(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    rows = tuple(row.strip() for row in value.split(","))
    unknown = sorted(set(rows) - set(ROWS))
    if unknown:
        raise click.BadParameter(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return rows


def _mix(_: click.Context, __: click.Parameter, value: str) -> dict[str, int]:
    try:
        shares = [int(share) for share in value.split(",")]
        return {kind: share for kind, share in zip(MIX, shares, strict=True) if share > 0}
    except ValueError:
        raise click.BadParameter("three whole numbers: trade,bookTicker,depth") from None


@click.command()
@click.option("--messages", default=200_000, show_default=True, help="Measured messages a row and round.")
@click.option("--rounds", default=3, show_default=True, help="How often each row is measured.")
@click.option("--rows", default=",".join(ROWS), show_default=True, callback=_rows, help="Which rows.")
@click.option(
    "--mix",
    default=",".join(map(str, MIX.values())),
    show_default=True,
    callback=_mix,
    help="Shares of trade, bookTicker and depth.",
)
@click.option("--symbols", default=200, show_default=True)
@click.option(
    "--many-symbols", default=2_000, show_default=True, help="Of the row symbols2000; symbols200 has a tenth."
)
@click.option(
    "--spool-rate", default=10_000.0, show_default=True, help="Live messages a second of the row spool."
)
@click.option(
    "--flame", type=click.Path(path_type=Path), help="Draw where the time of the last row goes (SVG)."
)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), default=_DEFAULT_JSON, show_default=True
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=_DEFAULT_JSON.parent,
    show_default=True,
    help="Where the database lies meanwhile; its disk matters.",
)
def main(
    *,
    messages: int,
    rounds: int,
    rows: tuple[str, ...],
    mix: dict[str, int],
    symbols: int,
    many_symbols: int,
    spool_rate: float,
    flame: Path | None,
    seed: int,
    json_file: Path,
    data_dir: Path,
) -> None:
    """CPU per message and messages a second, beside the floor measured in the same run."""
    data_dir.mkdir(parents=True, exist_ok=True)
    options = Options(
        messages=messages,
        rounds=rounds,
        rows=rows,
        symbols=symbols,
        many_symbols=many_symbols,
        seed=seed,
        mix=mix,
        spool_rate=spool_rate,
        data_dir=data_dir,
        flame=flame,
    )
    facts = machine()
    told = Console(stderr=True)
    told.print(
        f"making {messages:,} frames for each course, {rounds} rounds of {', '.join(rows)}", highlight=False
    )
    try:
        measures = asyncio.run(run_suite(options, lambda measure: _tell(told, measure)))
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    if flame is not None:
        flame.write_text(titled(flame.read_text(), f"one shard, row {rows[-1]}"))
    facts["load average after"] = machine()["load average"]
    found = summaries(measures)
    shown = Console(width=None if sys.stdout.isatty() else 160)
    shown.print(table(found))
    for line in comparisons(measures):
        shown.print(line, highlight=False)
    shown.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    plain = {
        "messages": messages,
        "rounds": rounds,
        "rows": rows,
        "mix": mix,
        "symbols": symbols,
        "many_symbols": many_symbols,
        "spool_rate": spool_rate,
        "seed": seed,
    }
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_bytes(orjson.dumps(as_json(found, measures, facts, plain), option=orjson.OPT_INDENT_2))
    shown.print(f"stored in {json_file}", highlight=False)


def _tell(told: Console, measure: Measure) -> None:
    told.print(
        f"  {measure.row:11} {measure.cpu_us:6.2f} µs  {measure.rate:9,.0f} messages/s", highlight=False
    )


if __name__ == "__main__":
    main()
