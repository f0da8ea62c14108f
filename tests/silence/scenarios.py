"""What is provoked, and what should come of it. A scenario begins a trial, provokes, and finishes it."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.silence.observer import Key
from tests.silence.stage import KINDS, SWEEP_S, thaw
from tests.silence.trial import Row, Trial, is_absent
from tests.simulation.service import is_running

Play = Callable[[Trial, "Lengths"], Row]

_BLOCKED_SHORT_S = 4.0
_BLOCKED_LONG_S = 10.0
_LAG_S = 2.0
_LAGGING_S = 15.0
_DATABASE_PAUSED_S = 15.0
_HOUR_S = 3_600.0
_STEPPED_S = 55.0
"""Longer than from one sweep, which compares the clocks, to the next, and than an alert is held back."""
_STEPPED_BACK_S = 10.0
_KILLS = 6
"""More than the five restarts in a minute that the policy allows."""
_NEW_SYMBOL = "NEWCOMERUSDT"


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long what has no natural end lasts; seconds."""

    standstill_s: float = 60.0
    ban_s: float = 120.0


# --- the exchange, and the way to it ----------------------------------------------------------------


def stream_mute(trial: Trial, _: Lengths) -> Row:
    """One symbol's trade stream says nothing, until it is subscribed again."""
    symbol = trial.stage.busy_symbol()
    trial.begin({Key(symbol, "trade")}, expect={"stream_silent"})
    trial.stage.double.fault("mute_stream", symbol=symbol, kind="trade", until="resubscribe")
    return trial.finish()


def kind_mute(trial: Trial, _: Lengths) -> Row:
    """All book tickers of one feed say nothing, until they are subscribed again."""
    stage = trial.stage
    feed = stage.a_feed()
    connection = stage.connection_of(feed)
    trial.begin({key for key in stage.of_feed(feed) if key.kind == "book_ticker"}, expect={"stream_silent"})
    stage.double.fault("mute_stream", kind="book_ticker", connection=connection, until="resubscribe")
    # Each slow stream has to be found by itself, after its own threshold.
    return trial.finish(slow_s=120.0, well=trial.busy_are_well)


def feed_mute(trial: Trial, _: Lengths) -> Row:
    """One connection carries no data, and its server pings as ever."""
    return _one_feed(trial, "mute_feed", "feed_silent")


def half_open(trial: Trial, _: Lengths) -> Row:
    """One connection is dead, and nobody has said so."""
    return _one_feed(trial, "half_open", "half_open")


def _one_feed(trial: Trial, action: str, diagnosis: str) -> Row:
    feed = trial.stage.a_feed()
    connection = trial.stage.connection_of(feed)
    trial.begin(trial.stage.of_feed(feed), expect={diagnosis})
    trial.stage.double.fault(action, connection=connection)
    return trial.finish()


def all_feeds(trial: Trial, _: Lengths) -> Row:
    """The server answers on no connection; REST answers, and new connections work."""
    trial.begin(trial.stage.streams, expect={"half_open", "exchange_down"})
    trial.stage.double.fault("half_open")
    return trial.finish()


def symbol_halted(trial: Trial, _: Lengths) -> Row:
    """The exchange halts a symbol (BREAK) and lets it trade again."""
    stage = trial.stage
    symbol = stage.busy_symbol()
    keys = stage.of_symbol(symbol)
    trial.begin(keys)
    stage.double.set_status(symbol, "BREAK")
    halted_s = trial.wait(
        "halted", lambda: all(stage.streams[key].state == "halted" for key in keys), deadline_s=40.0
    )
    stage.double.set_status(symbol, "TRADING")
    trial.lifted()
    row = trial.finish()
    row.note = f"state halted after {_told(halted_s)} (the list is read every 10 s)"
    return row


def symbol_delisted(trial: Trial, _: Lengths) -> Row:
    """The exchange names a symbol no more."""
    stage = trial.stage
    symbol = stage.busy_symbol()
    keys = stage.of_symbol(symbol)
    trial.begin(keys)
    stage.double.delist(symbol)
    row = trial.finish(well=lambda: is_absent(stage, keys) and stage.is_settled(), slow_s=0.0)
    row.note = "recovered: its streams have left the plan and the table"
    return row


def symbol_listed(trial: Trial, _: Lengths) -> Row:
    """A new symbol trades that the configuration wants."""
    stage = trial.stage
    trial.begin({Key(_NEW_SYMBOL, kind) for kind in KINDS})
    stage.double.list_symbol(_NEW_SYMBOL)
    row = trial.finish(slow_s=30.0)
    row.note = "noticed: its streams are in the table; recovered: all are live"
    # Nobody has looked at its rate, so its thresholds would be a bystander's wrong ones in what follows.
    stage.double.delist(_NEW_SYMBOL)
    gone = {Key(_NEW_SYMBOL, kind) for kind in KINDS}
    trial.wait("gone again", lambda: is_absent(stage, gone), deadline_s=60.0)
    return row


