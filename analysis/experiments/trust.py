"""Which explanation of a network can be trusted: all tests of `faithfulness`, `weight_randomization` and
`alpha_replacement` on some clips.

    DIR/trust.json              what was tested
    DIR/curves/*.parquet        a row per clip, explanation and test: the curve and its area
    DIR/frames/*.parquet        a row per clip, explanation and frame: CAM mass, and the drop when the frame is hidden
    DIR/randomised/*.parquet    a row per clip, explanation and randomized part: rank correlation with the true map
    DIR/alpha/*.parquet         a row per clip, place and kind of replaced alpha
    DIR/costs/*.parquet         a row per clip and explanation: passes of the network and seconds of its map
    DIR/clips/*.parquet         a row per clip

An interrupted call is resumed with the clips that are missing.
"""

import time
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.experiments.clip_reading import normalised_clips
from analysis.explain.alpha_replacement import REPLACEMENTS, donor_of, intervention_table
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
from analysis.explain.gradcam import (
    CELL_WEIGHTS,
    DEFINITIONS,
    SPATIAL,
    TEMPORAL,
    cam_layers,
    default_layer,
    mass_shares,
)
from analysis.explain.methods import DEFAULT_METHODS, GRADCAM, INPUT, METHODS, Question, chosen_methods
from analysis.explain.weight_randomization import randomized_models
from analysis.runs.chosen_clips import choose_split
from analysis.runs.computing import computing_as_asked
from analysis.runs.correctness import correctness
from analysis.runs.damaged_parts import set_aside_damaged
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import notify_choice
from analysis.runs.relabelling import remove_shards_of
from analysis.statistics.correlations import rank_correlation
from sth_core.checkpoint import Checkpoint
from sth_core.compiled import compiled_for_reading, form_facts
from sth_core.datasets.changes import name_changes
from sth_core.errors import NOT_FINITE, UserError
from sth_core.evaluation import is_finite
from sth_core.network import pick_device
from sth_core.network_contract import Network
from sth_core.open_network import Named, open_network
from sth_core.precision import computing_facts
from sth_core.resumable import Work, no_report, working_on
from sth_core.shards import Shards

TABLES = ("curves", "frames", "randomised", "alpha", "costs", "clips")
PAGES = (
    "index.html",
    "ranking.csv",
    "verdicts.csv",
    "faithfulness.csv",
    "sanity.csv",
    "agreement.csv",
    "attention.csv",
)
IDENTITY = ("checkpoint_sha256", "data", "split", "label", "clips", "seed", "replacements", "precision", "methods")
RANDOM, CENTRE = CONTROLS = ("random map", "centre prior")


@dataclass(frozen=True)
class Explanation:
    """A way to make maps of a clip."""

    name: str
    layer: str
    definition: str
    branch: str = "joint"
    method: str = GRADCAM


def explanations(model: Network, side: int, methods: tuple[str, ...] = (GRADCAM,)) -> list[Explanation]:
    """Those of each method: of Grad-CAM both definitions at the default layer, and the branches of the last STH layer
    up to it."""
    layers = cam_layers(model, side)
    chosen = default_layer(layers)
    below = takewhile(lambda layer: layer.name != chosen, layers)
    hybrids = [layer.name for layer in below if len(layer.branches) > 1]
    found = [Explanation(f"Grad-CAM, weights {d.replace('_', ' ')}", chosen, d) for d in DEFINITIONS]
    if hybrids:
        found += [Explanation(f"Grad-CAM, {b} branch", hybrids[-1], "per_step", b) for b in (SPATIAL, TEMPORAL)]
    others = [m for m in map(METHODS.__getitem__, methods) if m.name != GRADCAM and m.serves(model)]
    for method in others:
        definition = method.name if method.name in CELL_WEIGHTS else ""
        layer = chosen if method.layered else INPUT
        found.append(Explanation(method.title, layer, definition, method=method.name))
    return found if GRADCAM in methods else found[len(found) - len(others) :]


def map_of(model: Network, clip: Tensor, target: int, e: Explanation, precision: str = "fp32", seed: int = 0) -> Tensor:
    """The signed map (T, h, w) of a clip (T, C, H, W)."""
    asked = Question(target, None, e.layer, e.branch, e.definition, precision, seed)
    return METHODS[e.method].explain(model, clip, asked, no_report)


