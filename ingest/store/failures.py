"""What each failure of the database means: one table from SQLSTATE to the error tree.

Decides nothing else; who catches what comes out of here retries, splits or stops. Classified by code
and never by class, because extensions bring codes that the driver has no class for. Messages hold what
the server said and never how it was reached, so no password can get into them.
"""

from typing import Final, TypeAlias

import asyncpg

from ingest.errors import RowsRefused, SchemaMismatch, StoreError, StoreUnavailable

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What asyncpg raises when the other side, or the way there, fails: catch these, raise `translated`."""

UNIQUE_VIOLATION: Final = "23505"

_Kind: TypeAlias = type[StoreUnavailable] | type[RowsRefused] | type[SchemaMismatch]

_BY_CODE: Final[dict[str, _Kind]] = {
    "25006": StoreUnavailable,  # read only: a standby, or a failover under way
    "25P03": StoreUnavailable,  # idle in transaction for too long
    "25P04": StoreUnavailable,  # transaction took too long
    UNIQUE_VIOLATION: SchemaMismatch,  # staging leaves none: a key that this program does not know
}
_BY_CLASS: Final[dict[str, _Kind]] = {
    "08": StoreUnavailable,  # connection
    "40": StoreUnavailable,  # rolled back: deadlock, serialization
    "53": StoreUnavailable,  # out of memory, disk or connections
    "55": StoreUnavailable,  # lock not available, object in use
    "57": StoreUnavailable,  # shutdown, crash, starting up, cancelled, statement timeout
    "58": StoreUnavailable,  # the server's own disk
    "22": RowsRefused,  # data
    "23": RowsRefused,  # constraints
    "54": RowsRefused,  # larger than the server can take
    "0A": SchemaMismatch,  # not supported by this server
    "3D": SchemaMismatch,  # no such database
    "3F": SchemaMismatch,  # no such schema
    "42": SchemaMismatch,  # no such table or column, or no right to it
}


def translated(error: BaseException) -> StoreError:
    """The same failure as one of ours; raise it from the original.

    A code that is in no row of the table gives a plain `StoreError`: stop and say so.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return StoreUnavailable(_said(error))
    code = error.sqlstate
    message = f"{_said(error)} (SQLSTATE {code})"
    kind = _BY_CODE.get(code or "") or _BY_CLASS.get((code or "")[:2])
    return (kind or StoreError)(message, sqlstate=code)


def _said(error: BaseException) -> str:
    """Without the server's detail, which may quote whole rows."""
    if isinstance(error, asyncpg.PostgresError):
        return f"{type(error).__name__}: {error.message}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
