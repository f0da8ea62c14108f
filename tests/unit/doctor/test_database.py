"""`ingest.doctor.database`: what a server says of itself means for the service."""

import pytest

from ingest.doctor.database import (
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
from ingest.doctor.findings import Level, worst

OK, WARNING, FAILED = Level.OK, Level.WARNING, Level.FAILED


@pytest.mark.parametrize(
    ("sqlstate", "advised"),
    [
        ("28P01", "mend the password"),
        ("28000", "pg_hba.conf"),
        ("3D000", "CREATE DATABASE"),
        ("53300", "max_connections"),
        (None, "is the server up"),
        ("XX000", "is the server up"),
    ],
)
def test_server_that_lets_nobody_in_has_a_remedy(sqlstate: str | None, advised: str) -> None:
    """By what it said."""
    found = judge_unreached(Unreached("db:5432/market", "no", sqlstate))

    assert (found.level, advised in found.advice) == (FAILED, True)


def a_server(**changes: object) -> Server:
    server = Server(
        place="db:5432/market",
        user="collector",
        is_superuser=False,
        is_owner=False,
        is_reader=False,
        has_writer=True,
        has_schema=True,
        is_standby=False,
        is_read_only=False,
        free_connections=90,
        needed_connections=11,
        fsync=True,
        full_page_writes=True,
        tls="TLSv1.3",
        is_local=False,
        supervisor_sessions=3,
    )
    return server._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({}, OK, "as collector (TLSv1.3)"),
        ({"tls": ""}, OK, "without TLS"),
        ({"tls": "", "is_local": True}, OK, "(local)"),
        ({"is_standby": True}, FAILED, "a standby"),
        ({"is_read_only": True}, FAILED, "read only"),
        ({"fsync": False}, WARNING, "fsync is off"),
        ({"full_page_writes": False}, WARNING, "full_page_writes is off"),
        ({"free_connections": 13}, WARNING, "13 are free, and the service needs 11"),
        ({"free_connections": 4}, FAILED, "4 are free"),
        ({"free_connections": 4, "needed_connections": 0}, WARNING, "4 are free"),
        ({"supervisor_sessions": 4}, WARNING, "2 services write to this database"),
    ],
)
def test_state_of_the_server_is_judged(changes: dict[str, object], level: Level, said: str) -> None:
    """Whether it can be written to, outlives a crash, has room for us, and has one service."""
    found = judge_server(a_server(**changes))

    assert worst(found) is level
    assert any(said in finding.found for finding in found)


@pytest.mark.parametrize(
    ("suited", "level", "said"),
    [
        (Suited("PostgreSQL 18.1 without TimescaleDB"), OK, "PostgreSQL 18.1"),
        (Suited("x", refusal="PostgreSQL 14.2 is too old"), FAILED, "too old"),
        (Suited("x", ("TimescaleDB 2.28.0: 2.28.3 mends known faults",)), WARNING, "mends known faults"),
        (Suited("x", could_create="2.29.2"), WARNING, "not created in this database"),
        (Suited("x", could_create="2.29.2", is_wanted=False), OK, "x"),
    ],
)
def test_version_and_extension_are_judged(suited: Suited, level: Level, said: str) -> None:
    """As the service itself does at its start."""
    found = judge_version(suited)

    assert worst(found) is level
    assert said in found[0].found


@pytest.mark.parametrize(
    ("trouble", "may_read", "is_embedded", "level", "advised"),
    [
        ("", True, False, OK, ""),
        ("the database lacks migrations: 0001_x", True, False, FAILED, "`ingest migrate`"),
        ("the database lacks migrations: 0001_x", True, True, OK, ""),
        ("the database is newer than this program", True, False, FAILED, "update the program"),
        ("permission denied", False, False, FAILED, "see the rights"),
    ],
)
def test_schema_must_be_that_of_the_program(
    trouble: str, may_read: bool, is_embedded: bool, level: Level, advised: str
) -> None:
    """The embedded server is brought up to date by the start."""
    found = judge_schema(trouble, may_read=may_read, is_embedded=is_embedded)

    assert (found.level, advised in found.advice) == (level, True)


def some_rights(**changes: object) -> Rights:
    rights = Rights(
        user="collector",
        has_schema=True,
        has_writer=True,
        writer_is_granted=True,
        is_superuser=False,
        is_owner=False,
        is_reader=False,
    )
    return rights._replace(**changes)  # type: ignore[arg-type]


MISSING = [f"INSERT on spot_raw.{table}" for table in ("trades", "agg_trades", "klines", "tickers")]


@pytest.mark.parametrize(
    ("changes", "level", "said", "advised"),
    [
        ({}, OK, "collector may what the service needs", ""),
        ({"is_superuser": True, "has_schema": False}, OK, "superuser", ""),
        ({"is_owner": True, "missing": MISSING}, OK, "ingest_owner", ""),
        ({"has_schema": False}, FAILED, "no schema yet", "`ingest migrate`"),
        ({"has_writer": False}, FAILED, "ingest_writer is not there", "CREATE ROLE ingest_writer"),
        ({"writer_is_granted": False}, FAILED, "not been given its rights", "`ingest migrate`"),
        ({"missing": MISSING}, FAILED, "spot_raw.klines and 1 more", 'GRANT ingest_writer TO "collector"'),
        ({"missing": MISSING[:1], "is_reader": True}, FAILED, "ingest_reader it may read", "GRANT"),
    ],
)
def test_user_must_have_the_rights_of_the_writer(
    changes: dict[str, object], level: Level, said: str, advised: str
) -> None:
    """What is missing is named, with the command that gives it."""
    found = judge_rights(some_rights(**changes))

    assert (found.level, said in found.found, advised in found.advice) == (level, True, True)