def standstill(trial: Trial, lengths: Lengths) -> Row:
    """Nothing happens at the exchange at all; its connections and REST are well."""
    stage = trial.stage
    opened = stage.double.state()["connections_opened"]
    trial.begin(stage.streams, expect={"exchange_down"})
    stage.double.tell("pause")
    time.sleep(lengths.standstill_s)
    stage.double.tell("resume")
    trial.lifted()
    row = trial.finish()
    reconnects = stage.double.state()["connections_opened"] - opened
    incidents = len(stage.lines("incident.opened", since_s=trial.begun_s))
    if reconnects:
        row.wrong.append(f"{reconnects} connections were made")
    if incidents != 1:
        row.wrong.append(f"{incidents} incidents instead of one")
    row.note = f"{lengths.standstill_s:g} s; {incidents} incident, {reconnects} new connections"
    return row


def rest_banned(trial: Trial, lengths: Lengths) -> Row:
    """REST answers 418 to a sweep's question and for two minutes; meanwhile a trade stream is mute."""
    stage = trial.stage
    symbol = stage.busy_symbol()
    banned = {"status": 418, "code": -1003, "message": "IP banned", "retry_after_s": round(lengths.ban_s)}
    first = stage.double.fault("rest", path="ticker/24hr", **banned)
    trial.begin({Key(symbol, "trade")}, expect={"stream_silent"})
    trial.wait("a sweep meets the ban", lambda: stage.double.touched(first) > 0, deadline_s=2 * SWEEP_S)
    ban = stage.double.fault("rest", **banned)
    met_s = time.monotonic()
    time.sleep(3.0)
    trial.begin({Key(symbol, "trade")}, expect={"stream_silent"})
    stage.double.fault("mute_stream", symbol=symbol, kind="trade", until="resubscribe")
    row = trial.finish()
    # A little before its end: who waits to the second must not meet it again.
    time.sleep(max(0.0, met_s + lengths.ban_s - 3.0 - time.monotonic()))
    asked = stage.double.touched(first) + stage.double.touched(ban)
    for each in (first, ban):
        stage.double.lift(each)
    heard = stage.double.fault("rest", status=200, path="ticker/24hr")
    lifted_s = time.monotonic()
    trial.wait("the next sweep", lambda: stage.double.touched(heard) > 0, deadline_s=3 * SWEEP_S)
    heard_s = time.monotonic()
    stage.double.lift(heard)
    trial.account()
    row.note = (
        f"{asked} requests met the ban, the first of them a sweep; the next sweep {heard_s - lifted_s:.0f} s "
        "after its end; the times are those of a stream muted meanwhile"
    )
    return row


# --- our own processes ------------------------------------------------------------------------------


def blocked_short(trial: Trial, _: Lengths) -> Row:
    """A callback in a shard's event loop takes four seconds: less than the watchdog's five."""
    stage = trial.stage
    trial.begin(stage.of_shard(0), expect=set())
    stage.tampering.block(stage.shard_pid(0), _BLOCKED_SHORT_S)
    time.sleep(_BLOCKED_SHORT_S)
    trial.lifted()
    row = trial.finish(must_notice=False)
    row.note = "to be ridden out: no incident, no restart"
    return row


def consumer_lag(trial: Trial, _: Lengths) -> Row:
    """A shard's event loop is blocked for two seconds of every two and a half: it turns, and is late."""
    stage = trial.stage
    trial.begin(stage.of_shard(0), expect={"consumer_lag"})
    until_s = time.monotonic() + _LAGGING_S
    while time.monotonic() < until_s:
        stage.tampering.block(stage.shard_pid(0), _LAG_S)
        time.sleep(_LAG_S + 0.5)
    trial.lifted()
    return trial.finish()


def blocked_long(trial: Trial, _: Lengths) -> Row:
    """A callback takes ten seconds: the shard is replaced."""
    stage = trial.stage
    trial.begin(stage.of_shard(0), expect={"shard_wedged"})
    stage.tampering.block(stage.shard_pid(0), _BLOCKED_LONG_S)
    return _replaced(trial, 0)


def shard_stopped(trial: Trial, _: Lengths) -> Row:
    """SIGSTOP to a shard, for good."""
    stage = trial.stage
    trial.begin(stage.of_shard(1), expect={"shard_wedged"})
    os.kill(stage.shard_pid(1), signal.SIGSTOP)
    return _replaced(trial, 1)


