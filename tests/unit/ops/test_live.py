"""`ingest.ops.live`: when pictures are made, and who may have them."""

import asyncio

import pytest

from ingest.ops.live import LiveDesk, LiveLimits, NoSeat, keep_history
from ingest.ops.page_history import SAMPLE_EVERY_S, History
from ingest.ops.page_records import PageRecords
from ingest.ops.picture import Known
from ingest.supervisor.freshness import judged
from tests.plugin_async import LoopClock
from tests.unit.board.builders import some_facts


class Source:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def known(self) -> Known:
        self.asked += 1
        return Known(judged=judged(some_facts()), vigil=None, records=PageRecords(), kind_limits_s={})


def a_desk(source: Source, **limits: float) -> LiveDesk:
    return LiveDesk(
        source.known,
        History(),
        version="v1",
        clock=LoopClock(),
        limits=LiveLimits(**limits),  # type: ignore[arg-type]
    )


async def listened(desk: LiveDesk, pictures: int) -> list[int]:
    """The numbers of so many pictures, one after another."""
    numbers = [0]
    for _ in range(pictures):
        frame = await desk.newer_than(numbers[-1])
        assert frame is not None
        numbers.append(frame.number)
    return numbers[1:]


@pytest.mark.virtual_time
async def test_pictures_come_at_their_rhythm() -> None:
    """The first at once, then one each second."""
    source = Source()
    desk, began_s = a_desk(source), asyncio.get_running_loop().time()
    numbers = await listened(desk, 5)

    assert numbers == [1, 2, 3, 4, 5]
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(4.0)


@pytest.mark.virtual_time
async def test_all_listeners_share_each_picture() -> None:
    """Facts are asked for once a second, however many listen."""
    source = Source()
    desk = a_desk(source)
    async with asyncio.TaskGroup() as group:
        heard = [group.create_task(listened(desk, 5)) for _ in range(10)]

    assert source.asked == 5
    assert {tuple(task.result()) for task in heard} == {(1, 2, 3, 4, 5)}


@pytest.mark.virtual_time
async def test_nobody_listening_costs_nothing() -> None:
    """No picture is made while nobody asks for one."""
    source = Source()
    desk = a_desk(source)
    await asyncio.sleep(3_600)

    assert (source.asked, desk.listeners) == (0, 0)


@pytest.mark.virtual_time
async def test_listener_that_was_away_gets_the_newest_picture_whole() -> None:
    """What came meanwhile is replaced, not queued."""
    desk = a_desk(Source())
    quick = listened(desk, 6)
    slow = await desk.newer_than(0)
    assert slow is not None
    await quick
    newest = await desk.newer_than(slow.number)

    assert newest is not None
    assert newest.number == 6
    assert newest.for_whoever_has(slow.number).startswith(b"event: full\n")
    assert newest.for_whoever_has(5).startswith(b"event: news\n")


@pytest.mark.virtual_time
async def test_new_listener_does_not_wait_for_the_next_picture() -> None:
    """It gets the present one, which is not made anew for it."""
    source = Source()
    desk = a_desk(source)
    await listened(desk, 3)
    (number,) = await listened(desk, 1)

    assert (number, source.asked) == (3, 3)


@pytest.mark.virtual_time
async def test_service_that_stops_lets_everybody_go_at_once() -> None:
    """Whoever waits is told that there is no next picture."""
    desk = a_desk(Source(), every_s=3_600.0)
    await listened(desk, 1)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(desk.newer_than(1))
        await asyncio.sleep(1)
        desk.closing.set()

    assert waiting.result() is None
    assert await desk.newer_than(0) is None


def test_seats_are_bounded_and_given_back() -> None:
    """One more than there are seats is refused; who leaves makes room, whatever ended it."""
    desk = a_desk(Source(), seats=1)
    with desk.seat(), pytest.raises(NoSeat), desk.seat():
        pass
    with pytest.raises(ZeroDivisionError), desk.seat():
        raise ZeroDivisionError

    with desk.seat():
        assert desk.listeners == 1


@pytest.mark.virtual_time
async def test_history_is_kept_while_nobody_looks() -> None:
    """A sample every few seconds, so that whoever opens the page sees the hour before."""
    history = History()
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(keep_history(history, some_facts))
        await asyncio.sleep(10 * SAMPLE_EVERY_S + 0.5)
        keeping.cancel()

    assert history.taken == 11


@pytest.mark.virtual_time
async def test_news_bring_the_samples_taken_since() -> None:
    """Those that the picture before had are not sent again."""
    history = History()
    desk = LiveDesk(Source().known, history, version="v1", clock=LoopClock())
    history.add(some_facts())
    first = await desk.newer_than(0)
    history.add(some_facts())
    second = await desk.newer_than(1)

    assert first is not None
    assert second is not None
    assert (len(first.samples), len(second.samples), second.new_samples) == (1, 2, 1)
