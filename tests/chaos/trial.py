"""One fault: provoked, watched, and settled. What it cost is read from the double's ledger, not from us.

A row's times are seconds since the fault was begun; a fault that lasts is only mended after its end, so
the time to recover is counted from there. `detected` is the first thing that the service itself said of
it: a line of its log at the level of a warning or worse, a connection's end, a gap in the ledger, or a
stream's state in the freshness table.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from random import Random

import asyncpg

from ingest.cli.audit import Account
from tests.chaos.faults import Chaos
from tests.chaos.stage import TROUBLE, account, all_repaired
from tests.silence.observer import Key
from tests.silence.stage import Stage, wall_s
from tests.simulation.comparison import CONSECUTIVE, stored
from tests.simulation.service import wait_until

_RECOVERED_S = 180.0
_SPOKEN_S = 120.0
_REPAIRED_S = 900.0
_STORED_S = 30.0
"""A row that was committed can be read; the account itself takes seconds meanwhile."""
_WARNINGS = frozenset({"warning", "error", "critical"})
_TOLD = frozenset({"ws.disconnect"})
_STATES = frozenset({"live", "quiet"})
_CHECKED_GAPS = 200
_REPAIRABLE = frozenset({"trade", "agg_trade"})


@dataclass(kw_only=True)
class Row:
    """What the table says of one fault."""

    name: str
    title: str
    seed: int
    detected: str = ""
    detected_s: float | None = None
    lasted_s: float = 0.0
    recovered_s: float | None = None
    repaired_s: float | None = None
    """From the fault's end until no trade was owed any more."""
    accounts: dict[str, dict[str, int]] = field(default_factory=dict)
    """By kind."""
    gaps: dict[str, int] = field(default_factory=dict)
    """Rows of the ledger, by kind and state."""
    wrong_bounds: list[str] = field(default_factory=list)
    checked_gaps: int = 0
    complaints: list[str] = field(default_factory=list)

    def total(self, column: str, kinds: Iterable[str] = ()) -> int:
        wanted = set(kinds) or self.accounts.keys()
        return sum(account[column] for kind, account in self.accounts.items() if kind in wanted)

    @property
    def is_good(self) -> bool:
        """Nothing lost unnoticed, twice or altered; no trade lost at all; all bounds true; recovered."""
        bad = ("lost_unnoticed", "duplicated", "altered")
        return not (
            self.complaints
            or self.wrong_bounds
            or any(self.total(column) for column in bad)
            or self.total("lost_noticed", _REPAIRABLE)
            or not self.accounts
        )


