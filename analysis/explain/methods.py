"""The methods that explain a class of a clip, each under one name: from a question to a signed map over time.

A method is one entry of `METHODS`; the commands, the tests of `trust` and the app take all of them from there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.explain import pixel_maps
from analysis.explain.gradcam import CELL_WEIGHTS, DEFINITIONS, HIRESCAM, JOINT, LAYERCAM, Cam, check_classes, gradcam
from analysis.explain.token_rollout import attention_rollout, gradient_weighted_attention
from sth_core.errors import UserError, did_you_mean
from sth_core.network_contract import Network
from sth_core.precision import arithmetic
from sth_core.resumable import no_report

INPUT = "input"  # in place of a layer
GRADCAM = "gradcam"
DEFAULT_METHODS = (GRADCAM, HIRESCAM, LAYERCAM)
CHEAP = 2  # passes of a method that needs no button


@dataclass(frozen=True)
class Question:
    """What is explained: the logit of class `target`, or its difference to that of `against`. `layer`, `branch` and
    `definition` are for methods that need a layer; `seed` is for those that draw."""

    target: int
    against: int | None = None
    layer: str = INPUT
    branch: str = JOINT
    definition: str = DEFINITIONS[0]
    precision: str = "fp32"
    seed: int = 0


Progress = Callable[[int, int], None]  # forward passes done, and of how many
Explain = Callable[[Network, Tensor, Question, Progress], Tensor]
Passes = Callable[[int, int, int], tuple[int, int]]  # T, H, W -> forward, backward


@dataclass(frozen=True)
class Method:
    """A way to explain; `explain` gives the signed map (T, h, w) of a clip (T, C, H, W) at the method's own size."""

    name: str  # as it is typed
    title: str
    measures: str
    layered: bool  # it needs a layer, and gives a map of its cells
    passes: Passes  # for a clip of T frames of H x W pixels
    explain: Explain
    frames_alone: bool = False  # its map has one value for each frame
    of_attention: bool = False  # it follows the attention weights of a transformer

    def serves(self, model: Network) -> bool:
        return not self.of_attention or (bool(model.token_layers) and not model.hidden_weights)

    def is_slow(self, T: int, H: int, W: int) -> bool:
        return sum(self.passes(T, H, W)) > CHEAP


def by_layer(
    name: str, model: Network, clip: Float[Tensor, "T C H W"], asked: Question, progress: Progress
) -> Float[Tensor, "T h w"]:
    definition = name if name in CELL_WEIGHTS else asked.definition
    how = {"definition": definition, "branch": asked.branch, "precision": asked.precision}
    return torch.from_numpy(gradcam(model, clip, asked.target, asked.layer, against=asked.against, **how).signed)


def by_pixel(
    function: Callable[..., Tensor], passes: Passes, model: Network, clip: Float[Tensor, "T C H W"], asked: Question,
    progress: Progress,
) -> Float[Tensor, "T h w"]:  # fmt: skip
    against = None if asked.against is None else torch.tensor([asked.against])
    check_classes(model, torch.tensor([asked.target]), against)
    total, _ = passes(len(clip), clip.shape[2], clip.shape[3])
    score = pixel_maps.ExplainedScore(
        model, asked.target, asked.against, precision=asked.precision,
        progress=lambda done: progress(min(done, total), total),
    )  # fmt: skip
    with torch.inference_mode(False), torch.enable_grad(), arithmetic(asked.precision, clip.device):
        return function(score, clip.detach().clone(), asked.seed).cpu()


def boxes_in(T: int, H: int, W: int) -> tuple[int, int]:
    """The passes of Occlusion: one for each box, and one for the whole clip."""
    sizes = pixel_maps.occlusion_boxes(T, H, W)
    t, h, w = (ceil(n / size) for n, size in zip((T, H, W), sizes, strict=True))
    return 1 + t * h * w, 0


