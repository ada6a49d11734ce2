from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"


def shorten(notebook, there, instead):
    """Replace what must stand in one cell."""
    (cell,) = (cell for cell in notebook.cells if there in cell.source)
    cell.source = cell.source.replace(there, instead)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs(path):
    """Run every cell, in half the steps; the last one asserts that its models learnt."""
    notebook = nbformat.read(path, as_version=4)
    shorten(notebook, "num_steps=800", "num_steps=400")
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": EXAMPLES}}).execute()
    assert any("image/png" in str(cell.get("outputs")) for cell in notebook.cells)
