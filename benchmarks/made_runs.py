"""Runs of Kinetics' size, made in seconds: the files that a recording writes, with made-up numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.runs.large_runs import store_sample
from sth_core.files import read_object, write_json
from sth_core.shards import write_table

CLIPS_PER_SHARD = 4000
FRAMES = 8


def make_run(
    run: Path, clips: int, classes: int, layers: int, seed: int = 0, modality: str = "rgb", p: float = 1 / 4
) -> Path:
    """Write a run directory of so many clips, class by class as a recording's; every 20th has another of its own
    source video.

    Four of five predictions are correct, the others fall on the next classes; alpha_T rises with layer and class.
    Runs of different seeds have the same clips.
    """
    names = [f"class {i:03d}" for i in range(classes)]
    layer_names = [f"layer{1 + i * 4 // layers}.{i}" for i in range(layers)]
    for shard, start in enumerate(range(0, clips, CLIPS_PER_SHARD)):
        random = np.random.default_rng([seed, start])
        numbers = np.arange(start, min(start + CLIPS_PER_SHARD, clips))
        labels, digits = numbers * classes // clips, max(6, len(str(clips - 1)))
        ids = [f"val/{names[i]}/{number:0{digits}d}.mp4" for i, number in zip(labels, numbers, strict=True)]
        tables = (
            predictions_table(ids, labels, names, random),
            attention_table(ids, labels, names, layer_names, random),
        )
        for kind, table in zip(("predictions", "attention"), tables, strict=True):
            (run / kind).mkdir(parents=True, exist_ok=True)
            write_table(run / kind / f"part-{shard:05d}.parquet", table)
    pd.DataFrame(columns=["clip_id", "path", "reason"]).to_parquet(run / "failures.parquet")
    write_json(
        run / "run.json",
        {
            "arch": "resnet50", "conv": "sth", "temporal_fraction": p, "attention": True, "modality": modality,
            "frames": FRAMES, "seed": seed, "dataset": "made", "data": "/data", "label": "label", "split": "val",
            "clips": clips, "classes": names, "checkpoint": "/none.safetensors", "checkpoint_sha256": f"made {seed}",
            "layers": [{"index": i, "layer": n, "stage": n.split(".")[0]} for i, n in enumerate(layer_names)],
            "started": "made", "finished": "made",
        },
    )  # fmt: skip
    store_sample(run, read_object(run / "run.json"))
    return run


def predictions_table(ids: list[str], labels: np.ndarray, names: list[str], random: np.random.Generator) -> pa.Table:
    """A row for each of these clips, whose labels are numbers of classes."""
    count, classes = len(ids), len(names)
    correct = random.random(count) < 0.8
    predicted = np.where(correct, labels, (labels + random.integers(1, 6, count)) % classes)
    scores = random.random((count, classes), np.float32) * (0.5 / classes)
    scores[np.arange(count), predicted] = random.uniform(0.5, 1, count)
    scores /= scores.sum(1, keepdims=True)
    return pa.table(
        {
            "clip_id": ids,
            "path": [f"/data/{clip}" for clip in ids],
            "label": [names[i] for i in labels],
            "prediction": [names[i] for i in predicted],
            "correct": correct,
            "confidence": scores.max(1),
            "margin": np.diff(np.partition(scores, -2, 1)[:, -2:], axis=1)[:, 0],
            "disagreement": np.zeros(count),
            "scores": lists(scores),
            "view_scores": pa.ListArray.from_arrays(pa.array(np.arange(count + 1), pa.int32()), lists(scores)),
            "frame_indices": lists(np.tile(np.arange(FRAMES), (count, 1))),
            "flow": [""] * count,
            "backward": [False] * count,
            "segment": [""] * count,
            "bytes": [0] * count,
            "group": [ids[i - (i % 20 == 19)] for i in range(count)],
        }
    )


def attention_table(
    ids: list[str], labels: np.ndarray, names: list[str], layer_names: list[str], random: np.random.Generator
) -> pa.Table:
    """A row for each of these clips and layer."""
    count, layers = len(ids), len(layer_names)
    rise = np.linspace(0.4, 0.6, layers) + (labels[:, None] / len(names) - 0.5) / 5
    alpha = (rise + random.normal(0, 0.03, (count, layers))).clip(0, 1).ravel().astype(np.float32).astype(float)
    return pa.table(
        {
            "clip_id": np.repeat(ids, layers),
            "layer_index": np.tile(np.arange(layers), count),
            "layer": layer_names * count,
            "stage": [name.split(".")[0] for name in layer_names] * count,
            "alpha_spatial": 1 - alpha,
            "alpha_temporal": alpha,
        }
    )


def lists(values: np.ndarray) -> pa.ListArray:
    """(N, M) as N lists."""
    offsets = pa.array(np.arange(0, values.size + 1, values.shape[1]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))
