"""All tests of the maps of one clip, as the rows of the tables of `trust`."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.experiments.tested_maps import Explanation, at_cells, map_of
from analysis.explain.alpha_replacement import intervention_table
from analysis.explain.faithfulness import (
    REMOVAL_STEPS,
    REMOVAL_TESTS,
    TIME,
    area_under_curve,
    centre_prior,
    occlusion_drop,
    random_map,
    removal_curve,
)
from analysis.explain.gradcam import mass_shares
from analysis.explain.methods import METHODS
from analysis.runs.correctness import correctness
from analysis.statistics.correlations import rank_correlation
from sth_core.checkpoint import Checkpoint
from sth_core.network_contract import Network

RANDOM, CENTRE = CONTROLS = ("random map", "centre prior")


@dataclass(frozen=True)
class TrustTests:
    """All that the clips of one call have in common."""

    checkpoint: Checkpoint
    network: Network  # the checkpoint's for inference, which computes the clips with a part removed
    wanted: list[Explanation]
    randomized: list[tuple[str, Network]]  # (part, the network with random weights from there on)
    mean_alpha: dict[str, Tensor]  # {layer: (2, C_out)}
    batch_size: int
    precision: str
    grid: tuple[int, int]  # cells of the maps that are tested


@dataclass(frozen=True)
class ClipResult:
    """A clip and what the network makes of it."""

    clip: Tensor  # (T, C, H, W)
    row: pd.DataFrame  # of the dataset's table
    logits: Tensor  # (1, K)
    alphas: dict[str, Tensor]  # {layer: (1, 2, C_out)}
    donor: dict[str, Tensor]  # another clip's alphas
    maps: dict[str, Tensor]  # {explanation or control: signed map (T, h, w) of the class `target`}
    seconds: dict[str, float]  # {explanation: what its map took}

    @property
    def target(self) -> int:
        return int(self.logits.argmax())


def clip_result(tests: TrustTests, clip: Tensor, row: pd.DataFrame, donor: dict[str, Tensor], seed: int) -> ClipResult:
    """The output for a clip (T, C, H, W), and all maps of the predicted class; `seed` draws the random map."""
    with torch.inference_mode():
        logits, alphas = tests.checkpoint.inference_model.forward_with_attention(clip[None])
    maps, seconds = {}, {}
    for e in tests.wanted:
        began = time.perf_counter()
        found = map_of(tests.checkpoint.model, clip, int(logits.argmax()), e, tests.precision)
        seconds[e.name] = time.perf_counter() - began
        maps[e.name] = at_cells(found, tests.grid)
    of_controls = (len(clip), *tests.grid)
    maps |= {RANDOM: random_map(*of_controls, seed), CENTRE: centre_prior(*of_controls)}
    return ClipResult(clip, row, logits, alphas, donor, maps, seconds)


def clip_tables(tests: TrustTests, result: ClipResult) -> dict[str, pd.DataFrame]:
    """The rows of one clip, by the name of their table."""
    drop = occlusion_drop(tests.network, result.clip, result.target, batch_size=tests.batch_size)
    tables = {"curves": curve_rows(tests, result), "frames": frame_rows(result, drop)}
    tables |= {"randomised": randomization_rows(tests, result), "costs": cost_rows(tests, result)}
    tables["clips"] = [clip_row(tests, result, drop)]
    clip_id = result.row["clip_id"].iloc[0]
    found = {name: pd.DataFrame(rows).assign(clip_id=clip_id) for name, rows in tables.items()}
    clips = found["clips"]
    found["clips"] = clips.assign(correct=correctness(clips["prediction"], clips["label"], tests.checkpoint.classes))
    return found | {"alpha": alpha_table(tests, result)}


def curve_rows(tests: TrustTests, result: ClipResult) -> list[dict[str, Any]]:
    """Deletion and insertion: a row per map and test; a map with one value for each frame is tested in time alone."""
    rows, model = [], tests.network
    for name, of_clip in result.maps.items():
        for test in REMOVAL_TESTS:
            if test.way != TIME and of_clip.shape[1:].numel() == 1 < tests.grid[0] * tests.grid[1]:
                continue
            at, scores = removal_curve(model, result.clip, result.target, of_clip, test, batch_size=tests.batch_size)
            row = {"explanation": name, "way": test.way, "direction": test.direction, "baseline": test.baseline}
            rows.append(row | {"shares": at, "scores": scores, "area": area_under_curve(at, scores)})
    return rows


def frame_rows(result: ClipResult, drop: np.ndarray) -> list[dict[str, Any]]:
    """A row per map and frame: the map's mass there, and `drop` (T,), the score lost when the frame is hidden."""
    return [
        {"explanation": name, "frame": t, "mass": float(mass), "drop": float(drop[t])}
        for name, of_clip in result.maps.items()
        for t, mass in enumerate(mass_shares(of_clip.clamp(min=0).numpy()))
    ]


