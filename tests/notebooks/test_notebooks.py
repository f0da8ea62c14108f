"""The notebooks, executed on a demo session: pictures that come, and numbers that agree with SQL."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import orjson
import pytest

from ingest.cli.notebook_files import strip
from ingest.cli.notebooks import recorded_session
from tests.notebooks.session import FOLDER, Executed, Session, recorded

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session is kept."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="module")
def session(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One session for all of them, read only."""
    private = tmp_path_factory.mktemp("jupyter")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CONFIG", "DATA", "RUNTIME"):
            patch.setenv(f"JUPYTER_{name}_DIR", str(private))
        with recorded(kept, private) as session:
            yield session


def _span(run: Executed) -> tuple[datetime, datetime]:
    start, end = (datetime.fromisoformat(str(run.sums[name])) for name in ("start", "end"))
    return start, end


def test_complete_and_fresh_counts_what_is_stored_and_missing(session: Session) -> None:
    """Four pictures; streams, trades, gaps and incidents are those of the tables."""
    run = session.execute("01-complete-and-fresh")

    assert run.images == 4
    assert run.sums["streams"] == session.value("SELECT count(*) FROM ops.stream_freshness") == 25 * 8
    assert run.sums["trades"] == session.value(
        "SELECT count(*) FROM spot.trades WHERE ts >= $1 AND ts < $2", *_span(run)
    )
    end = _span(run)[1]
    assert run.sums["incidents"] == session.value(
        "SELECT count(*) FROM ops.incidents WHERE opened_at < $1", end
    )
    assert run.sums["gaps"] == session.value("SELECT count(*) FROM ops.gaps WHERE start_ts < $1", end)
    assert 0 < int(str(run.sums["repaired_trades"])) < int(str(run.sums["trades"]))


def test_latency_measures_what_came_live_up_to_its_commit(session: Session) -> None:
    """Four pictures; repaired rows are left out, and the median is that of the database."""
    run = session.execute("02-latency")

    live = (
        " FROM spot.trades AS t WHERE ts BETWEEN $1 AND $2 AND NOT EXISTS (SELECT FROM ops.gaps AS g"
        " WHERE g.kind = 'trade' AND g.state = 'repaired' AND g.symbol = t.symbol"
        " AND t.trade_id BETWEEN g.first_id AND g.last_id)"
    )
    median = "percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM recv_ts - ts)::float8 * 1000)"
    medians = run.sums["median_to_receive_ms"]
    assert run.images == 4
    assert run.sums["commits"] is True
    assert run.sums["live_trades"] == session.value(f"SELECT count(*) {live}", *_span(run))
    assert isinstance(medians, dict)
    assert medians["BTCUSDT"] == pytest.approx(
        session.value(f"SELECT {median} {live} AND symbol = 'BTCUSDT'", *_span(run)), abs=0.001
    )


def test_microstructure_shows_the_recorded_book(session: Session) -> None:
    """Three pictures; as many quotes and as much volume as is stored, and no crossed book."""
    run = session.execute("03-microstructure")

    assert run.images == 3
    assert run.sums["quotes"] == session.value(
        "SELECT count(*) FROM spot.book_tickers WHERE symbol = 'BTCUSDT' AND ts >= $1 AND ts < $2",
        *_span(run),
    )
    volume = session.value(
        "SELECT sum(qty)::float8 FROM spot.trades WHERE symbol = 'BTCUSDT' AND ts >= $1 AND ts < $2",
        *_span(run),
    )
    assert run.sums["volume"] == pytest.approx(volume, abs=1e-6)
    assert run.sums["crossed"] == 0
    assert int(str(run.sums["book_states"])) > 100


def test_candles_are_equal_to_the_exchange_s(session: Session) -> None:
    """Three pictures; many candles compared, none differs; the hole shows, and the refusal is printed."""
    run = session.execute("04-candles")

    assert run.images == 3
    assert run.sums["interval"] == "1s"
    assert run.sums["differ"] == run.sums["differences_listed"] == 0
    assert int(str(run.sums["compared"])) > 300
    assert int(str(run.sums["came_late"])) > 0
    assert int(str(run.sums["not_there_live"])) > 0
    assert "incomplete data: of spot:BTCUSDT:trade what is stored begins at" in run.text


def test_an_outage_is_told_with_its_causes_and_repairs(session: Session) -> None:
    """Four pictures; each incident is named, the killed shard's connections show, repairs are counted."""
    run = session.execute("05-an-outage-afterwards")

    told = session.value("SELECT array_agg(diagnosis || ': ' || streams[1]) FROM ops.incidents")
    assert run.images == 4
    assert isinstance(told, list)
    assert {line for line in told if line} <= set(re.findall(r"^\w+: [^\s,]+", run.text, re.MULTILINE))
    assert run.sums["sessions"] == session.value("SELECT count(*) FROM ops.feed_sessions")
    assert run.sums["cut_off"] == session.value(
        "SELECT count(*) FROM ops.feed_sessions AS s WHERE closed_at IS NULL AND EXISTS (SELECT"
        " FROM ops.feed_sessions AS n WHERE n.shard = s.shard AND n.feed = s.feed"
        " AND n.connected_at > s.connected_at)"
    )
    assert int(str(run.sums["cut_off"])) > 0
    assert run.sums["repaired"] == session.value(
        "SELECT count(*) FROM ops.gaps WHERE state = 'repaired' AND closed_at > opened_at AND start_ts < $1",
        _span(run)[1],
    )
    assert {"restart", "resubscribe"} <= set(str(run.sums["causes"]).strip("[]").replace("'", "").split(", "))


@pytest.mark.usefixtures("session")
def test_a_session_is_recorded_once(kept: Path) -> None:
    """Asked again, the one that is there serves."""
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}

    assert recorded_session(kept, ("--no-such-option",)) == kept / "session"
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == before


def test_there_are_five_of_them() -> None:
    """None is left out of these tests."""
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_notebook_is_stored_without_outputs(path: Path) -> None:
    """Valid, and nothing in it but what was written: no outputs, no counts, no metadata of a machine."""
    stored: dict[str, Any] = orjson.loads(path.read_bytes())
    stripped: dict[str, Any] = orjson.loads(path.read_bytes())

    strip(stripped)

    nbformat.validate(stored)
    assert stored == stripped
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert stored["cells"][0]["source"][0].startswith("# ")
    assert all(cell["id"].replace("-", "").isalpha() for cell in stored["cells"])
