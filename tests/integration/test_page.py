"""The status page in a real browser, on made-up facts through the real application and real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from ingest.events import StreamKey
from ingest.ops.access import Access
from ingest.ops.http import make_app, serve
from ingest.ops.live import LiveLimits
from ingest.ops.page_files import load_page
from tests.browser import Page, open_page
from tests.page_stage import KINDS, Stage

ETH_TRADE = StreamKey("spot", "ETHUSDT", "trade")
SHOWN = "document.querySelector('#tiles dd')"
MANY = 600


@asynccontextmanager
async def looking(stage: Stage, folder: Path, **look: int | bool) -> AsyncIterator[Page]:
    """A browser with the stage's page before it, its first picture shown; nothing went wrong in it."""
    async with serve(make_app(stage.sources()), "127.0.0.1", 0) as port, open_page(folder) as page:
        await page.look_like(**{"width": 1280, **look})  # type: ignore[arg-type]
        await page.go(f"http://127.0.0.1:{port}/")
        await page.wait_for(SHOWN)
        yield page
        assert page.problems == []


def a_stage(**more: object) -> Stage:
    stage = Stage(**more)  # type: ignore[arg-type]
    stage.remember_hour()
    return stage


async def test_healthy_service_is_shown_whole(tmp_path: Path) -> None:
    """One line of plain words, and every part of the page has its content."""
    async with looking(a_stage(), tmp_path) as page:
        await page.picture(tmp_path / "healthy.png")
        line, tiles, summary = (
            await page.text("#line"),
            await page.text("#tiles"),
            await page.text("#streams-summary"),
        )
        shards, feeds = await page.text("#shards"), await page.text("#feeds")
        gaps, incidents = await page.text("#gaps"), await page.text("#incidents")
        around = await page.text("#budgets") + await page.text("#around")
        charts = await page.evaluate(
            "[...document.querySelectorAll('#charts path:not(.grid)')].map((p) => p.getAttribute('d').length)"
        )
        title, news = await page.evaluate("document.title"), await page.text("#news")
        told = await page.evaluate("document.querySelector('[role=status]').textContent")

    assert line == "All is well: 300 streams, and all that should speak are fresh."
    assert "300 of 300" in tiles
    assert "live" in summary
    assert "quiet" in summary
    assert "shard 0" in shards
    assert "3 h" in shards
    assert "planned rotation 1×" in feeds
    assert "BTCUSDT" in gaps
    assert "212" in gaps
    assert "no ping for 47 s" in incidents
    assert "request weight in a minute\n4,420 of 5,100" in around
    assert told == line
    assert min(charts) > 1_000
    assert title == "300 fresh · ingest"
    assert news.startswith("Live, as of")


async def test_stale_stream_is_named_everywhere(tmp_path: Path) -> None:
    """The line counts it, the table names it with its diagnosis, the incident says what was done."""
    async with looking(a_stage(stale=(ETH_TRADE,)), tmp_path) as page:
        await page.picture(tmp_path / "stale.png")
        line, reasons = await page.text("#line"), await page.text("#reasons")
        table, incidents = await page.text("#not-fresh"), await page.text("#incidents")
        title = await page.evaluate("document.title")

    assert line == "Some data are not fresh: 1 of 300 streams."
    assert reasons.startswith("spot:ETHUSDT:trade: newest row is 95")
    assert "spot ETHUSDT trade" in table
    assert "stream_silent: this stream is silent, while others on its connection speak" in table
    assert "resubscribe, then replace feed" in incidents
    assert title == "1 not fresh · ingest"


async def test_database_that_is_down_is_the_first_thing_said(tmp_path: Path) -> None:
    """The headline has the cause, rows that wait are counted, streams that nobody can query are not fresh."""
    async with looking(a_stage(database_is_down=True), tmp_path) as page:
        await page.picture(tmp_path / "database-down.png")
        line, tiles = await page.text("#line"), await page.text("#tiles")
        shards, table = await page.text("#shards"), await page.text("#not-fresh")

    assert line == "The service is not ready, the database cannot be reached: do not rely on the data."
    assert "1,002,000" in tiles
    assert "cannot reach the database" in shards
    assert "420,000 on disk" in shards
    assert "database_stalled: rows have come that the database does not take" in table


async def test_quarantined_shard_is_shown_with_who_carries_its_streams(tmp_path: Path) -> None:
    """The data may be fresh all the same; the service is not whole."""
    async with looking(a_stage(quarantined=True), tmp_path) as page:
        await page.picture(tmp_path / "quarantined.png")
        line, shards = await page.text("#line"), await page.text("#shards")

    assert line == "The service is not ready, shard 1 is crashing again and again; so far the data are fresh."
    assert "quarantined: is crashing again and again; the others carry its streams" in shards


