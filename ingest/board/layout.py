"""The freshness board's binary layout: which 64-bit word of a shard's file says what.

    header   HEADER_WORDS words: identity | heartbeat | values | spare
    feeds    n_feeds slots of FEED_WORDS words:     values | spare
    streams  n_streams slots of STREAM_WORDS words: key text (KEY_BYTES) | values | spare

Decides the place and meaning of every word, and whether a file is one of ours. Never opens a file.

Invariants:

* Every field is one signed 64-bit word at a multiple of eight bytes, in the byte order of the machine.
  The magic is a word like the others, so a file of the other byte order is recognised by its magic
  read backwards, and refused.
* A word is written whole. `memoryview.cast("q")[i] = n` is one aligned store and assigning a slice is
  one `memcpy` of whole words. `struct.pack_into("<q", ...)` is not used anywhere: it writes byte by
  byte, and a reader could see half of a number.
* Two words of one slot may be of two moments: there is no lock. Each word is true by itself, and no
  reader may draw a conclusion that needs two words to be of the same instant.
* 0 in a field of time means never; -1 in a field of ids or numbers means none yet.
* A slot may be free: a stream's whose key begins with a zero word, a feed's whose number is -1. Readers
  skip it. The word that says so is the first of the slot, written last when the slot is taken and first
  when it is given back, so that a reader that copies from front to back never takes half a key for one.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import NamedTuple, cast

from ingest.errors import BoardError
from ingest.events import Market, StreamKey
from ingest.feed.endings import EndClass

WORD_BYTES = 8
MAGIC = int.from_bytes(b"INGBOARD", "big")
LAYOUT_VERSION = 8

FREE_FEED = -1
"""What the slot of no feed says for a number."""

KEY_BYTES = 96
KEY_WORDS = KEY_BYTES // WORD_BYTES
HEADER_WORDS = 64
FEED_WORDS = 32
STREAM_WORDS = 32


class ShardState(IntEnum):
    STARTING = 0
    RUNNING = 1
    DRAINING = 2
    STOPPED = 3


class FeedState(IntEnum):
    CONNECTING = 0
    SUBSCRIBING = 1
    LIVE = 2
    CLOSED = 3


class StreamState(IntEnum):
    """`STARTING` is also what a slot says before anything was written to it."""

    STARTING = 0
    LIVE = 1
    SUSPECT = 2
    QUIET = 3
    STALE = 4
    RECOVERING = 5
    HALTED = 6


class Diagnosis(IntEnum):
    """Why a stream is not live."""

    NONE = 0
    STREAM_SILENT = 1
    FEED_SILENT = 2
    HALF_OPEN = 3
    CONSUMER_LAG = 4
    SHARD_WEDGED = 5
    DATABASE_STALLED = 6
    EXCHANGE_DOWN = 7


class Identity(NamedTuple):
    """Written once, before the file gets its name."""

    magic: int
    layout_version: int
    shard: int
    pid: int
    n_streams: int
    n_feeds: int
    started_wall_ns: int


class Heartbeat(NamedTuple):
    """Written by the shard's event loop itself, so that it stands still when the loop does.

    `monotonic_ns` is `Clock.monotonic_s` in nanoseconds: comparable between processes of one boot.
    `loop_lag_us` is how late the newest beat came.
    """

    monotonic_ns: int = 0
    wall_ns: int = 0
    loop_lag_us: int = 0


class HeaderValues(NamedTuple):
    """What a shard says about itself; written at every tick. Counters count from the shard's start."""

    state: ShardState = ShardState.STARTING
    loop_lag_max_us: int = 0
    """Highest lag of the loop since the tick before."""
    frames: int = 0
    bytes_received: int = 0
    malformed_frames: int = 0
    buffered_rows: int = 0
    buffered_bytes: int = 0
    oldest_buffered_recv_ns: int = 0
    """Receive time (wall) of the oldest row that is not committed yet; 0 when there is none."""
    refused_rows: int = 0
    rows_committed: int = 0
    batches_committed: int = 0
    conflicts: int = 0
    store_errors: int = 0
    commit_latency_last_us: int = 0
    commit_latency_p50_us: int = 0
    commit_latency_p99_us: int = 0
    books_live: int = 0
    books_wanted: int = 0
    snapshots_fetched: int = 0
    snapshots_waiting: int = 0
    rest_weight_used: int = 0
    database_up: int = 0
    spooled_rows: int = 0
    """Rows that wait on the disk now; with `spooled_bytes` and the next not part of what is buffered."""
    spooled_bytes: int = 0
    oldest_spooled_recv_ns: int = 0
    """Receive time (wall) of the oldest row on the disk; 0 when there is none."""
    spool_full: int = 0
    """1 while the spool takes no more: rows wait in memory, then become gaps."""
    spooled_rows_ever: int = 0
    spool_damaged_batches: int = 0
    books_shallow: int = 0
    """Live books that are known less far than they shall be."""
    book_audits: int = 0
    """Live books compared with the exchange's; from here on see `shard.books.AuditCounts`."""
    book_audits_differing: int = 0
    book_audits_inconclusive: int = 0
    book_audit_levels: int = 0
    book_audit_mismatches: int = 0
    repairs_waiting: int = 0
    """Gaps that REST shall close; with the next four as of `shard.repair`."""
    repair_pages: int = 0
    repaired_rows: int = 0
    repairs_closed: int = 0
    repair_failures: int = 0
    tasks: int = 0
    """Tasks of the event loop."""

    @property
    def oldest_waiting_recv_ns(self) -> int:
        """Of the oldest row that no query can see, wherever it waits; 0 when there is none."""
        return min(filter(None, (self.oldest_buffered_recv_ns, self.oldest_spooled_recv_ns)), default=0)


