"""Grad-CAM over time (Selvaraju et al. 2017): one map per frame, of any layer or branch of an STH layer, for one class.

Two definitions of the weights are in use for video. They differ for a layer with temporal mixing above it.
`per_step` (default; PySlowFast, MMAction2) averages a channel's gradients over the pixels of one time step, so that
every step has its own weights. `per_clip` (Captum on a 5-D clip) averages them over all steps too, and so ignores how
the layers above weight time.

Two more kinds of weights are not averaged at all: each cell has its own gradient. `hirescam` (Draelos and Carin 2020)
is the sum over channels of gradient times activation, `layercam` (Jiang et al. 2021) that of the positive gradients
alone. Both come from the same pass.

Captum's LayerGradCam adds hooks to a network that many sessions share, explains one layer per pass, and has neither
time steps nor branches; the tests compare with it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from analysis.explain.overlay import overlay_of
from sth_core.convolution import Tap
from sth_core.network_contract import Network
from sth_core.notebook_html import card, row_of_frames
from sth_core.precision import at_least_fp32, computing_in, without_autocast
from sth_core.video.modality import CHANNELS

DEFINITIONS = ("per_step", "per_clip")
HIRESCAM, LAYERCAM = CELL_WEIGHTS = ("hirescam", "layercam")
JOINT, SPATIAL, TEMPORAL = BRANCHES = ("joint", "spatial", "temporal")
SMALLEST_MAP = 6  # cells per side that a layer needs to be the default


@dataclass(frozen=True)
class CamLayer:
    """A layer that can be explained: the output of a block, or an STH layer, which has branches."""

    name: str
    channels: int
    height: int
    width: int
    stride: int  # input pixels from one cell to the next (see `Network.overlay_shift`)
    branches: tuple[str, ...]
    frames_per_step: float = 1.0  # how many frames of the clip a step of the layer stands for

    @property
    def title(self) -> str:
        more = ", spatial and temporal branch" if len(self.branches) > 1 else ""
        more += f", a map for {self.frames_per_step:g} frames" if self.frames_per_step != 1 else ""
        return f"{self.name} ({self.channels} x {self.height} x {self.width}, stride {self.stride}{more})"


@dataclass(frozen=True)
class Cam:
    """Maps (T, h, w) of one clip at the layer's own size, zero if no gradient reaches the layer.

    They explain the logit of class `target`, or, with `against`, the logit of `target` minus that of `against`.
    """

    signed: np.ndarray
    layer: str
    target: int
    definition: str
    branch: str = JOINT
    against: int | None = None

    @property
    def maps(self) -> np.ndarray:
        """(T, h, w): the evidence for the class, `signed` without its negative values."""
        return self.signed.clip(min=0)

    @property
    def per_frame(self) -> np.ndarray:
        """(T,): the share of the clip's CAM that lies in each frame; zeros if the CAM is zero."""
        return mass_shares(self.maps)

    def _repr_html_(self) -> str:
        """The maps on one scale, and each frame's share: what Jupyter shows."""
        against = "" if self.against is None else f" against class {self.against}"
        empty = "" if self.maps.any() else "no evidence: every map is zero"
        lines = [f"{self.layer}, {self.branch} map" + f", {self.definition}" * bool(self.definition), empty]
        shares = [f"{i}: {share:.0%}" for i, share in enumerate(self.per_frame)]
        return card(f"Evidence for class {self.target}{against}", lines, row_of_frames(overlay_of(self.signed), shares))


def mass_shares(maps: Float[np.ndarray, "*batch T h w"]) -> Float[np.ndarray, "*batch T"]:
    """Maps (..., T, h, w), not negative -> each frame's share of the clip's sum (..., T); zeros if the sum is zero."""
    mass = maps.sum((-2, -1))
    total = mass.sum(-1, keepdims=True)
    return np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)


