"""`ingest.ops.page_files`: the page as it lies in the package."""

import re

from ingest.ops.headline import Headline
from ingest.ops.page_files import load_page

PAGE = load_page()


def test_every_file_has_its_type_and_tag() -> None:
    """And the tags of files that differ do."""
    types = {name: file.content_type for name, file in PAGE.files.items()}

    assert types["main.js"] == "text/javascript"
    assert (types["page.css"], types["icon.svg"]) == ("text/css", "image/svg+xml")
    assert len({file.tag for file in PAGE.files.values()}) == len(PAGE.files)


def test_document_says_the_state_as_text() -> None:
    """Whoever has no script reads it; markup in it is text."""
    document = PAGE.document_with(Headline("bad", "shard <b>0</b> & more"))

    assert "shard &lt;b&gt;0&lt;/b&gt; &amp; more</h1>" in document
    assert 'data-level="bad"' in document
    assert "{{" not in document


def test_page_loads_nothing_but_its_own_files() -> None:
    """No address of another place, but for the names that XML has; every file that is named is there."""
    texts = [PAGE.document, *(file.body.decode() for file in PAGE.files.values())]
    places = {
        place
        for text in texts
        for place in re.findall(r"(?:https?:)?//[a-z][^\s\"']*\.[a-z]+[^\s\"']*", text)
    }
    named = {name for text in texts for name in re.findall(r"[\"'](?:page/|\./)([\w.-]+)[\"']", text)}

    assert places <= {"http://www.w3.org/2000/svg"}
    assert named - {"live"} <= PAGE.files.keys()


def test_document_has_no_script_or_style_of_its_own() -> None:
    """The content policy would not have it run."""
    assert not re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", PAGE.document)


def test_scripts_make_no_markup_of_text() -> None:
    """What is shown goes through `textContent`; the policy refuses the rest, and so does this."""
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function"

    assert not [name for name, file in PAGE.files.items() if re.search(sinks, file.body.decode())]
