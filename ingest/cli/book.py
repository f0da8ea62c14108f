"""`ingest book`: the order book of a symbol at any moment, rebuilt from the database."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import click
import orjson
from rich.table import Table

from ingest.book.levels import Book
from ingest.book.moment import KnownGap, Refusal, StoredMoment, book_at
from ingest.book.rebuild import RebuiltBook
from ingest.cli.database import database_url
from ingest.cli.options import config_option, moment
from ingest.cli.tables import console
from ingest.config import Settings, load_settings
from ingest.events import Level
from ingest.store.instants import microseconds
from ingest.store.postgres import PostgresSink

_DEGRADED = 3


@click.command()
@click.argument("symbol")
@click.option(
    "--at", callback=moment, metavar="TIME", help="ISO 8601, UTC unless it says more; default: the newest."
)
@click.option("--levels", default=10, show_default=True, type=click.IntRange(1, 5_000), help="Levels a side.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@config_option
def book(symbol: str, at: datetime | None, levels: int, as_json: bool, config_file: Path | None) -> int:
    """Print the book of SYMBOL as it stood at a moment, from stored snapshots and deltas.

    Without --at: the newest that is stored. Exit code 3 when the book of that moment cannot be known, with
    the reason (a gap, no stored book before it, nothing stored that late); nothing is printed then.
    """
    symbol = symbol.upper()
    at_us = None if at is None else microseconds(at)
    stored = asyncio.run(_stored(load_settings(config_file), symbol, at_us))
    if stored is None:
        click.echo(f"no book of {symbol} is stored", err=True)
        return 1
    answer = book_at(stored)
    if isinstance(answer, Refusal):
        _print_refusal(symbol, stored.at_us, answer, as_json=as_json)
        return _DEGRADED
    _print_json(symbol, answer, levels) if as_json else _print_table(symbol, answer, levels)
    return 0


async def _stored(settings: Settings, symbol: str, at_us: int | None) -> StoredMoment | None:
    async with database_url(settings) as url, PostgresSink.opened(url, connections=1) as sink:
        return await sink.stored_book("spot", symbol, at_us=at_us)


def _print_refusal(symbol: str, at_us: int, refusal: Refusal, *, as_json: bool) -> None:
    message = f"the book of {symbol} at {_time(at_us)} is not known: {_reason(refusal)}"
    click.echo(message, err=True)
    if as_json:
        gap, again_us = refusal.gap, refusal.known_again_us
        answer = {
            "symbol": symbol,
            "at": _time(at_us),
            "refused": refusal.why,
            "reason": _reason(refusal),
            "missing": refusal.missing,
            "gap": None if gap is None else gap._asdict(),
            "known_again": None if again_us is None else _time(again_us),
        }
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())


def _reason(refusal: Refusal) -> str:
    """Why, in a sentence without its end."""
    if refusal.why == "beyond_newest":
        return f"nothing is stored that late, the newest row is of {_time(refusal.newest_us)}"
    if refusal.why == "before_first":
        return f"no book is stored at or before it{_again('; the first is of', refusal)}"
    if refusal.gap is None:
        what = "; the gap ledger has nothing of it (the rows may be on their way)"
    else:
        what = f"; {_gap_in_words(refusal.gap)}"
    return f"{_missing_in_words(refusal)}{what}{_again('; it is known again from', refusal)}"


def _missing_in_words(refusal: Refusal) -> str:
    if refusal.missing is None:
        return "updates are missing"
    first, last = refusal.missing
    trouble = "not to be trusted" if refusal.gap and refusal.gap.cause == "audit" else "missing"
    return f"updates {first} to {last} are {trouble}"


def _gap_in_words(gap: KnownGap) -> str:
    start, end = ("an unknown time" if us is None else _time(us) for us in (gap.start_us, gap.end_us))
    return f"gap {gap.gap_id}, {start} to {end}, cause {gap.cause}, {gap.state}"


def _again(words: str, refusal: Refusal) -> str:
    return "" if refusal.known_again_us is None else f"{words} {_time(refusal.known_again_us)}"


def _time(ts_us: int) -> str:
    return datetime.fromtimestamp(ts_us / 1e6, UTC).isoformat(timespec="milliseconds")


def _print_json(symbol: str, rebuilt: RebuiltBook, levels: int) -> None:
    bids, asks = rebuilt.book.top(levels)
    answer = {
        "symbol": symbol,
        "update_id": rebuilt.update_id,
        "ts": _time(rebuilt.ts_us),
        "deltas_applied": rebuilt.deltas_applied,
        "levels_known": {"bids": len(rebuilt.book.bids), "asks": len(rebuilt.book.asks)},
        "bids_known_from": rebuilt.book.bids_known_from,
        "asks_known_to": rebuilt.book.asks_known_to,
        "bids": bids,
        "asks": asks,
    }
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())


def _print_table(symbol: str, rebuilt: RebuiltBook, levels: int) -> None:
    bids, asks = rebuilt.book.top(levels)
    title = f"{symbol} after update {rebuilt.update_id}, {_time(rebuilt.ts_us)}"
    caption = f"snapshot and {rebuilt.deltas_applied} deltas; {_depth_in_words(rebuilt.book)}"
    table = Table(title=title, caption=caption)
    for heading in ("bid qty", "bid", "ask", "ask qty"):
        table.add_column(heading, justify="right")
    blank = ("", "")
    for row in range(max(len(bids), len(asks))):
        bid, ask = (side[row] if row < len(side) else blank for side in (bids, asks))
        table.add_row(
            _plain(bid[1]), f"[green]{_plain(bid[0])}[/]", f"[red]{_plain(ask[0])}[/]", _plain(ask[1])
        )
    console().print(table)
    if bids and asks:
        click.echo(f"spread {_spread(bids[0], asks[0])}")


def _depth_in_words(book: Book) -> str:
    bids = f"{len(book.bids)} bids down to {book.bids_known_from}" if book.bids_are_cut else "all bids"
    asks = f"{len(book.asks)} asks up to {book.asks_known_to}" if book.asks_are_cut else "all asks"
    return f"known: {bids}, {asks}"


def _plain(text: str) -> str:
    """Without the zeros that the exchange pads to eight decimals."""
    return f"{Decimal(text).normalize():f}" if text else ""


def _spread(bid: Level, ask: Level) -> str:
    return f"{(Decimal(ask[0]) - Decimal(bid[0])).normalize():f}"
