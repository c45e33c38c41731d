"""A run directory as it is written: by one recording at a time, a part at a time, each part whole or not there.

Of each part the attention is written before the predictions: a clip counts as recorded once its
prediction stands. What is written is on the disk before it gets its name, so that neither a killed
process nor a power cut leaves a part that cannot be read.
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.runs.run_directory import parts
from sth_core.errors import UserError
from sth_core.files import temporary_beside, write_json

if TYPE_CHECKING:  # whoever reads what was written need not wait for torch
    from sth_core.datasets.clips import Sample
    from sth_core.evaluation import BatchResult
    from sth_core.network import Layer

CLIPS_PER_PART = 64  # at least
SECONDS_PER_PART = 10.0  # ... and of recording: whoever records fast does not get a thousand small files
MOST_PER_PART = 4096
FAILURE_COLUMNS = ["clip_id", "path", "reason"]
SAME_RECORDING = ("checkpoint_sha256", "attention", "data", "label", "direction", "split", "protocol", "vectors")
BEFORE_THERE_WAS = {"direction": False, "vectors": False}  # such a key in run.json


@contextmanager
def only_recording(run: Path) -> Iterator[None]:
    """While the block runs no other process can record into `run`; the system ends that when this process dies.

    The empty file `run/.lock` stays: were it removed, two processes could each lock a file of that name.

    Raises:
        UserError: another process records into it now.
    """
    run.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":  # no flock there
        yield
        return
    import fcntl

    with (run / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is recording into {run}; wait until it has finished, or choose another folder"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield


def begin(run: Path, meta: dict[str, Any]) -> dict[str, Any]:
    """Make the run directory, or check that what is there is the same recording, begun earlier, and tidy it up.

    Returns:
        What run.json now says.

    Raises:
        UserError: it is the recording of something else, or its run.json is damaged.
    """
    file = run / "run.json"
    if file.is_file():
        try:
            before = BEFORE_THERE_WAS | json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, TypeError) as error:
            raise UserError(f"{file} is damaged ({error}); delete {run} or choose another folder") from error
        for key in SAME_RECORDING:
            if before.get(key) != meta[key]:
                raise UserError(
                    f"{run} holds another recording ({key} is {before.get(key)!r}, now {meta[key]!r}); "
                    f"choose another folder for this one"
                )
        meta = meta | {"started": before.get("started", meta["started"])}
    for kind in ("predictions", "attention"):
        (run / kind).mkdir(exist_ok=True)
    remove_halves(run)
    write_json(file, meta)
    sync(run)
    sync(run.parent)
    return meta


def remove_halves(run: Path) -> None:
    """Remove what a killed recording left: half written files, and attention of clips whose prediction is not there."""
    whole = {part.name for part in parts(run, "predictions")}
    for kind in ("predictions", "attention"):
        for half in (run / kind).glob(".part-*.parquet"):
            half.unlink()
    for part in parts(run, "attention"):
        if part.name not in whole:
            part.unlink()


def standing_clips(run: Path) -> set[str]:
    """The clip_id of each clip whose prediction stands."""
    return {
        clip for file in parts(run, "predictions") for clip in pd.read_parquet(file, columns=["clip_id"])["clip_id"]
    }


def next_part(run: Path) -> int:
    """The first number that no part has, nor any after it: of several processes one may be ahead of the others."""
    return max((int(part.stem.removeprefix("part-")) for part in parts(run, "predictions")), default=-1) + 1


def accuracy_of(run: Path, classes: list[str]) -> float:
    """The share of right predictions among the clips of a known label; NaN if there are none."""
    right = known = 0
    for file in parts(run, "predictions"):
        table = pd.read_parquet(file, columns=["label", "correct"])
        correct = table.loc[table["label"].isin(classes), "correct"]
        right, known = right + int(correct.sum()), known + len(correct)
    return right / known if known else math.nan


@dataclass
class Writer:
    """Writes the results of batches into `run`, in parts numbered from `part` on by `step`.

    `layers` are those whose attention is kept, with `vectors` of each channel too. `failures` are the
    rows of the clips that could not be read; those of the others are held until a part is full.
    """

    run: Path
    part: int
    step: int
    classes: list[str]
    layers: "list[Layer]"
    vectors: bool
    failures: list[dict[str, str]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)
    attention: list[dict[str, Any]] = field(default_factory=list)

    def add(self, batch: "BatchResult", table: pd.DataFrame) -> None:
        """`table` has the clip of each sample in the sample's row."""
        self.rows += prediction_rows(batch, table, self.classes)
        self.attention += attention_rows(batch, table, self.layers, self.vectors)
        self.failures += [failure_row(sample, table) for sample in batch.failed]
        old = time.monotonic() - self.began >= SECONDS_PER_PART
        if len(self.rows) >= (CLIPS_PER_PART if old else MOST_PER_PART):
            self.flush()

    def flush(self) -> None:
        """Write what is held, if anything is."""
        if not self.rows:
            return
        name = f"part-{self.part:05d}.parquet"
        if self.attention:
            write_table(self.run / "attention" / name, pd.DataFrame(self.attention))
        write_table(self.run / "predictions" / name, pd.DataFrame(self.rows))
        self.part += self.step
        self.rows, self.attention, self.began = [], [], time.monotonic()


