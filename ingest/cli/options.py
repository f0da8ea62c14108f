"""Options that several commands share."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BEYOND: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""What lies outside is no time of an exchange: a slip of the finger, or more than the database can take."""

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file; default: ingest.toml where there is one. INGEST_* variables override it.",
)


def moment(_: click.Context, __: click.Parameter, text: str | None) -> datetime | None:
    """The callback of an option that is a time: ISO 8601, UTC unless it says otherwise; given back in UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a time like 2026-11-22T08:30:00.250 (UTC unless it says +hh:mm)"
        raise click.BadParameter(message) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    if not _FIRST <= found < _BEYOND:
        raise click.BadParameter(f"{text!r} lies before 1970 or behind 2199")
    return found.astimezone(UTC)