def cam_method(name: str, title: str, measures: str) -> Method:
    return Method(name, title, measures, True, lambda T, H, W: (1, 1), partial(by_layer, name))


def pixel_method(
    name: str, title: str, measures: str, passes: Passes, function: Callable[..., Tensor], frames_alone: bool = False
) -> Method:
    return Method(name, title, measures, False, passes, partial(by_pixel, function, passes), frames_alone)


def attention_method(
    name: str, title: str, measures: str, backward: int, function: Callable[..., np.ndarray]
) -> Method:
    def explain(model: Network, clip: Float[Tensor, "T C H W"], asked: Question, progress: Progress) -> Tensor:
        return torch.from_numpy(function(model, clip, asked.target, asked.against))

    return Method(name, title, measures, False, lambda T, H, W: (1, backward), explain, of_attention=True)


METHODS = {
    method.name: method
    for method in (
        cam_method(GRADCAM, "Grad-CAM", "activations, each channel with its mean gradient"),
        cam_method(HIRESCAM, "HiResCAM", "activations times their own gradients"),
        cam_method(LAYERCAM, "Layer-CAM", "activations times their own positive gradients"),
        pixel_method(
            "integrated-gradients", "Integrated Gradients", "the mean gradient from the mean colour to the clip",
            lambda T, H, W: (pixel_maps.GRADIENT_STEPS,) * 2, pixel_maps.integrated_gradients,
        ),
        pixel_method(
            "gradient-shap", "GradientSHAP", "gradients at random points from the mean colour to the noisy clip",
            lambda T, H, W: (pixel_maps.SHAP_SAMPLES,) * 2, pixel_maps.gradient_shap,
        ),
        pixel_method(
            "occlusion", "Occlusion", "the fall of the logit when a box in space and time is hidden", boxes_in,
            pixel_maps.box_occlusion,
        ),
        pixel_method(
            "feature-ablation", "Feature Ablation of frames", "the fall of the logit when one frame is hidden",
            lambda T, H, W: (T + 1, 0), pixel_maps.frame_ablation, frames_alone=True,
        ),
        pixel_method(
            "rise", "RISE", "the logit under random masks: needs no gradients",
            lambda T, H, W: (pixel_maps.RISE_MASKS, 0), pixel_maps.rise,
        ),
        attention_method(
            "attention-rollout", "Attention rollout", "what the classifier reads, through the attention of all blocks; "
            "the same for every class", 0, attention_rollout,
        ),
        attention_method(
            "gradient-attention", "Gradient-weighted attention", "as rollout, each weight times its positive gradient",
            1, gradient_weighted_attention,
        ),
    )
}  # fmt: skip


def chosen_methods(given: str) -> tuple[str, ...]:
    """The names in a list with commas or spaces, in the order of `METHODS`; "all" is every one.
    Raises UserError: there is no such method, or none is named."""
    names = given.replace(",", " ").lower().split()
    if names == ["all"]:
        return tuple(METHODS)
    for name in names:
        if name not in METHODS:
            near = did_you_mean(name, [*METHODS, "all"])
            raise UserError(f"there is no explanation method {name!r}{near}; possible: {', '.join(METHODS)}, or all")
    if not names:
        raise UserError(f"no explanation method is named; possible: {', '.join(METHODS)}, or all")
    return tuple(name for name in METHODS if name in names)


def explain_clip(
    method: str, model: Network, clip: Float[Tensor, "T C H W"], asked: Question, progress: Progress = no_report
) -> Cam:
    """The maps of one clip by the method of this name. Raises ValueError: as `gradcam`; Interrupted."""
    known = METHODS[method]
    asked = asked if known.layered else replace(asked, layer=INPUT, branch=JOINT, definition="")
    signed = known.explain(model, clip, asked, progress).numpy()
    definition = method if method in CELL_WEIGHTS else asked.definition
    return Cam(signed, asked.layer, asked.target, definition, asked.branch, asked.against)
