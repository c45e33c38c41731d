"""Is an explanation of a clip true? Remove what it points at, and see whether the network minds.

Deletion: what the map ranks highest is replaced first, and the score of the explained class should fall early.
Insertion: from a clip that is all replaced, what ranks highest is put back first, and the score should rise early
(Petsiuk et al. 2018). Video asks it three ways: of places (the same in all frames), of frames, and of places in frames.
What stands in for the removed is a clip too (`BASELINES`): a hole in a picture is no video.

A map has to beat two that know nothing: a random one, and the prior that what matters is in the middle.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sth_core.network import VideoNetwork

SPACE, TIME, SPACE_TIME = REMOVAL_WAYS = ("space", "time", "space and time")
DELETION, INSERTION = DIRECTIONS = ("deletion", "insertion")
STEPS = 6  # equal shares in which places are removed; frames are removed one by one
BLUR = 0.12  # sigma of the blur, as a share of the side
CENTRE = 0.25  # sigma of the centre prior, as a share of the side and of the clip's length


@dataclass(frozen=True)
class RemovalTest:
    """One way to remove and put back, with what stands in for the removed."""

    way: str
    direction: str
    baseline: str

    @property
    def name(self) -> str:
        return f"{self.direction} in {self.way}, {self.baseline}"


# Two stand-ins for each way: one alone may be the one that favours a method.
BASELINES_OF = {SPACE: ("blur", "mean"), TIME: ("neighbour", "frozen"), SPACE_TIME: ("blur", "frozen")}
TESTS = tuple(
    RemovalTest(way, d, baseline) for way in REMOVAL_WAYS for d in DIRECTIONS for baseline in BASELINES_OF[way]
)


def baseline_clip(clip: Tensor, baseline: str) -> Tensor:
    """A clip (T, C, H, W) in which nothing of a kind is left to see.

    blur: each frame without its detail; mean: each frame's mean colour; neighbour: each frame is the one before
    it, the first the one after; frozen: every frame is the middle one.
    """
    T, _, H, W = clip.shape
    if baseline == "blur":
        return blurred(clip, BLUR * min(H, W))
    if baseline == "mean":
        return clip.mean((2, 3), keepdim=True).expand_as(clip)
    if baseline == "neighbour":
        return clip[[min(1, T - 1), *range(T - 1)]]
    if baseline == "frozen":
        return clip[T // 2].expand_as(clip)
    raise ValueError(f"unknown baseline {baseline!r}; possible: blur, mean, neighbour, frozen")


def blurred(frames: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (N, C, H, W), mirrored at the edges."""
    reach = min(round(3 * sigma), min(frames.shape[2:]) - 1)
    at = torch.arange(-reach, reach + 1, dtype=frames.dtype, device=frames.device)
    kernel = (-(at**2) / (2 * sigma**2)).exp()
    kernel = (kernel / kernel.sum()).expand(frames.shape[1], 1, 1, -1)
    for k, padding in ((kernel, (reach, reach, 0, 0)), (kernel.transpose(2, 3), (0, 0, reach, reach))):
        frames = F.conv2d(F.pad(frames, padding, mode="reflect"), k, groups=frames.shape[1])
    return frames


def random_map(frames: int, height: int, width: int, seed: int) -> Tensor:
    """A map (T, h, w) that knows nothing."""
    return torch.rand(frames, height, width, generator=torch.Generator().manual_seed(seed))


def centre_prior(frames: int, height: int, width: int) -> Tensor:
    """(T, h, w): highest in the middle of the picture and of the clip."""
    gaussians = [torch.exp(-((((torch.arange(n) + 0.5) / n - 0.5) / CENTRE) ** 2) / 2) for n in (frames, height, width)]
    return gaussians[0][:, None, None] * gaussians[1][:, None] * gaussians[2]


def kept_masks(maps: Tensor, way: str, size: tuple[int, int], steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """What is left of a clip after each share of it was removed, highest values of maps (T, h, w) first.

    Returns:
        Shares removed (N,), from 0 to 1, and masks bool (N, T, H, W) of what is kept; in space all frames' are the
        same, in time they are a frame's whole.
    """
    T = len(maps)
    if way == TIME:
        values, steps = maps.sum((1, 2))[:, None, None], T
    elif way == SPACE:
        values = upsample_maps(maps.sum(0, keepdim=True), size)
    else:
        values = upsample_maps(maps, size)
    order = values.flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    shares = torch.linspace(0, 1, steps + 1)
    masks = torch.stack([rank >= round(share * len(order)) for share in shares.tolist()])
    return shares, masks.unflatten(1, values.shape).expand(-1, T, *size)


def upsample_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


@torch.inference_mode()
def removal_curve(
    model: VideoNetwork,
    clip: Tensor,
    target: int,
    maps: Tensor,
    test: RemovalTest,
    batch_size: int = 16,
    steps: int = STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Shares removed (deletion) or put back (insertion) (N,), and the softmax score of class `target` at each (N,)."""
    shares, kept = kept_masks(maps.to(clip.device), test.way, (clip.shape[2], clip.shape[3]), steps)
    if test.direction == INSERTION:
        kept = ~kept
    instead = baseline_clip(clip, test.baseline)
    clips = torch.where(kept[:, :, None], clip, instead)  # N T C H W
    scores = torch.cat([model(some).softmax(1)[:, target] for some in clips.split(batch_size)])
    return shares.numpy(), scores.cpu().double().numpy()


def area_under_curve(shares: np.ndarray, scores: np.ndarray) -> float:
    """The area under a curve from 0 to 1: the mean score while things are removed or put back."""
    return float(np.trapezoid(scores, shares))


@torch.inference_mode()
def occlusion_drop(model: VideoNetwork, clip: Tensor, target: int, batch_size: int = 16) -> np.ndarray:
    """How far the score of class `target` falls when each single frame is replaced by its neighbour (T,)."""
    T = len(clip)
    instead = baseline_clip(clip, "neighbour")
    one = torch.eye(T, dtype=torch.bool, device=clip.device)[:, :, None, None, None]
    clips = torch.cat([clip[None], torch.where(one, instead, clip)])
    scores = torch.cat([model(some).softmax(1)[:, target] for some in clips.split(batch_size)]).cpu().double().numpy()
    return scores[0] - scores[1:]
