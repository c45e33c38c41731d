"""Runs docs/notebooks/your_own_network.ipynb and stores its outputs in it: python docs/run_notebook.py"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("notebooks") / "your_own_network.ipynb"


def executed(notebook: Path = NOTEBOOK) -> nbformat.NotebookNode:
    """The notebook with new outputs. Raises nbclient.exceptions.CellExecutionError: a cell fails."""
    found = nbformat.read(notebook, as_version=4)
    NotebookClient(found, timeout=300, kernel_name="python3", record_timing=False).execute()
    found.metadata.pop("language_info", None)  # the version of Python
    for cell in found.cells:
        if "outputs" in cell:  # warnings, and texts beside pictures, name folders of one machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                if "text/html" in output.get("data", {}):
                    output.data.pop("text/plain", None)
    return found


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
    print(NOTEBOOK)
