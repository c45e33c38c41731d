"""From frames or optical flow to the network's input: resize, crop, flip, normalise (Section 4.2).

A clip before the crop (`fields`) is uint8 (T, H, W, C); flow is clipped to +-bound pixels and stored in 8 bits (TSN).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image

from sth_core.values import BadValue, Between, OneOf, check_fields
from sth_core.video.modality import CHANNELS, Frames
from sth_core.video.sampling import DENSE

if TYPE_CHECKING:  # reading videos must not wait for torch
    from torch import Tensor

Clip = UInt8[np.ndarray, "T H W C"]

Side = Annotated[int, Between(1, 4096)]  # of a frame, in pixels
MOST_VALUES = 2**26  # of a resized clip, each a byte (64 MiB): 64 frames of 438 x 778 pixels fit (V-JEPA 2)
INTERPOLATIONS = ("opencv", "opencv_linear", "bilinear", "pil")
CROP_ROUNDINGS = ("down", "even", "up")

cv2.setNumThreads(1)  # clips are read in parallel, not the pixels of one


@dataclass(frozen=True)
class Preprocessing:
    """From a video to the network's input, as in training; a checkpoint carries it.

    `resize` is the short side in pixels (the aspect ratio is kept), or height and width (256, 340 in the paper).
    `crop` is the side of the network's square input in pixels, `mean` and `std` are per channel over [0, 1], and
    `flow_bound` is the largest displacement, in pixels of the resized frame per frame; larger ones are clipped. With a
    `stride` sampling is dense: the frames of a clip are that many frames apart, whatever the length of the video, and
    `dense` says how exactly (`dense_positions`); without one they are of as many equal segments of the video (TSN).

    Libraries resize and crop in different ways, and networks should get what they were trained on (docs/data.md):

    - `interpolation`: "opencv" takes means over areas where it shrinks a frame, and is linear where it enlarges one;
      "opencv_linear" is always linear, without antialiasing (MMAction2); so is "bilinear", with the arithmetic of
      PyTorch (torchvision, PySlowFast, pytorchvideo); "pil" is Pillow's, antialiased (Hugging Face, TSM).
    - `crop_rounding`: where the centre is half a pixel off, the central crop begins at the pixel before ("down":
      Hugging Face, MMAction2), at the even one ("even": torchvision), or at the pixel after ("up": PySlowFast).

    Raises BadValue: a value out of range, a crop that does not fit into the resized frame, `dense` without a stride, or
    a clip that is too large.
    """

    modality: Annotated[str, OneOf(CHANNELS)] = "rgb"
    frames: Frames = 8
    resize: Side | tuple[Side, Side] = 256
    crop: Side = 224
    mean: tuple[Annotated[float, Between(0, 1)], ...] = (0.485, 0.456, 0.406)
    std: tuple[Annotated[float, Between(0.001, 10)], ...] = (0.229, 0.224, 0.225)
    flow_bound: Annotated[float, Between(0.01, 1000)] = 20.0
    stride: Annotated[int, Between(0, 1024)] = 0
    dense: Annotated[str, OneOf(DENSE)] = "loop"
    interpolation: Annotated[str, OneOf(INTERPOLATIONS)] = "opencv"
    crop_rounding: Annotated[str, OneOf(CROP_ROUNDINGS)] = "down"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.dense != "loop" and not self.stride:
            raise BadValue(f"dense must not be given without a stride, got {self.dense!r} and stride 0")
        if self.crop > self.short_side:
            raise BadValue(f"crop ({self.crop}) must not be larger than resize ({self.short_side})")
        height, width = (self.resize, self.resize) if isinstance(self.resize, int) else self.resize
        channels = CHANNELS[self.modality]
        if self.frames * height * width * channels > MOST_VALUES:
            given = f"{self.frames} frames of {height} x {width} pixels with {channels} channels"
            raise BadValue(f"frames and resize must make a clip of at most {MOST_VALUES:,} values, got {given}")

    @property
    def short_side(self) -> int:
        return self.resize if isinstance(self.resize, int) else min(self.resize)

    def values_of(self, side: int) -> int:
        """The number of values of a clip with this side, each a byte."""
        return self.frames * side**2 * CHANNELS[self.modality]


def resize(
    frames: UInt8[np.ndarray, "N H W C"], to: int | tuple[int, int], interpolation: str = "opencv"
) -> UInt8[np.ndarray, "N h w C"]:
    """Resize each frame: `to` is the new short side, or (h, w)."""
    H, W = frames.shape[1:3]
    height, width = resized_size(H, W, to, interpolation)
    if (height, width) == (H, W):
        return frames
    resized = np.empty((len(frames), height, width, frames.shape[3]), np.uint8)
    for frame, target in zip(frames, resized, strict=True):
        target[:] = resize_frame(frame, (height, width), interpolation)
    return resized


def resized_size(H: int, W: int, to: int | tuple[int, int], interpolation: str = "opencv") -> tuple[int, int]:
    """Height and width of a frame whose new short side, or height and width, is `to`. The long side is rounded down for
    "bilinear" and "pil", as torchvision, Hugging Face, PySlowFast and pytorchvideo do, else to the nearest number."""
    if not isinstance(to, int):
        return to
    short, long = min(H, W), max(H, W)
    if interpolation in ("bilinear", "pil"):
        side = to * long // short
    elif interpolation == "opencv_linear":
        side = int(long * (to / short) + 0.5)  # mmcv's rescale_size
    else:
        side = max(to, round(long * to / short))
    return (to, side) if H <= W else (side, to)


def resize_frame(
    frame: UInt8[np.ndarray, "H W C"], to: int | tuple[int, int], interpolation: str = "opencv"
) -> UInt8[np.ndarray, "h w C"]:
    """One frame of `resize`; it may be a part of a larger one, of which no copy is made."""
    H, W, C = frame.shape
    height, width = resized_size(H, W, to, interpolation)
    if (height, width) == (H, W):
        return frame
    if interpolation == "bilinear":
        return resize_bilinear(frame, height, width)
    if interpolation == "pil":  # which has pictures of three channels and of one
        pictures = [frame] if C == 3 else [frame[..., c] for c in range(C)]
        size, linear = (width, height), Image.Resampling.BILINEAR
        shrunk = [np.asarray(Image.fromarray(picture).resize(size, linear)) for picture in pictures]
        return shrunk[0] if C == 3 else np.stack(shrunk, 2)
    shrinks = interpolation == "opencv" and height * width < H * W
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    # OpenCV resizes at most four channels at once, and drops the axis of a single one.
    parts = [frame] if C <= 4 else [np.ascontiguousarray(frame[..., c : c + 4]) for c in range(0, C, 4)]
    resized = [cv2.resize(part, (width, height), interpolation=how) for part in parts]
    return np.concatenate(resized, 2) if len(parts) > 1 else resized[0].reshape(height, width, C)


def resize_bilinear(frame: UInt8[np.ndarray, "H W C"], height: int, width: int) -> UInt8[np.ndarray, "h w C"]:
    """As torch.nn.functional.interpolate(mode="bilinear") of the pixels as float32, rounded, in PyTorch's order of
    operations: OpenCV's weights are coarser, with which a pixel in eight differs by one. Torch itself is not needed."""
    above, below, down = neighbours(frame.shape[0], height)
    left, right, across = neighbours(frame.shape[1], width)
    down, across = down[:, None, None], across[:, None]
    rows = frame[above] * (1 - down) + frame[below] * down
    return np.rint(rows[:, left] * (1 - across) + rows[:, right] * across).astype(np.uint8)


