"""What a database server says of itself means for the service. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ingest.doctor.findings import Finding, failed, ok, warning

SUPERVISOR_SESSIONS: Final = 3
"""Of one supervisor: its pool."""
RIGHTS_NAMED: Final = 3
CONNECTIONS_SPARE: Final = 5
"""For whoever looks: status, notebooks, this."""

_ADVICE: Final = {
    "28P01": "mend the password: url, password or password_file in [database], or what libpq reads",
    "28000": "let the user in (pg_hba.conf of the server), or name another one in url in [database]",
    "3D000": "make the database (CREATE DATABASE), or mend url in [database]",
    "53300": "raise max_connections of the server, or end who holds its connections",
    "57P03": "wait: the server is starting or shutting down",
}


class Unreached(NamedTuple):
    """The server was not reached, or let nobody in."""

    place: str
    trouble: str
    sqlstate: str | None = None


def judge_unreached(unreached: Unreached) -> Finding:
    """Why, and what to do."""
    default = (
        "is the server up, and url in [database] right? Look at firewalls, pg_hba.conf and TLS on the way"
    )
    advice = _ADVICE.get(unreached.sqlstate or "", default)
    return failed("database", f"{unreached.place}: {unreached.trouble}", advice, "database-stalled")


class Server(NamedTuple):
    """One look at a server that let us in."""

    place: str
    user: str
    is_superuser: bool
    is_owner: bool
    is_reader: bool
    has_writer: bool
    has_schema: bool
    is_standby: bool
    is_read_only: bool
    free_connections: int
    needed_connections: int
    """Of a service that does not run yet; 0 for one that does."""
    fsync: bool
    full_page_writes: bool
    tls: str
    """Its version; empty without."""
    is_local: bool
    """Reached over a socket or loopback, where nobody listens in."""
    supervisor_sessions: int


def judge_server(server: Server) -> list[Finding]:
    """Reached as who, over what; and what of its state is in the way."""
    way = server.tls or ("local" if server.is_local else "without TLS")
    found = [ok("database", f"{server.place} answers, as {server.user} ({way})")]
    if server.is_standby or server.is_read_only:
        what = "a standby" if server.is_standby else "read only (default_transaction_read_only)"
        advice = (
            "name the primary in url in [database], or several hosts with target_session_attrs=read-write"
        )
        found.append(failed("database writes", f"the server is {what}", advice, "database-stalled"))
    if not (server.fsync and server.full_page_writes):
        off = "fsync" if not server.fsync else "full_page_writes"
        advice = f"set {off} = on, unless everything in this database may be lost"
        found.append(
            warning("database durability", f"{off} is off: a crash may cost the whole database", advice)
        )
    return [*found, *_connections(server), *_supervisors(server)]


def _connections(server: Server) -> list[Finding]:
    if server.free_connections >= server.needed_connections + CONNECTIONS_SPARE:
        return [ok("database connections", f"{server.free_connections} are free")]
    found = f"{max(0, server.free_connections)} are free, and the service needs {server.needed_connections}"
    advice = "raise max_connections of the server, or lower connections in [database] or shards in [service]"
    if server.free_connections < server.needed_connections:
        return [failed("database connections", found, advice, "database-stalled")]
    return [warning("database connections", found, advice, "database-stalled")]


def _supervisors(server: Server) -> list[Finding]:
    services = -(-server.supervisor_sessions // SUPERVISOR_SESSIONS)
    if services < 2:
        return []
    advice = (
        "end all but one, or give each a database of its own; for two lines there is redundancy in [spot]"
    )
    return [warning("one service", f"{services} services write to this database", advice)]


# ---------------------------------------------------------------------- version and extension


class Suited(NamedTuple):
    """What `ingest.store.capability` says: `refusal` is empty when the server will do."""

    server: str
    warnings: Sequence[str] = ()
    refusal: str = ""
    could_create: str = ""
    """The version of TimescaleDB that is installed there and not created in this database."""
    is_wanted: bool = True
    """Whether the configuration would use it."""


def judge_version(suited: Suited) -> list[Finding]:
    """Version of the server, and the extension."""
    check = "database version"
    if suited.refusal:
        return [failed(check, suited.refusal, "as it says, then `ingest migrate`")]
    found = [warning(check, text, "as it says, at the next chance") for text in suited.warnings]
    if suited.could_create and suited.is_wanted:
        what = f"TimescaleDB {suited.could_create} is installed, and not created in this database"
        advice = (
            "`ingest migrate` as a user who may (CREATE EXTENSION timescaledb), before there are many rows"
        )
        found.append(warning("TimescaleDB", what, advice))
    return found or [ok(check, suited.server)]


# ---------------------------------------------------------------------- schema and rights


def judge_schema(trouble: str, *, may_read: bool, is_embedded: bool) -> Finding:
    """`trouble` is what `check_schema` said, empty when it agrees."""
    check = "database schema"
    if not may_read:
        return failed(
            check, "it cannot be told: no right to read it", "see the rights, below", "migration-failed"
        )
    if not trouble:
        return ok(check, "up to date")
    if is_embedded:
        return ok(check, f"{trouble}: the next start of the service does that")
    if "newer than this program" in trouble:
        return failed(check, trouble, "update the program", "migration-failed")
    advice = "`ingest migrate` as a member of ingest_owner"
    return failed(check, trouble, advice, "migration-failed")


class Rights(NamedTuple):
    """`missing` are rights that the writer's role has and this user has not."""

    user: str
    has_schema: bool
    has_writer: bool
    writer_is_granted: bool
    is_superuser: bool
    is_owner: bool
    is_reader: bool
    missing: Sequence[str] = ()


def judge_rights(rights: Rights) -> Finding:
    """Whether the service may do its work as this user."""
    check, user = "database rights", rights.user
    if rights.is_superuser:
        return ok(check, f"{user} is a superuser, and may everything; a member of ingest_writer would do")
    if not rights.has_schema:
        advice = (
            "`ingest migrate` as a user who may make schemas and roles makes them; then GRANT ingest_writer"
        )
        return failed(check, "there is no schema yet, so nothing can be granted", advice, "migration-failed")
    if rights.is_owner:
        return ok(check, f"{user} is a member of ingest_owner; a member of ingest_writer would do")
    if not rights.has_writer:
        advice = (
            "make it (CREATE ROLE ingest_writer NOLOGIN), then `ingest migrate` as the owner, which grants it"
        )
        return failed(check, "the role ingest_writer is not there", advice)
    if not rights.writer_is_granted:
        advice = "`ingest migrate` as the owner of the tables grants what is missing"
        return failed(check, "ingest_writer has not been given its rights", advice)
    if not rights.missing:
        return ok(check, f"{user} may what the service needs")
    named = ", ".join(rights.missing[:RIGHTS_NAMED])
    more = f" and {len(rights.missing) - RIGHTS_NAMED} more" if len(rights.missing) > RIGHTS_NAMED else ""
    reads = "; as a member of ingest_reader it may read" if rights.is_reader else ""
    advice = f'GRANT ingest_writer TO "{user}" (as ingest_owner or a superuser)'
    return failed(check, f"{user} lacks {named}{more}{reads}", advice, "store-errors")
