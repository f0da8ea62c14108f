"""The runbook: whatever leads there finds its entry."""

import re
from pathlib import Path

import pytest

from ingest.config import Settings
from ingest.ops import deadman
from ingest.ops.alert_rules import RuleName
from ingest.ops.metric_table import METRICS
from ingest.ops.notices import RUNBOOK

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / RUNBOOK).read_text(encoding="utf-8")
HEADINGS = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
ENTRIES = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))

ROLES = {"ingest_owner"}
SYMPTOMS = (
    "connects-and-drops-every-few-seconds",
    "connects-and-nothing-comes",
    "drops-without-a-close-frame",
    "close-1008",
    "http-429-418-451",
    "freshness-red-but-connected",
    "gap-that-does-not-close",
    "database-full",
    "shard-in-quarantine",
    "spool-growing",
)


def anchor_of(heading: str) -> str:
    """As the place that shows Markdown makes it: lower case, hyphens, nothing but letters and digits."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


ANCHORS = [anchor_of(heading) for heading in HEADINGS]


def test_every_anchor_is_there_once() -> None:
    """Two of the same would get numbers, and change with their order."""
    assert len(ANCHORS) == len(set(ANCHORS))


@pytest.mark.parametrize("rule", list(RuleName))
def test_every_alert_of_the_service_has_an_entry(rule: RuleName) -> None:
    """Its letters and its lines of the log lead there."""
    assert rule.anchor in ANCHORS


@pytest.mark.parametrize("anchor", [*SYMPTOMS, deadman.ANCHOR])
def test_every_symptom_has_an_entry(anchor: str) -> None:
    """Under a name that stays: other texts link to it."""
    assert anchor in ANCHORS


@pytest.mark.parametrize("entry", ENTRIES)
def test_entry_says_what_to_look_at_and_what_to_do(entry: str) -> None:
    """Or is a table that does, or leads to an entry that does."""
    body = ENTRIES[entry].lower()

    assert "look at" in body
    assert "what to do" in body or "do**" in body


def test_links_within_the_runbook_lead_somewhere() -> None:
    """Also those that are broken over two lines."""
    links = re.findall(r"\]\(#([^)]+)\)", TEXT)

    assert len(links) > 50
    assert set(links) <= set(ANCHORS)


def test_findings_of_the_doctor_lead_somewhere() -> None:
    """They name entries; nothing else in those modules is written like one."""
    modules = (ROOT / "ingest" / "doctor").glob("*.py")
    texts = [module.read_text(encoding="utf-8") for module in modules]
    named = {name for text in texts for name in re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)+)"', text)}

    assert len(named) > 15
    assert named - {"utf-8"} <= set(ANCHORS)


def test_metrics_that_are_to_be_looked_at_are_exported() -> None:
    """Nobody is sent to look for a number that there is not."""
    named = set(re.findall(r"\bingest_[a-z0-9_]+", TEXT)) - ROLES

    assert len(named) > 15
    assert named <= {metric.name for metric in METRICS}


def test_keys_that_are_to_be_changed_are_settings() -> None:
    """Each is named with its section."""
    named = re.findall(r"`\[([a-z_]+)\] ([a-z_]+)", TEXT)

    assert len(named) > 10
    for section, key in named:
        assert key in type(getattr(Settings(), section)).model_fields


def test_links_from_elsewhere_lead_somewhere() -> None:
    """From the README, the sources, and whatever is deployed."""
    places = [ROOT / "README.md", *(ROOT / "ingest").rglob("*.py"), *(ROOT / "k8s").rglob("*.y*ml")]
    texts = [place.read_text(encoding="utf-8") for place in places]
    found = {anchor for text in texts for anchor in re.findall(r"runbook\.md#([a-z0-9-]+)", text)}

    assert found <= set(ANCHORS)
