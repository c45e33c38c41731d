"""The networks that the app opens: those of its runs, and those that `sth app --network` names."""

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.runs.run_directory import Run
from sth_core.errors import UserError
from sth_core.network_names import FILE, FUNCTION, NetworkName

if TYPE_CHECKING:
    from sth_core.checkpoint import Checkpoint

NETWORKS = "STH_NETWORKS"  # in the environment, by workbench/serve.py; one name a line


def offered_networks() -> list[NetworkName]:
    """Those of `sth app --network`."""
    return [NetworkName(name) for name in os.environ.get(NETWORKS, "").splitlines() if name]


def may_run(network: NetworkName) -> bool:
    """Whether the app may open it: of code only what somebody has named for this app."""
    return network.kind != FUNCTION or network.name in [offered.name for offered in offered_networks()]


def network_of_run(run: Run) -> NetworkName:
    """The network that a run names. Raises UserError: it names none, or code that nobody has named for this app."""
    meta = run.meta
    if meta.get("fused"):
        raise UserError("Grad-CAM explains one network, and this run is fused from several: open one of those runs.")
    if meta.get("imported"):
        raise UserError(f"Grad-CAM needs a network; these predictions were imported from {meta['imported']['file']}.")
    if not meta.get("checkpoint"):
        raise UserError("Grad-CAM needs the run's checkpoint, and run.json does not say where it is.")
    name = NetworkName.from_facts(meta)
    if not may_run(name):
        raise UserError(
            f"Grad-CAM needs the run's network, which {name.name} makes. The app runs no code that a run names: start "
            f"it with `sth app --network {name.name}`."
        )
    return name


def network_for_report(run: Run) -> "Checkpoint":
    """The network of a run. Raises UserError: it is gone, or is another one by now, or none that may be opened."""
    name = network_of_run(run)
    if name.kind == FILE and not Path(name.name).is_file():
        raise UserError(f"Grad-CAM needs the run's checkpoint, which no longer exists: {name.name}.")
    found = _opened(name)
    if found.sha256 != run.meta["checkpoint_sha256"]:
        raise UserError(f"{name.label} has been replaced since the run {run.name} was recorded: it is another network.")
    return found


@lru_cache(maxsize=4)
def _opened(name: NetworkName) -> "Checkpoint":
    from sth_core.open_network import open_network  # torch takes seconds to import

    return open_network(name, download=name in offered_networks())
