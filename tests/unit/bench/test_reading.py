"""The table of reading speeds."""

from tests.bench.reading import WAYS, Measured, table


def test_ways_are_compared_round_by_round() -> None:
    """With the first one, whose time in the same round is the measure."""
    found = {
        "yardstick": [Measured(10.0, 5.0, 100.0), Measured(30.0, 5.0, 110.0)],
        "other": [Measured(5.0, 1.0, 50.0), Measured(10.0, 2.0, 40.0)],
    }

    assert table(found).splitlines()[2:] == [
        "| yardstick | 20.00 | 10.00-30.00 | 1.0 | 5.00 | 110 |",
        "| other | 7.50 | 5.00-10.00 | 2.5 | 1.50 | 50 |",
    ]


def test_yardstick_comes_first() -> None:
    """What most people call."""
    assert next(iter(WAYS)).startswith("pandas.read_sql")
