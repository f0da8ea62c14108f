"""Which Python a peer is measured with, and when its environment is made anew."""

import sys
from pathlib import Path

import pytest

from tests.bench.peers.catalog import PEERS
from tests.bench.peers.environments import (
    Interpreter,
    PeerUnavailableError,
    choose,
    installed,
    last_words,
    stamp,
)

OURS = Interpreter((sys.version_info[0], sys.version_info[1]), Path("/ours"))
NEWER = [Interpreter((3, minor), Path(f"/newer/{minor}")) for minor in (99, 98)]


def test_our_version_is_preferred_and_else_the_oldest_that_fits() -> None:
    """A peer runs under the Python that we run under, if it can."""
    assert choose([*NEWER, OURS], least=(3, 11)) == OURS
    assert choose([*NEWER, OURS], least=(3, 98)) == NEWER[1]


def test_missing_python_is_the_reason() -> None:
    """A peer that needs a newer Python than there is says so."""
    with pytest.raises(PeerUnavailableError, match=r"needs Python 3\.99"):
        choose([OURS], least=(3, 99))


def test_pythons_of_the_path_and_of_pyenv_are_found(tmp_path: Path) -> None:
    """By the name of their version on the path, by that of their folder in pyenv; shims count for nothing."""
    for name in (
        "bin/python3.12",
        "shims/python3.13",
        "versions/3.14.1/bin/python",
        "versions/2.7.18/bin/python",
    ):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    path = f"{tmp_path / 'shims'}:{tmp_path / 'bin'}"

    found = list(installed({"PATH": path, "PYENV_ROOT": str(tmp_path)}))

    assert [each.version for each in found] == [(3, 12), (3, 14)]


def test_environment_belongs_to_its_pins_and_its_python() -> None:
    """Another pin or another interpreter makes another stamp."""
    stamps = {stamp(pins, python) for pins in (b"a==1", b"a==2") for python in (OURS, NEWER[0])}

    assert len(stamps) == 4


def test_last_words_are_the_last_line_that_says_anything(tmp_path: Path) -> None:
    """Blank lines at the end of a log are passed over; an empty log is told as such."""
    log = tmp_path / "log"
    log.write_text("Collecting x\nERROR: no matching distribution\n\n")

    assert last_words(log) == "ERROR: no matching distribution"
    log.write_text("\n")
    assert last_words(log) == "it said nothing"


def test_every_peer_has_its_program_and_its_pins() -> None:
    """Each row of the catalog names files that are there, all of whose requirements are pinned."""
    folder = Path(sys.modules[choose.__module__].__file__ or "").parent
    for peer in PEERS:
        lines = (folder / "requirements" / f"{peer.environment}.txt").read_text().splitlines()
        assert (folder / "programs" / f"{peer.program}.py").exists()
        assert all("==" in line for line in lines if not line.startswith("#"))
