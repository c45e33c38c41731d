"""Frames that decode, but show nothing: gray without the keyframe before them, of one colour, or all the same."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

GRAY, ONE_COLOUR, ONE_PICTURE = "gray", "one colour", "one picture"
CELLS = 32  # a side
DECODER_GRAY, GRAY_LEVELS = 129, 7  # what FFmpeg shows where a keyframe is missing: 128 or 130, by the range of levels
GRAY_SHARE = 0.4  # of the cells of a frame that was decoded without its keyframe; what moves is painted on the gray
FLAT_LEVELS = 6  # by which the cells of a frame of one colour differ
STILL_LEVELS = 1  # by which the cells of a repeated frame differ
QUALITY_LEVELS = 10  # by which a cell differs between two encodings of one picture, a keyframe and the frame after it
FEWEST_STILL, STILL_SHARE = 5, 1 / 3  # repeated frames at the beginning that are worth a warning; and of the clip

Cells = NDArray[np.int16]


@dataclass
class FrameDefects:
    """Counts the frames without content at the beginning of a clip, whose frames are added in order.

    `gray` were decoded without their keyframe: much of them is the decoder's gray, and then comes a frame that has
    little of it. `flat` are of one colour. `still` repeat the first frame; `alike` may also be of another quality, as
    a later keyframe is.
    """

    frames: int = 0
    gray: int = 0
    flat: int = 0
    still: int = 0
    alike: int = 0
    first: Cells | None = None
    repeated: Cells | None = None
    gray_share: float = 0.0

    def add(self, frame: np.ndarray) -> None:
        """Count one frame, uint8 RGB (H, W, 3)."""
        if self.frames in (self.gray, self.flat, self.still, self.alike):  # the beginning is not over
            cells = cv2.resize(frame, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.int16)
            self.first = cells if self.first is None else self.first
            alike = self.frames == self.alike and largest_difference(cells, self.first) <= QUALITY_LEVELS
            if self.frames < 2:
                self.repeated = cells  # the second frame is often better than the keyframe before it
            self.still += alike and self.frames == self.still and self.is_repeated(cells)
            self.alike += alike
            self.flat += self.frames == self.flat and np.ptp(cells, axis=(0, 1)).max().item() <= FLAT_LEVELS
            if self.frames == self.gray:
                self.count_gray(cells)
        self.frames += 1

    def is_repeated(self, cells: Cells) -> bool:
        return self.repeated is not None and largest_difference(cells, self.repeated) <= STILL_LEVELS

    def count_gray(self, cells: Cells) -> None:
        share = float((np.abs(cells - DECODER_GRAY) <= GRAY_LEVELS).all(-1).mean())
        if share >= GRAY_SHARE:
            self.gray += 1
        elif share > self.gray_share / 2:
            self.gray = 0  # a scene that is gray itself, and changes slowly
        self.gray_share = share

    @property
    def beginning(self) -> tuple[str, int]:
        """What the clip begins with, GRAY, ONE_COLOUR or ONE_PICTURE, and for how many frames; ("", 0) if it begins as
        it should."""
        if 0 < self.gray < self.frames:
            return GRAY, self.gray
        if self.flat:
            return ONE_COLOUR, self.flat
        if 1 < self.frames == self.alike:
            return ONE_PICTURE, self.frames
        if self.still >= max(FEWEST_STILL, STILL_SHARE * self.frames):
            return ONE_PICTURE, self.still
        return "", 0


def largest_difference(a: Cells, b: Cells) -> int:
    return int(np.abs(a - b).max())
