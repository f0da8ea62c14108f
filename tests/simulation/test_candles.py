"""Candles of a running service against those of the exchange, through a killed shard and the repairs."""

import os
import signal
from pathlib import Path

from tests.simulation.service import a_double, a_service, wait_until

COMPLETE = "SELECT count(*) FROM spot.candles_1s WHERE is_complete"
COMPARED = (
    "SELECT count(*) FROM spot.klines JOIN spot.candles_1s USING (symbol, open_time)"
    " WHERE klines.is_closed AND interval = '1s' AND is_complete"
)


def test_candles_are_the_exchanges_through_an_outage(tmp_path: Path) -> None:
    """Every whole second that both have is the same; the seconds of the outage become complete by repair."""
    options = ("--no-recording", "--symbols", "3", "--non-ascii", "0", "--rate", "300")
    with a_double(tmp_path, *options) as double:
        spot = {"symbols": "*", "kinds": ["trade", "kline_1s"]}
        with a_service(tmp_path, double, spot=spot) as service:
            wait_until("candles are complete", lambda: service.value(COMPLETE) > 15)
            # What it misses until it is back is more than a moment's.
            os.kill(next(iter(service.shard_pids().values())), signal.SIGKILL)
            repaired = "SELECT count(*) FROM ops.gaps WHERE kind = 'trade' AND state = 'repaired'"
            missed = "SELECT count(*) FROM ops.gaps WHERE kind = 'trade' AND state <> 'repaired'"
            wait_until("something was missed and is repaired", lambda: service.value(repaired) > 0)
            wait_until("all that was missed is", lambda: service.value(missed) == 0)
            before = service.value(COMPLETE)
            wait_until("candles go on", lambda: service.value(COMPLETE) > before + 15)
            double.tell("pause")
            waiting = "SELECT count(*) FROM spot_raw.trades_touched"
            wait_until("all is rolled up", lambda: service.value(waiting) == 0)

            assert service.rows("SELECT * FROM spot.candle_differences") == []
            assert service.value(COMPARED) > 30
            (lost,) = service.rows(
                "SELECT min(start_ts), max(end_ts) FROM ops.gaps WHERE kind = 'trade' AND state = 'repaired'"
            )
            incomplete = service.value(
                "SELECT count(*) FROM spot.candles_1s WHERE NOT is_complete AND is_closed"
                " AND open_time BETWEEN $1 AND $2",
                *lost,
            )
            assert incomplete == 0
            assert "ingest_candle_lag_seconds" in service.http("/metrics")[1].decode()
