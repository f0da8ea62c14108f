"""Which streams are wanted: the configuration's words against what the exchange lists.

Pure. Expected rates come from the last 24 hours' trade counts; they only balance the plan, so a wrong
one costs balance and nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from ingest.binance.parse import DayStats, Instrument
from ingest.binance.streams import expected_rate
from ingest.config import SpotSection, TopSymbols
from ingest.errors import ConfigError
from ingest.events import StreamKey

_DAY_S = 86_400.0
_TRADING = "TRADING"


def choose_instruments(
    spot: SpotSection, instruments: Sequence[Instrument], stats: Iterable[DayStats]
) -> list[Instrument]:
    """The instruments that the configuration means. Raises ConfigError naming what is not listed."""
    listed = {instrument.symbol: instrument for instrument in instruments}
    if isinstance(spot.symbols, list):
        unknown = sorted(set(spot.symbols) - listed.keys())
        if unknown:
            raise ConfigError(f"[spot] symbols: the exchange does not list {', '.join(unknown)}")
        return [listed[symbol] for symbol in spot.symbols]
    trading = [instrument for instrument in instruments if instrument.status == _TRADING]
    chosen = _top(spot.symbols, trading, stats) if isinstance(spot.symbols, TopSymbols) else trading
    if not chosen:
        raise ConfigError("[spot] symbols: nothing that the exchange lists as TRADING matches")
    return chosen


def expected_rates(
    symbols: Iterable[str], kinds: Iterable[str], stats: Iterable[DayStats]
) -> Mapping[StreamKey, float]:
    """Messages a second to expect on each stream."""
    trades = {row.symbol: row.trades / _DAY_S for row in stats}
    kinds = tuple(kinds)
    return {
        StreamKey("spot", symbol, kind): expected_rate(kind, trades.get(symbol, 0.0))
        for symbol in symbols
        for kind in kinds
    }


def _top(wanted: TopSymbols, trading: Sequence[Instrument], stats: Iterable[DayStats]) -> list[Instrument]:
    volume = {row.symbol: Decimal(row.quote_volume) for row in stats}
    quoted = [instrument for instrument in trading if instrument.quote_asset in wanted.quote]
    zero = Decimal(0)
    return sorted(quoted, key=lambda i: (-volume.get(i.symbol, zero), i.symbol))[: wanted.top]
