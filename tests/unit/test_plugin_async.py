"""The runner of async tests, tried on tests written for it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plugin_async import LoopClock, VirtualTimeLoop


async def test_default_loop_is_uvloop() -> None:
    """An unmarked async test runs on uvloop."""
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


@pytest.mark.virtual_time
async def test_virtual_clock_jumps_over_sleeps() -> None:
    """A day of sleep in three tasks takes a day of the loop's time."""
    async with asyncio.TaskGroup() as group:
        for hours in (1, 24, 3):
            group.create_task(asyncio.sleep(hours * 3600))

    assert asyncio.get_running_loop().time() == pytest.approx(24 * 3600)


@pytest.mark.virtual_time
async def test_virtual_clock_fires_timeouts_in_order() -> None:
    """The shorter of two limits ends the wait, at its own time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10), asyncio.timeout(20):
            await asyncio.Event().wait()

    assert asyncio.get_running_loop().time() == pytest.approx(10)


@pytest.mark.virtual_time
async def test_virtual_clock_waits_for_executor() -> None:
    """Work in a thread ends before the clock jumps over a timer."""
    async with asyncio.timeout(0.001):
        answer = await asyncio.to_thread(sum, range(300_000))

    assert answer == 44_999_850_000


@pytest.mark.virtual_time
async def test_virtual_clock_keeps_sockets_usable() -> None:
    """A real socket pair works on virtual time as long as its bytes are ready."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()

    assert line == b"hello\n"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()
    await writer.wait_closed()


@pytest.mark.virtual_time
async def test_loop_clock_follows_virtual_time() -> None:
    """The clock for shells moves with the loop, both hands by the same amount."""
    clock = LoopClock(epoch_s=1_000)

    await asyncio.sleep(90)

    assert (clock.wall_ns(), clock.monotonic_s()) == (1_090 * 10**9, 90.0)


@pytest.fixture
async def loop_at_set_up() -> AsyncGenerator[asyncio.AbstractEventLoop, None]:
    """The loop that the fixture was set up on; its limit and group span the test."""
    async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
        child = group.create_task(asyncio.sleep(1000))
        yield asyncio.get_running_loop()
        child.cancel()


async def test_fixture_shares_the_loop(loop_at_set_up: asyncio.AbstractEventLoop) -> None:
    """An async generator fixture runs on the loop of its test."""
    assert asyncio.get_running_loop() is loop_at_set_up


@pytest.mark.virtual_time
async def test_fixture_follows_the_marker(loop_at_set_up: asyncio.AbstractEventLoop) -> None:
    """The marker of the test chooses the loop of its fixtures."""
    assert isinstance(loop_at_set_up, VirtualTimeLoop)


def test_plain_test_may_use_async_fixture(loop_at_set_up: asyncio.AbstractEventLoop) -> None:
    """A plain test gets the value of an async fixture too."""
    assert not loop_at_set_up.is_running()


@pytest.mark.virtual_time
@settings(max_examples=10)
@given(delay_s=st.floats(0, 1e6))
async def test_hypothesis_examples_run_on_the_loop(delay_s: float) -> None:
    """Each example of a property is awaited."""
    before = asyncio.get_running_loop().time()

    await asyncio.sleep(delay_s)

    assert asyncio.get_running_loop().time() == pytest.approx(before + delay_s)


def _outcome(pytester: pytest.Pytester, body: str) -> pytest.RunResult:
    pytester.makepyfile("import asyncio\nimport pytest\n\n" + body)
    return pytester.runpytest("-p", "tests.plugin_async", "-p", "no:randomly", "-p", "no:cacheprovider")


def test_deadline_ends_a_test_that_waits_for_ever(pytester: pytest.Pytester) -> None:
    """A test over its limit fails and shows where it stood."""
    result = _outcome(
        pytester,
        """
@pytest.mark.deadline(0.05)
async def test_hangs():
    await asyncio.Event().wait()  # stands here
""",
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*await asyncio.Event().wait()  # stands here*", "*not done within 0.05 s*"])


def test_virtual_time_fails_when_nothing_can_happen(pytester: pytest.Pytester) -> None:
    """With no timer and nothing ready the test fails at once and says who waits where."""
    result = _outcome(
        pytester,
        """
@pytest.mark.virtual_time
async def test_stuck():
    await asyncio.Event().wait()
""",
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no timer is set, so this waits for ever*", "* in test_stuck*"])


def test_virtual_time_fails_when_a_timer_repeats_for_ever(pytester: pytest.Pytester) -> None:
    """A loop of sleeps that nobody ends meets the limit in real time."""
    result = _outcome(
        pytester,
        """
@pytest.mark.virtual_time
@pytest.mark.deadline(0.05)
async def test_spins():
    while True:
        await asyncio.sleep(1)
""",
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*still running after 0.05 s of real time*"])


@pytest.mark.parametrize("marker", ["", "@pytest.mark.virtual_time"])
def test_leaked_task_fails_the_test(pytester: pytest.Pytester, marker: str) -> None:
    """A task that outlives the test and its fixtures is an error that names it."""
    result = _outcome(
        pytester,
        f"""
{marker}
async def test_leaks():
    asyncio.create_task(asyncio.sleep(1000), name="forgotten")
""",
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*tasks left running*", "*forgotten:*"])


def test_fixture_teardown_runs_after_failure(pytester: pytest.Pytester) -> None:
    """A failing test still tears its async fixtures down, last set up first."""
    result = _outcome(
        pytester,
        """
@pytest.fixture
async def outer():
    yield
    print("outer down")

@pytest.fixture
async def inner(outer):
    yield
    print("inner down")

async def test_fails(inner):
    raise ValueError("expected")
""",
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ValueError: expected*", "*inner down*", "*outer down*"])


def test_fixture_error_is_the_tests_error(pytester: pytest.Pytester) -> None:
    """An async fixture that raises before its yield makes the test an error, not a hang."""
    result = _outcome(
        pytester,
        """
@pytest.fixture
async def broken():
    raise ValueError("no set-up")
    yield

async def test_never_runs(broken):
    pass
""",
    )

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ValueError: no set-up*"])


def test_wider_async_fixture_is_refused(pytester: pytest.Pytester) -> None:
    """An async fixture that would outlive its loop is refused with the reason."""
    result = _outcome(
        pytester,
        """
@pytest.fixture(scope="module")
async def wide():
    return 1

async def test_wide(wide):
    pass
""",
    )

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*must have function scope*"])
