"""As whom the server runs, and from which copy of the programs: found out by trying.

PostgreSQL refuses to run as root, and its initialisation wants a user that the password file knows.
An ordinary user with a name is taken as it is. Otherwise, in this order:

1. the owner of a data directory that an earlier run gave to an unprivileged user;
2. a user namespace in which we have another number: nothing on the machine changes, files stay ours;
3. an existing unprivileged user, who is given the data folder.

Each is tried with the real thing, the server's own `--version` from the data folder; where only the
programs are out of reach (an environment below a closed directory), it is tried again with a copy.
"""

import asyncio
import json
import os
import pwd
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ingest.errors import EmbeddedServerError
from ingest.store import embedded_launcher
from ingest.store.embedded_binaries import copy_install
from ingest.store.embedded_folder import DataFolder

_TRY_DEADLINE_S = 30.0
_UNPRIVILEGED = ("postgres", "nobody", "daemon")
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}
"""Nothing of ours: PGDATA, PGPORT, PGOPTIONS and the like would be obeyed."""


@dataclass(frozen=True)
class Identity:
    """A user to run as; `uid` and `gid` are those that the server sees itself as."""

    way: Literal["self", "namespace", "user"]
    uid: int
    gid: int
    name: str

    @property
    def owner(self) -> tuple[int, int] | None:
        """Who must own the files, where that is not ourselves."""
        return (self.uid, self.gid) if self.way == "user" else None

    def __str__(self) -> str:
        return "in a user namespace" if self.way == "namespace" else f"as user {self.name}"


@dataclass(frozen=True)
class Runner:
    """An identity and a set of programs that work together in this data folder."""

    identity: Identity
    install: Path
    folder: Path

    async def spawn(
        self, program: str, *args: str, output: int, death_signal: int = 0
    ) -> asyncio.subprocess.Process:
        """Start a program of the server's; its session is its own, so the terminal's Ctrl-C stays ours.

        `death_signal` is sent to it when *the thread that calls this* ends, however it ends (Linux).
        """
        order = {
            "identity": self.identity.way,
            "uid": self.identity.uid,
            "gid": self.identity.gid,
            "parent_pid": os.getpid(),
            "death_signal": int(death_signal),
            "folder": str(self.folder),
            "argv": [str(self.install / "bin" / program), *args],
        }
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(embedded_launcher.__file__), json.dumps(order)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )

    async def run(self, program: str, *args: str, deadline_s: float) -> tuple[int, str]:
        """Run a program to its end: exit code and all that it said. Killed after the deadline."""
        process = await self.spawn(program, *args, output=asyncio.subprocess.PIPE, death_signal=9)
        try:
            async with asyncio.timeout(deadline_s):
                said, _ = await process.communicate()
        except TimeoutError as error:
            raise EmbeddedServerError(
                f"{program} did not end within {deadline_s:g} s in {self.folder}"
            ) from error
        finally:
            await _kill_group(process)
        return process.returncode or 0, said.decode(errors="replace")


async def _kill_group(process: asyncio.subprocess.Process) -> None:
    """End a program that still runs, with its children."""
    if process.returncode is None:
        os.killpg(process.pid, 9)
        await process.wait()


async def choose_runner(folder: DataFolder, install: Path) -> Runner:
    """The first identity that works in this folder. EmbeddedServerError tells why each did not."""
    refusals = []
    for identity in _identities(folder):
        refusal = await _try(identity, folder, install)
        if isinstance(refusal, Runner):
            return refusal
        refusals.append(f"{identity}: {refusal}")
    raise EmbeddedServerError(
        f"PostgreSQL cannot be run for {folder.top}: {'; '.join(refusals) or 'no unprivileged user exists'}. "
        "Run as an ordinary user, or choose a data folder that an unprivileged user can reach, "
        "or allow user namespaces, or name a server in database.url"
    )


def _identities(folder: DataFolder) -> Iterator[Identity]:
    uid = os.geteuid()
    if uid != 0 and (name := _name_of(uid)) is not None:
        yield Identity("self", uid, os.getegid(), name)
        return
    owner = folder.cluster.stat().st_uid if folder.cluster.exists() else uid
    if uid == 0 and owner != 0:
        yield from _as_owner(owner, folder)
        return
    known = list(_known_unprivileged())
    if sys.platform == "linux" and known:
        yield Identity("namespace", known[0].pw_uid, known[0].pw_gid, known[0].pw_name)
    if uid == 0:
        yield from (Identity("user", user.pw_uid, user.pw_gid, user.pw_name) for user in known)


def _as_owner(owner: int, folder: DataFolder) -> Iterator[Identity]:
    yield Identity("user", owner, folder.cluster.stat().st_gid, _name_of(owner) or str(owner))


def _name_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _known_unprivileged() -> Iterator[pwd.struct_passwd]:
    for name in _UNPRIVILEGED:
        try:
            yield pwd.getpwnam(name)
        except KeyError:
            continue


async def _try(identity: Identity, folder: DataFolder, install: Path) -> Runner | str:
    """A runner, or in words why there is none."""
    if identity.owner is None:
        return await _try_here(identity, folder, install)
    before = folder.top.stat()
    folder.lend_to(identity.owner)
    found = await _try_here(identity, folder, install)
    if isinstance(found, str):
        folder.lend_to((before.st_uid, before.st_gid))
    return found


async def _try_here(identity: Identity, folder: DataFolder, install: Path) -> Runner | str:
    code, said = await _ask_version(runner := Runner(identity, install, folder.top))
    if code in (embedded_launcher.EXIT_NO_ACCESS, 127) and str(install) in said:
        copy = await asyncio.to_thread(_copy, install, folder, identity)
        code, said = await _ask_version(runner := Runner(identity, copy, folder.top))
    return runner if code == 0 else said.strip() or f"exit code {code}"


async def _ask_version(runner: Runner) -> tuple[int, str]:
    return await runner.run("postgres", "--version", deadline_s=_TRY_DEADLINE_S)


def _copy(install: Path, folder: DataFolder, identity: Identity) -> Path:
    with folder.errors_named("copy the PostgreSQL programs into"):
        return copy_install(install, folder.binaries, owner=identity.owner)
