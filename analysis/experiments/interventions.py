"""`interventions` over a dataset, written next to a run: RUN/interventions/effects/*.parquet and interventions.json.

A first pass takes the mean alpha of every layer and channel; a second replaces alpha at every place. An interrupted
call goes on with the batches that are missing.
"""

import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.explain.alpha_replacement import donor_clips, interventions, places, replacement_rows
from analysis.runs.parts import Parts, computing
from analysis.runs.recording import recorded
from analysis.runs.run_directory import Run
from sth_core.checkpoint import Checkpoint
from sth_core.datasets.clips import EvaluationClips
from sth_core.errors import UserError
from sth_core.evaluation import read_ahead
from sth_core.video.transforms import normalise

KINDS = ("effects",)
SAME = ("checkpoint_sha256", "data", "split", "batch_size", "seed")


def results_in(run: Path) -> Parts:
    return Parts(run / "interventions", KINDS)


def intervene(
    run: Run,
    data: Path,
    device: str = "auto",
    batch_size: int = 8,
    workers: int = 2,
    seed: int = 0,
    command: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Replace attention in every clip that `run` recorded; `data` is the dataset's folder.

    Clips are taken in an order that `seed` draws, so that another clip, whose alpha is borrowed, can be any of the
    same batch.

    Raises:
        UserError: the run's network has no attention or is no longer there, or results of something else are.
    """
    checkpoint, table = recorded(run, data, device)
    try:
        places(checkpoint.model)
    except ValueError as error:
        raise UserError(f"{run.path}: {error}") from error
    table = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    meta: dict[str, Any] = {
        "checkpoint_sha256": run.meta["checkpoint_sha256"], "data": str(data.resolve()), "split": run.meta["split"],
        "batch_size": batch_size, "seed": seed, "clips": len(table), "command": command,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }  # fmt: skip
    parts, total = results_in(run.path), 2 * len(table)
    with computing(parts.folder, "interventions.json", meta, SAME):
        standing = parts.standing()
        if len(standing) == len(table):
            return
        mean = mean_alpha(checkpoint, table, batch_size, workers, lambda done: progress(done, total))
        for done, (rows, clips) in enumerate(batches(checkpoint, table, batch_size, workers, standing), 1):
            with torch.inference_mode():
                plain, alphas = checkpoint.inference_model.forward_with_attention(clips)
            partners = donor_clips(list(rows["label"]), seed)
            other = {layer: alpha[partners] for layer, alpha in alphas.items()}
            effects = [
                replacement_rows(rows, checkpoint.classes, plain.cpu(), logits.cpu(), place=place, kind=kind)
                for place, kind, logits in interventions(checkpoint.inference_model, clips, mean, other)
            ]
            parts.add({"effects": pd.concat(effects, ignore_index=True)})
            progress(min(total, len(table) + len(standing) + done * batch_size), total)


def batches(
    checkpoint: Checkpoint, table: pd.DataFrame, batch_size: int, workers: int, without: set[str]
) -> Iterator[tuple[pd.DataFrame, Tensor]]:
    """Each batch's rows and its clips (B, T, C, H, W), normalised; not those whose clips are all in `without`."""
    device = next(checkpoint.model.parameters()).device
    starts = range(0, len(table), batch_size)
    chosen = [i for i in starts if not set(table["clip_id"][i : i + batch_size]) <= without]
    rows = [row for i in chosen for row in range(i, min(i + batch_size, len(table)))]
    clips = EvaluationClips(table.iloc[rows], checkpoint.classes, checkpoint.preprocessing)
    samples = read_ahead(clips, len(clips), workers, ahead=batch_size + workers)
    for i in chosen:
        some = table.iloc[i : i + batch_size].reset_index(drop=True)
        read = [next(samples) for _ in range(len(some))]
        here = np.array([sample.views is not None for sample in read])
        if here.any():
            views = torch.stack([s.views[0] for s in read if s.views is not None]).to(device)
            yield some[here].reset_index(drop=True), normalise(views, checkpoint.preprocessing)


@torch.inference_mode()
def mean_alpha(
    checkpoint: Checkpoint, table: pd.DataFrame, batch_size: int, workers: int, progress: Callable[[int], None]
) -> dict[str, Tensor]:
    """{layer: mean alpha over all clips (2, C_out)}"""
    sums: dict[str, Tensor] = {}
    count = 0
    for rows, clips in batches(checkpoint, table, batch_size, workers, set()):
        for layer, alpha in checkpoint.inference_model.forward_with_attention(clips)[1].items():
            sums[layer] = sums.get(layer, 0) + alpha.double().sum(0)
        count += len(rows)
        progress(count)
    return {layer: (total / count).float() for layer, total in sums.items()}
