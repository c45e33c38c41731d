"""Interventions on attention: alpha is replaced by values that do not depend on the clip, or a part of a layer is
removed, and predictions are compared.

High attention does not prove that it has an effect: a later layer may undo it. A `Tap` replaces alpha where it is
computed: no module is patched, and many threads can use the same network at once.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sth_core.convolution import AlphaReplacement
from sth_core.evaluation import is_finite
from sth_core.network_contract import Network

REPLACEMENTS = (
    "one half", "no temporal part: (α_S, 0)", "no spatial part: (0, α_T)", "reset to (1, 0)", "reset to (0, 1)",
    "the dataset's mean", "another clip's",
)  # fmt: skip
HALF, WITHOUT_TEMPORAL, WITHOUT_SPATIAL, RESET_TO_SPATIAL, RESET_TO_TEMPORAL, DATASET_MEAN, ANOTHER_CLIP = REPLACEMENTS
EVERY_LAYER = "everywhere"
# Of alpha_S and alpha_T. To reset one to 1 also overwrites its learnt weights, channel by channel: only a factor of 0
# measures what the other part alone is worth.
FACTORS = {WITHOUT_TEMPORAL: (1.0, 0.0), WITHOUT_SPATIAL: (0.0, 1.0)}
FIXED_ALPHAS = {HALF: (0.5, 0.5), RESET_TO_SPATIAL: (1.0, 0.0), RESET_TO_TEMPORAL: (0.0, 1.0)}
MOST_DONORS = 256


@dataclass(frozen=True)
class SetAlpha(AlphaReplacement):
    """Replaces alpha by `values`: {layer: (2, C_out) or (2, 1), or (B, 2, C_out) with one for each clip}."""

    values: Mapping[str, Tensor]

    def attention(self, layer: str, alpha: Float[Tensor, "B 2 C"]) -> Float[Tensor, "B 2 C"]:
        return self.values[layer].to(alpha).expand_as(alpha) if layer in self.values else alpha

    def terms(self, layer: str) -> tuple[Tensor, Tensor] | None:
        return (torch.zeros(()), self.values[layer]) if layer in self.values else None


@dataclass(frozen=True)
class ScaleAlpha(AlphaReplacement):
    """Multiplies alpha_S and alpha_T of these layers by `factors`: 0 removes a part, and leaves the other as it is."""

    layers: frozenset[str]
    factors: tuple[float, float]

    def attention(self, layer: str, alpha: Float[Tensor, "B 2 C"]) -> Float[Tensor, "B 2 C"]:
        return alpha * alpha.new_tensor(self.factors)[:, None] if layer in self.layers else alpha

    def terms(self, layer: str) -> tuple[Tensor, Tensor] | None:
        return (torch.tensor(self.factors)[:, None], torch.zeros(())) if layer in self.layers else None


def places(model: Network) -> dict[str, tuple[str, ...]]:
    """{name: layers} of the places where alpha is replaced: each layer, each stage, everywhere; a ValueError if the
    network has no attention."""
    layers = model.attention_layers
    if not layers:
        about = model.described()
        raise ValueError(f"{about['arch']} with conv = {about['conv']!r} and without attention has no α to replace")
    found: dict[str, tuple[str, ...]] = {layer.name: (layer.name,) for layer in layers}
    for stage in dict.fromkeys(layer.stage for layer in layers):
        found.setdefault(stage, tuple(layer.name for layer in layers if layer.stage == stage))
    return found | {EVERY_LAYER: tuple(layer.name for layer in layers)}


def replacing(
    kind: str, layers: Collection[str], mean: Mapping[str, Tensor] = {}, other: Mapping[str, Tensor] = {}
) -> AlphaReplacement:
    """The tap that replaces alpha of these layers; `mean` has the dataset's mean (2, C_out) of each layer, `other`
    another clip's (B, 2, C_out)."""
    if kind in FACTORS:
        return ScaleAlpha(frozenset(layers), FACTORS[kind])
    if kind in FIXED_ALPHAS:
        return SetAlpha(dict.fromkeys(layers, torch.tensor(FIXED_ALPHAS[kind])[:, None]))
    values = {DATASET_MEAN: mean, ANOTHER_CLIP: other}[kind]
    return SetAlpha({name: values[name] for name in layers})


@torch.inference_mode()
def interventions(
    model: Network,
    clips: Float[Tensor, "B T C H W"],
    mean: Mapping[str, Float[Tensor, "2 _"]],
    other: Mapping[str, Float[Tensor, "B 2 _"]],
) -> Iterator[tuple[str, str, Float[Tensor, "B K"]]]:
    """Every place and kind, with the logits (B, K) of clips (B, T, C, H, W) under it; without `other`, as where there
    is only one clip, not another clip's alpha."""
    for place, layers in places(model).items():
        for kind in REPLACEMENTS if other else REPLACEMENTS[:-1]:
            yield place, kind, model(clips, replacing(kind, layers, mean, other))


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
    model: Network, clips: Tensor, rows: pd.DataFrame, classes: list[str], plain: Tensor,
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


def donor_pool(clips: int, seed: int = 0) -> list[int]:
    """The numbers of the clips whose alpha may replace that of others: all, or 256 of them, drawn with `seed`."""
    return sorted(np.random.default_rng(seed).permutation(clips)[:MOST_DONORS].tolist())


def donor_of(clip: int, labels: Sequence[str], pool: Sequence[int], seed: int = 0) -> int | None:
    """The number of another clip of `pool`, of another class if possible, drawn with `seed`; never the clip itself,
    and None if there is no other."""
    order = np.random.default_rng([seed, clip]).permutation(pool)
    others = [int(i) for i in order if i != clip]
    return next((i for i in others if labels[i] != labels[clip]), others[0] if others else None)
