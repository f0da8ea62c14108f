"""Which witness is heard for which kind of stream, and in which order.

Pure. `supervisor.witness` knows what a single piece of evidence is worth; this module knows what there
is for a kind. The streams of the same symbol are heard first, because they cost nothing and answer at
once; REST is for what they cannot say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ingest.supervisor import witness
from ingest.supervisor.witness import IdAnswer, Quiet, Quote, QuoteAnswer, Sight, Stale, Unknown, Verdict

_QUOTED = frozenset({"book_ticker", "depth"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What has been gathered about one symbol.

    `then`, `asked` and `now` are the symbol's streams by kind, as they were seen a while ago, when REST
    was asked, and after what was in flight has arrived.
    """

    then: Mapping[str, Sight]
    asked: Mapping[str, Sight]
    now: Mapping[str, Sight]
    trades: IdAnswer | None = None
    earlier_trades: tuple[IdAnswer, ...] = ()
    """Answers of before, newest first."""
    quotes: QuoteAnswer | None = None
    earlier_quotes: tuple[QuoteAnswer, ...] = ()
    depth: IdAnswer | None = None
    unanswered: str = field(default="")
    """Why REST has not been heard."""


def testify(kind: str, evidence: Evidence) -> Verdict:
    """The verdict on one stream of the symbol."""
    if kind not in evidence.then or kind not in evidence.now:
        return Unknown("the stream was not seen")
    siblings = witness.by_siblings(kind, evidence.then, evidence.now)
    if isinstance(siblings, Stale):
        return siblings
    verdict = _by_rest(kind, evidence)
    return verdict if verdict is not None else siblings


def testify_since(kind: str, evidence: Evidence, since_s: float) -> Verdict:
    """The verdict on the time since `since_s` alone, when the stream was repaired.

    What was missed before stays missed, so ids cannot be compared with ours; two answers of the time
    since can be compared with each other.
    """
    if not all(kind in seen for seen in (evidence.then, evidence.asked, evidence.now)):
        return Unknown("the stream was not seen")
    later = replace(
        evidence,
        then=_moved_since(kind, evidence.then, since_s),
        asked=_moved_since(kind, evidence.asked, since_s),
        now=_moved_since(kind, evidence.now, since_s),
    )
    siblings = witness.by_siblings(kind, later.then, later.now)
    if isinstance(siblings, Stale):
        return siblings
    if evidence.unanswered:
        return Unknown(evidence.unanswered)
    verdict = _by_best_prices(kind, later) if kind in _QUOTED else _by_two_answers(kind, later)
    return verdict if verdict is not None else siblings


def _moved_since(kind: str, seen: Mapping[str, Sight], since_s: float) -> dict[str, Sight]:
    own = seen[kind]
    return {**seen, kind: own._replace(moved_s=max(own.moved_s, since_s))}


def _by_rest(kind: str, evidence: Evidence) -> Verdict | None:
    if evidence.unanswered:
        return Unknown(evidence.unanswered)
    if kind not in evidence.asked:
        return None
    if kind == "trade":
        return _by_trade_id(evidence)
    if kind == "depth":
        return _by_depth_id(evidence)
    if kind == "book_ticker":
        return _by_quotes(kind, evidence)
    return _by_trades(kind, evidence)


def _by_trade_id(evidence: Evidence) -> Verdict | None:
    if evidence.trades is None or "trade" not in evidence.asked or "trade" not in evidence.now:
        return None
    earlier = evidence.earlier_trades[0] if evidence.earlier_trades else None
    return witness.by_id(evidence.asked["trade"], evidence.now["trade"], evidence.trades, earlier=earlier)


def _by_depth_id(evidence: Evidence) -> Verdict | None:
    if evidence.depth is not None:
        verdict = witness.by_id(evidence.asked["depth"], evidence.now["depth"], evidence.depth)
        if not isinstance(verdict, Unknown):
            return verdict
    return _by_quotes("depth", evidence)


def _by_quotes(kind: str, evidence: Evidence) -> Verdict | None:
    verdict = _by_best_prices(kind, evidence)
    if kind == "depth" and isinstance(verdict, Quiet):
        return Unknown("the best prices stand; the levels behind them cannot be seen")
    return verdict


def _by_best_prices(kind: str, evidence: Evidence) -> Verdict | None:
    if evidence.quotes is None:
        return None
    moved_s = evidence.asked[kind].moved_s
    known = _known_quote(evidence, moved_s)
    if known is None:
        return Unknown("there is no earlier answer to compare the best prices with")
    return witness.by_quotes(evidence.asked[kind], evidence.now[kind], known, evidence.quotes)


def _known_quote(evidence: Evidence, moved_s: float) -> Quote | None:
    """The oldest answer that was asked after the stream's newest message had arrived."""
    usable = [each for each in evidence.earlier_quotes if each.asked_s >= moved_s + witness.REST_LAG_S]
    return usable[-1].quote if usable else None


def _by_trades(kind: str, evidence: Evidence) -> Verdict | None:
    push_s = witness.push_s(kind)
    own = evidence.now[kind]
    trade_verdict = _by_trade_id(evidence)
    if trade_verdict is not None:
        verdict = witness.by_trade_stream(own, evidence.now["trade"], trade_verdict, push_s=push_s)
        if not isinstance(verdict, Unknown):
            return verdict
    return _by_two_answers(kind, evidence)


def _by_two_answers(kind: str, evidence: Evidence) -> Verdict | None:
    if evidence.trades is None:
        return None
    push_s, own = witness.push_s(kind), evidence.now[kind]
    first = _first_after(evidence, own.moved_s + push_s + witness.IN_FLIGHT_S)
    if first is None:
        return Unknown("every earlier answer may be older than the stream's newest message")
    return witness.by_trades(evidence.asked[kind], own, (first, evidence.trades), push_s=push_s)


def _first_after(evidence: Evidence, since_s: float) -> IdAnswer | None:
    usable = [each for each in evidence.earlier_trades if each.asked_s >= since_s]
    return usable[-1] if usable else None
