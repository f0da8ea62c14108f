"""The binary layout: what goes in comes out, and nothing else is taken for a board."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.board import layout
from ingest.board.layout import (
    BoardSnapshot,
    Diagnosis,
    FeedState,
    FeedValues,
    HeaderValues,
    Heartbeat,
    ShardState,
    StreamState,
    StreamValues,
)
from ingest.errors import BoardError
from ingest.events import StreamKey

BTC_TRADE = StreamKey("spot", "BTCUSDT", "trade")
WORDS = st.integers(-(2**63), 2**63 - 1)


def a_board(*keys: StreamKey, feeds: tuple[int, ...] = (0, 1)) -> "array[int]":
    return layout.initial_words(keys, shard=3, pid=42, feeds=feeds, started_wall_ns=1_000)


def decoded(words: "array[int]") -> BoardSnapshot:
    return layout.decode_board(words.tobytes(), name="x.board")


def with_word(words: "array[int]", at: int, value: int) -> "array[int]":
    changed = array("q", words)
    changed[at] = value
    return changed


def test_initial_board_names_its_shard_and_streams_and_claims_nothing() -> None:
    """A board that nothing was written to says starting, never and none yet."""
    board = decoded(a_board(BTC_TRADE, StreamKey("spot", "ETHUSDT", "depth")))

    assert (board.shard, board.identity.pid, board.identity.started_wall_ns) == (3, 42, 1_000)
    assert [slot.key.symbol for slot in board.streams] == ["BTCUSDT", "ETHUSDT"]
    assert {slot.values for slot in board.streams} == {StreamValues()}
    assert board.feeds == (FeedValues(feed=0), FeedValues(feed=1))
    assert (board.heartbeat, board.header) == (Heartbeat(), HeaderValues())


def test_board_without_streams_or_feeds_is_readable() -> None:
    """A shard to which the plan gave nothing has a board all the same."""
    board = decoded(a_board(feeds=()))

    assert (board.streams, board.feeds) == ((), ())


@given(
    header=st.builds(HeaderValues, st.sampled_from(ShardState), *[WORDS] * (len(HeaderValues._fields) - 1)),
    feed=st.builds(
        FeedValues,
        WORDS.filter(lambda number: number != layout.FREE_FEED),
        st.sampled_from(FeedState),
        *[WORDS] * (len(FeedValues._fields) - 2),
    ),
    stream=st.builds(
        StreamValues,
        st.sampled_from(StreamState),
        st.sampled_from(Diagnosis),
        *[WORDS] * (len(StreamValues._fields) - 2),
    ),
)
def test_every_value_comes_back_in_its_own_field(
    header: HeaderValues, feed: FeedValues, stream: StreamValues
) -> None:
    """Whatever 64-bit numbers are written, each is read back from its own field and no other."""
    words = a_board(BTC_TRADE, BTC_TRADE)
    for at, values in (
        (layout.HEADER_VALUES_AT, header),
        (layout.feed_values_at(1), feed),
        (layout.stream_slot_at(1, feeds=2) + layout.KEY_WORDS, stream),
    ):
        words[at : at + len(values)] = layout.pack_words(values)

    board = decoded(words)

    assert (board.header, board.feeds[1], board.streams[1].values) == (header, feed, stream)
    assert (board.feeds[0], board.streams[0].values) == (FeedValues(feed=0), StreamValues())


def test_spare_slots_are_not_there_for_readers() -> None:
    """A board with room for more shows what it has."""
    words = layout.initial_words(
        [BTC_TRADE], shard=3, pid=42, feeds=[7], started_wall_ns=1_000, spare_streams=3, spare_feeds=2
    )
    board = decoded(words)

    assert [slot.key for slot in board.streams] == [BTC_TRADE]
    assert board.feeds == (FeedValues(feed=7),)
    assert (board.identity.n_streams, board.identity.n_feeds) == (4, 3)


def test_slots_have_room_for_their_values() -> None:
    """No slot reaches into its neighbour."""
    assert layout.HEADER_VALUES_AT + len(HeaderValues._fields) <= layout.HEADER_WORDS
    assert len(FeedValues._fields) <= layout.FEED_WORDS
    assert layout.KEY_WORDS + len(StreamValues._fields) <= layout.STREAM_WORDS


@pytest.mark.parametrize("symbol", ["BTCUSDT", "币安人生USDT", "A" * 85])
def test_key_survives_encoding(symbol: str) -> None:
    """A symbol of any script comes back as it was, up to the very last byte of room."""
    key = StreamKey("spot", symbol, "trade")

    assert layout.decode_key(layout.encode_key(key)) == key


@pytest.mark.parametrize("symbol", ["A" * 86, "币" * 40, "A:B", "A\0"])
def test_key_without_a_place_is_refused_with_its_text(symbol: str) -> None:
    """A key that is too long or could not be told apart again is refused when the board is made."""
    with pytest.raises(BoardError, match="stream 'spot:"):
        layout.initial_words(
            [StreamKey("spot", symbol, "trade")], shard=0, pid=1, feeds=[0], started_wall_ns=1
        )


def test_foreign_file_is_refused() -> None:
    """A file of any other program is not read as a board."""
    with pytest.raises(BoardError, match=r"x\.board is not a freshness board"):
        layout.decode_board(b"SQLite format 3\0" * 64, name="x.board")


def test_board_of_the_other_byte_order_is_refused() -> None:
    """A board copied from a machine of the other byte order is recognised, not misread."""
    words = a_board(BTC_TRADE)
    words.byteswap()

    with pytest.raises(BoardError, match="other byte order"):
        decoded(words)


def test_board_of_another_layout_version_is_refused() -> None:
    """A board of an older or newer program is refused with both versions."""
    with pytest.raises(BoardError, match=f"layout version 1, this program reads {layout.LAYOUT_VERSION}"):
        decoded(with_word(a_board(BTC_TRADE), 1, 1))


@pytest.mark.parametrize("cut", [0, 5, layout.IDENTITY_BYTES - 1])
def test_board_cut_inside_its_identity_is_refused(cut: int) -> None:
    """A file that ends before it says what it is counts as truncated."""
    with pytest.raises(BoardError, match="truncated"):
        layout.decode_board(a_board(BTC_TRADE).tobytes()[:cut], name="x.board")


@pytest.mark.parametrize("cut", [1, 8, 512])
def test_board_shorter_than_promised_is_refused(cut: int) -> None:
    """A file shorter than its own header promises is refused as a whole."""
    with pytest.raises(BoardError, match="its header promises"):
        layout.decode_board(a_board(BTC_TRADE).tobytes()[:-cut], name="x.board")


@pytest.mark.parametrize("at", [4, 5])
def test_negative_counts_are_refused(at: int) -> None:
    """A header that names fewer than no streams or feeds is rubbish."""
    with pytest.raises(BoardError, match="names"):
        decoded(with_word(a_board(BTC_TRADE), at, -1))


@pytest.mark.parametrize(
    "at",
    [
        layout.HEADER_VALUES_AT,
        layout.feed_values_at(0) + 1,
        layout.stream_slot_at(0, feeds=2) + layout.KEY_WORDS,
        layout.stream_slot_at(0, feeds=2) + layout.KEY_WORDS + 1,
        layout.stream_slot_at(0, feeds=2),
    ],
)
@pytest.mark.parametrize("value", [-1, 99])
def test_unknown_state_or_key_is_refused(at: int, value: int) -> None:
    """A state, diagnosis or key that this program has no name for is an error, not a guess."""
    with pytest.raises(BoardError, match=r"x\.board holds a value"):
        decoded(with_word(a_board(BTC_TRADE), at, value))


def test_number_beyond_64_bits_is_refused() -> None:
    """A value that does not fit a word raises and leaves no half of it behind."""
    with pytest.raises(OverflowError):
        layout.pack_words([2**63])
