"""Refusals say what, since when, why, and what to do."""

from datetime import UTC, datetime, timedelta

import pytest

from ingest.errors import IngestError
from ingest.events import StreamKey
from ingest.reader.errors import IncompleteData, Missing, StaleData, UnknownName, age_text

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY = StreamKey("spot", "BTCUSDT", "trade")


def stale(diagnosis: str = "stream_silent", *, since: datetime | None = NOW) -> StaleData:
    """Of a stream that is a minute old."""
    age = None if since is None else timedelta(minutes=1)
    return StaleData(
        KEY, age=age, max_age=timedelta(seconds=5), since=since, state="stale", diagnosis=diagnosis
    )


def gap(number: int = 7, state: str = "open") -> Missing:
    """A row of the ledger."""
    return Missing(number, number + 1, NOW, None, "disconnect", state, number)


def test_stale_data_tell_what_to_do() -> None:
    """And may be tried again."""
    text = str(stale())

    assert "spot:BTCUSDT:trade is known up to 2026-11-22T12:00:00.000+00:00, 60.0 s ago" in text
    assert "5.0 s are allowed; state stale, diagnosis stream_silent (others on the same connection" in text
    assert "wait_fresh()" in text and "allow_stale=True" in text
    assert stale().transient and issubclass(StaleData, IngestError)


def test_stale_data_without_any_row_or_diagnosis_say_so() -> None:
    """Nothing is made up."""
    assert "without any row" in str(stale(since=None))
    assert "no diagnosis yet" in str(stale(""))
    assert "diagnosis something_new." in str(stale("something_new"))


def test_incomplete_data_name_the_first_few() -> None:
    """However much there is, the message stays readable; the error has it all."""
    error = IncompleteData(KEY, [gap(number) for number in range(1, 9)], go_on_after=9)

    assert "ids 1 to 2, 2026-11-22T12:00:00.000+00:00 to an unknown time (gap 1, open, disconnect)" in str(
        error
    )
    assert "and 3 more" in str(error) and "ask again later" in str(error)
    assert (len(error.missing), error.go_on_after) == (8, 9)


def test_incomplete_data_give_no_hope_where_there_is_none() -> None:
    """What cannot be had again, and what was never fetched."""
    assert "does not give it again" in str(IncompleteData(KEY, [gap(state="unrepairable")]))
    assert "ingest backfill BTCUSDT" in str(IncompleteData(KEY, [], begins=NOW))


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (119.96, "120.0 s"), (3_725, "1:02:05")])
def test_ages_are_written_as_people_say_them(seconds: float, text: str) -> None:
    """Seconds, then a clock's way."""
    assert age_text(timedelta(seconds=seconds)) == text


def test_unknown_name_without_anything_known() -> None:
    """An empty database."""
    assert str(UnknownName("symbol", "BTCUSDT", [])) == "unknown symbol 'BTCUSDT'; known: none yet"
