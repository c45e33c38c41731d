"""Runs the notebooks and stores their outputs in them: python docs/run_notebook.py [FOLDER [NAME ...]]

FOLDER (this one, unless given) has the folder `demo` of `make demo` in it; NAME is a notebook's, without its ending.
"""

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).with_name("notebooks")


def executed(notebook: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with new outputs, run in `folder`. Raises nbclient.exceptions.CellExecutionError: a cell fails."""
    found = nbformat.read(notebook, as_version=4)
    options: dict[str, Any] = {
        "timeout": 300,
        "kernel_name": "python3",
        "record_timing": False,
        "coalesce_streams": True,
    }
    NotebookClient(found, resources={"metadata": {"path": str(folder)}}, **options).execute()
    found.metadata.pop("language_info", None)  # the version of Python
    for cell in found.cells:
        if "outputs" in cell:  # warnings, and texts beside pictures, name folders of one machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if "text/html" in output.get("data", {}):
                    output.data.pop("text/plain", None)
    return found


if __name__ == "__main__":
    folder, *names = sys.argv[1:] or ["."]
    for path in [NOTEBOOKS / f"{name}.ipynb" for name in names] or sorted(NOTEBOOKS.glob("*.ipynb")):
        nbformat.write(executed(path, Path(folder)), path)
        print(path)
