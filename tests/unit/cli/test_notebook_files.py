"""`ingest.cli.notebook_files`: what is stored of a notebook."""

from ingest.cli.notebook_files import strip, strip_before_save


def _executed() -> dict[str, object]:
    return {
        "metadata": {"kernelspec": {"name": "somebody's"}, "widgets": {}},
        "cells": [
            {"cell_type": "markdown", "id": "a", "metadata": {"collapsed": True}, "source": "words"},
            {
                "cell_type": "code",
                "id": "b",
                "metadata": {"execution": {"started": "today"}},
                "source": "1 + 1",
                "execution_count": 7,
                "outputs": [{"output_type": "execute_result", "data": {"text/plain": "2"}}],
            },
        ],
    }


def test_stripping_keeps_what_was_written_and_nothing_that_was_run() -> None:
    """Sources and ids stay; outputs, counts and metadata go."""
    notebook = _executed()

    strip(notebook)

    assert notebook["cells"] == [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "words"},
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "source": "1 + 1",
            "execution_count": None,
            "outputs": [],
        },
    ]
    assert "widgets" not in str(notebook["metadata"])


def test_what_jupyter_saves_beside_notebooks_stays_as_it_is() -> None:
    """A text file is none of its business."""
    model: dict[str, object] = {"type": "file", "content": "outputs"}

    strip_before_save(model, path="notes.txt", contents_manager=None)

    assert model == {"type": "file", "content": "outputs"}


def test_what_jupyter_saves_as_a_notebook_is_stripped() -> None:
    """As the contents manager hands it over."""
    model: dict[str, object] = {"type": "notebook", "content": _executed()}

    strip_before_save(model, path="a.ipynb", contents_manager=None)

    assert "execute_result" not in str(model)
