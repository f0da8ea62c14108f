"""What each failure of the database means."""

import ssl

import asyncpg
import pytest

from ingest.errors import RowsRefused, SchemaMismatch, StoreError, StoreUnavailable
from ingest.store.failures import translated


def server_error(code: str, message: str = "no") -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": code, "M": message, "D": "Failing row contains (secret)."})


@pytest.mark.parametrize(
    "code",
    [
        "08003",
        "08006",
        "25006",
        "40001",
        "40P01",
        "42501",
        "42P01",
        "53100",
        "53300",
        "55P03",
        "57014",
        "57P01",
        "57P03",
        "58030",
        "28P01",
        "XX000",
    ],
)
def test_passing_trouble_is_unavailable(code: str) -> None:
    """Lost connections, deadlocks, full disks, locks, shutdowns, lost rights and tables are tried again."""
    failure = translated(server_error(code))

    assert type(failure) is StoreUnavailable
    assert failure.transient
    assert failure.sqlstate == code


@pytest.mark.parametrize("code", ["22003", "22P02", "22P04", "23502", "23514", "54000"])
def test_bad_data_is_refused_rows(code: str) -> None:
    """Data and constraint errors belong to the rows, and repeating does not help."""
    assert type(translated(server_error(code))) is RowsRefused


@pytest.mark.parametrize("code", ["42703", "42804", "3D000", "0A000", "23505"])
def test_what_the_program_does_not_know_is_schema_mismatch(code: str) -> None:
    """Missing columns and databases, other types and unknown keys are a disagreement about the schema."""
    assert type(translated(server_error(code))) is SchemaMismatch


@pytest.mark.parametrize("code", ["XX001", "TS103", "99999"])
def test_code_that_nobody_decided_about_is_fatal(code: str) -> None:
    """A code of no known class, such as an extension's, stops the program and is named."""
    failure = translated(server_error(code))

    assert type(failure) is StoreError
    assert not failure.transient
    assert code in str(failure)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("got result for unknown protocol state"),
        ConnectionResetError(104, "reset"),
        TimeoutError(),
    ],
)
def test_what_the_driver_itself_raises_is_unavailable(error: Exception) -> None:
    """Errors without a code come from the way to the server."""
    failure = translated(error)

    assert type(failure) is StoreUnavailable
    assert type(error).__name__ in str(failure)


def test_detail_of_the_server_is_not_repeated() -> None:
    """The server's detail quotes rows, and stays out of the message."""
    error = server_error("23514", "violates check")

    assert "secret" in str(error)
    assert "secret" not in str(translated(error))


def test_value_that_the_driver_cannot_encode_belongs_to_its_row() -> None:
    """An argument out of range is not waited for as if the server were away; it is named."""
    failure = translated(asyncpg.DataError("invalid input for query argument $4: value out of int64 range"))

    assert type(failure) is RowsRefused
    assert "out of int64 range" in str(failure)


def test_server_that_the_driver_does_not_know_stops() -> None:
    """A driver's error that waiting cannot mend is no lost connection, though its parent class is one."""
    assert type(translated(asyncpg.UnsupportedServerFeatureError("what is this"))) is StoreError


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("28P01", "password_file"),
        ("28000", "may it log in"),
        ("3D000", "make the database"),
        ("42501", "ingest_writer"),
    ],
)
def test_refusal_that_people_can_mend_says_how(code: str, hint: str) -> None:
    """Wrong passwords, users, databases and rights."""
    assert hint in str(translated(server_error(code)))


def test_refused_certificate_says_why() -> None:
    """What the library found, without its file names and line numbers."""
    error = ssl.SSLCertVerificationError(
        1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1)"
    )
    error.verify_message = "Hostname mismatch"
    failure = translated(error)

    assert type(failure) is StoreUnavailable
    assert str(failure) == "the certificate of the database's server is refused: Hostname mismatch"
    assert "no TLS" in str(translated(ssl.SSLError(1, "[SSL] wrong")))
