"""Heatmaps over frames: the frames as the network sees them, enlarged, with the map of an explanation blended in.

The larger a value, the more opaque its colour; where a map is zero, the frame is unchanged. Rectified maps use the
inferno colours; signed maps are orange for the class and blue against it.
"""

from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from sth_core.errors import visible
from sth_core.video.fields import read_resized
from sth_core.video.modality import FLOW_STACK
from sth_core.video.reorder import NO_MOTION
from sth_core.video.transforms import Preprocessing, centre_of, crop, resized_size

LONGEST_TEXT = 1000  # characters of which a part is drawn

NORMALISATIONS = ("clip", "frame")
FOR, AGAINST = (213, 94, 0), (0, 114, 178)  # of the Okabe-Ito palette, which colour-blind readers can tell apart
FONT_FILES = ("DejaVuSans.ttf", "Arial.ttf", "arial.ttf")  # they have more letters than the font in Pillow
SHADE = (0, 0, 0, 150)
FLOW_COLOURS = (
    "Colours of the flow field: the hue is the direction (red: to the right, green: down, cyan: to the left, violet: "
    "up), white is no motion, full colour an eighth of the largest motion or more."
)


def map_reach(seen: np.ndarray, p: Preprocessing) -> int:
    """How many frames before the first and after the last one seen (N,), rising, a map is shown: the largest distance
    between two of them, and a stack of flow. A clip of segments is covered to its ends."""
    return int(np.diff(seen, append=seen[-1]).max()) + (FLOW_STACK if p.modality == "flow" else 0)


def seen_frames(
    path: Path, indices: np.ndarray, p: Preprocessing, side: int = 224
) -> UInt8[np.ndarray, "T {side} {side} 3"]:
    """The part of these frames that the network sees, at a larger size."""
    height, *width = (round(side * length / p.crop) for length in np.atleast_1d(p.resize))
    to = (height, *width) if width else height
    pictures = read_resized(path, [int(i) for i in indices], to, interpolation=p.interpolation)
    return crop(pictures, side, rounding=p.crop_rounding)


def seen_flow(stacks: UInt8[np.ndarray, "T h w 10"], side: int = 224) -> UInt8[np.ndarray, "T {side} {side} 3"]:
    """The first flow field of each stack that the network sees, in colours, at a larger size."""
    fields = [flow_colours(stack[..., :2]) for stack in stacks]
    return np.stack([cv2.resize(field, (side, side), interpolation=cv2.INTER_CUBIC) for field in fields])


def flow_colours(field: UInt8[np.ndarray, "H W 2"]) -> UInt8[np.ndarray, "H W 3"]:
    """8-bit flow as RGB: the hue is the direction, white no motion, full colour an eighth of the largest."""
    x, y = ((field[..., i].astype(np.float32) - NO_MOTION) / 127 for i in (0, 1))
    hue = (np.degrees(np.arctan2(y, x)) % 360) / 2
    strength = np.minimum(1, 8 * np.hypot(x, y))
    hsv = np.dstack([hue, 255 * strength, np.full_like(hue, 255)])
    return cv2.cvtColor(np.rint(hsv).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.uint8)


def scale_maps(maps: Float[np.ndarray, "T h w"], per: str | float = "clip") -> Float[np.ndarray, "T h w"]:
    """Divide maps (T, h, w), signed or not, by the largest absolute value of the clip, of each frame, or by a given
    one, such as a dataset's (values are then clipped to [-1, 1]). Zero maps stay zero."""
    if not isinstance(per, str):
        top = np.full((1, 1, 1), float(per))
    elif per in NORMALISATIONS:
        top = np.abs(maps).max(None if per == "clip" else (1, 2), keepdims=True)
    else:
        raise ValueError(f"unknown normalisation {per!r}; possible: {', '.join(NORMALISATIONS)}, or a largest value")
    return np.divide(maps, top, out=np.zeros_like(maps), where=top > 0).clip(-1, 1)


def overlay(
    frames: UInt8[np.ndarray, "T H W 3"],
    maps: Float[np.ndarray, "T h w"],
    opacity: float = 0.55,
    per: str | float = "clip",
) -> UInt8[np.ndarray, "T H W 3"]:
    """Maps (T, h, w), scaled by `scale_maps`, over frames (T, H, W, 3) uint8."""
    scaled = scale_maps(maps, per)
    signed = bool((scaled < 0).any())
    return np.stack([draw_heatmap(f, values, opacity, signed) for f, values in zip(frames, scaled, strict=True)])


