"""The page's own modules that touch no document, run in a browser: words, staleness, layout of the map."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest.ops.http import make_app, serve
from tests.browser import Page, open_page
from tests.page_stage import Stage


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """A tab that may import the page's modules."""
    async with (
        serve(make_app(Stage(symbols=1).sources()), "127.0.0.1", 0) as port,
        open_page(tmp_path) as page,
    ):
        await page.go(f"http://127.0.0.1:{port}/page/icon.svg")
        await page.wait_for("location.pathname === '/page/icon.svg'")
        yield page


async def of_module(page: Page, module: str, expression: str) -> Any:
    return await page.evaluate(f"import('/page/{module}.js').then((m) => {expression.strip()})")


async def test_numbers_are_said_as_people_say_them(page: Page) -> None:
    """With their units, at a fitting precision; what is not known is a dash."""
    spans = await of_module(page, "words", "[0.25, 59.94, 125, 900, 7384, 200000, null].map(m.seconds)")
    others = await of_module(
        page,
        "words",
        "[m.count(1234567), m.milliseconds(0.42), m.milliseconds(12500), m.bytes(61.2e9), m.bytes(0)]",
    )

    assert spans == ["0.3 s", "59.9 s", "2 min 5 s", "15 min", "2 h 3 min", "2 d 7 h", "–"]
    assert others == ["1,234,567", "0.4 ms", "12.5 s", "61.2 GB", "0 B"]


async def test_page_judges_its_own_news(page: Page) -> None:
    """By its own clock, whatever the connection looks like; a clock that jumps back is silence, too."""
    said = await of_module(
        page,
        "staleness",
        """{
            const h = new m.Hearing();
            h.hear(50000, 7000);
            const cases = [[1000, true], [9000, true], [-9000, true], [2000, false]];
            return cases.map(([silentMs, isConnected]) => m.judge(h, 50000 + silentMs, isConnected, "Why."));
        }""",
    )

    assert [(each["news"], each["words"]) for each in said] == [
        ("live", "Live, as of 00:00:07 UTC"),
        ("old", "No news for 9 s: this page is stale. What you see is of 00:00:07 UTC."),
        ("old", "No news for 9 s: this page is stale. What you see is of 00:00:07 UTC."),
        ("old", "Cut off for 2 s. Why. What you see is of 00:00:07 UTC."),
    ]


async def test_page_notices_news_that_were_long_on_their_way(page: Page) -> None:
    """Against the shortest way that any had: the two clocks need not agree."""
    said = await of_module(
        page,
        "staleness",
        """{
            const h = new m.Hearing();
            h.hear(50000, 1000); h.hear(51000, 2000);
            const inTime = m.judge(h, 51000, true, "");
            h.hear(60000, 3000);
            return [inTime.news, m.judge(h, 60000, true, "")];
        }""",
    )

    assert said[0] == "live"
    assert said[1]["words"].startswith("News come 8 s late")


async def test_map_has_a_cell_of_its_own_for_each_stream(page: Page) -> None:
    """Whatever the width: none covers another, none is outside, and each is found at its own middle."""
    found = await of_module(
        page,
        "layout",
        """{
            const kinds = ["trade", "depth", "kline_1m"];
            const streams = [];
            for (let s = 0; s < 211; s += 1) for (const kind of kinds)
                if (s !== 5 || kind !== "depth") streams.push({ market: "spot", symbol: "S" + s, kind });
            return [360, 700, 1400].map((width) => {
                const l = m.layOut(streams, width, 60, false);
                const half = l.pitch / 2;
                const middles = streams.map((_, p) => m.placeAt(l, l.x[p] + half, l.y[p] + half));
                const ends = streams.map((_, p) => [l.x[p] + l.pitch, l.y[p] + l.pitch]);
                const isInside = ends.every(([x, y]) => x <= width && y <= l.height);
                return middles.every((found, place) => found === place) && isInside;
            });
        }""",
    )

    assert found == [True] * 3


async def test_every_stream_is_reached_with_the_arrow_keys(page: Page) -> None:
    """Also from one block of the map to the next, and where a symbol lacks a kind."""
    reached = await of_module(
        page,
        "layout",
        """{
            const streams = [];
            for (let s = 0; s < 40; s += 1) for (const kind of ["trade", "depth"])
                if (s !== 5 || kind !== "depth") streams.push({ market: "spot", symbol: "S" + s, kind });
            const l = m.layOut(streams, 400, 60, false);
            const seen = new Set([0]);
            for (const place of seen) for (const [x, y] of [[1, 0], [-1, 0], [0, 1], [0, -1]])
                seen.add(m.neighbour(l, place, x, y));
            return [seen.size, streams.length];
        }""",
    )

    assert reached[0] == reached[1]


SHADES = [
    ("live", 10, False, "h0"),
    ("live", 99, False, "h3"),
    ("live", 150, False, "over"),
    ("suspect", 120, True, "over"),
    ("stale", 10, True, "stale"),
    ("quiet", 9_000, False, "quiet"),
    ("starting", -1, False, "starting"),
    ("starting", -1, True, "over"),
    ("live", -1, False, "starting"),
]


