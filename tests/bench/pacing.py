"""When what is due: a lap of frames cut into ticks of equal length, and how far along a schedule is.

Pure: the time is handed in.

Invariants: every frame of a lap belongs to exactly one tick, in order; as many ticks a second are due as the
rate says, however many laps it takes; a schedule that was late is not made up for by sending faster than
`burst` ticks at a time.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

TICK_S: Final = 0.005
"""A few milliseconds' worth of frames are patched and sent at once."""


@dataclass(frozen=True)
class Pace:
    """A lap of `frames` frames at `rate` a second."""

    frames: int
    rate: float
    tick_s: float = TICK_S

    def __post_init__(self) -> None:
        if self.frames < 1 or not self.rate > 0:
            raise ValueError(f"nothing to pace: {self.frames} frames at {self.rate:g} a second")

    @property
    def ticks(self) -> int:
        """Of one lap: about `tick_s` each, never more than one for each frame."""
        return min(self.frames, max(1, round(self.lap_s / self.tick_s)))

    @property
    def lap_s(self) -> float:
        return self.frames / self.rate

    def bounds(self) -> NDArray[np.int64]:
        """Where ticks begin: tick `k` of a lap is frames `bounds[k]` up to before `bounds[k + 1]`."""
        return np.arange(self.ticks + 1, dtype=np.int64) * self.frames // self.ticks

    def due(self, elapsed_s: float) -> int:
        """Ticks of all laps that are to be sent by then; the first one at once."""
        return math.floor(elapsed_s * self.ticks / self.lap_s) + 1

    def due_s(self, tick: int) -> float:
        """When a tick, counted through all laps, is to be sent."""
        return tick * self.lap_s / self.ticks
