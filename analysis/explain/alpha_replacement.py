"""Interventions on attention: alpha is replaced by values that do not depend on the clip, and predictions are compared.

High attention does not prove that it has an effect: a later layer may undo it. alpha_S + alpha_T stays 1. A `Tap`
replaces alpha where it is computed: no module is patched, and many threads can use the same network at once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sth_core.convolution import Tap
from sth_core.evaluation import is_finite
from sth_core.network import VideoNetwork

HALF, SPATIAL_ONLY, TEMPORAL_ONLY, DATASET_MEAN, ANOTHER_CLIP = REPLACEMENTS = (
    "one half", "spatial only", "temporal only", "the dataset's mean", "another clip's",
)  # fmt: skip
EVERY_LAYER = "everywhere"
FIXED_ALPHAS = {HALF: (0.5, 0.5), SPATIAL_ONLY: (1.0, 0.0), TEMPORAL_ONLY: (0.0, 1.0)}  # alpha_S, alpha_T


@dataclass(frozen=True)
class SetAlpha(Tap):
    """Replaces alpha by `values`: {layer: (2, C_out), or (B, 2, C_out) with one for each clip}."""

    values: Mapping[str, Tensor]

    def attention(self, layer: str, alpha: Float[Tensor, "B 2 C"]) -> Float[Tensor, "B 2 C"]:
        return self.values[layer].to(alpha).expand_as(alpha) if layer in self.values else alpha


def places(model: VideoNetwork) -> dict[str, tuple[str, ...]]:
    """{name: layers} of the places where alpha is replaced: each layer, each stage, everywhere; a ValueError if the
    network has no attention."""
    layers, config = model.attention_layers, model.config
    if not layers:
        raise ValueError(
            f"a network with conv = {config.conv!r} and attention = {config.attention} has no α to replace"
        )
    found: dict[str, tuple[str, ...]] = {layer.name: (layer.name,) for layer in layers}
    for stage in dict.fromkeys(layer.stage for layer in layers):
        found.setdefault(stage, tuple(layer.name for layer in layers if layer.stage == stage))
    return found | {EVERY_LAYER: tuple(layer.name for layer in layers)}


def replacement(kind: str, mean: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """{layer: alpha} for every layer; `mean` (2, C_out) is the dataset's mean, `other` (B, 2, C_out) another clip's."""
    if kind == DATASET_MEAN:
        return mean
    if kind == ANOTHER_CLIP:
        return other
    return {name: torch.tensor(FIXED_ALPHAS[kind])[:, None].expand_as(alpha) for name, alpha in mean.items()}


@torch.inference_mode()
def interventions(
    model: VideoNetwork,
    clips: Float[Tensor, "B T C H W"],
    mean: Mapping[str, Float[Tensor, "2 _"]],
    other: Mapping[str, Float[Tensor, "B 2 _"]],
) -> Iterator[tuple[str, str, Float[Tensor, "B K"]]]:
    """Every place and kind, with the logits (B, K) of clips (B, T, C, H, W) under it."""
    for place, layers in places(model).items():
        for kind in REPLACEMENTS:
            values = replacement(kind, mean, other)
            yield place, kind, model(clips, SetAlpha({name: values[name] for name in layers}))


def replacement_rows(
    clips: pd.DataFrame, classes: list[str], plain: Float[Tensor, "B K"], logits: Float[Tensor, "B K"], **what: object
) -> pd.DataFrame:
    """A row per clip: its prediction by `logits`, under an intervention, and by `plain`; the columns `what` are added.

    logit_label and score_label are the changes of the true class's logit (minus the mean of all logits) and softmax,
    nan if the network does not know the label, where plain_correct and correct are missing too; score_plain is that of
    the softmax of the class predicted by `plain`.
    """
    numbers, names = torch.from_numpy(pd.Index(classes).get_indexer(clips["label"])), np.array(classes, object)
    before, after = plain.argmax(1), logits.argmax(1)
    centred = (logits - logits.mean(1, keepdim=True)) - (plain - plain.mean(1, keepdim=True))
    soft = logits.softmax(1) - plain.softmax(1)
    rows = clips[["clip_id"]].reset_index(drop=True).assign(**what, label=clips["label"].to_numpy())
    rows = rows.assign(plain_prediction=names[before.numpy()], prediction=names[after.numpy()])
    unknown = (numbers < 0).numpy()
    outcomes = {"plain_correct": (before == numbers).numpy(), "correct": (after == numbers).numpy()}
    rows = rows.assign(**{name: pd.array(found, "boolean") for name, found in outcomes.items()})
    rows.loc[unknown, list(outcomes)] = pd.NA
    changes = {"logit_label": (centred, numbers), "score_label": (soft, numbers), "score_plain": (soft, before)}
    return rows.assign(**{name: pick_column(values, column) for name, (values, column) in changes.items()})


def intervention_table(
    model: VideoNetwork, clips: Tensor, rows: pd.DataFrame, classes: list[str], plain: Tensor,
    mean: Mapping[str, Tensor], other: Mapping[str, Tensor],
) -> pd.DataFrame:  # fmt: skip
    """The `replacement_rows` of every place and kind (`interventions`), without the clips whose scores are not finite
    at one of them."""
    tables, finite = [], np.ones(len(rows), bool)
    for place, kind, logits in interventions(model, clips, mean, other):
        finite &= is_finite(logits).cpu().numpy()
        tables.append(replacement_rows(rows, classes, plain.cpu(), logits.cpu(), place=place, kind=kind))
    return pd.concat([table[finite] for table in tables])


def pick_column(values: Float[Tensor, "B K"], column: Int64[Tensor, "B"]) -> Float[np.ndarray, "B"]:
    """The value in this column of each row of (B, K); nan for column -1."""
    chosen = values.gather(1, column.clamp(min=0)[:, None])[:, 0].double().numpy()
    return np.where((column >= 0).numpy(), chosen, np.nan)


def donor_clips(labels: list[str], seed: int = 0) -> list[int]:
    """For each clip the number of another clip, of another class if possible, drawn with `seed`."""
    order = np.random.default_rng(seed).permutation(len(labels))
    found = []
    for label, position in zip(labels, np.argsort(order), strict=True):
        in_turn = np.roll(order, -position - 1).tolist()  # the clip itself last
        found.append(next((i for i in in_turn if labels[i] != label), in_turn[0]))
    return found
