"""Probes, interventions and trust of a run: the command that makes them, and the same as a background job."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from analysis.experiments.found_results import INTERVENE, PLACES, PROBE, TRUST
from analysis.runs.run_directory import OTHER, Run
from sth_core.errors import UserError
from sth_core.network_names import FILE, NetworkName
from workbench.jobs import Job, start_job, words_of_network
from workbench.networks import may_run
from workbench.roots import allowed_roots, may_read, runs_folder


def network_of(run: Run) -> NetworkName:
    """The network that a run names. Raises UserError: it names none, or several."""
    meta = run.meta
    if meta.get("fused"):
        raise UserError("This run is fused from several networks, and an experiment is of one: open one of those runs.")
    if meta.get("imported"):
        raise UserError(f"This run has no network: its predictions were imported from {meta['imported']['file']}.")
    if not meta.get("checkpoint"):
        raise UserError("run.json does not say where the run's network is.")
    return NetworkName.from_facts(meta)


def why_impossible(run: Run, experiment: str) -> str:
    """Why this experiment can never be done with the run's network, in a sentence; empty if it can."""
    try:
        network_of(run)
    except UserError as error:
        return str(error)
    if experiment == INTERVENE and (run.meta.get("conv") == OTHER or not run.meta.get("attention")):
        return "This network has no attention α that could be replaced: only STH networks with attention have it."
    if not run.meta.get("data"):
        return "run.json does not say where the run's dataset is."
    if not isinstance(run.path, Path):
        return f"Results cannot be written into object storage ({run.path}); copy the run to a local folder."
    return ""


def results_folder(run: Run, experiment: str) -> Path:
    """Where the experiment's results of a run are written, beside its other tables."""
    return absolute(run) / PLACES[experiment][0]


def absolute(run: Run) -> Path:
    """The run's folder by a path that does not depend on the working folder."""
    return runs_folder().resolve() / run.path.relative_to(runs_folder())


def experiment_words(run: Run, experiment: str, more: Sequence[str] = ()) -> list[str]:
    """The words of `sth EXPERIMENT` for this run. Raises UserError: its network is not known."""
    meta = run.meta
    out = results_folder(run, TRUST) if experiment == TRUST else absolute(run)
    words = [experiment, *words_of_network(network_of(run)), f"--data={meta['data']}", f"--out={out}"]
    asked = (("split", meta.get("split")), ("label", meta.get("label") if experiment == PROBE else ""))
    return words + [f"--{name}={value}" for name, value in asked if value] + [*more]


def experiment_command(run: Run, experiment: str) -> str:
    """The command as it can be typed. Raises UserError: the run's network is not known."""
    return shlex.join(["sth", *experiment_words(run, experiment)])


def experiment_job(run: Run, experiment: str, more: Sequence[str] = ()) -> Job:
    """Start the experiment in the background, with more options of its command.

    Raises:
        UserError: it cannot be done with this run, its network or its data are not there or may not be read, or too
            many jobs are running.
    """
    if why := why_impossible(run, experiment):
        raise UserError(why)
    network, data = network_of(run), Path(run.meta["data"])
    if not may_run(network):
        raise UserError(
            f"The app runs no code that a run names; start it with `sth app --network {network.name}`, or type the "
            "command below."
        )
    if network.kind == FILE and not os.path.isfile(network.name):  # noqa: PTH113  (Path.is_file may raise)
        raise UserError(f"The run's network is not there any more: {network.name}.")
    if not data.is_dir() or not may_read(data):
        raise UserError(f"The run's dataset is not there, or may not be read: {data}; `sth app --root` names more.")
    roots = allowed_roots()
    inside = [f"--inside={root}" for root in roots] if len(roots) > 1 else []
    page = results_folder(run, experiment) / "index.html"
    words = [*experiment_words(run, experiment, more), *inside]
    return start_job(runs_folder().resolve(), absolute(run), words, last=f"page: {page}")
