"""A headless Chromium for the tests of the page, driven by its DevTools protocol over a websocket.

The program is Debian's chromium or another Chromium or Chrome that is here; `.ci/chromium` fetches one where
there is apt. Where it is absent its tests are skipped, and pytest's summary says so; in CI on Linux its
absence is a failure, but for ARM, for which Ubuntu's runners have none. Every page keeps what went wrong in
it, errors of scripts and refusals by the content policy alike.
"""

import asyncio
import base64
import os
import platform
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

FETCHED = Path(__file__).parents[1] / ".cache" / "chromium" / "chromium"
NAMES = ("chromium-headless-shell", "chromium", "google-chrome", "google-chrome-stable")
DEADLINE_S = 30.0
_POLL_S = 0.05

_ABSENT = "CHROMIUM IS ABSENT, the page was NOT looked at in a browser: run .ci/chromium"


def find_chromium() -> str:
    """The program's path; skips the test, or fails it in CI, where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and FETCHED.exists():
        found = str(FETCHED)
    if found is not None:
        return found
    is_ci = os.environ.get("CI", "").lower() in {"1", "true"}
    if is_ci and sys.platform == "linux" and platform.machine() == "x86_64":
        pytest.fail(_ABSENT)
    pytest.skip(_ABSENT)


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.problems: list[str] = []
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def listen(self) -> None:
        """Take what the browser says, until it says no more."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            elif said["method"] == "Runtime.exceptionThrown":
                self.problems.append(str(said["params"]["exceptionDetails"]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.problems.append(str(said["params"]["entry"]))

    async def send(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method of the protocol."""
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        async with asyncio.timeout(DEADLINE_S):
            said = await answer
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def look_like(
        self, *, width: int, height: int = 900, dark: bool = False, phone: bool = False
    ) -> None:
        """Be a window or phone of that size, in light or dark."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        await self.send("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def go(self, url: str) -> None:
        """Begin to load a page."""
        await self.send("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression, which may be a promise."""
        result = await self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def text(self, selector: str) -> str:
        """What a person reads of an element; empty where there is none."""
        return str(await self.evaluate(f"document.querySelector({selector!r})?.innerText ?? ''"))

    async def wait_for(self, expression: str) -> None:
        """Wait until an expression is true; fails with what the page says instead."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not await self._is_true(expression):
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            shown = await self.evaluate("document.body.innerText.slice(0, 1000)")
            pytest.fail(f"never came true: {expression}; problems: {self.problems}; the page says: {shown}")

    async def _is_true(self, expression: str) -> bool:
        try:
            return bool(await self.evaluate(f"Boolean({expression})"))
        except AssertionError as error:
            if "navigated" not in str(error):
                raise
            return False  # the page was loading itself anew just then

    async def picture(self, path: Path, *, whole: bool = True) -> None:
        """Keep a picture of the page, or of what fits into the window."""
        shot = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def open_page(folder: Path) -> AsyncIterator[Page]:
    """A browser of its own with one empty tab."""
    async with _running(find_chromium(), folder) as port, aiohttp.ClientSession() as client:
        async with client.put(f"http://127.0.0.1:{port}/json/new?about:blank") as answer:
            address = (await answer.json(content_type=None))["webSocketDebuggerUrl"]
        async with client.ws_connect(address, max_msg_size=0) as socket, asyncio.TaskGroup() as group:
            page = Page(socket)
            listening = group.create_task(page.listen())
            for domain in ("Page", "Runtime", "Log"):
                await page.send(f"{domain}.enable")
            await page.send("Page.bringToFront")
            yield page
            listening.cancel()


@asynccontextmanager
async def _running(program: str, folder: Path) -> AsyncIterator[int]:
    """The browser while it runs; yields the port of its protocol."""
    home = folder / "chromium"
    # Its sandbox wants rights that containers do not give; nothing is shown to it but our own page.
    arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--remote-debugging-port=0",
    ]
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        f"--user-data-dir={home}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        told = home / "DevToolsActivePort"
        async with asyncio.timeout(DEADLINE_S):
            while not (told.exists() and told.read_text().count("\n")):
                assert process.returncode is None, f"{program} ended with {process.returncode}"
                await asyncio.sleep(_POLL_S)
        yield int(told.read_text().split()[0])
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(DEADLINE_S / 3):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
