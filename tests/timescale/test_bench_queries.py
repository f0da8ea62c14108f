"""The query benchmark's part with the extension runs, so that it cannot rot. Its times are of no interest."""

import pytest

from tests.bench.queries import Findings, first_day
from tests.bench.questions import QUESTIONS
from tests.bench.replay import Extent
from tests.bench.timing import Effort, Examiner
from tests.plugin_schema import NOW


@pytest.mark.deadline(280)
async def test_rows_and_columns_answer_every_question_alike(timescale_url: str) -> None:
    """All questions are answered before and after the conversion, as the naive schema answers them."""
    extent = Extent(rows=2_000, symbols=4, days=2, first_day=first_day(2, now=NOW))
    examiner = Examiner(QUESTIONS, extent, Effort(seconds=0, askings=6))
    findings = Findings(extent=extent, tell=print, examiner=examiner)

    await findings.on_timescale(timescale_url)

    assert [one.name for one in findings.examined] == ["hypertables, rows", "hypertables, columnstore"]
    assert all(set(one.times) == set(QUESTIONS) for one in findings.examined)
    assert "| candles 1m |" in findings.text()
