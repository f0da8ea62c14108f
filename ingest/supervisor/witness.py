"""Is a silent stream missing something? Evidence from its symbol's other streams and from REST.

Decides QUIET (with the time of the proof), STALE (with what was missed) or UNKNOWN (with why nobody can
say), from plain numbers. Never asks anybody, never repairs. Wrongly STALE costs a repair that disturbs
a stream for nothing, wrongly QUIET leaves it silent until it is asked again: in doubt it is UNKNOWN.

    stream                   exact witness                     otherwise
    ----------------------   -------------------------------   ---------------------------------------
    trade                    `by_id`: ticker/24hr lastId       `by_siblings`: agg_trade
    agg_trade                `by_id`, where the board knows    `by_trades`: the trade id of two answers;
                             its newest trade id               `by_trade_stream`; `by_siblings`: trade
    depth                    `by_id`: depth lastUpdateId       `by_quotes` (STALE only), `by_siblings`
    book_ticker              `by_quotes`: bookTicker prices    `by_siblings`: trades
    kline, mini_ticker,      none                              `by_trades`, `by_trade_stream`, `by_siblings`
    ticker, avg_price                                          (avg_price: no siblings)

The races, and how each is closed:

* **A message in flight.** REST may tell of a trade whose message is still under way. So a stream is read
  again `IN_FLIGHT_S` after the answer came; only one that has still not moved is STALE, and until then
  the verdict is UNKNOWN. Kinds that are pushed on a period get that period on top (`push_s`).
* **The stream moved meanwhile.** Then it is not silent: UNKNOWN, and the question falls away.
* **A sibling's shard has begun anew.** Its count has moved, to zero, and nobody has spoken.
* **The answer is older than the stream.** A lower id than ours proves nothing either way: UNKNOWN. For
  quotes, which carry no id, the stream must have been silent for `REST_LAG_S` before REST was asked.
* **A cached answer.** It could equal our newest id and hide what came after. `is_outdated` finds it: an
  answer in which more live streams are behind what we had shortly before we asked than are ahead of it.
  A question about a few rare symbols names a busy one as well, which would show it.
* **Ids that began anew** (testnet reset). The exchange's id is below half of ours, which no cache explains,
  and rises from one answer to the next while the stream is silent: STALE.
* **A symbol that is missing in the answer**: UNKNOWN; whether it still trades is `exchangeInfo`'s matter.

All times are seconds on one monotonic clock, so a stepped wall clock cannot make evidence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, TypeAlias

IN_FLIGHT_S = 2.0
"""A message that the exchange sent before it answered REST has arrived this long after the answer."""
REST_LAG_S = 2.0
"""The exchange answers tickers from memory, which may trail its streams by less than this."""
NO_ID = -1
DAY_S = 86_400.0

SAME_MOMENT_S = 3.0
"""Two streams' messages of one moment may be seen in neighbouring ticks, and a tick may come late."""

_MIN_SOFT_MOVES = 3
"""A single trade may leave the best prices as they are (an iceberg order's next slice), and a best price
may come back before the book is pushed; a run of such is not to be expected."""

_SIBLINGS = {
    "trade": ("agg_trade",),
    "agg_trade": ("trade",),
    "kline": ("trade", "agg_trade"),
    "mini_ticker": ("trade", "agg_trade"),
    "ticker": ("trade", "agg_trade"),
}
_SOFT_SIBLINGS = {"book_ticker": ("trade", "agg_trade"), "depth": ("book_ticker", "trade", "agg_trade")}
_PUSH_S = {"kline": 2.0, "mini_ticker": 1.0, "ticker": 1.0, "avg_price": 1.0}


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing was missed up to `at_s`."""

    at_s: float
    evidence: str


@dataclass(frozen=True, slots=True)
class Stale:
    """The exchange has published what the stream has not delivered."""

    evidence: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody could say; ask again."""

    reason: str


Verdict: TypeAlias = Quiet | Stale | Unknown


class Sight(NamedTuple):
    """One stream, as the board said at `read_s`.

    `moved_s` is when its count of messages was last seen to move. `last_id` is its newest id, in the
    numbering that the witness speaks (trade id, update id), or NO_ID.
    """

    read_s: float
    messages: int
    moved_s: float
    last_id: int = NO_ID


class IdAnswer(NamedTuple):
    """What one REST answer says of one symbol's newest id.

    `last_id` is None when the symbol is not in the answer, NO_ID when it had no trade in 24 hours.
    `is_outdated` is the word of `is_outdated()` on the whole answer.
    """

    asked_s: float
    answered_s: float
    last_id: int | None
    is_outdated: bool = False


class Quote(NamedTuple):
    """Best prices and quantities, as the exchange prints them (text of decimal numbers)."""

    bid_price: str
    bid_qty: str
    ask_price: str
    ask_qty: str


class QuoteAnswer(NamedTuple):
    """What one REST answer says of one symbol's best prices; None when the symbol is not in it."""

    asked_s: float
    answered_s: float
    quote: Quote | None


