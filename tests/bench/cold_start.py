"""`python -m tests.bench.cold_start`: many books at once, and what their start costs.

Starts the double and the service as processes and watches: how many books are live, how many of them are
known as deep as they shall be, how much request weight each minute took, whether any limit was broken.
"""

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import orjson

from ingest.board.layout import HeaderValues
from tests.simulation.service import Double, Service, a_double, a_service

_EVERY_S = 5.0
_LONGEST_START_S = 900.0


@click.command()
@click.option("--symbols", default=1_400, show_default=True)
@click.option("--rate", default=4_000.0, show_default=True, help="Messages a second, all streams.")
@click.option("--tail", default=0.5, show_default=True, help="How unequal the symbols are.")
@click.option("--levels", default=1_500, show_default=True, help="Levels a side of each book.")
@click.option(
    "--deepen-for", "deepen_for_s", default=180.0, show_default=True, help="Seconds after all are live."
)
def main(symbols: int, rate: float, tail: float, levels: int, deepen_for_s: float) -> None:
    """Measure a cold start; exit code 1 when a limit of the exchange was broken."""
    options = ("--no-recording", "--symbols", str(symbols), "--rate", str(rate), "--tail", str(tail))
    sections: dict[str, Mapping[str, object]] = {
        "spot": {"symbols": "*", "kinds": ["depth"]},
        "service": {"shards": 2},
        "silence": {"fixed_s": {"depth": 900}},
    }
    with (
        tempfile.TemporaryDirectory(prefix="cold-start-") as folder,
        a_double(Path(folder), *options, "--levels", str(levels)) as double,
        a_service(Path(folder), double, **sections) as service,
    ):
        watched = _watch(double, service, symbols, deepen_for_s)
    click.echo(orjson.dumps(watched, option=orjson.OPT_INDENT_2).decode())
    sys.exit(1 if watched["violations"] else 0)


def _watch(double: Double, service: Service, symbols: int, deepen_for_s: float) -> dict[str, object]:
    """Look every few seconds, until all books are live and some time after."""
    began_s = time.monotonic()
    until_s = began_s + _LONGEST_START_S
    reached: dict[str, float] = {}
    while True:
        headers = [board.header for board in service.boards()]
        live, shallow = sum(h.books_live for h in headers), sum(h.books_shallow for h in headers)
        after_s = round(time.monotonic() - began_s, 1)
        spoken = len(double.happened("depth"))
        click.echo(f"{after_s:7.1f} s  spoken {spoken:5}  live {live:5}  shallow {shallow:5}", err=True)
        for share in (0.5, 0.9, 0.99, 1.0):
            if live >= share * symbols and f"{share:.0%}" not in reached:
                reached[f"{share:.0%}"] = after_s
                until_s = time.monotonic() + deepen_for_s if share == 1.0 else until_s
        if time.monotonic() >= until_s:
            return _account(double, headers, reached) | {"after_s": after_s}
        time.sleep(_EVERY_S)


def _account(double: Double, headers: Sequence[HeaderValues], reached: dict[str, float]) -> dict[str, object]:
    return {
        "live_after_s": reached,
        "books": sum(h.books_live for h in headers),
        "shallow": sum(h.books_shallow for h in headers),
        "weight_by_minute": list(double.state()["weight_by_minute"].values()),
        "violations": double.violations(),
        "audits": sum(h.book_audits for h in headers),
        "audit_levels": sum(h.book_audit_levels for h in headers),
        "audit_mismatches": sum(h.book_audit_mismatches for h in headers),
        "audits_inconclusive": sum(h.book_audits_inconclusive for h in headers),
        "loop_lag_max_ms": max(h.loop_lag_max_us for h in headers) / 1_000,
    }


if __name__ == "__main__":
    main()
