"""`ingest demo`: the whole service against the bundled exchange double, then the account.

This process only watches: it reads what any query can read, orders the faults, kills a shard, and at
the end compares the double's ledger with the database.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ingest.board.layout import BoardSnapshot
from ingest.board.mapped import board_path, read_board
from ingest.cli.audit import Account, audit
from ingest.cli.demo_faults import FAULTS, KILL_AT, KILL_TOLD, script
from ingest.cli.demo_processes import KINDS, data_dir, exchange_double, service
from ingest.cli.rates import Rates
from ingest.cli.tables import Status, console, kinds_table, read_status, seconds, shards_table
from ingest.clock import Clock, SystemClock
from ingest.errors import BoardError, StoreError
from ingest.store.failures import DRIVER_ERRORS
from ingest.store.sessions import connected

_REFRESH_S = 0.5
_PLAIN_LINE_EVERY_S = 5.0
_OPEN_DEADLINE_S = 60.0
_SETTLE_DEADLINE_S = 20.0
_SETTLE_POLL_S = 1.0
_SHARDS = 2
_MENDING_S = 10.0
_MENDING_DEADLINE_S = 30.0


@dataclass
class _Demo:
    """What is known while it runs."""

    folder: Path
    console: Console
    clock: Clock
    exchange_url: str
    database_url: str
    http: aiohttp.ClientSession
    duration_s: float
    told: list[str] = field(default_factory=list)
    rates: Rates = field(default_factory=Rates)


@click.command()
@click.option("--duration", default=60.0, show_default=True, help="Seconds; 0 runs until Ctrl-C.")
@click.option("--symbols", default=50, show_default=True, help="Symbols beside the recorded BTCUSDT.")
@click.option("--rate", default=1_500.0, show_default=True, help="Messages a second of the seeded market.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep data and logs here.")
def demo(duration: float, symbols: int, rate: float, keep: Path | None) -> int:
    """Run everything here and now: exchange, database, shards, faults, and the account at the end.

    Exit code 0 only if nothing that the exchange published is missing unnoticed, twice, or altered.
    """
    with contextlib.ExitStack() as stack:
        if keep is None:
            keep = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ingest-demo-")))
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            # What an earlier demo stored would be compared with what this one publishes.
            raise click.BadParameter(f"{keep} is not empty", param_hint="--keep")
        return asyncio.run(_run(keep.absolute(), duration, symbols, rate))


async def _run(folder: Path, duration_s: float, symbols: int, rate: float) -> int:
    stop, shown_on, clock = asyncio.Event(), console(), SystemClock()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        shown_on.print(f"logs and data: {folder}")
        shown_on.print("starting the exchange double: the recorded BTCUSDT session and a seeded market ...")
        exchange_url = await stack.enter_async_context(
            exchange_double(folder, symbols=symbols, rate=rate, clock=clock)
        )
        shown_on.print("starting the service: PostgreSQL, supervisor, two shards ...")
        database_url = await stack.enter_async_context(service(folder, exchange_url, clock=clock))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        shown = _Demo(folder, shown_on, clock, exchange_url, database_url, http, duration_s)
        await _until_open(shown)
        await _watch(shown, stop)
        shown_on.print("the market closes; waiting for the last rows ...")
        await _post(shown, "finish")
        accounts = await _settled(shown)
        await _secured(database_url)
    shown_on.print(_account_table(accounts))
    return _verdict(shown_on, accounts)


async def _post(shown: _Demo, path: str, body: bytes = b"") -> None:
    timeout = aiohttp.ClientTimeout(total=10.0)
    async with shown.http.post(f"{shown.exchange_url}/_double/{path}", data=body, timeout=timeout) as answer:
        answer.raise_for_status()


async def _until_open(shown: _Demo) -> None:
    """Wait until all streams are subscribed, which opens the market, and order the faults."""
    timeout = aiohttp.ClientTimeout(total=10.0)
    async with asyncio.timeout(_OPEN_DEADLINE_S):
        while True:
            async with shown.http.get(f"{shown.exchange_url}/_double/state", timeout=timeout) as answer:
                state = await answer.json()
            if state["events"]["happened"]:
                break
            await asyncio.sleep(0.2)
    await _post(shown, "faults", script(shown.duration_s or 60.0))


# ---------------------------------------------------------------------- watching


async def _watch(shown: _Demo, stop: asyncio.Event) -> None:
    opened_s = shown.clock.monotonic_s()
    plain_at_s = 0.0
    async with connected(shown.database_url, application="ingest demo") as connection:
        with Live(console=shown.console, auto_refresh=False, transient=False) as live:
            while not stop.is_set():
                elapsed_s = shown.clock.monotonic_s() - opened_s
                status = await read_status(connection)
                if shown.duration_s and _may_close(shown, elapsed_s, status):
                    return
                _tell(shown, elapsed_s, status)
                boards = _boards(shown.folder)
                _measure(shown, boards)
                if shown.console.is_terminal:
                    live.update(_screen(shown, elapsed_s, status, boards), refresh=True)
                elif elapsed_s >= plain_at_s:
                    plain_at_s += _PLAIN_LINE_EVERY_S
                    shown.console.print(_plain_line(shown, elapsed_s, status, boards))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_REFRESH_S):
                        await stop.wait()


def _may_close(shown: _Demo, elapsed_s: float, status: Status) -> bool:
    """Whether the time is up and the service has had its chance to mend what was broken.

    What a stream misses at the very end, no later message can give away: so the market stays open until
    all streams are well again and all that can be had again has been fetched, the last fault being long
    enough ago to have been noticed.
    """
    least_s = max(shown.duration_s, KILL_AT * shown.duration_s + _MENDING_S)
    all_well = status.well == status.streams > 0 and not status.open_gaps
    return elapsed_s >= least_s and (all_well or elapsed_s >= least_s + _MENDING_DEADLINE_S)


def _tell(shown: _Demo, elapsed_s: float, status: Status) -> None:
    """Say each fault when it happens, and kill a shard when its time has come."""
    scale_s = shown.duration_s or 60.0
    due = [each.told for each in FAULTS if each.told and each.at * scale_s <= elapsed_s]
    pids = [row["pid"] for row in status.shards if row["pid"] is not None]
    if KILL_AT * scale_s <= elapsed_s and pids:
        due.append(KILL_TOLD)
        if KILL_TOLD not in shown.told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[-1], signal.SIGKILL)
    for told in due:
        if told not in shown.told:
            shown.told.append(told)
            if not shown.console.is_terminal:
                shown.console.print(f"[{elapsed_s:5.1f} s] {told}")


def _boards(folder: Path) -> list[BoardSnapshot]:
    boards = []
    for shard in range(_SHARDS):
        with contextlib.suppress(BoardError):
            boards.append(read_board(board_path(data_dir(folder), shard)))
    return boards


def _measure(shown: _Demo, boards: Sequence[BoardSnapshot]) -> None:
    """Messages a second by kind, from the boards' counters; a shard that restarted begins at zero."""
    messages: Counter[str] = Counter()
    for slot in (slot for board in boards for slot in board.streams):
        messages[slot.key.kind] += slot.values.messages
    shown.rates.look(messages, shown.clock.monotonic_s())


