"""A Containerfile read far enough to carry out its steps in a folder, where no engine is."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.deploy.tools import K8S, REPOSITORY

FILE = K8S / "Containerfile"
IGNORE = REPOSITORY / ".dockerignore"
STEP_S = 600


class Step(NamedTuple):
    stage: int
    verb: str
    words: str


def steps() -> Iterator[Step]:
    """Every instruction, lines joined, with the number of its stage; -1 before the first."""
    stage = -1
    text = re.sub(r"^\s*#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip():
            continue
        verb, _, words = line.strip().partition(" ")
        stage += verb == "FROM"
        yield Step(stage, verb, words.strip())


def words_of(verb: str, stage: int) -> list[str]:
    """What the instructions of one kind say in a stage."""
    return [step.words for step in steps() if (step.verb, step.stage) == (verb, stage)]


def in_context(path: Path) -> bool:
    """Whether a path of the repository is sent to the engine. Later lines win, as with the engines."""
    name, taken = path.relative_to(REPOSITORY).as_posix(), True
    for line in IGNORE.read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and _is_named(name, pattern):
            taken = line.startswith("!")
    return taken


def _is_named(name: str, pattern: str) -> bool:
    parts = name.split("/")
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in parts)
    return any(fnmatch.fnmatch("/".join(parts[:n]), pattern) for n in range(1, len(parts) + 1))


class Build:
    """The stage that makes /opt/ingest, carried out below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._work = root
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("INGEST_", "PYTHON", "VIRTUAL_ENV", "COV_"))
        }

    @property
    def made(self) -> Path:
        return self.root / "opt" / "ingest"

    def carry_out(self) -> None:
        """Every step; what a step says is in the error if it fails."""
        for step in steps():
            if step.stage == 0:
                getattr(self, f"_{step.verb.lower()}")(step.words)

    def _from(self, words: str) -> None:
        assert words.endswith("AS build")

    def _env(self, words: str) -> None:
        self._environment |= dict(word.split("=", 1) for word in shlex.split(words))

    def _workdir(self, words: str) -> None:
        self._work = self.root / words.strip("/")
        self._work.mkdir(parents=True, exist_ok=True)

    def _copy(self, words: str) -> None:
        *sources, target = words.split()
        for source in sources:
            place = self._work / target if target != "./" else self._work / source
            if (REPOSITORY / source).is_dir():
                shutil.copytree(REPOSITORY / source, place, ignore=self._left_out)
            else:
                assert in_context(REPOSITORY / source), source
                shutil.copy2(REPOSITORY / source, place)

    @staticmethod
    def _left_out(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if not in_context(Path(folder) / name)}

    def _run(self, words: str) -> None:
        here = words.replace("/opt/ingest", str(self.made))
        here = re.sub(r"^python ", f"{shlex.quote(sys.executable)} ", here)
        done = subprocess.run(
            ["/bin/sh", "-c", here],
            cwd=self._work,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_S,
            check=False,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}"
