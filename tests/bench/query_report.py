"""The query benchmark as Markdown: sizes, times, ratios to the naive schema, and what they depend on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from tests.bench.questions import Question
from tests.bench.sizes import Size
from tests.bench.timing import Times


@dataclass(frozen=True, kw_only=True)
class Examined:
    """One way of keeping the rows, and the naive schema on the same server in the same minutes."""

    name: str
    server: str
    times: Mapping[Question, Times]
    naive: Mapping[Question, Times]


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """Sizes of one way of keeping the rows."""

    name: str
    sizes: Sequence[Size]


_Shown = Callable[[Times], str]


def report(weighed: Sequence[Weighed], examined: Sequence[Examined], facts: Sequence[str]) -> str:
    """The whole text; `examined` is not empty, and its questions are the same for all."""
    questions = list(examined[0].times)
    parts = ["# Sizes and query times", *facts, "## Bytes a row", _SIZES, _size_table(weighed)]
    for asker, asked in groupby(questions, lambda question: question.asker):
        parts += [f"## What a {asker} asks, prepared", _PREPARED]
        parts.append(_time_table(examined, list(asked), _prepared, with_ratio=True))
    parts += ["## The first time on a new connection", _FIRST]
    parts.append(_time_table(examined, questions, lambda times: _figures(times.first_ms), with_ratio=False))
    return "\n\n".join(parts) + "\n"


_SIZES = "Heap, TOAST and indexes together; in parentheses the indexes' share."
_PREPARED = (
    "p50 / p99 in ms (p99: the longest where a question was asked less than 100 times); in bold how many "
    "times as fast as the naive schema on the same server in the same minutes, by p50."
)
_FIRST = "Median in ms of five askings, each on a connection of its own that had asked nothing before."


def _size_table(weighed: Sequence[Weighed]) -> str:
    kinds = dict.fromkeys(size.kind for one in weighed for size in one.sizes)
    rows = [["kind", "rows", *(one.name for one in weighed)], ["---", *["---:"] * (1 + len(weighed))]]
    for kind in kinds:
        found = [next((size for size in one.sizes if size.kind == kind), None) for one in weighed]
        most = max(size.rows for size in found if size)
        rows.append([kind.replace("_", " "), f"{most:,}", *map(_size_cell, found)])
    return _markdown(rows)


def _size_cell(size: Size | None) -> str:
    return f"{size.bytes_a_row:,.0f} ({size.index_bytes_a_row:,.0f})" if size else ""


def _time_table(
    examined: Sequence[Examined], questions: Sequence[Question], shown: _Shown, *, with_ratio: bool
) -> str:
    """Of each server the naive schema, then each way of keeping the rows."""
    head, columns = ["question"], list[list[str]]()
    for server, group in groupby(examined, lambda one: one.server):
        of_server = list(group)
        head += [f"naive, {server}", *(one.name for one in of_server)]
        columns.append([shown(of_server[0].naive[question]) for question in questions])
        for one in of_server:
            ratios = [f" **×{_ratio(one, question)}**" if with_ratio else "" for question in questions]
            times = [shown(one.times[question]) for question in questions]
            columns.append([f"{time}{ratio}" for time, ratio in zip(times, ratios, strict=True)])
    names = [f"{question.asks} (`{question.name}`)" for question in questions]
    rows = [list(row) for row in zip(names, *columns, strict=True)]
    return _markdown([head, ["---", *["---:"] * len(columns)], *rows])


def _prepared(times: Times) -> str:
    return f"{_figures(times.p50_ms)} / {_figures(times.p99_ms)}"


def _ratio(one: Examined, question: Question) -> str:
    return _figures(one.naive[question].p50_ms / one.times[question].p50_ms)


def _figures(value: float) -> str:
    """Two or three figures, which is all that a shared machine can tell."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
