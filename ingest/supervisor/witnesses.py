"""Asking the witnesses: REST for suspects, and the periodic sweep that audits every trade stream.

Suspects are collected; one question at a time is under way, for all of them together, so that a
thousand silent streams cost one answer. What the streams of the same symbol prove is said at once and
waits for no question. The sweep asks for all symbols at once (80 weight, and 4 for best prices where
they are watched) whether anything is suspect or not, and suspects do not put it off; what it finds is
`deficits`: trades that the exchange has and we do not. It also gives what a suspect's best prices will be
compared with: asked only once the stream is suspect, what was missed before would not be seen. Weight
comes from the budget of the address. An exchange that does not answer is an answer too: the verdict is
unknown, with the reason.

While REST is banned (418, 429) nobody is asked: suspects are collected, and the sweep that comes with the
end of the ban is for all of them. A sweep that found no room in the budget is tried again at once.
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, TypeAlias

import structlog

from ingest.binance.rest import RestClient
from ingest.clock import Clock
from ingest.errors import BudgetExhausted, ExchangeError, RestRefused, RestUnavailable
from ingest.events import StreamKey
from ingest.supervisor.testimony import Evidence, testify, testify_since
from ingest.supervisor.witness import (
    IN_FLIGHT_S,
    NO_ID,
    REST_LAG_S,
    IdAnswer,
    Quote,
    QuoteAnswer,
    Sight,
    Stale,
    Verdict,
    by_siblings,
    is_outdated,
    push_s,
    sweep_deficits,
)

log = structlog.get_logger()

_NAMED_AT_MOST = 20
"""Symbols named in one question; more are asked for with the question for all."""
_DEPTHS_AT_MOST = 5
_HEAR_S = 15.0
"""Longer than one request may take; a wait for weight, which may last as long as a ban, is cut short."""
_LOOK_S = 1.0
"""How late the end of a ban may be seen."""
_AGAIN_S = 5.0
"""Until a sweep is tried again that was not our turn; it has waited for `_HEAR_S` before."""
_HISTORY = 16
"""Answers of a symbol: those of the sweeps in the longest silence that is no suspicion yet."""
_QUOTED = frozenset({"book_ticker", "depth"})
_SIGHTS_KEPT_S = 12.0
_SETTLED_S = IN_FLIGHT_S + 2.0
"""Of any kind, the slowest push included."""


@dataclass
class _Symbol:
    """What is known of one symbol by REST, newest answer first."""

    trades: deque[IdAnswer] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    quotes: deque[QuoteAnswer] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    depth: IdAnswer | None = None
    """Of the newest question about it; none when it was not this symbol's turn."""
    depth_asked_s: float = -inf


Sights: TypeAlias = Mapping[StreamKey, Sight]


class _Seen(NamedTuple):
    """The streams as they were at one tick, which is when each was read, whatever its `read_s` says."""

    at_s: float
    sights: Sights

    def views(self, about: Collection[StreamKey]) -> "_Views":
        """All streams of the symbols of these streams."""
        symbols = {key.symbol for key in about}
        views: dict[str, dict[str, Sight]] = defaultdict(dict)
        for (_, symbol, kind), sight in self.sights.items():
            if symbol in symbols:
                views[symbol][kind] = sight._replace(read_s=self.at_s)
        return views


_Views: TypeAlias = Mapping[str, Mapping[str, Sight]]
"""Streams by symbol and kind."""
_NOTHING_SEEN = _Seen(-inf, {})


