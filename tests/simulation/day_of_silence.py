"""A simulated day of silence: are faults noticed, and is a stream ever repaired that missed nothing?

    python -m tests.simulation.day_of_silence --hours 24 --symbols 1500 --faults 1000 --seed 7

Each symbol has a trade stream and a book ticker, on feeds of 200 streams in two shards. They are judged
by the service's own `Watch` and `Witnesses` with the limits of its default configuration, at ticks of
one second on a loop whose clock jumps. Shards, boards and REST are simulated (`silence_exchange`): an
order is carried out one to three seconds later, and a fifth of the mute stretches ends by a new feed only.

A stream's order counts as right when a message was hidden from it since its newest one, or since the
order that mended it; a new feed is right when it is for one of its stale streams. Anything else is a
false repair, whichever step of the ladder it is.
"""

import argparse
import asyncio
import contextlib
import gc
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import NamedTuple, cast

from ingest.binance.rest import RestClient
from ingest.board.layout import Diagnosis, StreamState
from ingest.config import SilenceSection
from ingest.events import StreamKey
from ingest.supervisor.rhythm import RhythmLimits
from ingest.supervisor.watch import (
    Action,
    AskWhetherHealed,
    AskWitness,
    Finding,
    IncidentOpened,
    IncidentStep,
    OrderReplaceFeed,
    OrderRestartShard,
    OrderResubscribe,
    Watch,
    WatchLimits,
)
from ingest.supervisor.witness import Verdict
from ingest.supervisor.witnesses import Witnesses
from tests.plugin_async import LoopClock, VirtualTimeLoop
from tests.simulation.silence_exchange import SLACK_S, Fault, Line, Rest
from tests.simulation.silence_market import Symbol, Timeline, market, moods, timeline, together

KINDS = ("trade", "book_ticker")
SHARDS = 2
STREAMS_PER_FEED = 200
_STUBBORN_SHARE = 0.2
_BUSY_PER_S = 1.0
_REAL_LIMIT_S = 36_000.0
_EXAMPLES = 30


class FalseRepair(NamedTuple):
    """An order about a stream that had missed nothing."""

    tick: int
    key: StreamKey
    order: str
    since_moved_s: int
    since_order_s: int | None
    """Since the order before, when the stream has not spoken after that one."""
    evidence: str


@dataclass(slots=True)
class Account:
    """What a day amounted to."""

    seconds: int
    streams: int = 0
    messages: int = 0
    moves: int = 0
    repairs: int = 0
    """Streams in orders to resubscribe, and other orders."""
    false_repairs: list[FalseRepair] = field(default_factory=list)
    orders: Counter[str] = field(default_factory=Counter)
    incidents: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    sweep_false_deficits: int = 0
    faults: list[Fault] = field(default_factory=list)
    thresholds_s: list[float] = field(default_factory=list)
    weights: "array[int]" = field(default_factory=lambda: array("l"))
    """Of REST, in each minute."""

    @property
    def noticed(self) -> list[Fault]:
        return [fault for fault in self.faults if fault.noticed is not None]

    @property
    def required(self) -> list[Fault]:
        return [fault for fault in self.faults if fault.must_be_noticed]

    @property
    def missed(self) -> list[Fault]:
        return [fault for fault in self.required if fault.noticed is None]

    @property
    def precision(self) -> float:
        return 1.0 - len(self.false_repairs) / self.repairs if self.repairs else 1.0

    @property
    def recall(self) -> float:
        return 1.0 - len(self.missed) / len(self.required) if self.required else 1.0


