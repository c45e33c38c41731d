"""The network and the clips of a run, as they were when it was recorded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.runs.chosen_clips import open_for_network
from analysis.runs.correctness import has_scores
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.run_directory import Run, predictions
from sth_core.checkpoint import Checkpoint
from sth_core.datasets.table import Annotation, only_inside
from sth_core.errors import UserError
from sth_core.network import pick_device
from sth_core.network_names import FUNCTION, NetworkName
from sth_core.open_network import Named, open_network


def network_name_of(run: Run) -> NetworkName:
    """The network that a run names. Raises UserError: it names none, or a Python file, which only the user may name."""
    meta = run.meta
    if meta.get("imported"):
        raise UserError(f"{run.path} holds imported predictions, which have no network; name the network's own run")
    if not meta.get("checkpoint"):
        raise UserError(f"{run.path} does not say where its network is; name the network")
    name = NetworkName.from_facts(meta)
    if name.kind == FUNCTION:
        raise UserError(f"{run.path} is of {name.name}, which is code; it runs only if you name it yourself")
    return name


def with_groups_of(annotation: Annotation, earlier: dict[str, Any]) -> Annotation:
    """The annotation, with the groups of an earlier call for the same run if no others are asked for."""
    column = earlier.get("group_column", annotation.group)
    if annotation.group_pattern or annotation.group not in ("", column):
        return annotation
    return replace(annotation, group=column, group_pattern=earlier.get("group_pattern", ""))


def checkpoint_and_clips(
    run: Run, data: Path, options: DatasetOptions, network: Named | None = None
) -> tuple[Checkpoint, pd.DataFrame]:
    """The network that `run` was recorded with, by default as the run names it, and the rows of the dataset that it
    recorded, labelled as there. With `options.inside`, a clip outside of these folders is not read.

    Raises:
        UserError: one of them is no longer what it was.
    """
    name = network_name_of(run) if network is None or run.meta.get("imported") else network
    checkpoint = open_network(name, pick_device(options.device))
    if checkpoint.sha256 != run.meta["checkpoint_sha256"]:
        named = run.meta.get("checkpoint") or "the network"
        raise UserError(f"{named} is no longer the network that {run.path} was recorded with; record it anew")
    annotation = replace(checkpoint.annotation, label=run.meta["label"], direction=run.meta["direction"])
    dataset = open_for_network(checkpoint, data, with_groups_of(annotation, run.meta))
    table = (only_inside(dataset, options.inside) if options.inside else dataset).clips
    every = predictions(run)
    recorded = every[has_scores(every)].set_index("clip_id")[["label", "group"]]
    table = table[table["clip_id"].isin(recorded.index)].reset_index(drop=True)
    if len(table) < len(recorded):
        raise UserError(f"{data} has only {len(table)} of the {len(recorded)} clips that {run.path} recorded")
    return checkpoint, table.assign(**{name: table["clip_id"].map(recorded[name]) for name in recorded})
