"""Every query of the dashboards, and every rule, against a real Prometheus and the real database.

A service runs against the exchange double, which misbehaves so that there is something to see; Prometheus
scrapes it with the rules that are delivered. No panel may be empty, but those that have words for it.
"""

import asyncio
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import asyncpg
import pytest

from ingest.store.embedded import EmbeddedPostgres
from tests.deploy.dashboards import Query, load, promql_of, queries, sql_of
from tests.deploy.prometheus import Prometheus
from tests.deploy.tools import prometheus_program, rules
from tests.simulation.service import Double, NotInTime, Service, a_double, a_service, wait_until

QUERIES = [*queries()]
KINDS = "trade agg_trade book_ticker depth kline_1m mini_ticker".split()
NONEMPTY_S = 180.0
EMPTY = {
    # Hours of samples make a forecast; repairs are quick here; candles shall not differ.
    "overview: Database disk full in A",
    "quality: Gaps that are open A",
    "quality: Gaps that stay, by stream A",
    "quality: Where our candles and the exchange's differ A",
}
UNKNOWN_HERE = {"ingest_disk_full_in_seconds"}
SPAN_S = 60
_ASK_S = 30.0
_METRIC = re.compile(r"\bingest(?:_[a-z0-9_]+|:[a-z0-9_:]+)")


class Stage(NamedTuple):
    double: Double
    service: Service
    prometheus: Prometheus


def misbehave(double: Double) -> None:
    """Something for each panel: a connection ends, frames cannot be read, a stream is silent."""
    double.fault("reset", connection=1)
    double.fault("malformed", n=5)
    double.fault("duplicate", kind="trade", fraction=0.2, for_s=20.0)
    double.fault("mute_stream", symbol="ETHUSDT", kind="trade", for_s=600.0)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The service and who watches it."""
    prometheus_program("prometheus")
    folder = tmp_path_factory.mktemp("watched")
    sections: dict[str, Mapping[str, object]] = {
        "spot": {"symbols": "*", "kinds": KINDS, "redundancy": 2, "streams_per_feed": 32, "audit_every_s": 1},
        "silence": {"sweep_every_s": 10, "fixed_s": dict.fromkeys(KINDS, 5)},
    }
    with (
        a_double(
            folder, "--no-recording", "--symbols", "6", "--rate", "300", "--ping-interval", "2"
        ) as double,
        a_service(folder, double, **sections) as service,
    ):
        prometheus = Prometheus(folder, f"127.0.0.1:{service.http_port}")
        try:
            service.wait_books_live()
            misbehave(double)
            wait_until("Prometheus scrapes", lambda: prometheus.ask("query", query="ingest_ready")["result"])
            yield Stage(double, service, prometheus)
        finally:
            prometheus.end()


def series_of(stage: Stage, query: Query) -> list[dict[str, Any]]:
    """What Prometheus answers to a panel, series without a number left out."""
    text = promql_of(query.target["expr"])
    if query.target.get("instant"):
        found = stage.prometheus.ask("query", query=text)["result"]
        return [each for each in found if not math.isnan(float(each["value"][1]))]
    end_s = stage.prometheus.now_s()
    found = stage.prometheus.ask("query_range", query=text, start=end_s - SPAN_S, end=end_s, step=2)["result"]
    return [each for each in found if any(not math.isnan(float(value)) for _, value in each["values"])]


def looked_up(stage: Stage, text: str) -> list[Any]:
    """What the database answers to somebody with no more than a reader's rights."""
    url = EmbeddedPostgres(stage.service.data_dir / "postgres").url_of_running()
    assert url is not None
    return asyncio.run(_looked_up(url, text))


async def _looked_up(url: str, text: str) -> list[Any]:
    connection = await asyncpg.connect(url, timeout=_ASK_S, command_timeout=_ASK_S)
    try:
        await connection.execute("SET ROLE ingest_reader")
        return list(await connection.fetch(text))
    finally:
        await connection.close(timeout=_ASK_S)


def rows_of(stage: Stage, query: Query) -> list[Any]:
    """What the database answers to a panel."""
    return looked_up(stage, sql_of(query.target["rawSql"]))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("query", [each for each in QUERIES if not each.is_sql], ids=str)
def test_prometheus_answers_the_panel(stage: Stage, query: Query) -> None:
    """With numbers, in the time that a person would see at first."""
    if query.may_be_empty:
        series_of(stage, query)
    else:
        wait_until(str(query), lambda: series_of(stage, query), deadline_s=NONEMPTY_S)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("query", [each for each in QUERIES if each.is_sql], ids=str)
def test_database_answers_the_panel(stage: Stage, query: Query) -> None:
    """With rows, for a user who can only look; over time what comes first is the time, in order."""
    if query.may_be_empty:
        rows = rows_of(stage, query)
    else:
        rows = wait_until(str(query), lambda: rows_of(stage, query), deadline_s=NONEMPTY_S)
    if rows and query.target["format"] == "time_series":
        times = [row["time"] for row in rows]
        assert next(iter(rows[0].keys())) == "time"
        assert times == sorted(times)


@pytest.mark.timeout(600)
def test_panels_that_are_empty_while_all_is_well_are_not_for_ever(stage: Stage) -> None:
    """During faults nearly all of them have something to say, so those queries were tried, too."""
    optional = [query for query in QUERIES if query.may_be_empty]

    never = {str(query): query for query in optional}

    def all_but_few_have_spoken() -> bool:
        for name, query in [*never.items()]:
            if (rows_of if query.is_sql else series_of)(stage, query):
                del never[name]
        return never.keys() <= EMPTY

    misbehave(stage.double)
    try:
        wait_until("more speak", all_but_few_have_spoken, deadline_s=NONEMPTY_S)
    except NotInTime:
        pytest.fail(f"silent to the end: {sorted(never.keys() - EMPTY)}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("board", ["database.json", "quality.json"])
def test_variables_have_something_to_choose_from(stage: Stage, board: str) -> None:
    """Symbols come from the database, instances from Prometheus."""
    variables = {each["name"]: each for each in load(board)["templating"]["list"]}
    symbols = looked_up(stage, variables["symbol"]["query"])
    instances = stage.prometheus.ask("series", **{"match[]": "ingest_ready"})

    assert "BTCUSDT" in [row["symbol"] for row in symbols]
    assert instances[0]["instance"] == f"127.0.0.1:{stage.service.http_port}"


@pytest.mark.timeout(600)
def test_annotations_are_rows_of_incidents(stage: Stage) -> None:
    """What is drawn across all panels, with begin and end."""
    text = load("overview.json")["annotations"]["list"][0]["target"]["rawSql"]
    rows = wait_until("an incident", lambda: looked_up(stage, sql_of(text)), deadline_s=NONEMPTY_S)

    assert [*rows[0].keys()] == ["time", "timeend", "text", "tags"]


@pytest.mark.timeout(600)
def test_rules_find_the_metrics_that_they_name(stage: Stage) -> None:
    """Each has samples in a real scrape; no rule has failed; the one that always fires does."""
    named = {name for rule in rules() for name in _METRIC.findall(rule["expr"])} - UNKNOWN_HERE

    def missing() -> set[str]:
        return {name for name in named if not stage.prometheus.ask("query", query=name)["result"]}

    wait_until("every metric has samples", lambda: not missing(), deadline_s=NONEMPTY_S)
    groups = stage.prometheus.ask("rules")["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    firing = {alert["labels"]["alertname"] for alert in stage.prometheus.ask("alerts")["alerts"]}
    assert "DeadMansSwitch" in firing
