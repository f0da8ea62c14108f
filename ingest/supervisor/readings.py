"""What the boards say, as the judges want it: readings for the watch, sights for the witnesses.

Pure. A board that does not beat is not believed: its streams are not up, whatever their slots say.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ingest.board.layout import BoardSnapshot, FeedState, FeedValues, StreamSlot
from ingest.events import StreamKey
from ingest.supervisor.freshness import ServiceFacts, ShardFacts, heartbeat_age_s
from ingest.supervisor.watched import Reading
from ingest.supervisor.witness import Sight


def readings(facts: ServiceFacts, halted: Collection[StreamKey]) -> dict[StreamKey, Reading]:
    """One reading for every planned stream of every shard."""
    found: dict[StreamKey, Reading] = {}
    for shard in facts.shards:
        found |= _of_shard(shard, facts, halted)
    return found


def _of_shard(
    shard: ShardFacts, facts: ServiceFacts, halted: Collection[StreamKey]
) -> dict[StreamKey, Reading]:
    board = shard.board
    slots = {slot.key: slot for slot in board.streams} if board and not shard.has_former_board else {}
    live = {feed.feed for feed in board.feeds if feed.state is FeedState.LIVE} if board and slots else set()
    beats = board is not None and _beats(board, facts) and shard.running
    pid = board.identity.pid if board is not None else 0
    return {
        key: _reading(slots.get(key), shard.shard, pid, live if beats else set(), is_halted=key in halted)
        for key in shard.planned
    }


def _beats(board: BoardSnapshot, facts: ServiceFacts) -> bool:
    age_s = heartbeat_age_s(board, now_wall_ns=facts.now_wall_ns, now_monotonic_ns=facts.now_monotonic_ns)
    return age_s <= facts.heartbeat_limit_s


def _reading(
    slot: StreamSlot | None, shard: int, pid: int, live: Collection[int], *, is_halted: bool
) -> Reading:
    if slot is None:
        return Reading(shard, -1, 0, (0, 0), is_up=False, is_halted=is_halted)
    values = slot.values
    return Reading(
        shard=shard,
        feed=values.feed,
        news=values.messages - values.duplicates,
        epoch=(pid, values.reconnects),
        is_up=values.feed in live,
        is_halted=is_halted,
    )


@dataclass
class Sightings:
    """Remembers when each stream's count was last seen to move."""

    _moved: dict[StreamKey, tuple[int, float]] = field(default_factory=dict)

    def take(self, facts: ServiceFacts, now_s: float) -> dict[StreamKey, Sight]:
        """The streams as the witnesses see them; a count that goes down has moved too."""
        sights: dict[StreamKey, Sight] = {}
        planned: set[StreamKey] = set()
        for shard in facts.shards:
            planned.update(shard.planned)
            for slot in _planned_slots(shard):
                sights[slot.key] = self._sight(slot, now_s)
        for key in self._moved.keys() - planned:
            del self._moved[key]
        return sights

    def _sight(self, slot: StreamSlot, now_s: float) -> Sight:
        values = slot.values
        count, moved_s = self._moved.get(slot.key, (-1, now_s))
        if values.messages != count:
            moved_s = now_s
        self._moved[slot.key] = (values.messages, moved_s)
        return Sight(now_s, values.messages, moved_s, values.last_id)


def _planned_slots(shard: ShardFacts) -> list[StreamSlot]:
    """Without those that the shard has given away: another board has them with a count of its own."""
    planned = set(shard.planned)
    return [slot for slot in shard.board.streams if slot.key in planned] if shard.board else []


def feeds_by_number(facts: ServiceFacts) -> Mapping[int, FeedValues]:
    """The feeds of all shards by their number."""
    return {
        feed.feed: feed
        for shard in facts.shards
        if shard.board
        for feed in shard.board.feeds
        if feed.feed >= 0
    }
