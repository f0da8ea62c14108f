"""The double and the service, running, with an observer beside them, and what scenarios need to reach into.

Thresholds are fixed here, stream by stream, from the rates that the double shows before the service
starts: what a service would learn in its first hours, without waiting for hours. A stream is called busy
when its threshold is the shortest one, `BUSY_S`.
"""

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ingest.clock import SystemClock
from ingest.store.embedded import EmbeddedPostgres
from tests.silence.observer import Key, Observer, Seen
from tests.silence.tampering import Tampering
from tests.simulation.service import Double, Service, a_double, wait_until

KINDS = ("trade", "agg_trade", "book_ticker", "depth")
BUSY_S = 5.0
SWEEP_S = 20.0
LISTING_S = 10.0
_WARM_UP_S = 15.0
_GAPS_OF_THRESHOLD = 18.0
"""Mean gaps in a threshold: a gap of a random stream is longer than that once in e^18."""
_TAKING = 0.3
"""Of the double's orders, those that trade."""
_SETTLED_STATES = frozenset({"live", "quiet", "halted"})
_REPOSITORY = Path(__file__).parents[2]


class Incident(NamedTuple):
    """A row of ops.incidents."""

    number: int
    streams: frozenset[str]
    diagnosis: str
    evidence: str
    story: tuple[str, ...]
    is_closed: bool
    lasted_s: float | None

    @property
    def steps(self) -> list[str]:
        """Of the ladder, in order."""
        return [line.partition(" step ")[2] for line in self.story if " step " in line]


class Line(NamedTuple):
    """One line of the service's log; `at_s` is monotonic."""

    at_s: float
    event: str
    fields: Mapping[str, Any]


