"""A network over a dataset -> a run directory: predictions and attention of every clip.

    RUN/run.json                    what was run on what, by whom it can be repeated
    RUN/predictions/*.parquet       a row per clip
    RUN/attention/*.parquet         a row per clip and layer
    RUN/failures.parquet            a row per clip that could not be read

Clips are written in parts, each under a temporary name first, the attention before the
predictions: a clip counts as recorded once its prediction stands. An interrupted recording goes
on with the clips that are missing, and tries the unreadable ones again.
"""

import json
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analysis.runs import parts
from sth_core.checkpoint import Checkpoint, load_checkpoint
from sth_core.datasets.clips import Sample, TestClips
from sth_core.datasets.table import Annotation, read_dataset
from sth_core.distributed import joined
from sth_core.errors import UserError
from sth_core.evaluation import BatchResult, run_over
from sth_core.files import sha256, temporary_beside, write_json
from sth_core.network import Layer
from sth_core.video.sampling import Protocol

CLIPS_PER_PART = 64
FAILURE_COLUMNS = ["clip_id", "path", "reason"]


@dataclass(frozen=True)
class Recorded:
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
    command: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Recorded:
    """Record `split` of the dataset in `data` with the network of a checkpoint.

    `annotation` says where the labels are; by default as in the checkpoint's training. Without
    `with_attention` only the predictions are kept. Under torchrun every process calls this with the
    same arguments, takes its share of the clips, and writes parts of its own.

    Raises:
        UserError: the checkpoint or the data cannot be used, the split is empty, or `run` holds
            the recording of another checkpoint.
    """
    with joined(device) as place:
        checkpoint = load_checkpoint(checkpoint_path, place.device)
        annotation = annotation or checkpoint.annotation
        table = read_dataset(data, annotation)
        splits = table["split"].value_counts().to_dict()
        table = table[table["split"] == split].reset_index(drop=True)
        if table.empty:
            raise UserError(f"no clips in the split {split!r} of {data}; it has {splits}")
        meta = describe(checkpoint, checkpoint_path, data, annotation, split, len(table), protocol, command)
        if place.first:
            meta = begin(run, meta)
        place.wait_for_all()
        done = set(recorded_clips(run)["clip_id"])
        first_part = len(parts(run, "predictions")) + place.rank
        place.wait_for_all()  # all know what is done before one writes more

        todo = table[~table["clip_id"].isin(done)][place.rank :: place.world].reset_index(drop=True)
        clips = TestClips(todo, checkpoint.classes, checkpoint.preprocessing, protocol)
        rows: list[dict[str, Any]] = []
        attention: list[dict[str, Any]] = []
        failures: list[dict[str, str]] = []
        numbers = count(first_part, place.world)
        layers = checkpoint.model.attention_layers
        seen = 0
        for batch in run_over(checkpoint.model, clips, checkpoint.preprocessing, batch_size, workers):
            rows += prediction_rows(batch, todo, checkpoint.classes)
            attention += attention_rows(batch, todo, layers) if with_attention else []
            failures += [failure_row(sample, todo) for sample in batch.failed]
            seen += len(batch.samples) + len(batch.failed)
            if len(rows) >= CLIPS_PER_PART:
                write_part(run, next(numbers), rows, attention)
                rows, attention = [], []
            progress(min(len(done) + seen * place.world, len(table)), len(table))
        if rows:
            write_part(run, next(numbers), rows, attention)
        failures = [row for of_one in place.gathered(failures) for row in of_one]
        if place.first:
            failed = pd.DataFrame(failures, columns=FAILURE_COLUMNS).sort_values("clip_id")
            write_table(run / "failures.parquet", failed)
            write_json(run / "run.json", meta | {"finished": now()})
        place.wait_for_all()
    recorded = recorded_clips(run)
    known = recorded.loc[recorded["label"].isin(checkpoint.classes), "correct"]
    return Recorded(run, len(table), len(failures), float(known.mean()) if len(known) else math.nan)


def describe(
    checkpoint: Checkpoint,
    path: Path,
    data: Path,
    annotation: Annotation,
    split: str,
    clips: int,
    protocol: Protocol,
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


def begin(run: Path, meta: dict[str, Any]) -> dict[str, Any]:
    """Make the run directory, or check that what is there is the same recording, begun earlier."""
    file = run / "run.json"
    if file.is_file():
        try:
            before = {"direction": False} | json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, TypeError) as error:
            raise UserError(f"{file} is damaged ({error}); delete {run} or choose another folder") from error
        for key in ("checkpoint_sha256", "data", "label", "direction", "split", "protocol"):
            if before.get(key) != meta[key]:
                raise UserError(
                    f"{run} holds another recording ({key} is {before.get(key)!r}, now {meta[key]!r}); "
                    f"choose another folder for this one"
                )
        meta = meta | {"started": before.get("started", meta["started"])}
    (run / "predictions").mkdir(parents=True, exist_ok=True)
    (run / "attention").mkdir(exist_ok=True)
    write_json(file, meta)
    return meta


def recorded_clips(run: Path) -> pd.DataFrame:
    """clip_id, label, correct of the clips whose prediction stands."""
    columns = ["clip_id", "label", "correct"]
    tables = [pd.read_parquet(file, columns=columns) for file in parts(run, "predictions")]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def prediction_rows(batch: BatchResult, table: pd.DataFrame, classes: list[str]) -> list[dict[str, Any]]:
    rows = []
    of_views = batch.view_logits.softmax(2)
    for sample, scores, views in zip(batch.samples, batch.logits.softmax(1), of_views, strict=True):
        best = int(scores.argmax())
        rows.append(
            {
                "clip_id": table["clip_id"][sample.row],
                "path": table["path"][sample.row],
                "label": table["label"][sample.row],
                "prediction": classes[best],
                "correct": best == sample.label,
                "confidence": float(scores[best]),
                "scores": scores.numpy(),
                "view_scores": list(views.numpy()),
                "frame_indices": sample.frame_indices,
                "flow": table["flow"][sample.row],
                "backward": table["backward"][sample.row],
            }
        )
    return rows


def attention_rows(batch: BatchResult, table: pd.DataFrame, layers: list[Layer]) -> list[dict[str, Any]]:
    """alpha_S and alpha_T of each clip and layer, averaged over the C_out channels (Section 6.1)."""
    means = {layer.name: batch.attention[layer.name].mean(2) for layer in layers if batch.samples}  # (B, 2)
    return [
        {
            "clip_id": table["clip_id"][sample.row],
            "layer_index": layer.index,
            "layer": layer.name,
            "stage": layer.stage,
            "alpha_spatial": float(means[layer.name][i, 0]),
            "alpha_temporal": float(means[layer.name][i, 1]),
        }
        for i, sample in enumerate(batch.samples)
        for layer in layers
    ]


def failure_row(sample: Sample, table: pd.DataFrame) -> dict[str, str]:
    return {"clip_id": table["clip_id"][sample.row], "path": table["path"][sample.row], "reason": sample.failure}


def write_part(run: Path, part: int, rows: list[dict[str, Any]], attention: list[dict[str, Any]]) -> None:
    name = f"part-{part:05d}.parquet"
    if attention:
        write_table(run / "attention" / name, pd.DataFrame(attention))
    write_table(run / "predictions" / name, pd.DataFrame(rows))


def write_table(path: Path, table: pd.DataFrame) -> None:
    with temporary_beside(path) as temporary:
        table.to_parquet(temporary, index=False)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
