"""Microseconds since the epoch to the driver's timestamps and back, exactly."""

from datetime import UTC, datetime, timedelta
from typing import Final, overload

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@overload
def instant(us: int) -> datetime: ...
@overload
def instant(us: int | None) -> datetime | None: ...
def instant(us: int | None) -> datetime | None:
    """The moment `us` microseconds after the epoch, UTC; None stays None."""
    return None if us is None else _EPOCH + timedelta(microseconds=us)


def microseconds(moment: datetime) -> int:
    """Whole microseconds from the epoch to a moment that has a time zone."""
    return (moment - _EPOCH) // _MICROSECOND
