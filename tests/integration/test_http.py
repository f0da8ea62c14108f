"""The supervisor's HTTP over a real socket on loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.errors import ConfigError
from ingest.events import StreamKey
from ingest.ops.http import HttpSources, make_app, serve
from ingest.supervisor.freshness import ServiceFacts
from tests.unit.board.builders import a_board, a_shard, a_stream, some_facts

DEADLINE = aiohttp.ClientTimeout(total=10)


def sources(facts: ServiceFacts | None = None, *, tick_age_s: float = 0.1) -> HttpSources:
    return HttpSources(facts=lambda: facts or some_facts(), tick_age_s=lambda: tick_age_s)


def facts_with(**streams: float) -> ServiceFacts:
    """A service with one trade stream for each name, of the given age in seconds."""
    keys = {StreamKey("spot", name, "trade"): a_stream(age_s=age_s) for name, age_s in streams.items()}
    return some_facts(a_shard(a_board(keys)))


@asynccontextmanager
async def served(of: HttpSources | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        serve(make_app(of or sources()), "127.0.0.1", 0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=DEADLINE) as client,
    ):
        yield client


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with client.get(path) as response:
        return response.status, await response.text()


async def test_healthy_service_answers_yes_three_times() -> None:
    """Alive, ready and fresh are asked at three places and answered with 200 and JSON."""
    async with served() as client:
        answers = [await get(client, path) for path in ("/livez", "/readyz", "/freshz")]

    assert [status for status, _ in answers] == [200] * 3
    assert [orjson.loads(body)["status"] for _, body in answers] == ["alive", "ready", "fresh"]


async def test_alive_is_not_ready_and_ready_is_not_fresh() -> None:
    """Each question has its own answer: a service may be ready with stale data."""
    async with served(sources(facts_with(BTCUSDT=300.0))) as client:
        answers = {path: (await get(client, path))[0] for path in ("/livez", "/readyz", "/freshz")}

    assert answers == {"/livez": 200, "/readyz": 200, "/freshz": 503}


async def test_stuck_supervisor_is_not_alive() -> None:
    """A loop that stands is answered with 503."""
    async with served(sources(tick_age_s=60)) as client:
        assert (await get(client, "/livez"))[0] == 503


async def test_service_with_a_dead_shard_is_not_ready() -> None:
    """The answer names the shard."""
    async with served(sources(some_facts(a_shard(a_board(), running=False)))) as client:
        status, body = await get(client, "/readyz")

    assert (status, orjson.loads(body)["reasons"]) == (503, ["shard 0 is not running"])


async def test_freshness_is_asked_for_an_age() -> None:
    """`max_age` asks whether all rows are younger than so many seconds; ages come with the answer."""
    async with served(sources(facts_with(BTCUSDT=10.0, ETHUSDT=20.0))) as client:
        younger_than_15 = await get(client, "/freshz?max_age=15")
        younger_than_25 = await get(client, "/freshz?max_age=25.5")

    assert (younger_than_15[0], younger_than_25[0]) == (503, 200)
    body = orjson.loads(younger_than_15[1])
    assert body["last_event_age_seconds"] == 20
    assert body["markets"]["spot"]["kinds"]["trade"]["last_event_age_seconds"] == 20
    assert [reason.split(":")[1] for reason in body["reasons"]] == ["ETHUSDT"]


@pytest.mark.parametrize("query", ["max_age=soon", "max_age=0", "max_age=-1", "max_age=nan", "max_age=inf"])
async def test_age_that_is_no_positive_number_is_refused_by_name(query: str) -> None:
    """A question that makes no sense gets 400, not an answer to another question."""
    async with served() as client:
        status, body = await get(client, f"/freshz?{query}")

    assert (status, body.startswith("max_age: expected one positive number")) == (400, True)


@pytest.mark.parametrize(("query", "named"), [("maxage=5", "maxage"), ("max_age=5&max_age=6", "max_age")])
async def test_misspelt_or_repeated_parameter_is_refused_by_name(query: str, named: str) -> None:
    """Who misspells the parameter must not believe that it was heard."""
    async with served() as client:
        status, body = await get(client, f"/freshz?{query}")

    assert (status, named in body) == (400, True)


async def test_kind_limits_decide_what_is_fresh() -> None:
    """A limit from the configuration replaces the streams' own."""
    strict = replace(sources(facts_with(BTCUSDT=10.0)), kind_limits_s={"trade": 5.0})

    async with served(strict) as client:
        assert (await get(client, "/freshz"))[0] == 503


async def test_metrics_are_prometheus_text() -> None:
    """The answer parses as Prometheus' text format and says so in its type."""
    async with served() as client, client.get("/metrics") as response:
        text = await response.text()

    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert "ingest_shard_up" in {family.name for family in text_string_to_metric_families(text)}


async def test_answers_may_not_be_cached() -> None:
    """An answer about now is not to be kept."""
    async with served() as client, client.get("/freshz") as response:
        assert response.headers["Cache-Control"] == "no-store"


async def test_taken_port_is_a_clear_error() -> None:
    """A second service on the same port is told the address and the keys to change."""
    async with serve(make_app(sources()), "127.0.0.1", 0) as port:
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1 port {port}: .*http_port in \[service\]"):
            async with serve(make_app(sources()), "127.0.0.1", port):
                pass


async def test_port_is_free_again_afterwards() -> None:
    """Leaving the block lets go of the port."""
    async with serve(make_app(sources()), "127.0.0.1", 0) as port:
        pass
    async with serve(make_app(sources()), "127.0.0.1", port) as again:
        assert again == port