def randomization_rows(tests: TrustTests, result: ClipResult) -> list[dict[str, Any]]:
    """A row per explanation and randomized part: the rank correlation of its map with the true one, nan if one
    of the two is the same everywhere. Slow methods explain only the network whose weights are all random."""
    T, _, H, W = result.clip.shape
    rows, last = [], len(tests.randomized) - 1
    for i, (part, network) in enumerate(tests.randomized):
        for e in (e for e in tests.wanted if i == last or not METHODS[e.method].is_slow(T, H, W)):
            found = at_cells(map_of(network, result.clip, result.target, e, tests.precision), tests.grid)
            true, random = (maps.clamp(min=0).numpy() for maps in (result.maps[e.name], found))
            rows.append({"explanation": e.name, "part": part, "correlation": rank_correlation(true, random)})
    return rows


def cost_rows(tests: TrustTests, result: ClipResult) -> list[dict[str, Any]]:
    """A row per explanation: the passes of the network for its map, and the seconds."""
    T, _, H, W = result.clip.shape
    rows = []
    for e in tests.wanted:
        forwards, backwards = METHODS[e.method].passes(T, H, W)
        row = {"explanation": e.name, "forwards": forwards, "backwards": backwards}
        rows.append(row | {"seconds": result.seconds[e.name]})
    return rows


def alpha_table(tests: TrustTests, result: ClipResult) -> pd.DataFrame:
    """A row per place and kind of replaced alpha; without attention a row that has only the clip's name."""
    if not result.alphas:
        return result.row[["clip_id"]].reset_index(drop=True)
    model, classes, clips = tests.checkpoint.inference_model, tests.checkpoint.classes, result.clip[None]
    return intervention_table(model, clips, result.row, classes, result.logits, tests.mean_alpha, result.donor)


def clip_row(tests: TrustTests, result: ClipResult, drop: np.ndarray) -> dict[str, Any]:
    """What the network predicts of the clip, and what hiding its frames costs in all."""
    row, prediction = result.row.iloc[0], tests.checkpoint.classes[result.target]
    alphas = [alpha[:, 1].mean().item() for alpha in result.alphas.values()]
    return {
        **row[["clip_id", "label", "group"]],
        "prediction": prediction,
        "confidence": float(result.logits.softmax(1)[0, result.target]),
        "alpha_temporal": float(np.mean(alphas)) if alphas else np.nan,
        "drop": float(drop.clip(0).sum()),
    }


def views_of_clip(explanations: int, frames: int) -> int:
    """How many clips with a part removed are computed together for a clip and its maps, at most. The rest is computed
    one clip at a time, and by Grad-CAM, which needs the branches and gradients: both by the network as it is."""
    steps = sum((frames if test.way == TIME else REMOVAL_STEPS) + 1 for test in REMOVAL_TESTS)
    return (explanations + len(CONTROLS)) * steps + frames + 1
