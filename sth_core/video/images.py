"""Folders of extracted frames: 00001.jpg, img_00001.jpg, frame000001.png, ...; and of optical flow."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from sth_core.video.timeline import UnreadableVideo

NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>\d+)\.(?:jpe?g|png)", re.IGNORECASE)
FLOW_PREFIXES = ("flow_x_", "flow_y_", "flow_", "x_", "y_")


def images_of(folder: Path) -> dict[str, list[str]]:
    """The numbered images of a folder by what stands before the number, each in the order of the numbers.

    Numbers may begin at 0 or 1 and have any number of digits.
    """
    return _images(folder, folder.stat().st_mtime_ns)


@lru_cache(maxsize=20_000)
def _images(folder: Path, mtime_ns: int) -> dict[str, list[str]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for entry in folder.iterdir():
        if (match := NUMBERED.fullmatch(entry.name)) and not entry.name.startswith("."):
            found.setdefault(match["prefix"], []).append((int(match["number"]), entry.name))
    return {prefix: [name for _, name in sorted(images)] for prefix, images in sorted(found.items())}


def frame_names(folder: Path) -> list[str]:
    """The images that are the video's frames: all but optical flow.

    Raises:
        UnreadableVideo: there are none, or two kinds of them.
    """
    kinds = {prefix: names for prefix, names in images_of(folder).items() if prefix.lower() not in FLOW_PREFIXES}
    if not kinds:
        raise UnreadableVideo(f"{folder}: is a directory, and holds no frames (00001.jpg, img_00001.jpg, ...)")
    if len(kinds) > 1:
        examples = ", ".join(names[0] for names in kinds.values())
        raise UnreadableVideo(f"{folder}: frames of more than one video ({examples}); leave one kind in it")
    return next(iter(kinds.values()))


def count_images(folder: Path) -> int:
    """How many frames a folder holds."""
    return len(frame_names(folder))


def read_images(folder: Path, indices: Sequence[int]) -> np.ndarray:
    """Frames by their place in the order of numbers: uint8 RGB (len(indices), H, W, 3)."""
    names = frame_names(folder)
    read: dict[int, np.ndarray] = {}
    for i in dict.fromkeys(map(int, indices)):
        read[i] = read_image(folder / names[i], cv2.IMREAD_COLOR_RGB)
    shapes = {picture.shape for picture in read.values()}
    if len(shapes) > 1:
        raise UnreadableVideo(f"{folder}: its frames differ in size: {', '.join(map(str, sorted(shapes)))}")
    return np.stack([read[int(i)] for i in indices])


def read_image(path: Path, how: int) -> np.ndarray:
    """One image, its pixels as they are stored: EXIF does not turn it.

    Raises:
        UnreadableVideo: it cannot be decoded.
    """
    try:
        content = np.fromfile(path, np.uint8)
        image = cv2.imdecode(content, how | cv2.IMREAD_IGNORE_ORIENTATION) if len(content) else None
    except OSError as error:
        raise UnreadableVideo(f"{path}: {error.strerror}") from error
    except cv2.error as error:
        raise UnreadableVideo(f"{path}: not an image that can be decoded") from error
    if image is None:
        raise UnreadableVideo(f"{path}: not an image that can be decoded")
    return image
