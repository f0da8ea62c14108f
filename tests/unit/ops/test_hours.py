"""`ingest.ops.hours`: hours of the week, in UTC."""

from datetime import UTC, datetime
from math import inf

import pytest

from ingest.errors import ConfigError
from ingest.ops.hours import ALWAYS, Window, open_for_s, parse_hours

H = 3_600
DAY = 24 * H


def us(text: str) -> int:
    """Microseconds since the epoch of an ISO time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


MONDAY = "2026-09-21"


@pytest.mark.parametrize(
    ("texts", "windows"),
    [
        (["Mon 08:00-18:00"], [(8 * H, 18 * H)]),
        (["Mon-Sun 00:00-24:00"], [(0, 7 * DAY)]),
        (["00:00-24:00"], [(0, 7 * DAY)]),
        (["mon,WED 08:30-09:00"], [(8.5 * H, 9 * H), (2 * DAY + 8.5 * H, 2 * DAY + 9 * H)]),
        (["Mon 22:00-06:00"], [(22 * H, 30 * H)]),
        (["Sun 22:00-06:00"], [(0, 6 * H), (6 * DAY + 22 * H, 7 * DAY)]),
        (["Sat-Mon 00:00-24:00"], [(0, DAY), (5 * DAY, 7 * DAY)]),
        (["Mon 08:00-12:00", "Monday 12:00-18:00"], [(8 * H, 18 * H)]),
        (["Mon 08:00-14:00", "Mon 12:00-13:00"], [(8 * H, 14 * H)]),
    ],
)
def test_hours_are_read(texts: list[str], windows: list[tuple[float, float]]) -> None:
    """Days alone, in lists and in ranges, over midnight and over the end of the week; merged."""
    assert parse_hours(texts) == tuple(Window(int(a), int(b)) for a, b in windows)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "always",
        "Mon",
        "Mon 08:00",
        "Mon 8-18",
        "Foo 08:00-18:00",
        "Mon 08:00-25:00",
        "Mon 08:60-09:00",
        "Mon 08:00-08:00",
        "Mon 24:00-08:00",
        "Mon- 08:00-09:00",
        "Mon 08:00-09:00-10:00",
        "Mon +8:00-09:00",
    ],
)
def test_wrong_hours_are_refused_with_their_text(text: str) -> None:
    """Every one that cannot be read is named."""
    with pytest.raises(ConfigError, match="hours: expected") as caught:
        parse_hours([text, "Tue 08:00-18:00", "nonsense"])
    assert repr(text) in str(caught.value)
    assert "'nonsense'" in str(caught.value)


def test_no_hours_are_refused() -> None:
    """A switch that never judges is a mistake."""
    with pytest.raises(ConfigError, match="none are given"):
        parse_hours([])


@pytest.mark.parametrize(
    ("hours", "at", "seconds"),
    [
        ("Mon-Fri 08:00-18:00", f"{MONDAY}T07:59:59", 0),
        ("Mon-Fri 08:00-18:00", f"{MONDAY}T08:00:30", 30),
        ("Mon-Fri 08:00-18:00", f"{MONDAY}T18:00:00", 0),
        ("Mon-Fri 08:00-18:00", "2026-09-26T12:00:00", 0),
        ("Mon-Fri 00:00-24:00", "2026-09-22T01:00:00", 25 * H),
        ("Sun 22:00-06:00", f"{MONDAY}T01:00:00", 3 * H),
        ("Sat-Sun 00:00-24:00", f"{MONDAY}T00:00:00", 0),
        ("00:00-24:00", f"{MONDAY}T00:00:00", inf),
    ],
)
def test_how_long_the_hours_have_been_open(hours: str, at: str, seconds: float) -> None:
    """From the beginning of the window, through midnight and the end of the week."""
    assert open_for_s(parse_hours([hours]), us(at)) == seconds


def test_always_never_ends() -> None:
    """The default has no beginning to count from."""
    assert open_for_s(ALWAYS, 0) == inf
