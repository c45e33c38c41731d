"""Which explanation of a network can be believed: all tests of `faithfulness`, `sanity`, `interventions` on some clips.

    DIR/trust.json              what was tested
    DIR/curves/*.parquet        a row per clip, explanation and test: the curve and its area
    DIR/frames/*.parquet        a row per clip, explanation and frame: CAM mass, and the drop when the frame is hidden
    DIR/randomised/*.parquet    a row per clip, explanation and random part: rank correlation with its true map
    DIR/alpha/*.parquet         a row per clip, place and kind of replaced alpha; and clips/*.parquet, a row per clip

An interrupted call goes on with the clips that are missing.
"""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.explain.alpha_replacement import donor_clips, interventions, replacement_rows
from analysis.explain.faithfulness import (
    REMOVAL_TESTS,
    area_under_curve,
    centre_prior,
    occlusion_drop,
    random_map,
    removal_curve,
)
from analysis.explain.gradcam import SPATIAL, TEMPORAL, cam_layers, default_layer, mass_shares, signed_maps
from analysis.explain.weight_randomization import randomized_models
from analysis.runs.parts import Parts, computing
from analysis.statistics.uncertainty import rank_correlation
from sth_core.checkpoint import Checkpoint, load_checkpoint
from sth_core.datasets.clips import EvaluationClips
from sth_core.datasets.table import read_dataset
from sth_core.errors import UserError
from sth_core.evaluation import read_ahead
from sth_core.files import sha256
from sth_core.network import VideoNetwork, pick_device
from sth_core.video.transforms import normalise

KINDS = ("curves", "frames", "randomised", "alpha", "clips")
SAME = ("checkpoint_sha256", "data", "split", "label", "clips", "seed")
RANDOM, CENTRE = CONTROLS = ("random map", "centre prior")


@dataclass(frozen=True)
class Explanation:
    """A way to make maps of a clip."""

    name: str
    layer: str
    definition: str
    branch: str = "joint"


def explanations(model: VideoNetwork, side: int) -> list[Explanation]:
    """Both definitions at the default layer, and the branches of the last STH layer up to it."""
    layers = cam_layers(model, side)
    chosen = default_layer(layers)
    names = [layer.name for layer in layers]
    found = [
        Explanation("Grad-CAM, weights per step", chosen, "per_step"),
        Explanation("Grad-CAM, weights per clip", chosen, "per_clip"),
    ]
    hybrids = [layer.name for layer in layers[: names.index(chosen)] if len(layer.branches) > 1]
    if hybrids:
        found += [Explanation(f"Grad-CAM, {b} branch", hybrids[-1], "per_step", b) for b in (SPATIAL, TEMPORAL)]
    return found


def maps_of(model: VideoNetwork, clip: Tensor, target: int, wanted: list[Explanation]) -> dict[str, Tensor]:
    """{explanation: signed map (T, h, w)} of a clip (T, C, H, W)."""
    found: dict[str, Tensor] = {}
    for definition in dict.fromkeys(e.definition for e in wanted):
        some = [e for e in wanted if e.definition == definition]
        layers = tuple(dict.fromkeys(e.layer for e in some))
        maps = signed_maps(model, clip[None], torch.tensor([target]), layers, definition)
        found |= {e.name: maps[e.layer][e.branch][0].cpu() for e in some}
    return {e.name: found[e.name] for e in wanted}


