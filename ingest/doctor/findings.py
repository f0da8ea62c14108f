"""What the doctor finds, and how grave all of it is. Pure."""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

HIDDEN: Final = "***"


class Level(IntEnum):
    """`WARNING`: it works, and something is not as it should be. `FAILED`: it cannot work."""

    OK = 0
    WARNING = 1
    FAILED = 2


EXIT_CODES: Final = MappingProxyType({Level.OK: 0, Level.WARNING: 3, Level.FAILED: 1})


class Finding(NamedTuple):
    """One thing that was looked at. `advice` is empty when there is nothing to do.

    `runbook` is the entry of the runbook that says more; empty when none does.
    """

    check: str
    level: Level
    found: str
    advice: str = ""
    runbook: str = ""


def ok(check: str, found: str) -> Finding:
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, advice: str, runbook: str = "") -> Finding:
    return Finding(check, Level.WARNING, found, advice, runbook)


def failed(check: str, found: str, advice: str, runbook: str = "") -> Finding:
    return Finding(check, Level.FAILED, found, advice, runbook)


def worst(findings: Iterable[Finding]) -> Level:
    """The gravest level; OK of none."""
    return max((finding.level for finding in findings), default=Level.OK)


def without_secrets(findings: Iterable[Finding], secrets: Sequence[str]) -> list[Finding]:
    """The same with every secret blotted out, wherever an error of somebody else's has quoted one."""
    longest_first = sorted(filter(None, secrets), key=len, reverse=True)

    def blotted(text: str) -> str:
        for secret in longest_first:
            text = text.replace(secret, HIDDEN)
        return text

    return [each._replace(found=blotted(each.found), advice=blotted(each.advice)) for each in findings]


def summary(findings: Sequence[Finding]) -> str:
    """All of it in one line."""
    counts = [
        f"{sum(finding.level is level for finding in findings)} {level.name.lower()}"
        for level in (Level.FAILED, Level.WARNING)
        if any(finding.level is level for finding in findings)
    ]
    return f"{len(findings)} things looked at: {', '.join(counts) or 'all is well'}"
