"""Run the notebooks and save them with their outputs: ``python scripts/run_notebooks.py [notebooks/NAME.ipynb ...]``.

They run where ``tosg demo`` was done (``TOSG_HOME``), each in an empty folder. What is saved depends on the graph, the
cells and the code alone: no times, no paths, no state of an editor.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
SECONDS = 600  # of one cell, on however busy a machine
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def executed(notebook: Any, folder: Path) -> Any:
    """Run a copy of a notebook in ``folder``; a cell that fails raises nbclient's CellExecutionError."""
    done = nbformat.from_dict(notebook)
    NotebookClient(
        done, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return cleaned(done)


def cleaned(notebook: Any) -> Any:
    """Keep sources, tags and outputs; number the cells."""
    cells = []
    for number, cell in enumerate(notebook.cells):
        kept = {
            "id": f"cell-{number:02d}",
            "cell_type": cell.cell_type,
            "source": cell.source,
            "metadata": {},
        }
        if tags := cell.metadata.get("tags"):
            kept["metadata"]["tags"] = tags
        if cell.cell_type == "code":
            kept |= {"execution_count": cell.execution_count, "outputs": _outputs(cell)}
        cells.append(kept)
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return nbformat.from_dict({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def _outputs(cell: Any) -> list[Any]:
    """Leave out what libraries warn of, which names folders of the machine."""
    kept = [output for output in cell.outputs if output.get("name") != "stderr"]
    for output in kept:
        if "metadata" in output:
            output["metadata"] = {}
    return kept


def main(paths: list[str]) -> None:
    """Run and save the named notebooks, or all."""
    for path in [Path(p) for p in paths] or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            done = executed(nbformat.read(path, as_version=4), Path(folder))
        nbformat.write(done, path)
        print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
