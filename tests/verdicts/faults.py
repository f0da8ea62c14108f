"""What is provoked, and what everybody should then say. A fault lasts until it is mended."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.silence.stage import Stage, thaw
from tests.simulation.service import is_running, wait_until

_REPOSITORY = Path(__file__).parents[2]
_MUTE = {"until": "lifted"}
_BAN_S = 30
_STEP_S = 3.0
_LAG_S = 1.5
_RESTART_S = 60.0


@dataclass(frozen=True)
class Scene:
    """A running service, and how what was done to it is undone, last things first."""

    stage: Stage
    undo: list[Callable[[], object]] = field(default_factory=list)

    def fault(self, action: str, **fields: object) -> None:
        """One of the double's, until it is mended."""
        number = self.stage.double.fault(action, **fields)
        self.undo.append(lambda: self.stage.double.lift(number))

    def mend(self) -> None:
        while self.undo:
            self.undo.pop()()


Act = Callable[[Scene], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`fresh` and `ready` are the answers of /freshz and /readyz; None when nobody answers there."""

    name: str
    title: str
    provoke: Act
    keep_up: Act | None = None
    """Called before each look, where a fault would be over by itself."""
    ready: bool | None
    fresh: bool | None
    status: str
    """The verdict of `ingest status`."""
    diagnosis: str = ""
    """In the freshness table or an open incident, where there is one."""
    alerts: frozenset[str] = frozenset()
    """Of Prometheus, beside those that follow from `fresh` and `ready`."""


# --- the exchange and the way to it -----------------------------------------------------------------


def _stream_mute(scene: Scene) -> None:
    scene.fault("mute_stream", symbol=scene.stage.busy_symbol(), kind="trade", **_MUTE)


def _feeds_mute(scene: Scene) -> None:
    scene.fault("mute_stream", **_MUTE)


def _half_open(scene: Scene) -> None:
    """The connections die without a word, and nobody lets us in again."""
    scene.fault("refuse", status=503)
    scene.stage.double.fault("half_open")


def _cut(scene: Scene) -> None:
    scene.fault("refuse", status=503)
    scene.stage.double.fault("reset")


def _unreachable(scene: Scene) -> None:
    """Neither by websocket nor by REST."""
    scene.fault("rest", silent=True)
    _cut(scene)


def _standstill(scene: Scene) -> None:
    scene.stage.double.tell("pause")
    scene.undo.append(lambda: scene.stage.double.tell("resume"))


def _rest_banned(scene: Scene) -> None:
    """What the service has learned of a ban outlives the ban, as it does not ask: it is a short one."""
    scene.fault("rest", status=418, code=-1003, message="IP banned", retry_after_s=_BAN_S)


def _rest_down(scene: Scene) -> None:
    scene.fault("rest", silent=True)


def _gap_open(scene: Scene) -> None:
    """Trades are lost on the way, and REST does not give them."""
    for path in ("historicalTrades", "aggTrades"):
        scene.fault("rest", path=path, status=503)
    scene.stage.double.fault("drop", kind="trade", n=10)


def _halted(scene: Scene) -> None:
    symbol = scene.stage.busy_symbol()
    scene.stage.double.set_status(symbol, "BREAK")
    scene.undo.append(lambda: scene.stage.double.set_status(symbol, "TRADING"))


# --- our own processes ------------------------------------------------------------------------------


def _shard_crashing(scene: Scene) -> None:
    """As soon as it is started, so that it is put into quarantine."""
    pid = scene.stage.shard_pid(1)
    if is_running(pid):
        os.kill(pid, signal.SIGKILL)


def _consumer_lag(scene: Scene) -> None:
    """The loop of a shard is blocked for three quarters of the time: it turns, and is late."""
    stage, over = scene.stage, threading.Event()
    pid = stage.shard_pid(0)

    def block_again_and_again() -> None:
        while is_running(pid) and not over.wait(_LAG_S / 3):
            stage.tampering.block(pid, _LAG_S)
            over.wait(_LAG_S)

    blocking = threading.Thread(target=block_again_and_again)
    blocking.start()
    scene.undo.extend((blocking.join, over.set))


def _clock_off(scene: Scene) -> None:
    scene.stage.tampering.step_clock(_STEP_S)
    scene.undo.append(lambda: scene.stage.tampering.step_clock(0.0))


def _stopped(scene: Scene) -> None:
    scene.stage.service.stop()
    scene.undo.append(lambda: _start_again(scene))


def _supervisor_killed(scene: Scene) -> None:
    scene.stage.service.kill()
    scene.undo.append(lambda: _start_again(scene))


def _supervisor_stands(scene: Scene) -> None:
    process = scene.stage.service.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    scene.undo.append(lambda: thaw([process.pid]))


def _start_again(scene: Scene) -> None:
    service = scene.stage.service
    pids = {int(line["pid"]) for line in service.log_lines("shard.started")}
    wait_until("its shards have ended", lambda: not any(map(service.is_ours, pids)), deadline_s=_RESTART_S)
    service.start(**scene.stage.tampering.variables(_REPOSITORY))
    service.wait_ready()


# --- the database -----------------------------------------------------------------------------------


def _database_stands(scene: Scene) -> None:
    pids = scene.stage.database_pids()
    scene.undo.append(lambda: thaw(pids))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def _locked(*tables: str) -> Act:
    def lock(scene: Scene) -> None:
        held = scene.stage.service.locked(*tables)
        held.__enter__()
        scene.undo.append(lambda: held.__exit__(None, None, None))

    return lock


def alerts(*names: str) -> frozenset[str]:
    return frozenset(names)


FAULTS = (
    Fault(
        name="stream-mute",
        title="one stream is mute, whatever is tried",
        provoke=_stream_mute,
        ready=True,
        fresh=False,
        status="degraded",
        diagnosis="stream_silent",
        alerts=alerts("StreamStale"),
    ),
    Fault(
        name="feeds-mute",
        title="no connection brings data, all answer pings, REST has news",
        provoke=_feeds_mute,
        ready=True,
        fresh=False,
        status="degraded",
        diagnosis="feed_silent",
        alerts=alerts("StreamStale", "StaleShare"),
    ),
    Fault(
        name="half-open",
        title="connections half-open, new ones refused",
        provoke=_half_open,
        ready=True,
        fresh=False,
        status="degraded",
        alerts=alerts("StaleShare", "FeedDown"),
    ),
    Fault(
        name="cut",
        title="connections cut, new ones refused",
        provoke=_cut,
        ready=True,
        fresh=False,
        status="degraded",
        alerts=alerts("StaleShare", "FeedDown"),
    ),
    Fault(
        name="unreachable",
        title="exchange unreachable, by websocket and REST",
        provoke=_unreachable,
        ready=True,
        fresh=False,
        status="degraded",
        diagnosis="exchange_down",
        alerts=alerts("ExchangeDown", "StaleShare", "FeedDown"),
    ),
    Fault(
        name="standstill",
        title="exchange stands still, and connections and REST say so",
        provoke=_standstill,
        ready=True,
        fresh=True,
        status="well",
        diagnosis="exchange_down",
        alerts=alerts("ExchangeDown"),
    ),
    Fault(
        name="rest-banned",
        title="REST bans the address (418)",
        provoke=_rest_banned,
        ready=True,
        fresh=True,
        status="well",
        alerts=alerts("RestBanned"),
    ),
    Fault(
        name="rest-down",
        title="REST does not answer",
        provoke=_rest_down,
        ready=True,
        fresh=True,
        status="well",
        alerts=alerts("ExchangeRestDown"),
    ),
    Fault(
        name="gap-open",
        title="a gap that cannot be repaired for now",
        provoke=_gap_open,
        ready=True,
        fresh=True,
        status="well",
        alerts=alerts("GapsStayOpen"),
    ),
    Fault(
        name="halted",
        title="a symbol halted by the exchange: no fault",
        provoke=_halted,
        ready=True,
        fresh=True,
        status="well",
    ),
    Fault(
        name="database-stands",
        title="database does not answer",
        provoke=_database_stands,
        ready=False,
        fresh=False,
        status="unknown",
        alerts=alerts("DatabaseStalled", "TableNotWritten", "SpoolGrowing"),
    ),
    Fault(
        name="trades-locked",
        title="a lock on the table of trades",
        provoke=_locked("spot_raw.trades"),
        ready=False,
        fresh=False,
        status="degraded",
        diagnosis="database_stalled",
        alerts=alerts("DatabaseStalled"),
    ),
    Fault(
        name="table-locked",
        title="a lock on the freshness table",
        provoke=_locked("ops.stream_state"),
        ready=False,
        fresh=True,
        status="away",
        alerts=alerts("TableNotWritten"),
    ),
    Fault(
        name="clock-off",
        title="our clock 3 s ahead",
        provoke=_clock_off,
        ready=True,
        fresh=True,
        status="well",
        alerts=alerts("ClockOffset"),
    ),
    Fault(
        name="consumer-lag",
        title="a shard's loop late again and again",
        provoke=_consumer_lag,
        ready=True,
        fresh=True,
        status="well",
        diagnosis="consumer_lag",
        alerts=alerts("ShardFallsBehind"),
    ),
    Fault(
        name="supervisor-stands",
        title="supervisor stands (SIGSTOP)",
        provoke=_supervisor_stands,
        ready=None,
        fresh=None,
        status="away",
    ),
    Fault(
        name="killed",
        title="supervisor killed",
        provoke=_supervisor_killed,
        ready=None,
        fresh=None,
        status="away",
    ),
    Fault(
        name="stopped",
        title="service stopped in order",
        provoke=_stopped,
        ready=None,
        fresh=None,
        status="stopped",
    ),
    # The last one, because its shard stays empty.
    Fault(
        name="quarantined",
        title="a shard that ends again and again: quarantine",
        provoke=_shard_crashing,
        keep_up=_shard_crashing,
        ready=False,
        fresh=True,
        status="degraded",
        diagnosis="shard_wedged",
        alerts=alerts("ShardDown", "ShardQuarantined"),
    ),
)


def chosen(names: str) -> tuple[Fault, ...]:
    """Those of these names, with commas; all without any. KeyError names one that there is not."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = {fault.name: fault for fault in FAULTS}
    return tuple(known[name] for name in wanted) if wanted else FAULTS
