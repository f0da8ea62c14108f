"""`ingest.supervisor.service`: what can be asked of a supervisor that has not begun."""

import random
from dataclasses import dataclass

from ingest.config import Settings
from ingest.supervisor.service import Supervisor


@dataclass
class SetClock:
    now_s: float = 1_000.0

    def wall_ns(self) -> int:
        return int(self.now_s * 1e9)

    def monotonic_s(self) -> float:
        return self.now_s


def test_rows_that_were_just_made_are_not_made_again() -> None:
    """Whoever looks at them a moment later gets the same ones; later, those of then."""
    clock = SetClock()
    supervisor = Supervisor(Settings(), clock=clock, rng=random.Random(1))
    made = supervisor.judge()
    clock.now_s += 1
    just_after = supervisor.newest_judged()
    clock.now_s += 1
    later = supervisor.newest_judged()

    assert just_after is made
    assert later.facts.now_monotonic_ns == 1_002_000_000_000
    assert supervisor.newest_judged() is later
