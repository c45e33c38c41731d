"""Interventions on attention: alpha_S and alpha_T are replaced, and the predictions compared.

High attention does not prove that it has an effect: a later layer may undo it. So alpha is replaced at one layer, in a
stage or everywhere, by values that do not depend on this clip. In all of them alpha_S + alpha_T stays 1. A `Tap`
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
    """The places where alpha is replaced: each layer, each stage, everywhere; {name of the place: its layers}.

    Raises:
        ValueError: the network has no attention.
    """
    layers = model.attention_layers
    if not layers:
        raise ValueError(
            f"a network with conv = {model.config.conv!r} and attention = {model.config.attention} has no α to replace"
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
    clips: pd.DataFrame,
    classes: list[str],
    plain: Float[Tensor, "B K"],
    logits: Float[Tensor, "B K"],
    **what: object,
) -> pd.DataFrame:
    """A row per clip: its prediction under the intervention, and the change of its scores.

    Args:
        clips: clip_id and label of each clip.
        plain, logits: (B, K) without and with the intervention.
        what: further columns.

    Returns:
        clip_id, the columns of `what`, label, plain_prediction, prediction, plain_correct, correct; logit_label and
        score_label: the changes of the true class's logit (minus the mean of all logits) and softmax, nan if the label
        is unknown to the network; score_plain: the change of the softmax of the class predicted without intervention.
    """
    numbers = torch.tensor([classes.index(label) if label in classes else -1 for label in clips["label"]])
    before, after = plain.argmax(1), logits.argmax(1)
    centred = (logits - logits.mean(1, keepdim=True)) - (plain - plain.mean(1, keepdim=True))
    soft = logits.softmax(1) - plain.softmax(1)
    return pd.DataFrame(
        {
            "clip_id": list(clips["clip_id"]),
            **what,
            "label": list(clips["label"]),
            "plain_prediction": [classes[i] for i in before],
            "prediction": [classes[i] for i in after],
            "plain_correct": (before == numbers).numpy(),
            "correct": (after == numbers).numpy(),
            "logit_label": pick_column(centred, numbers),
            "score_label": pick_column(soft, numbers),
            "score_plain": pick_column(soft, before),
        }
    )


def pick_column(values: Float[Tensor, "B K"], column: Int64[Tensor, "B"]) -> Float[np.ndarray, "B"]:
    """The value in this column of each row of (B, K); nan for column -1."""
    chosen = values.gather(1, column.clamp(min=0)[:, None])[:, 0].double().numpy()
    return np.where((column >= 0).numpy(), chosen, np.nan)


def donor_clips(labels: list[str], seed: int = 0) -> list[int]:
    """For each clip the number of another clip, of another class if possible, drawn with `seed`."""
    order = np.random.default_rng(seed).permutation(len(labels))
    found = []
    for i, label in enumerate(labels):
        start = int(np.flatnonzero(order == i)[0])
        later = [int(order[(start + step) % len(order)]) for step in range(1, len(order))]
        found.append(next((j for j in later if labels[j] != label), later[0] if later else i))
    return found
