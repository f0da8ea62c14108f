"""Alerts on their way out: facts come in once a second, letters leave in the background.

Decides what happens when a letter cannot be delivered: it is tried again with growing pauses for an
hour, and meanwhile the next ones wait behind it. What is wrong is decided in `alert_rules`, who is told
in `alert_desk`, in which words in `notices`.

Invariants: nothing here stops or delays anything else; each target has a queue of its own, so that a
dead one holds up no other; a full queue drops its oldest letter, and that is counted and logged. Every
notice is also a line of the log, so without any target nothing is lost but the message.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import structlog
from pydantic import SecretStr
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ingest.clock import Clock
from ingest.config import Settings
from ingest.ops.alert_desk import AlertDesk, DeskLimits, Notice, NoticeKind
from ingest.ops.alert_facts import AlertFacts
from ingest.ops.alert_rules import (
    DEFAULT_RULES,
    AlertThresholds,
    Rule,
    RuleName,
    Severity,
    evaluate,
    make_rules,
)
from ingest.ops.notices import RUNBOOK, Letter, Tone, anchors_of, write_letter
from ingest.ops.targets import NotDelivered, Target
from ingest.store.retrying import RetryPolicy

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """How long a letter is tried, and how many may wait for each target."""

    deadline_s: float = 20.0
    """For one attempt. Some services of apprise pause for several seconds between two messages."""
    give_up_after_s: float = 3_600.0
    queue: int = 100
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(first_s=2.0, cap_s=60.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """What configuration says about alerts. No URL: the log alone is told."""

    name: str = "ingest"
    runbook: str = RUNBOOK
    urls: tuple[SecretStr, ...] = ()
    rules: tuple[Rule, ...] = DEFAULT_RULES
    limits: DeskLimits = field(default_factory=DeskLimits)
    delivery: DeliverySettings = field(default_factory=DeliverySettings)


def alert_settings(settings: Settings) -> AlertSettings:
    """What `[alerts]` says, as values of the parts that it is about."""
    alerts = settings.alerts
    thresholds = {name: getattr(alerts, name) for name in _THRESHOLDS}
    disabled = tuple(RuleName(name) for name in alerts.disabled)
    return AlertSettings(
        name=alerts.name,
        runbook=alerts.runbook_url or RUNBOOK,
        urls=tuple(alerts.urls),
        rules=make_rules(AlertThresholds(**thresholds, disabled=disabled)),
        limits=DeskLimits(
            min_severity=Severity[alerts.min_severity.upper()],
            remind_every_s=alerts.remind_every_s,
            group_wait_s=alerts.group_wait_s,
            burst=alerts.burst,
            per_hour=alerts.per_hour,
        ),
        delivery=DeliverySettings(deadline_s=alerts.deadline_s, give_up_after_s=alerts.give_up_after_s),
    )


_THRESHOLDS = tuple(threshold.name for threshold in fields(AlertThresholds) if threshold.name != "disabled")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStats:
    """Counted since the start, over all targets; `waiting` is now."""

    delivered: int
    failed_attempts: int
    given_up: int
    dropped: int
    waiting: int


class _Mailbox:
    """Letters for one target."""

    def __init__(self, target: Target, limit: int) -> None:
        self.target = target
        self.letters: deque[Letter] = deque(maxlen=limit)
        self.arrived = asyncio.Event()
        self.in_hand = False
        self.delivered = self.failed_attempts = self.given_up = self.dropped = 0

    def put(self, letter: Letter) -> None:
        if len(self.letters) == self.letters.maxlen:
            self.dropped += 1
            log.error("alert.dropped", target=self.target.name, subject=self.letters[0].subject)
        self.letters.append(letter)
        self.arrived.set()

    async def take(self) -> Letter:
        while not self.letters:
            self.arrived.clear()
            await self.arrived.wait()
        self.in_hand = True
        return self.letters.popleft()

    @property
    def waiting(self) -> int:
        return len(self.letters) + self.in_hand


class Delivery:
    """Letters to all targets. `offer` returns at once; `run` sends for as long as it runs."""

    def __init__(
        self, targets: Sequence[Target], settings: DeliverySettings, *, clock: Clock, rng: random.Random
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._boxes = [_Mailbox(target, settings.queue) for target in targets]
        self._idle = asyncio.Event()

    def offer(self, letter: Letter) -> None:
        """Put a letter into the queue of every target."""
        for box in self._boxes:
            box.put(letter)

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for box in self._boxes:
                group.create_task(self._serve(box), name=f"alerts to {box.target.name}")

    async def drain(self, deadline_s: float) -> bool:
        """Wait, beside `run`, until every letter is delivered or given up; False when time is up first."""
        try:
            async with asyncio.timeout(deadline_s):
                while self.stats().waiting:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def stats(self) -> DeliveryStats:
        boxes = self._boxes
        return DeliveryStats(
            delivered=sum(box.delivered for box in boxes),
            failed_attempts=sum(box.failed_attempts for box in boxes),
            given_up=sum(box.given_up for box in boxes),
            dropped=sum(box.dropped for box in boxes),
            waiting=sum(box.waiting for box in boxes),
        )

    async def _serve(self, box: _Mailbox) -> None:
        while True:
            letter = await box.take()
            try:
                await self._deliver(box, letter)
                box.delivered += 1
            except NotDelivered as error:
                box.given_up += 1
                log.error("alert.given_up", target=box.target.name, subject=letter.subject, reason=str(error))
            finally:
                box.in_hand = False
                self._idle.set()

    async def _deliver(self, box: _Mailbox, letter: Letter) -> None:
        end_s = self._clock.monotonic_s() + self._settings.give_up_after_s

        def told(state: RetryCallState) -> None:
            box.failed_attempts += 1
            error = state.outcome.exception() if state.outcome is not None else None
            log.warning("alert.not_delivered", target=box.target.name, reason=str(error))

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(NotDelivered),
            wait=lambda state: self._settings.retry.wait_s(state.attempt_number, self._rng),
            stop=lambda state: self._clock.monotonic_s() >= end_s,
            after=told,
            sleep=asyncio.sleep,
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                await box.target.deliver(letter, deadline_s=self._settings.deadline_s)


class Alerts:
    """Desk and delivery together: what the supervisor holds."""

    def __init__(
        self, settings: AlertSettings, targets: Sequence[Target], *, clock: Clock, rng: random.Random
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._desk = AlertDesk(settings.rules, settings.limits)
        self.delivery = Delivery(targets, settings.delivery, clock=clock, rng=rng)

    def consider(self, facts: AlertFacts) -> None:
        """Judge the facts and put what is to be told on its way; about once a second, never blocks."""
        active = evaluate(self._settings.rules, facts, self._desk.standing)
        for notice in self._desk.consider(active, facts.now_s, self._clock.wall_ns() // 1_000):
            letter = write_letter(notice, name=self._settings.name, runbook=self._settings.runbook)
            _note(notice, letter)
            self.delivery.offer(letter)

    @property
    def standing(self) -> frozenset[str]:
        """Keys of the alerts that somebody was told of and that are not over."""
        return self._desk.standing

    @property
    def held_back(self) -> int:
        """Notices that wait for the rate limit."""
        return self._desk.held_back

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self.delivery.run()


def _note(notice: Notice, letter: Letter) -> None:
    tell = log.error if letter.tone is Tone.CRITICAL else log.warning
    if notice.kind is NoticeKind.RECOVERED:
        tell = log.info
    where = [item.alert.key for item in notice.items[:20]]
    more = {"runbook": anchors[0]} if (anchors := anchors_of(notice)) else {}
    tell(f"alert.{notice.kind}", subject=letter.subject, alerts=where, count=len(notice.items), **more)
