"""Frame networks: 2D backbones whose 3 x 3 convolutions are made by the caller (Table 1).

Every module takes (B*T, C, H, W) and a `Tap`. Names follow torchvision's ResNet, so that its
weights fit by name.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from sth_core.sth_conv import UNOBSERVED, Tap

# (in_channels, out_channels, stride, layer name) -> a module called as conv(x, tap)
MakeConv = Callable[[int, int, int, str], nn.Module]


class Downsample(nn.Sequential):
    """The projection of a residual block whose shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions (ResNet-18 and -34); both are made by `make_conv`.

    Table 1 gives bottleneck blocks only; that both convolutions of a basic block are replaced
    follows from "replacing the 1 x 3 x 3 convolution" (Section 4.2).
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, make_conv: MakeConv, name: str) -> None:
        super().__init__()
        self.name = name
        self.conv1 = make_conv(in_channels, width, stride, f"{name}.conv1")
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = make_conv(width, width, 1, f"{name}.conv2")
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = (
            Downsample(in_channels, width, stride) if stride > 1 or in_channels != width else nn.Identity()
        )

    def forward(self, x: Tensor, tap: Tap) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x, tap)))
        y = self.bn2(self.conv2(y, tap))
        return tap.features(self.name, F.relu(y + self.downsample(x)))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (made by `make_conv`), 1 x 1: the STH block of Section 3.4."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, make_conv: MakeConv, name: str) -> None:
        super().__init__()
        self.name = name
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = make_conv(width, width, stride, f"{name}.conv2")
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = (
            Downsample(in_channels, out_channels, stride)
            if stride > 1 or in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor, tap: Tap) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y, tap)))
        y = self.bn3(self.conv3(y))
        return tap.features(self.name, F.relu(y + self.downsample(x)))


class ResNet(nn.Module):
    """ResNet (He et al. 2016) up to its pooled features; `width` is the first stage's (64 there)."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        in_channels: int,
        width: int,
        make_conv: MakeConv,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)  # 1 x 7 x 7 in Table 1: never STH
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage, depth in enumerate(depths):
            blocks = []
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(block(channels, width * 2**stage, stride, make_conv, f"layer{stage + 1}.{i}"))
                channels = width * 2**stage * block.expansion
            self.add_module(f"layer{stage + 1}", nn.ModuleList(blocks))
        self.num_features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        """(B*T, C, H, W) -> features (B*T, num_features)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            for block in self.get_submodule(stage).children():
                x = block(x, tap)
        return x.mean((2, 3))


RESNETS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