def neighbours(
    pixels: int, new: int
) -> tuple[Int[np.ndarray, "{new}"], Int[np.ndarray, "{new}"], Float32[np.ndarray, "{new}"]]:
    """The two pixels of a line between which each of its `new` pixels lies, and how far it is from the first one."""
    place = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * (np.float32(pixels) / np.float32(new))
    place = np.maximum(place - np.float32(0.5), np.float32(0))
    first = np.minimum(place.astype(np.int64), pixels - 1)
    return first, np.minimum(first + 1, pixels - 1), place - first.astype(np.float32)


def crop(
    clip: UInt8[np.ndarray, "*T H W C"], side: int, rng: np.random.Generator | None = None, rounding: str = "down"
) -> UInt8[np.ndarray, "*T {side} {side} C"]:
    """The central square; with `rng` a square at a random place."""
    H, W = clip.shape[-3:-1]
    y, x = centre_of(H - side, rounding), centre_of(W - side, rounding)
    if rng is not None:
        y, x = int(rng.integers(H - side + 1)), int(rng.integers(W - side + 1))
    return clip[..., y : y + side, x : x + side, :]


def centre_crop(clip: UInt8[np.ndarray, "*T H W C"], p: Preprocessing) -> UInt8[np.ndarray, "*T {p.crop} {p.crop} C"]:
    """The central square of the network's size, of a clip that is resized."""
    return crop(clip, p.crop, rounding=p.crop_rounding)


