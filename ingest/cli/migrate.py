"""`ingest migrate`: bring the database's schema up to date."""

import asyncio
from pathlib import Path

import click

from ingest.cli.database import database_url
from ingest.cli.options import config_option
from ingest.config import Settings, load_settings
from ingest.store.migrate import Migration
from ingest.store.migrate import migrate as apply_migrations


@click.command()
@config_option
@click.option(
    "--deadline", "deadline_s", default=600.0, show_default=True, help="Seconds it may take in all."
)
def migrate(config_file: Path | None, deadline_s: float) -> int:
    """Apply the migrations that the database lacks; says which, and changes nothing when none are.

    One process at a time; a changed or missing past migration is refused.
    """
    applied = asyncio.run(_migrate(load_settings(config_file), deadline_s))
    for migration in applied:
        click.echo(f"applied {migration}")
    click.echo("the schema is up to date")
    return 0


async def _migrate(settings: Settings, deadline_s: float) -> list[Migration]:
    async with database_url(settings) as url:
        return await apply_migrations(url, deadline_s=deadline_s)
