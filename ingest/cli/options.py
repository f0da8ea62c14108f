"""Options that several commands share."""

from pathlib import Path

import click

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file; default: ingest.toml where there is one. INGEST_* variables override it.",
)
