"""Maps over time from the attention of a transformer: rollout, and attention weighted by gradients.

Both follow what the classifier reads (a class token, the mean of all tokens, or an attentive pooling) back through the
attention of every block to the tokens of places, and so to the steps of time. Neither is signed: their values are at
least 0. Attention rollout knows no class, so its map is the same for all of them.

Only the row of what is read is followed, from the last block to the first: the product of all blocks' matrices has
(T'*h*w)^2 numbers, and the result is the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.explain.gradcam import DEFINITIONS, at_frames, check_request
from sth_core.convolution import Tap
from sth_core.errors import UserError
from sth_core.grids import Tokens
from sth_core.network_contract import Network
from sth_core.precision import at_least_fp32, computing_in
from sth_core.token_attention import FRAME, READ, TIME, TokenAttention

Combined = list[tuple[str, Float[Tensor, "groups queries keys"]]]  # (kind, heads as one) of one clip, in forward order


@dataclass(frozen=True)
class Row:
    """How much of each token of a clip is read: of extra tokens (E,), and of places (T', h*w)."""

    extra: Tensor
    places: Tensor

    def __add__(self, other: "Row") -> "Row":
        return Row(self.extra + other.extra, self.places + other.places)

    def __mul__(self, factor: float) -> "Row":
        return Row(self.extra * factor, self.places * factor)


class WeightsKept(Tap):
    """Keeps what `keep` returns of the weights (groups, heads, queries, keys) of one clip, with their kind."""

    def __init__(self, keep: Callable[[Tensor], Tensor]) -> None:
        self.keep = keep
        self.kept: list[tuple[str, Tensor]] = []

    def weights(self, layer: str, kind: str, weights: Tensor) -> None:
        self.kept.append((kind, self.keep(weights)))


def attention_rollout(
    network: Network, clip: Float[Tensor, "T C H W"], target: int | None = None, against: int | None = None
) -> Float[np.ndarray, "T h w"]:
    """Attention rollout (Abnar & Zuidema 2020) of a normalised clip: the product of (A + I) / 2 of all blocks, with A
    the mean over the heads; half is left to the residual connection. Divided attention is two such steps.

    It explains no class: `target` and `against` are there so that all methods are called alike.
    Raises UserError: the network has no attention weights. ValueError: it is in training mode.
    """
    attention = attention_in(network)
    tap = WeightsKept(lambda weights: at_least_fp32(weights.mean(1)))
    with torch.inference_mode(), computing_in("fp32", clip.device):
        network(clip[None], tap)
        row = read_by(attention, tap.kept)
        for kind, a in reversed(tap.kept):
            if kind != READ:
                row = (row + moved(row, kind, a, attention.tokens, extra_stays=True)) * 0.5
        return maps_of_row(row, attention.tokens, network.frames)


def gradient_weighted_attention(
    network: Network, clip: Float[Tensor, "T C H W"], target: int, against: int | None = None
) -> Float[np.ndarray, "T h w"]:
    """Attention weighted by gradients (Chefer et al. 2021, for self-attention) of a normalised clip: with A the mean
    over the heads of the positive part of weight times gradient of the logit of `target` (minus that of `against`), the
    relevance starts as I, and each block adds A times it. The map leaves out the I: what is read without attention.

    Raises UserError: the network has no attention weights. ValueError: an unknown class, or it is in training mode.
    """
    attention = attention_in(network)
    other = None if against is None else torch.tensor([against])
    check_request(network, DEFINITIONS[0], torch.tensor([target]), other)
    tap = WeightsKept(lambda weights: weights)
    with torch.inference_mode(False), torch.enable_grad(), computing_in("fp32", clip.device):
        logits = network(clip[None].detach().clone().requires_grad_(), tap)[0]
        score = logits[target] if against is None else logits[target] - logits[against]
        found = torch.autograd.grad(score, [weights for _, weights in tap.kept], allow_unused=True)
    with torch.no_grad(), computing_in("fp32", clip.device):
        combined: Combined = [
            (kind, at_least_fp32((a * (torch.zeros_like(a) if g is None else g)).clamp(min=0).mean(1)))
            for (kind, a), g in zip(tap.kept, found, strict=True)
        ]
        start = read_by(attention, combined)
        gained = start * 0.0  # apart, as it is much smaller
        for kind, a in reversed(combined):
            if kind != READ:
                gained = gained + moved(start + gained, kind, a, attention.tokens, extra_stays=False)
        pooled = READ in dict(combined)  # what an attentive pooling reads is attention itself
        return maps_of_row(start + gained if pooled else gained, attention.tokens, network.frames)


def attention_in(network: Network) -> TokenAttention:
    """Where a network computes attention. Raises UserError: nowhere, or its weights cannot be had; ValueError: it is in
    training mode."""
    attention = getattr(network, "attention", None)
    if not isinstance(attention, TokenAttention):
        raise UserError(
            "this network has no attention weights that are known; attention rollout needs a VideoMAE, TimeSformer, "
            "ViViT or V-JEPA 2 classifier, or `attention` of sth_core.adapt"
        )
    if attention.hidden:
        raise UserError(attention.hidden)
    if network.training:
        raise ValueError("the network is in training mode: dropout is random; call model.eval()")
    return attention


def read_by(attention: TokenAttention, combined: Combined) -> Row:
    """What the classifier reads of each token after the last block."""
    t, one = attention.tokens, combined[0][1]
    read = dict(combined).get(READ)
    if read is not None:
        return row_of(read[0].mean(0), t)
    n = t.extra + t.steps * t.height * t.width
    values = torch.full((n,), 1 / n, dtype=one.dtype, device=one.device)
    if attention.first_token:
        values = torch.nn.functional.one_hot(torch.zeros((), dtype=torch.long, device=one.device), n).to(one.dtype)
    return row_of(values, t)


def row_of(values: Float[Tensor, "n"], tokens: Tokens) -> Row:
    """A value for each token, in their order."""
    extra, places = values[: tokens.extra], values[tokens.extra :]
    if tokens.time_last:
        return Row(extra, places.unflatten(0, (-1, tokens.steps)).T)
    return Row(extra, places.unflatten(0, (tokens.steps, -1)))


def moved(row: Row, kind: str, a: Float[Tensor, "groups q k"], tokens: Tokens, *, extra_stays: bool) -> Row:
    """The row times the matrix of one module's weights. Temporal attention has none for extra tokens, which it does not
    change: they stay (the matrix is I there), or their part is 0."""
    E, T = tokens.extra, tokens.steps
    if kind == TIME:
        return Row(row.extra * float(extra_stays), torch.einsum("tp,pts->sp", row.places, a))
    if kind == FRAME:  # its extra tokens are the same in each time step, and their mean is what goes on
        after = torch.einsum("tq,tqk->tk", torch.cat([row.extra.expand(T, E) / T, row.places], 1), a)
        return Row(after[:, :E].sum(0), after[:, E:])
    places = row.places.T if tokens.time_last else row.places
    return row_of(torch.cat([row.extra, places.flatten()]) @ a[0], tokens)


def maps_of_row(row: Row, tokens: Tokens, frames: int) -> Float[np.ndarray, "T h w"]:
    """Of each frame the map of its time step."""
    maps = row.places.unflatten(1, (tokens.height, tokens.width))
    return at_frames(maps[None], frames)[0].cpu().numpy()
