"""Runs `async def` tests and fixtures, each test on an event loop of its own.

By default that loop is uvloop's in real time and a test has 60 seconds. With
`@pytest.mark.virtual_time` it is `VirtualTimeLoop`, on which an hour of sleep costs nothing. With
`@pytest.mark.deadline(seconds)` the limit is another; it is real time on either loop, and the test,
each fixture's set-up and each fixture's teardown have it separately.

Async fixtures have function scope and live on the loop of the test that asks for them (which may be a
plain `def`). One that yields runs in a task of its own from set-up to teardown, so an
`async with asyncio.TaskGroup()` or `asyncio.timeout()` may span its `yield`. A task that is still there
after the last teardown fails the test: somebody started it and nobody waited for it.
"""

import asyncio
import contextlib
import functools
import inspect
import selectors
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Executor
from pathlib import Path
from types import FrameType
from typing import TypeVar

import pytest
import uvloop

DEFAULT_DEADLINE_S = 60.0
_LOOP_TURNS_FOR_LAST_CALLBACKS = 20
_EXECUTOR_POLL_S = 0.05
_ASYNCIO_FOLDER = str(Path(asyncio.__file__).parent)

T = TypeVar("T")


class DeadlineExceeded(Exception):
    """An async test or fixture did not end in time; the cause shows where it stood."""


class NothingLeftToRun(Exception):
    """On virtual time: everybody waits, and there is neither a timer nor a file that could wake one."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands while anything can run, then jumps to the next timer.

    Real sockets are polled before each jump but never waited for; work handed to an executor is waited
    for without letting the clock jump. A guarded coroutine that can never go on is cancelled, and so is
    one that takes more than `real_limit_s` of real time, such as a timer that sets itself for ever.
    """

    def __init__(self, *, real_limit_s: float = DEFAULT_DEADLINE_S) -> None:
        self._now_s = 0.0
        self._real_limit_s = real_limit_s
        self._real_end_s = time.monotonic() + real_limit_s
        self._executor_jobs = 0
        self._guarded: asyncio.Task[object] | None = None
        self._verdict: Exception | None = None
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now_s

    async def guard(self, coroutine: Coroutine[object, object, T]) -> T:
        """Await the coroutine; `DeadlineExceeded` or `NothingLeftToRun` from where it stood."""
        self._rearm()
        self._guarded, self._verdict = asyncio.current_task(), None
        try:
            return await coroutine
        except asyncio.CancelledError as error:
            if self._verdict is None:
                raise
            raise self._verdict from error
        finally:
            self._guarded = None

    def _rearm(self) -> None:
        self._real_end_s = time.monotonic() + self._real_limit_s

    def idle(self, timeout_s: float | None) -> float:
        """Nothing is ready: jump `timeout_s` ahead, or return how long to wait for an executor."""
        if time.monotonic() > self._real_end_s:
            self._rearm()  # leaves time for the cleanup
            self._give_up(DeadlineExceeded(f"still running after {self._real_limit_s:g} s of real time"))
        elif self._executor_jobs:
            return _EXECUTOR_POLL_S
        elif timeout_s is None:
            self._give_up(NothingLeftToRun("nothing is ready and no timer is set, so this waits for ever"))
        else:
            self._now_s += timeout_s
        return 0.0

    def _give_up(self, verdict: Exception) -> None:
        """Cancel the guarded task; when it does not heed that either, stop the loop with the error."""
        verdict.add_note(tasks_of(self))
        if self._guarded is None or self._verdict is not None:
            raise verdict
        self._verdict = verdict
        self._guarded.cancel()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._executor_jobs += 1
        future.add_done_callback(self._executor_job_done)
        return future

    def _executor_job_done(self, _: object) -> None:
        self._executor_jobs -= 1

    async def shutdown_default_executor(self, *timeout_s: float) -> None:
        self._executor_jobs += 1
        try:
            await super().shutdown_default_executor(*timeout_s)
        finally:
            self._executor_jobs -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Asks the system without waiting; what would have been a wait is the loop's to decide."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        wait_s = self._loop.idle(timeout)
        return super().select(wait_s) if wait_s else events


