"""Which class a planned stream is of.

The three busiest kinds get the classes of `shard.steady`, all others those of `shard.kinds`.
"""

from collections.abc import Callable

from ingest.binance import parse
from ingest.binance.streams import ID_RULE
from ingest.book.sync import Action, BookSync
from ingest.buffer import encode
from ingest.shard.kinds import AggTradeStream, KlineStream, QuoteStream
from ingest.shard.steady import (
    SteadyBookTickerStream,
    SteadyDeltaStream,
    SteadyDepthStream,
    SteadyTradeStream,
)
from ingest.shard.stream import Stream, StreamContext

_MAKERS: dict[str, Callable[[StreamContext], Stream]] = {
    "trade": SteadyTradeStream,
    "agg_trade": AggTradeStream,
    "book_ticker": SteadyBookTickerStream,
    "mini_ticker": lambda context: QuoteStream(context, parse.mini_ticker, encode.mini_ticker),
    "ticker": lambda context: QuoteStream(context, parse.ticker, encode.ticker),
    "avg_price": lambda context: QuoteStream(context, parse.avg_price, encode.avg_price),
}


def make_stream(
    context: StreamContext, *, book: BookSync | None = None, act: Callable[[Action], None] | None = None
) -> Stream:
    """The stream of a kind. `book` and `act` (what to do for the book) are wanted for depth alone."""
    kind = context.key.kind
    if kind == "depth":
        if book is None or act is None:
            raise ValueError("a depth stream needs a book")
        return SteadyDepthStream(context, book, act)
    return KlineStream(context) if ID_RULE[kind] == "candle" else _MAKERS[kind](context)


def make_bookless(context: StreamContext) -> Stream:
    """The stream of a kind on a shard that does not keep its book."""
    return SteadyDeltaStream(context) if context.key.kind == "depth" else make_stream(context)
