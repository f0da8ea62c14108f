"""All looks side by side, each with its deadline; what they find, in one order.

Decides no finding but that a look did not come to its end.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import aiohttp
import orjson

from ingest.clock import Clock
from ingest.config import Settings
from ingest.doctor import look_machine
from ingest.doctor.findings import Finding, failed, ok, warning, without_secrets
from ingest.doctor.look_database import Seen, look_at_database
from ingest.doctor.look_exchange import look_at_rest, look_at_socket
from ingest.doctor.machine import (
    Owners,
    Page,
    judge_disk,
    judge_files,
    judge_folder,
    judge_memory,
    judge_owners,
    judge_page,
    judge_proxies,
    judge_spools,
)
from ingest.doctor.secrets_of import secrets_of
from ingest.doctor.threads import in_daemon_thread
from ingest.errors import ConfigError
from ingest.ops.targets import open_targets

DEADLINE_S: Final = 15.0
_PAGE_S: Final = 3.0
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  asked, not listened on

_Look: TypeAlias = Callable[[], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a look needs beside the configuration; `proxies` are names of variables."""

    clock: Clock
    rng: random.Random
    proxies: Sequence[str] = ()
    deadline_s: float = DEADLINE_S


async def examine(settings: Settings, around: Surroundings) -> list[Finding]:
    """Look at everything; takes the deadline twice at most."""
    owners = await _owners(settings, around)
    service_runs = owners is not None and owners.service is not None
    looks: dict[str, _Look] = {
        "alerts": lambda: _alerts(settings),
        "data folder": lambda: _folder(settings, owners, around),
        "HTTP": lambda: _page(settings, service_runs=service_runs),
        "limits": lambda: _limits(settings, around, service_runs=service_runs),
        "exchange by REST": lambda: look_at_rest(
            settings, deadline_s=around.deadline_s, clock=around.clock, rng=around.rng
        ),
        "exchange by websocket": lambda: look_at_socket(
            settings, deadline_s=around.deadline_s, clock=around.clock, rng=around.rng
        ),
        "database": lambda: _database_and_disk(settings, around, service_runs=service_runs),
    }
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_within(name, look, around.deadline_s), name=name)
            for name, look in looks.items()
        ]
    # Both addresses of the exchange may have one host.
    found = dict.fromkeys(finding for task in tasks for finding in task.result())
    return without_secrets(found, secrets_of(settings))


async def _within(check: str, look: _Look, deadline_s: float) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(deadline_s):
            return await look()
    except TimeoutError:
        return [_unfinished(check, deadline_s)]


def _unfinished(check: str, deadline_s: float) -> Finding:
    advice = (
        "something there hangs: a disk, a resolver, a server; if it is only slow, give a longer --deadline"
    )
    return failed(check, f"no answer within {deadline_s:g} s", advice)


async def _owners(settings: Settings, around: Surroundings) -> Owners | None:
    """None when the folder does not answer, which its own look will tell."""
    try:
        async with asyncio.timeout(around.deadline_s):
            return await in_daemon_thread(lambda: look_machine.look_at_owners(settings))
    except TimeoutError:
        return None


async def _alerts(settings: Settings) -> list[Finding]:
    urls = settings.alerts.urls
    if not urls:
        return [ok("alerts", "nobody is told but the log ([alerts] urls is empty)")]
    try:
        # Opening them imports what they need, which takes a second.
        targets = await in_daemon_thread(lambda: open_targets(urls))
    except ConfigError as error:
        return [failed("alerts", str(error), "mend urls in [alerts]")]
    names = ", ".join(target.name for target in targets)
    return [ok("alerts", f"told to {names}; `ingest alerts --test` tries them")]


async def _folder(settings: Settings, owners: Owners | None, around: Surroundings) -> list[Finding]:
    folder = await in_daemon_thread(lambda: look_machine.look_at_folder(settings))
    found = judge_folder(folder)
    if owners is not None:
        found.append(judge_owners(owners))
    now_s = around.clock.wall_ns() / 1e9
    spools = await in_daemon_thread(lambda: look_machine.look_at_spools(settings, now_s))
    service_runs = owners is not None and owners.service is not None
    return [*found, *judge_spools(spools, service_runs=service_runs)]


async def _limits(settings: Settings, around: Surroundings, *, service_runs: bool) -> list[Finding]:
    memory = await in_daemon_thread(lambda: look_machine.look_at_memory(settings, service_runs=service_runs))
    files = judge_files(look_machine.soft_file_limit(), look_machine.file_need(settings))
    return [judge_memory(memory), files, judge_proxies(around.proxies)]


async def _page(settings: Settings, *, service_runs: bool) -> list[Finding]:
    host, port = settings.service.http_host, settings.service.http_port
    address = f"{host} port {port}"
    if not port:
        return []
    if not service_runs:
        taken = await in_daemon_thread(lambda: look_machine.port_is_taken(host, port))
        return [judge_page(Page(address, service_runs=False, port_is_taken=taken))]
    asked = _EVERYWHERE.get(host, host)
    url = f"http://{f'[{asked}]' if ':' in asked else asked}:{port}/readyz"
    status, reasons = await _readiness(url)
    return [judge_page(Page(address, service_runs=True, status=status, reasons=reasons))]


async def _readiness(url: str) -> tuple[int | None, list[str]]:
    timeout = aiohttp.ClientTimeout(total=_PAGE_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as answer:
            body = await answer.read()
            tree = orjson.loads(body) if answer.content_type == "application/json" else {}
            reasons = tree.get("reasons", []) if isinstance(tree, dict) else []
            return answer.status, [str(reason) for reason in reasons]
    except (aiohttp.ClientError, OSError, orjson.JSONDecodeError):
        return None, []


async def _database_and_disk(
    settings: Settings, around: Surroundings, *, service_runs: bool
) -> list[Finding]:
    """Together, because the forecast for the disk stands in the database."""
    free_bytes, trouble = None, ""
    try:
        free_bytes = (await in_daemon_thread(lambda: look_machine.look_at_disk(settings, None))).free_bytes
    except OSError as error:
        trouble = error.strerror or type(error).__name__
    seen = await _database(settings, around, service_runs=service_runs, free_bytes=free_bytes)
    if trouble:
        return [
            warning("disk", f"it cannot be asked: {trouble}", "look at the disk of data_dir"),
            *seen.findings,
        ]
    disk = await in_daemon_thread(lambda: look_machine.look_at_disk(settings, seen.full_in_s))
    return [*judge_disk(disk), *seen.findings]


async def _database(
    settings: Settings, around: Surroundings, *, service_runs: bool, free_bytes: int | None
) -> Seen:
    """A server that hangs must not hide the disk."""
    deadline_s = around.deadline_s * 0.9
    try:
        async with asyncio.timeout(deadline_s):
            return await look_at_database(
                settings,
                service_runs=service_runs,
                free_bytes=free_bytes,
                deadline_s=deadline_s,
                clock=around.clock,
            )
    except TimeoutError:
        return Seen([_unfinished("database", deadline_s)])
