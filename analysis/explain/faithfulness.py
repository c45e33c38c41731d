"""The faithfulness of an explanation of a clip, by deletion and insertion (Petsiuk et al. 2018).

Deletion replaces what the map ranks highest first: the score of the explained class should fall early. Insertion starts
from a clip that is all replaced and puts back what ranks highest first: the score should rise early. This is done for
places (the same in all frames), for frames, and for places in frames. The replacement is a clip too (`baseline_clip`),
because a black hole in a frame is unlike any video.

A map should beat two controls that know nothing of the clip: a random map, and a Gaussian in the middle.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from sth_core.network_contract import Network
from sth_core.precision import at_least_fp32

SPACE, TIME, SPACE_TIME = REMOVAL_WAYS = ("space", "time", "space and time")
DELETION, INSERTION = REMOVAL_DIRECTIONS = ("deletion", "insertion")
REMOVAL_STEPS = 6  # equal shares in which places are removed; frames are removed one by one
BLUR_SIGMA = 0.12  # sigma of the blur, as a share of the side
CENTRE_SIGMA = 0.25  # sigma of the centre prior, as a share of the side and of the clip's length


@dataclass(frozen=True)
class RemovalTest:
    """One way to remove and put back, and the baseline that replaces what is removed."""

    way: str
    direction: str
    baseline: str


# Two baselines for each way, as one alone may favour a method.
BASELINES_OF = {SPACE: ("blur", "mean"), TIME: ("neighbour", "frozen"), SPACE_TIME: ("blur", "frozen")}
REMOVAL_TESTS = tuple(
    RemovalTest(way, d, baseline) for way in REMOVAL_WAYS for d in REMOVAL_DIRECTIONS for baseline in BASELINES_OF[way]
)


def baseline_clip(clip: Float[Tensor, "T C H W"], baseline: str) -> Float[Tensor, "T C H W"]:
    """The clip without the information that a test removes: "blur" takes each frame's detail, "mean" leaves its mean
    colour, "neighbour" is the frame before it (for the first: after it), "frozen" the middle frame."""
    T, _, H, W = clip.shape
    if baseline == "blur":
        return blurred(clip, BLUR_SIGMA * min(H, W))
    if baseline == "mean":
        return clip.mean((2, 3), keepdim=True).expand_as(clip)
    if baseline == "neighbour":
        return clip[[min(1, T - 1), *range(T - 1)]]
    if baseline == "frozen":
        return clip[T // 2].expand_as(clip)
    raise ValueError(f"unknown baseline {baseline!r}; possible: blur, mean, neighbour, frozen")


def blurred(frames: Float[Tensor, "T C H W"], sigma: float) -> Float[Tensor, "T C H W"]:
    """Gaussian blur of each frame to three sigmas, mirrored at the edges."""
    from torchvision.transforms.v2.functional import gaussian_blur  # slow to import

    reach = min(round(3 * sigma), min(frames.shape[2:]) - 1)
    for kernel_size in ([2 * reach + 1, 1], [1, 2 * reach + 1]):  # by axis: a wide kernel is slow in 2D
        frames = gaussian_blur(frames, kernel_size, [sigma, sigma])
    return frames


def random_map(frames: int, height: int, width: int, seed: int) -> Float[Tensor, "T h w"]:
    """A control: a map (T, h, w) of uniform noise."""
    return torch.rand(frames, height, width, generator=torch.Generator().manual_seed(seed))


def centre_prior(frames: int, height: int, width: int) -> Float[Tensor, "T h w"]:
    """A control: a map (T, h, w) that is highest in the middle of the frame and of the clip."""
    at = [((torch.arange(n) + 0.5) / n - 0.5) / CENTRE_SIGMA for n in (frames, height, width)]
    t, y, x = (torch.exp(-(axis**2) / 2) for axis in at)
    return t[:, None, None] * y[:, None] * x


def kept_masks(
    maps: Float[Tensor, "T h w"], way: str, size: tuple[int, int], steps: int = REMOVAL_STEPS
) -> tuple[Float[Tensor, "N"], Bool[Tensor, "N T H W"]]:
    """Shares removed (N,), from 0 to 1, and the masks of what is then kept, highest values of the maps removed first.

    In space all frames have the same mask; in time a frame is kept or removed whole.
    """
    T = len(maps)
    if way == TIME:
        values, steps = maps.sum((1, 2))[:, None, None], T
    else:
        values = upsample_maps(maps.sum(0, keepdim=True) if way == SPACE else maps, size)
    order = values.flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    shares = torch.linspace(0, 1, steps + 1)
    masks = torch.stack([rank >= round(share * len(order)) for share in shares.tolist()])
    return shares, masks.unflatten(1, values.shape).expand(-1, T, *size)


def upsample_maps(maps: Float[Tensor, "T h w"], size: tuple[int, int]) -> Float[Tensor, "T H W"]:
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


@torch.inference_mode()
def target_scores(model: Network, clips: Float[Tensor, "N T C H W"], target: int, batch_size: int) -> np.ndarray:
    """The softmax score of class `target` for each clip (N,)."""
    scores = [at_least_fp32(model(some)).softmax(1)[:, target] for some in clips.split(batch_size)]
    return torch.cat(scores).cpu().double().numpy()


def removal_curve(
    model: Network, clip: Float[Tensor, "T C H W"], target: int, maps: Float[Tensor, "T h w"], test: RemovalTest,
    *, batch_size: int = 16,
) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:  # fmt: skip
    """Shares removed (deletion) or put back (insertion) (N,), and the softmax score of class `target` at each (N,)."""
    shares, kept = kept_masks(maps.to(clip.device), test.way, (clip.shape[2], clip.shape[3]))
    kept = ~kept if test.direction == INSERTION else kept
    clips = torch.where(kept[:, :, None], clip, baseline_clip(clip, test.baseline))  # N T C H W
    return shares.numpy(), target_scores(model, clips, target, batch_size)


def area_under_curve(shares: Float[np.ndarray, "N"], scores: Float[np.ndarray, "N"]) -> float:
    """The area under a curve from 0 to 1: the mean score over all shares."""
    return float(np.trapezoid(scores, shares))


def occlusion_drop(
    model: Network, clip: Float[Tensor, "T C H W"], target: int, *, batch_size: int = 16
) -> Float[np.ndarray, "T"]:
    """How far the score of class `target` falls when one frame is replaced by its neighbour."""
    hidden = torch.eye(len(clip), dtype=torch.bool, device=clip.device)[:, :, None, None, None]
    clips = torch.cat([clip[None], torch.where(hidden, baseline_clip(clip, "neighbour"), clip)])
    scores = target_scores(model, clips, target, batch_size)
    return scores[0] - scores[1:]
