"""Optical flow: computed between frames, or read from the folders that TSN, TSM and MMAction extract.

A field is uint8 (H, W, 2), x and y: v * 127 / bound + 128, clipped to 1..255, for v pixels a frame.
TSN's is v * 127.5 / bound + 127.5, which differs by one step at most.
"""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np

from sth_core.errors import UserError
from sth_core.files import read_object
from sth_core.stopping import raise_if_stopping
from sth_core.values import BadValue, Between, OneOf, check_fields
from sth_core.video.container import UnreadableVideo
from sth_core.video.images import NUMBERED, images_of, read_image

ALGORITHMS = ("dis", "tvl1")
TSN_BOUND = 20.0
THREAD_LOCAL = threading.local()
X_PREFIX, Y_PREFIX = (re.compile(rf"(.*){axis}_", re.IGNORECASE) for axis in "xy")


def flow_field(before: np.ndarray, after: np.ndarray, bound: float, algorithm: str = "dis") -> np.ndarray:
    """Dense optical flow between two frames (H, W, 3), as uint8 (H, W, 2); 128 is no motion.

    "dis" is DIS (Kroeger et al. 2016); "tvl1" (Zach et al. 2007) is TSN's, tens of times slower on a CPU.
    """
    raise_if_stopping()
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
    if algorithm == "tvl1":
        flow = cv2.optflow.DualTVL1OpticalFlow.create().calc(gray[0], gray[1], None)  # type: ignore[call-overload]
    else:
        flow = dis().calc(gray[0], gray[1], None)  # type: ignore[call-overload]
    return to_8_bits(flow * (127 / bound))


def dis() -> cv2.DISOpticalFlow:
    """One DIS per thread, which reuses its buffers from field to field.

    It computes at full resolution, as the default, a quarter of it, loses the outlines of small frames. One step of
    variational refinement instead of five takes half the time and gives the same outlines.
    """
    if not hasattr(THREAD_LOCAL, "dis"):
        THREAD_LOCAL.dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        THREAD_LOCAL.dis.setFinestScale(0)
        THREAD_LOCAL.dis.setVariationalRefinementIterations(1)
    return THREAD_LOCAL.dis


def to_8_bits(flow: np.ndarray) -> np.ndarray:
    """Displacements in units of one 8-bit step -> uint8, 1 to 255."""
    return np.clip(np.round(flow) + 128, 1, 255).astype(np.uint8)


@dataclass(frozen=True)
class FlowImages:
    """The extracted flow of one clip: pairs of gray images, or single ones with x in red and y in green."""

    folder: Path
    x: list[str]
    y: list[str]  # empty: x holds both

    def __len__(self) -> int:
        return len(self.x)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Fields (len(indices), H, W, 2) as they are stored."""
        fields = {i: self._field(i) for i in dict.fromkeys(map(int, indices))}
        if len({field.shape for field in fields.values()}) > 1:
            raise UnreadableVideo(f"{self.folder}: its images differ in size")
        return np.stack([fields[int(i)] for i in indices])

    def _field(self, i: int) -> np.ndarray:
        if not self.y:
            return read_image(self.folder / self.x[i], cv2.IMREAD_COLOR_RGB)[..., :2]
        x, y = (read_image(self.folder / names[i], cv2.IMREAD_GRAYSCALE) for names in (self.x, self.y))
        if x.shape != y.shape:
            raise UnreadableVideo(f"{self.folder}: {self.x[i]} and {self.y[i]} differ in size")
        return np.stack([x, y], -1)


def flow_images(folder: Path) -> FlowImages:
    """The flow images of a folder: flow_x_00001.jpg and flow_y_00001.jpg (TSN), x_00001.jpg and y_00001.jpg (MMAction),
    000001-x_00001.jpg and so on, or one RGB image for both (TSM).
    Raises UnreadableVideo: there are none of these, or an image of x or y lacks the other of the same number.
    """
    if not folder.is_dir():
        raise UnreadableVideo(f"{folder}: no such folder of optical flow")
    kinds = images_of(folder)
    for prefix, x in kinds.items():
        if match := X_PREFIX.fullmatch(prefix):
            y = next((names for other, names in kinds.items() if other.lower() == f"{match[1]}y_".lower()), [])
            if alone := unpaired(x, y):
                counts = f"{len(x)} images of flow in x and {len(y)} in y"
                raise UnreadableVideo(f"{folder}: {counts}; {alone} has no partner")
            return FlowImages(folder, x, y)
    for prefix, y in kinds.items():
        if Y_PREFIX.fullmatch(prefix):
            raise UnreadableVideo(f"{folder}: 0 images of flow in x and {len(y)} in y; {y[0]} has no partner")
    both = [names for prefix, names in kinds.items() if prefix.lower() == "flow_" or len(kinds) == 1]
    if not both:
        raise UnreadableVideo(f"{folder}: no optical flow in it (flow_x_00001.jpg, x_00001.jpg, flow_00001.jpg, ...)")
    return FlowImages(folder, both[0], [])


def unpaired(x: list[str], y: list[str]) -> str:
    """The first of the images of flow in x and in y that has no partner of its number; empty if all have."""
    by_number = [{int(NUMBERED.fullmatch(name)["number"]): name for name in names} for names in (x, y)]  # type: ignore[index]
    alone = by_number[0].keys() ^ by_number[1].keys()
    return next((names[min(alone)] for names in by_number if alone and min(alone) in names), "")


@dataclass(frozen=True)
class Extraction:
    """How flow was extracted: the contents of flow.json beside the clips' folders.

    `bound` is the largest displacement and `side` the short side, in pixels of the frames that flow was computed from.
    """

    algorithm: Annotated[str, OneOf(ALGORITHMS)] = "dis"
    bound: Annotated[float, Between(0, 10_000, above=True)] = TSN_BOUND
    side: Annotated[int, Between(1, 16_384)] = 256

    def __post_init__(self) -> None:
        check_fields(self)


def extraction_of(folder: Path) -> Extraction | None:
    """The flow.json of the nearest folder above a clip's folder of flow; None if there is none.
    Raises UserError: it is damaged."""
    file = next((above / "flow.json" for above in folder.parents if (above / "flow.json").is_file()), None)
    return read_extraction(file) if file else None


@lru_cache(maxsize=64)
def read_extraction(file: Path) -> Extraction:
    try:
        described = read_object(file)
        return Extraction(**{f.name: described[f.name] for f in fields(Extraction) if f.name in described})
    except BadValue as error:
        raise UserError(f"{file} is damaged ({error}); extract the flow again") from error
    except UserError as error:
        raise UserError(f"{error}; extract the flow again") from error
