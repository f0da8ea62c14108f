"""A made-up service for the page: boards, vigil and an hour of history as a real one has them, in any
trouble.

Time is real, so that ages grow while a browser looks; everything else is computed from the streams' numbers.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from ingest.board.layout import (
    LAYOUT_VERSION,
    MAGIC,
    BoardSnapshot,
    Diagnosis,
    FeedState,
    FeedValues,
    HeaderValues,
    Heartbeat,
    Identity,
    ShardState,
    StreamSlot,
    StreamState,
    StreamValues,
)
from ingest.clock import SystemClock
from ingest.events import StreamKey
from ingest.ops.access import Access
from ingest.ops.http import HttpSources
from ingest.ops.live import LiveLimits
from ingest.ops.page_history import SAMPLE_EVERY_S, SAMPLES, History, Sample
from ingest.ops.page_records import IncidentRecord, PageRecords
from ingest.ops.vigil_facts import AlertCounts, Filling, VigilFacts
from ingest.store.ledger import OpenGap
from ingest.supervisor.freshness import Judgement, ServiceFacts, ShardFacts
from ingest.supervisor.storage import StorageFacts

KINDS = ("trade", "book_ticker", "depth", "kline_1m", "mini_ticker")
SHARDS = 2
PER_FEED = 200
UP_S = 3 * 3_600.0
DOWN_S = 45.0
"""For how long the database is down, where it is."""
S = 1_000_000_000
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_KNOWN = (
    "BTC ETH BNB SOL XRP ADA DOGE AVAX DOT LINK TRX LTC BCH UNI ATOM XLM ETC FIL NEAR APT ARB OP INJ SUI SEI "
    "TIA ICP AAVE ALGO AXS CHZ COMP CRV DASH DYDX EGLD ENJ EOS FET FLOW GALA GRT HBAR IMX KSM LDO MANA MKR "
    "NEO PEPE QNT RUNE SAND SHIB SNX THETA VET XTZ ZEC ZIL"
).split()


def symbol_of(number: int) -> str:
    """The first ones have known names."""
    if number < len(_KNOWN):
        return f"{_KNOWN[number]}USDT"
    return "Q" + "".join(_LETTERS[number // 26**place % 26] for place in (0, 1, 2)) + "USDT"


@dataclass
class Stage:
    """`stale` names streams, `database_is_down` and `quarantined` are what they say."""

    symbols: int = 60
    stale: tuple[StreamKey, ...] = ()
    database_is_down: bool = False
    quarantined: bool = False
    extra: tuple[StreamKey, ...] = ()
    looks: int = 0
    """How often it was asked for its facts."""
    history: History = field(default_factory=History)
    clock: SystemClock = field(default_factory=SystemClock)

    @property
    def keys(self) -> list[StreamKey]:
        """All streams."""
        symbols = map(symbol_of, range(self.symbols))
        return [StreamKey("spot", symbol, kind) for symbol in symbols for kind in KINDS] + list(self.extra)

    def sources(self, *, access: Access | None = None, live: LiveLimits | None = None) -> HttpSources:
        """What the application is made of."""
        return HttpSources(
            facts=self.facts,
            tick_age_s=lambda: 0.1,
            vigil=self.vigil,
            records=self.records,
            history=self.history,
            access=access or Access(),
            live=live or LiveLimits(),
        )

    # ------------------------------------------------------------------ facts

    def facts(self) -> ServiceFacts:
        """As the supervisor would tell them now."""
        self.looks += 1
        now_ns, keys = self.clock.wall_ns(), self.keys
        places = dict(enumerate(keys))
        carried = 1 if self.quarantined else SHARDS
        shares = [[place for place in places if place % carried == shard] for shard in range(SHARDS)]
        return ServiceFacts(
            now_wall_ns=now_ns,
            now_monotonic_ns=int(self.clock.monotonic_s() * S),
            shards=tuple(self._shard(shard, share, now_ns) for shard, share in enumerate(shares)),
            schema_checked=True,
            open_gaps={key: 1 + place % 2 for place, key in enumerate(keys[:40:13])},
            judgements={key: self._judgement(place, key) for place, key in places.items()},
        )

    def _shard(self, shard: int, share: list[int], now_ns: int) -> ShardFacts:
        keys = self.keys
        is_away = self.quarantined and shard == 1
        return ShardFacts(
            shard=shard,
            running=not is_away,
            started_wall_ns=now_ns - int(UP_S * S),
            planned=tuple(keys[place] for place in share),
            restarts=6 if is_away else 0,
            crash_looping=is_away,
            pid=None if is_away else 4_000 + shard,
            board=None if is_away else self._board(shard, share, now_ns),
        )

    def _board(self, shard: int, share: list[int], now_ns: int) -> BoardSnapshot:
        feeds = math.ceil(len(share) / PER_FEED)
        beat_ns = int(0.2 * S)
        return BoardSnapshot(
            identity=Identity(
                MAGIC, LAYOUT_VERSION, shard, 4_000 + shard, len(share), feeds, now_ns - int(UP_S * S)
            ),
            heartbeat=Heartbeat(int(self.clock.monotonic_s() * S) - beat_ns, now_ns - beat_ns, 400),
            header=self._header(now_ns),
            feeds=tuple(self._feed(10 * shard + number, now_ns) for number in range(feeds)),
            streams=tuple(self._slots(shard, share, now_ns)),
        )

    def _header(self, now_ns: int) -> HeaderValues:
        up_s, down = self.clock.monotonic_s(), self.database_is_down
        return HeaderValues(
            ShardState.RUNNING,
            loop_lag_max_us=2_300,
            frames=int(up_s * 1_500),
            rows_committed=int(up_s * 1_400) if not down else 9_000_000,
            buffered_rows=81_000 if down else 340,
            oldest_buffered_recv_ns=now_ns - int((DOWN_S if down else 0.15) * S),
            spooled_rows=420_000 if down else 0,
            commit_latency_p50_us=110_000,
            commit_latency_p99_us=240_000,
            books_live=30,
            books_wanted=30,
            repairs_waiting=2,
            repaired_rows=18_211,
            repairs_closed=14,
            database_up=int(not down),
        )

    @staticmethod
    def _feed(number: int, now_ns: int) -> FeedValues:
        return FeedValues(
            feed=number,
            state=FeedState.LIVE,
            connected_wall_ns=now_ns - int((UP_S - 600 * (number % 3)) * S),
            last_data_ns=now_ns - int(0.05 * S),
            last_ping_ns=now_ns - int(12 * S),
            messages=1_200_000 + number,
            reconnects=number % 3,
            ends_rotation=int(number % 3 > 0),
            ends_connection_lost=int(number % 3 > 1),
            streams=PER_FEED,
            sessions=1,
            close_code=1006 if number % 3 > 1 else 0,
        )

    def _slots(self, shard: int, share: list[int], now_ns: int) -> Iterator[StreamSlot]:
        keys = self.keys
        for turn, place in enumerate(share):
            seen_ns = now_ns - int(self._age_s(place, keys[place]) * S)
            stored_ns = min(seen_ns, now_ns - int(DOWN_S * S)) if self.database_is_down else seen_ns
            yield StreamSlot(
                keys[place],
                StreamValues(
                    state=StreamState.LIVE,
                    feed=10 * shard + turn // PER_FEED,
                    last_event_us=seen_ns // 1_000,
                    last_recv_ns=seen_ns,
                    committed_event_us=stored_ns // 1_000,
                    committed_wall_ns=stored_ns,
                ),
            )

    def _age_s(self, place: int, key: StreamKey) -> float:
        """A stream speaks every so often; how often depends on its place."""
        if key in self.stale:
            return 95.0
        if place % 41 == 7:
            return 1_900.0
        every_s = 0.4 + (place * 7919 % 97) / 7
        return (self.clock.monotonic_s() + place) % every_s

    def _judgement(self, place: int, key: StreamKey) -> Judgement:
        every_s = 0.4 + (place * 7919 % 97) / 7
        threshold_s = max(5.0, 1.6 * every_s)
        if key in self.stale:
            return Judgement(StreamState.STALE, Diagnosis.STREAM_SILENT, 8.0, None, 214)
        if place % 41 == 7:
            quiet_us = self.clock.wall_ns() // 1_000 - 30_000_000
            return Judgement(StreamState.QUIET, Diagnosis.NONE, 60.0, quiet_us, 0)
        return Judgement(StreamState.LIVE, Diagnosis.NONE, threshold_s, None, None)

    # ------------------------------------------------------------------ what stands beside

    def vigil(self) -> VigilFacts:
        """A vigil that has seen a day."""
        return VigilFacts(
            sweep_age_s=21.0,
            exchange_answers=True,
            clock_offset_s=0.012,
            budgets={
                "connects": Filling(4, 270),
                "weight": Filling(4_420, 5_100),
                "requests": Filling(96, 54_000),
            },
            table_age_s=DOWN_S if self.database_is_down else 0.6,
            alerts=AlertCounts(standing=int(bool(self.stale))),
            storage=StorageFacts(free_bytes={"database": 61_000_000_000, "spool": 61_000_000_000}),
        )

    def records(self) -> PageRecords:
        """Three gaps, and the incidents that go with the trouble."""
        now_us = self.clock.wall_ns() // 1_000
        gaps = (
            OpenGap(StreamKey("spot", "BTCUSDT", "trade"), 100, 311, "disconnect", now_us - 640_000_000),
            OpenGap(StreamKey("spot", "SOLUSDT", "depth"), 7, 30, "sequence", now_us - 95_000_000),
            OpenGap(StreamKey("spot", "ETHUSDT", "kline_1m"), 1, 60_000, "restart", now_us - 4_000_000),
        )
        return PageRecords(incidents=tuple(self._incidents()), gaps=gaps)

    def _incidents(self) -> Iterator[IncidentRecord]:
        for key in self.stale:
            said = "others of its feed speak; the exchange has newer trades"
            tried = ("step resubscribe", "step replace_feed")
            yield IncidentRecord(9, str(key), "stream_silent", said, "replace_feed", 1, 80.0, None, tried)
        if self.database_is_down:
            said = "shards that cannot commit, or wait for it to begin: 0, 1"
            yield IncidentRecord(
                8, "database", "database_stalled", said, "alert", 0, DOWN_S, None, ("step alert",)
            )
        if self.quarantined:
            said = "shard 1 was restarted 6 times and ends again and again"
            yield IncidentRecord(7, "shard 1", "shard_wedged", said, "alert", 0, 70.0, None, ("step alert",))
        said = "no ping for 47 s"
        story = ("step replace_feed",)
        yield IncidentRecord(3, "feed 11", "half_open", said, "replace_feed", 200, 5_000.0, 4_980.0, story)

    def remember_hour(self) -> None:
        """Fill the history with an hour that had a wave and a gap of a minute."""
        now_ms, rng = self.clock.wall_ns() // 1_000_000, random.Random(7)
        for turn in range(SAMPLES):
            left_s = (SAMPLES - turn) * SAMPLE_EVERY_S
            if 1_200 < left_s < 1_260:
                continue
            wave = (
                1 + 0.25 * math.sin(turn / 90) + 0.08 * rng.gauss(0, 1) + (0.8 if rng.random() < 0.01 else 0)
            )
            down = self.database_is_down and left_s < DOWN_S
            latency = None if down else 105 + 12 * rng.random()
            self.history.samples.append(
                Sample(
                    at_ms=now_ms - int(left_s * 1_000),
                    messages_per_s=3_000 * wave,
                    rows_per_s=0.0 if down else 2_800 * wave,
                    commit_p50_ms=latency,
                    commit_p99_ms=None if latency is None else latency * 1.9 + 25 * rng.expovariate(1),
                    loop_lag_ms=1.2 + rng.expovariate(1.5),
                    waiting_s=DOWN_S - left_s if down else max(0.02, rng.gauss(0.12, 0.02)),
                )
            )
        self.history.taken = len(self.history.samples)
