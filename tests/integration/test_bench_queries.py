"""The query benchmark runs from end to end, so that it cannot rot. Its times are of no interest here."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.bench.queries import main
from tests.bench.questions import QUESTIONS


@pytest.mark.timeout(300)
def test_both_schemas_answer_every_question_alike(tmp_path: Path) -> None:
    """All questions are answered, the answers are equal (else it fails), and the table names them all."""
    report = tmp_path / "queries.md"
    words = "--rows 20000 --symbols 6 --seconds 0 --askings 6".split()
    files = ["--folder", str(tmp_path), "--report", str(report)]

    result = CliRunner().invoke(main, [*words, *files], catch_exceptions=False)

    assert result.exit_code == 0, result.output
    text = report.read_text()
    assert all(text.count(f"`{question.name}`") == 2 for question in QUESTIONS)
    assert "| trades |" in text
