"""The dashboards by themselves: what Grafana knows, nothing over each other, nothing forgotten."""

import json
import re
from typing import Any

import pytest

from ingest.ops.metric_table import METRICS, PER_STREAM_METRICS
from tests.deploy import dashboards
from tests.deploy.dashboards import FILES, load, panels, queries
from tests.deploy.tools import K8S, fetched_module, load_yaml, of_kind, rules

BOARDS = [file.name for file in FILES]
RECORDED = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
COLUMNS = 24
NOT_IN_THE_MODEL = ".annotations.list[0].target."
"""Of annotations it has those of Grafana's own database only; `test_watched` asks this one."""


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each of them."""
    return load(request.param)


def differences(ours: object, known: object, place: str = "") -> list[str]:
    """Where something of ours is not in what Grafana's model made of it."""
    if isinstance(ours, dict) and isinstance(known, dict):
        return [
            found
            for key, value in ours.items()
            for found in (
                differences(value, known[key], f"{place}.{key}") if key in known else [f"{place}.{key}"]
            )
        ]
    if isinstance(ours, list) and isinstance(known, list) and len(ours) == len(known):
        return [
            found
            for n, pair in enumerate(zip(ours, known, strict=True))
            for found in differences(*pair, f"{place}[{n}]")
        ]
    return [] if ours == known else [place]


def known_of(board: dict[str, Any]) -> dict[str, Any]:
    """The dashboard as Grafana's own model of dashboards, panels and queries reads and writes it."""
    encoder = fetched_module("grafana_foundation_sdk.cog.encoder").JSONEncoder
    fetched_module("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    model = fetched_module("grafana_foundation_sdk.models.dashboard").Dashboard.from_json(board)
    known: dict[str, Any] = json.loads(encoder(sort_keys=True).encode(model))
    return known


def unknown_keys(board: dict[str, Any]) -> list[str]:
    """What its model does not know, or has otherwise."""
    found = differences(board, known_of(board))
    return [place for place in found if not place.startswith(NOT_IN_THE_MODEL)]


def test_sql_is_asked_as_the_source_wants_it(board: dict[str, Any]) -> None:
    """Of this source's queries there is no model: the keys that its editor writes, and no others."""
    for panel in panels(board):
        for target in panel["targets"]:
            if "rawSql" in target:
                assert set(target) == {"refId", "datasource", "rawSql", "format", "editorMode", "rawQuery"}
                assert target["format"] == ("table" if panel["type"] != "timeseries" else "time_series")


def test_grafana_knows_every_key(board: dict[str, Any]) -> None:
    """What its model does not know it would leave out without a word."""
    assert unknown_keys(board) == []


def test_model_finds_what_is_wrong(board: dict[str, Any]) -> None:
    """The check is one: misspelt keys of a panel, its options and its query are found."""
    panel = next(each for each in panels(board) if "expr" in each["targets"][0])
    panel["titel"] = panel["options"]["legendd"] = panel["targets"][0]["exprr"] = "x"

    assert len(unknown_keys(board)) == 3


def test_panels_stand_side_by_side(board: dict[str, Any]) -> None:
    """Within the width, nothing over anything else, ids their own."""
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= COLUMNS
        assert not taken & cells, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


def test_panels_ask_the_chosen_sources(board: dict[str, Any]) -> None:
    """No dashboard is bound to the sources of the machine that it was made on."""
    variables = {each["name"]: each for each in board["templating"]["list"]}
    for panel in panels(board):
        for target in panel["targets"]:
            source = dashboards.DATABASE if "rawSql" in target else dashboards.METRICS
            assert panel["datasource"] == target["datasource"] == source
    assert variables["metrics"]["query"] == "prometheus"
    assert variables["database"]["query"] == dashboards.DATABASE["type"]


def test_every_panel_says_what_it_is(board: dict[str, Any]) -> None:
    """Titles are words for people, and none comes twice under one heading."""
    titles = [panel["title"] for panel in panels(board)]

    assert all(title[:1].isupper() for title in titles)
    assert len(set(titles)) == len(titles)


def test_dashboards_have_names_of_their_own() -> None:
    """Links and bookmarks go by uid."""
    boards = [load(name) for name in BOARDS]

    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(boards)


def test_every_metric_is_on_a_dashboard() -> None:
    """Nothing is exported that nobody can see."""
    text = " ".join(query.target.get("expr", "") for query in queries())
    text += " ".join(expression for name, expression in RECORDED.items() if name in text)
    shown = set(re.findall(r"ingest_[a-z0-9_]+", text))

    assert {row.name for row in METRICS} - {row.name for row in PER_STREAM_METRICS} - shown == set()


def test_dashboards_are_delivered() -> None:
    """All of them are in the config map that Grafana's sidecar finds, and where compose.yaml mounts them."""
    (config,) = of_kind("grafana", "ConfigMap")
    (provider,) = load_yaml(K8S / "grafana" / "provisioning" / "dashboards" / "ingest.yaml")["providers"]
    grafana = load_yaml(K8S / "compose.yaml")["services"]["grafana"]

    assert sorted(config["data"]) == BOARDS
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]


def test_sources_are_provisioned() -> None:
    """Both kinds that the dashboards ask for, at the services of compose.yaml; as who only looks."""
    services = load_yaml(K8S / "compose.yaml")["services"]
    sources = load_yaml(K8S / "grafana" / "provisioning" / "datasources" / "ingest.yaml")["datasources"]
    by_type = {source["type"]: source for source in sources}

    assert set(by_type) == {dashboards.METRICS["type"], dashboards.DATABASE["type"]}
    assert by_type["prometheus"]["url"] == "http://prometheus:9090"
    database = by_type[dashboards.DATABASE["type"]]
    assert database["url"] == "database:5432"
    assert database["user"] == "analyst"
    assert database["secureJsonData"]["password"] == "$READER_PASSWORD"
    assert "READER_PASSWORD" in services["grafana"]["environment"]
