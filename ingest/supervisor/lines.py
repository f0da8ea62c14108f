"""Two lines of each stream, on two shards: which one is behind, which gaps the other one has closed.

Pure. The boards come in, decisions go out: what to order (`LineWatch`), which gaps are none (`covers`),
which line was first (`Leads`). Whether a stream as a whole is silent is `supervisor.watch`'s affair: there
both lines are one. Here each is the witness of the other.

    a line has not got for `behind_s` what the other one has   subscribe its streams anew
    ... nor after `again_s`, once the other one speaks         replace its feed
    ... nor after that                                         again, after twice the time, up to `longest_s`

What the other one brought before a line was subscribed, the line does not owe: that is a gap, and known.

A gap of one line is none when the other line has missed nothing from before it until after it, and has
committed all that. A board's words are of different moments, so what is taken for committed is what an
earlier look has seen, and what is taken for unbroken a later one: the latter only ever moves forward. What
was unbroken before a line's own newest gap is remembered: where both lines have gaps, it tells what is
missing on both (`supervisor.trimming`).
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final, NamedTuple, TypeAlias

from ingest.board.layout import BoardSnapshot, StreamValues
from ingest.events import StreamKey
from ingest.shard.orders import Order, ReplaceFeed, Resubscribe
from ingest.supervisor.freshness import ServiceFacts
from ingest.supervisor.readings import line_readings
from ingest.supervisor.watched import Reading

_Place: TypeAlias = tuple[int, int]
"""(shard, feed)."""

REASON = "line_behind"


class LineOrder(NamedTuple):
    """What to tell a shard, and about how many streams."""

    shard: int
    order: Order
    streams: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineLimits:
    """In seconds."""

    settle_s: float = 3.0
    """After its subscription a line owes only what the other one brings from then on."""
    behind_s: float = 10.0
    again_s: float = 10.0
    longest_s: float = 300.0


class LineView(NamedTuple):
    """One line of a stream: how far it is, and what is known of its connection."""

    reading: Reading
    last_id: int


def line_views(facts: ServiceFacts, halted: Collection[StreamKey]) -> dict[StreamKey, list[LineView]]:
    """The lines of every stream that has more than one."""
    ids = {(board.shard, key): values.last_id for board, key, values in _slots(facts)}
    return {
        key: [LineView(reading, ids.get((reading.shard, key), -1)) for reading in lines]
        for key, lines in line_readings(facts, halted).items()
        if len(lines) > 1
    }


@dataclass(slots=True)
class _Line:
    """One line of one stream."""

    epoch: tuple[int, int]
    settled_s: float
    excused_id: int
    """Up to here the other line was ahead when this one began to listen."""
    target_id: int | None = None
    """What the other one had and this one owes."""
    since_s: float = 0.0

    def look(self, view: LineView, newest_id: int, now_s: float, limits: LineLimits) -> bool:
        """Compare with the newest of the other line; True when it is behind for too long."""
        reading = view.reading
        if not reading.is_up or reading.is_halted or reading.epoch != self.epoch:
            self.epoch, self.settled_s = reading.epoch, now_s + limits.settle_s
        if now_s < self.settled_s:
            self.excused_id, self.target_id = newest_id, None
        if self.target_id is not None and view.last_id >= self.target_id:
            self.target_id = None
        if self.target_id is None and newest_id > max(view.last_id, self.excused_id):
            self.target_id, self.since_s = newest_id, now_s
        return self.target_id is not None and now_s - self.since_s >= limits.behind_s


@dataclass(slots=True)
class _Repair:
    """What was done about a feed that is behind."""

    next_s: float
    wait_s: float
    tried: int = 0


class LineWatch:
    """Tick once a second."""

    def __init__(self, limits: LineLimits | None = None) -> None:
        self._limits = limits or LineLimits()
        self._lines: dict[tuple[StreamKey, int], _Line] = {}
        self._repairs: dict[_Place, _Repair] = {}

    def tick(self, now_s: float, views: Mapping[StreamKey, Sequence[LineView]]) -> list[LineOrder]:
        """Who is behind by now, and what is to be done about it."""
        self._forget({(key, view.reading.shard) for key, found in views.items() for view in found}, now_s)
        behind: dict[_Place, list[StreamKey]] = defaultdict(list)
        for key, found in views.items():
            for view in found:
                others = max(other.last_id for other in found if other is not view)
                line = self._line(key, view, others, now_s)
                if line.look(view, others, now_s, self._limits):
                    behind[view.reading.shard, view.reading.feed].append(key)
        return [order for place, keys in sorted(behind.items()) for order in self._repair(place, keys, now_s)]

    def _line(self, key: StreamKey, view: LineView, newest_id: int, now_s: float) -> _Line:
        place = (key, view.reading.shard)
        if place not in self._lines:
            self._lines[place] = _Line(view.reading.epoch, now_s + self._limits.settle_s, newest_id)
        return self._lines[place]

    def _repair(self, place: _Place, keys: list[StreamKey], now_s: float) -> Iterator[LineOrder]:
        shard, feed = place
        limits, streams = self._limits, tuple(sorted(keys))
        repair = self._repairs.setdefault(place, _Repair(now_s, limits.again_s))
        if now_s < repair.next_s:
            return
        repair.tried += 1
        if repair.tried == 1:
            yield LineOrder(shard, Resubscribe(streams), len(streams))
        else:
            repair.wait_s = min(2 * repair.wait_s, limits.longest_s)
            yield LineOrder(shard, ReplaceFeed(feed, REASON, streams), len(streams))
        repair.next_s = now_s + repair.wait_s

    def _forget(self, known: set[tuple[StreamKey, int]], now_s: float) -> None:
        for gone in self._lines.keys() - known:
            del self._lines[gone]
        # A repair that was in vain shows only when the other line has spoken, and some time after.
        patience_s = 2 * (self._limits.settle_s + self._limits.behind_s)
        for place in [p for p, each in self._repairs.items() if now_s > each.next_s + patience_s]:
            del self._repairs[place]


# ---------------------------------------------------------------------- gaps


class MissedRange(NamedTuple):
    """A gap of the ledger: ids where the kind has them, else the times of the rows around it."""

    gap_id: int
    key: StreamKey
    first_id: int | None
    last_id: int | None
    start_us: int | None
    end_us: int | None


class Span(NamedTuple):
    """What one line is known to have stored without a break, in the unit of the kind's gaps."""

    since_id: int
    committed_id: int


