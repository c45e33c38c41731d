"""Small untrained networks and hand-written runs for tests."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sth_core.checkpoint import save_checkpoint
from sth_core.datasets.synthetic import MOTIONS
from sth_core.datasets.table import Annotation
from sth_core.network import VideoNetwork, create_model
from sth_core.video.encoding import write_video
from sth_core.video.transforms import Preprocessing

CLASSES = sorted(MOTIONS)
RGB = Preprocessing("rgb", frames=4, resize=36, crop=32)
FLOW = Preprocessing("flow", frames=4, resize=36, crop=32, mean=(0.502,), std=(0.1,), flow_bound=8.0)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """On several threads sums are added in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def tiny_network(seed: int = 0, **changes: Any) -> VideoNetwork:
    """STH-ResNet-18 of width 8 and 4 frames, in eval mode, whose logits differ from class to class."""
    torch.manual_seed(seed)
    model = create_model("resnet18", len(CLASSES), **({"width": 8, "frames": 4} | changes))
    torch.nn.init.normal_(model.fc.weight)
    return model.eval()


def save_tiny(path: Path, seed: int = 0, **changes: Any) -> Path:
    """A checkpoint of `tiny_network`, annotated with the motions."""
    preprocessing = FLOW if changes.get("modality") == "flow" else RGB
    save_checkpoint(path, tiny_network(seed, **changes), CLASSES, preprocessing, Annotation(label="motion"))
    return path


def write_moving_video(path: Path, frames: int = 30, height: int = 96, width: int = 128) -> Path:
    """An mp4 of a random picture that moves to the right, 3 pixels a frame."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 255, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    write_video(path, (np.roll(picture, 3 * i, 1) for i in range(frames)), 12)
    return path


def write_two_of_each(folder: Path, classes: list[str]) -> Path:
    """A dataset of two short videos of each class, in a folder of the class's name."""
    for i, name in enumerate([*classes, *classes]):
        (folder / name).mkdir(exist_ok=True)
        write_moving_video(folder / name / f"{i // len(classes)}.mp4", frames=6 + i, height=48, width=48)
    return folder


def write_run(path: Path, alphas: list[list[float]], parts: int = 1, **meta: Any) -> Path:
    """A run directory by hand: `alphas` is alpha_T of each clip and layer; clip i is of class "a" or "b" in turn."""
    described = {
        "arch": "resnet18", "conv": "sth", "temporal_fraction": 0.25, "attention": True, "modality": "rgb",
        "dataset": "set", "label": "label", "split": "val", "clips": len(alphas), "classes": ["a", "b"],
        "checkpoint_sha256": f"sha of {path.name}", "finished": "2024-01-01T00:00:00+00:00",
    }  # fmt: skip
    for kind in ("predictions", "attention"):
        (path / kind).mkdir(parents=True)
    (path / "run.json").write_text(json.dumps(described | meta), encoding="utf-8")
    for part in range(parts):
        clips = range(part, len(alphas), parts)
        rows = [
            {"clip_id": f"c{i}", "label": "ab"[i % 2], "prediction": "a", "correct": i % 2 == 0, "confidence": 0.5}
            for i in clips
        ]
        layers = [
            {"clip_id": f"c{i}", "layer_index": j, "layer": f"layer{j}.0.conv1", "stage": f"layer{j}",
             "alpha_spatial": 1 - alpha, "alpha_temporal": alpha}
            for i in clips for j, alpha in enumerate(alphas[i])
        ]  # fmt: skip
        pd.DataFrame(rows).to_parquet(path / "predictions" / f"part-{part:05d}.parquet")
        pd.DataFrame(layers).to_parquet(path / "attention" / f"part-{part:05d}.parquet")
    return path


def copy_clips(scenes: Path, folder: Path, count: int, train_rows: bool = False) -> Path:
    """A dataset of the first val clips of `scenes`; of its train clips `train_rows` keeps the manifest's rows."""
    table = pd.read_csv(scenes / "manifest.csv")
    clips = table[table["split"] == "val"].head(count)
    (folder / "val").mkdir(parents=True)
    for path in clips["path"]:
        shutil.copy(scenes / path, folder / path)
    rows = pd.concat([clips, table[table["split"] == "train"]]) if train_rows else clips
    rows.to_csv(folder / "manifest.csv", index=False)
    return folder


def listed_clips(scenes: Path, folder: Path, **counts: int) -> Path:
    """A dataset of the first clips of each split of `scenes`, which stay where they are."""
    table = pd.read_csv(scenes / "manifest.csv")
    table["path"] = [str(scenes / path) for path in table["path"]]
    folder.mkdir()
    some = [table[table["split"] == split].head(count) for split, count in counts.items()]
    pd.concat(some).to_csv(folder / "manifest.csv", index=False)
    return folder


def attention_of(run: Path) -> pd.DataFrame:
    """The attention of all clips and layers that a run directory has, in order."""
    tables = [pd.read_parquet(file) for file in (run / "attention").glob("part-*.parquet")]
    return pd.concat(tables).sort_values(["clip_id", "layer_index"], ignore_index=True)
