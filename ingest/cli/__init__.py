"""The command line. Exit codes: 0 done, 1 failed, 2 wrong use or configuration, 3 degraded."""

import importlib
import sys
from collections.abc import Sequence
from types import MappingProxyType

import click

from ingest import __version__
from ingest.errors import ConfigError, IngestError, StoreError

_COMMANDS = MappingProxyType(
    {
        "run": "ingest.cli.run",
        "demo": "ingest.cli.demo",
        "simulate": "ingest.cli.simulate",
        "migrate": "ingest.cli.migrate",
        "config": "ingest.cli.config",
        "doctor": "ingest.cli.doctor",
        "status": "ingest.cli.status",
        "top": "ingest.cli.top",
        "book": "ingest.cli.book",
        "gaps": "ingest.cli.gaps",
        "backfill": "ingest.cli.backfill",
        "verify": "ingest.cli.verify",
        "export": "ingest.cli.export",
        "replay": "ingest.cli.replay",
        "alerts": "ingest.cli.alerts",
        "deadman": "ingest.cli.deadman",
        "notebooks": "ingest.cli.notebooks",
    }
)


class _LazyGroup(click.Group):
    """Imports a command when it is wanted, so that `--help` and small commands start at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ingest")
def cli() -> None:
    """Binance market data into TimescaleDB; `ingest COMMAND --help` says more."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code; an expected error is one clear message."""
    try:
        code = cli.main(args=arguments, prog_name="ingest", standalone_mode=False)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConfigError as error:
        click.echo(f"configuration:\n{error}", err=True)
        sys.exit(2)
    except StoreError as error:
        click.echo(f"error: database: {error}", err=True)
        sys.exit(1)
    except IngestError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
