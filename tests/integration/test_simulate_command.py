"""`ingest simulate` as a process: ready file, signals, parent, mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ingest.cli.simulate import simulate

DEADLINE_S = 30.0
COMMAND = (sys.executable, "-c", "from ingest.cli.simulate import simulate; simulate()", "--port", "0")


@contextmanager
def _running(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """The command, listening, and what its ready file says."""
    ready = folder / "ready.json"
    command = [*COMMAND, "--no-recording", "--symbols", "3", "--ready-file", str(ready), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            deadline_s = time.monotonic() + DEADLINE_S
            while not ready.exists():
                assert process.poll() is None, "the command ended"
                assert time.monotonic() < deadline_s, "the command does not listen"
                time.sleep(0.02)
            yield process, json.loads(ready.read_text())
        finally:
            process.kill()


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        return json.load(answer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_and_stops_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """The addresses answer; the exit is clean."""
    with _running(tmp_path) as (process, urls):
        assert _get(urls["rest_url"] + "/_double/state")["phase"] == "playing"
        process.send_signal(number)

        assert process.wait(DEADLINE_S) == 0
        assert process.stdout is not None
        assert urls["ws_url"] in process.stdout.read().decode()


def test_command_ends_with_its_parent(tmp_path: Path) -> None:
    """With --die-with-parent it stops when standard input closes."""
    with _running(tmp_path, "--die-with-parent") as (process, _):
        assert process.stdin is not None
        process.stdin.close()

        assert process.wait(DEADLINE_S) == 0


def test_command_plays_faults_from_a_file(tmp_path: Path) -> None:
    """The script's faults are listed with their state."""
    script = tmp_path / "faults.toml"
    script.write_text('[[fault]]\naction = "refuse"\nstatus = 503\n')
    with _running(tmp_path, "--faults", str(script), "--start", "now") as (_, urls):
        listed = _get(urls["rest_url"] + "/_double/faults")

    assert [(each["fault"]["action"], each["state"]) for each in listed] == [("refuse", "active")]


def test_mistakes_in_the_fault_file_are_listed(tmp_path: Path) -> None:
    """Every mistake with its place, and exit code 2."""
    script = tmp_path / "faults.toml"
    script.write_text('[[fault]]\naction = "explode"\n[[fault]]\naction = "drop"\nn = "x"\n')

    result = CliRunner().invoke(simulate, ["--faults", str(script)])

    assert result.exit_code == 2
    assert "fault 1: unknown action 'explode'" in result.output
    assert "fault 2: n must be a whole number" in result.output


@pytest.mark.parametrize(
    "options",
    [
        ["--start", "soon"],
        ["--speed", "0"],
        ["--no-recording", "--symbols", "0"],
        ["--rate", "0"],
        ["--port", "99999"],
    ],
)
def test_impossible_options_are_refused(options: list[str]) -> None:
    """Wrong use is exit code 2."""
    assert CliRunner().invoke(simulate, options).exit_code == 2


def test_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    """A second double on the same port says so and fails."""
    with _running(tmp_path) as (_, urls):
        port = urls["ws_url"].rpartition(":")[2]
        options = ["--no-recording", "--symbols", "1", "--port", port]
        second = subprocess.run(
            [*COMMAND, *options], capture_output=True, timeout=DEADLINE_S, check=False, env=dict(os.environ)
        )

    assert second.returncode == 1
    assert b"cannot listen on 127.0.0.1" in second.stderr
