"""`ingest.ops.picture_events`: the whole picture or the news, each made once."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from ingest.ops.page_history import Sample
from ingest.ops.picture import Detail, Picture
from ingest.ops.picture_events import Frame, end_event, full_event, news_event

DETAIL = Detail("live", "", False, 60.0, 0, 0, 0, 0, None, None)


def a_picture(
    *details: Detail, number: int = 1, names: tuple[str, ...] | None = None, line: str = "well"
) -> Picture:
    return Picture(
        number=number,
        names=names or tuple(f"spot:S{place}:trade" for place in range(len(details))),
        details=details,
        ages_ds=tuple(range(len(details))),
        whole={"line": line},
    )


def a_sample(at_ms: int = 1) -> Sample:
    return Sample(at_ms, 1.0, 2.0, None, None, 3.0, 0.0)


def parsed(event: bytes) -> tuple[str, dict[str, Any]]:
    """Name and data of a server-sent event, by its own rules: lines, and an empty one at the end."""
    first, second, *rest = event.decode().split("\n")
    assert rest == ["", ""]
    return first.removeprefix("event: "), orjson.loads(second.removeprefix("data: "))


def test_full_event_holds_everything() -> None:
    """Names, details, ages, samples, and what is whole."""
    name, data = parsed(full_event(a_picture(DETAIL), [a_sample()], "v1"))

    assert name == "full"
    assert (data["names"], data["ages_ds"], data["version"], data["line"]) == (
        ["spot:S0:trade"],
        [0],
        "v1",
        "well",
    )
    assert data["details"] == [["live", "", False, 60.0, 0, 0, 0, 0, None, None]]
    assert data["samples"] == [[1, 1.0, 2.0, None, None, 3.0, 0.0]]


def test_news_hold_what_has_changed() -> None:
    """All ages, because they always change; details of the streams whose details are others."""
    stale = DETAIL._replace(state="stale")
    event = news_event(a_picture(DETAIL, stale, number=2), a_picture(DETAIL, DETAIL), [])
    assert event is not None
    name, data = parsed(event)

    assert (name, data["number"], data["ages_ds"]) == ("news", 2, [0, 1])
    assert [place for place, _ in data["changed"]] == [1]
    assert "names" not in data


def test_other_streams_are_no_news() -> None:
    """Places would mean other streams: there is no telling it but as a whole."""
    assert news_event(a_picture(DETAIL, names=("spot:B:trade",)), a_picture(DETAIL), []) is None


def test_line_breaks_stay_inside_the_data() -> None:
    """Text with line breaks cannot end the event before its time."""
    name, data = parsed(full_event(a_picture(DETAIL, line="one\n\nevent: two"), [], ""))

    assert (name, data["line"]) == ("full", "one\n\nevent: two")


def test_end_is_an_event_of_its_own() -> None:
    """So that a page need not guess why it was let go."""
    assert parsed(end_event()) == ("end", {})


details = st.lists(st.builds(DETAIL._replace, open_gaps=st.integers(0, 2)), min_size=3, max_size=3)


@given(details, details)
def test_news_applied_to_the_picture_before_give_the_picture(before: list[Detail], now: list[Detail]) -> None:
    """The invariant that the page relies on."""
    event = news_event(a_picture(*now, number=2), a_picture(*before), [])
    assert event is not None
    _, data = parsed(event)
    applied = [list(detail) for detail in before]
    for place, values in data["changed"]:
        applied[place] = values

    assert applied == [list(detail) for detail in now]


def a_frame(*, before: Picture | None) -> Frame:
    samples = [a_sample(1), a_sample(2)]
    return Frame(
        picture=a_picture(DETAIL, number=5), before=before, samples=samples, new_samples=1, version="v1"
    )


def test_frame_gives_news_to_who_has_the_picture_before_and_all_to_the_others() -> None:
    """With the samples that are new to each."""
    frame = a_frame(before=a_picture(DETAIL, number=4))
    given_to = {number: parsed(frame.for_whoever_has(number)) for number in (0, 3, 4)}

    assert {number: name for number, (name, _) in given_to.items()} == {0: "full", 3: "full", 4: "news"}
    assert [len(given_to[number][1]["samples"]) for number in (0, 4)] == [2, 1]


def test_frame_is_encoded_once_for_all() -> None:
    """However many ask."""
    frame = a_frame(before=a_picture(DETAIL, number=4))

    assert frame.for_whoever_has(4) is frame.for_whoever_has(4)
    assert frame.for_whoever_has(0) is frame.for_whoever_has(1)


def test_frame_after_other_streams_is_whole_for_all() -> None:
    """Who has the picture before gets everything, too."""
    frame = a_frame(before=a_picture(DETAIL, number=4, names=("spot:B:trade",)))

    assert parsed(frame.for_whoever_has(4))[0] == "full"
