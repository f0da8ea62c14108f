"""Grafana's dashboards, taken apart: panels and queries, with the variables and macros filled in."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tests.deploy.tools import K8S

FOLDER = K8S / "grafana" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
METRICS = {"type": "prometheus", "uid": "${metrics}"}
DATABASE = {"type": "grafana-postgresql-datasource", "uid": "${database}"}

GOOD_TO_BE_EMPTY = {"none", "nowhere", "not foreseen", "redundancy = 1"}
"""What panels say that are empty while all is well; what else is said instead is trouble, or soon gone."""

_INTERVAL_S = 10
_ALIAS = re.compile(r"\$__timeGroupAlias\((\w+), \$__interval\)")
_FILTER = re.compile(r"\$__timeFilter\((\w+)\)")


class Query(NamedTuple):
    """One query of a panel, or of what is above all panels."""

    board: str
    panel: dict[str, Any]
    target: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.board}: {self.panel['title']} {self.target.get('refId', '')}"

    @property
    def may_be_empty(self) -> bool:
        """Whether the panel is, while all is well."""
        return self.panel["fieldConfig"]["defaults"].get("noValue") in GOOD_TO_BE_EMPTY

    @property
    def is_sql(self) -> bool:
        return "rawSql" in self.target


def load(name: str) -> dict[str, Any]:
    """One dashboard."""
    board: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return board


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """All but the headings between them."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Every query of every panel."""
    for file in FILES:
        for panel in panels(load(file.name)):
            for target in panel["targets"]:
                yield Query(file.stem, panel, target)


def sql_of(text: str, *, symbol: str = "BTCUSDT", span: timedelta = timedelta(minutes=10)) -> str:
    """As Grafana's PostgreSQL data source sends it, for the newest `span`."""
    until = datetime.now(UTC)  # noqa: TID251  # what a person's browser would do
    start, end = (f"'{moment:%Y-%m-%dT%H:%M:%SZ}'" for moment in (until - span, until + timedelta(seconds=1)))
    text = _ALIAS.sub(rf'floor(extract(epoch from \1)/{_INTERVAL_S})*{_INTERVAL_S} AS "time"', text)
    text = _FILTER.sub(rf"\1 BETWEEN {start} AND {end}", text)
    text = text.replace("$__timeFrom()", start).replace("$__timeTo()", end).replace("$symbol", symbol)
    assert "$" not in text, text
    return text


def promql_of(text: str) -> str:
    """As Grafana's Prometheus data source sends it, every instance chosen."""
    text = text.replace('instance=~"$instance"', 'instance=~".*"').replace("$__rate_interval", "20s")
    assert "$" not in text, text
    return text
