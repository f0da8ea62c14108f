"""What a folder has, and whether it needs to be made again."""

from dataclasses import replace

import pytest

from ingest.errors import ConfigError
from ingest.export.manifest import Manifest, Wanted, standing
from tests.unit.export.entries import an_entry

WANTED = Wanted("trade/A/2026-01-02.parquet", "2026-01-02T06", "2026-01-02T12", "decimal")
THERE = an_entry(from_ts=WANTED.from_ts, to_ts=WANTED.to_ts)


def test_manifest_comes_back_as_it_was() -> None:
    """What is written is read again, field by field."""
    manifest = Manifest({THERE.path: THERE})

    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("text", [b"", b"[]", b'{"format": 2}', b'{"format": 1, "files": [{"path": "x"}]}'])
def test_other_text_is_no_manifest(text: bytes) -> None:
    """A damaged manifest is not taken for an empty one: files would be made over."""
    with pytest.raises(ConfigError, match="manifest"):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (None, "absent"),
        (THERE, "done"),
        (replace(THERE, is_complete=False), "older"),
        (replace(THERE, to_ts="2026-01-02T11"), "older"),
        (replace(THERE, to_ts="2026-01-02T13"), "other"),
        (replace(THERE, from_ts="2026-01-02T05", to_ts="2026-01-02T11"), "other"),
        (replace(THERE, numbers="float"), "other"),
    ],
)
def test_what_stands_for_a_wanted_file(entry: object, what: str) -> None:
    """The same and complete is done; less is made anew; more, or with other numbers, is not thrown away."""
    assert standing(entry, WANTED) == what  # type: ignore[arg-type]