async def test_phone_gets_the_same_without_scrolling_sideways(tmp_path: Path) -> None:
    """Rows become cards that name their columns; a tap on the map says what the cell is."""
    stage = a_stage(stale=(ETH_TRADE,))
    async with looking(stage, tmp_path, width=390, height=800, phone=True) as page:
        await page.picture(tmp_path / "phone.png")
        wide = await page.evaluate("document.documentElement.scrollWidth")
        named = await page.evaluate(
            "getComputedStyle(document.querySelector('#shards td'), '::before').content"
        )
        await choose(page, ETH_TRADE, how="pointerdown")
        tip = await page.text("#tip")
        await page.evaluate("document.getElementById('heat').scrollIntoView({block: 'center'})")
        await page.picture(tmp_path / "phone-tapped.png", whole=False)

    assert wide == 390
    assert "state" in named
    assert tip.split("\n\n")[:3] == [
        "ETHUSDT trade (spot)",
        "State: stale.",
        "Newest row 1 min 35 s old, limit 8 s.",
    ]
    assert "214 trades behind the exchange" in tip


async def test_page_is_dark_where_the_reader_wants_it_dark(tmp_path: Path) -> None:
    """Ground and cells have other colours, and follow a change without a reload."""
    async with looking(a_stage(stale=(ETH_TRADE,)), tmp_path, dark=True) as page:
        await page.picture(tmp_path / "dark.png")
        dark = await page.evaluate(GROUND)
        assert await page.evaluate(HAS_DARK_CELLS)
        await page.look_like(width=1280, dark=False)
        await page.wait_for(f"!{HAS_DARK_CELLS}")
        light = await page.evaluate(GROUND)

    assert (dark, light) == ("rgb(18, 22, 27)", "rgb(255, 255, 255)")


GROUND = "getComputedStyle(document.body).backgroundColor"
HAS_DARK_CELLS = """(() => {
    const { width, height } = document.getElementById("heat");
    const { data } = document.getElementById("heat").getContext("2d").getImageData(0, 0, width, height);
    return new Uint32Array(data.buffer).includes(0xff1b1612);
})()"""


async def choose(page: Page, key: StreamKey, *, how: str) -> None:
    """Point at the cell of a stream, at the middle of it."""
    # Cells are found as the page itself lays them out: the browser asks the page's own module.
    assert await page.evaluate(
        f"""(async () => {{
            const {{ layOut }} = await import("/page/layout.js");
            const {{ Model }} = await import("/page/model.js");
            const canvas = document.getElementById("heat");
            const full = await new Promise((done) => {{
                const source = new EventSource("/page/live");
                source.addEventListener("full", (event) => (source.close(), done(JSON.parse(event.data))));
            }});
            const model = new Model();
            model.takeFull(full);
            const brush = canvas.getContext("2d");
            brush.font = "11px system-ui, sans-serif";
            const kinds = model.streams.map((stream) => brush.measureText(stream.kind).width);
            const width = canvas.parentElement.clientWidth;
            const isTouched = matchMedia("(pointer: coarse)").matches;
            const layout = layOut(model.streams, width, 8 + Math.ceil(Math.max(...kinds)), isTouched);
            const place = full.names.indexOf("{key}");
            const frame = canvas.getBoundingClientRect();
            canvas.dispatchEvent(new PointerEvent("{how}", {{
                clientX: frame.left + layout.x[place] + layout.pitch / 2,
                clientY: frame.top + layout.y[place] + layout.pitch / 2, pointerType: "mouse", bubbles: true,
            }}));
            return place >= 0;
        }})()"""
    )


async def test_map_tells_on_hover_and_by_the_keyboard(tmp_path: Path) -> None:
    """The diagnosis of the cell below the pointer; the arrow keys go on from there, and are heard."""
    async with looking(a_stage(stale=(ETH_TRADE,)), tmp_path) as page:
        await choose(page, ETH_TRADE, how="pointermove")
        pointed = await page.text("#tip")
        await page.picture(tmp_path / "hover.png", whole=False)
        await page.evaluate("document.getElementById('heat').focus()")
        for key in ("ArrowDown", "ArrowRight"):
            await page.send("Input.dispatchKeyEvent", type="keyDown", key=key)
        moved = await page.text("#tip")
        heard = await page.evaluate("document.getElementById('cell').textContent")
        await page.send("Input.dispatchKeyEvent", type="keyDown", key="Escape")
        is_gone = await page.evaluate("document.getElementById('tip').hidden")

    assert "Diagnosis stream_silent: this stream is silent" in pointed
    assert moved.startswith("FETUSDT book_ticker (spot)")
    assert heard.startswith("FETUSDT book_ticker (spot) State: live. Newest row ")
    assert is_gone


