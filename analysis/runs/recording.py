"""A network over a dataset -> a run directory: predictions and attention of every clip.

    RUN/run.json                    what was run on what, by whom it can be repeated
    RUN/predictions/*.parquet       a row per clip
    RUN/attention/*.parquet         a row per clip and layer
    RUN/failures.parquet            a row per clip that could not be read

An interrupted recording goes on with the clips whose prediction is missing, and tries the unreadable
ones again. How the parts are written is in `analysis.runs.writing`. Of each clip nothing is kept in memory
but its row in the table of clips.
"""

import platform
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analysis.runs.run_directory import Run, open_run, predictions
from analysis.runs.writing import (
    BEFORE_THERE_WAS,
    FAILURE_COLUMNS,
    SAME_RECORDING,
    Writer,
    accuracy_of,
    begin,
    next_part,
    now,
    only_recording,
    standing_clips,
    write_table,
)
from sth_core.checkpoint import Checkpoint, load_checkpoint
from sth_core.datasets.clips import EvaluationClips
from sth_core.datasets.table import Annotation, read_dataset
from sth_core.distributed import distributed_context
from sth_core.errors import UserError
from sth_core.evaluation import BatchResult, run_over
from sth_core.files import sha256, write_json
from sth_core.network import pick_device
from sth_core.video.sampling import Protocol

CLIPS_AT_ONCE = 1024  # that are listed to be read: a list of many is much larger than their table
ASKED = [key for key in SAME_RECORDING if key not in ("attention", "vectors")]  # of a run that is there already


@dataclass(frozen=True)
class RecordingSummary:
    """What a recording came to; `accuracy` is over the readable clips that have a known label."""

    run: Path
    clips: int
    failures: int
    accuracy: float


