"""What to do when a shard process has ended: start it again, when, or give up.

Decides from the exit code, the time and the shard's history; the numbers are data, in the manner of
OTP's restart intensity. Never starts, stops or waits for a process.

    asked to stop                          -> Done
    an exit code that repeating cannot cure -> GiveUp, at once
    anything else                          -> Restart: at once, then with full jitter up to
                                              first_s, 2 first_s, 4 first_s ... cap_s
    more than `intensity` restarts in `period_s`
                                           -> Restart near cap_s, marked `crash_looping`, until a good run
    an exit code that somebody else is to blame for
                                           -> Restart with the same delays, never counted as one of those

Invariants: a history is never changed, a new one is returned; every delay is at most `cap_s`; the
record is cleared only by a run that was good for `good_s`, never by a start that merely succeeded. A
shard that crashes for ever is tried for ever, at a price that is bounded: its streams would be lost
for certain if nobody tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from signal import Signals
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from random import Random

CONFIGURATION_EXIT = 2
DATABASE_EXIT = 3
LOCATION_EXIT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """All times in seconds."""

    intensity: int = 5
    period_s: float = 60.0
    first_s: float = 1.0
    cap_s: float = 30.0
    good_s: float = 60.0
    recycle_allowance_s: float = 2.0
    """How long a shard whose loop has stood still may take to end before it is killed."""
    fatal_codes: Mapping[int, str] = field(
        default_factory=lambda: MappingProxyType(
            {
                CONFIGURATION_EXIT: "wrong configuration, use or schema",
                LOCATION_EXIT: "the exchange does not serve this location",
            }
        )
    )
    """Exit codes that would come back every time, with what they mean."""
    blameless_codes: Mapping[int, str] = field(
        default_factory=lambda: MappingProxyType({DATABASE_EXIT: "the database is away"})
    )
    """Exit codes that say nothing against the shard: another one would end in the same way."""


@dataclass(frozen=True, slots=True)
class ChildHistory:
    """What is remembered of one shard: times are seconds on one monotonic clock."""

    started_s: float | None = None
    failures: int = 0
    """Ends without being asked to, in a row; a good run clears them."""
    restarts: int = 0
    """All restarts that were ever decided."""
    recent_s: tuple[float, ...] = ()
    """When the restarts of the newest period were decided, oldest first; blameless ones left out."""
    crash_looping: bool = False
    """There were too many of them, and no good run since."""

    def started(self, now_s: float) -> "ChildHistory":
        """The history once the process runs."""
        return replace(self, started_s=now_s)


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again `after_s` seconds from now; go on with `history`."""

    after_s: float
    reason: str
    crash_looping: bool
    history: ChildHistory


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Starting it again cannot help."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """It ended because it was asked to."""

    reason: str


Decision: TypeAlias = Restart | GiveUp | Done


def decide(
    policy: RestartPolicy,
    *,
    exit_code: int,
    asked_to_stop: bool,
    now_s: float,
    history: ChildHistory,
    rng: "Random",
) -> Decision:
    """Judge one end of a shard's process. `exit_code` is negative for a signal, as subprocess has it."""
    reason = describe_exit(exit_code)
    if asked_to_stop:
        return Done(reason)
    if exit_code in policy.fatal_codes:
        return GiveUp(f"{reason}: {policy.fatal_codes[exit_code]}")
    is_blameless = exit_code in policy.blameless_codes
    if is_blameless:
        reason = f"{reason}: {policy.blameless_codes[exit_code]}"
    after = _after_failure(policy, history, now_s, is_blameless=is_blameless)
    delay_s = _delay_s(policy, failures=after.failures, crash_looping=after.crash_looping, rng=rng)
    return Restart(delay_s, reason, after.crash_looping, after)


def describe_exit(exit_code: int) -> str:
    """An exit code in words: `exit code 1`, `killed by SIGKILL`."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def _after_failure(
    policy: RestartPolicy, history: ChildHistory, now_s: float, *, is_blameless: bool
) -> ChildHistory:
    was_good = history.started_s is not None and now_s - history.started_s >= policy.good_s
    recent = tuple(at_s for at_s in history.recent_s if now_s - at_s < policy.period_s)
    recent = recent if is_blameless else (*recent, now_s)
    was_looping = history.crash_looping and not was_good
    return ChildHistory(
        started_s=None,
        failures=1 if was_good else history.failures + 1,
        restarts=history.restarts + 1,
        recent_s=recent,
        crash_looping=was_looping or len(recent) > policy.intensity,
    )


def _delay_s(policy: RestartPolicy, *, failures: int, crash_looping: bool, rng: "Random") -> float:
    if crash_looping:
        # Only the upper half: a loop must be slowed for certain, full jitter could say zero.
        return rng.uniform(policy.cap_s / 2, policy.cap_s)
    if failures == 1:
        return 0.0
    # The exponent is bounded because a float overflows after a thousand crashes.
    ceiling_s = policy.first_s * 2.0 ** min(failures - 2, 30)
    return rng.uniform(0.0, min(policy.cap_s, ceiling_s))
