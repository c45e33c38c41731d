"""Grad-CAM over time (Selvaraju et al. 2017): where, when, and in which branch of an STH layer lies what speaks for a
class. One map for each frame of a clip; all layers in one forward and one backward pass.

Two definitions are in use for video, and they differ for a layer that has temporal mixing above
it. `per_step` (default; as in PySlowFast and MMAction2) averages the gradients of a channel over
the pixels of one time step, so that a step has weights of its own. `per_clip` (as in Captum on a
5-D clip) averages them over all steps too; it cannot see what weighs time above the layer.

Captum's LayerGradCam is what the tests compare with, not what runs here: it hangs hooks on a network that many
sessions share, takes one layer a pass, and knows neither time steps nor branches.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sth_core.convolution import Tap
from sth_core.network import VideoNetwork
from sth_core.video.modality import CHANNELS

DEFINITIONS = ("per_step", "per_clip")
JOINT, SPATIAL, TEMPORAL = BRANCHES = ("joint", "spatial", "temporal")
FINE_ENOUGH = 6  # cells a side: below, a map says little about where


@dataclass(frozen=True)
class CamLayer:
    """A layer that can be explained: a block's output, or an STH layer, which has branches."""

    name: str
    channels: int
    height: int
    width: int
    stride: int  # pixels of the network's input from one cell to the next; in time it is always one frame
    branches: tuple[str, ...]

    @property
    def title(self) -> str:
        """As a menu shows it."""
        parts = ", spatial and temporal branch" if len(self.branches) > 1 else ""
        return f"{self.name} ({self.channels} x {self.height} x {self.width}, stride {self.stride}{parts})"


@dataclass(frozen=True)
class Cam:
    """Maps of one clip at the layer's own size: `signed` (T, h, w); all zero if no gradient reached the layer.

    They explain the logit of class `target`, or, with `against`, how far it is above that class's.
    """

    signed: np.ndarray
    layer: str
    target: int
    definition: str
    branch: str = JOINT
    against: int | None = None

    @property
    def maps(self) -> np.ndarray:
        """What speaks for the class (T, h, w): `signed` without its negative values."""
        return self.signed.clip(min=0)

    @property
    def per_frame(self) -> np.ndarray:
        """The share of the clip's whole CAM that lies in each frame (T,); zeros if there is none."""
        return mass_shares(self.maps)


def mass_shares(maps: np.ndarray) -> np.ndarray:
    """(..., T, h, w), not negative -> (..., T): of each clip's sum what lies in each frame; zeros where it is zero."""
    mass = maps.sum((-2, -1))
    total = mass.sum(-1, keepdims=True)
    return np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)


