"""Questions asked of databases, timed by the client, and their answers compared.

A time is from sending to the answer in Python's numbers, over a local connection. `first` is a question
asked on a new connection: planning and the catalogue included. All others are prepared, as a job asks them
that goes round and round; the databases take turns, so that what happens to the machine meets them all.
"""

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

from ingest.store.sessions import SessionLimits, connected
from tests.bench.filling import bench_statements
from tests.bench.questions import Question, as_rows, first_difference
from tests.bench.replay import Extent

if TYPE_CHECKING:
    from typing import TypeAlias

    import asyncpg
    from asyncpg.prepared_stmt import PreparedStatement

    from tests.bench.questions import Reads, Rows

    Prepared: TypeAlias = PreparedStatement[asyncpg.Record]

LIMITS: Final = SessionLimits(statement_s=1_800, lock_s=60)
CASES: Final = 12
"""Different parameters of one question; asked in turn."""
_FIRSTS: Final = 5
_ROUNDS: Final = 3
_UNTIL_PLANNED: Final = 6
"""After five askings PostgreSQL decides whether a prepared statement keeps one plan for all parameters."""


class DifferentAnswersError(Exception):
    """Two databases do not answer a question alike: their times must not be compared."""


@dataclass(frozen=True)
class Target:
    """A database and the schema in it that is asked: `naive` or the project's."""

    name: str
    url: str
    naive: bool = False

    def sql(self, question: Question) -> str:
        return bench_statements("questions")[f"naive_{question.name}" if self.naive else question.name]

    def reads(self, question: Question) -> "Reads":
        return question.reads_naive if self.naive else as_rows


@dataclass
class Times:
    """Of one question and one target."""

    first_s: list[float] = field(default_factory=list)
    prepared_s: list[float] = field(default_factory=list)

    @property
    def first_ms(self) -> float:
        """The median of the first askings."""
        return median(self.first_s) * 1e3

    @property
    def p50_ms(self) -> float:
        return median(self.prepared_s) * 1e3

    @property
    def p99_ms(self) -> float:
        """With fewer than 100 askings the longest of them."""
        ordered = sorted(self.prepared_s)
        return ordered[math.ceil(0.99 * len(ordered)) - 1] * 1e3


@dataclass(frozen=True, kw_only=True)
class Effort:
    """For how long, and how often at most (3 at least), one question is put to one target."""

    seconds: float
    askings: int


class Examiner:
    """Puts every question to targets; remembers the answers that all later ones must equal."""

    def __init__(self, questions: Sequence[Question], extent: Extent, effort: Effort) -> None:
        self._questions = questions
        self._effort = effort
        self._cases = {question: question.cases(extent, CASES) for question in questions}
        self._answers: dict[Question, tuple[str, list[Rows]]] = {}

    async def examine(self, question: Question, targets: Sequence[Target]) -> list[Times]:
        """Times of one question by target; raises DifferentAnswersError."""
        found = [Times() for _ in targets]
        for target, times in zip(targets, found, strict=True):
            await self._ask_first(question, target, times)
        async with AsyncExitStack() as stack:
            prepared = [await stack.enter_async_context(self._prepared(question, t)) for t in targets]
            for _ in range(_ROUNDS):
                for target, statement, times in zip(targets, prepared, found, strict=True):
                    await self._ask_prepared(question, target.reads(question), statement, times)
        return found

    async def _ask_first(self, question: Question, target: Target, times: Times) -> None:
        sql, reads = target.sql(question), target.reads(question)
        for arguments in self._cases[question][:_FIRSTS]:
            if sum(times.first_s) > self._effort.seconds:
                break
            async with connected(target.url, application="bench", limits=LIMITS) as connection:
                began_s = time.perf_counter()
                reads(await connection.fetch(sql, *arguments))
                times.first_s.append(time.perf_counter() - began_s)

    @asynccontextmanager
    async def _prepared(self, question: Question, target: Target) -> "AsyncIterator[Prepared]":
        """Prepared and asked often enough to have the plan that it will keep; the answers are right."""
        reads = target.reads(question)
        async with connected(target.url, application="bench", limits=LIMITS) as connection:
            statement = await connection.prepare(target.sql(question))
            answers = [reads(await statement.fetch(*arguments)) for arguments in self._cases[question]]
            self._compare(question, target, answers)
            enough_s = time.perf_counter() + self._effort.seconds
            for _ in range(_UNTIL_PLANNED - len(answers)):
                if time.perf_counter() > enough_s:
                    break
                await statement.fetch(*self._cases[question][0])
            yield statement

    async def _ask_prepared(
        self, question: Question, reads: "Reads", statement: "Prepared", times: Times
    ) -> None:
        cases = self._cases[question]
        enough_s = time.perf_counter() + self._effort.seconds / _ROUNDS
        for _ in range(self._effort.askings // _ROUNDS):
            arguments = cases[len(times.prepared_s) % len(cases)]
            began_s = time.perf_counter()
            reads(await statement.fetch(*arguments))
            ended_s = time.perf_counter()
            times.prepared_s.append(ended_s - began_s)
            if ended_s > enough_s:
                break

    def _compare(self, question: Question, target: Target, answers: list["Rows"]) -> None:
        if not any(answers):
            raise DifferentAnswersError(f"{question.name}: {target.name} has no answer to any asking")
        known_name, known = self._answers.setdefault(question, (target.name, answers))
        for arguments, one, other in zip(self._cases[question], known, answers, strict=True):
            if difference := first_difference(one, other):
                raise DifferentAnswersError(
                    f"{question.name} {arguments}: {known_name} and {target.name}: {difference}"
                )
