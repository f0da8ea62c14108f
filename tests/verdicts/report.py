"""The table of faults, as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from tests.verdicts.agreement import Views
from tests.verdicts.trial import Row

HEADINGS = (
    "fault",
    "page",
    "`ingest status`",
    "`/readyz`",
    "`/freshz`",
    "`ingest_ready`, `_fresh`",
    "freshness table, incidents",
    "alerts whose condition holds",
    "all agree after s",
    "all well again after s",
)
_ABSENT = "no answer"
_HEAD = """# Faults, and what everybody says of them

<!-- written by `make faults` -->

Each fault is provoked on a running service, against the bundled exchange, and lasts until all that can be
asked agree on it: the page's headline, `ingest status` with its exit code, `/readyz` and `/freshz`, the two
metrics of the same questions, the freshness table with its diagnoses, and the alert rules of `k8s/prometheus`
in a real Prometheus (there "for an hour" is ten seconds, and an alert counts as soon as its condition holds;
those that held before the fault are left out). Then it is mended, and all have to agree that it is well. What
must be common to all answers is in `tests/verdicts/agreement.py`, what each fault has to lead to in
`tests/verdicts/faults.py`. A look takes a second or two, or as long as `ingest status` needs to find that no
database answers.
"""


def cells(row: Row) -> list[str]:
    """One line of the table."""
    title = row.fault.title
    if row.views is None:
        return [title, *["-"] * (len(HEADINGS) - 1)]
    views = row.views
    return [
        title,
        _page(views),
        f"{views.status} ({views.exit_code})",
        _yes(views.ready),
        _yes(views.fresh),
        f"{_number(views.metric_ready)}, {_number(views.metric_fresh)}",
        _table(views),
        ", ".join(sorted(views.alerts - row.before)) or "-",
        _seconds(row.agreed_s),
        _seconds(row.well_s),
    ]


def markdown(rows: Sequence[Row], about: str) -> str:
    """The whole page; a row that is not as it should be says why below the table."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    wrong = [f"- {row.fault.name}: {each}" for row in rows for each in row.complaints]
    return "\n".join(
        (_HEAD, about, "", *lines, *(["", "**They do not agree:**", "", *wrong] if wrong else []), "")
    )


def write(file: Path, rows: Sequence[Row], about: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(markdown(rows, about), encoding="utf-8")


def summary(row: Row) -> str:
    """One line for whoever waits."""
    times = f"agreed after {_seconds(row.agreed_s)} s, well again after {_seconds(row.well_s)} s"
    return f"{row.fault.name}: {times}" + "".join(f"\n    {each}" for each in row.complaints)


def _page(views: Views) -> str:
    if views.page is None:
        return _ABSENT
    return f"{views.page}: {views.line}"


def _table(views: Views) -> str:
    if views.table_age_s is None:
        return _ABSENT
    states = ", ".join(f"{count} {state}" for state, count in sorted(views.states.items()))
    named = views.diagnoses | views.incidents
    age = "" if views.table_is_written else f"{views.table_age_s:.0f} s old; "
    return f"{age}{states}" + (f"; {', '.join(sorted(named))}" if named else "")


def _yes(said: bool | None) -> str:
    return _ABSENT if said is None else "200" if said else "503"


def _number(said: bool | None) -> str:
    return "-" if said is None else str(int(said))


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"