def sum_by_frame(seen: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each frame seen (N,), in any order, once and in the order of time (M,), and the sums of its values (M, ...)."""
    frames, where = np.unique(seen, return_inverse=True)
    sums = np.zeros((len(frames), *values.shape[1:]), values.dtype)
    np.add.at(sums, where, values)
    return frames, sums


class ActivationRecorder(Tap):
    """Keeps, as parts of the graph, what the named layers put out (all of them for None): (x,), or both branches."""

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


def cam_layers(model: VideoNetwork, side: int) -> list[CamLayer]:
    """All layers that can be explained, in forward order, for a crop of `side` pixels."""
    watcher = ActivationRecorder()
    device = next(model.parameters()).device
    with torch.inference_mode():
        model(torch.zeros(1, model.config.frames, CHANNELS[model.config.modality], side, side, device=device), watcher)
    layers = []
    for name, x in watcher.kept.items():
        _, channels, height, width = x[0].shape
        layers.append(CamLayer(name, channels, height, width, round(side / height), BRANCHES[: 2 * len(x) - 1]))
    return layers


def block_layers(layers: list[CamLayer]) -> list[CamLayer]:
    """Those that every network has: the outputs of its blocks."""
    return [layer for layer in layers if layer.branches == (JOINT,)]


def default_layer(layers: list[CamLayer]) -> str:
    """The deepest block whose maps have at least 6 x 6 cells, else the one with the most cells."""
    blocks = block_layers(layers)
    fine = [layer.name for layer in blocks if min(layer.height, layer.width) >= FINE_ENOUGH]
    return fine[-1] if fine else max(blocks, key=lambda layer: layer.height).name


def signed_maps(
    model: VideoNetwork,
    clips: Tensor,
    targets: Tensor,
    layers: tuple[str, ...] | None = None,
    definition: str = "per_step",
    against: Tensor | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Explain one class of each clip, at many layers in one forward and one backward pass.

    Args:
        clips: normalised (B, T, C, H, W).
        targets: a class of each clip, int64 (B,); with `against` (B,) its logit less the other class's is explained.
        layers: names as in `cam_layers`; None for all.

    Returns:
        {layer: {branch: maps (B, T, h, w)}}, signed, detached; an STH layer has all three branches, of which the
        joint map is the sum of the other two.

    Raises:
        ValueError: no such layer, class or definition, or a network in training mode.
    """
    if definition not in DEFINITIONS:
        raise ValueError(f"unknown definition {definition!r}; possible: {', '.join(DEFINITIONS)}")
    for classes in (targets, *([] if against is None else [against])):
        for number in classes.tolist():
            if not 0 <= number < model.config.num_classes:
                raise ValueError(f"class {number} is not one of 0 to {model.config.num_classes - 1}")
    if model.training:
        raise ValueError(
            "the network is in training mode, where dropout is random and batch norm learns; call model.eval()"
        )
    watcher = ActivationRecorder(layers)
    with torch.inference_mode(False), torch.enable_grad():
        # The gradient is asked for activations only, so no parameter's .grad is touched; an
        # input that requires it keeps the graph also when the parameters are frozen.
        logits = model(clips.detach().clone().requires_grad_(), watcher)
        for name in layers or ():
            if name not in watcher.kept:
                possible = ", ".join(layer.name for layer in cam_layers(model, clips.shape[-1]))
                raise ValueError(f"no layer {name!r}; possible: {possible}")
        score = logits.gather(1, targets.clone().to(logits.device)[:, None])
        if against is not None:
            score = score - logits.gather(1, against.clone().to(logits.device)[:, None])
        first = [activations[0] for activations in watcher.kept.values()]  # both branches have the sum's gradient
        gradients = torch.autograd.grad(score.sum(), first)
    frames, result = model.config.frames, {}
    with torch.no_grad():
        for (name, activations), gradient in zip(watcher.kept.items(), gradients, strict=True):
            weights = gradient.mean((2, 3)).unflatten(0, (-1, frames))  # B T C
            if definition == "per_clip":
                weights = weights.mean(1, keepdim=True).expand_as(weights)
            maps = [weighted_maps(weights, x) for x in activations]
            result[name] = dict(zip(BRANCHES, maps if len(maps) == 1 else [maps[0] + maps[1], *maps], strict=False))
    return result


def weighted_maps(weights: Tensor, x: Tensor) -> Tensor:
    """Weights (B, T, C) and activations (B*T, C, h, w) -> maps (B, T, h, w)."""
    return torch.einsum("nc,nchw->nhw", weights.flatten(0, 1), x.detach()).unflatten(0, weights.shape[:2])


def gradcam(
    model: VideoNetwork,
    clip: Tensor,
    target: int,
    layer: str,
    definition: str = "per_step",
    branch: str = JOINT,
    against: int | None = None,
) -> Cam:
    """Explain the logit of class `target`, or how far it is above that of `against`, at one layer.

    Args:
        clip: normalised (T, C, H, W).
        layer: a name, as `cam_layers` lists them.
        branch: of an STH layer also "spatial" (of alpha_S O_S) or "temporal" (of alpha_T O_T).

    Raises:
        ValueError: no such layer, branch, class or definition, or a network in training mode.
    """
    other = None if against is None else torch.tensor([against])
    found = signed_maps(model, clip[None], torch.tensor([target]), (layer,), definition, other)[layer]
    if branch not in found:
        raise ValueError(f"{layer} has no branch {branch!r}; possible: {', '.join(found)}")
    return Cam(found[branch][0].cpu().numpy(), layer, target, definition, branch, against)
