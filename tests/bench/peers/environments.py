"""A virtual environment for each library, made when it is first wanted and kept while its pins are the same.

Their dependencies exclude each other, so they never share one, and ours least of all. What an environment
cannot be made for is told as a reason (`PeerUnavailableError`) and costs only its own rows.
"""

import asyncio
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

_REQUIREMENTS: Final = Path(__file__).with_name("requirements")
_NEWEST_MINOR: Final = 20
_DEADLINE_S: Final = 900.0
_TOLD_CHARACTERS: Final = 200


class PeerUnavailableError(Exception):
    """A peer cannot be measured here; the text is the reason, in one line."""


class Interpreter(NamedTuple):
    """A Python that can be started."""

    version: tuple[int, int]
    path: Path


async def ensure_environment(name: str, folder: Path, *, least: tuple[int, int]) -> Path:
    """The Python of the environment below `folder`, with exactly what its list of requirements pins."""
    interpreter = choose(installed(os.environ), least=least)
    requirements = _REQUIREMENTS / f"{name}.txt"
    stamp_text = stamp(requirements.read_bytes(), interpreter)
    venv = folder / name
    python, stamped = venv / "bin" / "python", venv / "pins"
    if python.exists() and stamped.exists() and stamped.read_text() == stamp_text:
        return python
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.pip.log"
    await _run([str(interpreter.path), "-m", "venv", "--clear", str(venv)], log)
    install = "-m pip install --no-input --disable-pip-version-check --progress-bar off --only-binary :all:"
    await _run([str(python), *install.split(), "--requirement", str(requirements)], log)
    stamped.write_text(stamp_text)
    return python


def stamp(requirements: bytes, interpreter: Interpreter) -> str:
    """What an environment must have been made from to be kept."""
    return f"{hashlib.sha256(requirements).hexdigest()} {interpreter.path}\n"


def choose(found: Iterable[Interpreter], *, least: tuple[int, int]) -> Interpreter:
    """The one that runs us if it is new enough, else the oldest that is: wheels exist for it first."""
    fitting = [each for each in found if each.version >= least]
    if not fitting:
        raise PeerUnavailableError(f"it needs Python {least[0]}.{least[1]}, and there is none here")
    ours = [each for each in fitting if each.version == sys.version_info[:2]]
    return ours[0] if ours else min(fitting, key=lambda each: each.version)


def installed(environment: "os._Environ[str] | dict[str, str]") -> Iterator[Interpreter]:
    """Those that are on the path by their version's name, and those that pyenv keeps."""
    for minor in range(11, _NEWEST_MINOR):
        found = shutil.which(f"python3.{minor}", path=environment.get("PATH"))
        # A shim of pyenv is there even for a version that is not switched on.
        if found and "shims" not in Path(found).parts:
            yield Interpreter((3, minor), Path(found))
    root = Path(environment.get("PYENV_ROOT") or Path(environment.get("HOME", "/")) / ".pyenv")
    for path in sorted(root.glob("versions/3.*/bin/python")):
        version = re.match(r"3\.(\d+)", path.parts[-3])
        if version:
            yield Interpreter((3, int(version.group(1))), path)


async def _run(command: list[str], log: Path) -> None:
    """A command with its output in the log; its last words when it fails."""
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            async with asyncio.timeout(_DEADLINE_S):
                code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if code:
        raise PeerUnavailableError(f"it cannot be installed: {last_words(log)}")


def last_words(log: Path) -> str:
    """The last line that says anything."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:_TOLD_CHARACTERS] if lines else "it said nothing"
