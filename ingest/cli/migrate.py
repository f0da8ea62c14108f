"""`ingest migrate`: bring the database's schema up to date, and its tables to the configuration."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import click

from ingest.cli.database import database_url
from ingest.cli.options import config_option
from ingest.config import Settings, load_settings, storage_plan
from ingest.store.arrange import Arranged, arrange, create_extension
from ingest.store.capability import losses
from ingest.store.convert import convert
from ingest.store.migrate import migrate as apply_migrations
from ingest.store.roles import MissingRole, missing_roles


@click.command()
@config_option
@click.option(
    "--deadline",
    "deadline_s",
    default=600.0,
    show_default=True,
    help="Seconds it may take, but for --convert.",
)
@click.option(
    "--convert",
    "with_rows",
    is_flag=True,
    help="Make hypertables of tables with rows too; the service must not run. Can be interrupted.",
)
def migrate(config_file: Path | None, deadline_s: float, with_rows: bool) -> int:
    """Apply the migrations that the database lacks, then hypertables and policies as configured.

    Says what was done; changes nothing when nothing lacks. One process at a time; a changed or missing past
    migration is refused.
    """
    missing = asyncio.run(_migrate(load_settings(config_file), deadline_s, with_rows=with_rows))
    click.echo("the schema is up to date")
    if missing:
        click.echo(
            "the server lacks roles that this user may not make; nothing is granted to them. As one who may:"
        )
        for role in missing:
            click.echo(f"  {role.remedy}")
        click.echo("then run `ingest migrate` again, which grants them their rights")
    return 0


async def _migrate(settings: Settings, deadline_s: float, *, with_rows: bool) -> list[MissingRole]:
    plan = storage_plan(settings)
    async with database_url(settings) as url:
        await create_extension(url, plan.timescale)  # if it cannot be, `arrange` tells why
        for migration in await apply_migrations(url, deadline_s=deadline_s):
            click.echo(f"applied {migration}")
        arranged = await arrange(url, plan, deadline_s=deadline_s)
        for line in _lines(arranged, with_rows=with_rows):
            click.echo(line)
        if with_rows:
            await convert(url, plan, tell=click.echo)
        return await missing_roles(url)


def _lines(arranged: Arranged, *, with_rows: bool) -> Iterator[str]:
    """What a person should read: the server, what it lacks, what was done."""
    use, warnings = arranged.judgement
    yield str(use)
    yield from (f"warning: {warning}" for warning in warnings)
    yield from (f"  {loss}" for loss in losses(use))
    yield from arranged.changed
    if not with_rows:
        yield from arranged.left
