"""A real Prometheus, which scrapes one service and knows the rules that are delivered."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import RULES, prometheus_program
from tests.simulation.service import free_port

_STOP_S = 20


class Prometheus:
    """A server of its own, which scrapes and judges each second. Whoever starts one ends it."""

    def __init__(self, folder: Path, target: str, rules: Path = RULES) -> None:
        self._url = f"http://127.0.0.1:{free_port()}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "ingest", "static_configs": [{"targets": [target]}]}],
        }
        file = folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        self._log = folder / "prometheus.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    prometheus_program("prometheus"),
                    f"--config.file={file}",
                    f"--storage.tsdb.path={folder / 'prometheus'}",
                    f"--web.listen-address={self._url.removeprefix('http://')}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ask(self, path: str, **parameters: object) -> Any:
        """`data` of its answer. OSError while it is not there; AssertionError for a refusal."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=20) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode()
            # It answers so while it starts.
            is_starting = error.code == HTTPStatus.SERVICE_UNAVAILABLE
            raise (ConnectionError if is_starting else AssertionError)(said) from None

    def now_s(self) -> float:
        """Its own time."""
        return float(self.ask("query", query="time()")["result"][0])

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=_STOP_S)
