"""Ask the database, over one connection. Decides nothing, changes nothing, starts nothing.

The embedded server is only asked while somebody runs it.
"""

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from ingest.clock import Clock
from ingest.config import Settings
from ingest.doctor.database import (
    SUPERVISOR_SESSIONS,
    Rights,
    Server,
    Suited,
    Unreached,
    judge_rights,
    judge_schema,
    judge_server,
    judge_unreached,
    judge_version,
)
from ingest.doctor.exchange import judge_clock
from ingest.doctor.findings import Finding, failed, ok, warning
from ingest.doctor.look_exchange import clock_limits
from ingest.doctor.look_machine import connections_of_a_shard, is_embedded
from ingest.errors import ConfigError, EmbeddedServerError, SchemaMismatch, StoreError
from ingest.store.capability import judge, probe_all
from ingest.store.dsn import is_open_to_all, password_file
from ingest.store.embedded import EmbeddedPostgres
from ingest.store.embedded_binaries import locate_install
from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.migrate import check_schema
from ingest.store.sessions import SessionLimits, connected
from ingest.store.sizes import relation_sizes, size_history
from ingest.store.statements import statement
from ingest.supervisor.database import embedded_folder
from ingest.supervisor.forecast import growth_bytes_per_s
from ingest.supervisor.storage import HISTORY, lasts_s

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

_SHARE: Final = 0.8
_NO_RIGHT: Final = "42501"
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Seen(NamedTuple):
    """`full_in_s` is the forecast for the disk of an embedded server; None when it is not known."""

    findings: list[Finding]
    full_in_s: float | None = None


async def look_at_database(
    settings: Settings, *, service_runs: bool, free_bytes: int | None, deadline_s: float, clock: Clock
) -> Seen:
    """Everything about the configured server, or the embedded one while it runs.

    `free_bytes` is what the disk of an embedded server has left; None when it is not known.
    """
    if is_embedded(settings):
        running = EmbeddedPostgres(embedded_folder(settings)).url_of_running()
        if running is None:
            return Seen([_not_running()])
        url, place = running, "the embedded server"
    else:
        url = settings.database.dsn
        place = place_of(url)
    session = SessionLimits(connect_s=deadline_s * _SHARE, statement_s=deadline_s * _SHARE)
    found = _password_file(url)
    try:
        async with connected(url, application="ingest doctor", limits=session) as connection:
            look = _Look(settings, connection, place, is_local=_is_local(url))
            found += await look.findings(service_runs=service_runs, clock=clock)
            forecast = await look.full_in_s(free_bytes, clock) if is_embedded(settings) else None
            return Seen(found, forecast)
    except StoreError as error:
        unreached = Unreached(place, str(error), error.sqlstate)
        return Seen([*found, judge_unreached(unreached)])
    except ConfigError as error:
        advice = "mend url in [database]"
        return Seen([*found, failed("database", str(error), advice)])


