"""`ingest deadman`: one look at the database, for cron or a Kubernetes CronJob.

Reads the freshness table and nothing else of the service: no board, no HTTP, no process. What is found,
and whether somebody is to be told, is decided in `ops.deadman`.
"""

import asyncio
import os
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import click
import orjson

from ingest.cli.options import config_option
from ingest.clock import SystemClock
from ingest.config import Settings, Tree, load_settings
from ingest.errors import ConfigError, StoreError, StoreUnavailable
from ingest.ops.alerts import Delivery, alert_settings
from ingest.ops.deadman import (
    EXIT_CODES,
    DeadmanLimits,
    Finding,
    Remembered,
    TableFacts,
    Verdict,
    judge,
    next_step,
    unreachable,
)
from ingest.ops.hours import parse_hours
from ingest.ops.logs import LogSettings, configure_logs
from ingest.ops.notices import Letter
from ingest.ops.targets import Target, open_targets
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.instants import microseconds
from ingest.store.retrying import RetryPolicy, until_available
from ingest.store.sessions import SessionLimits, connected
from ingest.store.statements import statement
from ingest.supervisor.database import embedded_folder

_READING_SHARE = 0.6
"""Of the deadline; the rest is for telling somebody."""
_GRACE_S = 5.0
_RETRY = RetryPolicy(first_s=0.5, cap_s=3.0)


@click.command()
@click.option(
    "--max-silence", "max_silence_s", type=click.FloatRange(min=1), help="Seconds without an event."
)
@click.option(
    "--hours", multiple=True, help="UTC, such as 'Mon-Fri 08:00-18:00'; may be given several times."
)
@click.option("--table-max-age", "table_max_age_s", type=click.FloatRange(min=1), help="Seconds.")
@click.option("--deadline", "deadline_s", type=click.FloatRange(min=5), help="Seconds in all.")
@click.option("--notify/--no-notify", default=None, help="Default: if [alerts] has urls.")
@click.option(
    "--state-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to remember what was told, so that not every run tells it, and the recovery is told too.",
)
@config_option
def deadman(
    max_silence_s: float | None,
    hours: tuple[str, ...],
    table_max_age_s: float | None,
    deadline_s: float | None,
    notify: bool | None,
    state_file: Path | None,
    config_file: Path | None,
) -> int:
    """Alert when the database is no longer fed; made for cron, shares nothing with the service.

    The freshness table is judged at any time, silence within the hours. Defaults are in [deadman], the
    places to alert in [alerts].

    \b
    Exit code 0  fresh, or outside the hours
              1  the database could not be read: nobody knows
              2  wrong use or configuration
              3  silent: no events, or the freshness table is old
    """
    given = {"max_silence_s": max_silence_s, "table_max_age_s": table_max_age_s, "deadline_s": deadline_s}
    changed = {name: value for name, value in given.items() if value is not None}
    settings = load_settings(config_file, overrides={"deadman": {**changed, **_hours(hours)}})
    configure_logs(LogSettings(level="warning", format=settings.service.log_format))
    limits = DeadmanLimits(
        max_silence_s=settings.deadman.max_silence_s,
        table_max_age_s=settings.deadman.table_max_age_s,
        hours=parse_hours(settings.deadman.hours),
    )
    targets = _targets(settings, notify=notify)
    with _ended_by(settings.deadman.deadline_s + _GRACE_S):
        verdict = asyncio.run(_check(settings, limits, targets, state_file))
    click.echo(f"{verdict.finding}: {verdict.reason}")
    return EXIT_CODES[verdict.finding]


def _hours(hours: tuple[str, ...]) -> Tree:
    return {"hours": [*hours]} if hours else {}


def _targets(settings: Settings, *, notify: bool | None) -> tuple[Target, ...]:
    urls = settings.alerts.urls
    if notify and not urls:
        raise ConfigError("--notify: there is nobody to notify, [alerts] urls is empty")
    return open_targets(urls) if urls and notify is not False else ()


@contextmanager
def _ended_by(deadline_s: float) -> Iterator[None]:
    """End the process when something ignores its own deadline, such as the system's name lookup."""
    last_resort = threading.Timer(deadline_s, _give_up)
    last_resort.daemon = True
    last_resort.start()
    try:
        yield
    finally:
        last_resort.cancel()