class FeedValues(NamedTuple):
    """One feed. `feed` is its number, unique over all shards; times are wall clock.

    What is said of a connection is said of the one that carries the streams: a successor that is not
    ready yet is only counted in `sessions`. Its times are 0 when it has not happened on this connection.
    """

    feed: int = -1
    state: FeedState = FeedState.CONNECTING
    connected_wall_ns: int = 0
    last_frame_ns: int = 0
    last_data_ns: int = 0
    last_ping_ns: int = 0
    messages: int = 0
    reconnects: int = 0
    streams: int = 0
    silent_streams: int = 0
    """Streams that have never produced a message on this connection."""
    close_code: int = 0
    """Of the feed's last end; 0 when it has not ended yet or ended without one."""
    local_port: int = 0
    """Of the connection's socket at our end; 0 while there is none."""
    probe_wall_ns: int = 0
    """When our newest own ping was sent."""
    pong_wall_ns: int = 0
    """When the newest answer to an own ping of ours came."""
    pong_latency_us: int = 0
    """From the arrival of the exchange's newest ping to our pong's being sent."""
    sessions: int = 0
    """Open connections: 2 while one hands over to its successor."""
    ends_stream_silent: int = 0
    """From here on: connections that ended and attempts that failed, one count for each of `EndClass`."""
    ends_feed_silent: int = 0
    ends_half_open: int = 0
    ends_consumer_lag: int = 0
    ends_link_silent: int = 0
    ends_closed_by_exchange: int = 0
    ends_connection_lost: int = 0
    ends_protocol_error: int = 0
    ends_subscription: int = 0
    ends_handshake: int = 0
    ends_rotation: int = 0
    ends_server_shutdown: int = 0
    ends_other: int = 0

    @property
    def ends(self) -> dict[EndClass, int]:
        """The counts by class."""
        return {kind: getattr(self, f"ends_{kind}") for kind in EndClass}