def place_of(url: str) -> str:
    """Host, port and database of a URL: nothing else of it may be shown."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2] or ", ".join(parse_qs(parts.query).get("host", ["localhost"]))
    return f"{hosts}{parts.path}"


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    named = parts.netloc.rpartition("@")[2] or parse_qs(parts.query).get("host", ["localhost"])[0]
    return named.startswith("/") or named.rpartition(":")[0].strip("[]") in _LOCAL or named in _LOCAL


def _not_running() -> Finding:
    try:
        locate_install()
    except EmbeddedServerError as error:
        return failed(
            "database", str(error), "install the package anew, or name a server by url in [database]"
        )
    return ok(
        "database", "the embedded server does not run now; the service starts it, and brings its schema along"
    )


def _password_file(url: str) -> list[Finding]:
    file = password_file(url)
    if file is None or not is_open_to_all(file):
        return []
    advice = f"chmod o-r {file}"
    return [warning("database password", f"every user of this machine may read {file}", advice)]


class _Look:
    """One connection, and the questions in their order."""

    def __init__(self, settings: Settings, connection: "Connection", place: str, *, is_local: bool) -> None:
        self._settings = settings
        self._connection = connection
        self._place = place
        self._is_local = is_local

    async def findings(self, *, service_runs: bool, clock: Clock) -> list[Finding]:
        asked_ns = clock.wall_ns()
        try:
            row = await self._connection.fetchrow(statement("doctor_server"))
            answered_ns = clock.wall_ns()
            missing = [
                each["what"] for each in await self._connection.fetch(statement("doctor_missing_rights"))
            ]
            is_granted: bool = await self._connection.fetchval(statement("doctor_writer_is_granted"))
        except DRIVER_ERRORS as error:
            raise translated(error) from error
        assert row is not None
        server = Server(
            place=self._place,
            user=row["user_name"],
            is_superuser=row["is_superuser"],
            is_owner=row["is_owner"],
            is_reader=row["is_reader"],
            has_writer=row["has_writer"],
            has_schema=row["has_schema"],
            is_standby=row["is_standby"],
            is_read_only=row["is_read_only"],
            free_connections=row["max_connections"] - row["reserved_connections"] - row["used_connections"],
            needed_connections=0 if service_runs else self._needed_connections(),
            fsync=row["fsync"],
            full_page_writes=row["full_page_writes"],
            tls=row["tls"],
            is_local=self._is_local,
            supervisor_sessions=row["supervisor_sessions"],
        )
        middle_s, round_trip_s = (asked_ns + answered_ns) / 2e9, (answered_ns - asked_ns) / 1e9
        offset_s = middle_s - row["now_s"]
        limits = clock_limits(self._settings)
        return [
            *judge_server(server),
            judge_clock(offset_s, round_trip_s, limits, whose="the database server"),
            *judge_version(await self._suited()),
            await self._schema(has_schema=server.has_schema),
            judge_rights(_rights(server, missing, is_granted=is_granted)),
        ]

    def _needed_connections(self) -> int:
        shards = self._settings.service.shards
        return SUPERVISOR_SESSIONS + shards * connections_of_a_shard(self._settings)

    async def _suited(self) -> Suited:
        asked = self._settings.database.timescale
        found = await probe_all(self._connection)
        could_create = "" if found.capability.timescale else found.available
        try:
            judged = judge(found.capability, asked)
        except (ConfigError, StoreError) as error:
            return Suited(str(found.capability), refusal=str(error), could_create=could_create)
        return Suited(str(judged.use), judged.warnings, could_create=could_create, is_wanted=asked != "off")

    async def _schema(self, *, has_schema: bool) -> Finding:
        trouble, may_read = "", True
        try:
            await check_schema(self._connection)
        except SchemaMismatch as error:
            trouble = str(error)
        except StoreError as error:
            if error.sqlstate != _NO_RIGHT:
                raise
            trouble, may_read = str(error), not has_schema
        return judge_schema(trouble, may_read=may_read, is_embedded=is_embedded(self._settings))

    async def full_in_s(self, free_bytes: int | None, clock: Clock) -> float | None:
        """The forecast; None when it cannot be told, whatever stands in the way."""
        try:
            sizes = await relation_sizes(self._connection)
            history = await size_history(self._connection, back=HISTORY)
        except StoreError:
            return None
        rates = {name: growth_bytes_per_s(samples) for name, samples in history.items()}
        growth = {name: rate for name, rate in rates.items() if rate is not None}
        return lasts_s(sizes, growth, free_bytes, clock.wall_ns() / 1e9)


def _rights(server: Server, missing: list[str], *, is_granted: bool) -> Rights:
    return Rights(
        user=server.user,
        has_schema=server.has_schema,
        has_writer=server.has_writer,
        writer_is_granted=is_granted,
        is_superuser=server.is_superuser,
        is_owner=server.is_owner,
        is_reader=server.is_reader,
        missing=missing,
    )
