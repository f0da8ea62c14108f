"""The pictures of the status page in the documents, taken anew: `make pictures`.

Out of the real page in a headless Chromium, on the made-up service of `page_stage`; few colours, so that they
stay small.
"""

import asyncio
import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple, TypeAlias

from PIL import Image

from ingest.events import StreamKey
from ingest.ops.http import make_app, serve
from tests.browser import open_page
from tests.page_stage import Stage

FOLDER = Path(__file__).parents[1] / "ingest" / "docs" / "page"
_COLOURS = 256
_ALIKE = 12.0
_Colour: TypeAlias = "tuple[int, ...]"
_STALE = StreamKey("spot", "ETHUSDT", "trade")


class _Shot(NamedTuple):
    name: str
    stage: Stage
    width: int = 1080
    height: int = 720
    dark: bool = False
    phone: bool = False
    whole: bool = False


def _shots() -> list[_Shot]:
    return [
        _Shot("healthy", Stage(), whole=True),
        _Shot("stale-stream", Stage(stale=(_STALE,))),
        _Shot("database-down", Stage(database_is_down=True)),
        _Shot("quarantined-shard", Stage(quarantined=True), whole=True),
        _Shot("phone", Stage(stale=(_STALE,)), width=390, height=844, phone=True),
        _Shot("dark", Stage(stale=(_STALE,)), dark=True),
    ]


async def _take(shot: _Shot, folder: Path) -> None:
    shot.stage.remember_hour()
    async with serve(make_app(shot.stage.sources()), "127.0.0.1", 0) as port, open_page(folder) as page:
        await page.look_like(width=shot.width, height=shot.height, dark=shot.dark, phone=shot.phone)
        await page.send("Emulation.setScrollbarsHidden", hidden=True)
        await page.go(f"http://127.0.0.1:{port}/")
        await page.wait_for("document.querySelector('#tiles dd')")
        await page.picture(FOLDER / f"{shot.name}.png", whole=shot.whole)


def _make_small(file: Path) -> int:
    """Keep one colour of all that are alike; those that fill most come first and stay what they are."""
    picture = Image.open(file).convert("RGB")
    pixels: list[_Colour] = list(zip(*[iter(picture.tobytes())] * 3, strict=True))
    palette: list[_Colour] = []
    places: dict[_Colour, int] = {}
    for colour, _ in Counter(pixels).most_common():
        apart, place = min(
            ((math.dist(colour, kept), at) for at, kept in enumerate(palette)), default=(255.0, 0)
        )
        if apart > _ALIKE and len(palette) < _COLOURS:
            place = len(palette)
            palette.append(colour)
        places[colour] = place
    small = Image.frombytes("P", picture.size, bytes([places[colour] for colour in pixels]))
    small.putpalette([part for colour in palette for part in colour])
    small.save(file, optimize=True)
    return file.stat().st_size


async def _main() -> None:
    for shot in _shots():
        with tempfile.TemporaryDirectory() as folder:
            await _take(shot, Path(folder))
        size_bytes = _make_small(FOLDER / f"{shot.name}.png")
        print(f"{shot.name}.png: {size_bytes:,} bytes")


if __name__ == "__main__":
    asyncio.run(_main())
