"""One look at everything that says how the service is, each place asked as its users ask it."""

import asyncio
import contextlib
import http.client
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from ingest.store.embedded import EmbeddedPostgres
from ingest.store.failures import DRIVER_ERRORS
from tests.deploy.prometheus import Prometheus
from tests.simulation.service import Service, environment
from tests.verdicts.agreement import Views

_ASK_S = 3.0
_STATUS_S = 90.0
_ALWAYS = "DeadMansSwitch"
_UNREACHED = (OSError, http.client.HTTPException)
_TABLE = """
SELECT state, diagnosis, count(*) AS streams,
       max(extract(epoch FROM clock_timestamp() - updated_at))::float8 AS age_s
FROM ops.stream_freshness GROUP BY state, diagnosis
"""
_INCIDENTS = "SELECT DISTINCT diagnosis FROM ops.incidents WHERE closed_at IS NULL"


@dataclass(frozen=True)
class _Table:
    age_s: float | None = None
    states: tuple[tuple[str, int], ...] = ()
    diagnoses: frozenset[str] = frozenset()
    incidents: frozenset[str] = frozenset()


def look(service: Service, prometheus: Prometheus) -> Views:
    """Ask everything at once; what takes longest is a database that does not answer."""
    with ThreadPoolExecutor(max_workers=8) as threads:
        status = threads.submit(_status, service)
        table = threads.submit(_table, service)
        ready, fresh = (
            threads.submit(_says_yes, service, "/readyz"),
            threads.submit(_says_yes, service, "/freshz"),
        )
        metrics, alerts = threads.submit(_metrics, service), threads.submit(_alerts, prometheus)
        page = threads.submit(_page, service)
    verdict, exit_code = status.result()
    level, line = page.result()
    return Views(
        ready=ready.result(),
        fresh=fresh.result(),
        metric_ready=metrics.result().get("ingest_ready"),
        metric_fresh=metrics.result().get("ingest_fresh"),
        status=verdict,
        exit_code=exit_code,
        table_age_s=table.result().age_s,
        states=dict(table.result().states),
        diagnoses=table.result().diagnoses,
        incidents=table.result().incidents,
        alerts=alerts.result(),
        page=level,
        line=line,
    )


def _says_yes(service: Service, path: str) -> bool | None:
    try:
        return service.http(path)[0] == 200
    except _UNREACHED:
        return None


def _metrics(service: Service) -> dict[str, bool]:
    """The two that answer the same questions."""
    try:
        text = service.http("/metrics")[1].decode()
    except _UNREACHED:
        return {}
    pairs = (
        line.split(" ") for line in text.splitlines() if line.startswith(("ingest_ready ", "ingest_fresh "))
    )
    return {name: float(value) == 1.0 for name, value in pairs}


def _alerts(prometheus: Prometheus) -> frozenset[str]:
    """Whose expression holds, by Prometheus' newest evaluation."""
    found = prometheus.ask("alerts")["alerts"]
    return frozenset(alert["labels"]["alertname"] for alert in found) - {_ALWAYS}


def _status(service: Service) -> tuple[str, int]:
    """Verdict and exit code of the command; `unknown` when it cannot tell."""
    done = subprocess.run(
        [sys.executable, "-m", "ingest", "status", "--json", "--config", str(service.config)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        cwd=service.folder,
        timeout=_STATUS_S,
        check=False,
    )
    if not done.stdout:
        return "unknown", done.returncode
    told: dict[str, Any] = orjson.loads(done.stdout)
    return str(told["verdict"]), done.returncode


def _table(service: Service) -> _Table:
    """The freshness table; nothing when it cannot be asked."""
    url = EmbeddedPostgres(service.data_dir / "postgres").url_of_running()
    if url is None:
        return _Table()
    with contextlib.suppress(*DRIVER_ERRORS):
        return asyncio.run(_ask_table(url))
    return _Table()


async def _ask_table(url: str) -> _Table:
    connection = await asyncpg.connect(url, timeout=_ASK_S, command_timeout=_ASK_S)
    try:
        rows = await connection.fetch(_TABLE)
        incidents = await connection.fetch(_INCIDENTS)
    finally:
        connection.terminate()
    states: Counter[str] = Counter()
    for row in rows:
        states[row["state"]] += row["streams"]
    return _Table(
        age_s=max((row["age_s"] for row in rows), default=None),
        states=tuple(states.items()),
        diagnoses=frozenset({row["diagnosis"] for row in rows} - {None, ""}),
        incidents=frozenset(row["diagnosis"] for row in incidents),
    )


def _page(service: Service) -> tuple[str | None, str]:
    """Level and words of the page's headline, from the first picture that a browser would be sent."""
    url = f"http://127.0.0.1:{service.http_port}/page/live"
    try:
        with urllib.request.urlopen(url, timeout=_ASK_S) as answer:
            until_s = time.monotonic() + _ASK_S
            while time.monotonic() < until_s:
                line = answer.readline()
                if line.startswith(b"data: "):
                    picture = orjson.loads(line.removeprefix(b"data: "))
                    return picture.get("level"), str(picture.get("line", ""))
    except urllib.error.HTTPError as error:
        error.close()
    except _UNREACHED:
        pass
    return None, ""
