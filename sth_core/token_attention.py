"""The attention of transformers: between which tokens of a clip it is, and the share of it that crosses time.

This is not alpha, which weighs two branches of an STH layer. Here each token of a place (a patch, or a tubelet of
several frames) distributes a weight of 1 over the tokens that it looks at, its own among them. The **share of
attention across time** of a head is the part of the weight between tokens of places that goes to another time step:

    share = sum of a_qk over all q, k with t(q) != t(k)  /  sum of a_qk over all q, k

q and k are tokens of places, t is their time step of T' ones. Extra tokens (a class token) are left out on both sides;
the weight that places give them is kept apart. Uniform attention has the share (T' - 1) / T'; 0 is attention within
the time step alone.

In joint attention (VideoMAE, ViViT, V-JEPA 2) a token looks at all others. In divided attention (TimeSformer) a block
first looks across time, at the same place in all frames, then within each frame. Its share is that of its temporal
attention: the weight that is not on a token's own frame, which is 1 minus the mean of the diagonal. Its other attention
stays within the frame by construction.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sth_core.grids import Tokens
from sth_core.network_contract import Layer, Recorder
from sth_core.precision import at_least_fp32

JOINT, TIME, FRAME, READ = ("joint", "time", "frame", "read")
STAGES = {JOINT: "joint attention", TIME: "temporal attention"}  # of the kinds that can cross time


@dataclass(frozen=True)
class AttentionModule:
    """A module whose output is, or has as its second item, attention weights (N, heads, queries, keys) after the
    softmax.

    `kind`: "joint" (N = B, all tokens), "time" (N = B*h*w, the T' tokens of a place), "frame" (N = B*T', the extra
    tokens and the places of a time step), or "read" (N = B, one query that the classifier reads, over all tokens).
    `layer` is the name of its block; the layers with "joint" or "time" attention have different names.
    """

    layer: str
    module: str
    kind: str


@dataclass(frozen=True)
class TokenAttention:
    """Where a transformer computes attention, in forward order, and what its tokens are.

    The classifier reads the first token if `first_token`, else the mean of all tokens, or what a "read" module says.
    `hidden` is empty, or a sentence why the weights cannot be had.
    """

    tokens: Tokens
    modules: tuple[AttentionModule, ...]
    first_token: bool = False
    hidden: str = ""

    @property
    def layers(self) -> list[Layer]:
        """Those with attention that can cross time, if their weights can be had."""
        crossing = [] if self.hidden else [module for module in self.modules if module.kind in STAGES]
        return [Layer(i, module.layer, STAGES[module.kind]) for i, module in enumerate(crossing)]


def steps_of(tokens: Tokens) -> Int64[Tensor, "n"]:
    """The time step of each token, in their order; T' of extra tokens."""
    T, h, w = tokens.steps, tokens.height, tokens.width
    steps = torch.arange(T).repeat(h * w) if tokens.time_last else torch.arange(T).repeat_interleave(h * w)
    return torch.cat([torch.full((tokens.extra,), T), steps])


def time_shares(
    weights: Float[Tensor, "N heads n n"], steps: Int64[Tensor, "n"], count: int
) -> Float[Tensor, "N 2 heads"]:
    """Of each head [:, 0] the share of attention across time, and [:, 1] the mean weight that places give to extra
    tokens; both in at least fp32, and 0 where places give no weight to places.

    `steps` is the time step of each token, of `count` ones; `count` itself for extra tokens.
    """
    steps = steps.to(weights.device)
    places = steps < count
    on_steps = torch.nn.functional.one_hot(steps, count + 1).to(weights.dtype)  # n T'+1
    of_places = at_least_fp32(weights @ on_steps)[:, :, places]  # N heads q T'+1
    own = steps[places][:, None].expand(*of_places.shape[:2], -1, 1)
    same = of_places.gather(-1, own).sum((-2, -1))  # N heads
    every = of_places[..., :count].sum((-2, -1))
    across = (every - same) / every.clamp(min=torch.finfo(every.dtype).tiny)
    return torch.stack([across.clamp(0, 1), of_places[..., count].mean(-1)], 1)


class ShareRecorder(Recorder):
    """Keeps each layer's `time_shares` (B, 2, heads), in the order of the layers."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.tokens = tokens

    def weights(self, layer: str, kind: str, weights: Tensor) -> None:
        if kind not in STAGES:
            return
        t = self.tokens
        shares = time_shares(weights, steps_of(t) if kind == JOINT else torch.arange(t.steps), t.steps)
        of_places = t.height * t.width if kind == TIME else 1
        self.recorded[layer] = shares.unflatten(0, (-1, of_places)).mean(1)


def uniform_share(steps: int) -> float:
    """The share across time of attention that is the same on all tokens of places."""
    return (steps - 1) / steps
