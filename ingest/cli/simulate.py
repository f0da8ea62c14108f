"""`ingest simulate`: the exchange double alone, on this machine."""

import asyncio
import dataclasses
import gc
import json
import os
import signal
import sys
from pathlib import Path

import click
import uvloop

from ingest.sim.faults import Fault, FaultError, faults_from_toml
from ingest.sim.limits import Limits
from ingest.sim.market import MarketPlan
from ingest.sim.recording import RecordingError, bundled_recording, load_recording
from ingest.sim.server import DoubleConfig, ExchangeDouble, Start


def _start(_ctx: click.Context, _param: click.Parameter, value: str) -> Start:
    if value == "now":
        return "now"
    if value == "manual":
        return "manual"
    if value.isascii() and value.isdigit() and int(value) > 0:
        return int(value)
    raise click.BadParameter(f"{value!r} is neither now, manual, nor a number of streams")


_FEWEST_LEVELS = 20


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", default=9443, show_default=True, type=click.IntRange(0, 65_535), help="0 takes a free one."
)
@click.option(
    "--recording/--no-recording", default=True, show_default=True, help="Play the recorded BTCUSDT session."
)
@click.option(
    "--recording-file",
    "recording_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Play these gz files instead, in this order.",
)
@click.option("--speed", default=1.0, show_default=True, help="How much faster than recorded.")
@click.option("--loop", is_flag=True, help="Play the recording again and again, ids continuing.")
@click.option("--symbols", default=50, show_default=True, help="Symbols of the seeded market.")
@click.option("--non-ascii", default=1, show_default=True, help="How many of them have names beyond ASCII.")
@click.option("--rate", default=1000.0, show_default=True, help="Messages a second of the seeded market.")
@click.option("--levels", default=200, show_default=True, help="Levels a side of each book in that market.")
@click.option("--tail", default=1.1, show_default=True, help="How unequal its symbols are; 0 for not at all.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--faults",
    "fault_script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file of faults, counted from the start of the market.",
)
@click.option(
    "--start",
    callback=_start,
    metavar="now|manual|STREAMS",
    default="now",
    show_default=True,
    help="Begin at once, on POST /_double/start, or when so many different streams are subscribed.",
)
@click.option("--ping-interval", default=20.0, show_default=True, help="Seconds between server pings.")
@click.option(
    "--connection-life", default=86_400.0, show_default=True, help="Seconds until a connection is cut."
)
@click.option(
    "--wait-for-consumers", is_flag=True, help="Play no faster than the clients read (no exchange does this)."
)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the addresses there as JSON when listening.",
)
@click.option("--die-with-parent", is_flag=True, help="Stop when standard input is closed.")
def simulate(  # noqa: PLR0913, PLR0917 - one parameter for each option
    host: str,
    port: int,
    recording: bool,
    recording_files: tuple[Path, ...],
    speed: float,
    loop: bool,
    symbols: int,
    non_ascii: int,
    rate: float,
    levels: int,
    tail: float,
    seed: int,
    fault_script: Path | None,
    start: Start,
    ping_interval: float,
    connection_life: float,
    wait_for_consumers: bool,
    ready_file: Path | None,
    die_with_parent: bool,
) -> None:
    """Run a stand-in for the exchange: a recorded BTCUSDT session and a seeded market.

    It keeps a ledger of what happened, and is controlled over HTTP below /_double/.
    """
    plan = MarketPlan(symbols=symbols, rate=rate, seed=seed, non_ascii=non_ascii, levels=levels, tail=tail)
    config = DoubleConfig(
        speed=speed,
        loop=loop,
        market=_market(plan),
        start=start,
        limits=Limits(ping_interval_s=ping_interval, connection_life_s=connection_life),
        faults=_faults(fault_script),
        seed=seed,
        host=host,
        port=port,
        wait_for_consumers=wait_for_consumers,
    )
    if speed <= 0:
        raise click.BadParameter("must be above zero", param_hint="--speed")
    if not recording and config.market is None:
        raise click.UsageError("nothing to play: neither a recording nor symbols")
    if recording or recording_files:
        click.echo("reading the recording ...", err=True)
        config = _with_recording(config, recording_files)
    uvloop.run(_serve(config, ready_file, die_with_parent=die_with_parent))


def _market(plan: MarketPlan) -> MarketPlan | None:
    if plan.symbols <= 0:
        return None
    if plan.rate <= 0:
        raise click.BadParameter("must be above zero", param_hint="--rate")
    if plan.levels < _FEWEST_LEVELS:
        raise click.BadParameter(f"must be at least {_FEWEST_LEVELS}", param_hint="--levels")
    if plan.tail < 0:
        raise click.BadParameter("must not be below zero", param_hint="--tail")
    return plan


def _with_recording(config: DoubleConfig, files: tuple[Path, ...]) -> DoubleConfig:
    gc.disable()
    try:
        recording = load_recording(files) if files else bundled_recording()
    except (RecordingError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="--recording-file") from error
    finally:
        gc.enable()
    gc.freeze()  # a hundred thousand records that stay need not be looked through again and again
    return dataclasses.replace(config, recording=recording)


def _faults(script: Path | None) -> tuple[Fault, ...]:
    if script is None:
        return ()
    try:
        return faults_from_toml(script.read_text(encoding="utf-8"))
    except FaultError as error:
        mistakes = "".join(f"\n  {mistake}" for mistake in error.mistakes)
        raise click.BadParameter(f"{script}:{mistakes}", param_hint="--faults") from error


async def _serve(config: DoubleConfig, ready_file: Path | None, *, die_with_parent: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if die_with_parent:
        try:
            loop.add_reader(sys.stdin.fileno(), _watch_parent, stop)
        except OSError as error:
            raise click.UsageError(f"--die-with-parent needs a pipe as standard input: {error}") from error
    try:
        async with ExchangeDouble(config) as double:
            _announce(double, ready_file)
            await stop.wait()
    except OSError as error:
        raise click.ClickException(f"cannot listen on {config.host}:{config.port}: {error}") from error


def _watch_parent(stop: asyncio.Event) -> None:
    """Standard input is readable: its end means that the parent is gone."""
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def _announce(double: ExchangeDouble, ready_file: Path | None) -> None:
    click.echo(f"streams  {double.ws_url}")
    click.echo(f"REST     {double.rest_url}")
    click.echo(f"control  {double.rest_url}/_double/state")
    click.echo("Point the service at it:")
    click.echo(f"  INGEST_SPOT_WS_URL={double.ws_url} INGEST_SPOT_REST_URL={double.rest_url} ingest run")
    if ready_file is not None:
        beside = ready_file.with_name(ready_file.name + ".part")
        beside.write_text(json.dumps({"ws_url": double.ws_url, "rest_url": double.rest_url}))
        beside.replace(ready_file)
