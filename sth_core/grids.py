"""How the output of a layer lies over a clip: as (B, T', C, h, w), with T' steps of time and h x w cells, and back.

Networks lay out their features in different ways. A `Grid` names one; `to_grid` and `from_grid` copy no values.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
Cells = Float[Tensor, "B T C h w"]


class Grid(Protocol):
    """A layout of a layer's output: a tensor, or a tuple whose first item is one."""

    @property
    def aligned(self) -> bool:
        """Whether a cell sees the pixels that an overlay draws it over, not those around its first pixel."""

    def to_grid(self, output: Any) -> Cells:
        """The features of a layer's output. Raises ValueError: its shape is another one."""

    def from_grid(self, x: Cells, output: Any) -> Any:
        """The output with these features."""


@dataclass(frozen=True)
class ChannelsFirst:
    """(B, C, T', h, w), of 3D convolutions."""

    aligned: bool = False

    def to_grid(self, output: Any) -> Cells:
        return with_dimensions(output, 5).transpose(1, 2)

    def from_grid(self, x: Cells, output: Any) -> Any:
        return replaced(output, x.transpose(1, 2))


@dataclass(frozen=True)
class ChannelsLast:
    """(B, T', h, w, C), of Swin transformers."""

    aligned: bool = True

    def to_grid(self, output: Any) -> Cells:
        return with_dimensions(output, 5).movedim(-1, 2)

    def from_grid(self, x: Cells, output: Any) -> Any:
        return replaced(output, x.movedim(2, -1))


@dataclass(frozen=True)
class FramesAsImages:
    """(B*T', C, h, w), of networks of frames (TSN, TSM): the `steps` T' of a clip are adjacent."""

    steps: int
    aligned: bool = False

    def to_grid(self, output: Any) -> Cells:
        x = with_dimensions(output, 4)
        if len(x) % self.steps:
            raise ValueError(f"{len(x)} images, which are no clips of {self.steps}")
        return x.unflatten(0, (-1, self.steps))

    def from_grid(self, x: Cells, output: Any) -> Any:
        return replaced(output, x.flatten(0, 1))


@dataclass(frozen=True)
class Tokens:
    """(B, N, C), of transformers: `extra` tokens (a class token), then T' h w tokens of places.

    Time is the slowest of the three axes, or with `time_last` the fastest (TimeSformer).
    """

    steps: int
    height: int
    width: int
    extra: int = 0
    time_last: bool = False
    aligned: bool = True

    def to_grid(self, output: Any) -> Cells:
        x = with_dimensions(output, 3)
        T, h, w = self.steps, self.height, self.width
        if x.shape[1] != self.extra + T * h * w:
            raise ValueError(f"{x.shape[1]} tokens, not {self.extra} + {T} x {h} x {w}")
        places = x[:, self.extra :]
        if self.time_last:
            return places.unflatten(1, (h, w, T)).permute(0, 3, 4, 1, 2)
        return places.unflatten(1, (T, h, w)).permute(0, 1, 4, 2, 3)

    def from_grid(self, x: Cells, output: Any) -> Any:
        order = (0, 3, 4, 1, 2) if self.time_last else (0, 1, 3, 4, 2)
        places = x.permute(order).flatten(1, 3)
        return replaced(output, torch.cat([tensor_of(output)[:, : self.extra], places], 1) if self.extra else places)


@dataclass(frozen=True)
class SizedTokens:
    """((B, extra + T' h w, C), (T', h, w)), of torchvision's MViT, whose blocks say how many tokens there are."""

    extra: int = 1
    aligned: bool = False

    def to_grid(self, output: Any) -> Cells:
        T, h, w = output[1]
        return Tokens(T, h, w, extra=self.extra).to_grid(output)

    def from_grid(self, x: Cells, output: Any) -> Any:
        T, h, w = output[1]
        return Tokens(T, h, w, extra=self.extra).from_grid(x, output)


def tensor_of(output: Any) -> Any:
    return output[0] if isinstance(output, tuple | list) and output else output


def replaced(output: Any, x: Tensor) -> Any:
    """The output of a layer with x in place of its tensor, in the same memory layout: sums are rounded as before."""
    before = tensor_of(output)
    formats = [torch.contiguous_format, *[LAST[n] for n in (before.ndim,) if n in LAST]]
    same = next((one for one in formats if before.is_contiguous(memory_format=one)), None)
    x = x if same is None else x.contiguous(memory_format=same)
    return type(output)((x, *output[1:])) if type(output) in (tuple, list) else x


def with_dimensions(output: Any, count: int) -> Tensor:
    x = tensor_of(output)
    if not isinstance(x, Tensor) or x.ndim != count:
        given = f"a tensor {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise ValueError(f"{given}, not one of {count} dimensions")
    return x


def guess_grid(output: Any, clips: int, frames: int, side: int) -> Grid | None:
    """The grid of the output of a layer for so many `clips`, of so many frames and pixels a side, if its shape
    leaves only one; None if it is no grid of more than one cell. Raises ValueError: the shape leaves several."""
    x = tensor_of(output)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return None
    possible: list[Grid] = []
    if x.ndim == 4 and x.shape[0] % clips == 0:
        steps = x.shape[0] // clips
        possible = [FramesAsImages(steps)] if steps > 1 and is_picture(x.shape[2], x.shape[3], side) else []
    elif x.ndim == 5 and x.shape[0] == clips:
        if x.shape[2] <= frames and is_picture(x.shape[3], x.shape[4], side):
            possible.append(ChannelsFirst())
        if x.shape[1] <= frames and is_picture(x.shape[2], x.shape[3], side):
            possible.append(ChannelsLast())
    if len(possible) > 1:
        raise ValueError(f"its output {tuple(x.shape)} can be (B, C, T, h, w) or (B, T, h, w, C)")
    return possible[0] if possible else None


def is_picture(height: int, width: int, side: int) -> bool:
    """Whether so many cells can be those of a square frame."""
    return 1 < height == width <= side
