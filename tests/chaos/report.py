"""The table of chaos: Markdown for people, JSON for comparing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from tests.chaos.trial import Row

HEADINGS = (
    *("fault", "seen by", "after s", "fault lasted s", "well again s after", "trades whole s after"),
    *("published", "stored", "lost trades", "lost, in the ledger", "lost unnoticed", "twice", "altered"),
    *("gap rows", "bounds true", "verdict"),
)
_TOLD_AT_MOST = 3


def markdown(rows: Sequence[Row], about: str) -> str:
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    told = [f"- {row.name}: {each}" for row in rows for each in _complaints(row)]
    return "\n".join(("# Chaos", "", about, "", *lines, "", *told, ""))


def cells(row: Row) -> list[str]:
    """One line of the table."""
    lost_trades = row.total("lost_noticed", ("trade", "agg_trade"))
    return [
        row.title,
        row.detected or "-",
        _seconds(row.detected_s),
        _seconds(row.lasted_s),
        _seconds(row.recovered_s),
        _seconds(row.repaired_s),
        *(f"{row.total(column):,}" for column in ("published", "stored")),
        f"{lost_trades:,}",
        f"{row.total('lost_noticed') - lost_trades:,}",
        *(f"{row.total(column):,}" for column in ("lost_unnoticed", "duplicated", "altered")),
        _gaps(row),
        f"{row.checked_gaps - len(row.wrong_bounds)} of {row.checked_gaps}",
        "good" if row.is_good else "WRONG",
    ]


def summary(row: Row) -> str:
    """One line while it runs."""
    names = dict(zip(HEADINGS, cells(row), strict=True))
    line = f"{row.name}: {names['verdict']}; {row.detected or 'not seen'} after {names['after s']} s, well "
    line += f"{names['well again s after']} s after; published {names['published']}, lost trades "
    line += (
        f"{names['lost trades']}, lost {names['lost, in the ledger']}, unnoticed {names['lost unnoticed']}, "
    )
    line += f"twice {names['twice']}, altered {names['altered']}; gaps {names['gap rows']}"
    return line + "".join(f"\n        {each}" for each in _complaints(row))


def write(folder: Path, rows: Sequence[Row], about: str) -> None:
    """`latest.md` and `latest.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.md").write_text(markdown(rows, about), encoding="utf-8")
    answer = {"about": about, "rows": [asdict(row) for row in rows]}
    (folder / "latest.json").write_bytes(orjson.dumps(answer, option=orjson.OPT_INDENT_2))


def read(folder: Path) -> list[Row]:
    """The rows of `latest.json`; none when there is no such file."""
    path = folder / "latest.json"
    if not path.exists():
        return []
    return [Row(**each) for each in orjson.loads(path.read_bytes())["rows"]]


def _gaps(row: Row) -> str:
    """By state, kinds together."""
    states: Counter[str] = Counter()
    for name, count in row.gaps.items():
        states[name.rpartition(" ")[2]] += count
    return ", ".join(f"{count:,} {state}" for state, count in sorted(states.items())) or "none"


def _complaints(row: Row) -> list[str]:
    return row.complaints + [f"bounds: {each}" for each in row.wrong_bounds[:_TOLD_AT_MOST]]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
