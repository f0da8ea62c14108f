"""What the tests of `k8s/` judge it with, and where it is.

`.ci/deploytools` and `.ci/promtool` fetch the tools. Where one is absent its tests are skipped, and pytest's
summary says so; in CI on Linux its absence is a failure.
"""

import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
K8S = REPOSITORY / "k8s"
RULES = K8S / "prometheus" / "rules.yaml"
DEADLINE_S = 120.0

_PROMETHEUS = REPOSITORY / ".cache" / "promtool"
_FETCHED = REPOSITORY / ".cache" / "deploytools"


def absent(what: str, fetch: str) -> NoReturn:
    """Skip the test, or fail it where the tool must be."""
    said = f"{what.upper()} IS ABSENT, k8s/ was NOT checked with it: run {fetch}"
    if os.environ.get("CI", "").lower() in {"1", "true"} and sys.platform == "linux":
        pytest.fail(said)
    pytest.skip(said)


def prometheus_program(name: str) -> str:
    """The path of `promtool` or `prometheus`."""
    found = shutil.which(name) or shutil.which(name, path=_PROMETHEUS)
    return found or absent(name, ".ci/promtool")


def hadolint() -> str:
    return shutil.which("hadolint", path=_FETCHED / "python" / "bin") or absent("hadolint", ".ci/deploytools")


def kubectl() -> str:
    """The one that was fetched, whose version is known; else the system's."""
    found = shutil.which("kubectl", path=_FETCHED) or shutil.which("kubectl")
    if found is None and platform.machine() != "x86_64":
        pytest.skip(
            "KUBECTL IS ABSENT, k8s/ was NOT rendered: it can be fetched for x86-64 alone, install it"
        )
    return found or absent("kubectl", ".ci/deploytools")


def fetched_file(*parts: str) -> Path:
    """A file of a fetched package that is data and no Python."""
    path = _FETCHED.joinpath("python", *parts)
    return path if path.exists() else absent(parts[0], ".ci/deploytools")


def fetched_module(name: str) -> ModuleType:
    """A module that is installed apart, in a folder of its own behind all others."""
    folder = str(_FETCHED / "python")
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return importlib.import_module(name)
    except ImportError:
        absent(name, ".ci/deploytools")


def run(*command: str | Path, cwd: Path | None = None, stdin: str | None = None) -> tuple[int, str]:
    """Exit code and everything that the program says."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.returncode, done.stdout


def load_yaml(path: Path) -> Any:
    """The only document of a file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    """What `kubectl kustomize` makes of a folder below k8s/."""
    code, said = run(kubectl(), "kustomize", K8S / overlay)
    assert code == 0, said
    return tuple(document for document in yaml.safe_load_all(said) if document)


def of_kind(overlay: str, kind: str) -> list[dict[str, Any]]:
    """Its resources of one kind."""
    return [each for each in rendered(overlay) if each["kind"] == kind]


def rules() -> Iterator[dict[str, Any]]:
    """Every rule, in order."""
    for group in load_yaml(RULES)["groups"]:
        yield from group["rules"]
