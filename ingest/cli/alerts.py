"""`ingest alerts`: what would be sent for the present state of a database, and whether it would arrive."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import click

from ingest.cli.database import database_url
from ingest.cli.options import config_option
from ingest.clock import SystemClock
from ingest.config import Settings, load_settings
from ingest.errors import ConfigError
from ingest.ops.alert_desk import AlertDesk
from ingest.ops.alert_facts import AlertFacts, ShardRecord, StaleStream
from ingest.ops.alert_rules import at_once, evaluate
from ingest.ops.alerts import alert_settings
from ingest.ops.logs import LogSettings, configure_logs
from ingest.ops.notices import Letter, trial_letter, write_letter
from ingest.ops.targets import NotDelivered, Target, open_targets
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.sessions import connected
from ingest.store.statements import statement

_FAILED = 1
_DEGRADED = 3


@click.command()
@click.option("--dry-run", is_flag=True, help="Print what would be sent now; send nothing.")
@click.option("--test", "trial", is_flag=True, help="Send a test message to every place.")
@config_option
def alerts(dry_run: bool, trial: bool, config_file: Path | None) -> int:
    """Try the alerts: what they would say of the database now, and whether they arrive.

    With --dry-run: the rules as far as tables can answer them, that is stale streams, their share,
    reconnects, shards given up, the freshness table's age. Exit code 0 when there is nothing to tell,
    else 3. With --test: 0 when every place has taken the message, else 1. Both: the test message is
    printed instead of sent.
    """
    if not (dry_run or trial):
        raise click.UsageError("say --dry-run or --test")
    settings = load_settings(config_file)
    configure_logs(LogSettings(level="warning", format=settings.service.log_format))
    targets = open_targets(settings.alerts.urls)
    if trial:
        return _try(settings, targets, dry_run=dry_run)
    letters = asyncio.run(_present_letters(settings))
    _print(letters, targets)
    return _DEGRADED if letters else 0


def _try(settings: Settings, targets: Sequence[Target], *, dry_run: bool) -> int:
    letter = trial_letter(name=settings.alerts.name, at_us=SystemClock().wall_ns() // 1_000)
    if dry_run:
        _print([letter], targets)
        return 0
    if not targets:
        raise ConfigError("[alerts] urls: is empty, so there is nowhere to send a test")
    outcomes = asyncio.run(_send_to_all(letter, targets, settings.alerts.deadline_s))
    for target, reason in zip(targets, outcomes, strict=True):
        click.echo(f"{target.name}: {f'failed: {reason}' if reason else 'delivered'}")
    return _FAILED if any(outcomes) else 0


async def _send_to_all(letter: Letter, targets: Sequence[Target], deadline_s: float) -> list[str]:
    """For each target why it failed; empty when it did not."""
    async with asyncio.TaskGroup() as group:
        sending = [group.create_task(_outcome(target, letter, deadline_s)) for target in targets]
    return [task.result() for task in sending]


async def _outcome(target: Target, letter: Letter, deadline_s: float) -> str:
    try:
        await target.deliver(letter, deadline_s=deadline_s)
    except NotDelivered as error:
        return str(error)
    return ""


def _print(letters: Sequence[Letter], targets: Sequence[Target]) -> None:
    places = ", ".join(target.name for target in targets) or "nobody: [alerts] urls is empty, the log alone"
    click.echo(f"would be told: {places}")
    if not letters:
        click.echo("there is nothing to tell")
    for letter in letters:
        click.echo(f"\nSubject: {letter.subject}\n\n{letter.body}", nl=False)


# ---------------------------------------------------------------------- the database's present state


async def _present_letters(settings: Settings) -> list[Letter]:
    chosen = alert_settings(settings)
    facts = await _facts(settings)
    # One look has no history: what would be told after waiting is told at once.
    rules = at_once(chosen.rules)
    desk = AlertDesk(rules, chosen.limits.without_waiting())
    notices = desk.consider(evaluate(rules, facts), facts.now_s, SystemClock().wall_ns() // 1_000)
    return [write_letter(notice, name=chosen.name, runbook=chosen.runbook) for notice in notices]


async def _facts(settings: Settings) -> AlertFacts:
    """Times are on a clock that says 0 now."""
    async with (
        database_url(settings) as url,
        connected(url, application="ingest alerts") as connection,
    ):
        try:
            return await _read(connection, settings.alerts.feed_reconnects_window_s)
        except DRIVER_ERRORS as error:
            raise translated(error) from error


async def _read(connection: "asyncpg.Connection[asyncpg.Record]", window_s: float) -> AlertFacts:
    streams = await connection.fetch(statement("alert_streams"))
    stale = await connection.fetch(statement("alert_stale_streams"))
    reconnects = await connection.fetch(statement("alert_reconnects"), window_s)
    shards = await connection.fetch(statement("alert_shards"))
    table_age_s: float | None = await connection.fetchval(statement("status_age"))
    return AlertFacts(
        now_s=0.0,
        streams={row["state"]: row["streams"] for row in streams},
        stale=tuple(
            StaleStream(stream=row["stream"], since_s=-row["stale_s"], diagnosis=row["diagnosis"])
            for row in stale
        ),
        reconnects={row["feed"]: tuple(-age_s for age_s in row["ages_s"]) for row in reconnects},
        shards=tuple(ShardRecord(shard=row["shard"], gave_up=row["state"]) for row in shards),
        table_written_s=None if table_age_s is None else -table_age_s,
    )
