"""The table keeps Prometheus' rules for names."""

import re
from pathlib import Path

import pytest

from ingest.ops.metric_table import METRICS, PER_STREAM_METRICS, MetricRow, markdown_table

README = Path(__file__).parents[3] / "README.md"


@pytest.mark.parametrize("row", METRICS, ids=lambda row: row.name)
def test_name_unit_and_help_follow_the_rules(row: MetricRow) -> None:
    """One prefix, base units in the name, `_total` on counters only, a sentence of help."""
    assert re.fullmatch(r"ingest_[a-z0-9_]+", row.name)
    assert row.name.endswith("_total") == (row.type == "counter")
    assert row.name.removesuffix("_total").endswith(row.unit)
    assert row.unit or not re.search(r"_(seconds|bytes)(_total)?$", row.name) or row.name.endswith("bytes")
    assert not re.search(r"_(ms|us|ns|mib|percent)\b", row.name)
    assert row.help.endswith(".")


def test_names_are_unique() -> None:
    """No metric stands in the table twice."""
    assert len({row.name for row in METRICS}) == len(METRICS)


def test_only_per_stream_metrics_have_a_symbol_label() -> None:
    """Labels without a bound are kept to the metrics that must be asked for."""
    assert {row for row in METRICS if "symbol" in row.labels} == set(PER_STREAM_METRICS)


def test_readme_shows_this_table() -> None:
    """The table in the README is `markdown_table()`, word for word: print it and put it there."""
    assert markdown_table() in README.read_text(encoding="utf-8")
