"""What is said of a fault by the page, `ingest status`, the addresses, the metrics, the table and the alerts.

Some of the faults of `make faults`, those that are over soon; its table stands in `ingest/docs/faults.md`.
"""

from collections.abc import Iterator

import pytest

from tests.deploy.tools import REPOSITORY, prometheus_program
from tests.verdicts.faults import FAULTS, Fault, chosen
from tests.verdicts.trial import RATE, SYMBOLS, Watched, play, watched


@pytest.fixture(scope="module")
def beheld(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A service that is well, and a Prometheus that watches it."""
    prometheus_program("prometheus")
    with watched(tmp_path_factory.mktemp("verdicts"), symbols=SYMBOLS, rate=RATE) as running:
        yield running


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", chosen("stream-mute,stopped"), ids=lambda fault: fault.name)
def test_all_agree_on_the_fault_and_on_its_end(beheld: Watched, fault: Fault) -> None:
    """Whoever is asked tells the same, and the truth."""
    row = play(beheld, fault)

    assert row.is_good, row.complaints


def test_table_tells_of_every_fault_and_all_have_agreed() -> None:
    """`make faults` writes it anew."""
    text = (REPOSITORY / "ingest" / "docs" / "faults.md").read_text(encoding="utf-8")
    told = {line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")}

    assert told - {"fault", "---"} == {fault.title for fault in FAULTS}
    assert "never" not in text