def _screen(
    shown: _Demo, elapsed_s: float, status: Status, boards: Sequence[BoardSnapshot]
) -> RenderableType:
    events = Text("\n".join(f"  - {told}" for told in shown.told) or "  (nothing yet)")
    return Group(
        Text(_headline(shown, elapsed_s, status, boards), style="bold"),
        kinds_table(status, shown.rates.per_s),
        shards_table(status),
        Text("what has gone wrong so far", style="italic"),
        events,
    )


def _headline(shown: _Demo, elapsed_s: float, status: Status, boards: Sequence[BoardSnapshot]) -> str:
    of = f" of {shown.duration_s:.0f}" if shown.duration_s else ""
    p50_us = max((board.header.commit_latency_p50_us for board in boards), default=0)
    p99_us = max((board.header.commit_latency_p99_us for board in boards), default=0)
    return (
        f"{elapsed_s:5.0f}{of} s   {status.live} of {status.streams} streams live   "
        f"{sum(shown.rates.per_s.values()):,.0f} messages/s   "
        f"arrival to commit p50 {p50_us / 1000:.0f} ms, p99 {p99_us / 1000:.0f} ms"
    )


def _plain_line(shown: _Demo, elapsed_s: float, status: Status, boards: Sequence[BoardSnapshot]) -> str:
    ages_s = [row["age_s"] for row in status.kinds if row["age_s"] is not None]
    line = f"{_headline(shown, elapsed_s, status, boards)}   oldest row {seconds(max(ages_s, default=None))}"
    return f"{line}   gaps {sum(status.gaps.values())}"


# ---------------------------------------------------------------------- the account


async def _settled(shown: _Demo) -> dict[str, Account]:
    """The account once it is good, or as it is when there has been time enough for the last rows."""
    give_up_s = shown.clock.monotonic_s() + _SETTLE_DEADLINE_S
    while True:
        accounts = await audit(shown.exchange_url, shown.database_url, KINDS)
        total = sum(accounts.values(), Account())
        if total.is_good or shown.clock.monotonic_s() > give_up_s:
            return accounts
        await asyncio.sleep(_SETTLE_POLL_S)


async def _secured(database_url: str) -> None:
    """Have all of it written out: a server that cannot do so in the time it may take to stop just dies."""
    with contextlib.suppress(StoreError, *DRIVER_ERRORS):  # then it has to hurry, and mostly succeeds
        async with connected(database_url, application="ingest demo") as connection:
            await connection.execute("CHECKPOINT")


def _account_table(accounts: dict[str, Account]) -> Table:
    table = Table(title="published by the exchange, against stored in the database", title_justify="left")
    table.add_column("kind")
    for name in ("published", "stored", "lost, in the ledger", "lost unnoticed", "twice", "altered"):
        table.add_column(name, justify="right")
    total = sum(accounts.values(), Account())
    for kind, account in (*accounts.items(), ("all", total)):
        if kind == "all":
            table.add_section()
        table.add_row(
            kind,
            f"{account.published:,}",
            f"{account.stored:,}",
            f"{account.lost_noticed:,}",
            _bad(account.lost_unnoticed),
            _bad(account.duplicated),
            _bad(account.altered),
        )
    return table


def _bad(number: int) -> str:
    return f"[bold red]{number:,}[/]" if number else "0"


def _verdict(shown_on: Console, accounts: dict[str, Account]) -> int:
    total = sum(accounts.values(), Account())
    if total.is_good and total.published:
        shown_on.print("[bold green]Nothing is missing unnoticed, nothing is twice, nothing is altered.[/]")
        return 0
    shown_on.print("[bold red]The account does not settle.[/]")
    return 1
