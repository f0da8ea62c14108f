"""Merges the 100 ms depth windows into those of one second, for `@depth`.

Pure. Invariant: the merged windows are continuous, as the merged ones are, and lead to the same book.
"""

import orjson

from ingest.sim.decimals import units
from ingest.sim.happenings import BookChanged


class SlowWindow:
    """The open one-second window of one symbol: the last printed quantity of each price."""

    def __init__(self) -> None:
        self._first_id = 0
        self._final_id = 0
        self._bids: dict[str, str] = {}
        self._asks: dict[str, str] = {}

    def add(self, change: BookChanged) -> None:
        if not self._first_id:
            self._first_id = change.first_update_id
        self._final_id = change.final_update_id
        self._bids.update(orjson.loads(b"[" + change.bids + b"]"))
        self._asks.update(orjson.loads(b"[" + change.asks + b"]"))

    def close(self, symbol: str, now_us: int) -> BookChanged | None:
        """The merged window; None when nothing changed."""
        if not self._first_id:
            return None
        bids = _printed(self._bids, descending=True)
        asks = _printed(self._asks, descending=False)
        merged = BookChanged(symbol, self._first_id, self._final_id, now_us, bids, asks)
        self._first_id, self._bids, self._asks = 0, {}, {}
        return merged


def _printed(side: dict[str, str], *, descending: bool) -> bytes:
    levels = sorted(side.items(), key=lambda level: units(level[0]), reverse=descending)
    return orjson.dumps(levels)[1:-1]
