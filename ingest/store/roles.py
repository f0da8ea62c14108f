"""Who may do what in the database: rights brought to what `ops.role_rights` says, after each migration.

Decides nothing: the roles, their rights and what is missing of either stand in the database. A user who may
not grant changes nothing here; roles that the server lacks, and that may not be made, are left out.
"""

from typing import TYPE_CHECKING, NamedTuple

from ingest.store.failures import DRIVER_ERRORS, translated
from ingest.store.sessions import connected
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection


class MissingRole(NamedTuple):
    """A role that the server lacks; `remedy` is the SQL that makes it."""

    role: str
    remedy: str


async def grant_roles(connection: "Connection") -> None:
    """Make roles, grant rights, hand tables over to their owner: whatever of that is missing and allowed.

    Outside a transaction. Nothing happens where the schema is not there, or is somebody else's. Raises the
    driver's errors.
    """
    if await connection.fetchval(statement("may_grant_roles")):
        await connection.execute(statement("grant_roles"))
        await connection.execute(statement("hand_over"))


async def missing_roles(url: str) -> list[MissingRole]:
    """Roles that the server lacks: those that should have them cannot be given any rights."""
    async with connected(url, application="ingest migrate") as connection:
        try:
            return [MissingRole(*row) for row in await connection.fetch(statement("missing_roles"))]
        except DRIVER_ERRORS as error:
            raise translated(error) from error
