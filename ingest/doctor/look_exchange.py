"""Ask the exchange: its clock by REST, and one stream by websocket. Decides nothing.

Each address is asked once, without a proxy and without following anybody elsewhere, as the service does it.
Names are looked up first, in a thread that nobody waits for. What is asked is taken from the budget that the
service shares, where it has one; while REST is banned it is not asked at all, which would prolong the ban.
"""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
from aiohttp import WSMsgType
from aiohttp.abc import AbstractResolver, ResolveResult

from ingest.binance import limits
from ingest.binance.frames import Ack, MalformedFrame, Refusal, split_frame
from ingest.binance.streams import wire_name
from ingest.clock import Clock
from ingest.config import Settings
from ingest.doctor.exchange import (
    PROBE_SYMBOL,
    ClockLimits,
    ListingAnswer,
    Names,
    RestAnswer,
    SocketAnswer,
    judge_ban,
    judge_clock,
    judge_listing,
    judge_names,
    judge_no_room,
    judge_rest,
    judge_socket,
)
from ingest.doctor.findings import Finding
from ingest.doctor.threads import in_daemon_thread
from ingest.errors import BudgetExhausted
from ingest.feed.budget_file import Budget, SharedBudget
from ingest.shard.address_budget import open_budget

_SHARE: Final = 0.8
"""Of the deadline of a check: what goes wrong in it shall be told in its own words."""
_LISTEN_S: Final = 4.0
_WEIGHT_TIME: Final = limits.WEIGHTS["time"]
_MOST_BYTES: Final = 65_536
_SUBSCRIBE, _LIST = 1, 2
_TLS_TROUBLE: Final = (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError)


class _Known(AbstractResolver):
    """Addresses that were looked up already."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def look_at_rest(
    settings: Settings, *, deadline_s: float, clock: Clock, rng: random.Random
) -> list[Finding]:
    """The name, the answer, the clock, and whether the named symbols are listed."""
    url = settings.spot.rest_url
    host = _host(url)
    names = await _names(url)
    found = [] if _is_literal(host) else [judge_names(names)]
    if not names.addresses:
        return found
    with _budget(settings, clock, rng) as budget:
        if budget is not None and (banned_for_s := budget.banned_for_s()):
            return [*found, judge_ban(host, banned_for_s)]
        async with _session(names, deadline_s) as http:
            try:
                await _take(budget, deadline_s, Budget.WEIGHT, _WEIGHT_TIME)
            except BudgetExhausted as error:
                return [*found, judge_no_room("exchange by REST", str(error))]
            answer = await ask_time(http, url, clock)
            await _note_ban(budget, answer)
            found.append(judge_rest(answer))
            if answer.offset_s is not None:
                found += [
                    _clock_finding(settings, answer),
                    *await _listing(settings, http, budget, deadline_s),
                ]
    return found


def _clock_finding(settings: Settings, answer: RestAnswer) -> Finding:
    assert answer.offset_s is not None
    round_trip_s = (answer.answered_ns - answer.asked_ns) / 1e9
    return judge_clock(answer.offset_s, round_trip_s, clock_limits(settings), whose="the exchange")


def clock_limits(settings: Settings) -> ClockLimits:
    """From when on the service itself alerts."""
    return ClockLimits(settings.alerts.clock_offset_s, settings.alerts.clock_offset_critical_s)


async def ask_time(http: aiohttp.ClientSession, url: str, clock: Clock) -> RestAnswer:
    """What the exchange's clock says, or how it was not to be had."""
    host, asked_ns = _host(url), clock.wall_ns()
    try:
        async with http.get(f"{url}/api/v3/time", allow_redirects=False) as answer:
            answered_ns = clock.wall_ns()
            body = await answer.content.read(_MOST_BYTES)
            return RestAnswer(
                host,
                answer.status,
                retry_after_s=_seconds(answer.headers.get("Retry-After", "")),
                server_ms=_server_ms(body),
                asked_ns=asked_ns,
                answered_ns=answered_ns,
            )
    except _TLS_TROUBLE as error:
        return RestAnswer(host, trouble=_said(error), is_tls_trouble=True)
    except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
        return RestAnswer(host, trouble=_said(error))


def _server_ms(body: bytes) -> int | None:
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    value = tree.get("serverTime") if isinstance(tree, dict) else None
    return value if isinstance(value, int) else None


async def _listing(
    settings: Settings, http: aiohttp.ClientSession, budget: SharedBudget | None, deadline_s: float
) -> list[Finding]:
    symbols = settings.spot.symbols
    if not isinstance(symbols, list):
        return []
    named = quote(orjson.dumps(symbols).decode(), safe="")
    url = f"{settings.spot.rest_url}/api/v3/exchangeInfo?symbols={named}&showPermissionSets=false"
    try:
        await _take(budget, deadline_s, Budget.WEIGHT, limits.WEIGHTS["exchangeInfo"])
        async with http.get(url, allow_redirects=False) as answer:
            body = await answer.read()
            return [judge_listing(ListingAnswer(answer.status, _message(body), len(symbols)))]
    except BudgetExhausted as error:
        return [judge_no_room("symbols", str(error))]
    except (aiohttp.ClientError, OSError) as error:
        return [judge_no_room("symbols", _said(error))]


def _message(body: bytes) -> str:
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    return str(tree.get("msg", ""))[:200] if isinstance(tree, dict) else ""