def told(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def play(stage: Stage, chaos: Chaos, seed: int) -> Row:
    """Provoke, wait, settle."""
    row = Row(name=chaos.name, title=chaos.title, seed=seed)
    begun_s, begun_wall_s = time.monotonic(), wall_s()
    last_gap = int(stage.service.value("SELECT coalesce(max(gap_id), 0) FROM ops.gaps"))
    try:
        chaos.provoke(stage, Random(f"{chaos.name} {seed}"))
        row.lasted_s = time.monotonic() - begun_s
        row.recovered_s = calm(stage)
    except TROUBLE as error:
        row.complaints.append(told(error))
    try:
        _find_detection(stage, row, begun_s, begun_wall_s, last_gap)
        settle(stage, row, last_gap)
        row.repaired_s = _last_repair(stage, last_gap, begun_wall_s + row.lasted_s)
    except TROUBLE as error:
        row.complaints.append(told(error))
    return row


def _last_repair(stage: Stage, last_gap: int, ended_wall_s: float) -> float | None:
    """Seconds from the fault's end to the end of the last repair; None when there was nothing to repair."""
    closed = stage.service.value(
        "SELECT max(extract(epoch FROM closed_at)::float8) FROM ops.gaps"
        " WHERE gap_id > $1 AND kind IN ('trade', 'agg_trade')",
        last_gap,
    )
    return max(closed - ended_wall_s, 0.0) if closed is not None and _near(closed) else None


def calm(stage: Stage) -> float:
    """Wait until everything is well; returns how long that took. Raises NotInTime."""
    ended_s, ended_wall_s = time.monotonic(), wall_s()
    well = partial(_is_well, stage, ended_wall_s)
    wait_until("everything is well", well, deadline_s=_RECOVERED_S, poll_s=0.25)
    recovered_s = time.monotonic() - ended_s
    # What a stream has lost is known when it speaks again, and the rare ones have to have their turn.
    spoken = partial(_have_spoken, stage, stage.streams.keys(), ended_wall_s)
    wait_until("every stream has spoken again", spoken, deadline_s=_SPOKEN_S, poll_s=0.5)
    return recovered_s


def _have_spoken(stage: Stage, keys: Iterable[Key], since_wall_s: float) -> bool:
    streams = stage.streams
    return all(streams[key].recv_s > since_wall_s for key in keys if key in streams)


def _is_well(stage: Stage, since_wall_s: float) -> bool:
    live, wanted = stage.service.books()
    busy = [key for key in stage.streams if stage.is_busy(key)]
    return (
        _have_spoken(stage, busy, since_wall_s)
        and time.monotonic() - stage.observer.seen_s < 2.0
        and all(seen.state in _STATES and seen.table_age_s < 5.0 for seen in stage.streams.values())
        and 0 < wanted == live
        and not stage.service.value("SELECT count(*) FROM ops.incidents WHERE closed_at IS NULL")
    )


def _find_detection(stage: Stage, row: Row, begun_s: float, begun_wall_s: float, last_gap: int) -> None:
    found: list[tuple[float, str]] = []
    for line in stage.all_lines(since_s=begun_s):
        if line.event in _TOLD or line.fields.get("level") in _WARNINGS:
            found.append((line.at_s - begun_s, line.event.partition("\n")[0]))
            break
    state = next(
        (
            each
            for each in stage.observer.changes
            if each.at_s >= begun_s and each.state not in {"live", "quiet"}
        ),
        None,
    )
    if state is not None:
        found.append((state.at_s - begun_s, f"state {state.state}"))
    found += [
        (at_s - begun_s, "freshness table out of date")
        for at_s in stage.observer.outdated_s
        if at_s >= begun_s
    ]
    gap = stage.service.rows(
        "SELECT cause, extract(epoch FROM opened_at)::float8 AS at_s FROM ops.gaps WHERE gap_id > $1"
        " ORDER BY opened_at LIMIT 1",
        last_gap,
    )
    # A clock that was stepped dates gaps an hour off.
    found += [(each["at_s"] - begun_wall_s, f"gap: {each['cause']}") for each in gap if _near(each["at_s"])]
    if found:
        row.detected_s, row.detected = min(found)


def _near(at_s: float) -> bool:
    return abs(at_s - wall_s()) < 1_800.0


def settle(stage: Stage, row: Row, last_gap: int) -> None:
    """Make up the account, and look at the gaps that are newer than `last_gap`."""
    try:
        if not all_repaired(stage, deadline_s=_REPAIRED_S):
            row.complaints.append(f"not all committed and repaired within {_REPAIRED_S:g} s")
        accounts = _account(stage)
    except TROUBLE as error:
        row.complaints.append(f"no account: {told(error)}")
        return
    row.accounts = {kind: asdict(account) for kind, account in accounts.items()}
    gaps = stage.service.rows(
        "SELECT symbol, kind, first_id, last_id, cause, state, rows_repaired FROM ops.gaps WHERE gap_id > $1",
        last_gap,
    )
    row.gaps = dict(Counter(f"{gap['kind']} {gap['state']}" for gap in gaps))
    dated = [gap for gap in gaps if gap["first_id"] is not None]
    row.checked_gaps = min(len(dated), _CHECKED_GAPS)
    row.wrong_bounds = _wrong_bounds(stage, dated[:_CHECKED_GAPS])


def _account(stage: Stage) -> dict[str, Account]:
    """The account when it is good, or else as it stands after a while."""
    until_s = time.monotonic() + _STORED_S
    while True:
        accounts = account(stage)
        if sum(accounts.values(), Account()).is_good or time.monotonic() > until_s:
            return accounts
        time.sleep(2.0)


def _wrong_bounds(stage: Stage, gaps: Sequence[asyncpg.Record]) -> list[str]:
    """Gaps within which something is stored that was never repaired, or repaired is not all there was."""
    wrong = []
    series: dict[tuple[str, str], tuple[dict[int, int], dict[int, int]]] = {}
    for gap in gaps:
        key = (gap["symbol"], gap["kind"])
        if key not in series:
            series[key] = (stage.double.ledger(*key), stored(stage.service, *key))
        happened, kept = series[key]
        missing = [each for each in happened if gap["first_id"] <= each <= gap["last_id"]]
        inside = sum(each in kept for each in missing)
        is_true = inside == len(missing) if gap["state"] == "repaired" else not inside
        is_void = not missing and gap["kind"] in CONSECUTIVE
        if is_void or not is_true:
            wrong.append(f"{dict(gap)}: {len(missing)} published, {inside} stored")
    return wrong
