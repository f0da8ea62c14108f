"""`ingest doctor`: can the service work here, and if not, what is to be done?"""

import asyncio
import os
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import click
import orjson

from ingest.cli.options import config_option
from ingest.clock import SystemClock
from ingest.config import load_settings, proxy_variables, sources
from ingest.doctor.examine import DEADLINE_S, Surroundings, examine
from ingest.doctor.findings import EXIT_CODES, Finding, Level, failed, ok, summary, worst
from ingest.errors import ConfigError
from ingest.ops.notices import RUNBOOK

_WRONG_CONFIGURATION = 2
_GRACE_S = 2.0
_COLORS = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON instead of lines.")
@click.option(
    "--deadline",
    "deadline_s",
    default=DEADLINE_S,
    show_default=True,
    type=click.FloatRange(1, 300),
    help="Seconds for each check; all of them run side by side.",
)
@config_option
def doctor(as_json: bool, deadline_s: float, config_file: Path | None) -> int:
    """Look at configuration, machine, network, exchange and database, and say what to do about each finding.

    It changes nothing, starts nothing and shows no secret.

    \b
    Exit code 0  all is well
              1  something failed: the service cannot work, or not as it should
              2  the configuration has mistakes
              3  warnings
    """
    try:
        settings = load_settings(config_file)
        read_from = ", ".join(sources(config_file)) or "nothing: these are the defaults"
    except ConfigError as error:
        advice = "mend it; `ingest config --reference` has every key"
        mistakes = [failed("configuration", line, advice) for line in str(error).splitlines()]
        _print(mistakes, as_json=as_json)
        return _WRONG_CONFIGURATION
    around = Surroundings(
        clock=SystemClock(), rng=random.SystemRandom(), proxies=proxy_variables(), deadline_s=deadline_s
    )
    with asyncio.Runner() as runner:
        found = [ok("configuration", f"read from {read_from}"), *runner.run(examine(settings, around))]
        _print(found, as_json=as_json, runbook=settings.alerts.runbook_url or RUNBOOK)
        code = EXIT_CODES[worst(found)]
        # A name lookup of the driver may hang for longer, and the loop waits for its threads.
        last_resort = threading.Timer(_GRACE_S, os._exit, (code,))
        last_resort.daemon = True
        last_resort.start()
    last_resort.cancel()
    return code


def _print(found: Sequence[Finding], *, as_json: bool, runbook: str = RUNBOOK) -> None:
    if as_json:
        click.echo(orjson.dumps(_tree(found), option=orjson.OPT_INDENT_2).decode())
        return
    width = max(len(finding.check) for finding in found)
    for finding in found:
        level = click.style(f"{finding.level.name.lower():8}", fg=_COLORS[finding.level])
        click.echo(f"{level} {finding.check:{width}}  {finding.found}")
        if finding.advice:
            click.echo(f"{'':8} {'':{width}}  -> {finding.advice}")
        if finding.runbook:
            click.echo(f"{'':8} {'':{width}}     {runbook}#{finding.runbook}")
    click.echo(summary(found))


def _tree(found: Sequence[Finding]) -> dict[str, object]:
    """The schema of `--json`; keys are only ever added."""
    return {
        "verdict": worst(found).name.lower(),
        "findings": [{**finding._asdict(), "level": finding.level.name.lower()} for finding in found],
    }