class Day:
    """The service's judges in front of a simulated market."""

    def __init__(self, lines: Sequence[Line], rest: Rest, clock: LoopClock, account: Account, rng: Random):
        self._lines = {line.key: line for line in lines}
        self._account, self._rest, self._rng = account, rest, rng
        self._pending: dict[int, list[tuple[Sequence[Line], bool]]] = defaultdict(list)
        self._speakers: dict[int, list[Line]] = defaultdict(list)
        """Who has something to say, by tick."""
        for line in lines:
            self._speakers[line.next_tick(0)].append(line)
        self._readings = {line.key: line.reading for line in lines}
        self._sights = {line.key: line.sight(0.0) for line in lines}
        silence = SilenceSection()
        self._watch = Watch(
            WatchLimits(),
            rhythm_limits=lambda key: RhythmLimits(
                factor=silence.factor,
                floor_s=silence.floor_s.of(key.kind),
                ceiling_s=silence.ceiling_s.of(key.kind),
            ),
            records={},
            diagnose=_diagnose,
        )
        self._clock = clock
        self._witnesses = Witnesses(
            cast(RestClient, rest),
            clock=clock,
            on_verdict=self._pronounce,
            on_healed=lambda key, verdict: self._watch.healed(key, verdict, clock.monotonic_s()),
            sweep_every_s=silence.sweep_every_s,
        )

    async def run(self) -> None:
        """Live through the day."""
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self._witnesses.run())
            for tick in range(1, self._account.seconds):
                await asyncio.sleep(tick - self._clock.monotonic_s())
                self._tick(tick)
            asking.cancel()
        self._close()

    def _tick(self, tick: int) -> None:
        now_s = float(tick)
        for lines, is_new_feed in self._pending.pop(tick, ()):
            for line in lines:
                line.subscribe_anew(tick, is_new_feed=is_new_feed)
                self._readings[line.key] = line.reading
        for line in self._speakers.pop(tick, ()):
            self._hear(line, tick)
        self._witnesses.see(now_s, self._sights.copy())
        self._audit(now_s)
        for action in self._watch.tick(now_s, self._readings):
            self._carry_out(action, tick)

    def _hear(self, line: Line, tick: int) -> None:
        """What the line says in this tick, if it is not mute."""
        if line.advance(tick):
            self._account.moves += 1
            self._readings[line.key] = line.reading
            self._sights[line.key] = line.sight(float(tick))
        else:
            self._miss(line, tick)
        self._speakers[line.next_tick(tick)].append(line)

    def _miss(self, line: Line, tick: int) -> None:
        fault = line.fault(tick)
        if fault is not None and fault.first_missed is None:
            stream = self._watch.streams.get(line.key)
            known_s = stream.well_s + stream.rhythm.threshold_s if stream else 0.0
            fault.first_missed, fault.due = tick, max(tick, int(known_s) + 1)

    def _audit(self, now_s: float) -> None:
        """A sweep's word on the streams that miss nothing."""
        swept_s = self._witnesses.swept_s
        if swept_s is not None and now_s - 1.0 < swept_s <= now_s:
            for symbol, deficit in self._witnesses.deficits.items():
                line = self._lines[StreamKey("spot", symbol, "trade")]
                is_whole = not any(fault.start <= swept_s for fault in line.faults)
                self._account.sweep_false_deficits += deficit > 0 and is_whole

    def _pronounce(self, key: StreamKey, verdict: Verdict) -> None:
        self._account.verdicts[type(verdict).__name__.lower()] += 1
        self._watch.verdict(key, verdict, self._clock.monotonic_s())

    def _carry_out(self, action: Action, tick: int) -> None:
        if isinstance(action, AskWitness):
            self._witnesses.ask(action.keys)
        elif isinstance(action, AskWhetherHealed):
            self._witnesses.ask_whether_healed(action.since_s)
        elif isinstance(action, OrderResubscribe):
            self._order("resubscribe", [self._lines[key] for key in action.keys], tick)
        elif isinstance(action, OrderReplaceFeed):
            self._replace(action, tick)
        elif isinstance(action, OrderRestartShard):
            lines = [line for line in self._lines.values() if line.shard == action.shard]
            self._order("restart_shard", [line for line in lines if self._is_stale(line)], tick, more=lines)
        elif isinstance(action, IncidentOpened | IncidentStep):
            self._take_note(action, tick)

    def _replace(self, action: OrderReplaceFeed, tick: int) -> None:
        place = (action.shard, action.feed)
        lines = [line for line in self._lines.values() if (line.shard, line.feed) == place]
        self._order("replace_feed", [line for line in lines if self._is_stale(line)], tick, more=lines)

    def _is_stale(self, line: Line) -> bool:
        return self._watch.streams[line.key].state is StreamState.STALE

    def _order(self, name: str, about: Sequence[Line], tick: int, *, more: Iterable[Line] = ()) -> None:
        """`about` is what the order is for; `more` gets a new connection with it."""
        self._account.orders[name] += 1
        hidden = [line for line in about if line.hidden_by(tick) is not None]
        for line in about if name == "resubscribe" else hidden[:1] or about[:1]:
            self._judge(name, line, tick)
        for line in about:
            line.asked_for = tick
            if name != "resubscribe":
                line.broke()
                self._readings[line.key] = line.reading
        at = tick + self._rng.randint(1, 3)
        self._pending[at].append((about, name != "resubscribe"))
        for line in more:
            # A new connection brings all its streams; those that missed nothing are not broken by it.
            if line not in about:
                line.heal(at, is_new_feed=True)

    def _judge(self, name: str, line: Line, tick: int) -> None:
        self._account.repairs += 1
        if line.hidden_by(tick) is None:
            before = line.asked_for if line.asked_for > line.moved else None
            evidence = self._watch.streams[line.key].evidence
            since_order_s = None if before is None else tick - before
            self._account.false_repairs.append(
                FalseRepair(tick, line.key, name, tick - line.moved, since_order_s, evidence)
            )

    def _take_note(self, action: IncidentOpened | IncidentStep, tick: int) -> None:
        if isinstance(action, IncidentOpened):
            self._account.incidents[action.repair.diagnosis.name.lower()] += 1
        for key in action.repair.keys:
            fault = self._lines[key].hidden_by(tick)
            if fault is not None and fault.noticed is None:
                fault.noticed = tick

    def _close(self) -> None:
        account = self._account
        account.streams = len(self._lines)
        account.weights = self._rest.weights
        for line in self._lines.values():
            account.messages += line.news
            account.faults += line.faults
        account.thresholds_s = [each.rhythm.threshold_s for each in self._watch.streams.values()]


