"""`ingest run`: the supervisor, its shards, and the HTTP that tells how they are."""

import asyncio
import gc
import ipaddress
import random
import signal
from pathlib import Path

import click
import structlog
import uvloop

from ingest.cli.options import config_option
from ingest.clock import SystemClock
from ingest.config import Settings, http_secrets, load_settings
from ingest.errors import IngestError, LocationRefused, RestUnavailable, leaves
from ingest.ops.access import Access
from ingest.ops.alert_view import AlertView
from ingest.ops.alerts import Alerts, alert_settings
from ingest.ops.http import HttpSources, make_app, serve
from ingest.ops.live import keep_history
from ingest.ops.logs import LogSettings, configure_logs
from ingest.ops.page_records import page_records
from ingest.ops.targets import open_targets
from ingest.ops.vigil_facts import vigil_facts
from ingest.supervisor.service import Supervisor

log = structlog.get_logger()

_ALERT_DRAIN_S = 1.0

_REFUSED_ADVICE = """\
The exchange refuses to serve the place that this machine calls from (HTTP 451).
What to do: run it where the exchange serves (its terms list the places), or try the market-data
addresses, which answer in more places:
  INGEST_SPOT_REST_URL=https://data-api.binance.vision \\
  INGEST_SPOT_WS_URL=wss://data-stream.binance.vision ingest run"""

_UNREACHABLE_ADVICE = """\
The exchange cannot be reached.
What to do: check the internet connection, DNS and any proxy or firewall; `rest_url` and `ws_url` in
[spot] say which server is asked. Without the internet, `ingest demo` runs against a bundled exchange."""


@click.command()
@config_option
def run(config_file: Path | None) -> int:
    """Run the service: shards, database, freshness table, HTTP."""
    settings = load_settings(config_file)
    service = settings.service
    configure_logs(LogSettings(level=service.log_level, format=service.log_format))
    # Opening the targets imports what they need and may take a second: before the loop turns.
    chosen = alert_settings(settings)
    targets = open_targets(chosen.urls)
    alerts = Alerts(chosen, targets, clock=SystemClock(), rng=random.SystemRandom())
    try:
        gc.freeze()  # all modules: not to be looked through for garbage again and again
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_until_stopped(settings, alerts))
    except* IngestError as errors:
        raise _advised(leaves(errors)[0]) from None
    return 0


async def serve_until_stopped(settings: Settings, alerts: Alerts) -> None:
    """Run until SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock = SystemClock()
    supervisor = Supervisor(settings, clock=clock, rng=random.SystemRandom())
    sources = _http_sources(settings, supervisor, alerts, clock)
    host = settings.service.http_host
    async with serve(make_app(sources), host, settings.service.http_port) as port:
        log.info("http.listening", url=f"http://{host}:{port}/")
        if sources.access.is_open and not _is_loopback(host):
            log.warning("http.open", host=host, why="anybody who reaches it may look: see [http]")
        async with asyncio.TaskGroup() as group:
            watching = [
                group.create_task(alerts.run(), name="alerts"),
                group.create_task(_watch_for_alerts(supervisor, alerts), name="alert rules"),
                group.create_task(keep_history(sources.history, supervisor.facts), name="history"),
            ]
            await supervisor.run(stop)
            await alerts.delivery.drain(_ALERT_DRAIN_S)
            for task in watching:
                task.cancel()
    log.info("service.stopped")


def _http_sources(
    settings: Settings, supervisor: Supervisor, alerts: Alerts, clock: SystemClock
) -> HttpSources:
    return HttpSources(
        facts=supervisor.facts,
        judged=supervisor.newest_judged,
        vigil=lambda: vigil_facts(supervisor, alerts, clock.monotonic_s()),
        records=lambda: page_records(supervisor, clock.monotonic_s()),
        kind_limits_s=settings.service.freshz_max_age_s,
        tick_age_s=supervisor.tick_age_s,
        per_stream_metrics=settings.service.per_stream_metrics,
        access=Access(*http_secrets(settings)),
        clock=clock,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _watch_for_alerts(supervisor: Supervisor, alerts: Alerts) -> None:
    view, clock = AlertView(), SystemClock()
    while True:
        alerts.consider(view.facts(supervisor, clock.monotonic_s()))
        await asyncio.sleep(1.0)


def _advised(error: IngestError) -> IngestError:
    """The same error with what to do about it, where that is known."""
    if isinstance(error, LocationRefused):
        return LocationRefused(f"{error}\n{_REFUSED_ADVICE}")
    if isinstance(error, RestUnavailable):
        return RestUnavailable(f"{error}\n{_UNREACHABLE_ADVICE}")
    return error
