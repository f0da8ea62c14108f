"""The paced generator and the service under it, from end to end; what it measures is of no interest here."""

import asyncio
from collections import defaultdict
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from ingest.binance.parse import PARSERS, split_frame
from ingest.binance.streams import request_messages, stream_of
from ingest.events import BookTicker, DepthDelta, Trade
from tests.bench.generator import generating
from tests.bench.load import LoadJob
from tests.bench.mix import symbol_names
from tests.bench.steering import Steering
from tests.bench.sustained import main

LOAD = LoadJob(300, symbols=2, paced=True)


async def test_paced_frames_reach_a_reader_with_the_ledgers_ids() -> None:
    """More than a lap, in the order of its ids, exactly as often and as far as the ledger says."""
    names = [
        f"{symbol.lower()}@{kind}"
        for symbol in symbol_names(2)
        for kind in ("trade", "bookTicker", "depth@100ms")
    ]
    ids: dict[str, list[tuple[int, int]]] = defaultdict(list)
    async with (
        generating(LOAD) as generator,
        Steering.opened(generator.rest_url) as steering,
        steering.http.ws_connect(f"{generator.ws_url}/stream", decode_text=False) as opened,
    ):
        for message in request_messages("SUBSCRIBE", names, 1).values():
            await opened.send_str(message)
            await opened.receive()
        await steering.wait_subscribed()
        await steering.pace(5_000.0)
        while sum(map(len, ids.values())) < 700:
            keep(ids, (await opened.receive()).data)
        await steering.rest()
        ledger = await steering.ledger()
        while sum(map(len, ids.values())) < sum(stream.frames for stream in ledger.values()):
            keep(ids, (await opened.receive()).data)

    for name, happened in ledger.items():
        assert (len(ids[name]), ids[name][0][0], ids[name][-1][1]) == happened
        steps = [first - last for (_, last), (first, _) in zip(ids[name], ids[name][1:], strict=False)]
        assert min(steps) >= 1
        assert max(steps) == 1 or "bookTicker" in name


def keep(ids: dict[str, list[tuple[int, int]]], data: bytes) -> None:
    """Note the first and the last id of a frame."""
    item = split_frame(data)
    assert isinstance(item, tuple)
    event = PARSERS[stream_of(item[0])[1]](item[1], 0)
    match event:
        case Trade():
            first = last = event.trade_id
        case BookTicker():
            first = last = event.update_id
        case DepthDelta():
            first, last = event.first_update_id, event.final_update_id
        case _:
            raise AssertionError(event)
    ids[item[0]].append((first, last))


async def test_market_of_a_paced_tape_answers_by_rest() -> None:
    """What a start asks for is there: instruments, time, books, statistics, best prices."""
    symbols = symbol_names(2)
    async with generating(LOAD) as generator, Steering.opened(generator.rest_url) as steering:

        async def ask(path: str) -> object:
            async with steering.http.get(
                f"{generator.rest_url}/api/v3/{path}", raise_for_status=True
            ) as answer:
                return await answer.json()

        info, stats = await ask("exchangeInfo"), await ask("ticker/24hr")
        book, best = await ask(f"depth?symbol={symbols[0]}&limit=5"), await ask("ticker/bookTicker")
        time = await ask("time")

    assert isinstance(info, dict) and [row["symbol"] for row in info["symbols"]] == symbols
    assert isinstance(stats, list) and all(row["count"] > 0 for row in stats)
    assert isinstance(book, dict) and len(book["bids"]) == len(book["asks"]) == 5
    assert isinstance(best, list) and len(best) == 2
    assert isinstance(time, dict) and time["serverTime"] > 0


@pytest.mark.deadline(280)
async def test_sustained_command_accounts_for_every_row(tmp_path: Path) -> None:
    """At a tiny rate the real service stores every message once, and everything is measured."""
    report = tmp_path / "sustained.json"
    words = "--rate 300 --minutes 0.05 --symbols 3 --lap 600".split()
    files = ["--json", str(report), "--data-dir", str(tmp_path)]

    result = await asyncio.to_thread(CliRunner().invoke, main, [*words, *files])

    assert result.exit_code == 0, result.output
    told = orjson.loads(report.read_bytes())
    assert told["account"]["stored"] == told["account"]["happened"] > 0
    assert told["account"]["lost"] == told["account"]["doubled"] == told["account"]["unlike"] == 0
    (held,) = told["results"]
    assert held["messages"] > 0
    assert held["latency"]["trade"]["rows"] > 0
    assert set(held["cpu_us"]) == {"shards", "supervisor", "database", "generator"}
    assert held["memory"]["shard 0"]["last_mib"] > 0
    assert "0 lost, 0 twice" in result.output
