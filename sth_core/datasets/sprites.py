"""The objects and backgrounds of the synthetic set: textured, with colours from a random generator."""

from collections.abc import Callable

import cv2
import numpy as np

Rng = np.random.Generator
Drawing = Callable[[np.ndarray, np.ndarray], np.ndarray]

# {appearance label: (shape, texture)}. No object looks the same after a turn of less than half a circle, so that
# its rotation is visible.
APPEARANCES: dict[str, tuple[str, str]] = {
    "striped disc": ("disc", "stripes"),
    "checked square": ("square", "checks"),
    "dotted triangle": ("triangle", "dots"),
    "plain star": ("star", "plain"),
    "striped ring": ("ring", "stripes"),
    "wavy heart": ("heart", "waves"),
    "dotted crescent": ("crescent", "dots"),
    "checked arrow": ("arrow", "checks"),
    "wavy bar": ("bar", "waves"),
    "plain cross": ("cross", "plain"),
    "striped letter L": ("letter L", "stripes"),
    "target disc": ("disc", "target"),
}
SPRITE = 128  # pixels; shapes fill the unit circle around the centre


def grid(height: int, width: int, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """x and y of each pixel from the centre, in units of `unit` pixels."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (x - (width - 1) / 2) / unit, (y - (height - 1) / 2) / unit


def polygon(points: list[tuple[float, float]]) -> np.ndarray:
    """The mask (SPRITE, SPRITE) of a polygon with corners in [-1, 1]."""
    scaled = np.array(points) * (SPRITE / 2 - 2) + SPRITE / 2
    mask = np.zeros((SPRITE, SPRITE), np.uint8)
    cv2.fillPoly(mask, [np.round(scaled * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def inside(distance: np.ndarray) -> np.ndarray:
    """A soft mask from a signed distance in units of the shape's radius (negative is inside)."""
    return np.clip(0.5 - distance * SPRITE / 2, 0, 1)


def heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    u, v = x * 1.15, -y * 1.15 + 0.1
    return np.clip(0.5 - ((u**2 + v**2 - 0.7) ** 3 - u**2 * v**3) * 40, 0, 1)


def cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One arm is short."""
    upright = np.maximum(np.abs(x) - 0.25, np.abs(y) - 0.95)
    return inside(np.minimum(upright, np.maximum(np.abs(x + 0.2) - 0.7, np.abs(y) - 0.25)))


ARROW = [(0.98, 0), (0.2, 0.75), (0.2, 0.3), (-0.9, 0.3), (-0.9, -0.3), (0.2, -0.3), (0.2, -0.75)]
LETTER_L = [(-0.6, -0.9), (-0.1, -0.9), (-0.1, 0.4), (0.7, 0.4), (0.7, 0.9), (-0.6, 0.9)]
STAR_RADII, STAR_ANGLES = [1.0, 0.36, *[0.78, 0.36] * 4], np.arange(10) * np.pi / 5  # one ray is long
# {shape: its coverage, 0 to 1, at x and y from the centre}
SHAPES: dict[str, Drawing] = {
    "disc": lambda x, y: inside(np.hypot(x, y) - 0.95),
    "ring": lambda x, y: inside(np.abs(np.hypot(x, y) - 0.72) - 0.23),
    "crescent": lambda x, y: np.minimum(inside(np.hypot(x, y) - 0.95), 1 - inside(np.hypot(x - 0.5, y) - 0.72)),
    "square": lambda x, y: inside(np.maximum(np.abs(x), np.abs(y)) - 0.72),
    "bar": lambda x, y: inside(np.maximum(np.abs(x) - 0.95, np.abs(y) - 0.38)),
    "heart": heart,
    "cross": cross,
    "triangle": lambda *_: polygon([(0, -0.98), (0.8, 0.7), (-0.8, 0.7)]),
    "arrow": lambda *_: polygon(ARROW),
    "letter L": lambda *_: polygon(LETTER_L),
    "star": lambda *_: polygon([(q * np.sin(a), -q * np.cos(a)) for q, a in zip(STAR_RADII, STAR_ANGLES, strict=True)]),
}
# {texture: a pattern between 0 and 1 at x and y in units of the object's radius}
TEXTURES: dict[str, Drawing] = {
    "stripes": lambda x, y: (np.sin(x * 11) > 0).astype(np.float32),
    "checks": lambda x, y: ((np.sin(x * 8) > 0) ^ (np.sin(y * 8) > 0)).astype(np.float32),
    "dots": lambda x, y: (np.cos(x * 13) + np.cos(y * 13) > 0.7).astype(np.float32),
    "waves": lambda x, y: 0.5 + 0.5 * np.sin(y * 12 + 1.6 * np.sin(x * 7)),
    # Rings around a point off the centre.
    "target": lambda x, y: (np.sin(np.hypot(x - 0.45, y) * 12) > 0).astype(np.float32),
    "plain": lambda x, y: np.full_like(x, 0.5),
}


def two_colours(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Two colours (3,), 0 to 255, that differ clearly in brightness."""
    hues = rng.uniform(0, 180, 2)
    ranges = ((60, 230), (20, 90)), ((20, 160), (190, 255))  # of saturation and value
    hsv = [[hue, *(rng.uniform(*limits) for limits in of_one)] for hue, of_one in zip(hues, ranges, strict=True)]
    dark, light = cv2.cvtColor(np.array([hsv]).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)[0]
    return dark, light


def draw_object(appearance: str, rng: Rng) -> np.ndarray:
    """A sprite (SPRITE, SPRITE, 4) float32: colour 0 to 255, and coverage 0 to 1 as fourth channel."""
    shape, kind = APPEARANCES[appearance]
    x, y = grid(SPRITE, SPRITE, SPRITE / 2 - 2)
    mask, pattern = SHAPES[shape](x, y), TEXTURES[kind](x, y)[..., None]
    dark, light = two_colours(rng)
    colour = dark * (1 - pattern) + light * pattern
    if kind == "plain":
        colour = np.broadcast_to(light if rng.random() < 0.5 else dark, colour.shape)
    edge = cv2.erode(mask, np.ones((7, 7), np.uint8))[..., None]  # an outline, light or dark
    outline = light if colour.mean() < 128 else dark
    colour = colour * edge + outline * (1 - edge)
    return np.dstack([colour, mask]).astype(np.float32)


def draw_background(height: int, width: int, rng: Rng) -> np.ndarray:
    """A textured background (H, W, 3) uint8: blurred noise, a faint pattern, grain."""
    hue, spread = rng.uniform(0, 360), rng.uniform(10, 60)
    hues = (hue + rng.uniform(-spread, spread, (5, 6))) % 360
    hsv = np.dstack([hues, rng.uniform(0.1, 0.4, (5, 6)), rng.uniform(0.3, 0.8, (5, 6))]).astype(np.float32)
    colours = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255
    background: np.ndarray = cv2.resize(colours, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = grid(height, width, rng.uniform(60, 140))
    a = rng.uniform(0, np.pi)
    texture = list(TEXTURES.values())[rng.integers(5)]  # never the plain one
    pattern = texture(x * np.cos(a) - y * np.sin(a), x * np.sin(a) + y * np.cos(a))
    pattern = cv2.GaussianBlur(pattern, (0, 0), 1.5) - 0.5
    background += pattern[..., None] * rng.uniform(10, 40)
    background += rng.normal(0, 5, background.shape).astype(np.float32)
    return np.clip(background, 0, 255).astype(np.uint8)