class Witnesses:
    """`see` takes the streams at every tick; `ask` takes suspects; verdicts go to `on_verdict`."""

    def __init__(
        self,
        rest: RestClient,
        *,
        clock: Clock,
        on_verdict: Callable[[StreamKey, Verdict], None],
        on_healed: Callable[[StreamKey, Verdict], None],
        sweep_every_s: float,
    ) -> None:
        self.deficits: dict[str, int] = {}
        self.swept_s: float | None = None
        """When the newest sweep was answered, on the monotonic clock."""
        self.exchange_answers: bool | None = None
        """To the newest question; None when our own limits kept it from being answered."""
        self.clock_offset_s: float | None = None
        """Our wall clock minus the exchange's, at the newest sweep; right to half a round trip."""
        self.exchange_moves = False
        """REST has told of something that none of our streams has."""
        self._rest = rest
        self._clock = clock
        self._on_verdict = on_verdict
        self._on_healed = on_healed
        self._sweep_every_s = sweep_every_s
        self._symbols: dict[str, _Symbol] = defaultdict(_Symbol)
        self._seen: deque[_Seen] = deque()
        self._suspects: set[StreamKey] = set()
        self._repaired: dict[StreamKey, float] = {}
        self._asked = asyncio.Event()
        self._was_put_off = False
        """The newest question found no room in the budget."""

    def banned_for_s(self) -> float:
        """Seconds until REST may be asked again; 0 when it may."""
        return self._rest.banned_for_s()

    def see(self, now_s: float, sights: Sights) -> None:
        """The streams as they are now; kept for as long as a verdict may need them."""
        self._seen.append(_Seen(now_s, sights))
        while now_s - self._seen[0].at_s > _SIGHTS_KEPT_S:
            self._seen.popleft()

    def ask_whether_healed(self, since_s: Mapping[StreamKey, float]) -> None:
        """Have it found out whether these streams, once silent, have missed anything since."""
        self._repaired.update(since_s)
        self._asked.set()

    def ask(self, keys: Iterable[StreamKey]) -> None:
        """Have verdicts found for these streams; the obvious ones are pronounced before this returns."""
        left = self._without_the_obvious(set(keys))
        self._suspects.update(left)
        if left:
            self._asked.set()

    async def run(self) -> None:
        """Ask until cancelled. A place that is refused (HTTP 451) is not heard, and the feeds go on."""
        next_sweep_s = self._clock.monotonic_s() + min(5.0, self._sweep_every_s)
        while True:
            is_sweep = await self._until_due(next_sweep_s)
            if is_sweep:
                next_sweep_s = self._clock.monotonic_s() + self._sweep_every_s
            self._asked.clear()
            suspects, self._suspects = self._suspects, set()
            repaired, self._repaired = self._repaired, {}
            if is_sweep or suspects or repaired:
                await self._question(suspects, repaired, everything=is_sweep)
            if is_sweep and self._was_put_off:
                next_sweep_s = min(next_sweep_s, self._clock.monotonic_s() + _AGAIN_S)

    async def _until_due(self, next_sweep_s: float) -> bool:
        """Wait for the next sweep, for somebody who asks, and for the end of a ban; whether it is a sweep."""
        was_banned = False
        while True:
            now_s = self._clock.monotonic_s()
            if banned_s := self.banned_for_s():
                was_banned, self.exchange_answers, self.exchange_moves = True, None, False
                await asyncio.sleep(min(banned_s, _LOOK_S))
            elif was_banned or now_s >= next_sweep_s:
                return True
            elif self._asked.is_set():
                return False
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(next_sweep_s - now_s, _LOOK_S)):
                        await self._asked.wait()

    # ------------------------------------------------------------------ one question

    async def _question(
        self, suspects: set[StreamKey], repaired: Mapping[StreamKey, float], *, everything: bool
    ) -> None:
        """Hear REST, wait for what is in flight, and pronounce."""
        then, asked = self._a_while_ago(), self._newest()
        about = suspects | repaired.keys()
        symbols = sorted({key.symbol for key in about})
        named = None if everything or len(symbols) > _NAMED_AT_MOST else symbols
        unanswered = await self._hear(about, named)
        await asyncio.sleep(IN_FLIGHT_S + 0.1)
        await self._next_sight(self._clock.monotonic_s())
        now = self._newest()
        if named is None and not unanswered:
            self._audit(asked.sights, now.sights)
            await self._compare_clocks()
        views = (then.views(about), asked.views(about), now.views(about))
        for key in suspects:
            evidence = self._evidence(key.symbol, views, unanswered)
            self._on_verdict(key, testify(key.kind, evidence))
        for key, since_s in repaired.items():
            evidence = self._evidence(key.symbol, views, unanswered)
            self._on_healed(key, testify_since(key.kind, evidence, since_s))

    def _without_the_obvious(self, suspects: set[StreamKey]) -> set[StreamKey]:
        """Pronounce at once where the streams of the same symbol are witness enough."""
        left, now = set(), self._newest().views(suspects)
        # No older than its kind needs, or a mute stream of a busy symbol would have to wait for REST.
        settled = {push_s(key.kind) + IN_FLIGHT_S for key in suspects}
        then = {settled_s: self._a_while_ago(settled_s).views(suspects) for settled_s in settled}
        for key in suspects:
            before = then[push_s(key.kind) + IN_FLIGHT_S]
            views = (before.get(key.symbol, {}), now.get(key.symbol, {}))
            known = key.kind in views[0] and key.kind in views[1]
            verdict = by_siblings(key.kind, *views) if known else None
            if isinstance(verdict, Stale):
                self._on_verdict(key, verdict)
            else:
                left.add(key)
        return left

    async def _hear(self, about: set[StreamKey], symbols: list[str] | None) -> str:
        """Ask REST; why it could not be heard, or nothing."""
        self._was_put_off = False
        try:
            async with asyncio.timeout(_HEAR_S):
                await self._hear_all(about, symbols)
        except TimeoutError:
            self._was_put_off = True
            self.exchange_answers, reason = None, f"it was not our turn within {_HEAR_S:g} s"
        except (ExchangeError, BudgetExhausted) as error:
            self.exchange_answers = False if isinstance(error, RestUnavailable) else None
            self._was_put_off = isinstance(error, BudgetExhausted)
            reason = str(error)
        else:
            self.exchange_answers = True
            return ""
        log.warning("witness.not_heard", error=reason, streams=len(about))
        return f"REST could not be asked: {reason}"

    async def _hear_all(self, about: set[StreamKey], symbols: list[str] | None) -> None:
        try:
            await self._hear_tickers(about, symbols)
        except RestRefused:
            if symbols is None:
                raise
            # One name that is not listed any more has all names refused.
            await self._hear_tickers(about, None)
        await self._hear_depths({key.symbol for key in about if key.kind == "depth"})

    async def _hear_tickers(self, about: set[StreamKey], symbols: list[str] | None) -> None:
        await self._hear_trades({key.symbol for key in about}, symbols)
        # A question for all is for what will be suspect later, too: it needs something to compare with.
        streams = about if symbols is not None else about | self._newest().sights.keys()
        if quoted := {key.symbol for key in streams if key.kind in _QUOTED}:
            await self._hear_quotes(quoted, symbols)

    async def _hear_trades(self, about: set[str], symbols: list[str] | None) -> None:
        then, now = (self._trade_ids(seen.sights) for seen in (self._a_while_ago(REST_LAG_S), self._newest()))
        asked_s = self._clock.monotonic_s()
        rows = await self._rest.day_stats(symbols and _with_a_busy_one(symbols, then, now))
        answered_s = self._clock.monotonic_s()
        newest = {row.symbol: row.last_trade_id for row in rows}
        outdated = is_outdated(newest, then, now)
        for symbol, last_id in newest.items():
            self._symbols[symbol].trades.appendleft(IdAnswer(asked_s, answered_s, last_id, outdated))
        for symbol in (about if symbols else about | now.keys()) - newest.keys():
            self._symbols[symbol].trades.appendleft(IdAnswer(asked_s, answered_s, None))

    async def _hear_quotes(self, about: set[str], symbols: list[str] | None) -> None:
        asked_s = self._clock.monotonic_s()
        rows = await self._rest.book_tickers(symbols)
        answered_s = self._clock.monotonic_s()
        quotes = {row.symbol: Quote(*row[1:]) for row in rows}
        for symbol in about | quotes.keys():
            answer = QuoteAnswer(asked_s, answered_s, quotes.get(symbol))
            self._symbols[symbol].quotes.appendleft(answer)

    async def _hear_depths(self, symbols: set[str]) -> None:
        """Of a few symbols, those first whose turn is longest ago."""
        waiting = sorted(symbols, key=lambda symbol: (self._symbols[symbol].depth_asked_s, symbol))
        for symbol in waiting:
            self._symbols[symbol].depth = None
        for symbol in waiting[:_DEPTHS_AT_MOST]:
            known, asked_s = self._symbols[symbol], self._clock.monotonic_s()
            known.depth_asked_s = asked_s
            with contextlib.suppress(RestRefused):  # not listed any more
                snapshot = await self._rest.depth(symbol, 5)
                known.depth = IdAnswer(asked_s, self._clock.monotonic_s(), snapshot.last_update_id)

    async def _next_sight(self, since_s: float) -> None:
        """Wait until the streams have been looked at after a moment, for a few ticks at most."""
        for _ in range(40):
            if self._seen and self._seen[-1].at_s >= since_s:
                return
            await asyncio.sleep(0.1)

    async def _compare_clocks(self) -> None:
        asked_ns = self._clock.wall_ns()
        try:
            async with asyncio.timeout(_HEAR_S):
                server_ms = await self._rest.server_time_ms()
        except (ExchangeError, BudgetExhausted, TimeoutError) as error:
            log.warning("clock.not_compared", error=str(error) or type(error).__name__)
            return
        middle_ns = (asked_ns + self._clock.wall_ns()) / 2
        self.clock_offset_s = middle_ns / 1e9 - server_ms / 1e3

    def _a_while_ago(self, settled_s: float = _SETTLED_S) -> _Seen:
        """The newest sights that are old enough for anything in flight then to have arrived by now."""
        if not self._seen:
            return _NOTHING_SEEN
        latest_s = self._seen[-1].at_s - settled_s
        return next((seen for seen in reversed(self._seen) if seen.at_s <= latest_s), self._seen[0])

    def _newest(self) -> _Seen:
        return self._seen[-1] if self._seen else _NOTHING_SEEN

    def _audit(self, asked: Sights, now: Sights) -> None:
        """What a sweep has found."""
        answers = {symbol: known.trades[0] for symbol, known in self._symbols.items() if known.trades}
        ids = {
            symbol: answer.last_id
            for symbol, answer in answers.items()
            if answer.last_id is not None and not answer.is_outdated
        }
        self.deficits = sweep_deficits(ids, self._trade_ids(asked), self._trade_ids(now))
        self.exchange_moves = any(self.deficits.values())
        self.swept_s = self._clock.monotonic_s()

    def _evidence(self, symbol: str, views: tuple[_Views, _Views, _Views], unanswered: str) -> Evidence:
        known = self._symbols[symbol]
        trades, quotes = list(known.trades), list(known.quotes)
        then, asked, now = (view.get(symbol, {}) for view in views)
        return Evidence(
            then=then,
            asked=asked,
            now=now,
            trades=trades[0] if trades else None,
            earlier_trades=tuple(trades[1:]),
            quotes=quotes[0] if quotes else None,
            earlier_quotes=tuple(quotes[1:]),
            depth=known.depth,
            unanswered=unanswered,
        )

    @staticmethod
    def _trade_ids(sights: Sights) -> dict[str, int]:
        return {key.symbol: sight.last_id for key, sight in sights.items() if key.kind == "trade"}


def _with_a_busy_one(symbols: list[str], then: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Named with a symbol that trades, if that costs nothing: by it an answer from a cache is found out."""
    if len(symbols) >= _NAMED_AT_MOST or any(now.get(symbol) != then.get(symbol) for symbol in symbols):
        return symbols
    trades = {
        symbol: now.get(symbol, NO_ID) - last_id for symbol, last_id in then.items() if last_id != NO_ID
    }
    busiest = max(sorted(trades), key=trades.__getitem__, default="")
    return sorted([*symbols, busiest]) if trades.get(busiest, 0) > 0 else symbols
