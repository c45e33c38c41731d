"""Folders of extracted frames (00001.jpg, img_00001.jpg, frame000001.png, ...) and of optical flow."""

import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from struct import unpack_from

import cv2
import numpy as np
from PIL import Image

from sth_core.stopping import raise_if_stopping
from sth_core.video.container import UnreadableVideo, check_limit
from sth_core.video.limits import video_limits

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, which cannot be raised for one file; `VideoLimits` is stricter
FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 of a JPEG
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>\d+)\.(?:jpe?g|png|webp|bmp|tiff?)", re.IGNORECASE)
FLOW = re.compile(r"(.*[-_])?[xy]_|flow_", re.IGNORECASE)


def is_flow(prefix: str) -> bool:
    """Whether images with this prefix before their number are optical flow: flow_x_, x_, 000001-x_, flow_."""
    return bool(FLOW.fullmatch(prefix))


def images_of(folder: Path) -> dict[str, list[str]]:
    """The numbered images of a folder: {prefix before the number: names in the order of the numbers, from any on}.
    Raises UnreadableVideo: the folder cannot be read, or two images have the same number."""
    try:
        return _images(folder, folder.stat().st_mtime_ns)
    except OSError as error:
        raise UnreadableVideo(f"{folder}: {error.strerror}") from error


@lru_cache(maxsize=20_000)
def _images(folder: Path, mtime_ns: int) -> dict[str, list[str]]:
    found: dict[str, dict[int, str]] = {}
    limits = video_limits()
    for others, entry in enumerate(folder.iterdir()):
        check_limit(folder, limits.of_names(others))
        if (match := NUMBERED.fullmatch(entry.name)) and not entry.name.startswith("."):
            images, number = found.setdefault(match["prefix"], {}), int(match["number"])
            if number in images:
                both = " and ".join(sorted((images[number], entry.name)))
                raise UnreadableVideo(f"{folder}: two images for one frame ({both}); leave one of them in it")
            images[number] = entry.name
    return {prefix: [images[number] for number in sorted(images)] for prefix, images in sorted(found.items())}


def frame_names(folder: Path) -> list[str]:
    """The names of the video's frames: all images but optical flow.
    Raises UnreadableVideo: there are none, or two kinds of them."""
    kinds = {prefix: names for prefix, names in images_of(folder).items() if not is_flow(prefix)}
    if not kinds:
        raise UnreadableVideo(f"{folder}: is a directory, and holds no frames (00001.jpg, img_00001.jpg, ...)")
    if len(kinds) > 1:
        examples = ", ".join(names[0] for names in kinds.values())
        raise UnreadableVideo(f"{folder}: frames of more than one video ({examples}); leave one kind in it")
    return next(iter(kinds.values()))


def read_images(folder: Path, indices: Sequence[int], each: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The frames at `indices`, counted from 0, `each` as it returns it: uint8 RGB (len(indices), H, W, 3)."""
    names, shapes, read = frame_names(folder), set(), {}
    for i in dict.fromkeys(map(int, indices)):
        picture = read_image(folder / names[i], cv2.IMREAD_COLOR_RGB)
        shapes.add(picture.shape)
        read[i] = each(picture)
    if len(shapes) > 1:
        raise UnreadableVideo(f"{folder}: its frames differ in size: {', '.join(map(str, sorted(shapes)))}")
    return np.stack([read[int(i)] for i in indices])


def check_image_size(path: Path, content: bytes) -> None:
    """Raises UnreadableVideo: by its header, an image is beyond a limit, or it is none."""
    size = jpeg_size(content)
    if size is None:
        try:
            with Image.open(BytesIO(content), formats=FORMATS) as image:
                size = image.size
        except Exception as error:  # Pillow raises errors of many kinds for a damaged header
            raise UnreadableVideo(f"{path}: not an image that can be decoded") from error
    check_limit(path, video_limits().of_picture(*size))


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG's frame header states (ITU-T T.81, B.2.2); None without one where the markers lead.

    Pillow reads the whole header, ten times as long, and holds Python's lock while it does."""
    place = 2 if content.startswith(b"\xff\xd8\xff") else len(content)
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in FRAME_MARKERS:
            height, width = unpack_from(">HH", content, place + 5)
            return width, height
        if not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xDA:  # no segment with a length, or the first scan
            return None
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
    return None


def read_image(path: Path, flags: int) -> np.ndarray:
    """The pixels of one image as they are stored, without EXIF rotation; `flags` are OpenCV's IMREAD flags.
    Raises UnreadableVideo: it cannot be decoded, or is beyond a limit."""
    raise_if_stopping()
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            check_limit(path, video_limits().of_image_file(size))
            content = file.read(size)
        check_image_size(path, content)
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except OSError as error:
        raise UnreadableVideo(f"{path}: {error.strerror}") from error
    except cv2.error:
        image = None
    if image is None:
        raise UnreadableVideo(f"{path}: not an image that can be decoded")
    return image