def _diagnose(shard: int, feed: int, is_silent: bool) -> Finding:
    return Finding(Diagnosis.FEED_SILENT if is_silent else Diagnosis.STREAM_SILENT, "")


def draw_faults(
    symbols: Sequence[Symbol], faults: int, seconds: int, rng: Random
) -> dict[tuple[int, str], list[Fault]]:
    """Mute stretches of half a minute to an hour, each on a stream of its own while there are enough."""
    streams = [(symbol.index, kind) for symbol in symbols for kind in KINDS]
    drawn: dict[tuple[int, str], list[Fault]] = {}
    while faults > 0:
        for stream in rng.sample(streams, min(faults, len(streams))):
            start = rng.randrange(1, seconds)
            end = start + int(30 * 120 ** rng.random())
            is_stubborn = rng.random() < _STUBBORN_SHARE
            drawn.setdefault(stream, []).append(Fault(start, end, is_stubborn, ended=min(end, seconds)))
        faults -= len(streams)
    for stretches in drawn.values():
        stretches.sort(key=lambda fault: fault.start)
        for former, later in pairwise(stretches):
            former.end = former.ended = min(former.end, later.start - 1)
    return drawn


def simulate(*, hours: float, symbols: int, faults: int, seed: int) -> Account:
    """The day of the whole market."""
    seconds = int(hours * 3_600)
    rng = Random(seed)
    listed = market(symbols, rng)
    drawn = draw_faults(listed, faults, seconds, rng)
    names = {symbol.index: f"S{symbol.index:04d}" for symbol in listed}
    published = {names[symbol.index]: _draw(symbol, seconds, seed) for symbol in listed}
    keys = [(symbol, kind) for symbol in rng.sample(listed, symbols) for kind in KINDS]
    lines = [
        Line(
            StreamKey("spot", names[symbol.index], kind),
            _place(number),
            published[names[symbol.index]][kind],
            _of_stream(drawn.get((symbol.index, kind), []), symbol, kind),
        )
        for number, (symbol, kind) in enumerate(keys)
    ]
    account, clock = Account(seconds), LoopClock()
    trades, quotes = ({name: each[kind] for name, each in published.items()} for kind in KINDS)
    rest = Rest(trades, quotes, clock=clock, seconds=seconds, rng=rng)
    with contextlib.closing(VirtualTimeLoop(real_limit_s=_REAL_LIMIT_S)) as loop:
        day = Day(lines, rest, clock, account, rng)
        loop.run_until_complete(loop.guard(day.run()))
    return account


