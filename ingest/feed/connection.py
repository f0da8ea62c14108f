"""One feed: many streams on one websocket after another, kept up for as long as it is wanted.

What it decides: when a connection is dialled (within the shared budget, at once the first time and then
with backoff), which streams it is asked for, and who carries them. What it never does: parse a frame,
judge a stream, or wait for the database. Frames go to a `FrameSink`, synchronously; what is said back
(an acknowledgement, a server that announces its end) comes in through the `Feed`'s methods.

Make before break. A connection that shall be replaced (its life is over, the server announced its end,
a repair) keeps carrying the streams while its successor is dialled and subscribed; both deliver into the
same sink, the successor through an `Overlap`, which knows whether it brings every stream that moves. Only
when it does is the predecessor closed:

    the successor is ready                 it is the carrier, the predecessor's end is seamless
    the successor fails                    the carrier stays, and after a backoff the next one tries
    the successor is refused               it lacks a stream that moves; as if it had failed, a few times
    the carrier ends before that           a break, but for what overlaps; a successor under way carries on

Every session ends with a named reason. A reason that trying again can heal is retried for ever;
anything else leaves `run` and ends the shard.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ingest.clock import Clock
from ingest.errors import BudgetExhausted, FeedClosed, LocationRefused
from ingest.feed.backoff import Backoff
from ingest.feed.budget_file import Budget, SharedBudget
from ingest.feed.contract import FeedEnd, FeedLimits, FrameSink, Overlap, OverlapLimits, Signs
from ingest.feed.endings import EndClass, EndCounts
from ingest.feed.lifecycle import FeedEvent, FeedPhase
from ingest.feed.session import ROTATION, Floor, Link, Request, Session
from ingest.feed.socket import Dial, SlowDown

log = structlog.get_logger()

Method: TypeAlias = Literal["SUBSCRIBE", "UNSUBSCRIBE"]
RequestWriter: TypeAlias = Callable[[Method, Sequence[str], int], Mapping[int, str]]
"""(method, wire names, first request id) -> the messages that say so, by their request ids."""

_Ending: TypeAlias = FeedClosed | LocationRefused | BudgetExhausted

_SLOW_DOWN_FAILURES = 6
"""As if so many attempts had failed: the top of the ladder, for an address that is told to slow down."""
_REFUSED_HEIRS = 3
"""So many successors are refused; then the exchange does not give better ones."""


class Feed:
    """Call `run()` once. `names` are the wire names of its streams; `write` words the requests for them."""

    def __init__(  # noqa: PLR0913  all that a connection touches is handed in
        self,
        number: int,
        url: str,
        names: Sequence[str],
        *,
        write: RequestWriter,
        sink: FrameSink,
        dial: Dial,
        budget: SharedBudget,
        clock: Clock,
        rng: random.Random,
        limits: FeedLimits,
    ) -> None:
        self.number = number
        self.url = url
        self.reconnects = 0
        self.ends = EndCounts()
        """Of connections that ended and of attempts that failed, by class of their reason."""
        self.last_close_code = 0
        self._names = dict.fromkeys(names)
        self._write = write
        self._sink = sink
        self._budget = budget
        self._link = Link(number, sink, dial, clock, rng, limits)
        self._floor = Floor()
        self._backoff = Backoff(limits.backoff, rng)
        self._carrier: Session | None = None
        self._open: list[Session] = []
        self._stopped = False
        self._next_request_id = 1
        self._messages_of_ended = 0
        self._epochs = 0
        self._last_frame_ns = 0

    async def run(self) -> None:
        """Keep the feed up until cancelled. Raises LocationRefused if it has never been up."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((FeedClosed, BudgetExhausted)), wait=self._wait_s, reraise=True
        )
        try:
            async for attempt in retrying:
                with attempt:
                    raise await self._carry()
        finally:
            self._stopped = True

    # ------------------------------------------------------------------ what can be seen of it

    @property
    def phase(self) -> FeedPhase:
        """Of the session that carries the streams."""
        if self._stopped:
            return FeedPhase.STOPPED
        return self._carrier.phase if self._carrier is not None else FeedPhase.CLOSED

    @property
    def signs(self) -> Signs:
        """Of the session that carries the streams, or was the last to."""
        return self._carrier.signs if self._carrier is not None else Signs()

    @property
    def sessions(self) -> int:
        """Open connections: 2 while one hands over to the next."""
        return len(self._open)

    @property
    def messages(self) -> int:
        """Data frames and answers of all sessions so far."""
        return self._messages_of_ended + sum(session.messages for session in self._open)

    @property
    def last_frame_ns(self) -> int:
        """Arrival of the newest frame of any kind, on whatever connection."""
        return max([self._last_frame_ns, *(session.last_frame_ns for session in self._open)])

    @property
    def epoch(self) -> int:
        """Which connection has delivered last, counted from 1 (0: it has ended, or none has)."""
        speaker = self._floor.speaker
        return speaker.epoch if speaker is not None else 0

    # ------------------------------------------------------------------ what the exchange says

    def acknowledged(self, request_id: int) -> None:
        """The exchange has confirmed one request."""
        for session in self._open:
            if session.acknowledged(request_id):
                return

    def refused(self, message: str, request_id: int | None = None) -> None:
        """The exchange has refused a message of ours."""
        speaker = self._floor.speaker or self._carrier
        if speaker is not None:
            speaker.refused(message, request_id)

    def shutdown_announced(self) -> None:
        """The server behind the connection that is speaking will go away."""
        speaker = self._floor.speaker or self._carrier
        if speaker is not None:
            speaker.ask_for_successor("server_shutdown")

    # ------------------------------------------------------------------ what is asked of it

    def replace(self, reason: str) -> bool:
        """Let a new connection take over, without a break if it can be had; False while there is none."""
        carrier = self._carrier
        if carrier is None or not carrier.is_open:
            return False
        carrier.ask_for_successor(reason)
        return True

    def resubscribe(self, names: Sequence[str], on_silenced: Callable[[], None]) -> bool:
        """Give these streams up and ask for them again, leaving the others alone.

        `on_silenced` is called when the exchange has confirmed the first half: nothing of them comes
        until the second. False when there is no connection, which asks for all of them anyway, or when
        too many requests wait.
        """
        carrier = self._carrier
        if carrier is None or carrier.phase is not FeedPhase.LIVE:
            return False
        give_up, ask = self._requests("UNSUBSCRIBE", names), self._requests("SUBSCRIBE", names)
        give_up[-1] = give_up[-1]._replace(answered=on_silenced)
        return carrier.request([*give_up, *ask])

    def add(self, names: Sequence[str]) -> None:
        """Carry these streams, too, from now on."""
        self._names.update(dict.fromkeys(names))
        self._request_everywhere("SUBSCRIBE", names)

    def remove(self, names: Sequence[str]) -> None:
        """Carry these streams no longer."""
        for name in names:
            self._names.pop(name, None)
        self._request_everywhere("UNSUBSCRIBE", names)

    def probe(self) -> bool:
        """Send a ping of our own on the connection; False while there is none."""
        carrier = self._carrier
        if carrier is None or not carrier.is_open:
            return False
        carrier.probe()
        return True

    # ------------------------------------------------------------------ one session after another

    def _wait_s(self, _: RetryCallState) -> float:
        return self._backoff.next_delay_s()

    async def _carry(self) -> _Ending:
        """Have the streams carried without a break for as long as possible; returns what broke them off."""
        async with asyncio.TaskGroup() as group:
            relay = _Relay(self, group)
            try:
                return await relay.run()
            finally:
                relay.cancel()

    def _new_session(self, overlap: Overlap | None) -> Session:
        """A session that has not been dialled."""
        return Session(self.url, self._link, self._floor, overlap)

    def _take_over(self, session: Session) -> None:
        """From now on this session carries the streams: its end is a break, that of others is not."""
        self._carrier = session
        session.take_over()

    def _overlap(self, reason: str, refused: int) -> Overlap:
        """The way into the sink for a successor that is wanted for this reason."""
        limits = self._link.limits
        is_planned = reason == ROTATION
        deadline_s = limits.overlap_s if is_planned else limits.hurried_overlap_s
        return self._sink.overlap(
            OverlapLimits(
                settle_s=limits.settle_s,
                deadline_s=deadline_s,
                patience_s=deadline_s if is_planned else limits.settle_s,
                may_refuse=refused < _REFUSED_HEIRS,
            )
        )

    async def _attend(self, session: Session) -> _Ending:
        """One session from dialling to its end; returns how it ended."""
        try:
            await self._budget.acquire(Budget.CONNECTS)
            await session.dial()
        except (FeedClosed, LocationRefused, BudgetExhausted) as error:
            self._not_connected(error)
            # A place that was served is not refused for good by one answer; other feeds still receive.
            was_served = isinstance(error, LocationRefused) and self._epochs > 0
            return FeedClosed(str(error)) if was_served else error
        self._opened(session)
        closed, how = FeedClosed("stopped"), FeedEvent.STOP
        try:
            closed = await session.serve(self._requests("SUBSCRIBE", list(self._names)))
            how = FeedEvent.FAILED
        finally:
            session.over(how)
            self._closed(session, closed)
            # Told before hanging up, which may take a while if nobody is at the other end.
            await session.hang_up()
        return closed

    def _not_connected(self, error: _Ending) -> None:
        if isinstance(error, SlowDown):
            self._backoff.failures = max(self._backoff.failures, _SLOW_DOWN_FAILURES)
        # Whatever kept it from coming about, our own budget included.
        self.ends.add(EndClass.HANDSHAKE)
        log.warning("ws.connect_failed", feed=self.number, url=self.url, reason=str(error))

    def _opened(self, session: Session) -> None:
        self._epochs += 1
        session.epoch = self._epochs
        self._open.append(session)
        log.info(
            "ws.connect",
            feed=self.number,
            url=self.url,
            reconnects=self.reconnects,
            sessions=self.sessions,
        )
        self._sink.on_connected(session.facts)

    def _closed(self, session: Session, closed: FeedClosed) -> None:
        seamless = session is not self._carrier
        end = FeedEnd(closed.reason, closed.code, session.age_s(), session.messages, seamless)
        self._last_frame_ns = self.last_frame_ns
        self._open.remove(session)
        self._messages_of_ended += session.messages
        if self._floor.speaker is session:
            self._floor.speaker = None
        self._backoff.lasted(end.age_s)
        self.reconnects += 1
        self.ends.add(end.reason)
        self.last_close_code = end.code or 0
        log.info(
            "ws.disconnect",
            feed=self.number,
            reason=end.reason,
            code=end.code,
            age_s=round(end.age_s, 3),
            messages=end.messages,
            seamless=seamless,
        )
        self._sink.on_disconnected(session.facts, end)

    # ------------------------------------------------------------------ requests

    def _requests(self, method: Method, names: Sequence[str]) -> list[Request]:
        messages = self._write(method, names, self._next_request_id)
        self._next_request_id += len(messages)
        return [Request(request_id, message) for request_id, message in messages.items()]

    def _request_everywhere(self, method: Method, names: Sequence[str]) -> None:
        """On every open connection; one that cannot take more requests is replaced, which asks anew."""
        for session in self._open:
            if not session.request(self._requests(method, names)):
                session.ask_for_successor("too_many_requests_wait")