def push_s(kind: str) -> float:
    """How long the exchange itself may hold a change of a kind back; 0 where it pushes at once."""
    return _PUSH_S.get(_family(kind), 0.0)


def by_id(
    before: Sight,
    after: Sight,
    answer: IdAnswer,
    *,
    earlier: IdAnswer | None = None,
    in_flight_s: float = IN_FLIGHT_S,
) -> Verdict:
    """Judge a stream that carries the ids which REST tells: trades by trade id, depth by update id.

    `before` was read when REST was asked, `after` at least `in_flight_s` after it answered. `earlier` is
    an answer of before that: what a stream without any message of its own is compared with.
    """
    void = _why_void(before, after, answer)
    if void is not None:
        return Unknown(void)
    newest = answer.last_id
    assert newest is not None, "an answer without the symbol is void"
    position = _position(after, answer, earlier)
    if newest == NO_ID:
        return _without_trades(after, answer)
    if position is None:
        return Unknown("the stream has no id yet and this is the first answer")
    if newest == position:
        return Quiet(answer.asked_s, f"the exchange's newest id is {newest} and so is ours")
    has_moved = newest > position or _began_anew(newest, position, earlier)
    if not has_moved:
        return Unknown(f"the answer's id {newest} is older than our {position}")
    if after.read_s - answer.answered_s < in_flight_s:
        return Unknown(f"the exchange is at id {newest}, we are at {position}: it may be in flight")
    if newest < position:
        return Stale(f"the exchange numbers anew and is at id {newest}; we are still at {position}")
    return Stale(f"the exchange is at id {newest}, {newest - position} beyond our {position}")


def by_trades(
    before: Sight,
    after: Sight,
    answers: tuple[IdAnswer, IdAnswer],
    *,
    push_s: float = 0.0,
    in_flight_s: float = IN_FLIGHT_S,
) -> Verdict:
    """Judge a stream without trade ids that must speak whenever there is a trade.

    Of two `answers` the first was asked after the stream's newest message: a trade between the two is
    one that the stream has not told of. What was missed before the first answer is not seen, so the
    first answer after a stream falls silent is the one to keep (the periodic sweep gives one a minute).
    """
    first, second = answers
    void = _why_void(before, after, second)
    if void is not None or first.last_id is None or first.is_outdated:
        return Unknown(void or "the first answer cannot be used")
    if first.asked_s < before.moved_s + push_s + in_flight_s:
        return Unknown("the first answer may be older than the stream's newest message")
    if second.last_id == first.last_id:
        return Quiet(second.asked_s, f"no trade since id {first.last_id}")
    if after.read_s - second.answered_s < push_s + in_flight_s:
        return Unknown(f"there was a trade after id {first.last_id}: its message may be in flight")
    if second.last_id == NO_ID or not _is_newer(second.last_id, first.last_id):
        return Unknown("the second answer is older than the first")
    return Stale(f"there were trades from id {first.last_id} to {second.last_id}, and no message")


def by_trade_stream(
    own: Sight, trade: Sight, verdict: Verdict, *, push_s: float = 0.0, in_flight_s: float = IN_FLIGHT_S
) -> Verdict:
    """Judge a stream that must speak at each trade by the verdict on the trade stream of its symbol.

    Needs no first answer: when the trade stream is proven quiet, its last message is the last trade.
    """
    if not isinstance(verdict, Quiet):
        return Unknown("the trade stream itself is not proven quiet")
    if trade.moved_s <= own.moved_s + SAME_MOMENT_S:
        return Quiet(verdict.at_s, f"no trade since its newest message: {verdict.evidence}")
    if not trade.messages:
        return Unknown("the trade stream is counted anew and has said nothing yet")
    if own.read_s - trade.moved_s < push_s + in_flight_s:
        return Unknown("there was a trade: its message may be in flight")
    return Stale(f"the newest trade came {trade.moved_s - own.moved_s:.0f} s after its newest message")


def by_quotes(
    before: Sight,
    after: Sight,
    known: Quote,
    answer: QuoteAnswer,
    *,
    in_flight_s: float = IN_FLIGHT_S,
) -> Verdict:
    """Judge a book ticker by the best prices, which it must tell of whenever they change.

    `known` is what the stream said last, or an earlier answer's quote that was asked `REST_LAG_S` or
    more after the stream's newest message. Prices that changed and came back in between are not seen; they
    will hardly do so each time it is asked. Depth may be judged so too, but for it QUIET means no more
    than that the best level stands: the levels behind it are not in the answer.
    """
    if after.messages != before.messages:
        return Unknown("the stream has moved meanwhile")
    if answer.quote is None:
        return Unknown("the symbol is not in the answer")
    if answer.asked_s - before.moved_s < REST_LAG_S:
        return Unknown("the stream has not been silent for long enough to compare prices")
    if _numbers(answer.quote) == _numbers(known):
        return Quiet(answer.asked_s, f"the best prices are still {known.bid_price} and {known.ask_price}")
    if after.read_s - answer.answered_s < in_flight_s:
        return Unknown("the best prices have changed: the message may be in flight")
    return Stale(
        f"the best prices are {answer.quote.bid_price} x {answer.quote.bid_qty} and "
        f"{answer.quote.ask_price} x {answer.quote.ask_qty}, and no message said so"
    )


