"""What goes wrong in the demo, and when: a script for the exchange double, stretched over its duration.

All of it is over well before the end, so that what the service does about it can be seen too.
"""

from typing import NamedTuple

import orjson


class DemoFault(NamedTuple):
    """`at` is a share of the duration; `told` says it to the person who watches."""

    at: float
    told: str
    fault: dict[str, object]


FAULTS = (
    DemoFault(
        0.12,
        "ETHUSDT's trades fall silent; the connection and its other streams go on",
        {"action": "mute_stream", "symbol": "ETHUSDT", "kind": "trade", "until": "reconnect"},
    ),
    DemoFault(0.30, "a connection is reset", {"action": "reset", "connection": 2}),
    DemoFault(
        0.38,
        "trades arrive twice, and out of order",
        {"action": "duplicate", "kind": "trade", "fraction": 0.2, "for_s": 3.0},
    ),
    DemoFault(0.38, "", {"action": "reorder", "kind": "trade", "n": 40, "for_s": 3.0}),
    DemoFault(0.44, "five frames arrive broken", {"action": "malformed", "n": 5}),
    DemoFault(
        0.50,
        "a connection goes mute: pings come, data do not",
        {"action": "mute_feed", "connection": 3, "until": "reconnect"},
    ),
)

KILL_AT = 0.72
KILL_TOLD = "a shard is killed (kill -9)"


def script(duration_s: float) -> bytes:
    """The faults as the double's control interface takes them."""
    faults = [{**each.fault, "at_s": round(each.at * duration_s, 1)} for each in FAULTS]
    return orjson.dumps({"fault": faults})
