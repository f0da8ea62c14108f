"""`promtool check metrics`, Prometheus' own judge, on what /metrics answers.

promtool is a program of Debian's prometheus package; `.ci/promtool` fetches it where there is apt. Where it
is absent the test is skipped, and pytest's summary says so; in CI on Linux its absence is a failure.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import aiohttp
import pytest

from ingest.ops.http import HttpSources, make_app, serve
from tests.unit.ops.test_metrics import full_facts, full_vigil

FETCHED = Path(__file__).parents[2] / ".cache" / "promtool" / "promtool"
DEADLINE_S = 60.0


@pytest.fixture
def promtool() -> str:
    """The program's path."""
    found = shutil.which("promtool") or (str(FETCHED) if FETCHED.exists() else None)
    if found is not None:
        return found
    absent = "PROMTOOL IS ABSENT, the metrics were NOT checked by Prometheus' own rules: run .ci/promtool"
    if os.environ.get("CI", "").lower() in {"1", "true"} and sys.platform == "linux":
        pytest.fail(absent)
    pytest.skip(absent)


async def scraped(*, per_stream: bool, accept: str) -> bytes:
    sources = HttpSources(
        facts=full_facts, tick_age_s=lambda: 0.1, vigil=full_vigil, per_stream_metrics=per_stream
    )
    async with (
        serve(make_app(sources), "127.0.0.1", 0) as port,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as client,
        client.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept}) as response,
    ):
        return await response.read()


async def check(promtool: str, body: bytes) -> tuple[int | None, str]:
    """Exit code and everything that it says."""
    process = await asyncio.create_subprocess_exec(
        promtool,
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(DEADLINE_S / 2):
            said, _ = await process.communicate(body)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode()


@pytest.mark.parametrize("per_stream", [False, True])
async def test_promtool_has_nothing_to_say_of_the_metrics(promtool: str, per_stream: bool) -> None:
    """Names, types, units and help are as Prometheus wants them, with every metric in the answer."""
    body = await scraped(per_stream=per_stream, accept="text/plain")

    assert await check(promtool, body) == (0, "")


async def test_promtool_finds_what_is_wrong(promtool: str) -> None:
    """The check is one: a name that breaks the rules is told."""
    code, said = await check(
        promtool, b"# TYPE ingest_wrong_milliseconds counter\ningest_wrong_milliseconds 1\n"
    )

    assert code != 0
    assert "ingest_wrong_milliseconds" in said