def overlay_of(
    maps: Float[np.ndarray, "T h w"], frames: UInt8[np.ndarray, "T H W 3"] | None = None
) -> UInt8[np.ndarray, "T _ _ 3"]:
    """The positive part of maps over frames, or over black ones of 96 x 96 pixels."""
    frames = np.zeros((len(maps), 96, 96, 3), np.uint8) if frames is None else frames
    return overlay(frames, maps.clip(min=0), 0.75)


def draw_heatmap(
    frame: UInt8[np.ndarray, "H W 3"], values: Float[np.ndarray, "h w"], opacity: float, signed: bool = False
) -> UInt8[np.ndarray, "H W 3"]:
    """A map (h, w) of values in [-1, 1], spread evenly (see `overlay_shift`), over a frame (H, W, 3) uint8."""
    H, W = frame.shape[:2]
    values = np.clip(cv2.resize(values.astype(np.float32), (W, H), interpolation=cv2.INTER_LINEAR), -1, 1)
    strength = np.abs(values)
    if signed:
        colours = np.where(values[..., None] > 0, np.array(FOR, np.uint8), np.array(AGAINST, np.uint8))
    else:
        colours = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    alpha = opacity * np.sqrt(strength)
    return cv2.blendLinear(np.ascontiguousarray(frame), np.ascontiguousarray(colours), 1 - alpha, alpha)


def input_box(H: int, W: int, p: Preprocessing) -> tuple[int, int, int, int]:
    """The part of a picture (H, W) that the network sees, in its pixels: top, left, bottom, right.

    The box is not square if the resize changes the aspect ratio.
    """
    h, w = resized_size(H, W, p.resize, p.interpolation)
    top, left = centre_of(h - p.crop, p.crop_rounding), centre_of(w - p.crop, p.crop_rounding)
    bottom, right = top + p.crop, left + p.crop
    return round(top * H / h), round(left * W / w), round(bottom * H / h), round(right * W / w)


class HeatmapTable:
    """`draw_heatmap` by lookup tables (256, 1, 3), several times as fast; `signed` values are in [-1, 1], else [0, 1].

    Every value is a colour to `add` and a share of the picture to `keep` (`blend_into`).
    """

    def __init__(self, opacity: float, signed: bool) -> None:
        values = (np.arange(256)[:, None] - 128) / 127 if signed else np.arange(256)[:, None] / 255
        plain = (np.full((256, 1, 3), level, np.uint8) for level in (0, 255))
        self.add, on_white = (draw_heatmap(picture, values, opacity, signed) for picture in plain)
        self.keep, self.signed = on_white - self.add, signed

    def draw_on(self, picture: np.ndarray, values: np.ndarray) -> None:
        """Draw a map (h, w) over a picture (H, W, 3) uint8, in place."""
        levels = np.rint(128 + 127 * values if self.signed else 255 * values).astype(np.uint8)
        levels = cv2.resize(levels, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        blend_into(picture, add=cv2.applyColorMap(levels, self.add), keep=cv2.applyColorMap(levels, self.keep))


def blend_into(picture: np.ndarray, *, add: np.ndarray, keep: np.ndarray) -> None:
    """picture * keep / 255 + add, all (H, W, 3) uint8, in place."""
    picture[:] = cv2.add(cv2.multiply(picture, keep, scale=1 / 255), add)


class OverlayPanel:
    """A drawing (RGBA) that is blended into the left of every frame, from row `top` on."""

    def __init__(self, image: Image.Image, top: int) -> None:
        pixels = np.asarray(image)
        self.rows, self.width = slice(top, top + image.height), image.width
        self.add = (pixels[..., :3] * pixels[..., 3:].astype(np.uint16) // 255).astype(np.uint8)
        self.keep = np.repeat(255 - pixels[..., 3:], 3, 2)

    def draw_on(self, picture: np.ndarray) -> None:
        blend_into(picture[self.rows, : self.width], add=self.add, keep=self.keep)


@lru_cache
def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in FONT_FILES:
        with suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def fit_text(text: str, size: int, width: float) -> str:
    """The text, shortened with an ellipsis if it is wider than `width` pixels."""
    text = visible(text)[:LONGEST_TEXT]  # fonts have no line breaks
    if load_font(size).getlength(text) <= width:
        return text
    while text and load_font(size).getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def shaded_canvas(width: float, height: float) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGBA", (round(width), round(height)), SHADE)
    return image, ImageDraw.Draw(image)
