"""What a recording keeps of each clip, and the shards that it is written in."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.runs.correctness import correctness
from analysis.runs.signals import ALPHA, TIME_SHARE, Signal
from sth_core.datasets.trained_clips import file_bytes
from sth_core.evaluation import BatchResult
from sth_core.network_contract import Layer
from sth_core.shards import Shards
from sth_core.stopping import uninterrupted

CLIPS_PER_SHARD = 64  # at least
SECONDS_PER_SHARD = 10.0  # ... and of recording: a fast recording does not make a thousand small files
MOST_PER_SHARD = 4096


@dataclass
class ShardWriter:
    """Collects the results of batches and writes them in shards numbered from `number` on by `step`.

    `layers` are those whose attention is kept, with `vectors` of each channel (or head) too; `signal`
    is what the attention is; with `features` what the classifier is given is kept. `failures` are (clip_id, path,
    reason) of the clips that could not be read; the rows of the others are held until a shard is full.
    """

    shards: Shards
    number: int
    step: int
    classes: list[str]
    layers: list[Layer]
    vectors: bool
    signal: Signal = ALPHA
    features: bool = False
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    clips: int = 0
    held: dict[str, list[pd.DataFrame]] = field(default_factory=dict)

    @uninterrupted()
    def add(self, batch: BatchResult, table: pd.DataFrame) -> None:
        """`table` has the clip of each sample in the sample's row."""
        for sample in batch.failed:
            self.failures.append((table["clip_id"][sample.row], table["path"][sample.row], sample.failure))
        if not batch.samples:
            return
        rows = prediction_rows(batch, table, self.classes)
        self.held.setdefault("predictions", []).append(rows)
        if self.layers:
            rows_of = share_rows if self.signal == TIME_SHARE else attention_rows
            of_layers = rows_of(batch, rows["clip_id"], self.layers, self.vectors)
            self.held.setdefault("attention", []).append(of_layers)
        if batch.features is not None:
            self.held.setdefault("features", []).append(feature_rows(batch.features, rows["clip_id"]))
        self.clips += len(rows)
        old = time.monotonic() - self.began >= SECONDS_PER_SHARD
        if self.clips >= (CLIPS_PER_SHARD if old else MOST_PER_SHARD):
            self.flush()

    @uninterrupted()
    def flush(self) -> None:
        """Write what is held, if anything is."""
        if self.held:
            tables = {kind: pd.concat(rows, ignore_index=True) for kind, rows in self.held.items()}
            self.shards.write(tables, self.number)
            self.number += self.step
        self.clips, self.held, self.began = 0, {}, time.monotonic()


@contextmanager
def written_if_stopped(writer: ShardWriter) -> Iterator[None]:
    """Write what is held if Ctrl-C or SIGTERM ends the block; clips that take seconds each are not read twice."""
    try:
        yield
    except KeyboardInterrupt:
        writer.flush()
        raise


def prediction_rows(batch: BatchResult, table: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """A row of predictions per readable clip; `table` has the clip of each sample in the sample's row. `correct` is
    missing where the network does not know the label."""
    clips = table.iloc[[sample.row for sample in batch.samples]]
    scores, of_views = batch.logits.softmax(1), batch.view_logits.softmax(2)  # (B, K), (B, V, K)
    best = scores.argmax(1)
    prediction = pd.Series([classes[i] for i in best], clips.index, dtype=object)
    top = scores.topk(min(2, len(classes))).values.double()
    results = {
        "prediction": prediction,
        "correct": correctness(prediction, clips["label"], classes),
        "confidence": top[:, 0].numpy(),
        "margin": (top[:, 0] - top[:, 1:].sum(1)).numpy(),
        "disagreement": (of_views.argmax(2) != best[:, None]).double().mean(1).numpy(),
        "scores": list(scores.numpy()),
        "view_scores": [list(views) for views in of_views.numpy()],
        "frame_indices": [sample.frame_indices for sample in batch.samples],
    }
    places = ["flow", "backward", "segment", "group", "bytes"]
    sizes = clips["path"].map(file_bytes)  # by which a file is recognised that was replaced or moved
    return clips.assign(**results, bytes=sizes)[["clip_id", "path", "label", *results, *places]]


def feature_rows(features: Tensor, clip_ids: pd.Series) -> pd.DataFrame:
    """The features before the classifier (B, F) of each clip, in 16 bits."""
    return pd.DataFrame({"clip_id": clip_ids.to_numpy(), "features": list(features.half().numpy())})


def attention_rows(batch: BatchResult, clip_ids: pd.Series, layers: list[Layer], vectors: bool) -> pd.DataFrame:
    """alpha_S and alpha_T of each clip and layer, averaged over the C_out channels (Section 6.1)."""
    alphas = [batch.attention[layer.name] for layer in layers]  # (B, 2, C_out) each
    rows = layer_rows(clip_ids, layers)
    rows[["alpha_spatial", "alpha_temporal"]] = means_of(alphas)
    if vectors:
        halves = [alpha.half().numpy() for alpha in alphas]
        for branch, name in enumerate(("spatial", "temporal")):
            rows[f"alpha_{name}_vector"] = [half[i, branch] for i in range(len(clip_ids)) for half in halves]
    return rows


def share_rows(batch: BatchResult, clip_ids: pd.Series, layers: list[Layer], vectors: bool) -> pd.DataFrame:
    """The attention across time of each clip and layer, and the attention on extra tokens, averaged over the heads."""
    shares = [batch.attention[layer.name] for layer in layers]  # (B, 2, heads) each
    rows = layer_rows(clip_ids, layers)
    rows[[TIME_SHARE.column, "extra_share"]] = means_of(shares)
    if vectors:
        halves = [share.half().numpy() for share in shares]
        rows["time_share_heads"] = [half[i, 0] for i in range(len(clip_ids)) for half in halves]
    return rows


def layer_rows(clip_ids: pd.Series, layers: list[Layer]) -> pd.DataFrame:
    """A row for each clip and layer: clip_id, layer_index, layer, stage."""
    named = [(layer.index, layer.name, layer.stage) for layer in layers] * len(clip_ids)
    rows = pd.DataFrame(named, columns=["layer_index", "layer", "stage"])
    rows.insert(0, "clip_id", np.repeat(clip_ids.to_numpy(), len(layers)))
    return rows


def means_of(values: list[torch.Tensor]) -> np.ndarray:
    """Two numbers of each channel or head in L layers, (B, 2, _) each -> their means (B * L, 2), layer by layer."""
    return torch.stack([of_layer.mean(2) for of_layer in values], 1).double().flatten(0, 1).numpy()
