"""The supervisor's HTTP: alive, ready, fresh, metrics, and one plain page.

    /livez     200 or 503   does the supervisor's loop turn?
    /readyz    200 or 503   schema there, shards up and able to commit?
    /freshz    200 or 503   are the data fresh? `?max_age=SECONDS` asks about the rows' age alone
    /metrics   Prometheus
    /          the same in words, for a person

Asks `health` and shows its answer; decides nothing itself. Every answer is made when it is asked for,
nothing may be cached. Read only, and nothing shown here comes from the configuration, so there is no
secret to show; all text on the page is escaped.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import escape
from math import isfinite

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ingest.errors import ConfigError
from ingest.ops.health import Answer, freshness_report, liveness, readiness, shard_doubt
from ingest.ops.metrics import AskVigil, make_registry, nothing_known
from ingest.supervisor.freshness import ServiceFacts, StreamFreshness, judge_all

SHUTDOWN_S = 1.0
"""How long an answer under way may take once the service stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSources:
    """Where the answers come from."""

    facts: Callable[[], ServiceFacts]
    """What the supervisor knows now; called once for each request."""
    tick_age_s: Callable[[], float]
    """Seconds since the supervisor last went round its loop."""
    vigil: AskVigil = nothing_known
    """The same of vigil, budgets and alerts; called once for each scrape of /metrics."""
    kind_limits_s: Mapping[str, float] = field(default_factory=dict)
    """Ages allowed by kind, where they shall differ from the streams' own thresholds; `*` is any other."""
    per_stream_metrics: bool = False


_SOURCES = web.AppKey("sources", HttpSources)
_REGISTRY = web.AppKey("registry", CollectorRegistry)


def make_app(sources: HttpSources) -> web.Application:
    """The application, not yet served."""
    app = web.Application()
    app[_SOURCES] = sources
    app[_REGISTRY] = make_registry(
        sources.facts,
        sources.vigil,
        per_stream=sources.per_stream_metrics,
        kind_limits_s=sources.kind_limits_s,
    )
    app.on_response_prepare.append(_never_cached)
    app.add_routes(
        [
            web.get("/", _page),
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


async def _never_cached(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"


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


async def _page(request: web.Request) -> web.Response:
    sources = request.app[_SOURCES]
    facts = sources.facts()
    text = render_page(facts, judge_all(facts), kind_limits_s=sources.kind_limits_s)
    return web.Response(text=text, content_type="text/html")


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem;max-width:60rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;text-align:left;"
    "border-bottom:1px solid #8886}"
)


def render_page(
    facts: ServiceFacts, rows: Sequence[StreamFreshness], *, kind_limits_s: Mapping[str, float]
) -> str:
    """The page: one line of plain words, what is wrong, streams by kind, shards."""
    ready = readiness(facts)
    fresh = freshness_report(rows, kind_limits_s=kind_limits_s)
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in (*ready.reasons, *fresh.reasons))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="5"><title>ingest: {escape(fresh.status)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(overall(ready, fresh, len(rows)))}</h1>"
        f"<ul>{reasons}</ul><h2>Streams</h2>{_table(_STREAM_HEAD, _stream_lines(rows))}"
        f"<h2>Shards</h2>{_table(_SHARD_HEAD, _shard_lines(facts))}"
        '<p><a href="/freshz">fresh</a> <a href="/readyz">ready</a> <a href="/livez">alive</a> '
        '<a href="/metrics">metrics</a></p></body></html>\n'
    )


def overall(ready: Answer, fresh: Answer, streams: int) -> str:
    """The state of the whole service in one line."""
    if not ready.ok:
        return "The service is not ready: do not rely on the data."
    if fresh.status == "fresh":
        return f"All is well: {streams} streams, and all that should speak are fresh."
    if fresh.status == "starting":
        return f"The service is starting: {streams} streams, no rows yet."
    return f"Some data are not fresh: {fresh.body['streams_not_fresh']} of {streams} streams."


_STREAM_HEAD = ("market", "kind", "streams", "worst age", "states", "open gaps")
_SHARD_HEAD = ("shard", "state", "frames", "rows committed", "waiting rows", "books live", "restarts")


def _stream_lines(rows: Sequence[StreamFreshness]) -> list[tuple[object, ...]]:
    lines: list[tuple[object, ...]] = []
    for market, kind in sorted({(row.market, row.kind) for row in rows}):
        group = [row for row in rows if (row.market, row.kind) == (market, kind)]
        ages = [row.age_s for row in group if row.age_s is not None]
        states = ", ".join(f"{n} {state}" for state, n in Counter(row.state for row in group).items())
        worst = f"{max(ages):.1f} s" if ages else "no row yet"
        lines.append((market, kind, len(group), worst, states, sum(row.open_gaps for row in group)))
    return lines


def _shard_lines(facts: ServiceFacts) -> list[tuple[object, ...]]:
    lines: list[tuple[object, ...]] = []
    for shard in facts.shards:
        numbers: tuple[object, ...] = ("", "", "", "")
        if shard.board is not None:
            header = shard.board.header
            books = f"{header.books_live} of {header.books_wanted}"
            numbers = (header.frames, header.rows_committed, header.buffered_rows, books)
        lines.append((shard.shard, shard_doubt(shard, facts) or "up", *numbers, shard.restarts))
    return lines


def _table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in line)}</tr>" for line in lines)
    return f"<table><tr>{top}</tr>{body}</table>"
