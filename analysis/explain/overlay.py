"""Maps over frames, for people: what the network saw, enlarged, and where its explanation lies.

A map is shown by colour and opacity together, so that a frame without any stays as it is. Rectified maps go from
dark to bright (inferno); signed ones are orange where they speak for the class and blue where against it.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sth_core.video.decoding import read_frames
from sth_core.video.transforms import Preprocessing, crop, resize

NORMALISATIONS = ("clip", "frame")
FOR, AGAINST = (213, 94, 0), (0, 114, 178)  # of the Okabe-Ito palette: told apart whatever one's eyes
FONTS = ("DejaVuSans.ttf", "Arial.ttf", "arial.ttf")  # they have more letters than the one that Pillow brings
SHADE = (0, 0, 0, 150)


def seen_frames(path: Path, indices: np.ndarray, p: Preprocessing, side: int = 224) -> np.ndarray:
    """What the network saw of these frames, enlarged for people: uint8 (T, side, side, 3)."""

    def enlarged(length: int) -> int:
        return round(side * length / p.crop)

    to = enlarged(p.resize) if isinstance(p.resize, int) else (enlarged(p.resize[0]), enlarged(p.resize[1]))
    frames = resize(read_frames(path, [int(i) for i in indices]), to)
    return crop(frames, side)


def scale_maps(maps: np.ndarray, per: str | float = "clip") -> np.ndarray:
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
    shares = scale_maps(maps, per)
    signed = bool((shares < 0).any())
    return np.stack([draw_map(f, share, opacity, signed) for f, share in zip(frames, shares, strict=True)])


def draw_map(frame: np.ndarray, share: np.ndarray, opacity: float, signed: bool = False) -> np.ndarray:
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


def input_box(H: int, W: int, p: Preprocessing) -> tuple[int, int, int, int]:
    """Top, left, bottom, right, in pixels of a picture (H, W), of what the network sees of it: resize and central crop
    undone. The box is no square where the resize does not keep the aspect ratio."""
    h, w = resize(np.zeros((1, H, W, 1), np.uint8), p.resize).shape[1:3]
    top, left = (h - p.crop) // 2, (w - p.crop) // 2
    rows, columns = ([round(edge * have / now) for edge in (start, start + p.crop)] for start, have, now in
                     ((top, H, h), (left, W, w)))  # fmt: skip
    return rows[0], columns[0], rows[1], columns[1]


@dataclass(frozen=True)
class ColourTables:
    """`paint` for many frames, a few times as fast: by tables (256, 1, 3) uint8 of what a map's value adds to a
    picture and of what it leaves of it."""

    adds: np.ndarray
    leaves: np.ndarray
    signed: bool

    @staticmethod
    def of(opacity: float, signed: bool) -> "ColourTables":
        values = (np.arange(256) - 128) / 127 if signed else np.arange(256) / 255
        black, white = (np.full((256, 1, 3), level, np.uint8) for level in (0, 255))
        adds, both = (draw_map(picture, values[:, None], opacity, signed) for picture in (black, white))
        return ColourTables(adds, both - adds, signed)

    def paint(self, picture: np.ndarray, share: np.ndarray) -> None:
        """A map (h, w) of values in [-1, 1], or with no sign in [0, 1], over a picture (H, W, 3), in place."""
        values = np.rint(128 + 127 * share if self.signed else 255 * share).astype(np.uint8)
        values = cv2.resize(values, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        blend_into(picture, cv2.applyColorMap(values, self.adds), cv2.applyColorMap(values, self.leaves))


def blend_into(picture: np.ndarray, adds: np.ndarray, leaves: np.ndarray) -> None:
    """picture * leaves / 255 + adds, all (H, W, 3) uint8, in place."""
    picture[:] = cv2.add(cv2.multiply(picture, leaves, scale=1 / 255), adds)


@dataclass(frozen=True)
class OverlayPanel:
    """A drawing that lies on every frame: its place, and what `blend` adds and leaves there."""

    top: int
    left: int
    adds: np.ndarray
    leaves: np.ndarray

    @staticmethod
    def of(image: Image.Image, top: int, left: int = 0) -> "OverlayPanel":
        pixels = np.asarray(image)
        opacity = pixels[..., 3:].astype(np.uint16)
        adds = (pixels[..., :3] * opacity // 255).astype(np.uint8)
        return OverlayPanel(top, left, adds, np.repeat(255 - pixels[..., 3:], 3, 2))

    def on(self, picture: np.ndarray) -> None:
        H, W = self.adds.shape[:2]
        blend_into(picture[self.top : self.top + H, self.left : self.left + W], self.adds, self.leaves)


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def fit_text(text: str, size: int, width: float) -> str:
    """The text, or as much of it as fits into `width` pixels."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def canvas(width: float, height: float) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGBA", (round(width), round(height)), SHADE)
    return image, ImageDraw.Draw(image)