def prediction_rows(batch: "BatchResult", table: pd.DataFrame, classes: list[str]) -> list[dict[str, Any]]:
    rows = []
    of_views = batch.view_logits.softmax(2)
    for sample, scores, views in zip(batch.samples, batch.logits.softmax(1), of_views, strict=True):
        best, (first, *others) = int(scores.argmax()), scores.topk(min(2, len(classes))).values.tolist()
        rows.append(
            {
                "clip_id": table["clip_id"][sample.row],
                "path": table["path"][sample.row],
                "label": table["label"][sample.row],
                "prediction": classes[best],
                "correct": best == sample.label,
                "confidence": float(scores[best]),
                "margin": first - sum(others),
                "disagreement": float((views.argmax(1) != best).float().mean()),
                "scores": scores.numpy(),
                "view_scores": list(views.numpy()),
                "frame_indices": sample.frame_indices,
                "flow": table["flow"][sample.row],
                "backward": table["backward"][sample.row],
                "group": table["group"][sample.row],
            }
        )
    return rows


def attention_rows(
    batch: "BatchResult", table: pd.DataFrame, layers: "list[Layer]", vectors: bool
) -> list[dict[str, Any]]:
    """alpha_S and alpha_T of each clip and layer, averaged over the C_out channels (Section 6.1)."""
    if not batch.samples:
        return []
    alphas = {layer.name: batch.attention[layer.name] for layer in layers}  # (B, 2, C_out)
    means = {name: alpha.mean(2).tolist() for name, alpha in alphas.items()}
    halves = {name: alpha.half().numpy() for name, alpha in alphas.items()} if vectors else {}
    rows = []
    for i, sample in enumerate(batch.samples):
        clip = table["clip_id"][sample.row]
        for layer in layers:
            spatial, temporal = means[layer.name][i]
            row = {
                "clip_id": clip,
                "layer_index": layer.index,
                "layer": layer.name,
                "stage": layer.stage,
                "alpha_spatial": spatial,
                "alpha_temporal": temporal,
            }
            if vectors:
                spatial, temporal = halves[layer.name][i]
                row |= {"alpha_spatial_vector": spatial, "alpha_temporal_vector": temporal}
            rows.append(row)
    return rows


def failure_row(sample: "Sample", table: pd.DataFrame) -> dict[str, str]:
    return {"clip_id": table["clip_id"][sample.row], "path": table["path"][sample.row], "reason": sample.failure}


def write_table(path: Path, table: pd.DataFrame) -> None:
    with temporary_beside(path) as temporary:
        table.to_parquet(temporary, index=False)
        sync(temporary)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():  # which some file systems cannot do
            raise
    finally:
        os.close(handle)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
