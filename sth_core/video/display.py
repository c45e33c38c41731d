"""Decoded frames as players show them: RGB, with square pixels, turned and mirrored as the file says."""

from fractions import Fraction
from math import cos, degrees, hypot, radians, sin
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter

from sth_core.video.container import UnreadableVideo, check_limit
from sth_core.video.limits import video_limits

LARGEST_TILT = 10  # degrees between a display matrix and the right angle that it is taken for
WIDEST_PIXEL = 8  # times as wide as high, or as high as wide; those of real formats stay below 3


class Orientation(NamedTuple):
    """One of the eight orientations of a picture: transpose it, then flip it."""

    transposed: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """A view of a picture (H, W, 3); (W, H, 3) if it is transposed."""
        turned = picture.transpose(1, 0, 2) if self.transposed else picture
        return turned[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


def display_matrix(frame: av.VideoFrame) -> tuple[float, float, float, float] | None:
    """a, b, c, d of a frame's display matrix, which moves the pixel (x, y) to (a x + c y, b x + d y), if it has one.
    Source: ISO/IEC 14496-12, 6.2.2."""
    try:
        side_data: Any = frame.side_data
        a, b, _, c, d = np.frombuffer(side_data[Type.DISPLAYMATRIX], np.int32)[:5].tolist()
    except KeyError:
        return None
    except ValueError:  # before PyAV 19: it has no name for other side data of this frame, and gives only the angle
        angle = radians(-frame.rotation)
        return cos(angle), sin(angle), -sin(angle), cos(angle)
    return a, b, c, d


def orientation_of(path: Path, frame: av.VideoFrame) -> Orientation:
    """The orientation that a frame of the file is shown in: its display matrix, to the nearest right angle.
    Raises UnreadableVideo: the matrix is further from it than LARGEST_TILT."""
    matrix = display_matrix(frame)
    if matrix is None or not any(matrix):
        return Orientation()
    a, b, c, d = matrix
    straight, crossed = hypot(a, d), hypot(b, c)
    if min(straight, crossed) > np.tan(radians(LARGEST_TILT)) * max(straight, crossed):
        angle = degrees(np.arctan2(b, a))
        raise UnreadableVideo(f"{path}: its display matrix turns it by {angle:.0f} degrees; only right angles are read")
    return Orientation(False, d < 0, a < 0) if straight >= crossed else Orientation(True, b < 0, c < 0)


def pixel_shape(path: Path, stream: av.VideoStream) -> Fraction:
    """The width of a stream's pixels divided by their height (sample aspect ratio); 1 where the file states none.
    Raises UnreadableVideo: the shape cannot be meant."""
    shape = Fraction(stream.sample_aspect_ratio or 1)
    if not Fraction(1, WIDEST_PIXEL) <= shape <= WIDEST_PIXEL:
        raise UnreadableVideo(f"{path}: states pixels that are {float(shape):g} times as wide as high")
    return shape


def display_width(width: int, shape: Fraction) -> int:
    """The width of a frame after its pixels are made square: 160 pixels of shape 64:45 become 228."""
    return max(1, round(width * shape))


class Screen:
    """Converts the frames of one stream to uint8 RGB (H, W, 3), as players show them.

    Pixels that are not square keep their height, and are resized in width (bicubic). Raises UnreadableVideo: as
    `pixel_shape` and `orientation_of`, and for a picture that is beyond a limit.
    """

    def __init__(self, path: Path, stream: av.VideoStream) -> None:
        self.path, self.shape = path, pixel_shape(path, stream)
        self.converter = VideoReformatter()  # keeps swscale's tables from frame to frame

    def show(self, frame: av.VideoFrame) -> np.ndarray:
        """A view of memory that is valid as long as the frame."""
        width, resized = display_width(frame.width, self.shape), dict[str, Any]()
        check_limit(self.path, video_limits().of_picture(width, frame.height))
        if width != frame.width:
            resized = {"width": width, "interpolation": "BICUBIC"}
        plane = self.converter.reformat(frame, format="rgb24", threads=1, **resized).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        picture = rows[:, : 3 * plane.width].reshape(plane.height, plane.width, 3)
        return orientation_of(self.path, frame).apply(picture)