def choose_clips(table: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """`count` clips, as evenly over the labels as can be; which of each label is drawn with `seed`."""
    mixed = table.sample(frac=1, random_state=seed)
    turn = mixed.groupby("label").cumcount()
    return mixed.assign(turn=turn).sort_values(["turn", "label"], kind="stable").head(count).drop(columns="turn")


def trust(
    checkpoint_path: Path,
    data: Path,
    out: Path,
    split: str = "val",
    clips: int = 60,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 16,
    workers: int = 2,
    command: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, str]:
    """Test the explanations of each clip's predicted class; returns why clips could not be read.

    Raises:
        UserError: the checkpoint or the data cannot be used, or `out` holds the results of something else.
    """
    checkpoint = load_checkpoint(checkpoint_path, pick_device(device))
    table = read_dataset(data, checkpoint.annotation)
    splits = table["split"].value_counts().to_dict()
    table = table[table["split"] == split]
    if table.empty:
        raise UserError(f"no clips in the split {split!r} of {data}; it has {splits}")
    table = choose_clips(table, clips, seed).reset_index(drop=True)
    model, side = checkpoint.model, checkpoint.preprocessing.crop
    wanted = explanations(model, side)
    config = model.config
    meta: dict[str, Any] = {
        "network": f"{config.backbone}, {config.conv}, p = {config.temporal_fraction:g}, {config.modality}",
        "attention": config.attention, "classes": checkpoint.classes,
        "data": str(data.resolve()), "dataset": data.resolve().name, "split": split,
        "label": checkpoint.annotation.label, "clips": len(table), "seed": seed,
        "explanations": [vars(e) for e in wanted], "checkpoint": str(checkpoint_path.resolve()),
        "checkpoint_sha256": sha256(checkpoint_path), "command": command,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }  # fmt: skip
    parts, failures = Parts(out, KINDS), {}
    with computing(out, "trust.json", meta, SAME):
        standing = parts.standing()
        alphas = recorded_alphas(checkpoint, table, workers) if config.attention else {}
        mean = mean_of(alphas)
        partners = dict(zip(alphas, donor_clips([label_of(table, c) for c in alphas], seed), strict=True))
        names, randomized = list(alphas), list(randomized_models(model))
        for done, (row, clip, failure) in enumerate(read(checkpoint, table, workers, standing), 1 + len(standing)):
            clip_id = table["clip_id"][row]
            if clip is None:
                failures[clip_id] = failure
            else:
                other = alphas[names[partners[clip_id]]] if alphas else {}
                one = table.iloc[[row]]
                parts.add(tables_of(checkpoint, clip, one, wanted, mean, other, randomized, seed + row, batch_size))
            progress(done, len(table))
    return failures


def label_of(table: pd.DataFrame, clip_id: str) -> str:
    return str(table.loc[table["clip_id"] == clip_id, "label"].iloc[0])


def read(
    checkpoint: Checkpoint, table: pd.DataFrame, workers: int, without: set[str]
) -> Iterator[tuple[int, Tensor | None, str]]:
    """Each clip's row, the clip normalised (T, C, H, W) on the network's device or None, and why it is None."""
    device = next(checkpoint.model.parameters()).device
    rows = [i for i, clip_id in enumerate(table["clip_id"]) if clip_id not in without]
    clips = EvaluationClips(table.iloc[rows], checkpoint.classes, checkpoint.preprocessing)
    for row, sample in zip(rows, read_ahead(clips, len(clips), workers, ahead=2 * workers), strict=True):
        views = sample.views
        clip = None if views is None else normalise(views[0].to(device), checkpoint.preprocessing)
        yield row, clip, sample.failure


@torch.inference_mode()
def recorded_alphas(checkpoint: Checkpoint, table: pd.DataFrame, workers: int) -> dict[str, dict[str, Tensor]]:
    """{clip_id: {layer: alpha (1, 2, C_out)}} of the clips that can be read."""
    found = {}
    for row, clip, _ in read(checkpoint, table, workers, set()):
        if clip is not None:
            alphas = checkpoint.inference_model.forward_with_attention(clip[None])[1]
            found[table["clip_id"][row]] = {layer: alpha.cpu() for layer, alpha in alphas.items()}
    return found


def mean_of(alphas: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """{layer: mean alpha over the clips (2, C_out)}"""
    layers = next(iter(alphas.values()), {})
    return {layer: torch.cat([of_clip[layer] for of_clip in alphas.values()]).mean(0) for layer in layers}


def tables_of(
    checkpoint: Checkpoint,
    clip: Tensor,
    row: pd.DataFrame,
    wanted: list[Explanation],
    mean: dict[str, Tensor],
    other: dict[str, Tensor],
    randomized: list[tuple[str, VideoNetwork]],
    seed: int,
    batch_size: int,
) -> dict[str, pd.DataFrame]:
    """All tests of one clip (T, C, H, W); `row` has its clip_id, label and group."""
    fast, classes, clip_id = checkpoint.inference_model, checkpoint.classes, row["clip_id"].iloc[0]
    with torch.inference_mode():
        plain, alphas = fast.forward_with_attention(clip[None])
    target = int(plain.argmax())
    maps = maps_of(checkpoint.model, clip, target, wanted)
    T, h, w = next(iter(maps.values())).shape
    maps |= {RANDOM: random_map(T, h, w, seed), CENTRE: centre_prior(T, h, w)}
    curves = []
    for name, of_clip in maps.items():
        for test in REMOVAL_TESTS:
            at, scores = removal_curve(fast, clip, target, of_clip, test, batch_size)
            what = {"way": test.way, "direction": test.direction, "baseline": test.baseline}
            curves.append(
                {"explanation": name, **what, "shares": at, "scores": scores, "area": area_under_curve(at, scores)}
            )
    drop = occlusion_drop(fast, clip, target, batch_size)
    masses = {name: mass_shares(of_clip.clamp(min=0).numpy()) for name, of_clip in maps.items()}
    frames = [
        {"explanation": name, "frame": t, "mass": float(m), "drop": float(drop[t])}
        for name, mass in masses.items()
        for t, m in enumerate(mass)
    ]
    true = {name: maps[name].clamp(min=0).numpy() for name in (e.name for e in wanted)}
    random = []
    for part, network in randomized:
        for name, of_clip in maps_of(network, clip, target, wanted).items():
            correlation = rank_correlation(true[name], of_clip.clamp(min=0).numpy())
            random.append({"explanation": name, "part": part, "correlation": correlation})
    replaced = [
        replacement_rows(row, classes, plain.cpu(), logits.cpu(), place=place, kind=kind)
        for place, kind, logits in (interventions(fast, clip[None], mean, other) if alphas else ())
    ]
    alpha_t = float(np.mean([a[:, 1].mean().item() for a in alphas.values()])) if alphas else np.nan
    label, said = row["label"].iloc[0], classes[target]
    one = {"label": label, "group": row["group"].iloc[0], "prediction": said, "correct": label == said}
    one |= {
        "confidence": float(plain.softmax(1)[0, target]),
        "alpha_temporal": alpha_t,
        "drop": float(drop.clip(0).sum()),
    }
    tables = {"curves": pd.DataFrame(curves), "frames": pd.DataFrame(frames), "randomised": pd.DataFrame(random)}
    result = {name: table.assign(clip_id=clip_id) for name, table in tables.items()}
    result["alpha"] = pd.concat(replaced) if replaced else pd.DataFrame({"clip_id": [clip_id]})
    return result | {"clips": pd.DataFrame([{"clip_id": clip_id, **one}])}
