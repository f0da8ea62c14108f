"""Parameters of a REST call, and the exchange's errors about them.

Pure. Codes and texts: Binance spot docs, errors.md, read 2026-07. A time is taken in milliseconds or
microseconds, told apart by its size, as the exchange does.
"""

from collections.abc import Mapping

import orjson

_MICROSECONDS_FROM = 10**14


class ApiError(Exception):
    """An answer with `{"code": …, "msg": …}`."""

    def __init__(self, code: int, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status

    def body(self) -> bytes:
        return orjson.dumps({"code": self.code, "msg": self.message})


class Params:
    """The query of one call."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query

    def __contains__(self, name: str) -> bool:
        return name in self._query

    def text(self, name: str, default: str = "") -> str:
        return self._query.get(name, default)

    def required(self, name: str) -> str:
        value = self._query.get(name)
        if not value:
            raise ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return value

    def number(self, name: str) -> int | None:
        """A whole number that is not negative; None when not given."""
        value = self._query.get(name)
        if value is None:
            return None
        if not value.isascii() or not value.isdigit():
            legal = "legal range is '^[0-9]{1,20}$'"
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; {legal}.")
        return int(value)

    def limit(self, default: int, largest: int) -> int:
        """The `limit`; above the largest it is cut, as the exchange does."""
        limit = self.number("limit")
        if limit is None:
            return default
        if limit == 0:
            raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit, largest)

    def start_us(self) -> int | None:
        """The first microsecond of `startTime`."""
        return self._time_us("startTime", 0)

    def end_us(self) -> int | None:
        """The last microsecond of `endTime`, which is inclusive."""
        return self._time_us("endTime", 999)

    def _time_us(self, name: str, beyond_us: int) -> int | None:
        value = self.number(name)
        if value is None or value >= _MICROSECONDS_FROM:
            return value
        return value * 1000 + beyond_us

    def texts(self, name: str) -> list[str] | None:
        """A JSON list of texts without repetitions; None when not given."""
        value = self._query.get(name)
        if value is None:
            return None
        try:
            texts = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'.") from error
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")
        if len(set(texts)) != len(texts):
            raise ApiError(-1151, "Symbol is present multiple times in the list.")
        return texts
