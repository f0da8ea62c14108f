"""`python -m tests.bench.queries`: sizes and query times of the project's schema beside a naive one.

Makes the same days of market data (`replay`) in the project's schema and in a naive one (`stores.sql`), on
the embedded PostgreSQL and, where a URL is given, on a server with TimescaleDB: there as rows, then with
all days but the newest in the columnstore. Puts the same questions (`questions.sql`) to all of them,
insists on the same answers, and writes a table with the ratios.
"""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from ingest.clock import SystemClock
from ingest.store.sessions import connected
from tests.bench.query_report import Examined, Weighed, report
from tests.bench.questions import QUESTIONS, Question
from tests.bench.replay import Extent
from tests.bench.report import machine
from tests.bench.sizes import columnstore_sizes, naive_sizes, sizes
from tests.bench.stores import conditions, convert, make, plain_database, timescale_database
from tests.bench.timing import LIMITS, DifferentAnswersError, Effort, Examiner, Target, Times

_REPORT: Final = Path(__file__).with_name("queries.md")
_ROWS: Final = 20_000_000


@dataclass(kw_only=True)
class Findings:
    """What one run has found, in the order in which it did."""

    extent: Extent
    tell: Callable[[str], None]
    examiner: Examiner
    weighed: list[Weighed] = field(default_factory=list)
    examined: list[Examined] = field(default_factory=list)
    servers: dict[str, dict[str, str]] = field(default_factory=dict)

    async def on_plain(self, url: str) -> None:
        """Partitions, in an empty database."""
        await make(url, self.extent, self.tell, timescale=False)
        self.servers["PostgreSQL"] = await conditions(url)
        async with connected(url, application="bench", limits=LIMITS) as connection:
            self.weighed.append(Weighed(name="naive", sizes=await naive_sizes(connection)))
            found = await sizes(connection, timescale=False)
        self.weighed.append(Weighed(name="PostgreSQL, partitions", sizes=found))
        await self._examine("partitions", "PostgreSQL", url)

    async def on_timescale(self, url: str) -> None:
        """Hypertables as rows, then converted, in an empty database with the extension."""
        await make(url, self.extent, self.tell, timescale=True)
        self.servers["TimescaleDB"] = await conditions(url)
        async with connected(url, application="bench", limits=LIMITS) as connection:
            found = await sizes(connection, timescale=True)
        self.weighed.append(Weighed(name="TimescaleDB, rows", sizes=found))
        await self._examine("hypertables, rows", "TimescaleDB", url)
        async with connected(url, application="bench", limits=LIMITS) as connection:
            chunks = await convert(connection, self.extent)
            self.tell(f"{chunks} chunks converted")
            if not chunks:
                return  # the Apache edition has no columnstore
            found = await columnstore_sizes(connection, before=self.extent.newest_day)
            self.weighed.append(Weighed(name="TimescaleDB, columnstore", sizes=found))
        await self._examine("hypertables, columnstore", "TimescaleDB", url)

    async def _examine(self, name: str, server: str, url: str) -> None:
        targets = (Target(f"{server}, {name}", url), Target(f"naive, {server}", url, naive=True))
        found: dict[Question, Sequence[Times]] = {}
        for question in QUESTIONS:
            found[question] = ours, naive = await self.examiner.examine(question, targets)
            self.tell(f"  {name}: {question.name}: {ours.p50_ms:.2f} ms, naive {naive.p50_ms:.2f} ms")
        times, naive_times = ({q: both[place] for q, both in found.items()} for place in (0, 1))
        self.examined.append(Examined(name=name, server=server, times=times, naive=naive_times))

    def text(self) -> str:
        """The report."""
        return report(self.weighed, self.examined, self._facts())

    def _facts(self) -> list[str]:
        rows = sum(size.rows for size in self.weighed[0].sizes)
        extent = self.extent
        window = extent.depth_window
        made = (
            f"Written by `python -m tests.bench.queries`: {rows:,} rows, {extent.symbols} symbols, "
            f"{extent.days} days, made from the recorded session with seed {extent.seed}. Depth is of "
            f"{extent.depth_symbols} symbols, as dense as recorded, in the last "
            f"{window.total_seconds() / 3600:.1f} h of each day."
        )
        facts = [made]
        for server, settings in self.servers.items():
            facts.append(f"{server}: {', '.join(f'{name} {value}' for name, value in settings.items())}.")
        facts.append(f"Machine: {', '.join(f'{name} {value}' for name, value in machine().items())}.")
        return facts


async def run(
    extent: Extent, effort: Effort, *, folder: Path, timescale_url: str, tell: Callable[[str], None]
) -> Findings:
    """Everything; the databases are gone afterwards. Raises DifferentAnswersError."""
    examiner = Examiner(QUESTIONS, extent, effort)
    found = Findings(extent=extent, tell=tell, examiner=examiner)
    with tempfile.TemporaryDirectory(prefix="queries-", dir=folder) as own:
        async with plain_database(Path(own)) as url:
            await found.on_plain(url)
    if timescale_url:
        async with timescale_database(timescale_url) as url:
            await found.on_timescale(url)
    return found


def first_day(days: int, *, now: datetime) -> datetime:
    """So that the newest day ends about now: what is newest is asked of the last 24 hours."""
    # Late in the evening the coming midnight, so that the newest rows stay less than a day old meanwhile.
    midnight = (now + timedelta(hours=2)).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=days)


@click.command()
@click.option("--rows", default=_ROWS, show_default=True, help="At least so many, all kinds together.")
@click.option("--symbols", default=50, show_default=True)
@click.option("--days", type=click.IntRange(min=2), default=3, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--seconds", default=12.0, show_default=True, help="For each question and database.")
@click.option(
    "--askings",
    type=click.IntRange(min=3),
    default=300,
    show_default=True,
    help="At most, of each question and database.",
)
@click.option(
    "--timescale-url", default="", envvar="INGEST_BENCH_TIMESCALE_URL", help="Server with TimescaleDB."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(".cache/bench"),
    show_default=True,
    help="Where the embedded database lies meanwhile.",
)
@click.option("--report", "report_file", type=click.Path(path_type=Path), default=_REPORT, show_default=True)
def main(
    *,
    rows: int,
    symbols: int,
    days: int,
    seed: int,
    seconds: float,
    askings: int,
    timescale_url: str,
    folder: Path,
    report_file: Path,
) -> None:
    """Sizes and query times, partitions, hypertables and columnstore, beside a naive schema."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC)
    extent = Extent(rows=rows, symbols=symbols, days=days, seed=seed, first_day=first_day(days, now=now))
    effort = Effort(seconds=seconds, askings=askings)
    try:
        found = asyncio.run(run(extent, effort, folder=folder, timescale_url=timescale_url, tell=_tell))
    except DifferentAnswersError as error:
        raise click.ClickException(str(error)) from None
    text = found.text()
    report_file.write_text(text, encoding="utf-8")
    click.echo(text)
    click.echo(f"written to {report_file}", err=True)


def _tell(line: str) -> None:
    now = datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC)
    click.echo(f"{now:%H:%M:%S} {line}", err=True)


if __name__ == "__main__":
    main()
