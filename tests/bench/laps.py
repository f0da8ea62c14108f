"""Frames made once and sent lap after lap: with each lap ids go on, and times are the moment of sending.

Pure. A `Strip` is the frames in their order, with the places of all ids and times in them. A `Reel` is a
strip laid out for the wire: by tick, in a tick by lane (who reads it), and there in order; so that what one
lane is sent in a tick is one stretch of bytes, and a tick is patched in place by a few operations on arrays.

A frame's number counts through all laps: number `n` is frame `n % len(strip)` in lap `n // len(strip)`. The
number of the next frame is all the state there is: a strip may be laid out anew between any two ticks.

Invariants: ids have twelve digits and times thirteen, in every lap; per stream, a lap's first id follows the
last id of the lap before.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.bench.pacing import Pace

IDS_FROM: Final = 10**11
"""Ids of a market from here on have `ID_DIGITS` digits, for some ten milliard frames at least."""
ID_DIGITS: Final = 12
TIME_DIGITS: Final = 13
NO_LANE: Final = -1
"""Of a stream that nobody has asked for: it happens all the same."""

_NUMBER: Final = re.compile(rb'"([ETtaflUu])":(\d+)')
_TIMES: Final = frozenset(b"ET")
_GROUP_DIGITS: Final = 4
_GROUP: Final = 10**_GROUP_DIGITS

_FOUR_DIGITS: Final = np.array([b"%04d" % number for number in range(_GROUP)]).view("V4")
"""The text of every number of four digits."""

Ints = NDArray[np.int64]


class Piece(NamedTuple):
    """What one lane is sent in one tick: bytes of the reel's buffer."""

    lane: int
    start: int
    end: int


class _Numbers(NamedTuple):
    """Places of numbers: the frame, the offset in it, and what stands there in the first lap."""

    frame: Ints
    offset: Ints
    value: Ints

    @classmethod
    def of(cls, found: Sequence[tuple[int, int, int]]) -> "_Numbers":
        columns = np.array(found, dtype=np.int64).reshape(-1, 3).T
        return cls(columns[0].copy(), columns[1].copy(), columns[2].copy())


class Strip:
    """`frames` are the name of a stream and the whole frame, in the order of sending. Raises ValueError."""

    def __init__(self, frames: Sequence[tuple[str, bytes]]) -> None:
        names = dict.fromkeys(name for name, _ in frames)
        self.streams: Mapping[str, int] = {name: number for number, name in enumerate(names)}
        self.frames = [frame for _, frame in frames]
        self.stream_of: Ints = np.array([self.streams[name] for name, _ in frames], dtype=np.int64)
        self.sizes: Ints = np.array([len(frame) for frame in self.frames], dtype=np.int64)
        self.ids, self.times = _numbers_in(self.frames)
        owner = self.stream_of[self.ids.frame]
        self.first_id, self.last_id = _extent(owner, self.ids.value, len(names))
        self.step: Ints = self.last_id - self.first_id + 1
        """By how much the ids of a stream go on with each lap."""
        order = np.argsort(self.stream_of, kind="stable")
        self._frames_by_stream = np.split(order, np.cumsum(np.bincount(self.stream_of))[:-1])
        highest = int((self.last_id + 1_000 * self.step).max())
        if len(str(highest)) != ID_DIGITS:
            raise ValueError(f"ids need more than {ID_DIGITS} digits before a thousand laps are over")

    def __len__(self) -> int:
        return len(self.frames)

    def frames_of(self, name: str) -> Ints:
        """The frames of a stream, ascending; none for a stream that is not on the strip."""
        number = self.streams.get(name)
        return np.empty(0, dtype=np.int64) if number is None else self._frames_by_stream[number]

    def happened(self, name: str, number: int) -> int:
        """How many frames of a stream were sent when the next frame has this number."""
        laps, rest = divmod(number, len(self))
        frames = self.frames_of(name)
        return laps * len(frames) + int(np.searchsorted(frames, rest))

    def last_id_at(self, name: str, number: int) -> int:
        """The id that the newest frame of a stream has ended with; before the first one the id before it."""
        frames, stream = self.frames_of(name), self.streams[name]
        laps, rest = divmod(self.happened(name, number), len(frames))
        if not rest:
            return int(self.first_id[stream] - 1 + laps * self.step[stream])
        at = np.searchsorted(self.ids.frame, frames[rest - 1], side="right") - 1
        return int(self.ids.value[at] + laps * self.step[stream])


def _numbers_in(frames: Sequence[bytes]) -> tuple[_Numbers, _Numbers]:
    ids: list[tuple[int, int, int]] = []
    times: list[tuple[int, int, int]] = []
    for number, frame in enumerate(frames):
        for match in _NUMBER.finditer(frame):
            found, wanted = (times, TIME_DIGITS) if match[1][0] in _TIMES else (ids, ID_DIGITS)
            if len(match[2]) != wanted:
                raise ValueError(f"not {wanted} digits: {match[0].decode()} in {frame[:200]!r}")
            found.append((number, match.start(2), int(match[2])))
    return _Numbers.of(ids), _Numbers.of(times)


