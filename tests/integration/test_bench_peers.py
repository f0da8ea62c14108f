"""The benchmark of peers runs from end to end with the programs that the dev environment can run."""

import sys
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from tests.bench.peers.__main__ import main
from tests.bench.peers.measure import PeerFailure, PeerMeasure
from tests.bench.peers.report import tables
from tests.bench.peers.suite import PeerOptions, run_peers


@pytest.mark.deadline(240)
async def test_every_message_is_received_and_stored(tmp_path: Path) -> None:
    """A plain loop stores each message once, singly and in batches; a peer that cannot run says why."""
    options = PeerOptions(
        messages=300,
        seconds=60.0,
        rounds=1,
        folder=tmp_path,
        modes=("mix",),
        rows=("cryptofeed", "websockets", "websockets-insert", "websockets-batch"),
        symbols=3,
        durable=False,
        interpreter=Path(sys.executable),
    )
    told: list[PeerMeasure | PeerFailure] = []

    results = await run_peers(options, told.append)

    measures = {each.row: each for each in results if isinstance(each, PeerMeasure)}
    failures = [each for each in results if isinstance(each, PeerFailure)]
    assert told == results
    assert measures.keys() == {
        *("floor", "parse", "shard", "stored"),
        *("websockets", "websockets-insert", "websockets-batch"),
    }
    assert all(each.received == each.sent and each.cpu_s > 0 for each in measures.values())
    assert {row: each.stored for row, each in measures.items() if each.stored} == {
        "stored": 300,
        "websockets-insert": 225,  # the rest was the trial
        "websockets-batch": 225,
    }
    assert [failure.row for failure in failures] == ["cryptofeed"]
    assert "No module named 'cryptofeed'" in failures[0].reason
    assert tables(results)[0].row_count == 8


def test_command_stores_what_it_measured(tmp_path: Path) -> None:
    """The command line measures the named peer in the named mode and writes everything down."""
    words = "--messages 100 --rows websockets --modes trade --symbols 2 --python".split()

    result = CliRunner().invoke(
        main, [*words, sys.executable, "--folder", str(tmp_path)], catch_exceptions=False
    )

    assert result.exit_code == 0
    stored = orjson.loads((tmp_path / "latest.json").read_bytes())
    assert [measure["row"] for measure in stored["measures"]][-1] == "websockets"
    assert stored["failures"] == []


def test_unknown_peer_is_refused_by_name() -> None:
    """A peer that does not exist is named, with those that do."""
    result = CliRunner().invoke(main, ["--rows", "picows,speed"])

    assert result.exit_code == 2
    assert "no such one: speed" in result.output