def record(
    checkpoint_path: Path,
    data: Path,
    run: Path,
    split: str = "val",
    annotation: Annotation | None = None,
    device: str = "auto",
    batch_size: int = 8,
    workers: int = 2,
    protocol: Protocol = Protocol(),
    with_attention: bool = True,
    vectors: bool = False,
    command: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RecordingSummary:
    """Record `split` of the dataset in `data` with the network of a checkpoint.

    `annotation` says where the labels are; by default as in the checkpoint's training. Without
    `with_attention` only the predictions are kept; with `vectors` the attention of each channel too, beside
    its mean. Under torchrun every process calls this with the same arguments, takes its share of the clips,
    and writes parts of its own.

    Raises:
        UserError: the checkpoint or the data cannot be used, the split is empty, `run` holds another
            recording (of another checkpoint, dataset or split, with or without vectors), or another process
            records into it now.
    """
    with distributed_context(device) as place:
        checkpoint = load_checkpoint(checkpoint_path, place.device)
        annotation = annotation or checkpoint.annotation
        table = read_dataset(data, annotation)
        splits = table["split"].value_counts().to_dict()
        table = table[table["split"] == split].reset_index(drop=True)
        if table.empty:
            raise UserError(f"no clips in the split {split!r} of {data}; it has {splits}")
        layers = checkpoint.model.attention_layers if with_attention else []
        meta = describe(checkpoint, checkpoint_path, data, annotation, split, len(table), protocol, vectors, command)
        meta["attention"] = bool(layers)
        with only_recording(run) if place.is_main else nullcontext():
            if place.is_main:
                meta = begin(run, meta)
            place.wait_for_all()
            missing = table[~table["clip_id"].isin(standing_clips(run))]
            writer = Writer(run, next_part(run) + place.rank, place.world, checkpoint.classes, layers, vectors)
            place.wait_for_all()  # all know what is there before one writes more
            seen = len(table) - len(missing)
            mine = missing[place.rank :: place.world]
            for batch, clips in results(checkpoint, mine, protocol, batch_size, workers):
                writer.add(batch, clips)
                seen += (len(batch.samples) + len(batch.failed)) * place.world
                progress(min(seen, len(table)), len(table))
            writer.flush()
            failures = [row for of_one in place.gather(writer.failures) for row in of_one]
            if place.is_main:
                failed = pd.DataFrame(failures, columns=FAILURE_COLUMNS).sort_values("clip_id")
                write_table(run / "failures.parquet", failed)
                write_json(run / "run.json", meta | {"finished": now()})
            place.wait_for_all()
    return RecordingSummary(run, len(table), len(failures), accuracy_of(run, checkpoint.classes))


def results(
    checkpoint: Checkpoint, table: pd.DataFrame, protocol: Protocol, batch_size: int, workers: int
) -> Iterator[tuple[BatchResult, pd.DataFrame]]:
    """The result of each batch, with the table that its samples' rows are of."""
    at_once = max(1, CLIPS_AT_ONCE // batch_size) * batch_size  # whole batches, as if all were listed
    for start in range(0, len(table), at_once):
        some = table.iloc[start : start + at_once].reset_index(drop=True)
        clips = EvaluationClips(some, checkpoint.classes, checkpoint.preprocessing, protocol)
        for batch in run_over(checkpoint.inference_model, clips, checkpoint.preprocessing, batch_size, workers):
            yield batch, some


def describe(
    checkpoint: Checkpoint,
    path: Path,
    data: Path,
    annotation: Annotation,
    split: str,
    clips: int,
    protocol: Protocol,
    vectors: bool,
    command: str,
) -> dict[str, Any]:
    """The contents of run.json when a recording begins."""
    config = checkpoint.model.config
    question = "" if annotation.label == "label" else f": {annotation.label}"
    question += ", both directions" if annotation.direction else ""
    return {
        "arch": config.backbone,
        "width": config.width,
        "frames": config.frames,
        "conv": config.conv,
        "temporal_fraction": config.temporal_fraction,
        "attention": config.attention,
        "modality": config.modality,
        "start": start_of(checkpoint.training),
        "seed": checkpoint.training.get("seed"),
        "dataset": f"{data.resolve().name}{question}",
        "data": str(data.resolve()),
        "label": annotation.label,
        "direction": annotation.direction,
        "split": split,
        "clips": clips,
        "protocol": {
            "clips_per_video": protocol.clips,
            "crop": {1: "center", 3: "three, of the whole height", 10: "ten"}[protocol.crops],
            "sampling": "segment middles" if protocol.clips == 1 else "evenly in each segment",
        },
        "vectors": vectors,
        "classes": checkpoint.classes,
        "layers": [{"index": a.index, "layer": a.name, "stage": a.stage} for a in checkpoint.model.attention_layers],
        "checkpoint": str(path.resolve()),
        "checkpoint_sha256": sha256(path),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "command": command,
        "started": now(),
        "finished": None,
    }


def start_of(training: dict[str, Any]) -> str:
    """What a network's training started from: "ImageNet", a checkpoint's name, "random weights", or "" if unknown."""
    if "recipe" not in training:
        return ""
    start = training["recipe"].get("start", {})
    return "ImageNet" if start.get("imagenet") else Path(start.get("checkpoint", "")).name or "random weights"


def recording(
    checkpoint_path: Path,
    data: Path,
    folder: Path,
    split: str = "val",
    annotation: Annotation | None = None,
    device: str = "auto",
    batch_size: int = 16,
    workers: int = 2,
    command: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Run:
    """The run in `folder`: one that has finished as it is, with or without attention; else it is recorded now.

    Raises:
        UserError: it is of another checkpoint, dataset or split, or not of one view a clip; or it cannot be recorded.
    """
    run = open_run(folder)
    if not run.meta.get("finished"):
        record(
            checkpoint_path, data, folder, split, annotation, device, batch_size, workers, command=command,
            progress=progress,
        )  # fmt: skip
        return open_run(folder)
    checkpoint = load_checkpoint(checkpoint_path)
    annotation = annotation or checkpoint.annotation
    asked = describe(checkpoint, checkpoint_path, data, annotation, split, 0, Protocol(), False, command)
    before = BEFORE_THERE_WAS | run.meta
    for key in ASKED:
        if before.get(key) != asked[key]:
            raise UserError(
                f"{folder} holds another recording ({key} is {before.get(key)!r}, now {asked[key]!r}); "
                f"choose another folder for this one"
            )
    return run


def recorded(run: Run, data: Path, device: str) -> tuple[Checkpoint, pd.DataFrame]:
    """The network that `run` was recorded with, and the rows of the dataset that it recorded, labelled as there.

    Raises:
        UserError: one of them is no longer what it was.
    """
    path = Path(run.meta["checkpoint"])
    checkpoint = load_checkpoint(path, pick_device(device))
    if sha256(path) != run.meta["checkpoint_sha256"]:
        raise UserError(f"{path} is no longer the checkpoint that {run.path} was recorded with; record it anew")
    meta = BEFORE_THERE_WAS | run.meta
    table = read_dataset(data, replace(checkpoint.annotation, label=meta["label"], direction=meta["direction"]))
    clips = set(predictions(run)["clip_id"])
    table = table[table["clip_id"].isin(clips)].reset_index(drop=True)
    if len(table) < len(clips):
        raise UserError(f"{data} has only {len(table)} of the {len(clips)} clips that {run.path} recorded")
    return checkpoint, table
