"""What is done about each failure of the database: one table, from what failed to a decision.

Four decisions, and no fifth:

    RETRY   the same batch again, for as long as it takes; meanwhile it waits in memory, then in the spool
    STAGE   the same bytes through the staging table, where a key that is there already is no error
    SPLIT   halved until the bad row stands alone; it goes to `ops.quarantine`, its id into `ops.gaps`
    STOP    the writer ends with an error, and what it holds goes to the spool: somebody has to look

Looked up by the SQLSTATE, then by its class (the first two characters), then by the name of the driver's
error and of the classes above it. Never by a class of the driver's for a SQLSTATE: extensions bring codes
that the driver has no class for. What stands in no row stops.

Pure: knows codes and names, not the driver.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple


class Decision(Enum):
    """See the module."""

    RETRY = "retry"
    STAGE = "stage"
    SPLIT = "split"
    STOP = "stop"


class Row(NamedTuple):
    """`key` is a SQLSTATE (five characters), a class of them (two), or the name of an error's class."""

    key: str
    decision: Decision
    what: str
    why: str


_RETRY: Final = Decision.RETRY
_STAGE: Final = Decision.STAGE
_SPLIT: Final = Decision.SPLIT
_STOP: Final = Decision.STOP

PARTITION_CHANGED: Final = "23514 without a constraint"
"""The server's code for a check, which names none where the bounds of a partition have refused the row."""

TABLE: Final = (
    Row("08", _RETRY, "connection lost, refused, confused", "outcome unknown; the connection is dropped"),
    Row("0A", _STOP, "not supported by this server", "another server than this program was made for"),
    Row("21", _SPLIT, "a statement met one row twice", "a row's fault until it stands alone"),
    Row("22", _SPLIT, "a value out of range, not a number, too long", "the row will never fit"),
    Row("23", _SPLIT, "check, not null, foreign key, exclusion", "the row will never fit"),
    Row(
        PARTITION_CHANGED,
        _RETRY,
        "a partition was made for the row in this very moment",
        "rolled back: the next try finds it",
    ),
    Row("23505", _STAGE, "a key that is there already", "stored before; after staging there is none left"),
    Row("25", _RETRY, "a transaction in a state that is not ours", "the connection is dropped"),
    Row("25006", _RETRY, "read only: a standby, or a fail-over under way", "until a primary answers"),
    Row("26", _RETRY, "a prepared statement that is gone (a pooler between)", "the connection is dropped"),
    Row("27", _SPLIT, "a trigger has changed the row", "the row's fault until it stands alone"),
    Row(
        "28",
        _RETRY,
        "password or right to connect was changed",
        "rows are kept until it is mended; alerts tell",
    ),
    Row("3D", _STOP, "no such database", "nothing to wait for"),
    Row("3F", _STOP, "no such schema", "nothing to wait for"),
    Row("40", _RETRY, "deadlock, serialization", "rolled back: nothing was stored"),
    Row("42", _STOP, "no such column, another type, a wrong statement", "the schema is not this program's"),
    Row("42501", _RETRY, "a right that was taken away", "rows are kept until it is given back; alerts tell"),
    Row("42P01", _RETRY, "a table that has gone", "rows are kept until it is back; alerts tell"),
    Row("44", _SPLIT, "a view's check option", "the row will never fit"),
    Row("53", _RETRY, "disk full, out of memory, too many connections", "until there is room again"),
    Row("54", _SPLIT, "larger than the server can take", "a part of the batch may be small enough"),
    Row("55", _RETRY, "lock not to be had in time, object in use", "until its holder lets go"),
    Row("57", _RETRY, "shutdown, crash, starting up, cancelled, statement timeout", "outcome unknown"),
    Row("58", _RETRY, "an error of the server's own disk", "outcome unknown"),
    Row("72", _RETRY, "snapshot too old", "rolled back: nothing was stored"),
    Row("P0", _SPLIT, "a trigger of yours refuses", "the row's fault until it stands alone"),
    Row("XX000", _RETRY, "an internal error of the server", "often passes; the connection is dropped"),
    Row("UnsupportedServerFeatureError", _STOP, "a server that the driver does not know", "a wrong address"),
    Row("InterfaceError", _RETRY, "a connection that has ended while idle", "another is taken"),
    Row("InternalClientError", _RETRY, "the driver lost count of the protocol", "the connection is dropped"),
    Row("TimeoutError", _RETRY, "no connection, or no answer, within its deadline", "outcome unknown"),
    Row("OSError", _RETRY, "refused, reset, no route, no such host", "outcome unknown"),
)

_DECISIONS: Final = {row.key: row.decision for row in TABLE}


def decide(sqlstate: str | None, classes: Iterable[str] = ()) -> Decision:
    """The decision about a failure with this code (None: it has none) and these names of its classes.

    `classes` go from the error's own class upwards, and count only where there is no code.
    """
    if sqlstate is not None:
        return _DECISIONS.get(sqlstate) or _DECISIONS.get(sqlstate[:2]) or Decision.STOP
    known = (_DECISIONS[name] for name in classes if name in _DECISIONS)
    return next(known, Decision.STOP)


_ANSWERED: Final = frozenset({PARTITION_CHANGED, "40", "42501", "42P01", "53", "55", "57014", "72"})


def keeps_connection(sqlstate: str | None) -> bool:
    """Whether the connection is as good as before: the server has answered, and rolled back.

    A new one would help nothing there, and may not be had: making one needs the very slot or disk.
    """
    return sqlstate is not None and (sqlstate in _ANSWERED or sqlstate[:2] in _ANSWERED)


def markdown_table() -> str:
    """The table for people, one line for each row."""
    head = ("| SQLSTATE, or error of the driver | what it is | decision | why |", "|---|---|---|---|")
    rows = (f"| `{row.key}` | {row.what} | {row.decision.value} | {row.why} |" for row in TABLE)
    return "\n".join([*head, *rows, "| anything else | | stop | nobody has decided about it yet |"])
