"""Maps over frames, for people: what the network saw, enlarged, and where its explanation lies.

A map is shown by colour and opacity together, so that a frame without any stays as it is. Rectified maps go from
dark to bright (inferno); signed ones are orange where they speak for the class and blue where against it.
"""

from pathlib import Path

import cv2
import numpy as np

from sth_core.video.decoding import read_frames
from sth_core.video.transforms import Preprocessing, crop, resize

NORMALISATIONS = ("clip", "frame")
FOR, AGAINST = (213, 94, 0), (0, 114, 178)  # of the Okabe-Ito palette: told apart whatever one's eyes


def seen_frames(path: Path, indices: np.ndarray, p: Preprocessing, side: int = 224) -> np.ndarray:
    """What the network saw of these frames, enlarged for people: uint8 (T, side, side, 3)."""

    def enlarged(length: int) -> int:
        return round(side * length / p.crop)

    to = enlarged(p.resize) if isinstance(p.resize, int) else (enlarged(p.resize[0]), enlarged(p.resize[1]))
    frames = resize(read_frames(path, [int(i) for i in indices]), to)
    return crop(frames, side)


def scaled(maps: np.ndarray, per: str | float = "clip") -> np.ndarray:
    """Maps (T, h, w), signed or not, as shares of a largest absolute value: of the clip's, of each frame's, or the one
    given, such as a dataset's (then cut off at 1). What is zero everywhere stays zero."""
    if per == "clip":
        top = np.abs(maps).max(keepdims=True)
    elif per == "frame":
        top = np.abs(maps).max((1, 2), keepdims=True)
    elif isinstance(per, str):
        raise ValueError(f"unknown normalisation {per!r}; possible: {', '.join(NORMALISATIONS)}, or a largest value")
    else:
        top = np.full((1, 1, 1), float(per))
    return np.divide(maps, top, out=np.zeros_like(maps), where=top > 0).clip(-1, 1)


def overlay(frames: np.ndarray, maps: np.ndarray, opacity: float = 0.55, per: str | float = "clip") -> np.ndarray:
    """Maps (T, h, w) over frames (T, H, W, 3) uint8, on one scale for the clip or another (`scaled`)."""
    shares = scaled(maps, per)
    signed = bool((shares < 0).any())
    return np.stack([paint(f, share, opacity, signed) for f, share in zip(frames, shares, strict=True)])


def paint(frame: np.ndarray, share: np.ndarray, opacity: float, signed: bool = False) -> np.ndarray:
    """A map (h, w) of values in [-1, 1] over a frame (H, W, 3) uint8."""
    H, W = frame.shape[:2]
    cam = np.clip(cv2.resize(share.astype(np.float32), (W, H), interpolation=cv2.INTER_LINEAR), -1, 1)
    strength = np.abs(cam)
    if signed:
        heat = np.where(cam[..., None] > 0, np.array(FOR, np.uint8), np.array(AGAINST, np.uint8))
    else:
        heat = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    alpha = opacity * np.sqrt(strength)
    return cv2.blendLinear(np.ascontiguousarray(frame), np.ascontiguousarray(heat), 1 - alpha, alpha)
