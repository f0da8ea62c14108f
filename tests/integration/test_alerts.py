"""Alerts on their way through apprise to a real webhook and a real SMTP server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from email.message import EmailMessage
from random import Random

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from ingest.clock import SystemClock
from ingest.ops.alert_desk import DeskLimits
from ingest.ops.alert_facts import AlertFacts, StaleStream
from ingest.ops.alerts import Alerts, AlertSettings, Delivery, DeliverySettings
from ingest.ops.notices import Letter, Tone, trial_letter
from ingest.ops.targets import NotDelivered, open_targets
from ingest.store.retrying import RetryPolicy
from tests.integration.alert_receivers import DEADLINE_S, Swallower, smtp_server, webhook

SOON = RetryPolicy(first_s=0.05, cap_s=0.2)
QUICK = DeliverySettings(deadline_s=20.0, retry=SOON)
LETTER = trial_letter(name="prod", at_us=1_790_000_000_000_000)
T0_US = 1_790_000_000_000_000


@dataclass
class TurnedClock:
    """Judging goes by this clock; delivery by real time."""

    at_s: float = 10_000.0

    def wall_ns(self) -> int:
        return T0_US * 1_000 + int((self.at_s - 10_000.0) * 1e9)

    def monotonic_s(self) -> float:
        return self.at_s


def secrets(*urls: str) -> tuple[SecretStr, ...]:
    return tuple(SecretStr(url) for url in urls)


@asynccontextmanager
async def running(delivery: Delivery | Alerts) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(delivery.run())
        yield
        task.cancel()


def a_delivery(urls: Sequence[str], settings: DeliverySettings = QUICK) -> Delivery:
    return Delivery(open_targets(secrets(*urls)), settings, clock=SystemClock(), rng=Random(1))


def some_alerts(clock: TurnedClock, *urls: str, limits: DeskLimits | None = None) -> Alerts:
    settings = AlertSettings(
        name="prod",
        urls=secrets(*urls),
        limits=limits or DeskLimits(group_wait_s=0),
        delivery=QUICK,
    )
    return Alerts(settings, open_targets(settings.urls), clock=clock, rng=Random(1))


def stale_facts(clock: TurnedClock, *symbols: str, since_s: float = 9_900.0) -> AlertFacts:
    return AlertFacts(
        now_s=clock.at_s,
        stale=tuple(
            StaleStream(
                stream=f"spot:{symbol}:trade",
                since_s=since_s,
                diagnosis="half_open",
                tried=("resubscribe", "replace_feed"),
            )
            for symbol in symbols
        ),
    )


def plain(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert isinstance(text, str)
    return text.replace("\r\n", "\n")


async def test_webhook_gets_trouble_and_recovery() -> None:
    """What, since when, what was tried, what to look at; then its end with its duration."""
    clock = TurnedClock()
    async with webhook() as hook:
        alerts = some_alerts(clock, hook.url)
        async with running(alerts):
            alerts.consider(stale_facts(clock, "BTCUSDT"))
            for _ in range(70):
                clock.at_s += 1
                alerts.consider(AlertFacts(now_s=clock.at_s))
            trouble, recovery = await hook.wait_posts(2)

    assert trouble["title"] == "[prod] spot:BTCUSDT:trade is stale"
    assert trouble["type"] == "warning"
    assert "It began at 2026-09-21 14:11:40 UTC, 1 min 40 s ago. Diagnosis: half_open." in trouble["message"]
    assert "resubscribe, then replace feed" in trouble["message"]
    assert "ingest status BTCUSDT" in trouble["message"]
    assert recovery["title"] == "[prod] Recovered: spot:BTCUSDT:trade is no longer stale"
    assert recovery["type"] == "success"
    assert "It lasted for 1 min 41 s" in recovery["message"]


async def test_mail_is_plain_text_with_a_subject() -> None:
    """An SMTP server takes the letter for the configured person, readable in any mail program."""
    clock = TurnedClock()
    async with smtp_server() as box:
        alerts = some_alerts(clock, box.url)
        async with running(alerts):
            alerts.consider(stale_facts(clock, "BTCUSDT", "ETHUSDT"))
            (mail,) = await box.wait_messages(1)

    assert mail["Subject"] == "[prod] 2 streams are stale"
    assert "ingest@example.org" in mail["From"]
    assert box.recipients == ["ops@example.net"]
    assert [part.get_content_type() for part in mail.walk() if not part.is_multipart()] == ["text/plain"]
    assert "  - spot:BTCUSDT:trade, since 2026-09-21 14:11:40 UTC (1 min 40 s); half_open" in plain(mail)
    assert "What to look at:\n  ingest status BTCUSDT:" in plain(mail)


async def test_storm_arrives_as_few_letters_and_a_summary() -> None:
    """Forty troubles one after the other: the burst, then the rest in one letter, nothing in silence."""
    clock = TurnedClock()
    async with webhook() as hook:
        alerts = some_alerts(clock, hook.url, limits=DeskLimits(group_wait_s=0, burst=3, per_hour=30))
        async with running(alerts):
            symbols: list[str] = []
            for number in range(40):
                symbols.append(f"S{number}USDT")
                clock.at_s += 1
                alerts.consider(stale_facts(clock, *symbols))
            clock.at_s += 120
            alerts.consider(stale_facts(clock, *symbols))
            posts = await hook.wait_posts(4)

    assert [post["title"] for post in posts[:2]] == [
        "[prod] spot:S0USDT:trade is stale",
        "[prod] spot:S1USDT:trade is stale",
    ]
    assert posts[3]["title"] == "[prod] spot:S3USDT:trade is stale, and 36 more"
    assert "and 17 more" in posts[3]["message"]


async def test_letter_is_tried_again_until_it_is_taken() -> None:
    """A webhook that answers 503 for a while gets the letter once it answers 200, and once only."""
    async with webhook() as hook:
        hook.status = 503
        delivery = a_delivery([hook.url])
        with capture_logs() as logs:
            async with running(delivery):
                delivery.offer(LETTER)
                await hook.wait_refused(2)
                hook.status = 200
                assert await delivery.drain(DEADLINE_S)

    assert len(hook.posts) == 1
    stats = delivery.stats()
    assert (stats.delivered, stats.given_up, stats.waiting) == (1, 0, 0)
    assert stats.failed_attempts >= 2
    assert logs[0]["target"] == "json://127.0.0.1"
    assert "503" in logs[0]["reason"]


async def test_dead_target_holds_up_nobody_else() -> None:
    """While one endpoint swallows everything, the other gets its letters, and the loop goes on."""
    async with Swallower() as dead, webhook() as hook:
        dead_url = f"json://u:hook-passw0rd@127.0.0.1:{dead.port}/t0ken?rto=3600"
        delivery = a_delivery([dead_url, hook.url], replace(QUICK, deadline_s=0.2, queue=2))
        with capture_logs() as logs:
            async with running(delivery):
                for _ in range(5):
                    delivery.offer(LETTER)
                    await hook.wait_posts(len(hook.posts) + 1)
                await dead.connected.wait()
                while delivery.stats().failed_attempts < 3:
                    await asyncio.sleep(0.01)

    stats = delivery.stats()
    assert len(hook.posts) == 5
    assert stats.dropped >= 2
    assert {line["event"] for line in logs} >= {"alert.not_delivered", "alert.dropped"}
    reasons = {line["reason"] for line in logs if line["event"] == "alert.not_delivered"}
    assert reasons >= {"no answer within 0.2 s", "the call before this one has not come back yet"}


async def test_no_secret_is_logged_when_delivery_fails() -> None:
    """Neither password nor token of a URL is in any line about it; the reason is."""
    async with webhook() as hook:
        url = hook.url
    delivery = a_delivery([url], replace(QUICK, give_up_after_s=0.3))
    with capture_logs() as logs:
        async with running(delivery):
            delivery.offer(LETTER)
            assert await delivery.drain(DEADLINE_S)

    assert delivery.stats().given_up == 1
    assert logs[-1]["event"] == "alert.given_up"
    assert logs[-1]["reason"] == "A Connection error occurred sending JSON notification to 127.0.0.1."
    assert not [secret for secret in ("hook-passw0rd", "reporter", "t0ken") if secret in str(logs)]


async def test_secret_in_a_letter_is_blotted_out() -> None:
    """Should an error message with a password get into a notice, it does not leave the house."""
    letter = Letter("subject", "it said: postgresql://ingest:hunter2@db/ingest", Tone.INFO)
    async with webhook() as hook:
        (target,) = open_targets(secrets(hook.url))
        await target.deliver(letter, deadline_s=DEADLINE_S)

    assert hook.posts[0]["message"].strip() == "it said: postgresql://ingest:***@db/ingest"


async def test_refusal_is_an_error_with_a_name() -> None:
    """Whoever sends by hand learns why."""
    async with webhook() as hook:
        hook.status = 404
        (target,) = open_targets(secrets(hook.url))
        with pytest.raises(NotDelivered, match="404"):
            await target.deliver(LETTER, deadline_s=DEADLINE_S)


async def test_without_targets_the_log_is_told() -> None:
    """No URL is no error: every notice is a line of the log."""
    clock = TurnedClock()
    alerts = some_alerts(clock)
    with capture_logs() as logs:
        async with running(alerts):
            alerts.consider(stale_facts(clock, "BTCUSDT"))

    assert [(line["event"], line["alerts"]) for line in logs] == [
        ("alert.raised", ["stream_stale/spot:BTCUSDT:trade"])
    ]
    assert alerts.standing == {"stream_stale/spot:BTCUSDT:trade"}
