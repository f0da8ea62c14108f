"""From one event to all connections."""

import orjson

from ingest.sim.channels import COMBINED_MS, COMBINED_US, RAW_MS, RAW_US, Channel, Hub, Outbox


def _payload(unit_us: int) -> bytes:
    return b'{"E":%d}' % (7_000_000 // unit_us)


def _texts(outbox: Outbox) -> list[bytes]:
    return [frame[2:] for frame in outbox.frames]


def test_each_form_gets_its_own_bytes() -> None:
    """Raw or wrapped, milliseconds or microseconds, as the connection wants it."""
    channel = Channel(Hub(), "a@trade", "A", "trade")
    outboxes = [Outbox(form, form) for form in (RAW_MS, COMBINED_MS, RAW_US, COMBINED_US)]
    for outbox in outboxes:
        channel.join(outbox)

    channel.publish(_payload)

    assert [_texts(outbox) for outbox in outboxes] == [
        [b'{"E":7000}'],
        [b'{"stream":"a@trade","data":{"E":7000}}'],
        [b'{"E":7000000}'],
        [b'{"stream":"a@trade","data":{"E":7000000}}'],
    ]


def test_event_without_listeners_happened_but_was_not_delivered() -> None:
    """Both are counted; several listeners are one delivery."""
    channel = Channel(Hub(), "a@trade", "A", "trade")
    channel.publish(_payload)
    first, second = Outbox(1, RAW_MS), Outbox(2, COMBINED_US)
    channel.join(first)
    channel.join(second)
    channel.publish(_payload)
    channel.leave(first)

    assert (channel.happened, channel.delivered, channel.listeners) == (2, 1, 1)
    assert (first.channels, list(second.channels)) == ({}, ["a@trade"])


def test_connections_share_the_bytes() -> None:
    """One frame object serves all connections of a form."""
    channel = Channel(Hub(), "a@trade", "A", "trade")
    first, second = Outbox(1, RAW_MS), Outbox(2, RAW_MS)
    channel.join(first)
    channel.join(second)
    channel.publish(_payload)

    assert first.frames[0] is second.frames[0]


def test_alias_carries_the_stream_under_its_own_name() -> None:
    """`@depth@1000ms` is what `@depth` is."""
    hub = Hub()
    channel, alias = Channel(hub, "a@depth", "A", "depth_1s"), Channel(hub, "a@depth@1000ms", "A", "depth_1s")
    channel.alias = alias
    outbox = Outbox(1, COMBINED_MS)
    alias.join(outbox)
    channel.publish(_payload)

    assert orjson.loads(_texts(outbox)[0])["stream"] == "a@depth@1000ms"
    assert channel.is_wanted()


def test_tamper_decides_what_is_sent() -> None:
    """What a fault takes away is not counted as delivered."""
    hub = Hub()
    channel, outbox = Channel(hub, "a@trade", "A", "trade"), Outbox(1, RAW_MS)
    channel.join(outbox)
    hub.tamper = lambda channel, outbox, text: [b"spoilt"]
    channel.publish(_payload)
    hub.tamper = lambda channel, outbox, text: [text, text]
    channel.publish(_payload)

    assert _texts(outbox) == [b"spoilt", b'{"E":7000}', b'{"E":7000}']
    assert channel.delivered == 1
