"""`ingest notebooks`: JupyterLab with a database, saving without outputs, ended by Ctrl-C."""

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from tests.simulation.service import environment, free_port, is_running, wait_until

_ASK_S = 30.0
_TOKEN = "of-this-test"
_EXECUTED = {
    "type": "notebook",
    "content": {
        "cells": [
            {
                "cell_type": "code",
                "id": "sum",
                "metadata": {},
                "source": "1 + 1",
                "execution_count": 1,
                "outputs": [
                    {
                        "output_type": "execute_result",
                        "execution_count": 1,
                        "data": {"text/plain": "2"},
                        "metadata": {},
                    }
                ],
            }
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    },
}


@contextmanager
def _opened(folder: Path, database_url: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The command and where its JupyterLab is, on a folder of notebooks below `folder`."""
    port = free_port()
    (folder / "notebooks").mkdir()
    private = {f"JUPYTER_{name}_DIR": str(folder / "private") for name in ("CONFIG", "DATA", "RUNTIME")}
    with subprocess.Popen(
        (
            *(sys.executable, "-m", "ingest", "notebooks", "--", "--no-browser"),
            *(f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={_TOKEN}"),
        ),
        cwd=folder,
        env=environment(INGEST_DATABASE_URL=database_url, **private),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as command:
        try:
            yield command, f"http://127.0.0.1:{port}/api"
        finally:
            command.kill()


def _ask(address: str, body: object = None) -> Any:
    data = None if body is None else orjson.dumps(body)
    request = urllib.request.Request(address, data, method="GET" if body is None else "PUT")
    request.add_header("Authorization", f"token {_TOKEN}")
    with urllib.request.urlopen(request, timeout=_ASK_S) as answer:
        return orjson.loads(answer.read())


def test_jupyterlab_saves_without_outputs_and_ends_with_the_command(
    tmp_path: Path, postgres_server: str
) -> None:
    """What is saved has its source and no outputs; Ctrl-C, without a question, leaves nothing running."""
    with _opened(tmp_path, postgres_server) as (command, address):
        wait_until("JupyterLab answers", lambda: _ask(f"{address}/status"))
        (started,) = (tmp_path / "private").glob("jpserver-*.json")
        jupyter = orjson.loads(started.read_bytes())["pid"]

        _ask(f"{address}/contents/a.ipynb", _EXECUTED)
        command.send_signal(signal.SIGINT)
        told, _ = command.communicate(timeout=_ASK_S)

    saved = orjson.loads((tmp_path / "notebooks" / "a.ipynb").read_bytes())
    assert "".join(saved["cells"][0]["source"]) == "1 + 1"
    assert saved["cells"][0]["outputs"] == []
    assert command.returncode == 0, told
    assert "database: the configured one" in told
    assert not is_running(jupyter)
