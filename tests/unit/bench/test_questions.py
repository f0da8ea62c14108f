"""The questions: asked the same way of every database, and answers compared as numbers."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.bench.filling import bench_statements
from tests.bench.questions import QUESTIONS, Question, first_difference
from tests.bench.replay import Extent

EXTENT = Extent(rows=100_000, first_day=datetime(2024, 8, 5, tzinfo=UTC))


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_question_is_put_to_both_schemas(question: Question) -> None:
    """Its SQL stands in the file twice, and both take the parameters that are drawn."""
    sql = bench_statements("questions")
    arguments = question.cases(EXTENT, 1)[0]
    for text in (sql[question.name], sql[f"naive_{question.name}"]):
        asked = {number for number in range(1, 9) if f"${number}" in text}
        assert asked == set(range(1, len(arguments) + 1))


def test_every_statement_belongs_to_a_question() -> None:
    """The file holds no SQL that is not asked."""
    names = {question.name for question in QUESTIONS}

    assert {name.removeprefix("naive_") for name in bench_statements("questions")} == names


def test_cases_are_the_same_each_time() -> None:
    """The same extent draws the same parameters, of the past before the newest day."""
    question = next(question for question in QUESTIONS if question.name == "vwap_of_an_hour")
    cases = question.cases(EXTENT, 50)

    assert cases == question.cases(EXTENT, 50)
    for _, start, end in cases:
        assert isinstance(start, datetime) and isinstance(end, datetime)
        assert EXTENT.first_day <= start < end <= EXTENT.end - timedelta(days=1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Decimal("61602.01000000"), 61602.01),
        (Decimal("0.00000001"), 1e-8),
        (3, Decimal(3)),
        ([1.0, 2.0], [Decimal(1), Decimal(2)]),
        ("BTCUSDT", "BTCUSDT"),
        (None, None),
    ],
)
def test_same_values_in_other_types_are_the_same(one: object, other: object) -> None:
    """Numbers are compared as such, whatever type they come in."""
    assert first_difference([(1, one)], [(1, other)]) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [(Decimal("61602.01"), 61602.02), (None, 0.0), ([1.0], [1.0, 2.0]), ("A", "B"), (1, 2), ("1", 1.0)],
)
def test_other_values_are_told(one: object, other: object) -> None:
    """The row where two answers differ is named."""
    assert "row 1" in (first_difference([(0,), (one,)], [(0,), (other,)]) or "")


def test_missing_row_is_told() -> None:
    """Answers of different lengths are different."""
    assert first_difference([(1,)], []) == "1 rows and 0 rows"
