"""Explanations that need no layer: gradients at the pixels (Integrated Gradients, GradientSHAP), and the fall of the
score when parts of the clip are hidden (Occlusion, Feature Ablation, RISE).

The baseline, and what hides a part, is the mean colour: 0 after normalisation (of flow: no motion). All but RISE are
Captum's. Captum calls a function here, not a module: it adds no hook, and no parameter's `.grad` changes.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sth_core.network_contract import Network
from sth_core.precision import at_least_fp32, autocast
from sth_core.stopping import raise_if_stopping

GRADIENT_STEPS = 32  # points of the integral
SHAP_SAMPLES, SHAP_NOISE = 32, 0.1  # noise in units of the normalised clip
OCCLUSION_BOXES = (4, 7, 7)  # in time, height and width
RISE_MASKS, RISE_CELLS = 256, (4, 7, 7)
RISE_KEPT = 0.5  # share of cells that a mask keeps
VALUES_AT_ONCE = 2 * 8 * 3 * 224 * 224  # of the clips of one call of the network: two of 8 frames of 224 x 224
MOST_AT_ONCE = 32
RANDOM_STATE = threading.Lock()  # Captum draws from the process's generators


class ExplainedScore:
    """The logit of a class, or its difference to that of `against`, as a function of clips (B, T, C, H, W) -> (B,).

    It counts the passes, reports those forward, and raises `Interrupted` between two calls.
    """

    def __init__(
        self, model: Network, target: int, against: int | None = None, *, precision: str = "fp32",
        progress: Callable[[int], None] = lambda forwards: None,
    ) -> None:  # fmt: skip
        self.model, self.target, self.against, self.precision = model, target, against, precision
        self.progress, self.forwards, self.backwards = progress, 0, 0

    def __call__(self, clips: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B"]:
        raise_if_stopping()
        with autocast(self.precision, clips.device):
            logits = at_least_fp32(self.model(clips))
        self.forwards += len(clips)
        self.backwards += len(clips) * (torch.is_grad_enabled() and clips.requires_grad)
        self.progress(self.forwards)
        score = logits[:, self.target]
        return score if self.against is None else score - logits[:, self.against]


def at_once(clip: Float[Tensor, "T C H W"]) -> int:
    """How many clips of this size one call of the network takes: few, so that memory is small and a stop soon heard."""
    return max(1, min(MOST_AT_ONCE, VALUES_AT_ONCE // clip.numel()))


def integrated_gradients(
    score: ExplainedScore, clip: Float[Tensor, "T C H W"], seed: int = 0
) -> Float[Tensor, "T H W"]:
    """Sundararajan et al. 2017: the mean gradient on the way from the baseline to the clip, times their difference.
    The sum of the map is score(clip) - score(baseline)."""
    from captum.attr import IntegratedGradients

    way = {"n_steps": GRADIENT_STEPS, "internal_batch_size": at_once(clip)}
    found = IntegratedGradients(score).attribute(clip[None].requires_grad_(), **way)
    return found[0].detach().sum(1)


def gradient_shap(score: ExplainedScore, clip: Float[Tensor, "T C H W"], seed: int = 0) -> Float[Tensor, "T H W"]:
    """Lundberg and Lee 2017: as Integrated Gradients, at random points of the way from the baseline to the noisy
    clip."""
    from captum.attr import GradientShap

    shap, x = GradientShap(score), clip[None].requires_grad_()
    total = torch.zeros_like(clip)
    for sample in range(SHAP_SAMPLES):
        with seeded(seed * SHAP_SAMPLES + sample, clip.device):
            total += shap.attribute(x, torch.zeros_like(x), n_samples=1, stdevs=SHAP_NOISE)[0].detach()
    return total.sum(1) / SHAP_SAMPLES


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """In the block, the process's random numbers begin at `seed`; after it they go on as if it had not been."""
    with RANDOM_STATE, torch.random.fork_rng([device] if device.type == "cuda" else []):
        before = np.random.get_state()
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)


def occlusion_boxes(T: int, H: int, W: int) -> tuple[int, int, int]:
    """The size of a box in frames and pixels; boxes do not overlap, and the last of an axis may be smaller."""
    t, h, w = (-(-n // boxes) for n, boxes in zip((T, H, W), OCCLUSION_BOXES, strict=True))
    return t, h, w


def box_occlusion(score: ExplainedScore, clip: Float[Tensor, "T C H W"], seed: int = 0) -> Float[Tensor, "T H W"]:
    """Zeiler and Fergus 2014, in space and time: in each pixel, the fall of the score when its box is hidden."""
    from captum.attr import Occlusion

    T, C, H, W = clip.shape
    t, h, w = occlusion_boxes(T, H, W)
    box, batch = (t, C, h, w), at_once(clip)
    found = Occlusion(score).attribute(clip[None], box, strides=box, baselines=0, perturbations_per_eval=batch)
    return found[0].detach()[:, 0]  # the same in all channels


def frame_ablation(score: ExplainedScore, clip: Float[Tensor, "T C H W"], seed: int = 0) -> Float[Tensor, "T 1 1"]:
    """The fall of the score when one frame is hidden, for each frame."""
    from captum.attr import FeatureAblation

    frames = torch.arange(len(clip), device=clip.device)[None, :, None, None, None].expand_as(clip[None])
    more = {"baselines": 0, "feature_mask": frames, "perturbations_per_eval": at_once(clip)}
    found = FeatureAblation(score).attribute(clip[None], **more)
    return found[0].detach()[:, 0, :1, :1]  # the same in all pixels


@torch.no_grad()
def rise(score: ExplainedScore, clip: Float[Tensor, "T C H W"], seed: int = 0) -> Float[Tensor, "T H W"]:
    """Petsiuk et al. 2018, for clips: random masks keep parts of the clip; a pixel's value says how the score and its
    being kept go together. Only logits are needed.

    Two departures from the paper: the mean score is taken off, so that a pixel without effect is near 0 and not near
    the mean; and masks are not shifted by a random part of a cell.
    """
    T, _, H, W = clip.shape
    generator = torch.Generator().manual_seed(seed)
    steps, rows, columns = (min(cells, n) for cells, n in zip(RISE_CELLS, (T, H, W), strict=True))
    cells = torch.rand(RISE_MASKS, 1, steps, rows, columns, generator=generator) < RISE_KEPT
    scored, kept, total = clip.new_zeros(T, H, W), clip.new_zeros(T, H, W), clip.new_zeros(())
    for some in cells.float().split(at_once(clip)):
        masks = F.interpolate(some.to(clip), (T, H, W), mode="trilinear", align_corners=False)[:, 0]  # B T H W
        scores = score(clip * masks[:, :, None])
        scored += (scores[:, None, None, None] * masks).sum(0)
        kept += masks.sum(0)
        total += scores.sum()
    return (scored - total / RISE_MASKS * kept) / (RISE_MASKS * RISE_KEPT * (1 - RISE_KEPT))
