"""Grad-CAM over time (Selvaraju et al. 2017), one map for each frame of a clip.

Two definitions are in use for video, and they differ for a layer that has temporal mixing above
it. `per_step` (default; as in PySlowFast and MMAction2) averages the gradients of a channel over
the pixels of one time step, so that a step has weights of its own. `per_clip` (as in Captum on a
5-D clip) averages them over all steps too; it cannot see what weighs time above the layer.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from sth_core.network import CHANNELS, FeatureRecorder, VideoNetwork
from sth_core.video.decoding import read_frames
from sth_core.video.transforms import Preprocessing, crop, resize

DEFINITIONS = ("per_step", "per_clip")
FINE_ENOUGH = 6  # cells a side: below, a map says little about where


@dataclass(frozen=True)
class Cam:
    """Maps (T, h, w), not negative, at the layer's own size; all zero if no gradient reached it."""

    maps: np.ndarray
    layer: str
    target: int
    definition: str

    @property
    def per_frame(self) -> np.ndarray:
        """The share of the clip's whole CAM that lies in each frame (T,); zeros if there is none."""
        mass = self.maps.sum((1, 2))
        return mass / mass.sum() if mass.sum() > 0 else mass


def layer_sizes(model: VideoNetwork, side: int) -> dict[str, tuple[int, int, int]]:
    """(C, h, w) of each block's output for a crop of `side` pixels, in the network's order."""
    tap = FeatureRecorder()
    device = next(model.parameters()).device
    with torch.inference_mode():
        model(torch.zeros(1, model.config.frames, CHANNELS[model.config.modality], side, side, device=device), tap)
    return {name: (x.shape[1], x.shape[2], x.shape[3]) for name, x in tap.recorded.items()}


def default_layer(sizes: dict[str, tuple[int, int, int]]) -> str:
    """The deepest layer whose maps have at least 6 x 6 cells, else the one with the most cells."""
    fine = [name for name, (_, h, w) in sizes.items() if min(h, w) >= FINE_ENOUGH]
    return fine[-1] if fine else max(sizes, key=lambda name: sizes[name][1])


def gradcam(model: VideoNetwork, clip: Tensor, target: int, layer: str, definition: str = "per_step") -> Cam:
    """Explain the logit of class `target`.

    Args:
        clip: normalised (T, C, H, W).
        layer: a block's name, as `layer_sizes` lists them.

    Raises:
        ValueError: no such layer, class or definition, or a network in training mode.
    """
    if definition not in DEFINITIONS:
        raise ValueError(f"unknown definition {definition!r}; possible: {', '.join(DEFINITIONS)}")
    if not 0 <= target < model.config.num_classes:
        raise ValueError(f"class {target} is not one of 0 to {model.config.num_classes - 1}")
    if model.training:
        raise ValueError(
            "the network is in training mode, where dropout is random and batch norm learns; call model.eval()"
        )
    tap = FeatureRecorder((layer,))
    with torch.inference_mode(False), torch.enable_grad():
        # The gradient is asked for one activation only, so no parameter's .grad is touched; an
        # input that requires it keeps the graph also when the parameters are frozen.
        logits = model(clip[None].detach().clone().requires_grad_(), tap)
        if layer not in tap.recorded:
            raise ValueError(f"no layer {layer!r}; possible: {', '.join(layer_sizes(model, clip.shape[-1]))}")
        activation = tap.recorded[layer]  # T C h w
        gradient = torch.autograd.grad(logits[0, target], activation)[0]
    weights = gradient.mean((2, 3), keepdim=True)  # T C 1 1
    if definition == "per_clip":
        weights = weights.mean(0, keepdim=True)
    maps = (weights * activation).sum(1).clamp(min=0)
    return Cam(maps.detach().cpu().numpy(), layer, target, definition)


def seen_frames(path: Path, indices: np.ndarray, p: Preprocessing, side: int = 224) -> np.ndarray:
    """What the network saw of these frames, enlarged for people: uint8 (T, side, side, 3)."""

    def enlarged(length: int) -> int:
        return round(side * length / p.crop)

    to = enlarged(p.resize) if isinstance(p.resize, int) else (enlarged(p.resize[0]), enlarged(p.resize[1]))
    frames = resize(read_frames(path, [int(i) for i in indices]), to)
    return crop(frames, side)


def overlay(frames: np.ndarray, maps: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """Maps (T, h, w) over frames (T, H, W, 3) uint8. One scale for the clip: the largest value.

    Opacity follows the value, so that a frame without CAM stays as it is.
    """
    H, W = frames.shape[1:3]
    top = maps.max()
    if top <= 0:
        return frames.copy()
    painted = []
    for frame, cam in zip(frames, maps / top, strict=True):
        cam = np.clip(cv2.resize(cam.astype(np.float32), (W, H), interpolation=cv2.INTER_LINEAR), 0, 1)
        heat = cv2.applyColorMap((cam * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        alpha = (opacity * np.sqrt(cam))[..., None]
        painted.append((frame * (1 - alpha) + heat * alpha).astype(np.uint8))
    return np.stack(painted)
