"""The files of the status page: plain JavaScript, a style sheet, one document; read once, served as they are.

Decides their types and tags. A browser may keep a file and asks each time whether it still holds (`no-cache`
with a tag made of the content); `version` is a tag of all of them together, by which an open page sees that
the service was replaced by one with another page.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib import resources

from ingest import __version__
from ingest.ops.headline import Headline

_TYPES = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
_DOCUMENT = "index.html"


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is served."""

    body: bytes
    content_type: str
    tag: str


@dataclass(frozen=True, slots=True)
class PageFiles:
    """All files by name; the document is made anew for each request, so that its first line is of now."""

    files: Mapping[str, PageFile]
    document: str
    version: str

    def document_with(self, said: Headline) -> str:
        """The document, with the service's state in it for whoever has no script."""
        return self.document.replace("{{level}}", said.level).replace("{{line}}", escape(said.line))


def load_page() -> PageFiles:
    """Read the files out of the package."""
    folder = resources.files("ingest.ops") / "page"
    bodies = {each.name: each.read_bytes() for each in sorted(folder.iterdir(), key=lambda each: each.name)}
    together = hashlib.sha256()
    for name, body in bodies.items():
        together.update(f"{name} {len(body)}\n".encode() + body)
    document = bodies.pop(_DOCUMENT).decode().replace("{{release}}", escape(__version__))
    return PageFiles(
        {name: _file(name, body) for name, body in bodies.items()}, document, _short(together.hexdigest())
    )


def _file(name: str, body: bytes) -> PageFile:
    return PageFile(body, _TYPES[name.rpartition(".")[2]], _short(hashlib.sha256(body).hexdigest()))


def _short(digest: str) -> str:
    return digest[:16]
