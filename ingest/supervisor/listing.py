"""What the exchange lists, against what is planned: which silence is legitimate, what has come and gone.

Pure. Status values and what they mean for data: binance-spot-api-docs, *Symbol status* (2026-07).

    BREAK        no market data at all
    HALT         no trading, so no trades and nothing made of them; the book may still change
    CANCEL_ONLY  orders can only be cancelled: the same
    END_OF_DAY   not explained by the exchange; taken as BREAK

A stream that speaks all the same is judged by what it says: `watch` asks for the status of silence only.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ingest.binance.parse import Instrument
from ingest.events import StreamKey

if TYPE_CHECKING:
    from ingest.config import SpotSection

_NO_DATA = frozenset({"BREAK", "END_OF_DAY"})
_NO_TRADES = frozenset({"HALT", "CANCEL_ONLY"})
_BOOK_KINDS = frozenset({"depth", "book_ticker"})
_TRADING = "TRADING"


class ListingChange(NamedTuple):
    """What has to change in the plan."""

    listed: tuple[Instrument, ...]
    """New, trading, and wanted by the configuration."""
    delisted: tuple[str, ...]
    """Planned symbols that the exchange does not name any more."""


def halted_streams(keys: Iterable[StreamKey], status: Mapping[str, str]) -> set[StreamKey]:
    """The streams whose silence the exchange's own status explains."""
    return {key for key in keys if _is_halted(key.kind, status.get(key.symbol, _TRADING))}


def _is_halted(kind: str, status: str) -> bool:
    return status in _NO_DATA or (status in _NO_TRADES and kind not in _BOOK_KINDS)


def listing_change(
    spot: "SpotSection",
    planned: Collection[str],
    known: Collection[str],
    instruments: Sequence[Instrument],
) -> ListingChange:
    """Compare an answer of `exchangeInfo` (all statuses) with the plan.

    `known` are the symbols of earlier answers: where the configuration asks for the top by volume, only
    what was never listed before joins, or the plan would follow every change of rank.
    """
    if not instruments:
        # Both lists only grow by status; an empty answer is a fault of the answer, not a delisting.
        return ListingChange((), ())
    names = {instrument.symbol for instrument in instruments}
    listed = tuple(
        instrument
        for instrument in instruments
        if instrument.status == _TRADING
        and instrument.symbol not in planned
        and _is_wanted(spot, instrument, known)
    )
    return ListingChange(listed, tuple(sorted(set(planned) - names)))


def _is_wanted(spot: "SpotSection", instrument: Instrument, known: Collection[str]) -> bool:
    wanted = spot.symbols
    if isinstance(wanted, str):  # all of them
        return True
    if isinstance(wanted, list):
        return instrument.symbol in wanted
    return instrument.quote_asset in wanted.quote and instrument.symbol not in known
