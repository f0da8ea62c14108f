"""What a peer's program is told, and how it is watched: it counts here, and the runner asks over pipes.

The runner writes `expect N` before it has N messages sent, `read` as often as it likes, and closes our
standard input when it is over; every line is answered by one line of JSON on standard output. The mark of
time and CPU is set when the last expected message (for a row that stores: row) is counted, else at the
last `read` that saw progress, so that waiting for what never comes costs nothing.
"""

import json
import os
import resource
import sys
import threading
import time
from typing import NamedTuple, TextIO


class Job(NamedTuple):
    """`kinds` are of trade, book_ticker and depth; `symbols` are upper case; `store` is the row's way."""

    ws_url: str
    rest_url: str
    symbols: list[str]
    kinds: list[str]
    store: str
    database: dict[str, str]
    """host, port, user and database, all text."""

    def streams(self) -> list[str]:
        """Names as Binance has them."""
        suffixes = {"trade": "trade", "book_ticker": "bookTicker", "depth": "depth@100ms"}
        return [f"{symbol.lower()}@{suffixes[kind]}" for symbol in self.symbols for kind in self.kinds]


class Meter:
    """Counts of one phase. Counting belongs to one thread; the runner is answered by another."""

    def __init__(self, *, stores: bool) -> None:
        self._stores = stores
        self._received = self._stored = 0
        self._expected = sys.maxsize
        self._seen = -1
        self._mark = (0.0, 0.0)
        self._done = False

    def received(self, number: int = 1) -> None:
        """So many messages have reached the user's code."""
        self._received += number
        if self._received >= self._expected and not self._stores:
            self._finish()

    def stored(self, number: int) -> None:
        """So many rows have been acknowledged by the database."""
        self._stored += number
        if self._stored >= self._expected:
            self._finish()

    @property
    def all_received(self) -> bool:
        """Whether no more will come in this phase: time to write what is left."""
        return self._received >= self._expected

    def _finish(self) -> None:
        if not self._done:
            self._mark = _now()
            self._done = True

    def answer_runner(self, out: TextIO) -> None:
        """Until standard input ends, which ends the process."""
        for line in sys.stdin:
            words = line.split()
            if words[0] == "expect":
                self._begin(int(words[1]))
            print(json.dumps(self._read()), file=out, flush=True)
        os._exit(0)  # libraries have threads that would go on for ever

    def _begin(self, expected: int) -> None:
        self._received = self._stored = 0
        self._seen, self._done = 0, False
        self._mark = _now()
        self._expected = expected

    def _read(self) -> dict[str, object]:
        counted = self._received + self._stored
        if counted != self._seen and not self._done:
            self._seen, self._mark = counted, _now()
        return {
            "received": self._received,
            "stored": self._stored,
            "done": self._done,
            "cpu_s": self._mark[0],
            "wall_s": self._mark[1],
            "used_s": _now()[0],
        }


def _now() -> tuple[float, float]:
    """CPU so far, children that have ended included, and a clock that does not jump."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used), time.perf_counter()


def start() -> tuple[Job, Meter]:
    """The job in the first argument, and a meter that answers the runner. Prints go to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = Job(**json.loads(sys.argv[1]))
    meter = Meter(stores=job.store != "nothing")
    threading.Thread(target=meter.answer_runner, args=(out,), daemon=True).start()
    return job, meter