def centre_of(rest: int, rounding: str) -> int:
    """How many of `rest` pixels lie before what is in the centre, by a crop rounding."""
    return {"down": rest // 2, "even": round(rest / 2), "up": (rest + 1) // 2}[rounding]


@dataclass
class RandomWindow:
    """The same random square of each frame of a clip, its side one of `scales` of the short side, resized to `side`
    (TSN); without scales the square has `side` pixels. The first frame (H, W, C) decides where it is."""

    side: int
    scales: tuple[float, ...]
    rng: np.random.Generator
    interpolation: str = "opencv"
    place: tuple[int, int, int] | None = None  # y, x and side of the square

    def __call__(self, frame: UInt8[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "{self.side} {self.side} C"]:
        if self.place is None:
            H, W, rng = *frame.shape[:2], self.rng
            patch = round(self.scales[rng.integers(len(self.scales))] * min(H, W)) if self.scales else self.side
            self.place = int(rng.integers(H - patch + 1)), int(rng.integers(W - patch + 1)), patch
        y, x, patch = self.place
        return resize_frame(frame[y : y + patch, x : x + patch], (self.side, self.side), self.interpolation)


def scaled_crop(
    clip: Clip, side: int, scales: tuple[float, ...], rng: np.random.Generator
) -> UInt8[np.ndarray, "T {side} {side} C"]:
    """The `RandomWindow` of all frames of a clip."""
    return np.stack(list(map(RandomWindow(side, scales, rng), clip)))


def crops(
    clip: Clip, side: int, count: int, modality: str, rounding: str = "down"
) -> UInt8[np.ndarray, "{count} T {side} {side} C"]:
    """Crops for evaluation: 1 is the centre; 3 are the ends and the centre of the long side, at half height or width;
    10 are the centre and the four corners, and the same mirrored (TSN).
    Raises ValueError: `count` is not 1, 3 or 10.
    """
    H, W = clip.shape[1:3]
    bottom, right = H - side, W - side
    y, x = centre = (centre_of(bottom, rounding), centre_of(right, rounding))
    places = {
        1: [centre],
        3: [(y, 0), centre, (y, right)] if W >= H else [(0, x), centre, (bottom, x)],
        10: [(0, 0), (0, right), (bottom, 0), (bottom, right), centre],
    }
    if count not in places:
        raise ValueError(f"crops must be 1, 3 or 10, got {count}")
    views = [clip[:, y : y + side, x : x + side] for y, x in places[count]]
    if count == 10:
        views += [mirror(view, modality) for view in views]
    return np.stack(views)


def mirror(clip: Clip, modality: str) -> Clip:
    """The clip flipped left to right; horizontal flow changes its sign."""
    T, H, W, C = clip.shape
    clip = cv2.flip(np.ascontiguousarray(clip).reshape(T * H, W, C), 1).reshape(T, H, W, C)
    if modality == "flow":
        clip[..., 0::2] = negative(clip[..., 0::2])
    return clip


def play_backward(clip: Clip, modality: str) -> Clip:
    """The clip in reverse order; flow is negated too, as in the reversed video."""
    if modality == "rgb":
        return clip[::-1]
    T, H, W, C = clip.shape
    fields = clip.reshape(T, H, W, C // 2, 2)[::-1, :, :, ::-1]
    return negative(fields.reshape(T, H, W, C))


def negative(flow: UInt8[np.ndarray, "*any"]) -> UInt8[np.ndarray, "*any"]:
    """8-bit flow (1 to 255, 128 is no motion) with the opposite sign: 256 - v, which is -v in 8 bits; 0, which other
    tools write, counts as 1."""
    return np.negative(np.maximum(flow, 1))


def normalise(clips: 'UInt8[Tensor, "*B T H W C"]', p: Preprocessing) -> 'Float[Tensor, "*B T C H W"]':
    """Pixels or flow fields -> the network's input, float32."""
    channels, pixels = clips.shape[-1], clips.float()
    mean, std = (pixels.new_tensor(v).repeat(channels // len(v)) * 255 for v in (p.mean, p.std))
    return pixels.sub_(mean).div_(std).movedim(-1, -3).contiguous()
