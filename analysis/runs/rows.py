"""What a recording keeps of each clip, and the shards that it is written in."""

import time
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sth_core.datasets.clips import Sample
from sth_core.evaluation import BatchResult
from sth_core.network import Layer
from sth_core.shards import Shards

CLIPS_PER_SHARD = 64  # at least
SECONDS_PER_SHARD = 10.0  # ... and of recording: a fast recording does not make a thousand small files
MOST_PER_SHARD = 4096


@dataclass
class ShardWriter:
    """Collects the results of batches and writes them in shards numbered from `number` on by `step`.

    `layers` are those whose attention is kept, with `vectors` of each channel too. `failures` are the rows of the
    clips that could not be read; those of the others are held until a shard is full.
    """

    shards: Shards
    number: int
    step: int
    classes: list[str]
    layers: list[Layer]
    vectors: bool
    failures: list[dict[str, str]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)
    attention: list[dict[str, Any]] = field(default_factory=list)

    def add(self, batch: BatchResult, table: pd.DataFrame) -> None:
        """`table` has the clip of each sample in the sample's row."""
        self.rows += prediction_rows(batch, table, self.classes)
        self.attention += attention_rows(batch, table, self.layers, self.vectors)
        self.failures += [failure_row(sample, table) for sample in batch.failed]
        old = time.monotonic() - self.began >= SECONDS_PER_SHARD
        if len(self.rows) >= (CLIPS_PER_SHARD if old else MOST_PER_SHARD):
            self.flush()

    def flush(self) -> None:
        """Write what is held, if anything is."""
        if not self.rows:
            return
        tables = {"predictions": self.rows} | ({"attention": self.attention} if self.attention else {})
        self.shards.write({kind: pd.DataFrame(rows) for kind, rows in tables.items()}, self.number)
        self.number += self.step
        self.rows, self.attention, self.began = [], [], time.monotonic()


def prediction_rows(batch: BatchResult, table: pd.DataFrame, classes: list[str]) -> list[dict[str, Any]]:
    """A row of predictions per readable clip; `table` has the clip of each sample in the sample's row."""
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


def attention_rows(batch: BatchResult, table: pd.DataFrame, layers: list[Layer], vectors: bool) -> list[dict[str, Any]]:
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


def failure_row(sample: Sample, table: pd.DataFrame) -> dict[str, str]:
    return {"clip_id": table["clip_id"][sample.row], "path": table["path"][sample.row], "reason": sample.failure}
