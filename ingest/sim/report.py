"""What the double says of itself: phase, connections, counters, violations.

Reads only.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest.sim.connection import Connection
    from ingest.sim.server import ExchangeDouble


def state_report(double: "ExchangeDouble") -> dict[str, object]:
    """The whole state as JSON values."""
    playback = double.playback
    return {
        "phase": double.exchange.phase,
        "skipped_s": double.exchange.skipped_us / 1e6,
        "recording": _playback(double) if playback is not None else None,
        "symbols": {each.symbol: each.status for each in double.exchange.instruments.values()},
        "connections_opened": double.opened,
        "connections": [_connection(each) for each in double.connections.values()],
        "violations": {**double.violations.as_dict(), "total": double.violations.total},
        "weight_by_minute": {str(minute): used for minute, used in double.weight_by_minute.items()},
        "events": {"happened": double.ledger.happened, "dropped_from_ledger": double.ledger.dropped},
        "streams": _streams(double),
        "faults": [record.as_dict() for record in double.faults.values()],
    }


def _playback(double: "ExchangeDouble") -> dict[str, object]:
    playback = double.playback
    assert playback is not None
    place, length = playback.position
    return {"played": place, "of": length, "rounds": playback.rounds, "over": playback.is_over()}


def _connection(connection: "Connection") -> dict[str, object]:
    return {
        "number": connection.number,
        "combined": connection.subscriptions.combined,
        "streams": list(connection.subscriptions.names),
        "sent": connection.outbox.sent,
        "received": connection.received,
        "waiting_bytes": connection.waiting_bytes(),
        "half_open": connection.half_open,
        "closing": connection.is_closing,
    }


def _streams(double: "ExchangeDouble") -> dict[str, dict[str, int]]:
    """Streams that somebody listened to, or listens to, with their counts."""
    channels = [double.exchange.all_mini]
    for instrument in double.exchange.instruments.values():
        channels += instrument.streams.values()
    return {
        channel.name: {"happened": channel.happened, "delivered": channel.delivered}
        for channel in channels
        if channel.listeners or channel.delivered
    }
