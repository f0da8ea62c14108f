"""What the status page is made of, over real sockets: its files, its pictures, and who may have them."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest

from ingest.ops.access import Access
from ingest.ops.http import HttpSources, make_app, serve
from ingest.ops.live import LiveLimits
from ingest.supervisor.freshness import ServiceFacts
from tests.page_stage import Stage
from tests.unit.board.builders import a_board, a_shard, some_facts

DEADLINE = aiohttp.ClientTimeout(total=20)
QUICK = LiveLimits(every_s=0.05)
PATHS = ("/", "/page/main.js", "/page/live", "/freshz", "/metrics", "/livez", "/readyz")


@asynccontextmanager
async def served(sources: HttpSources) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        serve(make_app(sources), "127.0.0.1", 0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=DEADLINE) as client,
    ):
        yield client


async def heard(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The events of a stream, until it ends."""
    name = ""
    async for line in response.content:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, orjson.loads(value)


async def some_events(client: aiohttp.ClientSession, many: int) -> list[tuple[str, dict[str, Any]]]:
    events: list[tuple[str, dict[str, Any]]] = []
    async with client.get("/page/live") as response:
        assert response.status == 200
        async for event in heard(response):
            events.append(event)
            if len(events) == many:
                break
    return events


# ---------------------------------------------------------------------- files


async def test_document_says_the_state_without_any_script() -> None:
    """The first line is of the moment of asking, for whoever has nothing but HTTP."""
    dead = replace(Stage().sources(), facts=lambda: some_facts(a_shard(a_board(), running=False)))
    async with served(dead) as client, client.get("/") as response:
        text = await response.text()

    assert response.headers["Cache-Control"] == "no-store"
    assert "The service is not ready, shard 0 is not running: do not rely on the data.</h1>" in text
    assert all(f'href="{path}"' in text for path in ("livez", "readyz", "freshz", "metrics"))


async def test_every_answer_carries_the_policy() -> None:
    """Nothing but the page's own files and scripts, nobody's frame, no guessing of types."""
    async with served(Stage().sources()) as client:
        for path in (*PATHS, "/page/none.js", "/none"):
            async with client.get(path) as response:
                policy = response.headers.get("Content-Security-Policy", "")
                assert "default-src 'none'; script-src 'self';" in policy, path
                assert "unsafe" not in policy
                assert "frame-ancestors 'none'" in policy
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_file_is_asked_for_each_time_and_sent_once() -> None:
    """A browser that has it is told so; a tag of another content has it sent again."""
    async with served(Stage().sources()) as client:
        async with client.get("/page/main.js") as first:
            tag, kind = first.headers["ETag"], first.headers["Content-Type"]
            assert first.headers["Cache-Control"] == "no-cache"
        async with client.get("/page/main.js", headers={"If-None-Match": tag}) as again:
            assert (again.status, await again.read()) == (304, b"")
        async with client.get("/page/main.js", headers={"If-None-Match": '"another"'}) as changed:
            assert changed.status == 200

    assert kind == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("path", ["/page/", "/page/none.js", "/page/index.html", "/page/..%2fhttp.py"])
async def test_nothing_but_the_files_of_the_page_is_served(path: str) -> None:
    """Names are looked up among those files; there is no path to walk."""
    async with served(Stage().sources()) as client, client.get(path) as response:
        assert response.status == 404


# ---------------------------------------------------------------------- pictures


async def test_listener_gets_the_whole_picture_then_news() -> None:
    """News are small beside the whole, and numbered on."""
    async with served(Stage(symbols=200).sources(live=QUICK)) as client:
        events = await some_events(client, 4)

    assert [name for name, _ in events] == ["full", "news", "news", "news"]
    assert [data["number"] for _, data in events] == [1, 2, 3, 4]
    full, news = (len(orjson.dumps(data)) for _, data in events[:2])
    assert news < full / 4


async def test_pictures_are_an_event_stream_that_nobody_may_keep() -> None:
    """By its type; proxies are asked not to hold it back."""
    async with served(Stage().sources()) as client, client.get("/page/live") as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Accel-Buffering"] == "no"