class Stage:
    """What a scenario plays on."""

    def __init__(
        self,
        double: Double,
        service: Service,
        observer: Observer,
        tampering: Tampering,
        thresholds: Mapping[Key, float],
    ) -> None:
        self.double = double
        self.service = service
        self.observer = observer
        self.tampering = tampering
        self.thresholds = thresholds
        self._lines: list[Line] = []
        self._offset = 0
        self._spent: set[str] = set()
        self._feeds_spent: set[int] = set()

    # ------------------------------------------------------------------ who is there

    @property
    def streams(self) -> Mapping[Key, Seen]:
        return self.observer.streams

    def busy_symbol(self) -> str:
        """A symbol that no scenario has had yet, all of whose streams are busy."""
        symbols = {key.symbol for key in self.streams} - self._spent
        busy = sorted(
            (symbol for symbol in symbols if all(self.is_busy(Key(symbol, kind)) for kind in KINDS)),
            key=self.double_rate,
        )
        symbol = busy[len(busy) // 2]
        self._spent.add(symbol)
        return symbol

    def double_rate(self, symbol: str) -> float:
        return 1.0 / self.thresholds.get(Key(symbol, "trade"), math.inf)

    def is_busy(self, key: Key) -> bool:
        return self.thresholds.get(key, math.inf) <= BUSY_S

    def of_symbol(self, symbol: str) -> set[Key]:
        return {key for key in self.streams if key.symbol == symbol}

    def of_feed(self, feed: int) -> set[Key]:
        return {key for key, seen in self.streams.items() if seen.feed == feed}

    def of_shard(self, shard: int) -> set[Key]:
        return {key for key, seen in self.streams.items() if seen.shard == shard}

    def a_feed(self) -> int:
        """A feed that no scenario has had yet, if there is one."""
        feeds = sorted({seen.feed for seen in self.streams.values() if seen.feed >= 0})
        feed = next((feed for feed in feeds if feed not in self._feeds_spent), feeds[0])
        self._feeds_spent.add(feed)
        return feed

    def connection_of(self, feed: int) -> int:
        """The double's number of the connection that carries a feed."""
        key = next(key for key in sorted(self.of_feed(feed)) if key.kind == "trade")
        name = f"{key.symbol.lower()}@trade"
        return max(
            int(each["number"])
            for each in self.double.state()["connections"]
            if name in each["streams"] and not each["closing"]
        )

    def shard_pid(self, shard: int) -> int:
        """The newest process of a shard."""
        started = [line for line in self.lines("shard.started") if line.fields["shard"] == shard]
        return int(started[-1].fields["pid"])

    def database_pids(self) -> list[int]:
        """The embedded server's first process, and then its children."""
        first = self.service.database_pid()
        assert first is not None
        return [first, *_children(first)]

    # ------------------------------------------------------------------ what has happened

    def lines(self, *events: str, since_s: float = 0.0) -> list[Line]:
        """The log's lines of these events."""
        self._read_log()
        return [line for line in self._lines if line.event in events and line.at_s >= since_s]

    def all_lines(self, since_s: float) -> list[Line]:
        """Every line of the log since then."""
        self._read_log()
        return [line for line in self._lines if line.at_s >= since_s]

    def metric(self, name: str) -> float:
        """The value of a metric without labels; NaN when it is not exported."""
        lines = self.service.http("/metrics")[1].decode().splitlines()
        values = (line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} "))
        return float(next(values, "nan"))

    def alerts(self, since_s: float) -> list[str]:
        """Subjects of what people would have been told."""
        self._read_log()
        told = (line for line in self._lines if line.event.startswith("alert.") and line.at_s >= since_s)
        return [str(line.fields.get("subject", "")) for line in told]

    def _read_log(self) -> None:
        behind_s = wall_s() - time.monotonic()
        found, self._offset = self.service.log_objects(self._offset)
        for fields in found:
            at = datetime.fromisoformat(fields["timestamp"]).timestamp()
            self._lines.append(Line(at - behind_s, fields["event"], fields))

    def incidents(self, after: int) -> list[Incident]:
        """Those with a higher number, oldest first. ConnectionError while the database is away."""
        rows = self.service.rows(
            "SELECT split_part(incident, '-', 2)::int AS number, streams, diagnosis, evidence, story,"
            " closed_at IS NOT NULL AS is_closed,"
            " extract(epoch FROM closed_at - opened_at)::float8 AS lasted_s"
            " FROM ops.incidents WHERE split_part(incident, '-', 2)::int > $1 ORDER BY 1",
            after,
        )
        return [
            Incident(
                row["number"],
                frozenset(stream.partition(":")[2] for stream in row["streams"]),
                row["diagnosis"],
                row["evidence"],
                tuple(row["story"]),
                row["is_closed"],
                row["lasted_s"],
            )
            for row in rows
        ]

    def last_incident(self) -> int:
        """The highest number that the log has named."""
        numbers = [int(line.fields["incident"]) for line in self.lines("incident.opened")]
        return max(numbers, default=0)

    def open_incidents(self) -> set[int]:
        """By the log, because the database may be away."""
        opened = {int(line.fields["incident"]) for line in self.lines("incident.opened")}
        return opened - {int(line.fields["incident"]) for line in self.lines("incident.closed")}

    def is_settled(self) -> bool:
        """Every stream is well, nothing is under repair, and the table is being written."""
        streams = self.streams.values()
        return (
            time.monotonic() - self.observer.seen_s < 2.0
            and bool(streams)
            and all(seen.state in _SETTLED_STATES and seen.table_age_s < 5.0 for seen in streams)
            and not self.open_incidents()
        )


@contextlib.contextmanager
def a_stage(folder: Path, *, symbols: int, rate: float, seed: int) -> Iterator[Stage]:
    """Everything started and settled; nothing is left running."""
    options = (
        *("--no-recording", "--symbols", str(symbols), "--rate", str(rate), "--seed", str(seed)),
        *("--non-ascii", "1", "--ping-interval", "5"),
    )
    with a_double(folder, *options) as double:
        thresholds = thresholds_of(double)
        tampering = Tampering(folder)
        service = Service(folder, double, **sections_for(thresholds))
        try:
            service.start(**tampering.variables(_REPOSITORY))
            service.wait_ready()
            with Observer(service.data_dir) as observer:
                stage = Stage(double, service, observer, tampering, thresholds)
                service.wait_books_live()
                wait_until("every stream is live", lambda: _all_live(stage), deadline_s=180.0)
                yield stage
        finally:
            thaw(_children(service.process.pid) if service.process else ())
            thaw(_database_pids(service))
            service.end()


def wall_s() -> float:
    """Seconds since the epoch, by a clock that nobody tampers with."""
    return SystemClock().wall_ns() / 1e9


def thaw(pids: Sequence[int]) -> None:
    """Let stopped processes go on."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _all_live(stage: Stage) -> bool:
    streams = stage.streams.values()
    return bool(streams) and all(seen.state in {"live", "quiet"} for seen in streams)


def thresholds_of(double: Double) -> dict[Key, float]:
    """Watch the double for a while; slow streams get as many of their own gaps as busy ones."""
    time.sleep(_WARM_UP_S)
    orders = double.happened("book_ticker")
    return {
        Key(symbol, kind): _threshold_s(count * (_TAKING if "trade" in kind else 1.0))
        for symbol, count in orders.items()
        for kind in KINDS
    }


def _threshold_s(count: float) -> float:
    surely = max(count - 1.5 * math.sqrt(count), 0.3 * count, 0.5)
    return max(BUSY_S, round(_GAPS_OF_THRESHOLD * _WARM_UP_S / surely, 1))


def sections_for(thresholds: Mapping[Key, float]) -> dict[str, dict[str, object]]:
    """Configuration of the service."""
    slow = {f'"{key}"': threshold_s for key, threshold_s in thresholds.items() if threshold_s > BUSY_S}
    return {
        "service": {"shards": 2},
        # 200 books at a thousand levels would take two minutes of request weight, each time.
        "spot": {"symbols": "*", "kinds": list(KINDS), "streams_per_feed": 100, "snapshot_limit": 100},
        "silence": {
            "sweep_every_s": SWEEP_S,
            "listing_every_s": LISTING_S,
            "fixed_s": {**dict.fromkeys(KINDS, BUSY_S), **slow},
        },
    }


def _children(pid: int) -> list[int]:
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
                children.append(int(stat.parent.name))
    return children


def _database_pids(service: Service) -> list[int]:
    first = service.database_pid()
    running = EmbeddedPostgres(service.data_dir / "postgres").url_of_running() is not None
    return [first, *_children(first)] if first is not None and running else []