def maps_of(
    model: Network, clip: Tensor, target: int, wanted: list[Explanation], precision: str = "fp32"
) -> dict[str, Tensor]:
    """{explanation: signed map (T, h, w)} of a clip (T, C, H, W)."""
    return {e.name: map_of(model, clip, target, e, precision) for e in wanted}


def at_cells(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map of pixels (T, H, W) -> the mean of each cell (T, h, w), so that all maps are tested at one resolution and
    against controls of that resolution; a map that is no finer stays as it is."""
    finer = maps.shape[1] > grid[0] and maps.shape[2] > grid[1]
    return F.adaptive_avg_pool2d(maps[None], grid)[0] if finer else maps


def choose_clips(table: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """`count` clips, as evenly over the labels as can be; which of each label is drawn with `seed`."""
    mixed = table.sample(frac=1, random_state=seed)
    turn = mixed.groupby("label").cumcount()
    return mixed.assign(turn=turn).sort_values(["turn", "label"], kind="stable").head(count).drop(columns="turn")


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


def trust(
    network: Named, data: Path, out: Path, options: DatasetOptions = DatasetOptions(), *,
    clips: int = 60, seed: int = 0, methods: tuple[str, ...] = DEFAULT_METHODS,
) -> dict[str, str]:  # fmt: skip
    """Test the explanations of each clip's predicted class, by `methods` (names in `METHODS`); returns why clips could
    not be read.

    Raises:
        UserError: the checkpoint or the data cannot be used, or `out` holds the results of other work.
    """
    device = pick_device(options.device)
    checkpoint = open_network(network, device)
    chosen = choose_split(checkpoint, data, checkpoint.annotation, options.split, inside=options.inside)
    notify_choice(chosen, options)
    chosen = chosen.take(choose_clips(chosen.clips, clips, seed).index)
    table, side, methods = chosen.clips, checkpoint.preprocessing.crop, chosen_methods(" ".join(methods))
    if lost := [METHODS[name].title for name in methods if not METHODS[name].serves(checkpoint.model)]:
        options.notify(f"{' and '.join(lost)}: left out, as this network has no attention weights of a transformer")
    wanted, about = explanations(checkpoint.model, side, methods), checkpoint.model.described()
    if not wanted:
        raise UserError("none of the methods that were named explains this network; gradcam explains every one")
    kind = [about["conv"], f"p = {about['temporal_fraction']:g}"] if about["conv"] != "other" else []
    facts = {
        "network": ", ".join([about["arch"], *kind, about["modality"]]),
        "attention": about["attention"], "classes": checkpoint.classes, "explanations": [vars(e) for e in wanted],
        "data": str(data.resolve()), "dataset": data.resolve().name, "seed": seed,
        "methods": ", ".join(methods), "label": checkpoint.annotation.label, **chosen.facts,
        "replacements": list(REPLACEMENTS),
        **(checkpoint.named.facts if checkpoint.named else {}), "checkpoint_sha256": checkpoint.sha256,
        **computing_facts(options.precision, device),
    }  # fmt: skip
    identity, owned = {key: facts[key] for key in IDENTITY}, (*TABLES, *PAGES)
    before = {"precision": "fp32", "methods": "those of an earlier version"}
    work = Work(out, "trust.json", "test of explanations", identity, owned, before)
    failures: dict[str, str] = {}
    began = working_on(work, facts, command=options.command, overwrite=options.overwrite, notify=options.notify)
    with began as meta, computing_as_asked(options, device):
        shards = Shards(out, TABLES)
        set_aside_damaged(work, shards, options.notify)
        shards.tidy()
        remove_relabelled(shards, table, options)
        finished = shards.done()
        options.progress(len(finished), len(table))
        alphas = clip_alphas(checkpoint, table, options.workers) if about["attention"] else {}
        randomized = list(randomized_models(checkpoint.model))
        layers: dict[str, Tensor] = next(iter(alphas.values()), {})
        mean = {layer: torch.cat([of_clip[layer] for of_clip in alphas.values()]).mean(0) for layer in layers}
        precision = facts["precision"]
        grid = cells_of(checkpoint.model, side)
        missing, size = table[~table["clip_id"].isin(finished)], options.batch_size
        views = len(missing) * views_of_clip(len(wanted), checkpoint.preprocessing.frames)
        shown_to, compiling = compiled_for_reading(checkpoint.inference_model, views, size, options.notify)
        tests = TrustTests(checkpoint, shown_to, wanted, randomized, mean, size, precision, grid)
        import_slow(wanted)
        names = list(alphas)
        labels = list(table.set_index("clip_id")["label"][names])
        donors = {name: donor_of(i, labels, range(len(names)), seed) for i, name in enumerate(names)}
        read = normalised_clips(checkpoint, missing, options.workers)
        for done, (row, (clip, failure)) in enumerate(zip(missing.index, read, strict=True), 1 + len(finished)):
            clip_id = table["clip_id"][row]
            if clip is not None and not has_finite_scores(checkpoint, clip):
                clip, failure = None, NOT_FINITE
            if clip is None:
                failures[clip_id] = failure
            else:
                number = donors.get(clip_id)
                donor = {} if number is None else alphas[names[number]]
                tables = clip_tables(tests, clip_result(tests, clip, table.iloc[[row]], donor, seed + row))
                if len(tables["alpha"]):
                    shards.write(tables)
                else:
                    failures[clip_id] = f"with α replaced, {NOT_FINITE}"
            options.progress(done, len(table))
        meta |= form_facts(shown_to, compiling)
    return failures


def views_of_clip(explanations: int, frames: int) -> int:
    """How many clips with a part removed are computed together for a clip and its maps, at most. The rest is computed
    one clip at a time, and by Grad-CAM, which needs the branches and gradients: both by the network as it is."""
    steps = sum((frames if test.way == TIME else REMOVAL_STEPS) + 1 for test in REMOVAL_TESTS)
    return (explanations + len(CONTROLS)) * steps + frames + 1


def cells_of(model: Network, side: int) -> tuple[int, int]:
    """The height and width of the maps of the default layer."""
    layers = cam_layers(model, side)
    chosen = default_layer(layers)
    return next((layer.height, layer.width) for layer in layers if layer.name == chosen)


def import_slow(wanted: list[Explanation]) -> None:
    """Import what the methods need, so that no clip's seconds have it."""
    if not all(METHODS[e.method].layered for e in wanted):
        import captum.attr  # noqa: F401


def remove_relabelled(shards: Shards, table: pd.DataFrame, options: DatasetOptions) -> None:
    """Remove the results of clips whose label has changed, and of those that are no longer chosen, and say so."""
    before = shards.read("clips")
    if "label" not in before:  # there are none yet
        return
    labels, now = before.set_index("clip_id")["label"], table.set_index("clip_id")["label"]
    changes = {clip: (old, now[clip]) for clip, old in labels.items() if clip in now.index and now[clip] != old}
    if changes:
        options.notify(f"{name_changes('label', changes)}; these clips are tested again")
    remove_shards_of(shards, set(changes) | (set(labels.index) - set(now.index)))


@torch.inference_mode()
def has_finite_scores(checkpoint: Checkpoint, clip: Tensor) -> bool:
    """Of one clip (T, C, H, W)."""
    return bool(is_finite(checkpoint.inference_model(clip[None])).all())


@torch.inference_mode()
def clip_alphas(checkpoint: Checkpoint, table: pd.DataFrame, workers: int | None) -> dict[str, dict[str, Tensor]]:
    """{clip_id: {layer: alpha (1, 2, C_out)}} of the clips that can be read and have finite scores."""
    found = {}
    read = normalised_clips(checkpoint, table, workers)
    for clip_id, (clip, _) in zip(table["clip_id"], read, strict=True):
        if clip is not None:
            logits, alphas = checkpoint.inference_model.forward_with_attention(clip[None])
            if is_finite(logits).all():
                found[clip_id] = {layer: alpha.cpu() for layer, alpha in alphas.items()}
    return found


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
    """A row per explanation and randomized part: the rank correlation of its map with the true one. Slow methods
    explain only the network whose weights are all random."""
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
