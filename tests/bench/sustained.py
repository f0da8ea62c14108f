"""`python -m tests.bench.sustained`: the real service end to end, at one rate for long or at the highest.

--rate 60000 --minutes 10     hold one rate; exit code 1 when a row is lost or doubled
--search                      find the highest rate, then measure at 25, 50 and 90 % of it
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table

from tests.bench.account import Account, Latency
from tests.bench.generator import BenchError
from tests.bench.load import LoadJob
from tests.bench.loaded import Loaded, Plan, Result, loaded
from tests.bench.mix import MIX
from tests.bench.report import machine
from tests.bench.search import RateSearch, Step
from tests.bench.timeline import MemoryTrend

_DEFAULT_JSON = Path(".cache/bench/sustained.json")
_SHARES = (0.25, 0.5, 0.9)
_LATENCY_NOTE = (
    "latency: event time in the row to the commit timestamp of its transaction (taken before the flush; "
    "book tickers: from our receive time); board p99: receive to acknowledged commit, of batches' oldest rows"
)

Tell = Callable[[str], None]


@click.command()
@click.option("--shards", default=1, show_default=True)
@click.option("--rate", default=20_000.0, show_default=True, help="Messages a second; where a search begins.")
@click.option("--minutes", default=1.0, show_default=True, help="How long the rate is held.")
@click.option("--search", is_flag=True, help="Find the highest rate, then hold 25, 50 and 90 % of it.")
@click.option("--step", "step_s", default=20.0, show_default=True, help="Seconds of a step of the search.")
@click.option("--symbols", default=200, show_default=True)
@click.option("--lap", default=200_000, show_default=True, help="Frames that are made beforehand.")
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
    shards: int,
    rate: float,
    minutes: float,
    search: bool,
    step_s: float,
    symbols: int,
    lap: int,
    seed: int,
    json_file: Path,
    data_dir: Path,
) -> None:
    """The service itself under load: rate, CPU by process, latency, lag, memory, an account of all rows."""
    data_dir.mkdir(parents=True, exist_ok=True)
    data_dir = data_dir.resolve()  # the service is started in a folder of its own
    told, facts = Console(stderr=True), machine()

    def tell(line: str) -> None:
        told.print(line, highlight=False)

    load = LoadJob(lap, symbols, seed, dict(MIX))
    with tempfile.TemporaryDirectory(prefix="sustained-", dir=data_dir) as folder:
        plan = Plan(load=load, shards=shards, data_dir=Path(folder))
        try:
            found = asyncio.run(_measured(plan, rate, minutes * 60, step_s if search else 0.0, tell))
        except BenchError as error:
            raise click.ClickException(str(error)) from None
    results, account, troubles, steps = found
    shown = Console(width=None if sys.stdout.isatty() else 160)
    for each in (rates_table(results), processes_table(results)):
        shown.print(each)
    shown.print(_LATENCY_NOTE, highlight=False)
    shown.print(account_line(account, troubles), highlight=False)
    shown.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    body = {
        "machine": facts,
        "shards": shards,
        "symbols": symbols,
        "steps": [step._asdict() for step in steps],
        "results": [asdict(result) for result in results],
        "account": asdict(account),
        "troubles": troubles,
    }
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_bytes(orjson.dumps(body, _plain, orjson.OPT_INDENT_2))
    shown.print(f"stored in {json_file}", highlight=False)
    sys.exit(0 if account.is_settled else 1)


def _plain(value: object) -> object:
    """For JSON: named tuples as objects."""
    if isinstance(value, Latency | MemoryTrend):
        return value._asdict()
    raise TypeError(type(value))


async def _measured(
    plan: Plan, rate: float, seconds: float, step_s: float, tell: Tell
) -> tuple[list[Result], Account, dict[str, int], Sequence[Step]]:
    tell(f"starting the service with {plan.shards} shards and {plan.load.symbols} symbols")
    async with loaded(plan) as service:
        rates: list[float] = [rate]
        steps: Sequence[Step] = ()
        if step_s:
            found = await _highest(service, rate, step_s, tell)
            rates, steps = [found.best * share for share in _SHARES if found.best], found.steps
        results = []
        for each in rates:
            tell(f"holding {each:,.0f} messages a second for {seconds:,.0f} s")
            results.append(await service.hold(each, seconds))
        tell("comparing every row with what was sent")
        return results, await service.account(), await service.troubles(), steps


async def _highest(service: Loaded, start: float, step_s: float, tell: Tell) -> RateSearch:
    search = RateSearch(start)
    while (rate := search.next_rate) is not None:
        result = await service.hold(rate, step_s)
        step = Step(rate, result.latency_p99_s, result.waiting_last_s, result.spooled_rows)
        search = search.told(step)
        tell(
            f"  {rate:9,.0f}/s  p99 {step.latency_p99_s:6.2f} s  waiting {step.waiting_s:6.2f} s  "
            f"{'sustained' if step.is_sustained else 'too much'}"
        )
    tell(f"highest sustained rate: {search.best:,.0f} messages a second")
    return search


def rates_table(results: Sequence[Result]) -> Table:
    """What was sent, and how late it could be seen."""
    shown = Table(title="End to end, every row stored; latency in ms by kind: p50 / p99 / p99.9")
    kinds = list(results[0].latency) if results else []
    for heading in ("messages/s", *kinds, "board p99 ms", "loop lag p99 (most) ms", "oldest waiting s"):
        shown.add_column(heading, justify="right")
    for result in results:
        latencies = [
            f"{each.p50_s * 1e3:.0f} / {each.p99_s * 1e3:.0f} / {each.p999_s * 1e3:.0f}"
            for each in result.latency.values()
        ]
        shown.add_row(
            f"{result.sent_rate:,.0f}",
            *latencies,
            f"{result.board_p99_s * 1e3:.0f}",
            f"{result.lag_p99_ms:.1f} ({result.lag_most_ms:.0f})",
            f"{result.waiting_most_s:.2f}",
        )
    return shown


def processes_table(results: Sequence[Result]) -> Table:
    """What each kind of process took."""
    shown = Table(title="CPU µs a message; memory in MiB at the end (slope a minute, second half)")
    shown.add_column("messages/s", justify="right")
    kinds = dict.fromkeys(kind for result in results for kind in (*result.cpu_us, *result.memory))
    for kind in kinds:
        shown.add_column(kind, justify="right")
    for result in results:
        cells = [_process_cell(result, kind) for kind in kinds]
        shown.add_row(f"{result.sent_rate:,.0f}", *cells)
    return shown


def _process_cell(result: Result, kind: str) -> str:
    told = []
    if kind in result.cpu_us:
        told.append(f"{result.cpu_us[kind]:.2f} µs")
    if kind in result.memory:
        trend = result.memory[kind]
        told.append(f"{trend.last_mib:.0f} ({trend.slope_mib_per_min:+.1f})")
    return "; ".join(told)


def account_line(account: Account, troubles: dict[str, int]) -> str:
    """The ledger beside the database, in words."""
    others = ", ".join(f"{count} {name}" for name, count in troubles.items())
    return (
        f"{account.happened:,} messages sent, {account.stored:,} rows stored: {account.lost} lost, "
        f"{account.doubled} twice, {account.unlike} streams that end elsewhere; {others}"
    )


if __name__ == "__main__":
    main()