async def test_listeners_beyond_the_seats_are_refused_and_served_once_there_is_room() -> None:
    """Told with 503 and when to come again; who leaves makes room."""
    async with served(Stage().sources(live=LiveLimits(seats=1, every_s=0.05))) as client:
        async with client.get("/page/live") as first:
            await first.content.readline()
            async with client.get("/page/live") as second:
                assert (second.status, second.headers["Retry-After"]) == (503, "30")
        async with asyncio.timeout(20):
            while (await status_of(client, "/page/live")) != 200:
                await asyncio.sleep(0.02)


async def status_of(client: aiohttp.ClientSession, path: str, **headers: str) -> int:
    async with client.get(path, headers=headers) as response:
        return response.status


@contextmanager
def deaf_listener(port: int) -> Iterator[None]:
    """A listener that asks and never reads."""
    with socket.create_connection(("127.0.0.1", port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.sendall(b"GET /page/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield


async def test_listener_that_takes_nothing_is_cut_off_and_keeps_nobody_else_waiting() -> None:
    """Its buffers fill, its write has a deadline, its seat is given to another; others go on meanwhile."""
    sources = Stage(symbols=600).sources(live=LiveLimits(seats=2, every_s=0.01, write_s=0.3))
    async with (
        serve(make_app(sources), "127.0.0.1", 0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=DEADLINE) as client,
    ):
        with deaf_listener(port):
            events = await some_events(client, 20)
            async with client.get("/page/live") as first, asyncio.timeout(20):
                await first.content.readline()
                while (await status_of(client, "/page/live")) != 200:
                    await asyncio.sleep(0.02)

    assert len(events) == 20


async def test_service_that_stops_tells_its_listeners() -> None:
    """They are let go with a word, at once, and do not hold up the stop."""
    leaving = asyncio.Event()
    events: list[str] = []

    async def listen(port: int) -> None:
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=DEADLINE) as client,
            client.get("/page/live") as response,
        ):
            async for name, _ in heard(response):
                events.append(name)
                leaving.set()

    app = make_app(Stage().sources(live=LiveLimits(every_s=3_600.0)))
    async with asyncio.TaskGroup() as group, serve(app, "127.0.0.1", 0) as port:
        group.create_task(listen(port))
        await leaving.wait()

    assert events == ["full", "end"]


async def test_failure_of_a_picture_is_its_listener_s_alone(caplog: pytest.LogCaptureFixture) -> None:
    """It is told of it; the service answers on, and the next listener gets its picture."""
    stage, is_broken = Stage(), True

    def facts() -> ServiceFacts:
        if is_broken:
            raise ZeroDivisionError
        return stage.facts()

    async with served(replace(stage.sources(), facts=facts)) as client:
        assert await status_of(client, "/page/live") == 500
        is_broken = False
        assert await status_of(client, "/readyz") == 200
        assert [name for name, _ in await some_events(client, 1)] == ["full"]

    assert "ZeroDivisionError" in caplog.text


# ---------------------------------------------------------------------- who may look

GUARDED = Access(user="ops", password="secret", token="t0ken")


async def test_without_a_secret_everybody_who_reaches_it_may_look() -> None:
    """Which is this machine alone, unless it is configured to listen elsewhere."""
    async with served(Stage().sources()) as client:
        assert {path: await status_of(client, path) for path in PATHS} == dict.fromkeys(PATHS, 200)


async def test_with_a_secret_only_the_probes_are_open() -> None:
    """What names symbols wants it, unknown paths too; a browser is told to ask for it."""
    async with served(Stage().sources(access=GUARDED)) as client:
        statuses = {path: await status_of(client, path) for path in (*PATHS, "/none", "/livez/")}
        async with client.get("/") as response:
            challenges = response.headers.getall("WWW-Authenticate")

    opened = {path for path, status in statuses.items() if status != 401}
    assert opened == {"/livez", "/readyz"}
    assert challenges == ['Basic realm="ingest", charset="UTF-8"', 'Bearer realm="ingest"']


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Basic {base64.b64encode(b'ops:secret').decode()}", 200),
        ("Bearer t0ken", 200),
        (f"Basic {base64.b64encode(b'ops:Secret').decode()}", 401),
        ("Bearer secret", 401),
    ],
)
async def test_secret_opens_everything(header: str, status: int) -> None:
    """By password or by token, pictures too; a wrong one nothing."""
    guarded = [path for path in PATHS if path not in {"/livez", "/readyz"}]
    async with served(Stage().sources(access=GUARDED)) as client:
        found = {path: await status_of(client, path, Authorization=header) for path in guarded}

    assert found == dict.fromkeys(guarded, status)
