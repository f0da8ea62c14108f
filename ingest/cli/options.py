"""Options that several commands share."""

from datetime import UTC, datetime
from pathlib import Path

import click

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file; default: ingest.toml where there is one. INGEST_* variables override it.",
)


def moment(_: click.Context, __: click.Parameter, text: str | None) -> datetime | None:
    """The callback of an option that is a time: ISO 8601, UTC unless it says otherwise."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a time like 2026-11-22T08:30:00.250 (UTC unless it says +hh:mm)"
        raise click.BadParameter(message) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
