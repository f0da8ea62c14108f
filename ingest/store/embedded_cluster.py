"""PostgreSQL's data directory: made once, complete or not at all, and of the right version.

It is initialised beside its place and renamed, so that a killed initialisation leaves nothing that
could be mistaken for a database. UTF-8 text, sorted by bytes (no locale of the machine can ever
disagree with an index), page checksums. Access: everyone who reaches the socket, nobody over a network.
"""

import asyncio
import os
import re
import shutil

from ingest.errors import EmbeddedServerError
from ingest.store.embedded_folder import DataFolder
from ingest.store.embedded_identity import Runner

_INITIALISE_DEADLINE_S = 120.0
_VERSION_DEADLINE_S = 30.0
_FULL_BYTES = 16 * 1024 * 1024


async def ensure_cluster(folder: DataFolder, runner: Runner, *, durable: bool) -> None:
    """Initialise the data directory when there is none; refuse one that these programs cannot run."""
    if not folder.cluster.exists():
        await _initialise(folder, runner, durable=durable)
    await _require_same_major(folder, runner)


async def _initialise(folder: DataFolder, runner: Runner, *, durable: bool) -> None:
    with folder.errors_named("initialise the database in"):
        await asyncio.to_thread(shutil.rmtree, folder.unfinished, ignore_errors=True)
        folder.unfinished.mkdir(mode=0o700)
        if runner.identity.owner is not None:
            os.chown(folder.unfinished, *runner.identity.owner)
    code, said = await runner.run(
        *("initdb", "-D", str(folder.unfinished), "--username=postgres", "--encoding=UTF8", "--locale=C"),
        *("--auth-local=trust", "--auth-host=reject", "--data-checksums", "--no-instructions", "--no-clean"),
        *(() if durable else ("--no-sync",)),
        deadline_s=_INITIALISE_DEADLINE_S,
    )
    if code != 0:
        free_bytes = folder.free_bytes()
        await asyncio.to_thread(shutil.rmtree, folder.unfinished, ignore_errors=True)
        raise EmbeddedServerError(_why_not(said, folder, free_bytes))
    with folder.errors_named("initialise the database in"):
        folder.unfinished.rename(folder.cluster)


def _why_not(said: str, folder: DataFolder, free_bytes: int) -> str:
    last_lines = "\n".join(said.strip().splitlines()[-4:])
    full = "No space left on device" in said or "Disk quota exceeded" in said
    # A server that finds no room in an awkward moment dies without naming the cause.
    if full or free_bytes < _FULL_BYTES:
        return (
            f"the disk is full: {free_bytes} bytes were left at {folder.top} while the database was "
            f"initialised; it needs about 100 MB: make room, or choose another data folder\n{last_lines}"
        )
    return f"the database in {folder.top} cannot be initialised:\n{last_lines}"


async def _require_same_major(folder: DataFolder, runner: Runner) -> None:
    found = _major_of(folder)
    code, said = await runner.run("postgres", "--version", deadline_s=_VERSION_DEADLINE_S)
    ours = re.search(r"\) (\d+)", said)
    if code != 0 or ours is None:
        raise EmbeddedServerError(f"the PostgreSQL programs do not run: {said.strip()}")
    if found != ours[1]:
        raise EmbeddedServerError(
            f"the database in {folder.cluster} was made by PostgreSQL {found}, the programs are of "
            f"{ours[1]}: convert it with pg_upgrade, or choose another data folder"
        )


def _major_of(folder: DataFolder) -> str:
    try:
        return (folder.cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise EmbeddedServerError(
            f"{folder.cluster} is not a PostgreSQL data directory: "
            "move it away, or choose another data folder"
        ) from None
    except OSError as error:
        raise EmbeddedServerError(
            f"cannot read the database in {folder.cluster}: {error.strerror}"
        ) from error
