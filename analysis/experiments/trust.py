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

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from analysis.experiments.clip_reading import normalised_clips
from analysis.experiments.clip_tests import TrustTests, clip_result, clip_tables, views_of_clip
from analysis.experiments.tested_maps import cells_of, explanations, import_slow
from analysis.explain.alpha_replacement import REPLACEMENTS, donor_of
from analysis.explain.methods import DEFAULT_METHODS, METHODS, chosen_methods
from analysis.explain.weight_randomization import randomized_models
from analysis.runs.chosen_clips import choose_split
from analysis.runs.computing import computing_as_asked
from analysis.runs.damaged_parts import set_aside_damaged
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import notify_choice
from analysis.runs.relabelling import remove_shards_of
from sth_core.checkpoint import Checkpoint
from sth_core.compiled import compiled_for_reading, form_facts
from sth_core.datasets.changes import name_changes
from sth_core.errors import NOT_FINITE, UserError
from sth_core.evaluation import is_finite
from sth_core.network import pick_device
from sth_core.open_network import Named, open_network
from sth_core.precision import computing_facts
from sth_core.resumable import Work, working_on
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
IDENTITY = (
    "checkpoint_sha256", "data", "split", "label", "clips", "seed", "replacements", "precision", "methods",
    "constant_maps",
)  # fmt: skip
EARLIER = {"precision": "fp32", "methods": "those of an earlier version", "constant_maps": "counted as 0"}


def choose_clips(table: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """`count` clips, as evenly over the labels as can be; which of each label is drawn with `seed`."""
    mixed = table.sample(frac=1, random_state=seed)
    turn = mixed.groupby("label").cumcount()
    return mixed.assign(turn=turn).sort_values(["turn", "label"], kind="stable").head(count).drop(columns="turn")


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
        "replacements": list(REPLACEMENTS), "constant_maps": "left out",
        **(checkpoint.named.facts if checkpoint.named else {}), "checkpoint_sha256": checkpoint.sha256,
        **computing_facts(options.precision, device),
    }  # fmt: skip
    identity, owned = {key: facts[key] for key in IDENTITY}, (*TABLES, *PAGES)
    work = Work(out, "trust.json", "test of explanations", identity, owned, EARLIER)
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