def sum_by_frame(seen: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of frames (N,) in any order and their values (N, ...) -> the different frames in frame order (M,),
    and the sum of each one's values (M, ...)."""
    frames = np.unique(seen)
    return frames, np.stack([values[seen == frame].sum(0) for frame in frames])


class ActivationRecorder(Tap):
    """Keeps the outputs of the named layers (None: of all), in the autograd graph: (x,), or both branches."""

    def __init__(self, names: tuple[str, ...] | None = None) -> None:
        self.names = names
        self.kept: dict[str, tuple[Tensor, ...]] = {}

    def features(self, layer: str, x: Tensor) -> Tensor:
        if self.names is None or layer in self.names:
            self.kept[layer] = (x,)
        return x

    def branches(self, layer: str, spatial: Tensor, temporal: Tensor) -> tuple[Tensor, Tensor]:
        if self.names is None or layer in self.names:
            self.kept[layer] = (spatial, temporal)
        return spatial, temporal


def cam_layers(model: Network, side: int) -> list[CamLayer]:
    """All layers that can be explained, in forward order, for a crop of `side` pixels."""
    recorder, weight = ActivationRecorder(), next(model.parameters())
    with torch.inference_mode():
        model(weight.new_zeros(1, model.frames, CHANNELS[model.modality], side, side), recorder)
    layers = []
    for name, x in recorder.kept.items():
        steps, channels, height, width = x[0].shape
        branches, frames_per_step = BRANCHES[: 2 * len(x) - 1], model.frames / steps
        layers.append(CamLayer(name, channels, height, width, round(side / height), branches, frames_per_step))
    return layers


def block_layers(layers: list[CamLayer]) -> list[CamLayer]:
    """The outputs of blocks, which every network has."""
    return [layer for layer in layers if layer.branches == (JOINT,)]


def default_layer(layers: list[CamLayer]) -> str:
    """The deepest block whose maps have at least 6 x 6 cells, else the block with the largest maps."""
    blocks = block_layers(layers)
    fine = [layer.name for layer in blocks if min(layer.height, layer.width) >= SMALLEST_MAP]
    return fine[-1] if fine else max(blocks, key=lambda layer: layer.height).name


def signed_maps(
    model: Network,
    clips: Float[Tensor, "B T C H W"],
    targets: Int64[Tensor, "B"],
    layers: tuple[str, ...] | None = None,
    *,
    definition: str = "per_step",
    against: Int64[Tensor, "B"] | None = None,
    precision: str = "fp32",
) -> dict[str, dict[str, Float[Tensor, "B T _ _"]]]:
    """Explain one class of each clip, at many layers in one forward and one backward pass.

    Args:
        clips: normalised.
        targets: a class of each clip; with `against`, the difference of their logits is explained.
        definition: of the weights, one of `DEFINITIONS` and `CELL_WEIGHTS`.
        layers: names as in `cam_layers`; None for all.
        precision: of the passes (`sth_core.precision`). On a GPU, TF32 changed maps by up to 0.22 of their maximum.

    Returns:
        {layer: {branch: signed maps}}. The joint map of an STH layer is the sum of its spatial and its temporal map.

    Raises:
        ValueError: unknown layer, class or definition, or a network in training mode.
    """
    check_request(model, definition, targets, against)
    with computing_in(precision, clips.device):
        activations, gradients = gradients_at(model, clips, targets, layers, against)
    result = {}
    with torch.no_grad(), computing_in("fp32", clips.device):
        for name, gradient in gradients.items():
            found = [explained_cells(definition, gradient, x, len(clips)) for x in activations[name]]
            maps = [at_frames(of_branch, model.frames) for of_branch in found]
            result[name] = dict(zip(BRANCHES, maps if len(maps) == 1 else [maps[0] + maps[1], *maps], strict=False))
    return result


def check_request(model: Network, definition: str, targets: Tensor, against: Tensor | None) -> None:
    if definition not in (*DEFINITIONS, *CELL_WEIGHTS):
        raise ValueError(f"unknown definition {definition!r}; possible: {', '.join((*DEFINITIONS, *CELL_WEIGHTS))}")
    check_classes(model, targets, against)


def check_classes(model: Network, targets: Tensor, against: Tensor | None) -> None:
    """Raises ValueError: a class that the network does not have, or a network in training mode."""
    for classes in (targets, *([] if against is None else [against])):
        for number in classes.tolist():
            if not 0 <= number < model.num_classes:
                raise ValueError(f"class {number} is not one of 0 to {model.num_classes - 1}")
    if model.training:
        raise ValueError("the network is in training mode: dropout is random, batch norm learns; call model.eval()")


def gradients_at(
    model: Network, clips: Tensor, targets: Tensor, layers: tuple[str, ...] | None, against: Tensor | None
) -> tuple[dict[str, tuple[Tensor, ...]], dict[str, Tensor]]:
    """{layer: activations of its branches} and {layer: gradient of the score}, (B*T', C, h, w) each, with the T' steps
    of time of the layer; no parameter's `.grad` changes."""
    recorder = ActivationRecorder(layers)
    with torch.inference_mode(False), torch.enable_grad():
        logits = model(clips.detach().clone().requires_grad_(), recorder)  # frozen parameters alone would give no graph
        for name in layers or ():
            if name not in recorder.kept:
                possible = ", ".join(layer.name for layer in cam_layers(model, clips.shape[-1]))
                raise ValueError(f"no layer {name!r}; possible: {possible}")
        score = logits.gather(1, targets.clone().to(logits.device)[:, None]).sum()
        if against is not None:
            score = score - logits.gather(1, against.clone().to(logits.device)[:, None]).sum()
        first = [branches[0] for branches in recorder.kept.values()]  # both branches have the gradient of their sum
        with without_autocast(clips.device):
            found = torch.autograd.grad(score, first)
        kept = {name: tuple(map(at_least_fp32, branches)) for name, branches in recorder.kept.items()}
        return kept, dict(zip(kept, map(at_least_fp32, found), strict=True))


def explained_cells(
    definition: str, gradient: Float[Tensor, "B*T C h w"], x: Float[Tensor, "B*T C h w"], clips: int
) -> Float[Tensor, "B T h w"]:
    """The sum of a layer's activations over its channels, with the weights of `definition`."""
    if definition in CELL_WEIGHTS:
        cells = gradient.clamp(min=0) if definition == LAYERCAM else gradient
        return (cells * x.detach()).sum(1).unflatten(0, (clips, -1))
    weights = gradient.mean((2, 3)).unflatten(0, (clips, -1))  # B T' C
    if definition == "per_clip":
        weights = weights.mean(1, keepdim=True).expand_as(weights)
    return weighted_maps(weights, x)


def weighted_maps(weights: Float[Tensor, "B T C"], x: Float[Tensor, "B*T C h w"]) -> Float[Tensor, "B T h w"]:
    """The sum of a layer's activations over its channels, with weights."""
    return torch.einsum("nc,nchw->nhw", weights.flatten(0, 1), x.detach()).unflatten(0, weights.shape[:2])


def at_frames(maps: Float[Tensor, "B S h w"], frames: int) -> Float[Tensor, "B {frames} h w"]:
    """Maps of S steps of time -> of each frame that of the step it lies in: the steps divide the clip evenly."""
    step = (torch.arange(frames, device=maps.device) * maps.shape[1]).div(frames, rounding_mode="floor")
    return maps if maps.shape[1] == frames else maps[:, step]


def gradcam(
    model: Network, clip: Float[Tensor, "T C H W"], target: int, layer: str, *,
    definition: str = "per_step", branch: str = JOINT, against: int | None = None, precision: str = "fp32",
) -> Cam:  # fmt: skip
    """Explain the logit of class `target`, or its difference to that of `against`, at one layer of `cam_layers`.

    Args:
        clip: normalised.
        branch: of an STH layer also "spatial" (of alpha_S O_S) or "temporal" (of alpha_T O_T).

    Raises:
        ValueError: unknown layer, branch, class or definition, or a network in training mode.
    """
    other = None if against is None else torch.tensor([against])
    how = {"definition": definition, "precision": precision}
    found = signed_maps(model, clip[None], torch.tensor([target]), (layer,), against=other, **how)[layer]
    if branch not in found:
        raise ValueError(f"{layer} has no branch {branch!r}; possible: {', '.join(found)}")
    return Cam(found[branch][0].cpu().numpy(), layer, target, definition, branch, against)
