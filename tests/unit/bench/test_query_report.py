"""From times to a table: quantiles, ratios to the naive schema of the same server."""

from datetime import UTC, datetime, timedelta

from tests.bench.queries import first_day
from tests.bench.query_report import Examined, Weighed, report
from tests.bench.questions import QUESTIONS
from tests.bench.sizes import Size
from tests.bench.timing import Times


def times(*prepared_ms: float) -> Times:
    return Times(first_s=[0.004], prepared_s=[ms / 1e3 for ms in prepared_ms])


def test_quantiles_are_of_the_prepared_askings() -> None:
    """The median, and the value that 99 of 100 do not exceed; of a few the longest."""
    many, few = times(*range(1, 201)), times(1, 2, 30)

    assert (round(many.p50_ms, 3), round(many.p99_ms, 3)) == (100.5, 198.0)
    assert (round(few.p50_ms, 3), round(few.p99_ms, 3)) == (2.0, 30.0)
    assert many.first_ms == 4.0


def test_report_shows_ratio_to_the_naive_schema() -> None:
    """A question that takes a tenth of the naive time is ten times as fast."""
    question = QUESTIONS[0]
    examined = Examined(
        name="partitions", server="PostgreSQL", times={question: times(2)}, naive={question: times(20)}
    )
    text = report([], [examined], ["conditions"])

    assert "| 20.0 / 20.0 | 2.00 / 2.00 **×10.0** |" in text
    assert "| 4.00 | 4.00 |" in text
    assert "conditions" in text


def test_report_shows_bytes_a_row() -> None:
    """Bytes a row, of which those of indexes; nothing where a kind was not weighed."""
    one = Weighed(name="rows", sizes=[Size("trades", 10, 800, 700), Size("klines", 2, 200, 0)])
    other = Weighed(name="columns", sizes=[Size("trades", 8, 80, 8)])
    question = QUESTIONS[0]
    examined = Examined(name="a", server="b", times={question: times(1)}, naive={question: times(1)})
    text = report([one, other], [examined], [])

    assert "| trades | 10 | 150 (70) | 11 (1) |" in text
    assert "| klines | 2 | 100 (0) |  |" in text


def test_newest_day_ends_within_a_day() -> None:
    """The last midnight, or late in the evening the coming one."""
    noon, late = datetime(2024, 8, 8, 12, tzinfo=UTC), datetime(2024, 8, 8, 23, 30, tzinfo=UTC)

    assert first_day(3, now=noon) + timedelta(days=3) == datetime(2024, 8, 8, tzinfo=UTC)
    assert first_day(3, now=late) + timedelta(days=3) == datetime(2024, 8, 9, tzinfo=UTC)
