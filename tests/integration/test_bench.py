"""The benchmark runs from end to end, so that it cannot rot. What it measures is of no interest here."""

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from tests.bench.__main__ import main
from tests.bench.courses import ROWS
from tests.bench.measure import Measure
from tests.bench.report import comparisons, summaries, table
from tests.bench.suite import Options, run_suite

SAME_WAY = {"trade", "ticker", "depth", "streams100", "streams1024"}
"""Rows measured as others are, on other frames: `symbols200` and `symbols2000` stand for them."""


@pytest.mark.deadline(280)
async def test_every_way_of_measuring_delivers_every_message(tmp_path: Path) -> None:
    """Each row accounts for all messages, and the database holds each once."""
    told: list[Measure] = []
    options = Options(
        messages=600,
        rounds=1,
        symbols=4,
        many_symbols=20,
        spool_rate=2_000,
        data_dir=tmp_path,
        durable=False,
        rows=[row for row in ROWS if row not in SAME_WAY],
    )

    measures = await run_suite(options, told.append)

    assert {measure.row for measure in measures} == set(ROWS) - SAME_WAY
    assert [measure.row for measure in measures].count("floor") == 2 * len({m.course for m in measures})
    assert told == measures
    assert all(measure.messages >= 600 and measure.cpu_s > 0 for measure in measures)
    by_row = {measure.row: measure for measure in measures}
    for row in ("shard", "quick", "tls", "symbols2000"):
        assert by_row[row].rows == by_row[row].messages == 600
        assert by_row[row].rss_bytes > 0
    assert by_row["stored"].stored_rows == by_row["stored"].distinct_rows == 600
    assert by_row["stored"].conflicts == 0
    assert by_row["symbols2000"].streams == 10 * by_row["symbols200"].streams
    spool = by_row["spool"]
    assert spool.spooled_rows >= 600
    assert spool.stored_rows == spool.distinct_rows == spool.messages
    assert 0 < by_row["capture"].captured_bytes < by_row["capture"].received_bytes
    assert table(summaries(measures)).row_count == len(options.rows) - 1 + len({m.course for m in measures})
    assert len(comparisons(measures)) == 5


def test_command_stores_what_it_measured(tmp_path: Path) -> None:
    """The command line measures the named rows on the named mix and writes them down."""
    report = tmp_path / "report.json"
    words = "--messages 200 --rounds 1 --rows parse --mix 0,1,0 --symbols 3".split()
    files = ["--json", str(report), "--data-dir", str(tmp_path)]

    result = CliRunner().invoke(main, [*words, *files], catch_exceptions=False)

    assert result.exit_code == 0
    stored = orjson.loads(report.read_bytes())
    assert [measure["row"] for measure in stored["measures"]] == ["floor", "parse", "floor"]
    assert stored["options"]["mix"] == {"book_ticker": 1}


def test_unknown_row_is_refused_by_name(tmp_path: Path) -> None:
    """A row that does not exist is named, with those that do."""
    result = CliRunner().invoke(main, ["--rows", "parse,speed"])

    assert result.exit_code == 2
    assert "no such row: speed" in result.output