Spans: TypeAlias = Mapping[StreamKey, Sequence[Span]]


_Source: TypeAlias = tuple[int, int, StreamKey]
"""(shard, process, stream)."""

_MOST_STRETCHES: Final = 32
"""How many that have ended are remembered of a stream, for gaps that are still to be looked at."""


class Coverage:
    """Remembers what was committed at the look before, and what was unbroken before that."""

    def __init__(self) -> None:
        self._seen: dict[_Source, StreamValues] = {}
        self._going_on: dict[_Source, Span] = {}
        self._ended: dict[StreamKey, dict[int, int]] = defaultdict(dict)
        """Where each stretch ends, by where it begins."""

    def look(self, facts: ServiceFacts) -> Spans:
        """What each line has stored without a break; of a process that was not there before, nothing yet."""
        seen: dict[_Source, StreamValues] = {}
        going_on: dict[_Source, Span] = {}
        spans: dict[StreamKey, list[Span]] = defaultdict(list)
        for board, key, values in _slots(facts):
            source = (board.shard, board.identity.pid, key)
            seen[source] = values
            before = self._seen.get(source)
            if before is None:
                continue
            if values.unbroken_since_id >= 0:
                span = going_on[source] = Span(values.unbroken_since_id, before.committed_id)
                spans[key].append(span)
            if values.former_since_id >= 0:
                self._remember_former(key, values, before)
        self._remember_ended(going_on)
        self._seen, self._going_on = seen, going_on
        return spans

    def _remember_former(self, key: StreamKey, now: StreamValues, before: StreamValues) -> None:
        since_id, until_id = now.former_since_id, now.former_until_id
        # Two words may be of different moments, unless they were the same at the look before.
        if since_id == before.former_since_id and until_id == before.former_until_id:
            self._keep(key, since_id, min(until_id, before.committed_id))

    def _remember_ended(self, going_on: Mapping[_Source, Span]) -> None:
        for source, span in self._going_on.items():
            now = going_on.get(source)
            if now is None or now.since_id != span.since_id:
                self._keep(source[2], span.since_id, span.committed_id)

    def stretches(self, key: StreamKey, spans: Spans) -> list[Span]:
        """All that lines are known to have stored of a stream without a break: now (`spans`), and before."""
        return [*spans.get(key, ()), *(Span(*each) for each in self._ended.get(key, {}).items())]

    def _keep(self, key: StreamKey, since_id: int, until_id: int) -> None:
        """What was committed stays so, whatever becomes of the line."""
        ended = self._ended[key]
        if since_id <= until_id and ended.get(since_id, -1) < until_id:
            ended[since_id] = until_id
            if len(ended) > _MOST_STRETCHES:
                del ended[next(iter(ended))]


def covers(spans: Spans, gap: MissedRange) -> bool:
    """Whether one line has stored all that another one has missed."""
    first, last = gap.first_id, gap.last_id
    if first is None or last is None:
        if gap.start_us is None or gap.end_us is None:
            return False
        first, last = gap.start_us // 1_000, gap.end_us // 1_000
    # A candle that has begun to be stored is not stored closed before the next one is there.
    beyond = 1 if gap.key.kind.startswith("kline_") else 0
    return any(
        span.since_id <= first and span.committed_id >= last + beyond for span in spans.get(gap.key, ())
    )


# ---------------------------------------------------------------------- who is first


@dataclass(slots=True)
class Lead:
    """How often a shard's line was ahead of another's when both were looked at, and by how much in all."""

    times: int = 0
    seconds: float = 0.0


@dataclass
class Leads:
    """By (the shard that was first, the other). A sample: one look a second, not each message."""

    by_pair: dict[tuple[int, int], Lead] = field(default_factory=dict)
    _counted: dict[StreamKey, int] = field(default_factory=dict)

    def look(self, facts: ServiceFacts) -> None:
        """Compare the arrivals of the newest message, where both lines have the same one."""
        lines: dict[StreamKey, list[tuple[int, StreamValues]]] = defaultdict(list)
        for board, key, values in _slots(facts):
            lines[key].append((board.shard, values))
        for key, found in lines.items():
            for (first, one), (second, other) in combinations(found, 2):
                if one.last_id == other.last_id >= 0 and self._counted.get(key) != one.last_id:
                    self._counted[key] = one.last_id
                    self._count(first, second, (other.last_recv_ns - one.last_recv_ns) / 1e9)

    def _count(self, first: int, second: int, lead_s: float) -> None:
        pair = (first, second) if lead_s >= 0 else (second, first)
        lead = self.by_pair.setdefault(pair, Lead())
        lead.times += 1
        lead.seconds += abs(lead_s)


def _slots(facts: ServiceFacts) -> Iterator[tuple[BoardSnapshot, StreamKey, StreamValues]]:
    """The planned streams of all boards that are a living process's."""
    for shard in facts.shards:
        if shard.board is None or shard.has_former_board:
            continue
        planned = set(shard.planned)
        for slot in shard.board.streams:
            if slot.key in planned:
                yield shard.board, slot.key, slot.values