class LoopClock:
    """A `Clock` that tells the running loop's time, so that it jumps where the loop does."""

    def __init__(self, *, epoch_s: int = 1_767_225_600) -> None:  # 2026-01-01T00:00:00Z
        self._epoch_s = epoch_s

    def wall_ns(self) -> int:
        return self._epoch_s * 1_000_000_000 + int(self.monotonic_s() * 1e9)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class TestLoop:
    """The loop of one test, made when first needed and closed after the last fixture's teardown."""

    __test__ = False

    def __init__(self, *, virtual: bool, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._virtual = virtual
        virtual_loop = functools.partial(VirtualTimeLoop, real_limit_s=deadline_s)
        self._runner = asyncio.Runner(loop_factory=virtual_loop if virtual else uvloop.new_event_loop)
        self._used = False

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run to the end; `DeadlineExceeded` or `NothingLeftToRun` when that does not come."""
        self._used = True
        loop = self._runner.get_loop()
        if isinstance(loop, VirtualTimeLoop):
            return self._runner.run(loop.guard(coroutine))
        return self._runner.run(self._in_time(coroutine))

    async def _in_time(self, coroutine: Coroutine[object, object, T]) -> T:
        limit = asyncio.timeout(self._deadline_s)
        try:
            async with limit:
                return await coroutine
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceeded(f"not done within {self._deadline_s:g} s") from error

    def close(self) -> str:
        """Close the loop; the tasks that were still there, one a line, empty when none was."""
        if not self._used:
            return ""
        try:
            return self._runner.run(_leaked_tasks())
        finally:
            self._runner.close()


async def _leaked_tasks() -> str:
    loop = asyncio.get_running_loop()
    for _ in range(_LOOP_TURNS_FOR_LAST_CALLBACKS):
        if len(asyncio.all_tasks()) == 1:
            return ""
        await asyncio.sleep(0)
    return tasks_of(loop, but=asyncio.current_task())


def tasks_of(loop: asyncio.AbstractEventLoop, *, but: asyncio.Task[object] | None = None) -> str:
    """Each unfinished task of `loop` on a line, with the place where it waits."""
    return "\n".join(_where(task) for task in asyncio.all_tasks(loop) if task is not but)


def _where(task: asyncio.Task[object]) -> str:
    """The innermost frame that is not asyncio's own."""
    place = "not started"
    awaitable: object = task.get_coro()
    while (frame := _attribute(awaitable, "cr_frame", "ag_frame")) is not None:
        assert isinstance(frame, FrameType)
        if not frame.f_code.co_filename.startswith(_ASYNCIO_FOLDER):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        awaitable = _attribute(awaitable, "cr_await", "ag_await")
    return f"  {task.get_name()}: {place}"


def _attribute(value: object, *names: str) -> object:
    found: Iterator[object] = (getattr(value, name) for name in names if hasattr(value, name))
    return next(found, None)


class GeneratorFixture:
    """An async generator fixture: one task that enters it, waits, and leaves it."""

    def __init__(self, generator: AsyncGenerator[object, None], *, name: str) -> None:
        self._context = contextlib.asynccontextmanager(lambda: generator)
        self._stop = asyncio.Event()
        self._value: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        # Owned: `tear_down` awaits it, in another run of the loop than this one.
        self._task = asyncio.create_task(self._live(), name=name)  # noqa: TID251

    async def _live(self) -> None:
        async with self._context() as value:
            if not self._value.done():
                self._value.set_result(value)
            await self._stop.wait()

    async def value(self) -> object:
        """What the fixture yields; its error when it does not get that far."""
        self._task.add_done_callback(self._ended)
        try:
            return await self._value
        except asyncio.CancelledError:
            self._task.cancel()
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._value.done():
            return
        if task.cancelled():
            self._value.cancel()
        else:
            self._value.set_exception(task.exception() or RuntimeError("the fixture did not yield"))

    async def tear_down(self) -> None:
        """Let it go on after its `yield`, and wait; raises what it raises."""
        self._stop.set()
        await self._task


_LOOP = pytest.StashKey[TestLoop]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the two markers known."""
    config.addinivalue_line("markers", "virtual_time: run on a loop whose clock jumps to the next timer")
    config.addinivalue_line("markers", "deadline(seconds): real-time limit of an async test (default 60)")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Give each test its loop, which stays unmade until something async needs it."""
    marker = item.get_closest_marker("deadline")
    deadline_s = float(marker.args[0]) if marker else DEFAULT_DEADLINE_S
    virtual = item.get_closest_marker("virtual_time") is not None
    item.stash[_LOOP] = TestLoop(virtual=virtual, deadline_s=deadline_s)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Close the loop after the fixtures are down, and fail on tasks that nobody waited for."""
    try:
        return (yield)
    finally:
        if leaked := item.stash[_LOOP].close():
            pytest.fail(f"tasks left running after the test:\n{leaked}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Let pytest see a plain function in place of an async fixture."""
    function: Callable[..., object] = fixturedef.func
    if not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        return (yield)
    if request.scope != "function":
        pytest.fail(f"async fixture {fixturedef.argname!r} must have function scope, as its loop has")
    # `func` is declared final: pytest has no other way in, and its async plugins all take this one.
    fixturedef.func = _as_plain_function(function, request.node.stash[_LOOP], request)  # type: ignore[misc]
    try:
        return (yield)
    finally:
        fixturedef.func = function  # type: ignore[misc]


def _as_plain_function(
    function: Callable[..., object], loop: TestLoop, request: pytest.FixtureRequest
) -> Callable[..., object]:
    def set_up(*args: object, **kwargs: object) -> object:
        made = function(*args, **kwargs)
        if isinstance(made, AsyncGenerator):
            return _enter(made, loop, request)
        assert isinstance(made, Coroutine)
        return loop.run(made)

    return set_up


def _enter(generator: AsyncGenerator[object, None], loop: TestLoop, request: pytest.FixtureRequest) -> object:
    async def enter() -> tuple[GeneratorFixture, object]:
        fixture = GeneratorFixture(generator, name=f"fixture {request.fixturename}")
        return fixture, await fixture.value()

    fixture, value = loop.run(enter())
    request.addfinalizer(lambda: loop.run(fixture.tear_down()))
    return value


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test on its loop; None leaves a plain one to pytest."""
    loop = pyfuncitem.stash[_LOOP]
    function = pyfuncitem.obj
    if (hypothesis := getattr(function, "hypothesis", None)) is not None:
        hypothesis.inner_test = _each_example_on(loop, hypothesis.inner_test)
        return None
    if not inspect.iscoroutinefunction(function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    loop.run(function(**arguments))
    return True


def _each_example_on(loop: TestLoop, inner_test: Callable[..., object]) -> Callable[..., object]:
    if not inspect.iscoroutinefunction(inner_test):
        return inner_test

    @functools.wraps(inner_test)
    def run_example(*args: object, **kwargs: object) -> None:
        example = inner_test(*args, **kwargs)
        assert isinstance(example, Coroutine)
        loop.run(example)

    # `wraps` would have it taken for the coroutine function that it stands for.
    del run_example.__wrapped__
    return run_example
