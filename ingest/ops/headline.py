"""The state of the whole service in one line of plain words, and how bad it is.

Pure: the answers of `health` in, words out. The line names the cause where there is one cause; all the
reasons stand below it on the page.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from ingest.ops.health import Answer, shard_doubt, table_doubt
from ingest.supervisor.freshness import ServiceFacts

Level: TypeAlias = Literal["good", "wait", "warn", "bad"]

_NO_BOARD = "has no board yet"
_NO_DATABASE = frozenset({"cannot reach the database", "waits for the database"})


class Headline(NamedTuple):
    """`level` is the tone: all well, starting, something is not as it should be, do not rely on it."""

    level: Level
    line: str


def headline(ready: Answer, fresh: Answer, facts: ServiceFacts, incidents: Sequence[str] = ()) -> Headline:
    """What a person has to know first; `incidents` are the diagnoses of those that are open."""
    streams = fresh.body["streams"]
    if not ready.ok and _is_starting(facts):
        return Headline("wait", f"The service is starting: {_cause(facts)}.")
    if not ready.ok and fresh.ok:
        return Headline("warn", f"The service is not ready, {_cause(facts)}; so far the data are fresh.")
    if not ready.ok:
        return Headline("bad", f"The service is not ready, {_cause(facts)}: do not rely on the data.")
    if fresh.status == "fresh" and incidents:
        return Headline("warn", f"The data are fresh: {streams:,} streams; {told_incidents(incidents)}.")
    if fresh.status == "fresh":
        return Headline("good", f"All is well: {streams:,} streams, and all that should speak are fresh.")
    if fresh.status == "starting":
        return Headline("wait", f"The service is starting: {streams:,} streams, no rows yet.")
    if fresh.status == "unknown":
        return Headline("bad", "No stream is watched: there are no data to rely on.")
    late = fresh.body["streams_not_fresh"]
    return Headline("warn", f"Some data are not fresh: {late:,} of {streams:,} streams.")


def told_incidents(diagnoses: Sequence[str]) -> str:
    """How many incidents are open, and what they are; those of one kind together."""
    counts = Counter(diagnoses)
    kinds = [f"{count} x {name}" if count > 1 else name for name, count in counts.items()]
    are = "incident is" if len(diagnoses) == 1 else "incidents are"
    return f"{len(diagnoses)} {are} open ({', '.join(kinds)})"


def _is_starting(facts: ServiceFacts) -> bool:
    """Whether nothing but the first start of everything keeps the service from being ready."""
    if not facts.shards:
        return True
    if table_doubt(facts):
        return False
    return facts.schema_checked and all(
        shard.running and not shard.restarts and shard_doubt(shard, facts) in {"", _NO_BOARD, "is starting"}
        for shard in facts.shards
    )


def _cause(facts: ServiceFacts) -> str:
    if not facts.schema_checked:
        return "the database has not been checked yet"
    if not facts.shards:
        return "the plan is being made"
    doubts = {shard.shard: doubt for shard in facts.shards if (doubt := shard_doubt(shard, facts))}
    if not doubts:
        return table_doubt(facts)
    doubts = {shard: "is starting" if doubt == _NO_BOARD else doubt for shard, doubt in doubts.items()}
    if len(doubts) == len(facts.shards) and _NO_DATABASE.issuperset(doubts.values()):
        return "the database cannot be reached"
    if len(doubts) == 1:
        return "".join(f"shard {shard} {doubt}" for shard, doubt in doubts.items())
    if set(doubts.values()) == {"is starting"}:
        return f"{len(doubts)} of {len(facts.shards)} shards are starting"
    return f"{len(doubts)} of {len(facts.shards)} shards do not work"
