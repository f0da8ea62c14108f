"""How tests are shared out when several processes run them (`make test` takes two).

A file's tests stay together, because they share what its fixtures start. The simulation runs whole services
whose processes fill a core each: those files are one group, so that one worker runs them, one after another,
while another does the rest. They come first, as they take longest.
"""

from pathlib import Path

import pytest

_SIMULATION = Path(__file__).parent / "simulation"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say which tests belong to one worker, and put the longest first."""
    if not config.pluginmanager.hasplugin("dsession") and not hasattr(config, "workerinput"):
        return
    for item in items:
        group = _SIMULATION.name if _is_simulation(item) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_is_simulation, reverse=True)


def _is_simulation(item: pytest.Item) -> bool:
    return _SIMULATION in item.path.parents