class StreamValues(NamedTuple):
    """One stream. `last_*` is received, `committed_*` can be seen by a query.

    The shard knows a stream's state only coarsely: STARTING until it has spoken, RECOVERING while its
    feed is not live, else LIVE. Whether it is silent is judged from outside, by the supervisor.
    """

    state: StreamState = StreamState.STARTING
    diagnosis: Diagnosis = Diagnosis.NONE
    feed: int = -1
    last_event_us: int = 0
    last_recv_ns: int = 0
    committed_event_us: int = 0
    committed_wall_ns: int = 0
    last_id: int = -1
    messages: int = 0
    duplicates: int = 0
    gaps_opened: int = 0
    refused_rows: int = 0
    reconnects: int = 0
    """Times that what it brought next need not follow what it brought last."""
    known_bids: int = -1
    """Levels of its book's sides that are known; -1 without a live book."""
    known_asks: int = -1
    unbroken_since_id: int = -1
    """From here on nothing was missed; ids are in the unit of the kind's gaps."""
    committed_id: int = -1
    """Up to here what was received is committed."""
    former_since_id: int = -1
    """From here up to the next nothing was missed, before the newest gap; -1 while there was none."""
    former_until_id: int = -1


class StreamSlot(NamedTuple):
    key: StreamKey
    values: StreamValues


@dataclass(frozen=True, slots=True)
class BoardSnapshot:
    """One shard's board as it was read, without its free slots; the others in their order."""

    identity: Identity
    heartbeat: Heartbeat
    header: HeaderValues
    feeds: tuple[FeedValues, ...]
    streams: tuple[StreamSlot, ...]

    @property
    def shard(self) -> int:
        return self.identity.shard


HEARTBEAT_AT = len(Identity._fields)
HEADER_VALUES_AT = HEARTBEAT_AT + len(Heartbeat._fields)
IDENTITY_BYTES = HEARTBEAT_AT * WORD_BYTES

# Reading may unpack: it works on a private copy that nobody writes any more.
_STREAM_SLOT = Struct(
    f"{KEY_BYTES}s{len(StreamValues._fields)}q"
    f"{(STREAM_WORDS - KEY_WORDS - len(StreamValues._fields)) * WORD_BYTES}x"
)

_FREE_KEY = bytes(WORD_BYTES)

_SHARD_STATES = {int(member): member for member in ShardState}
_FEED_STATES = {int(member): member for member in FeedState}
_STREAM_STATES = {int(member): member for member in StreamState}
_DIAGNOSES = {int(member): member for member in Diagnosis}


def board_words(*, streams: int, feeds: int) -> int:
    """Length of a board file in words."""
    return HEADER_WORDS + feeds * FEED_WORDS + streams * STREAM_WORDS


def feed_values_at(index: int) -> int:
    """First word of feed slot `index`."""
    return HEADER_WORDS + index * FEED_WORDS


def stream_slot_at(index: int, *, feeds: int) -> int:
    """First word of stream slot `index`: its key. The values begin `KEY_WORDS` later."""
    return HEADER_WORDS + feeds * FEED_WORDS + index * STREAM_WORDS


def pack_words(values: Iterable[int]) -> "array[int]":
    """The values as native words. OverflowError when one does not fit 64 bits."""
    return array("q", values)


def initial_words(
    keys: Sequence[StreamKey],
    *,
    shard: int,
    pid: int,
    feeds: Sequence[int],
    started_wall_ns: int,
    spare_streams: int = 0,
    spare_feeds: int = 0,
) -> "array[int]":
    """The whole board of a shard that has not done anything yet; the spare slots, at the ends, are free.

    BoardError when a key has no place.
    """
    n_streams, n_feeds = len(keys) + spare_streams, len(feeds) + spare_feeds
    words = array("q", bytes(board_words(streams=n_streams, feeds=n_feeds) * WORD_BYTES))
    _put(words, 0, Identity(MAGIC, LAYOUT_VERSION, shard, pid, n_streams, n_feeds, started_wall_ns))
    for index, feed in enumerate([*feeds, *[FREE_FEED] * spare_feeds]):
        _put(words, feed_values_at(index), FeedValues(feed=feed))
    for index, key in enumerate(keys):
        at = stream_slot_at(index, feeds=n_feeds)
        words[at : at + KEY_WORDS] = key_words(key)
        _put(words, at + KEY_WORDS, StreamValues())
    return words


def key_words(key: StreamKey) -> "array[int]":
    """A key as the words of its slot; the first of them is never zero. BoardError when it has no place."""
    return array("q", encode_key(key))


def _put(words: "array[int]", at: int, values: Sequence[int]) -> None:
    words[at : at + len(values)] = pack_words(values)