def _replaced(trial: Trial, shard: int) -> Row:
    stage = trial.stage
    row = trial.finish()
    started = stage.lines("shard.started", since_s=trial.begun_s)
    at_s = next((line.at_s - trial.begun_s for line in started if line.fields["shard"] == shard), None)
    row.note = f"the new process after {_told(at_s)}"
    return row


def shard_crashing(trial: Trial, _: Lengths) -> Row:
    """kill -9 to a shard as soon as it is started, until its streams are the other's."""
    stage = trial.stage
    trial.begin(stage.of_shard(1), expect={"shard_wedged"})
    killed: set[int] = set()

    def is_quarantined() -> bool:
        pid = stage.shard_pid(1)
        if pid not in killed and is_running(pid):
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        return bool(stage.lines("shard.quarantined", since_s=trial.begun_s))

    quarantined_s = trial.wait("quarantined", is_quarantined, deadline_s=90.0)
    row = trial.finish(well=lambda: _all_moved(trial), deadline_s=90.0)
    row.note = f"{len(killed)} kills, quarantined after {_told(quarantined_s)}"
    return row


def _all_moved(trial: Trial) -> bool:
    """The incident stays open: the shard is still one that ends again and again."""
    streams = trial.stage.streams
    return all(
        key in streams and streams[key].shard == 0 and streams[key].state == "live" for key in trial.targets
    )


# --- the database -----------------------------------------------------------------------------------


def database_paused(trial: Trial, _: Lengths) -> Row:
    """SIGSTOP to every process of the database for a quarter of a minute."""
    stage = trial.stage
    trial.begin(stage.streams, expect={"database_stalled"})
    pids = stage.database_pids()
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(_DATABASE_PAUSED_S)
    finally:
        thaw(pids)
    trial.lifted()
    return trial.finish()


def database_gone(trial: Trial, _: Lengths) -> Row:
    """kill -9 to the database's first process."""
    stage = trial.stage
    trial.begin(stage.streams, expect={"database_stalled"})
    os.kill(stage.database_pids()[0], signal.SIGKILL)
    return trial.finish()


# --- our clock --------------------------------------------------------------------------------------


def clock_stepped(trial: Trial, _: Lengths) -> Row:
    """The wall clock of all our processes is an hour ahead for a while, and then right again."""
    stage = trial.stage
    trial.begin(stage.streams)
    stage.tampering.step_clock(_HOUR_S)
    time.sleep(_STEPPED_S)
    offset_s = stage.metric("ingest_clock_offset_seconds")
    stage.tampering.step_clock(0.0)
    time.sleep(_STEPPED_BACK_S)
    trial.lifted()
    row = trial.finish(must_notice=False)
    alerts = ", ".join(stage.alerts(trial.begun_s)) or "none"
    row.note = (
        f"for {_STEPPED_S:g} s, then back; the service says it is off by {offset_s:.0f} s; alerts: {alerts}"
    )
    return row


def _told(at_s: float | None) -> str:
    return "-" if at_s is None else f"{at_s:.1f} s"


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    play: Play
    must_notice: bool = True


SCENARIOS = (
    Scenario("stream-mute", "one symbol's trade stream mute", stream_mute),
    Scenario("kind-mute", "one kind mute on one feed", kind_mute),
    Scenario("feed-mute", "a feed mute with pings", feed_mute),
    Scenario("half-open", "half-open", half_open),
    Scenario("all-feeds", "server stops answering on all feeds", all_feeds),
    Scenario("blocked-4s", "consumer blocked 4 s", blocked_short, must_notice=False),
    Scenario("consumer-lag", "consumer late for 15 s", consumer_lag),
    Scenario("blocked-10s", "consumer blocked 10 s", blocked_long),
    Scenario("shard-stopped", "shard SIGSTOPped", shard_stopped),
    Scenario("database-paused", "database paused 15 s", database_paused),
    Scenario("database-gone", "database gone", database_gone),
    Scenario("symbol-halted", "symbol halted", symbol_halted),
    Scenario("symbol-delisted", "symbol delisted", symbol_delisted),
    Scenario("symbol-listed", "symbol listed", symbol_listed),
    Scenario("standstill", "whole exchange standing still", standstill),
    Scenario("clock-stepped", "local clock stepped by an hour", clock_stepped, must_notice=False),
    Scenario("rest-banned", "REST banned (418) for two minutes", rest_banned),
    # The last one, because its shard stays empty.
    Scenario("shard-crashing", "shard crash-looping", shard_crashing),
)
