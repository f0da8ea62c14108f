"""Which rows are measured on which frames."""

from tests.bench.courses import ROWS, courses
from tests.bench.load import LoadJob

LOAD = LoadJob(1_000)


def test_every_row_has_one_course() -> None:
    """No row is measured twice in a round, and each of them is somewhere."""
    rows = [row for course in courses(LOAD, ROWS) for row in course.rows]

    assert sorted(["floor", *rows]) == sorted(ROWS)


def test_only_courses_that_are_needed_are_made() -> None:
    """A generator is started for rows that were asked for, and for the bare floor."""
    assert [course.name for course in courses(LOAD, ("trade", "spool"))] == ["trade", "paced"]
    assert [(course.name, list(course.rows)) for course in courses(LOAD, ("floor",))] == [("mix", [])]


def test_many_symbols_are_ten_times_the_few() -> None:
    """Eight thousand streams against eight hundred, and as many frames of the same kinds."""
    few, many = courses(LOAD, ("symbols200", "symbols2000"))

    assert len(few.load.mix) * few.load.symbols == 800
    assert len(many.load.mix) * many.load.symbols == 8_000
    assert few.load.messages == many.load.messages


def test_one_feed_carries_what_a_connection_may() -> None:
    """1,024 streams in all: one feed, or eleven."""
    (course,) = courses(LOAD, ("streams100", "streams1024"))

    assert len(course.load.mix) * course.load.symbols == 1_024
