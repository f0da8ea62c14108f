"""For which time the gap ledger speaks: outside of it, trades may be missing without a row in `ops.gaps`.

It speaks from the first trade that was seen live, without an end as long as the symbol is carried, and for
spans that were filled by hand.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ingest.store.instants import instant
from ingest.store.statements import statement

if TYPE_CHECKING:
    from ingest.store.sessions import Connection

LONGEST_SILENCE: Final = timedelta(days=2, hours=23)
"""A little less than how far back a shard looks for the newest stored trade of a stream when it starts.

After a longer silence it cannot know what was missed, and opens no gap for it.
"""


async def keep_coverage(connection: "Connection") -> None:
    """Begin, continue and end the spans of the streams that are carried now; cheap, to be called often."""
    await connection.execute(statement("keep_coverage"), LONGEST_SILENCE)


async def cover_trades(
    connection: "Connection", market: str, symbol: str, since_us: int, until_us: int
) -> None:
    """Say that all trades from one time up to, not including, another are stored, or in the ledger."""
    if since_us < until_us:
        span = (instant(since_us), instant(until_us))
        await connection.execute(statement("cover_trades"), market, symbol, *span)
