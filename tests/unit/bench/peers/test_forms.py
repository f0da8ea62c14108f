"""The same frame in the form that a client has subscribed to."""

import orjson
import pytest

from tests.bench.mix import MIX, Frame, Market
from tests.bench.peers.forms import as_agg_trade, as_raw, path_streams, wanted


def frames(kind: str) -> list[Frame]:
    market = Market(["SYM0000USDT"], seed=3, start_ms=1_700_000_000_000)
    return list(market.frames(20, {kind: 1}))


@pytest.mark.parametrize("kind", MIX)
def test_raw_frame_is_the_data_of_the_combined_one(kind: str) -> None:
    """Nothing but the envelope is gone."""
    for frame in frames(kind):
        assert orjson.loads(as_raw(frame.payload)) == orjson.loads(frame.payload)["data"]


def test_aggregate_has_the_trade_s_fields_and_its_id_three_times() -> None:
    """An aggregate of one trade begins and ends with it."""
    for frame in frames("trade"):
        trade, aggregate = orjson.loads(frame.payload)["data"], orjson.loads(as_agg_trade(frame.payload))

        assert aggregate["stream"] == "sym0000usdt@aggTrade"
        assert aggregate["data"] == {
            **{name: value for name, value in trade.items() if name != "t"},
            "e": "aggTrade",
            "a": trade["t"],
            "f": trade["t"],
            "l": trade["t"],
        }


def test_only_a_trade_becomes_an_aggregate() -> None:
    """Another frame is refused."""
    with pytest.raises(ValueError, match="no trade"):
        as_agg_trade(frames("book_ticker")[0].payload)


def test_aggregate_stream_is_fed_by_trades() -> None:
    """A client of `aggTrade` gets the stream of trades, raw on a raw connection."""
    frame = frames("trade")[0]
    stream, form = wanted("sym0000usdt@aggTrade", combined=False)

    assert stream == frame.stream
    assert orjson.loads(form(frame.payload))["e"] == "aggTrade"


@pytest.mark.parametrize(
    ("target", "combined", "streams"),
    [
        ("/stream?streams=a@trade/b@depth@100ms", True, ["a@trade", "b@depth@100ms"]),
        ("/stream?streams=a%40trade%2Fb%40trade&timeUnit=MILLISECOND", True, ["a@trade", "b@trade"]),
        ("/stream", True, []),
        ("/ws/a@trade/b@trade", False, ["a@trade", "b@trade"]),
        ("/ws/7", False, []),
        ("/ws", False, []),
    ],
)
def test_path_says_envelope_and_streams(target: str, combined: bool, streams: list[str]) -> None:
    """All paths of the exchange, and the number that one client adds."""
    assert path_streams(target) == (combined, streams)
