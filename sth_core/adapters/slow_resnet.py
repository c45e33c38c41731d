"""pytorchvideo's `slow_r50`: the slow pathway of SlowFast (Feichtenhofer et al. 2019) as a network of its own.

Its parts have pytorchvideo's names, so that its weights fit as they are.
"""

from collections import OrderedDict

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

DEPTHS, TEMPORAL_KERNELS = (3, 4, 6, 3), (1, 1, 3, 3)  # of ResNet-50's stages
POOL = 7  # pixels a side that pytorchvideo's last pooling covers at once


class SlowResNet50(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = [SlowStem()]
        channels = 64
        for number, (depth, kernel) in enumerate(zip(DEPTHS, TEMPORAL_KERNELS, strict=True)):
            inner, stride = 64 * 2**number, 2 if number else 1
            blocks.append(SlowStage(channels, inner, depth, kernel, stride))
            channels = 4 * inner
        self.blocks = nn.ModuleList([*blocks, SlowHead(channels, classes)])

    def forward(self, clips: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        for block in self.blocks:
            clips = block(clips)
        return clips


class SlowStem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 64, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
        self.norm = nn.BatchNorm3d(64)

    def forward(self, x: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B 64 T h w"]:
        return F.max_pool3d(self.norm(self.conv(x)).relu(), (1, 3, 3), (1, 2, 2), (0, 1, 1))


class SlowStage(nn.Module):
    def __init__(self, channels: int, inner: int, depth: int, kernel: int, stride: int) -> None:
        super().__init__()
        first = SlowBottleneck(channels, inner, kernel, stride, widens=True)
        rest = [SlowBottleneck(4 * inner, inner, kernel, 1, widens=False) for _ in range(depth - 1)]
        self.res_blocks = nn.ModuleList([first, *rest])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.res_blocks:
            x = block(x)
        return x


class SlowBottleneck(nn.Module):
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


class SlowHead(nn.Module):
    """The mean of the logits of all places at which the pooling fits; of a small clip it covers all."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, classes)

    def forward(self, x: Float[Tensor, "B C T h w"]) -> Float[Tensor, "B K"]:
        T, h, w = x.shape[2:]
        pooled = F.avg_pool3d(x, (T, min(h, POOL), min(w, POOL)), 1)
        return self.proj(pooled.movedim(1, -1)).mean((1, 2, 3))
