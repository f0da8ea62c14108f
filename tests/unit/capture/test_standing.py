"""What stands at a point of a capture."""

import orjson

from ingest.capture.records import NOW_S, Kind, Record
from ingest.capture.standing import Standing, missing

BTC, ETH = ["spot", "BTCUSDT", "trade"], ["spot", "ETHUSDT", "depth"]


def added(feed: int, stream: list[str]) -> Record:
    return Record(Kind.ADDED, feed, payload=orjson.dumps({"stream": stream, "line": 1, "resume": None}))


def removed(feed: int, *streams: list[str]) -> Record:
    return Record(Kind.REMOVED, feed, payload=orjson.dumps({"streams": streams}))


def opened(feed: int, epoch: int) -> Record:
    return Record(Kind.OPENED, feed, epoch, 7, b'{"url":"ws://x"}')


def body(*records: Record) -> dict[str, object]:
    standing = Standing()
    standing.pass_by(records)
    found: dict[str, object] = orjson.loads(standing.record().payload)
    return found


def test_nothing_stands_at_first() -> None:
    """And that is said, too."""
    assert body() == {"now_s": 0.0, "streams": [], "open": []}


def test_streams_come_and_go() -> None:
    """A feed without any is none."""
    records = [added(4, BTC), added(4, ETH), added(5, BTC), removed(4, ETH), removed(5, BTC)]

    assert body(*records)["streams"] == [[4, 1, [BTC]]]


def test_connections_open_and_end() -> None:
    """Two of one feed while one hands over to the other."""
    ended = Record(Kind.ENDED, 4, 1, 7, b"{}")

    assert body(opened(4, 1), opened(4, 2))["open"] == [[4, 1, 7, "ws://x"], [4, 2, 7, "ws://x"]]
    assert body(opened(4, 1), opened(4, 2), ended)["open"] == [[4, 2, 7, "ws://x"]]


def test_newest_time_stands() -> None:
    """With the wall clock as the record's stamp."""
    standing = Standing()
    standing.pass_by([Record(Kind.INSTANT, stamp_ns=n, payload=NOW_S.pack(n / 2)) for n in (1, 2, 3)])
    record = standing.record()

    assert (record.kind, record.stamp_ns, orjson.loads(record.payload)["now_s"]) == (Kind.STANDING, 3, 1.5)


def test_missing_says_how_many() -> None:
    """As a record of its own."""
    assert missing(12) == Record(Kind.MISSING, payload=b'{"records":12}')
