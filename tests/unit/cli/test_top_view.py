"""`ingest.cli.top_view`: what is shown of what was read."""

from datetime import UTC, datetime
from io import StringIO

from rich.console import Console

from ingest.cli.tables import Status
from ingest.cli.top_view import BAR_CELLS, FEEDS_SHOWN, Look, age_pictures, bar, screen

Row = dict[str, object]


def a_stream(symbol: str = "BTCUSDT", *, share: float | None = 0.25, state: str = "live") -> Row:
    return {
        "market": "spot",
        "symbol": symbol,
        "kind": "trade",
        "state": state,
        "diagnosis": "" if state == "live" else "half_open",
        "age_s": None if share is None else share * 8,
        "threshold_s": 8.0,
        "share": share,
        "shard": 0,
        "feed": "3",
    }


def a_feed(number: int = 3, *, reason: str | None = None) -> Row:
    return {
        "shard": 0,
        "feed": str(number),
        "streams": 200,
        "is_open": reason is None,
        "since_s": 60.0,
        "reason": reason,
        "close_code": 1008 if reason else None,
        "ends": 2,
        "reasons": "closed_by_exchange, half_open",
    }


KINDS: Row = {
    "market": "spot",
    "kind": "trade",
    "streams": 2,
    "live": 1,
    "well": 1,
    "quiet": 0,
    "stale": 1,
    "age_s": 10.0,
    "median_age_s": 5.0,
    "rows_committed": 0,
}
SHARD: Row = {
    "shard": 0,
    "state": "running",
    "pid": 77,
    "uptime_s": 3_600.0,
    "restarts": 1,
    "heartbeat_age_s": 0.1,
    "loop_lag_ms": 1.5,
    "rows_committed": 5_000,
    "rows_waiting": 12,
    "rows_refused": 0,
}


def a_status(**changes: object) -> Status:
    status = Status(
        kinds=[KINDS],  # type: ignore[list-item]
        not_live=[],
        shards=[SHARD],  # type: ignore[list-item]
        incidents=[],
        gaps={("spot", "trade"): 3},
        open_gaps=2,
        age_s=0.5,
    )
    return status._replace(**changes)  # type: ignore[arg-type]


def a_look(status: Status | None = None, **changes: object) -> Look:
    look = Look(
        status=status or a_status(),
        streams=[a_stream("ETHUSDT", share=1.5, state="stale"), a_stream()],  # type: ignore[list-item]
        ages=[{"market": "spot", "kind": "trade", "tenth": 3, "streams": 1}],  # type: ignore[list-item]
        feeds=[a_feed(reason="closed_by_exchange: [too] many"), a_feed(4)],  # type: ignore[list-item]
        rows_per_s={"0": 1_234.5},
        messages_per_s={"trade": 1_500.0},
    )
    return look._replace(**changes)  # type: ignore[arg-type]


def text_of(look: Look, height: int = 60) -> str:
    out = StringIO()
    Console(file=out, width=180).print(screen(look, height=height))
    return out.getvalue()


def test_everything_an_operator_asks_is_on_one_screen() -> None:
    """How it is, the rates, the streams' ages against their thresholds, shards, feeds, gaps."""
    shown = text_of(a_look())

    for part in (
        "1 of 2 streams are not fresh   1,500 messages/s, 1,234 rows/s   2 open gaps",
        "spot:ETHUSDT:trade",
        "half_open",
        "150%",
        "25%",
        "1.5 ms",
        "closed_by_exchange: [too] many (1008)",
        "shard 0, feed 4",
    ):
        assert part in shown


def test_stopped_service_and_empty_table_are_told() -> None:
    """And no rates where there is no board to read them from."""
    stopped = a_status(stopped_at=datetime(2026, 9, 21, 14, tzinfo=UTC), stopped_s=90.0)

    assert "the service was stopped at 2026-09-21 14:00:00 UTC, 90.00 s ago" in text_of(a_look(stopped))
    assert "messages/s," not in text_of(a_look(messages_per_s=None))
    assert "is empty" in text_of(a_look(a_status(kinds=[], age_s=None)))


def test_small_screen_shows_fewer_streams() -> None:
    """But some."""
    many = [a_stream(f"S{number}") for number in range(100)]

    assert text_of(a_look(streams=many), height=24).count("spot:S") == 10
    assert text_of(a_look(streams=many), height=1).count("spot:S") == 5


def test_feeds_beyond_what_fits_are_counted() -> None:
    """Those without a connection come first, as they were read."""
    shown = text_of(a_look(feeds=[a_feed(number) for number in range(FEEDS_SHOWN + 3)]))

    assert "and 3 more" in shown


def test_bar_is_full_at_the_threshold_and_stays_full_beyond() -> None:
    """The percentage goes on; a stream without an age has none."""
    assert bar(0.5).count("█") == BAR_CELLS // 2
    assert bar(1.0).count("█") == bar(7.0).count("█") == BAR_CELLS
    assert bar(7.0).endswith("700%")
    assert bar(None) == ""


def test_ages_are_a_picture_of_tenths() -> None:
    """A single stream among many is seen, and what is past the threshold stands apart."""
    rows = [
        {"market": "spot", "kind": "trade", "tenth": 1, "streams": 1_000},
        {"market": "spot", "kind": "trade", "tenth": 10, "streams": 1},
        {"market": "spot", "kind": "depth", "tenth": 11, "streams": 2},
        {"market": "spot", "kind": "depth", "tenth": None, "streams": 2},
    ]

    assert age_pictures(rows) == {  # type: ignore[arg-type]
        ("spot", "trade"): "█        ▁| ",
        ("spot", "depth"): "          |[bold red]█[/]",
    }