async def test_shade_is_the_age_against_the_limit(page: Page) -> None:
    """A limit of 10 s; states that say more than the age have a shade of their own."""
    shades = await of_module(
        page,
        "heat",
        f"""{orjson.dumps(SHADES).decode()}.map(([state, ageDs, isNotFresh]) =>
            m.SHADES[m.shadeOf({{ state, isNotFresh, limitS: 10 }}, ageDs)].name)""",
    )

    assert shades == [shade for *_, shade in SHADES]


async def test_line_of_a_chart_is_broken_where_nothing_is_known(page: Page) -> None:
    """Neither a gap between samples nor an unknown value is bridged; the scale ends at a round number."""
    drawn = await of_module(
        page,
        "charts",
        """m.path([{ atMs: 0, v: 1 }, { atMs: 5000, v: 2 }, { atMs: 10000, v: null }, { atMs: 15000, v: 2 },
            { atMs: 90000, v: 1 }], "v", 2, 300000, 15000).replace(/[^ML]/g, "")""",
    )
    tops = await of_module(page, "charts", "[0, 0.3, 1, 7, 3900, 100].map(m.ceiling)")

    spans = await of_module(
        page, "charts", "[0, 10, 720, 4000].map((s) => m.spanOf([{ atMs: 0 }, { atMs: s * 1000 }]))"
    )

    assert drawn == "MLMM"
    assert [span / 60_000 for span in spans] == [5, 5, 12, 60]
    assert tops == pytest.approx([1, 0.3, 1, 8, 4_000, 100])


LINK = """{{
    const sources = [], pauses = [], timers = [];
    globalThis.EventSource = class {{
        listeners = {{}};
        isClosed = false;
        constructor() {{ sources.push(this); }}
        addEventListener(name, listener) {{ this.listeners[name] = listener; }}
        close() {{ this.isClosed = true; }}
    }};
    globalThis.setTimeout = (then, ms) => (pauses.push(ms), timers.push(then));
    const link = new m.Link(() => {{}});
    link.open();
    {script}
}}"""


async def test_link_waits_longer_after_each_failure_and_no_longer_than_a_bound(page: Page) -> None:
    """With jitter, so that many open pages do not come back at once; a picture makes it patient no more."""
    pauses = await of_module(
        page,
        "link",
        LINK.format(
            script="""
            const found = [];
            for (let turn = 0; turn < 10; turn += 1) {
                if (turn === 9) sources.at(-1).listeners.full({ data: "{}" });
                sources.at(-1).listeners.error();
                found.push(pauses.at(-1));
                timers.at(-1)();
            }
            return found;"""
        ),
    )

    longest = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000, 15_000, 500]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))


async def test_link_gives_up_a_connection_that_brings_nothing(page: Page) -> None:
    """It may stand for ever on one side alone; a new one is made, and the old one let go."""
    found = await of_module(
        page,
        "link",
        LINK.format(
            script="""
            sources[0].listeners.open();
            timers.at(-1)();
            const why = link.why;
            timers.at(-1)();
            return [why, sources.length, sources[0].isClosed, sources[1].isClosed];"""
        ),
    )

    assert found == ["Nothing came any more. Trying again.", 2, True, False]


async def test_link_of_a_page_that_nobody_sees_is_let_go_and_taken_up_again(page: Page) -> None:
    """After a while, not at once; no news of the network take it up before somebody looks."""
    found = await of_module(
        page,
        "link",
        LINK.format(
            script="""
            link.follow(false);
            const before = sources[0].isClosed;
            timers.at(-1)();
            const after = [sources[0].isClosed, link.isPaused];
            link.hurry();
            const hurried = sources.length;
            link.follow(true);
            return [before, ...after, hurried, sources.length];"""
        ),
    )

    assert found == [False, True, True, 1, 2]


async def test_picture_that_is_known_already_is_no_news(page: Page) -> None:
    """A new connection begins with the newest picture there is, which may be an old one."""
    said = await of_module(
        page,
        "staleness",
        """{
            const h = new m.Hearing();
            h.hear(50000, 7000);
            h.forgetWay();
            h.hear(70000, 7000);
            return m.judge(h, 70000, true, "").news;
        }""",
    )

    assert said == "old"


async def test_times_are_in_utc_and_say_the_day_when_it_is_another(page: Page) -> None:
    """As logs and tables have them, wherever the reader is."""
    said = await of_module(
        page, "words", "[m.clock(86399000), m.moment(3600000, 7200000), m.moment(3600000, 90000000)]"
    )

    assert said == ["23:59:59", "01:00:00", "1970-01-01 01:00:00"]


async def test_name_of_a_stream_is_taken_apart_at_its_ends(page: Page) -> None:
    """Whatever the exchange may call a symbol."""
    found = await of_module(
        page,
        "model",
        """{
            const model = new m.Model();
            const names = ["spot:BTCUSDT:trade", "spot:<a:b>:depth"];
            model.takeFull({ names, details: [[], []], samples: [] });
            return model.streams.map(({ market, symbol, kind }) => [market, symbol, kind]);
        }""",
    )

    assert found == [["spot", "BTCUSDT", "trade"], ["spot", "<a:b>", "depth"]]
