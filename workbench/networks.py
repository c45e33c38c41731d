"""The networks that the app opens: those of its runs, and those that `sth app --network` names."""

import os

from analysis.runs.run_directory import Run
from sth_core.errors import UserError
from sth_core.network_names import FUNCTION, NetworkName

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
