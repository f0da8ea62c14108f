"""The table: in the terminal and as Markdown for reading, as JSON for comparing."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from tests.silence.trial import Row

HEADINGS = (
    "scenario",
    "streams",
    "threshold s",
    "noticed s",
    "incident s",
    "incidents",
    "diagnosis",
    "ladder steps",
    "recovered s",
    "last one spoke s",
    "others disturbed",
    "false incidents",
    "note",
)


def cells(row: Row) -> list[str]:
    """One line of the table."""
    recovered = seconds(row.recovered_s)
    if row.recovered_s is not None and row.since == "lifted":
        recovered += " after its end"
    measured = [
        str(row.targets),
        seconds(row.threshold_s),
        seconds(row.noticed_s),
        seconds(row.incident_s),
        str(row.incidents),
        ", ".join(row.diagnoses) or "-",
        ", ".join(row.steps) or "-",
        recovered,
        seconds(row.all_spoke_s),
        str(len(row.disturbed)),
        str(len(row.false_incidents)),
    ]
    return [row.title, *(measured if row.measured else ["-"] * len(measured)), _note(row)]


def markdown(rows: Sequence[Row], about: str) -> str:
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join(("# Silence, provoked and measured", "", about, "", *lines, ""))


def show(console: Console, rows: Sequence[Row]) -> None:
    table = Table(*HEADINGS, show_lines=True)
    for row in rows:
        table.add_row(*cells(row), style="red" if row.wrong else "")
    console.print(table)


def write(folder: Path, rows: Sequence[Row], about: str) -> None:
    """`latest.md` and `latest.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.md").write_text(markdown(rows, about), encoding="utf-8")
    answer = {"about": about, "rows": [dataclasses.asdict(row) for row in rows]}
    (folder / "latest.json").write_bytes(orjson.dumps(answer, option=orjson.OPT_INDENT_2))


def seconds(value: float | None) -> str:
    """With one digit; - for never."""
    return "-" if value is None else f"{value:.1f}"


def _note(row: Row) -> str:
    return "; ".join(filter(None, [row.note, *(f"WRONG: {each}" for each in row.wrong)]))
