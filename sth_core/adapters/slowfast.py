"""SlowFast (Feichtenhofer et al. 2019), and its slow pathway as a network of its own, pytorchvideo's `slow_r50`.

Their parts have pytorchvideo's names, so that its weights fit as they are.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import count

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

DEPTHS, TEMPORAL_KERNELS = (3, 4, 6, 3), (1, 1, 3, 3)  # of ResNet-50's stages
SLOW, FAST = 0, 1
CHANNELS, STEM_KERNELS = (64, 8), (1, 5)  # of the slow and of the fast pathway
FUSED = 2  # channels that a lateral connection has for each of the fast pathway
POOL = 7  # pixels a side that pytorchvideo's last pooling covers at once
Kernels = Sequence[Sequence[int]]  # the temporal size of the first convolution of each block of each stage
HEAD = "blocks.6.proj.weight"
# MMAction2's names of SlowFast's tensors to pytorchvideo's, one after another.
OF_MMACTION = (
    (r"backbone\.slow_path\.conv1_lateral\.", "blocks.0.multipathway_fusion."),
    (r"backbone\.slow_path\.layer(\d)_lateral\.", r"blocks.\1.multipathway_fusion."),
    (r"fusion\.conv\.", "fusion.conv_fast_to_slow."),
    (r"backbone\.(slow|fast)_path\.conv1\.", r"blocks.0.multipathway_blocks.\1."),
    (r"backbone\.(slow|fast)_path\.layer(\d)\.", r"blocks.\2.multipathway_blocks.\1.res_blocks."),
    (r"blocks\.slow\.", f"blocks.{SLOW}."),
    (r"blocks\.fast\.", f"blocks.{FAST}."),
    (r"\.downsample\.(conv|bn)\.", r".branch1_\1."),
    (r"\.conv1\.(conv|bn)\.", r".branch2.\1_a."),
    (r"\.conv2\.(conv|bn)\.", r".branch2.\1_b."),
    (r"\.conv3\.(conv|bn)\.", r".branch2.\1_c."),
    (r"(?<=[._])bn(?=[._])", "norm"),
    (r"cls_head\.fc_cls\.", "blocks.6.proj."),
)


class SlowResNet50(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = [ResNetStem(CHANNELS[SLOW], STEM_KERNELS[SLOW])]
        channels = CHANNELS[SLOW]
        for stage, (depth, kernel) in enumerate(zip(DEPTHS, TEMPORAL_KERNELS, strict=True)):
            inner = CHANNELS[SLOW] * 2**stage
            blocks.append(ResNetStage(channels, inner, [kernel] * depth, stride=2 if stage else 1))
            channels = 4 * inner
        self.blocks = nn.ModuleList([*blocks, PooledHead(channels, classes, POOL)])

    def forward(self, clips: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        for block in self.blocks:
            clips = block(clips)
        return clips


class SlowFast(nn.Module):
    """Takes the frames of the fast pathway, of which the slow one sees those at `slow_frames`.

    Args:
        kernels: of the slow and of the fast pathway.
        slow_frames: n of the T frames; n divides T.
        fusion_kernel: the temporal size of the lateral connections from the fast to the slow pathway.
        fusion_norm: whether they have a batch norm and a ReLU, as in pytorchvideo; MMAction2's have none.
        pool: pixels a side that the last pooling covers at once; None for all.
    """

    def __init__(
        self, classes: int, *, frames: int, slow_frames: Sequence[int], kernels: tuple[Kernels, Kernels],
        fusion_kernel: int, fusion_norm: bool, pool: int | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.slow_frames = list(slow_frames)
        ratio = frames // len(self.slow_frames)

        def fusion(channels: int) -> LateralConnection:
            return LateralConnection(channels, fusion_kernel, ratio, norm=fusion_norm)

        stems = [ResNetStem(*of_pathway) for of_pathway in zip(CHANNELS, STEM_KERNELS, strict=True)]
        blocks: list[nn.Module] = [TwoPathways(stems, fusion(CHANNELS[FAST]))]
        slow, fast = CHANNELS
        for stage, of_stage in enumerate(zip(*kernels, strict=True)):
            entering = (slow + FUSED * fast, fast)
            inner = [channels * 2**stage for channels in CHANNELS]
            sizes = zip(entering, inner, of_stage, strict=True)
            stages = [ResNetStage(*size, stride=2 if stage else 1) for size in sizes]
            slow, fast = (4 * channels for channels in inner)
            last = stage == len(kernels[SLOW]) - 1
            blocks.append(TwoPathways(stages, None if last else fusion(fast)))
        self.blocks = nn.ModuleList([*blocks, nn.Identity(), PooledHead(slow + fast, classes, pool)])

    def forward(self, clips: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        *pathways, _, head = self.blocks
        slow, fast = clips[:, :, self.slow_frames], clips
        for block in pathways:
            slow, fast = block(slow, fast)
        return head(slow, fast)


class TwoPathways(nn.Module):
    """A part of both pathways, after which the slow one is joined by what the fast one has computed."""

    def __init__(self, parts: Sequence[nn.Module], fusion: nn.Module | None) -> None:
        super().__init__()
        self.multipathway_blocks = nn.ModuleList(parts)
        self.multipathway_fusion = fusion

    def forward(self, slow: Tensor, fast: Tensor) -> tuple[Tensor, Tensor]:
        fast = self.multipathway_blocks[FAST](fast)
        slow = self.multipathway_blocks[SLOW](slow)
        return (
            slow if self.multipathway_fusion is None else torch.cat([slow, self.multipathway_fusion(fast)], 1)
        ), fast


class LateralConnection(nn.Module):
    def __init__(self, channels: int, kernel: int, ratio: int, *, norm: bool) -> None:
        super().__init__()
        size, stride, padding = (kernel, 1, 1), (ratio, 1, 1), (kernel // 2, 0, 0)
        self.conv_fast_to_slow = nn.Conv3d(channels, FUSED * channels, size, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(FUSED * channels) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_fast_to_slow(x)
        return x if self.norm is None else self.norm(x).relu()


class ResNetStem(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, channels, (kernel, 7, 7), (1, 2, 2), (kernel // 2, 3, 3), bias=False)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B C T h w"]:
        return F.max_pool3d(self.norm(self.conv(x)).relu(), (1, 3, 3), (1, 2, 2), (0, 1, 1))


class ResNetStage(nn.Module):
    def __init__(self, channels: int, inner: int, kernels: Sequence[int], stride: int) -> None:
        super().__init__()
        first = Bottleneck3d(channels, inner, kernels[0], stride, widens=True)
        rest = [Bottleneck3d(4 * inner, inner, kernel, 1, widens=False) for kernel in kernels[1:]]
        self.res_blocks = nn.ModuleList([first, *rest])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.res_blocks:
            x = block(x)
        return x


class Bottleneck3d(nn.Module):
    def __init__(self, channels: int, inner: int, kernel: int, stride: int, *, widens: bool) -> None:
        super().__init__()
        if widens:
            self.branch1_conv: nn.Module | None = nn.Conv3d(channels, 4 * inner, 1, (1, stride, stride), bias=False)
            self.branch1_norm: nn.Module | None = nn.BatchNorm3d(4 * inner)
        else:
            self.branch1_conv = self.branch1_norm = None
        a = nn.Conv3d(channels, inner, (kernel, 1, 1), padding=(kernel // 2, 0, 0), bias=False)
        b = nn.Conv3d(inner, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        c = nn.Conv3d(inner, 4 * inner, 1, bias=False)
        parts = {
            "conv_a": a, "norm_a": nn.BatchNorm3d(inner), "act_a": nn.ReLU(), "conv_b": b,
            "norm_b": nn.BatchNorm3d(inner), "act_b": nn.ReLU(), "conv_c": c, "norm_c": nn.BatchNorm3d(4 * inner),
        }  # fmt: skip
        self.branch2 = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.branch1_conv is not None and self.branch1_norm is not None:
            shortcut = self.branch1_norm(self.branch1_conv(x))
        return (shortcut + self.branch2(x)).relu()


class PooledHead(nn.Module):
    """The mean of the logits of all places at which the pooling fits; of a small clip it covers all."""

    def __init__(self, channels: int, classes: int, pool: int | None) -> None:
        super().__init__()
        self.pool = pool
        self.proj = nn.Linear(channels, classes)

    def forward(self, *pathways: Float[Tensor, "B _ _ h w"]) -> Float[Tensor, "B K"]:
        pooled = torch.cat([self.pooled(x) for x in pathways], 1)
        return self.proj(pooled.movedim(1, -1)).mean((1, 2, 3))

    def pooled(self, x: Float[Tensor, "B C T h w"]) -> Float[Tensor, "B C 1 _ _"]:
        T, h, w = x.shape[2:]
        return F.avg_pool3d(x, (T, min(h, self.pool or h), min(w, self.pool or w)), 1)


def pytorchvideo_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MMAction2's weights of a SlowFast by pytorchvideo's names. Its classifier takes the fast pathway's features
    first, pytorchvideo's the slow one's."""
    found = {}
    for name, weight in weights.items():
        for pattern, new in OF_MMACTION:
            name = re.sub(pattern, new, name)
        found[name] = weight
    head, fast = found[HEAD].flatten(1), 4 * CHANNELS[FAST] * 2 ** (len(DEPTHS) - 1)
    return found | {HEAD: torch.cat([head[:, fast:], head[:, :fast]], 1)}


def temporal_kernels(weights: Mapping[str, Tensor], pathway: int) -> list[list[int]]:
    """The temporal size of the first convolution of each block of each stage of a pathway."""
    found = []
    for stage in range(len(DEPTHS)):
        block = f"blocks.{stage + 1}.multipathway_blocks.{pathway}.res_blocks.{{}}.branch2.conv_a.weight"
        depth = next(i for i in count() if block.format(i) not in weights)
        found.append([temporal_size(weights[block.format(i)]) for i in range(depth)] or [1])
    return found


def temporal_size(weight: Tensor) -> int:
    """Of a 3D convolution; 1 of a weight of another shape, which will not fit."""
    return max(1, weight.shape[2]) if weight.ndim == 5 else 1
