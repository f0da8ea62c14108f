"""Failures of the database as errors of ours: what the driver raises, sorted by `store.decisions`.

Decides nothing itself. Messages hold what the server said and never how it was reached, so no password
can get into them.
"""

import ssl
from typing import Final, TypeAlias

import asyncpg

from ingest.errors import RowsRefused, SchemaMismatch, StoreError, StoreUnavailable
from ingest.store.decisions import PARTITION_CHANGED, Decision, decide

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What asyncpg raises when the other side, or the way there, fails: catch these, raise `translated`."""

_Kind: TypeAlias = type[StoreError]

_KINDS: Final[dict[Decision, _Kind]] = {
    Decision.RETRY: StoreUnavailable,
    Decision.SPLIT: RowsRefused,
    # Staging is the way past a key. One that is still in the way there is a key unknown to this program.
    Decision.STAGE: SchemaMismatch,
    Decision.STOP: StoreError,
}
_HINTS: Final = {
    "28P01": "is the password right ([database] url, password or password_file, PGPASSWORD, a passfile)?",
    "28000": "does the user of [database] url exist, and may it log in here, from there, in this way?",
    "3D000": "make the database, or mend [database] url",
    "42501": "has the user been granted ingest_writer, or to migrate ingest_owner?",
}
_SCHEMA_CLASSES: Final = frozenset({"0A", "3D", "3F", "42"})


def translated(error: BaseException) -> StoreError:
    """The same failure as one of ours; raise it from the original.

    A failure that nobody decided about gives a plain `StoreError`: stop and say so.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return _KINDS[decide(None, _names(error))](_said(error))
    code = _code(error)
    decision = decide(code or "")
    is_schema = decision is Decision.STOP and (code or "")[:2] in _SCHEMA_CLASSES
    kind: _Kind = SchemaMismatch if is_schema else _KINDS[decision]
    return kind(f"{_said(error)} (SQLSTATE {code})", sqlstate=code)


def _code(error: asyncpg.PostgresError) -> str | None:
    of_partition = isinstance(error, asyncpg.CheckViolationError) and not error.constraint_name
    # With a table: not what a trigger has raised under this code.
    return PARTITION_CHANGED if of_partition and error.table_name else error.sqlstate


def _names(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]


def _said(error: BaseException) -> str:
    """Without the server's detail, which may quote whole rows."""
    if isinstance(error, asyncpg.PostgresError) and error.message:
        hint = _HINTS.get(error.sqlstate or "")
        return f"{type(error).__name__}: {error.message}" + (f"; {hint}" if hint else "")
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the database's server is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with the database's server: {error}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