def _give_up() -> None:
    click.echo("unreachable: the check did not come to its end within its deadline", err=True)
    os._exit(EXIT_CODES[Finding.UNREACHABLE])


async def _check(
    settings: Settings, limits: DeadmanLimits, targets: Sequence[Target], state_file: Path | None
) -> Verdict:
    deadline_s = settings.deadman.deadline_s
    loop = asyncio.get_running_loop()
    end_s = loop.time() + deadline_s
    verdict = await _verdict(settings, limits, deadline_s * _READING_SHARE)
    alerts = settings.alerts
    before = _remembered(state_file)
    step = next_step(
        before,
        verdict,
        name=alerts.name,
        remind_every_s=alerts.remind_every_s,
        runbook=alerts.runbook_url,
    )
    sent = step.letter is not None and await _send(settings, targets, step.letter, end_s - loop.time())
    after = step.if_sent if sent else step.if_not
    if after != before:
        _remember(state_file, after)
    return verdict


# ---------------------------------------------------------------------- reading


async def _verdict(settings: Settings, limits: DeadmanLimits, deadline_s: float) -> Verdict:
    tried: list[str] = []
    try:
        async with asyncio.timeout(deadline_s):
            facts = await until_available(
                lambda: _read(settings, deadline_s / 2),
                policy=_RETRY,
                rng=random.SystemRandom(),
                on_retry=lambda error: tried.append(str(error)),
            )
    except StoreError as error:
        return unreachable(str(error), at_us=SystemClock().wall_ns() // 1_000)
    except TimeoutError:
        why = tried[-1] if tried else f"no answer within {deadline_s:g} s"
        return unreachable(why, at_us=SystemClock().wall_ns() // 1_000)
    return judge(facts, limits)


async def _read(settings: Settings, deadline_s: float) -> TableFacts:
    limits = SessionLimits(connect_s=deadline_s, statement_s=deadline_s, lock_s=deadline_s)
    async with connected(_url(settings), application="ingest deadman", limits=limits) as connection:
        try:
            row = await connection.fetchrow(statement("deadman_facts"))
        except DRIVER_ERRORS as error:
            raise translated(error) from error
    assert row is not None, "an aggregate has a row"
    return TableFacts(row["streams"], microseconds(row["now"]), row["table_age_s"], row["event_age_s"])


def _url(settings: Settings) -> str:
    """Never starts a server: that one must be started is what is to be found out."""
    configured = settings.database.dsn
    running = configured or EmbeddedPostgres(embedded_folder(settings)).url_of_running()
    if running is None:
        raise StoreUnavailable("the embedded PostgreSQL does not run")
    return running


# ---------------------------------------------------------------------- telling


async def _send(settings: Settings, targets: Sequence[Target], letter: Letter, within_s: float) -> bool:
    """Whether the letter reached at least one target."""
    if not targets:
        return False
    delivery = Delivery(
        targets, alert_settings(settings).delivery, clock=SystemClock(), rng=random.SystemRandom()
    )
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(delivery.run())
        delivery.offer(letter)
        in_time = await delivery.drain(within_s)
        sending.cancel()
    if not in_time:
        click.echo("not every target has taken the alert in time", err=True)
    return delivery.stats().delivered > 0


def _remembered(state_file: Path | None) -> Remembered | None:
    """What an earlier run left. A file that cannot be understood counts as none: better told twice."""
    if state_file is None:
        return None
    try:
        kept = orjson.loads(state_file.read_bytes())
        told_us = None if kept["told_us"] is None else int(kept["told_us"])
        return Remembered(finding=Finding(kept["finding"]), since_us=int(kept["since_us"]), told_us=told_us)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        click.echo(f"--state-file {state_file}: not understood ({error}), starting anew", err=True)
        return None


def _remember(state_file: Path | None, kept: Remembered | None) -> None:
    if state_file is None:
        return
    draft = state_file.with_name(f"{state_file.name}.{os.getpid()}.new")
    try:
        if kept is None:
            state_file.unlink(missing_ok=True)
            return
        draft.write_bytes(orjson.dumps(asdict(kept)))
        draft.replace(state_file)
    except OSError as error:
        # The alert itself has been sent; without memory the next run sends it again.
        click.echo(f"--state-file {state_file}: {error.strerror or error}", err=True)
        with suppress(OSError):
            draft.unlink(missing_ok=True)
