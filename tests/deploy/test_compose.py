"""Everything on one machine: the compose file by its schema, and by what the service needs."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ingest.config import load_settings
from tests.deploy.pods import pod
from tests.deploy.tools import K8S, REPOSITORY, fetched_file, load_yaml, prometheus_program, run

FILE = K8S / "compose.yaml"
PASSWORDS = {"OWNER_PASSWORD", "WRITER_PASSWORD", "READER_PASSWORD"}
OURS = ("migrate", "ingest", "deadman")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = load_yaml(FILE)
    return found


def test_file_is_what_the_schema_says(compose: dict[str, Any]) -> None:
    """Docker's own schema; `name` is younger than it."""
    schema = json.loads(fetched_file("compose", "config", "compose_spec.json").read_text(encoding="utf-8"))
    known = {key: value for key, value in compose.items() if key != "name"}

    judge = jsonschema.Draft201909Validator(schema)

    judge.validate(known)
    assert not judge.is_valid({**known, "services": {"ingest": {"imagee": "ingest"}}})


def test_names_in_it_are_there(compose: dict[str, Any]) -> None:
    """Volumes, networks, services that are waited for, and files of the repository."""
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        assert set(service["networks"]) <= set(compose["networks"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (K8S / source).exists(), source
            else:
                assert source in compose["volumes"]
    build = compose["services"]["migrate"]["build"]
    assert (K8S / build["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / build["dockerfile"]).exists()


def test_no_password_has_a_default() -> None:
    """Whoever forgets one is told so, instead of getting one that everybody knows."""
    asked = re.findall(r"\$\{(\w+)(:\?|:-)?\}", FILE.read_text(encoding="utf-8"))

    assert {name for name, how in asked if how == ":?"} == PASSWORDS
    assert {name for name, how in asked if how != ":?"} == {"ALERTS_URLS"}


@pytest.mark.parametrize("name", OURS)
def test_program_understands_its_configuration(compose: dict[str, Any], name: str, tmp_path: Path) -> None:
    """The variables are right, and each logs in as who it has to be."""
    environment = {
        key: re.sub(r"\$\{\w+:-\}", "", value).replace(":?}", "}")
        for key, value in compose["services"][name]["environment"].items()
    }
    users = {"migrate": "ingest_owner", "ingest": "collector", "deadman": "analyst"}
    settings = load_settings(None, environment)

    assert f"//{users[name]}:" in settings.database.dsn
    assert settings.alerts.urls == []


def test_stop_leaves_the_time_to_drain(compose: dict[str, Any]) -> None:
    """The engine kills later than the service has promised to be gone."""
    service = compose["services"]["ingest"]
    stop_s = float(service["environment"]["INGEST_SERVICE_STOP_DEADLINE_S"])

    assert float(service["stop_grace_period"].removesuffix("s")) >= stop_s + 10


def test_nothing_is_open_beyond_the_machine(compose: dict[str, Any]) -> None:
    """Ports are this machine's; the database has none."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "ports" not in compose["services"]["database"]
    for name in OURS:
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_database_is_that_of_the_manifests(compose: dict[str, Any]) -> None:
    """The same image, the same users."""
    database = compose["services"]["database"]

    assert database["image"] == pod("overlays/dev", "timescaledb").container["image"]
    assert "./database/users.sql:/docker-entrypoint-initdb.d/100_users.sql:ro" in database["volumes"]


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """`promtool check config`, the rules included; its target is the service at its port."""
    config = K8S / "prometheus" / "prometheus.yaml"
    code, said = run(prometheus_program("promtool"), "check", "config", config)
    (job,) = yaml.safe_load(config.read_text(encoding="utf-8"))["scrape_configs"]

    assert code == 0, said
    assert job["job_name"] == "ingest"
    assert job["static_configs"] == [{"targets": ["ingest:8080"]}]
    assert (config.parent / "rules.yaml").exists()