@pytest.mark.parametrize(("stale", "first"), [((), "AAVEUSDT trade"), ((ETH_TRADE,), "ETHUSDT trade")])
async def test_arrow_keys_begin_where_the_trouble_is(
    stale: tuple[StreamKey, ...], first: str, tmp_path: Path
) -> None:
    """At the stream that is not fresh, else at the first cell of the map."""
    async with looking(a_stage(stale=stale), tmp_path) as page:
        await page.evaluate("document.getElementById('heat').focus()")
        await page.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
        tip = await page.text("#tip")

    assert tip.startswith(first)


async def test_table_of_all_streams_is_there_for_who_does_not_see_the_map(tmp_path: Path) -> None:
    """What is not fresh comes first, then all by name; it turns over by hundreds, and filters by any word."""
    async with looking(a_stage(stale=(ETH_TRADE,)), tmp_path) as page:
        await page.evaluate("document.querySelector('#all-streams summary').click()")
        await page.wait_for("document.querySelectorAll('#all tbody tr').length === 200")
        first, second = await page.text("#all tbody tr"), await page.text("#all tbody tr:nth-child(2)")
        await page.evaluate("document.getElementById('next').click()")
        await page.wait_for("document.querySelectorAll('#all tbody tr').length === 100")
        turned = await page.text("#filter-result"), await page.evaluate(DISABLED)
        await page.evaluate(TYPED.format(text="btcusdt depth"))
        await page.wait_for("document.querySelectorAll('#all tbody tr').length === 1")
        found = await page.text("#all tbody tr")

    assert first.startswith("spot ETHUSDT trade")
    assert second.startswith("spot AAVEUSDT book_ticker")
    assert turned == ("201 to 300 of 300", [False, True])
    assert found.startswith("spot BTCUSDT depth")


DISABLED = "['previous', 'next'].map((name) => document.getElementById(name).disabled)"

TYPED = """(() => {{
    const field = document.getElementById("filter");
    field.value = "{text}";
    field.dispatchEvent(new Event("input", {{ bubbles: true }}));
}})()"""


async def test_page_goes_on_by_itself_and_asks_little(tmp_path: Path) -> None:
    """Ages move without a reload; one look at the facts a second serves however many are looking."""
    stage = a_stage()
    async with looking(stage, tmp_path) as page:
        shown = await page.text("#news")
        await page.wait_for(f"document.getElementById('news').innerText !== {shown!r}")
        changes = await page.evaluate("performance.getEntriesByName(location.href).length")

    assert changes <= 1


async def test_page_that_is_cut_off_says_so_and_comes_back(tmp_path: Path) -> None:
    """Without the service it turns grey, with words and in its title; with it again it is live by itself."""
    stage = a_stage()
    app = make_app(stage.sources())
    async with open_page(tmp_path) as page:
        await page.look_like(width=1280)
        async with serve(app, "127.0.0.1", 0) as port:
            await page.go(f"http://127.0.0.1:{port}/")
            await page.wait_for(SHOWN)
        await page.wait_for("document.documentElement.dataset.news === 'old'")
        await page.wait_for("document.getElementById('news').innerText.includes('does not answer')")
        said, title = await page.text("#news"), await page.evaluate("document.title")
        await page.picture(tmp_path / "cut-off.png", whole=False)
        async with serve(make_app(stage.sources()), "127.0.0.1", port):
            await page.wait_for("document.documentElement.dataset.news === 'live'")

    assert said.startswith("Cut off for ")
    assert "What you see is of " in said
    assert title.startswith("stale page: ")


async def test_page_whose_pictures_stop_coming_is_stale_though_it_is_connected(tmp_path: Path) -> None:
    """The connection stands and brings nothing: the page's own clock finds out."""
    stage = a_stage()
    sources = replace(stage.sources(), live=LiveLimits(every_s=3_600.0))
    async with serve(make_app(sources), "127.0.0.1", 0) as port, open_page(tmp_path) as page:
        await page.go(f"http://127.0.0.1:{port}/")
        await page.wait_for(SHOWN)
        await page.wait_for("document.documentElement.dataset.news === 'old'")
        said = await page.text("#news")

    assert said.startswith("No news for ")
    assert "this page is stale" in said