# ---------------------------------------------------------------------- websocket


async def look_at_socket(
    settings: Settings, *, deadline_s: float, clock: Clock, rng: random.Random
) -> list[Finding]:
    """The name, and whether a stream can be had."""
    url = settings.spot.ws_url
    host = _host(url)
    names = await _names(url)
    found = [] if _is_literal(host) else [judge_names(names)]
    if not names.addresses:
        return found
    symbols = settings.spot.symbols
    symbol = symbols[0] if isinstance(symbols, list) else PROBE_SYMBOL
    with _budget(settings, clock, rng) as budget:
        async with _session(names, deadline_s) as http:
            try:
                await _take(budget, deadline_s, Budget.CONNECTS, 1)
            except BudgetExhausted as error:
                return [*found, judge_no_room("exchange by websocket", str(error))]
            answer = await ask_stream(http, url, wire_name(symbol, "trade"), _listen_s(deadline_s))
    return [*found, judge_socket(answer)]


def _listen_s(deadline_s: float) -> float:
    return min(_LISTEN_S, deadline_s * _SHARE / 2)


async def ask_stream(http: aiohttp.ClientSession, url: str, stream: str, listen_s: float) -> SocketAnswer:
    """Connect, subscribe, ask which streams there are, and listen for a while."""
    answer = SocketAnswer(_host(url), stream)
    try:
        async with http.ws_connect(f"{url}/stream") as ws:
            try:
                return await _converse(ws, answer._replace(is_open=True), listen_s)
            except (aiohttp.ClientError, OSError) as error:
                return answer._replace(is_open=True, ended=_said(error))
    except aiohttp.WSServerHandshakeError as error:
        return answer._replace(status=error.status)
    except _TLS_TROUBLE as error:
        return answer._replace(trouble=_said(error), is_tls_trouble=True)
    except (aiohttp.ClientError, OSError) as error:
        return answer._replace(trouble=_said(error))


async def _converse(
    ws: aiohttp.ClientWebSocketResponse, answer: SocketAnswer, listen_s: float
) -> SocketAnswer:
    for method, number in (("SUBSCRIBE", _SUBSCRIBE), ("LIST_SUBSCRIPTIONS", _LIST)):
        params = {"params": [answer.stream]} if number == _SUBSCRIBE else {}
        await ws.send_str(orjson.dumps({"method": method, **params, "id": number}).decode())
    loop = asyncio.get_running_loop()
    end_s = loop.time() + listen_s
    while not answer.data_came and not answer.ended:
        try:
            message = await ws.receive(timeout=max(0.01, end_s - loop.time()))
        except TimeoutError:
            break
        answer = _heard(message.type, message.data, message.extra, answer)
    return answer


def _heard(kind: WSMsgType, data: object, text: object, answer: SocketAnswer) -> SocketAnswer:
    if kind in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED}:
        code = f"close code {data}" if data else "without a close frame"
        return answer._replace(ended=" ".join(filter(None, (code, str(text or "")))))
    if not isinstance(data, bytes | str):
        return answer._replace(ended="a frame that is none of a websocket")
    try:
        item = split_frame(data)
    except MalformedFrame as error:
        return answer._replace(ended=f"it does not speak as the exchange does: {error}")
    if isinstance(item, tuple):
        return answer._replace(data_came=True)
    if isinstance(item, Refusal):
        return answer._replace(ended=f"a request was refused: {item.message}")
    if isinstance(item, Ack) and item.request_id == _LIST:
        return answer._replace(listed=tuple(item.names or ()))
    return answer


# ---------------------------------------------------------------------- the way there


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _names(url: str) -> Names:
    host = _host(url)
    if _is_literal(host):
        return Names(host, (host,))
    try:
        found = await in_daemon_thread(lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except OSError as error:
        return Names(host, trouble=error.strerror or type(error).__name__)
    return Names(host, tuple(dict.fromkeys(str(address[0]) for *_, address in found)))


@asynccontextmanager
async def _session(names: Names, deadline_s: float) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(resolver=_Known(names.addresses))
    timeout = aiohttp.ClientTimeout(total=deadline_s * _SHARE, sock_connect=deadline_s * _SHARE / 2)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        # Asked once, as `feed.dialling` does it.
        http._retry_connection = False
        yield http


@contextmanager
def _budget(settings: Settings, clock: Clock, rng: random.Random) -> Iterator[SharedBudget | None]:
    """The budget of the service's address; None where none has run, or its file is not ours to write."""
    path = settings.service.data_dir / "run" / "address.budget"
    if not path.is_file():
        yield None
        return
    try:
        budget = open_budget(settings, clock=clock, rng=rng)
    except OSError:
        yield None
        return
    with closing(budget):
        yield budget


async def _take(budget: SharedBudget | None, deadline_s: float, name: Budget, amount: int) -> None:
    if budget is None:
        return
    await budget.acquire(name, amount, deadline_s=deadline_s / 4)
    if name is Budget.WEIGHT:
        await budget.acquire(Budget.REQUESTS, deadline_s=deadline_s / 4)


async def _note_ban(budget: SharedBudget | None, answer: RestAnswer) -> None:
    if budget is not None and answer.status in {418, 429}:
        await budget.ban(answer.retry_after_s or 60.0)


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() else None


def _said(error: BaseException) -> str:
    """Without the address, which may hold more than a host."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.strerror or type(error.os_error).__name__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
