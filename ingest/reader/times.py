"""What callers may say for a moment or a length of time, and what that means in UTC.

Pure: the present moment is handed in, and it is the database's, whose clock also says how old rows are.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

When: TypeAlias = datetime | str | timedelta
"""A moment: a datetime with a zone, ISO 8601 text with a zone, or a timedelta back from now (the database's).
"""

MaxAge: TypeAlias = timedelta | float
"""A length of time: a timedelta, or seconds."""

_ZERO: Final = timedelta(0)
_ADVICE: Final = (
    "say which zone it is in, for example datetime(2026, 11, 22, tzinfo=UTC) or '2026-11-22T00:00Z'"
)


def moment(when: When, now: datetime) -> datetime:
    """The moment in UTC; ValueError for one without a zone, TypeError for what is none."""
    if isinstance(when, timedelta):
        if when < _ZERO:
            raise ValueError(f"{when!r} lies in the future: a timedelta counts back from now and is positive")
        return now - when
    found = _parsed(when) if isinstance(when, str) else when
    _require_moment(found)
    if found.utcoffset() is None:
        raise ValueError(f"{found.isoformat()} has no time zone: {_ADVICE}")
    return found.astimezone(UTC)


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no moment in ISO 8601, such as '2026-11-22T08:30:00.250Z'") from None


def _require_moment(value: object) -> None:
    if not isinstance(value, datetime):
        name = type(value).__name__
        raise TypeError(
            f"{value!r} is a {name}: a moment is a datetime, ISO text, or a timedelta back from now"
        )


def span(start: When, end: When | None, now: datetime) -> tuple[datetime, datetime]:
    """[start, end) in UTC; without an end: up to now. ValueError where nothing lies between."""
    since = moment(start, now)
    until = now if end is None else moment(end, now)
    if since >= until:
        raise ValueError(
            f"nothing lies between {since.isoformat()} and {until.isoformat()}: end before start"
        )
    return since, until


def length(age: MaxAge) -> timedelta:
    """A length of time; ValueError when it is negative."""
    found = age if isinstance(age, timedelta) else timedelta(seconds=age)
    if found < _ZERO:
        raise ValueError(f"a length of time is not negative: {age!r}")
    return found
