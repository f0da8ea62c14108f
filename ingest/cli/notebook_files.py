"""How a notebook is stored: without what running it left behind.

Pure. What is stored says what is asked and how to read the answer; the answers are the reader's own.
JupyterLab saves through `strip_before_save` when `ingest notebooks` has started it, and the tests compare
what is stored.
"""

from collections.abc import MutableMapping
from typing import TypeAlias

Json: TypeAlias = "MutableMapping[str, object]"

_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def strip(notebook: Json) -> None:
    """Take out outputs, counts and the metadata of whoever ran it, in place."""
    notebook["metadata"] = _METADATA
    cells = notebook["cells"]
    assert isinstance(cells, list)
    for cell in cells:
        cell["metadata"] = {}
        if cell["cell_type"] == "code":
            cell["outputs"] = []
            cell["execution_count"] = None


def strip_before_save(model: Json, **_: object) -> None:
    """What Jupyter's contents manager calls with what it is about to save."""
    content = model.get("content")
    if model.get("type") == "notebook" and isinstance(content, MutableMapping):
        strip(content)
