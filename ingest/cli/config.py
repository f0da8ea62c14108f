"""`ingest config`: what is in force, and what there is to configure."""

from pathlib import Path

import click

from ingest.cli.config_reference import annotated_toml, effective_toml, markdown
from ingest.cli.options import config_option
from ingest.config import load_settings, sources


@click.command()
@click.option("--reference", is_flag=True, help="Every key with default, unit and reason, as Markdown.")
@click.option("--template", is_flag=True, help="An ingest.toml with every key as a comment.")
@config_option
def config(reference: bool, template: bool, config_file: Path | None) -> int:
    """Print the configuration that is in force, as TOML, with secrets hidden.

    Exit code 2 when it has mistakes, which are listed.
    """
    if reference and template:
        raise click.UsageError("say --reference or --template, not both")
    if reference:
        text = markdown()
    elif template:
        text = annotated_toml()
    else:
        text = effective_toml(load_settings(config_file), sources(config_file))
    click.echo(text, nl=False)
    return 0