def _draw(symbol: Symbol, seconds: int, seed: int) -> Mapping[str, Timeline]:
    rng = Random(seed * 1_000_003 + symbol.index)
    mood = moods(symbol, seconds, rng)
    trades = timeline(symbol.trades_per_s, mood, rng)
    return {"trade": trades, "book_ticker": together(trades, timeline(symbol.quotes_per_s, mood, rng))}


def _place(number: int) -> tuple[int, int]:
    feed = number // STREAMS_PER_FEED
    return feed % SHARDS, feed


def _of_stream(stretches: list[Fault], symbol: Symbol, kind: str) -> list[Fault]:
    for fault in stretches:
        fault.kind = kind
        fault.per_s = symbol.trades_per_s if kind == "trade" else symbol.quotes_per_s
    return stretches


def report(account: Account) -> str:
    """What came out, for people."""
    noticed, required, busy = account.noticed, account.required, _busy(account.noticed)
    hid_nothing = sum(fault.first_missed is None for fault in account.faults)
    ended = len(account.faults) - hid_nothing - len(noticed)
    within_slack = sum(f.noticed is None and f.due is not None and f.ended > f.due for f in account.faults)
    again = sum(each.since_order_s is not None for each in account.false_repairs)
    return f"""\
streams {account.streams}, messages {account.messages:,}, ticks with news {account.moves:,}
thresholds at the end: {_spread(account.thresholds_s)} s
verdicts: {_counts(account.verdicts)}; REST weight a minute: {_spread(account.weights)}
faults {len(account.faults)}: {hid_nothing} hid no message, {len(noticed)} noticed, {ended} ended before that
  of these {within_slack} ended past their threshold, most of them less than {SLACK_S} s after it
incidents: {_counts(account.incidents)}; orders: {_counts(account.orders)}
repairs {account.repairs}, of them false {len(account.false_repairs)}: precision {account.precision:.4f}
  of the false ones {again} repeated a repair since which the stream had not spoken
faults that had to be noticed {len(required)}, missed {len(account.missed)}: recall {account.recall:.4f}
sweeps that found a stream behind that had missed nothing: {account.sweep_false_deficits}
from the first lost message to the repair: {_spread(_delays(noticed, since_due=False))} s
  streams above one message a second: {_spread(_delays(busy, since_due=False))} s
from when it could be known to the repair: {_spread(_delays(noticed, since_due=True))} s
  streams above one message a second: {_spread(_delays(busy, since_due=True))} s"""


def _busy(faults: Iterable[Fault]) -> list[Fault]:
    return [fault for fault in faults if fault.per_s >= _BUSY_PER_S]


def _delays(faults: Iterable[Fault], *, since_due: bool) -> list[float]:
    return [
        float((fault.noticed or 0) - ((fault.due if since_due else fault.first_missed) or 0))
        for fault in faults
    ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "none"
    ranked = sorted(values)
    shares = {"median": 0.5, "p90": 0.9, "p99": 0.99}
    named = [
        f"{name} {ranked[min(int(share * len(ranked)), len(ranked) - 1)]:g}" for name, share in shares.items()
    ]
    return ", ".join([*named, f"most {ranked[-1]:g}"])


def main() -> int:
    """0 when no repair was false and no fault was missed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.day_of_silence", description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--symbols", type=int, default=1_500)
    parser.add_argument("--faults", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    # A day makes and drops millions of small tuples, and hardly any cycle.
    gc.set_threshold(100_000, 50, 50)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    account = simulate(**vars(options))
    ran_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    print(f"seed {options.seed}, {options.hours:g} hours, ran {ran_s:.0f} s ({cpu_s:.0f} s of CPU)")
    print(report(account))
    for false in account.false_repairs[:_EXAMPLES]:
        print(f"false: {false}")
    for fault in account.missed[:_EXAMPLES]:
        print(f"missed: {fault}")
    return 1 if account.false_repairs or account.missed or account.sweep_false_deficits else 0


if __name__ == "__main__":
    raise SystemExit(main())
