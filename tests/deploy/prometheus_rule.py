"""`make rules`: the rules as the Prometheus operator takes them, of the file that Prometheus itself takes."""

import sys

import yaml

from tests.deploy.tools import K8S, RULES, load_yaml

TARGET = K8S / "prometheus" / "prometheusrule.yaml"
_HEAD = "# Made of rules.yaml by `make rules`; a test compares the two.\n"


class _Plain(yaml.SafeDumper):
    """Writes what is there twice out twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def manifest() -> str:
    """The text of the manifest."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "ingest"},
        "spec": load_yaml(RULES),
    }
    return _HEAD + yaml.dump(resource, Dumper=_Plain, sort_keys=False, width=110, allow_unicode=True)


if __name__ == "__main__":
    TARGET.write_text(manifest(), encoding="utf-8")
    sys.exit(0)
