"""`ingest demo`, short: everything together, with faults, and the account at the end."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.deadline(180)
def test_short_demo_settles_its_account(tmp_path: Path) -> None:
    """Faults, a killed shard, and yet nothing is missing unnoticed, twice or altered."""
    command = (sys.executable, "-m", "ingest", "demo", "--duration", "15", "--symbols", "8", "--rate", "400")

    done = subprocess.run(
        (*command, "--keep", str(tmp_path)), capture_output=True, text=True, timeout=150, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "a shard is killed" in done.stdout
    assert "Nothing is missing unnoticed" in done.stdout
