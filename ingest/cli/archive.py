"""Days of the exchange's public archive, from a folder or a URL, their checksums verified."""

import hashlib
import io
import tempfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import click

from ingest.binance import archive
from ingest.binance.frames import MalformedFrame
from ingest.errors import ExchangeError, RestRefused, RestUnavailable
from ingest.sequence.verify import Fact, agg_trade_fact, trade_fact

_BLOCK_BYTES: Final = 1 << 20
_CHUNK_ROWS: Final = 20_000
_MOST_BYTES: Final = 8 << 30
_CHECKSUM_BYTES: Final = 4_096


class ArchiveDamaged(ExchangeError):
    """A file of the archive is not what its checksum says, or not what an archive holds."""


def archive_place(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """The callback of an option that is a folder that is there, or an address."""
    if text is None or ("://" not in text and text and Path(text).is_dir()):
        return text
    if "://" not in text:
        raise click.BadParameter(f"there is no folder {text!r}")
    try:
        is_known = urlsplit(text).scheme in {"http", "https"} and bool(urlsplit(text).hostname)
    except ValueError:
        is_known = False
    if not is_known:
        # Not quoted: it may hold a password.
        raise click.BadParameter("an address begins with http:// or https:// and a host")
    return text


@asynccontextmanager
async def day_file(place: str, symbol: str, kind: str, day: date) -> AsyncIterator[Path]:
    """The verified zip of a day, for as long as the block runs.

    `place` is a folder (with the files in it, or with the archive's own tree below it) or a URL. Raises
    RestRefused when there is no such day, RestUnavailable when it cannot be had now, ArchiveDamaged.
    """
    name = archive.file_name(symbol, kind, day)
    if "://" not in place:
        path = _in_folder(Path(place), symbol, kind, name)
        _verify(path, path.with_name(f"{name}.CHECKSUM").read_text(encoding="utf-8", errors="replace"))
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ingest-archive-") as scratch:
        path = Path(scratch) / "day.zip"
        address = f"{place.rstrip('/')}/{archive.folder(symbol, kind)}/{name}"
        _verify(path, await _downloaded(address, path), name=name)
        yield path


def _in_folder(folder: Path, symbol: str, kind: str, name: str) -> Path:
    tree = Path(archive.folder(symbol, kind))
    for path in (folder / name, folder / tree / name, folder / tree.relative_to("data") / name):
        if path.is_file():
            if not path.with_name(f"{name}.CHECKSUM").is_file():
                raise ArchiveDamaged(f"{path} has no {name}.CHECKSUM beside it")
            return path
    raise RestRefused(f"the archive in {folder} has no {name}")


async def _downloaded(address: str, path: Path) -> str:
    """Write the file behind an address; the text of its checksum file."""
    timeout = aiohttp.ClientTimeout(total=3_600, sock_connect=15, sock_read=60)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http:
            async with http.get(f"{address}.CHECKSUM") as answer:
                _check_status(answer)
                text = (await answer.content.read(_CHECKSUM_BYTES)).decode(errors="replace")
            async with http.get(address) as answer:
                _check_status(answer)
                await _save(answer, path)
    except (aiohttp.ClientError, OSError) as error:
        parts = urlsplit(address)
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        raise RestUnavailable(f"{shown}: {type(error).__name__}: {error}") from error
    return text


def _check_status(answer: aiohttp.ClientResponse) -> None:
    if answer.status in {403, 404}:
        raise RestRefused(f"the archive has no {answer.url}: HTTP {answer.status}")
    if answer.status != 200:
        raise RestUnavailable(f"{answer.url}: HTTP {answer.status}")


async def _save(answer: aiohttp.ClientResponse, path: Path) -> None:
    size = 0
    with path.open("wb") as file:
        async for block in answer.content.iter_chunked(_BLOCK_BYTES):
            size += len(block)
            if size > _MOST_BYTES:
                raise ArchiveDamaged(f"{answer.url} is larger than {_MOST_BYTES} bytes")
            file.write(block)


def _verify(path: Path, checksum: str, *, name: str = "") -> None:
    try:
        stated = archive.checksum(checksum, name or path.name)
    except MalformedFrame as error:
        raise ArchiveDamaged(str(error)) from error
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != stated:
        raise ArchiveDamaged(f"{name or path.name}: SHA-256 is {found}, its checksum file says {stated}")


def chunks(path: Path, symbol: str, kind: str) -> Iterator[list[Fact]]:
    """The day's trades in the order of the file, some thousands at a time, each time with higher ids.

    Raises ArchiveDamaged.
    """
    highest = -1
    try:
        with zipfile.ZipFile(path) as packed, packed.open(_only_member(packed)) as raw:
            facts = _facts(symbol, kind, io.TextIOWrapper(raw, encoding="utf-8", errors="replace"))
            while chunk := list(islice(facts, _CHUNK_ROWS)):
                _check_rising(highest, chunk)
                highest = max(fact.row_id for fact in chunk)
                yield chunk
    except (zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, OSError, EOFError) as error:
        raise ArchiveDamaged(f"{path.name}: {error}") from error


def _check_rising(highest: int, chunk: list[Fact]) -> None:
    """What lies behind its place would be compared with rows that were compared before, or with none."""
    lowest = min(fact.row_id for fact in chunk)
    if lowest <= highest:
        raise ValueError(f"its ids do not rise, {lowest} comes behind {highest}")


def _only_member(packed: zipfile.ZipFile) -> str:
    names = packed.namelist()
    if len(names) != 1:
        raise ValueError(f"an archive holds one file, this one {len(names)}")
    return names[0]


def _facts(symbol: str, kind: str, lines: io.TextIOWrapper) -> Iterator[Fact]:
    if kind == "trade":
        return map(trade_fact, archive.trades(symbol, lines))
    return map(agg_trade_fact, archive.agg_trades(symbol, lines))
