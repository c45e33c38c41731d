"""How large a picture and how long a video are read. A file may claim any size: what it claims is compared with these
limits before memory is taken for it.

The environment variable STH_VIDEO_LIMITS changes them: "pixels=100000000,frames=5000000,seconds=60".
"""

import os
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import NamedTuple

from sth_core.errors import UserError

BITS = 12  # of a pixel in a decoder's memory: YUV 4:2:0 of 8 bits
VARIABLE = "STH_VIDEO_LIMITS"


def pixels_in_memory(width: int, height: int, bits: int) -> int:
    """How many pixels of BITS bits take the memory of a picture."""
    return -(-width * height * max(BITS, bits) // BITS)


class Excess(NamedTuple):
    """What is beyond a limit, and how to read it all the same."""

    found: str
    way: str


@dataclass(frozen=True)
class VideoLimits:
    """The most that is read of one video or folder of frames."""

    pixels: int = 2**24  # of a picture, as it is stored and as it is shown: 4096 x 4096, in a decoder each of 12 bits;
    # and of all large ones that a process decodes at the same time
    elongation: int = 64  # times that the longer side of a picture is as long as the other
    frames: int = 10**6  # nine hours at 30 frames a second
    seconds: int = 10  # of searching a file for its beginning, or for its next frame

    @classmethod
    def parse(cls, text: str) -> "VideoLimits":
        """The limits of a text like "pixels=N,frames=N", the others as by default.
        Raises UserError: it is no such text."""
        names, given = [field.name for field in fields(cls)], {}
        for part in filter(None, text.replace(" ", "").split(",")):
            name, _, value = part.partition("=")
            if name not in names or not (value.isascii() and value.isdigit() and 0 < int(value[:12]) < 2**31):
                raise UserError(
                    f"{VARIABLE} must look like pixels=100000000,frames=5000000 (possible are {', '.join(names)}, each "
                    f"from 1 to {2**31 - 1}), got {text!r}"
                )
            given[name] = int(value)
        return replace(cls(), **given)

    def of_picture(self, width: int, height: int, bits: int = BITS) -> Excess | None:
        """Of a picture of which each pixel has so many bits in the decoder's memory."""
        size, (short, long) = f"{width} x {height} pixels", sorted((width, height))
        needed = pixels_in_memory(width, height, bits)
        if needed > self.pixels:
            deep = f" of {bits} bits, as much as {needed:,} of {BITS} bits" if bits > BITS else ""
            found = f"its pictures have {size}{deep}; at most {self.pixels:,} in all are read"
            return Excess(found, f"{VARIABLE}=pixels={needed} reads it, with more memory")
        if long > self.elongation * short > 0:
            found = f"its pictures have {size}; a side may be at most {self.elongation} times as long as the other"
            return Excess(found, f"{VARIABLE}=elongation={-(-long // short)} reads it")
        return None

    def of_image_file(self, size: int) -> Excess | None:
        """Of an image whose file has so many bytes; one of the largest has eight for each pixel, uncompressed."""
        if size > (most := 2**20 + 8 * self.pixels):
            found = f"its file has {size:,} bytes; at most {most:,} are read of an image"
            return Excess(found, f"{VARIABLE}=pixels={size // 8} reads it, with more memory")
        return None

    def of_frames(self, frames: int) -> Excess | None:
        """Of a video that has so many frames, or more."""
        if frames > self.frames:
            found = f"it has more than {self.frames:,} frames"
            return Excess(found, f"cut it into parts, or set {VARIABLE}=frames=N to a larger number")
        return None

    def of_names(self, names: int) -> Excess | None:
        """Of a folder of frames that has so many names, or more: two images of flow for a frame, and some others."""
        return self.of_frames(self.frames + 1) if names > 4 * self.frames else None

    def of_search(self) -> Excess:
        found = f"no frame was found in {self.seconds} s, as in a file that is mostly empty"
        return Excess(found, f"on a slow disk set {VARIABLE}=seconds=N to a larger number")


def video_limits() -> VideoLimits:
    """The limits that the environment sets. Raises UserError: STH_VIDEO_LIMITS does not look as it must."""
    return _parsed(os.environ.get(VARIABLE, ""))


_parsed = lru_cache(maxsize=8)(VideoLimits.parse)
