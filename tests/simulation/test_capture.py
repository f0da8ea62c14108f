"""The whole service with its capture on, one of its shards killed; then its captures into another folder."""

import os
import signal
from datetime import datetime
from pathlib import Path

import orjson
import pytest

from ingest.cli import main
from tests.simulation.service import Service, a_double, a_service, database_alone, wait_until

KINDS = ["trade", "agg_trade", "book_ticker", "depth"]
SPOT = {"symbols": "*", "kinds": KINDS, "audit_every_s": 1}
"""Live books are looked at again and again, which must not change what a replay makes."""
RELATIONS = ("trades", "agg_trades", "book_tickers", "depth_deltas", "depth_snapshots")


def rows_of(service: Service, relation: str) -> set[str]:
    """Every row, all columns of it but the number that this database gives the symbol."""
    row = "(to_jsonb(r) - 'symbol_id')::text"
    return {row[0] for row in service.rows(f"SELECT {row} FROM spot.{relation} AS r")}


def recv_at(row: str) -> datetime:
    return datetime.fromisoformat(orjson.loads(row)["recv_ts"])


def test_captures_of_a_service_hold_whatever_it_has_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A killed shard has lost a moment of its capture, and that is told; every row of the others is there."""
    with a_double(tmp_path, "--no-recording", "--symbols", "6", "--rate", "300") as double:
        capture = {"enabled": True, "flush_s": 0.2}
        with a_service(tmp_path, double, spot=SPOT, capture=capture) as service:
            service.wait_books_live()
            (_, victim), *_ = service.shard_pids().items()
            os.kill(victim, signal.SIGKILL)
            killed_at = service.value("SELECT clock_timestamp()")
            wait_until("the shard is replaced", lambda: victim not in service.shard_pids().values())
            wait_until("both shards run", lambda: len(service.shard_pids()) == 2)
            service.wait_books_live()
            assert service.stop() == 0
        with database_alone(service):
            live = {relation: rows_of(service, relation) for relation in RELATIONS}

    with pytest.raises(SystemExit) as ended:
        main(["replay", str(service.data_dir / "raw"), "--into", str(tmp_path / "second")])
    told = capsys.readouterr().err.splitlines()

    assert ended.value.code == 3
    assert len(told) == 1
    assert "was not closed" in told[0]
    again = Service(tmp_path, None, service={"data_dir": str(tmp_path / "second")})
    again.data_dir = tmp_path / "second"
    with database_alone(again):
        for relation in RELATIONS:
            missing = live[relation] - rows_of(again, relation)
            assert missing < live[relation]
            assert all(recv_at(row) < killed_at for row in missing), relation
