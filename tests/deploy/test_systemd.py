"""The unit: judged by systemd itself, where it is installed."""

import configparser
import re
import shutil
from pathlib import Path

import pytest

from ingest.config import load_settings
from tests.deploy.tools import K8S, run

UNIT = K8S / "ingest.service"
MOST_EXPOSED = 1.5


@pytest.fixture
def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("SYSTEMD-ANALYZE IS ABSENT, k8s/ingest.service was NOT checked with it: install systemd")
    return found


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return parser


def test_systemd_has_nothing_to_say(systemd_analyze: str, tmp_path: Path) -> None:
    """`verify` finds no mistake once the program is where the unit has it."""
    program = tmp_path / "ingest"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    copy.write_text(
        text.replace("/opt/ingest/bin/ingest", str(program)).replace("User=ingest\n", "User=daemon\n")
    )
    code, said = run(systemd_analyze, "verify", "--man=no", copy)

    assert code == 0, said
    assert UNIT.name not in said, said


def test_unit_exposes_little(systemd_analyze: str) -> None:
    """By systemd's own measure, from 0 to 10."""
    code, said = run(systemd_analyze, "security", "--offline=true", "--no-pager", UNIT)
    if "unrecognized option" in said:
        pytest.skip("SYSTEMD IS OLDER THAN 250, the exposure of k8s/ingest.service was NOT measured")
    found = re.search(r"Overall exposure level for ingest.service: ([\d.]+)", said)

    assert code == 0, said
    assert found is not None, said
    assert float(found[1]) <= MOST_EXPOSED


def test_service_has_the_time_to_drain_and_stops_by_itself() -> None:
    """The signal goes to the supervisor alone, which stops its shards; a mistake is not repeated."""
    service = unit()["Service"]

    assert float(service["TimeoutStopSec"]) >= load_settings(None, {}).service.stop_deadline_s + 10
    assert service["KillMode"] == "mixed"
    assert service["RestartPreventExitStatus"] == "2"
    assert f"/var/lib/{service['StateDirectory']}" == service["WorkingDirectory"]
