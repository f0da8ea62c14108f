"""The supervisor's HTTP: alive, ready, fresh, metrics, and the status page.

    /livez      200 or 503   does the supervisor's loop turn?
    /readyz     200 or 503   schema there, shards up and able to commit?
    /freshz     200 or 503   are the data fresh? `?max_age=SECONDS` asks about the rows' age alone
    /metrics    Prometheus
    /           the page for people; its files are under /page/, its pictures come from /page/live

Asks `health` and shows its answer; decides nothing itself. Every answer but the page's files is made when it
is asked for and may not be cached. Read only, and nothing shown here comes from the configuration, so there
is no secret to show. Who may look is decided in `access`.

The page may load nothing but its own files, run nothing but its own scripts, send nothing, and stand in
nobody's frame; its scripts cannot make markup out of text. Browsers are told so with every answer.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import isfinite

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ingest.clock import Clock, SystemClock
from ingest.errors import ConfigError
from ingest.ops.access import Access, guard
from ingest.ops.headline import headline
from ingest.ops.health import Answer, freshness_report, liveness, readiness
from ingest.ops.live import LiveDesk, LiveLimits, NoSeat, serve_listener
from ingest.ops.metrics import AskVigil, make_registry, nothing_known
from ingest.ops.page_files import PageFiles, load_page
from ingest.ops.page_history import History
from ingest.ops.page_records import AskRecords, PageRecords, open_diagnoses
from ingest.ops.picture import Known
from ingest.supervisor.freshness import Judged, ServiceFacts, judge_all, judged

SHUTDOWN_S = 1.0
"""How long an answer under way may take once the service stops."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NO_SEAT_RETRY_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSources:
    """Where the answers come from."""

    facts: Callable[[], ServiceFacts]
    """What the supervisor knows now; called once for each request."""
    tick_age_s: Callable[[], float]
    """Seconds since the supervisor last went round its loop."""
    judged: Callable[[], Judged] | None = None
    """The same with its rows, for the pictures, as of at most a second or two ago; None: of now."""
    vigil: AskVigil = nothing_known
    """The same of vigil, budgets and alerts; called once for each scrape of /metrics, and each picture."""
    records: AskRecords = PageRecords
    """The same of incidents and gaps; called for each picture."""
    history: History = field(default_factory=History)
    """The last hour; somebody else takes the samples."""
    kind_limits_s: Mapping[str, float] = field(default_factory=dict)
    """Ages allowed by kind, where they shall differ from the streams' own thresholds; `*` is any other."""
    per_stream_metrics: bool = False
    access: Access = field(default_factory=Access)
    live: LiveLimits = field(default_factory=LiveLimits)
    clock: Clock = field(default_factory=SystemClock)

    def known(self) -> Known:
        """What a picture of this moment is made of."""
        return Known(
            judged=self.judged() if self.judged is not None else judged(self.facts()),
            vigil=self.vigil(),
            records=self.records(),
            kind_limits_s=self.kind_limits_s,
        )


_SOURCES = web.AppKey("sources", HttpSources)
_REGISTRY = web.AppKey("registry", CollectorRegistry)
_PAGE = web.AppKey("page", PageFiles)
_DESK = web.AppKey("desk", LiveDesk)


def make_app(sources: HttpSources) -> web.Application:
    """The application, not yet served."""
    app = web.Application(middlewares=[guard(sources.access)])
    page = load_page()
    app[_SOURCES] = sources
    app[_REGISTRY] = make_registry(
        sources.facts,
        sources.vigil,
        per_stream=sources.per_stream_metrics,
        kind_limits_s=sources.kind_limits_s,
    )
    app[_PAGE] = page
    app[_DESK] = LiveDesk(
        sources.known, sources.history, version=page.version, clock=sources.clock, limits=sources.live
    )
    app.on_response_prepare.append(_with_headers)
    app.on_shutdown.append(_let_listeners_go)
    app.add_routes(
        [
            web.get("/", _document),
            web.get("/page/live", _live),
            web.get("/page/{name}", _file),
            web.get("/livez", _livez),
            web.get("/readyz", _readyz),
            web.get("/freshz", _freshz),
            web.get("/metrics", _metrics),
        ]
    )
    return app


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve until the block is left; yields the port (useful when 0 was asked for: any free one).

    ConfigError when the address cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        yield await _listen(runner, host, port)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> int:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise ConfigError(
            f"HTTP cannot listen on {host} port {port}: {error.strerror or error}. Does another program, "
            "or a second copy of this one, use it? The keys are http_host and http_port in [service]"
        ) from error
    bound: int = runner.addresses[0][1]
    return bound


async def _with_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


async def _let_listeners_go(app: web.Application) -> None:
    app[_DESK].closing.set()


def _json(answer: Answer) -> web.Response:
    return web.Response(
        body=orjson.dumps(answer.body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        status=200 if answer.ok else 503,
        content_type="application/json",
    )


async def _livez(request: web.Request) -> web.Response:
    return _json(liveness(tick_age_s=request.app[_SOURCES].tick_age_s()))


async def _readyz(request: web.Request) -> web.Response:
    return _json(readiness(request.app[_SOURCES].facts()))


async def _freshz(request: web.Request) -> web.Response:
    try:
        max_age_s = _max_age_s(request)
    except ValueError as error:
        return web.Response(text=f"{error}\n", status=400)
    sources = request.app[_SOURCES]
    rows = judge_all(sources.facts())
    return _json(freshness_report(rows, max_age_s=max_age_s, kind_limits_s=sources.kind_limits_s))


def _max_age_s(request: web.Request) -> float | None:
    """The one parameter of /freshz; a misspelt one is an error, or its asker would trust the answer."""
    for name in request.query:
        if name != "max_age":
            raise ValueError(f"unknown parameter {name!r}; there is max_age, in seconds")
    values = request.query.getall("max_age", [])
    if not values:
        return None
    max_age_s = _number(values[0])
    if len(values) > 1 or max_age_s is None or not (isfinite(max_age_s) and max_age_s > 0):
        raise ValueError(f"max_age: expected one positive number of seconds, got {', '.join(values)!r}")
    return max_age_s


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


async def _metrics(request: web.Request) -> web.Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(request.app[_REGISTRY]), headers={"Content-Type": content_type})


# ---------------------------------------------------------------------- the page


async def _document(request: web.Request) -> web.Response:
    sources = request.app[_SOURCES]
    facts = sources.facts()
    fresh = freshness_report(judge_all(facts), kind_limits_s=sources.kind_limits_s)
    said = headline(readiness(facts), fresh, facts, open_diagnoses(sources.records()))
    return web.Response(text=request.app[_PAGE].document_with(said), content_type="text/html")


async def _file(request: web.Request) -> web.Response:
    file = request.app[_PAGE].files.get(request.match_info["name"])
    if file is None:
        raise web.HTTPNotFound
    headers = {"Cache-Control": "no-cache", "ETag": f'"{file.tag}"'}
    if any(tag.value == file.tag for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=headers)


async def _live(request: web.Request) -> web.StreamResponse:
    try:
        return await serve_listener(request.app[_DESK], request)
    except NoSeat:
        return web.Response(
            status=503,
            text="as many pages are open as may be\n",
            headers={"Retry-After": str(_NO_SEAT_RETRY_S)},
        )