def _extent(owner: Ints, values: Ints, streams: int) -> tuple[Ints, Ints]:
    """The lowest and the highest of the values of each owner."""
    low = np.full(streams, np.iinfo(np.int64).max)
    high = np.zeros(streams, dtype=np.int64)
    np.minimum.at(low, owner, values)
    np.maximum.at(high, owner, values)
    return low, high


class _Layout(NamedTuple):
    """Where the frames of a strip lie on a reel. `order` and `lane` are by place, the others by frame."""

    order: Ints
    lane: Ints
    place: Ints
    lap: Ints

    @classmethod
    def of(cls, strip: Strip, lanes: Mapping[str, int], bounds: Ints, number: int) -> "_Layout":
        size = len(strip)
        lap_of_turn, frame_of_turn = np.divmod(number + np.arange(size), size)
        lane_of_stream = np.array([lanes.get(name, NO_LANE) for name in strip.streams], dtype=np.int64)
        lane = lane_of_stream[strip.stream_of[frame_of_turn]]
        tick = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        turn = np.lexsort((lane, tick))  # stable, so that each lane keeps the order of its frames
        order = frame_of_turn[turn]
        place, lap = np.empty((2, size), dtype=np.int64)
        place[order], lap[order] = np.arange(size), lap_of_turn[turn]
        return cls(order, lane[turn], place, lap)


class _Marks:
    """Numbers of one kind on a reel, in the order of their places, and which belong to a tick."""

    def __init__(self, numbers: _Numbers, layout: _Layout, starts: Ints, bounds: Ints) -> None:
        place = layout.place[numbers.frame]
        self.sorting = np.argsort(place, kind="stable")
        self.at: Ints = (starts[place] + numbers.offset)[self.sorting]
        self._bounds: Sequence[int] = np.searchsorted(place[self.sorting], bounds).tolist()

    def of(self, tick: int) -> slice:
        """Which of them are in a tick."""
        return slice(self._bounds[tick], self._bounds[tick + 1])


class Reel:
    """A strip from frame `number` on, in ticks; `lanes` says who reads a stream, by its name.

    `patch` a tick, then send its `pieces`; the ticks of a lap in their order, laps one after another.
    """

    def __init__(self, strip: Strip, lanes: Mapping[str, int], pace: Pace, *, number: int = 0) -> None:
        if pace.frames != len(strip):
            raise ValueError(f"a pace for {pace.frames} frames, a strip of {len(strip)}")
        bounds = pace.bounds()
        layout = _Layout.of(strip, lanes, bounds, number)
        starts = np.concatenate(([0], np.cumsum(strip.sizes[layout.order])))
        buffer = bytearray().join([strip.frames[frame] for frame in layout.order.tolist()])
        self.view = memoryview(buffer)
        self._number, self._lap = number, len(strip)
        self._bounds: Sequence[int] = bounds.tolist()
        self._pieces = [list(_pieces(layout.lane, starts, *ends)) for ends in pairwise(self._bounds)]
        self._ids, self._times = (
            _Marks(numbers, layout, starts, bounds) for numbers in (strip.ids, strip.times)
        )
        step = strip.step[strip.stream_of[strip.ids.frame]]
        value = strip.ids.value + layout.lap[strip.ids.frame] * step
        self._value, self._step = value[self._ids.sorting], step[self._ids.sorting]
        self._fours, self._thirteens = _windows(buffer, _GROUP_DIGITS), _windows(buffer, TIME_DIGITS)

    @property
    def ticks(self) -> int:
        """Of one lap."""
        return len(self._pieces)

    def number_at(self, turn: int) -> int:
        """The number of the first frame of a tick, ticks being counted through all laps of this reel."""
        lap, tick = divmod(turn, self.ticks)
        return self._number + lap * self._lap + self._bounds[tick]

    def pieces(self, turn: int) -> Sequence[Piece]:
        """What is to be sent in a tick."""
        return self._pieces[turn % self.ticks]

    def patch(self, turn: int, now_ms: int) -> None:
        """Write the ids of a tick, counted through all laps, and this time into its frames."""
        lap, tick = divmod(turn, self.ticks)
        ids = self._ids.of(tick)
        at, left = self._ids.at[ids], self._value[ids] + lap * self._step[ids]
        for begin in range(ID_DIGITS - _GROUP_DIGITS, -1, -_GROUP_DIGITS):
            left, group = np.divmod(left, _GROUP)
            self._fours[at + begin] = _FOUR_DIGITS[group]
        self._thirteens[self._times.at[self._times.of(tick)]] = np.void(b"%013d" % now_ms)


def _pieces(lane: Ints, starts: Ints, first: int, last: int) -> Iterator[Piece]:
    """One for each lane that has frames between two places."""
    there = lane[first:last]
    edges = [0, *(np.flatnonzero(np.diff(there)) + 1).tolist(), last - first]
    for begin, end in pairwise(edges):
        if there[begin] != NO_LANE:
            yield Piece(int(there[begin]), int(starts[first + begin]), int(starts[first + end]))


def _windows(buffer: bytearray, width: int) -> "NDArray[np.void]":
    """The buffer as overlapping items: item `n` is the `width` bytes from byte `n` on."""
    return np.ndarray((len(buffer) - width + 1,), dtype=f"V{width}", buffer=buffer, strides=(1,))
