"""`ingest gaps`: the ledger as people and programs read it."""

import asyncio

import orjson
import pytest

from ingest.cli import main
from ingest.events import Gap, StreamKey
from ingest.store.postgres import PostgresSink
from tests.rows import NOW_US, a_batch, a_gap, the_gap_filled

ETH_DEPTH = StreamKey("spot", "ETHUSDT", "depth")


@pytest.fixture
def configured(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database that the command finds by itself."""
    monkeypatch.setenv("INGEST_DATABASE_URL", migrated_url)
    return migrated_url


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(("gaps", *arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


async def _write(url: str) -> None:
    """An open gap of trades, one that has been filled, and one of depth that nobody can fill."""
    depth = Gap(ETH_DEPTH, 5, 9, NOW_US, NOW_US + 1, "disconnect", False, "not given [again]", NOW_US + 2)
    async with PostgresSink.opened(url, connections=1) as sink:
        await sink.write(a_batch([], a_gap(1, 3), a_gap(), depth))
        await sink.write(a_batch([], the_gap_filled(1, 3)))


def test_ledger_without_gaps_is_good(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to tell, exit code 0."""
    assert _run() == 0
    assert "no such gap" in capsys.readouterr().out


def test_open_gap_is_told_with_its_ids_and_by_the_exit_code(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All states are listed; one gap is still open."""
    asyncio.run(_write(configured))

    assert _run() == 3
    shown = capsys.readouterr().out
    for part in ("spot:BTCUSDT:trade", "5..9", "spot:ETHUSDT:depth", "not given [again]"):
        assert part in shown
    assert "1 open, 1 repaired, 1 unrepairable" in shown


def test_gaps_are_chosen_by_symbol_state_and_kind(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is about the symbol and the kind, whichever state is listed."""
    asyncio.run(_write(configured))

    assert _run("ethusdt", "--json") == 0
    (only,) = orjson.loads(capsys.readouterr().out)
    assert (only["kind"], only["state"], only["first_id"]) == ("depth", "unrepairable", 5)
    assert _run("--state", "repaired", "--json") == 3
    assert [row["rows_repaired"] for row in orjson.loads(capsys.readouterr().out)] == [3]
    assert _run("--kind", "depth") == 0


def test_gaps_of_a_symbol_that_was_never_stored_are_an_error(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt one would look well for ever; one without gaps is well."""
    asyncio.run(_write(configured))

    assert _run("ETHUSTD") == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "nothing is known of ETHUSTD: no such symbol was ever stored here\n")


def test_names_and_ids_are_whole_in_a_file(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """However many of the columns are wide."""
    key = StreamKey("spot", "1000CATUSDT", "mini_ticker")
    times = (NOW_US, NOW_US + 1)
    wide = Gap(
        key, 9_926_853_280, 9_926_853_290, *times, "row_refused", False, "a note of some words", NOW_US
    )

    async def write() -> None:
        async with PostgresSink.opened(configured, connections=1) as sink:
            await sink.write(a_batch([], wide))

    asyncio.run(write())
    assert _run() == 0
    shown = capsys.readouterr().out
    for part in ("spot:1000CATUSDT:mini_ticker", "9926853280..9926853290", "unrepairable", "row_refused"):
        assert part in shown


def test_unknown_state_is_wrong_use(configured: str) -> None:
    """Exit code 2."""
    assert _run("--state", "lost") == 2


def test_gaps_are_summed_up_by_kind_cause_and_state(
    configured: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was missed, why, how much, and what became of it; open ones first."""
    asyncio.run(_write(configured))

    assert _run("--summary", "--json") == 3
    rows = orjson.loads(capsys.readouterr().out)
    assert rows[0]["state"] == "open"
    assert {(row["kind"], row["state"]): (row["gaps"], row["ids"]) for row in rows} == {
        ("trade", "open"): (1, 5),
        ("trade", "repaired"): (1, 3),
        ("depth", "unrepairable"): (1, 5),
    }
    assert _run("--summary", "ethusdt") == 0
    assert "disconnect" in capsys.readouterr().out


def test_gaps_are_chosen_by_time(configured: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that ended or were noticed since; the exit code is about them."""
    asyncio.run(_write(configured))

    assert _run("--since", "2030-01-01") == 0
    assert "no such gap" in capsys.readouterr().out
    assert _run("--since", "2026-01-01") == 3
