"""Pods as the manifests describe them, and what the program makes of the configuration there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ingest.config import Settings, load_settings
from tests.deploy.tools import of_kind, rendered

OVERLAYS = ("overlays/dev", "overlays/prod")
_SIZES = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


class Pod(NamedTuple):
    """A template, and whose it is."""

    overlay: str
    owner: dict[str, Any]
    template: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.owner["metadata"]["name"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"]["labels"])

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.template["spec"])

    @property
    def container(self) -> dict[str, Any]:
        """There is one in each."""
        (container,) = self.spec["containers"]
        return dict(container)

    @property
    def is_ours(self) -> bool:
        """Whether our program runs in it."""
        return self.name.startswith("ingest")

    def mounted(self, path: str) -> dict[str, Any]:
        """The volume at a path, with what the mount says."""
        (mount,) = (each for each in self.container["volumeMounts"] if each["mountPath"] == path)
        volumes = {each["name"]: each for each in self.spec["volumes"]}
        return {**volumes.get(mount["name"], {}), **mount}


def pods(overlay: str) -> Iterator[Pod]:
    """Every pod that an overlay starts."""
    for resource in rendered(overlay):
        if resource["kind"] in {"StatefulSet", "Job"}:
            yield Pod(overlay, resource, resource["spec"]["template"])
        elif resource["kind"] == "CronJob":
            yield Pod(overlay, resource, resource["spec"]["jobTemplate"]["spec"]["template"])


def pod(overlay: str, name: str) -> Pod:
    """The pod of one owner."""
    (found,) = (each for each in pods(overlay) if each.name == name)
    return found


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector takes a pod."""
    wanted = selector.get("matchLabels", {}).items()
    return all(labels.get(key) == value for key, value in wanted) and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )


def bytes_of(quantity: str) -> int:
    """12Gi in bytes."""
    found = re.fullmatch(r"(\d+)([KMG]i)?", quantity)
    assert found is not None, quantity
    return int(found[1]) * _SIZES[found[2] or ""]


def settings_in(found: Pod, folder: Path) -> Settings:
    """What the program reads in a pod, its password a file of the test's. Raises ConfigError for mistakes."""
    config = found.mounted("/etc/ingest")["configMap"]["name"]
    (config_map,) = (
        each for each in of_kind(found.overlay, "ConfigMap") if each["metadata"]["name"] == config
    )
    file = folder / "ingest.toml"
    file.write_text(config_map["data"]["ingest.toml"], encoding="utf-8")
    password = folder / "password"
    password.write_text("secret", encoding="utf-8")
    environment = {each["name"]: each["value"] for each in found.container["env"] if "value" in each}
    assert environment.pop("INGEST_CONFIG") == "/etc/ingest/ingest.toml"
    environment |= {
        "INGEST_DATABASE_URL": "postgresql://somebody@database/market",
        "INGEST_DATABASE_PASSWORD_FILE": str(password),
    }
    return load_settings(file, environment)
