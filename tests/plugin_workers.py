"""How tests are shared out when several processes run them (`make test` takes three: services mostly wait).

A file's tests stay together, because they share what its fixtures start. The simulation runs whole services
whose processes fill a core each: those files are one share, so that one worker runs them, one after another,
while the others do the rest. They come first, as they take longest. The tests with TimescaleDB are one share
too: they have one server, of which one is enough to start. So are those of the notebooks, which read one
session.
"""

from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

_SIMULATION = "tests/simulation/"
_SHARES = (_SIMULATION, "tests/timescale/", "tests/notebooks/")


class _Shares(LoadScopeScheduling):  # type: ignore[misc]  # it comes without types
    """By file, but for folders that are one share."""

    def _split_scope(self, nodeid: str) -> str:
        folders = (folder for folder in _SHARES if nodeid.startswith(folder))
        return next(folders, nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> _Shares:
    """Give a worker a whole share at a time."""
    return _Shares(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest first where there are workers."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(_SIMULATION))