def encode_key(key: StreamKey) -> bytes:
    """`market:symbol:kind` in UTF-8, filled up with zero bytes to KEY_BYTES. BoardError when it cannot."""
    text = str(key)
    if text.count(":") != 2 or "\0" in text:
        raise BoardError(f"stream {text!r} has a colon or zero byte inside one of its parts")
    encoded = text.encode()
    if len(encoded) > KEY_BYTES:
        raise BoardError(f"stream {text!r} has {len(encoded)} bytes; the board has room for {KEY_BYTES}")
    return encoded.ljust(KEY_BYTES, b"\0")


# A board's keys stay as they are while its numbers change many times a second.
@lru_cache(maxsize=32_768)
def decode_key(raw: bytes) -> StreamKey:
    """Undo `encode_key`. ValueError when the text is not one of ours."""
    market, symbol, kind = raw.rstrip(b"\0").decode().split(":")
    return StreamKey(cast(Market, market), symbol, kind)


def decode_board(raw: bytes, *, name: str) -> BoardSnapshot:
    """Read a whole board file's bytes. BoardError names the file (`name`) and what is wrong with it."""
    identity = _identity(raw, name)
    words = memoryview(raw)[: feed_values_at(identity.n_feeds) * WORD_BYTES].cast("q").tolist()
    try:
        return BoardSnapshot(
            identity=identity,
            heartbeat=Heartbeat._make(words[HEARTBEAT_AT:HEADER_VALUES_AT]),
            header=_header(words),
            feeds=_feeds(words, identity),
            streams=_streams(raw, identity),
        )
    except (ValueError, KeyError) as error:
        raise BoardError(f"board {name} holds a value that this program does not know: {error}") from error


def _identity(raw: bytes, name: str) -> Identity:
    if len(raw) < IDENTITY_BYTES:
        raise BoardError(f"board {name} is truncated: {len(raw)} bytes")
    identity = Identity._make(memoryview(raw[:IDENTITY_BYTES]).cast("q"))
    if identity.magic == int.from_bytes(MAGIC.to_bytes(8, "big"), "little"):
        raise BoardError(f"board {name} was written by a machine of the other byte order")
    if identity.magic != MAGIC:
        raise BoardError(f"{name} is not a freshness board")
    if identity.layout_version != LAYOUT_VERSION:
        raise BoardError(
            f"board {name} has layout version {identity.layout_version}, this program reads {LAYOUT_VERSION}"
        )
    _check_size(raw, identity, name)
    return identity


def _check_size(raw: bytes, identity: Identity, name: str) -> None:
    if identity.n_streams < 0 or identity.n_feeds < 0:
        raise BoardError(f"board {name} names {identity.n_streams} streams and {identity.n_feeds} feeds")
    wanted = board_words(streams=identity.n_streams, feeds=identity.n_feeds) * WORD_BYTES
    if len(raw) != wanted:
        raise BoardError(f"board {name} has {len(raw)} bytes, its header promises {wanted}")


def _header(words: list[int]) -> HeaderValues:
    state, *rest = words[HEADER_VALUES_AT : HEADER_VALUES_AT + len(HeaderValues._fields)]
    return HeaderValues(_SHARD_STATES[state], *rest)


def _feeds(words: list[int], identity: Identity) -> tuple[FeedValues, ...]:
    slots = (words[at : at + len(FeedValues._fields)] for at in map(feed_values_at, range(identity.n_feeds)))
    return tuple(
        FeedValues(feed, _FEED_STATES[state], *rest) for feed, state, *rest in slots if feed != FREE_FEED
    )


def _streams(raw: bytes, identity: Identity) -> tuple[StreamSlot, ...]:
    slots = memoryview(raw)[stream_slot_at(0, feeds=identity.n_feeds) * WORD_BYTES :]
    return tuple(
        StreamSlot(decode_key(key), StreamValues(_STREAM_STATES[state], _DIAGNOSES[diagnosis], *rest))
        for key, state, diagnosis, *rest in _STREAM_SLOT.iter_unpack(slots)
        if key[:WORD_BYTES] != _FREE_KEY
    )