def by_siblings(
    kind: str,
    then: Mapping[str, Sight],
    now: Mapping[str, Sight],
    *,
    in_flight_s: float = IN_FLIGHT_S,
) -> Verdict:
    """Judge a stream by its symbol's other streams, without asking anybody: STALE or UNKNOWN.

    `then` and `now` are two readings by kind, `in_flight_s` or more apart. A sibling that had spoken
    after the stream's newest message by `then` told of something that the stream should have told
    of by `now`. That siblings are silent proves nothing: whatever silenced one may have silenced all.
    """
    own_then, own_now = then[kind], now[kind]
    if own_now.messages != own_then.messages:
        return Unknown("the stream has moved meanwhile")
    if own_now.read_s - own_then.read_s < in_flight_s + push_s(kind):
        return Unknown("the readings are too close: a message may be in flight")
    for sibling in _SIBLINGS.get(_family(kind), ()):
        if sibling in then and _spoke_after(then[sibling], own_then):
            return Stale(f"the {sibling} stream of its symbol speaks")
    for sibling in _SOFT_SIBLINGS.get(_family(kind), ()):
        if sibling in then and sibling in now and _keeps_moving(then[sibling], now[sibling], own_then):
            return Stale(f"the {sibling} stream of its symbol keeps speaking")
    return Unknown("no stream of its symbol can say")


def sweep_deficits(
    rest: Mapping[str, int], before: Mapping[str, int], after: Mapping[str, int]
) -> dict[str, int]:
    """How many trades each symbol's trade stream is behind the exchange; 0 is level.

    `rest` is each symbol's newest trade id by one answer, `before` and `after` are the board's newest ids
    when REST was asked and `IN_FLIGHT_S` after it answered: what was in flight has arrived by then. A
    symbol is left out when it cannot be compared: it is missing in one of the three, has no id yet, or
    its numbering began anew between the readings.
    """
    return {
        symbol: max(0, newest - after[symbol])
        for symbol, newest in rest.items()
        if newest != NO_ID and NO_ID < before.get(symbol, NO_ID) <= after.get(symbol, NO_ID)
    }


def is_outdated(rest: Mapping[str, int], before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    """Whether a whole answer was made before it was asked for (a cache on the way).

    `before` and `after` are the board's newest ids `REST_LAG_S` before REST was asked, and when it was.
    Judged by the streams that move. A symbol whose ids began anew is no sign of it, and one mute stream,
    which makes any answer look new, cannot outvote the live ones because it does not move.
    """
    behind = ahead = 0
    for symbol, position in before.items():
        newest = rest.get(symbol, NO_ID)
        if NO_ID in (newest, position) or after.get(symbol, position) == position:
            continue
        ahead += newest > position
        behind += position // 2 <= newest < position
    return behind > ahead


def _why_void(before: Sight, after: Sight, answer: IdAnswer) -> str | None:
    if after.messages != before.messages:
        return "the stream has moved meanwhile"
    if answer.last_id is None:
        return "the symbol is not in the answer"
    if answer.is_outdated:
        return "the whole answer is older than our streams"
    return None


def _position(after: Sight, answer: IdAnswer, earlier: IdAnswer | None) -> int | None:
    """The id up to which nothing is missed."""
    if after.last_id != NO_ID:
        return after.last_id
    if earlier is None or earlier.last_id is None or earlier.is_outdated or earlier.asked_s >= answer.asked_s:
        return None
    return earlier.last_id


def _without_trades(after: Sight, answer: IdAnswer) -> Verdict:
    if after.last_id != NO_ID and answer.asked_s - after.moved_s < DAY_S:
        return Unknown("the exchange knows of no trade in 24 hours, and we had one")
    return Quiet(answer.asked_s, "the exchange had no trade in 24 hours")


def _began_anew(newest: int, position: int, earlier: IdAnswer | None) -> bool:
    if earlier is None or earlier.last_id is None or earlier.is_outdated:
        return False
    return earlier.last_id < newest < position // 2


def _is_newer(newest: int | None, former: int) -> bool:
    """Whether an id is a later one: higher, or of a numbering that began anew."""
    return newest is not None and (newest > former or newest < former // 2)


def _keeps_moving(then: Sight, now: Sight, own: Sight) -> bool:
    return _spoke_after(then, own) and now.messages - then.messages >= _MIN_SOFT_MOVES


def _spoke_after(sibling: Sight, own: Sight) -> bool:
    # A shard that begins anew counts from nothing: its count has moved, and no message has come.
    return bool(sibling.messages) and sibling.moved_s - own.moved_s > SAME_MOMENT_S


def _family(kind: str) -> str:
    return "kline" if kind.startswith("kline_") else kind


def _numbers(quote: Quote) -> tuple[Decimal, ...]:
    """Compared as numbers: REST and the stream need not print the same zeros."""
    return tuple(Decimal(text) for text in quote)