class _Relay:
    """The sessions of a feed from one break to the next, each handing over to its successor."""

    def __init__(self, feed: Feed, group: asyncio.TaskGroup) -> None:
        self._feed = feed
        self._group = group
        self._tasks: dict[Session, asyncio.Task[_Ending]] = {}

    async def run(self) -> _Ending:
        """Until a carrier ends and no successor is under way; returns how it ended."""
        carrier = self._start()
        while True:
            self._feed._take_over(carrier)
            ending = self._tasks[carrier]
            await _first_of(ending, carrier.wanted)
            if ending.done():
                return ending.result()
            carrier = await self._hand_over(carrier)

    def cancel(self) -> None:
        """End all sessions that are left."""
        for task in self._tasks.values():
            task.cancel()

    def _start(self, overlap: Overlap | None = None) -> Session:
        self._tasks = {session: task for session, task in self._tasks.items() if not task.done()}
        session = self._feed._new_session(overlap)
        name = f"feed {self._feed.number} session"
        self._tasks[session] = self._group.create_task(self._feed._attend(session), name=name)
        return session

    async def _hand_over(self, carrier: Session) -> Session:
        """The next carrier: a successor that is ready, or whatever there is when the carrier has ended."""
        ending, reason = self._tasks[carrier], carrier.wanted.result()
        log.info("ws.hand_over", feed=self._feed.number, reason=reason, age_s=round(carrier.age_s(), 3))
        backoff, refused = self._feed._backoff, 0
        # A feed that is replaced again and again climbs the same ladder as one that breaks.
        backoff.lasted(carrier.age_s())
        wait_s = 0.0 if reason == ROTATION else backoff.next_delay_s()
        while True:
            if await _ended(ending, wait_s):
                return carrier
            overlap = self._feed._overlap(reason, refused)
            heir = self._start(overlap)
            attempt = self._tasks[heir]
            await _first_of(ending, attempt, heir.ready)
            if heir.ready.done() and heir.is_open:
                self._feed._take_over(heir)
                carrier.end(reason)
                return heir
            if ending.done():
                return heir
            overlap.abandon()
            refused += heir.is_refused
            wait_s = backoff.next_delay_s()


async def _first_of(*events: "asyncio.Future[_Ending] | asyncio.Future[str] | asyncio.Future[None]") -> None:
    await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)


async def _ended(task: asyncio.Task[_Ending], within_s: float) -> bool:
    """Whether the task ends within the time."""
    done, _ = await asyncio.wait({task}, timeout=within_s)
    return bool(done)
