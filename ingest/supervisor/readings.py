"""What the boards say, as the judges want it: readings for the watch, sights for the witnesses.

Pure. A board that does not beat is not believed: its streams are not up, whatever their slots say.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ingest.board.layout import BoardSnapshot, FeedState, FeedValues
from ingest.events import StreamKey
from ingest.supervisor.freshness import ServiceFacts, ShardFacts, heartbeat_age_s
from ingest.supervisor.watched import Reading
from ingest.supervisor.witness import Sight

_PID_BITS = 32


def readings(facts: ServiceFacts, halted: Collection[StreamKey]) -> dict[StreamKey, Reading]:
    """One reading for every planned stream; that of a stream with two lines is of both together."""
    return {key: _together(found) for key, found in line_readings(facts, halted).items()}


def line_readings(facts: ServiceFacts, halted: Collection[StreamKey]) -> dict[StreamKey, list[Reading]]:
    """Of every planned stream the readings of its lines, by the order of their shards."""
    found: dict[StreamKey, list[Reading]] = defaultdict(list)
    for shard in facts.shards:
        for key, reading in _of_shard(shard, facts, halted).items():
            found[key].append(reading)
    return found


def _together(lines: list[Reading]) -> Reading:
    """A stream is up while one of its lines is, and speaks when one of them does."""
    if len(lines) == 1:
        return lines[0]
    shown = next((line for line in lines if line.is_up), lines[0])
    pids = 0
    for line in lines:
        # As if all were one process: another one has begun when any of them has.
        pids = pids << _PID_BITS | line.epoch[0]
    return shown._replace(
        news=sum(line.news for line in lines),
        epoch=(pids, sum(line.epoch[1] for line in lines)),
    )


def _of_shard(
    shard: ShardFacts, facts: ServiceFacts, halted: Collection[StreamKey]
) -> dict[StreamKey, Reading]:
    board = shard.board
    slots = dict(board.streams) if board and not shard.has_former_board else {}
    live = {feed.feed for feed in board.feeds if feed.state is FeedState.LIVE} if board and slots else set()
    is_believed = board is not None and _beats(board, facts) and shard.running
    pid = board.identity.pid if board is not None else 0
    number = shard.shard
    found: dict[StreamKey, Reading] = {}
    for key in shard.planned:
        values = slots.get(key)
        if values is None:
            found[key] = Reading(number, -1, 0, (0, 0), is_up=False, is_halted=key in halted)
            continue
        news, epoch = values.messages - values.duplicates, (pid, values.reconnects)
        is_up = is_believed and values.feed in live
        # By position: there are thousands of these each second.
        found[key] = Reading(number, values.feed, news, epoch, is_up, key in halted)
    return found


def _beats(board: BoardSnapshot, facts: ServiceFacts) -> bool:
    age_s = heartbeat_age_s(board, now_wall_ns=facts.now_wall_ns, now_monotonic_ns=facts.now_monotonic_ns)
    return age_s <= facts.heartbeat_limit_s


@dataclass
class Sightings:
    """Remembers when each stream's count was last seen to move."""

    _known: dict[StreamKey, Sight] = field(default_factory=dict)
    """Of both lines together, where there are two."""

    def take(self, facts: ServiceFacts, now_s: float) -> dict[StreamKey, Sight]:
        """The streams as the witnesses see them; a count that goes down has moved too.

        One that has not moved is as it was when it was first seen so, `read_s` included.
        """
        found: dict[StreamKey, tuple[int, int]] = {}
        planned: set[StreamKey] = set()
        for shard in facts.shards:
            own = set(shard.planned)
            planned |= own
            for key, values in shard.board.streams if shard.board else ():
                # Without those that the shard has given away: another board has a count of its own.
                if key in own:
                    messages, last_id = found.get(key, (0, -1))
                    found[key] = (messages + values.messages, max(last_id, values.last_id))
        if not self._known.keys() <= planned:
            self._known = {key: sight for key, sight in self._known.items() if key in planned}
        return {key: self._sight(key, *counts, now_s) for key, counts in found.items()}

    def _sight(self, key: StreamKey, messages: int, last_id: int, now_s: float) -> Sight:
        known = self._known.get(key)
        moved_s = now_s
        if known is not None and known.messages == messages:
            if known.last_id == last_id:
                return known
            # The same count with another id is another process's, and no message.
            moved_s = known.moved_s
        sight = self._known[key] = Sight(now_s, messages, moved_s, last_id)
        return sight


def feeds_by_number(facts: ServiceFacts) -> Mapping[int, FeedValues]:
    """The feeds of all shards by their number."""
    return {
        feed.feed: feed
        for shard in facts.shards
        if shard.board
        for feed in shard.board.feeds
        if feed.feed >= 0
    }