async def test_page_of_another_version_loads_itself_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open page outlives the service that served it; the next one may have another page."""
    sources = a_stage().sources()
    async with open_page(tmp_path) as page:
        async with serve(make_app(sources), "127.0.0.1", 0) as port:
            await page.go(f"http://127.0.0.1:{port}/")
            await page.wait_for(SHOWN)
            await page.evaluate("window.isFromBefore = true")
        newer = replace(load_page(), version="another")
        monkeypatch.setattr("ingest.ops.http.load_page", lambda: newer)
        async with serve(make_app(sources), "127.0.0.1", port):
            await page.wait_for(f"!window.isFromBefore && {SHOWN}")


async def test_browser_that_brings_the_password_gets_the_whole_page(tmp_path: Path) -> None:
    """Its scripts and its pictures, too: they bring what the page was opened with."""
    sources = a_stage().sources(access=Access(user="ops", password="secret"))
    async with serve(make_app(sources), "127.0.0.1", 0) as port, open_page(tmp_path) as page:
        await page.go(f"http://ops:secret@127.0.0.1:{port}/")
        await page.wait_for(SHOWN)
        await page.wait_for("document.documentElement.dataset.news === 'live'")


async def test_names_from_the_exchange_stay_text(tmp_path: Path) -> None:
    """Markup in a symbol is shown, not made: in tables, incidents, the first lines, and on the map."""
    evil = StreamKey("spot", "<img src=x onerror=alert(1)>", "trade")
    async with looking(a_stage(symbols=2, extra=(evil,), stale=(evil,)), tmp_path) as page:
        await choose(page, evil, how="pointermove")
        shown = [await page.text(part) for part in ("#not-fresh", "#incidents", "#reasons", "#tip")]
        made = await page.evaluate("document.querySelectorAll('img').length")

    assert all(evil.symbol in each for each in shown)
    assert made == 0


@pytest.mark.deadline(120)
async def test_three_thousand_streams_are_painted_by_what_changes(tmp_path: Path) -> None:
    """A picture paints the cells that have another colour, not all; how long frames take is written down."""
    stage = a_stage(symbols=MANY, stale=(ETH_TRADE,))
    async with looking(stage, tmp_path) as page:
        await page.wait_for(f"document.getElementById('tiles').innerText.includes('{MANY * len(KINDS):,}')")
        await page.picture(tmp_path / "three-thousand.png")
        frames = await page.evaluate(WATCH_FRAMES)
        (tmp_path / "frames.json").write_bytes(orjson.dumps(frames, option=orjson.OPT_INDENT_2))

    assert frames["pictures"] > 0
    assert frames["most_cells"] < MANY * len(KINDS)


# Of five seconds: from a picture's being shown until the browser is done with it, and from frame to frame.
WATCH_FRAMES = """(async () => {
    const { HeatMap } = await import("/page/heat.js");
    const works = [], frames = [], longTasks = [], cells = [];
    new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((each) => each.duration)))
        .observe({ type: "longtask" });
    let painted = 0;
    const fillRect = CanvasRenderingContext2D.prototype.fillRect;
    CanvasRenderingContext2D.prototype.fillRect = function (...at) {
        painted += 1;
        fillRect.apply(this, at);
    };
    const show = HeatMap.prototype.show;
    HeatMap.prototype.show = function (model) {
        const began = performance.now();
        painted = 0;
        show.call(this, model);
        cells.push(painted / 2);
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => works.push(performance.now() - began);
        port2.postMessage(0);
    };
    let before = performance.now();
    const end = before + 5000;
    await new Promise((done) => {
        const step = (now) => {
            frames.push(now - before);
            before = now;
            if (now < end) requestAnimationFrame(step); else done();
        };
        requestAnimationFrame(step);
    });
    const sorted = (list) => list.sort((one, other) => one - other);
    const at = (list, share) => sorted(list)[Math.floor(share * (list.length - 1))] ?? 0;
    return {
        pictures: works.length, median_work_ms: at(works, 0.5), worst_work_ms: at(works, 1),
        frames: frames.length, median_frame_ms: at(frames, 0.5), p99_frame_ms: at(frames, 0.99),
        worst_frame_ms: at(frames, 1), long_tasks_ms: longTasks, most_cells: at(cells, 1),
    };
})()"""


async def test_open_pages_cost_one_look_each_second(tmp_path: Path) -> None:
    """However many are open, facts are asked for once for all of them."""
    stage = a_stage()
    async with looking(stage, tmp_path) as page:
        before = stage.looks
        numbers = await page.evaluate(
            """Promise.all([1, 2, 3].map(() => new Promise((done) => {
                const source = new EventSource("/page/live");
                const numbers = [];
                for (const name of ["full", "news"]) source.addEventListener(name, (event) => {
                    numbers.push(JSON.parse(event.data).number);
                    if (numbers.length === 4) (source.close(), done([numbers[0], numbers[3]]));
                });
            })))"""
        )
        asked = stage.looks - before
        made = max(last for _, last in numbers) - min(first for first, _ in numbers)

    assert asked <= made + 2
