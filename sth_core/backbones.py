"""Frame networks: 2D backbones whose 3 x 3 convolutions are made by the caller (Table 1).

Every block takes (B*T, C, H, W) and a `Tap`. Names follow torchvision's, so that its weights fit by name. The first
convolution, which reads pixels, is never replaced.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from sth_core.convolution import UNOBSERVED, Tap


class Maker(Protocol):
    """Makes the variable parts of a backbone: its 3 x 3 convolutions, and the beginning of a residual branch."""

    def conv(self, in_channels: int, out_channels: int, *, stride: int, name: str, groups: int = 1) -> nn.Module:
        """A convolution that keeps the contract `VideoConv`; `name` is its path in the backbone."""

    def entry(self) -> nn.Module:
        """The first module of a residual branch: identity, or TSM's shift."""


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The identity of a residual block, or a projection where the shape changes."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions (ResNet-18 and -34); both are made by `make`.

    Table 1 shows bottleneck blocks only; both are replaced by "replacing the 1 x 3 x 3 convolution" (Section 4.2).
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, make: Maker, entry: nn.Module, name: str) -> None:
        super().__init__()
        self.name, self.entry = name, entry
        self.conv1 = make.conv(in_channels, width, stride=stride, name=f"{name}.conv1")
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        self.conv2 = make.conv(width, width, stride=1, name=f"{name}.conv2")
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(in_channels, width, stride)

    def forward(self, x: Tensor, tap: Tap) -> Tensor:
        y = self.act1(self.bn1(self.conv1(self.entry(x), tap)))
        y = self.bn2(self.conv2(y, tap))
        return tap.features(self.name, F.relu(y + self.downsample(x)))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (made by `make`), 1 x 1: the STH block of Section 3.4."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, make: Maker, entry: nn.Module, name: str) -> None:
        super().__init__()
        self.name, self.entry = name, entry
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = make.conv(width, width, stride=stride, name=f"{name}.conv2")
        self.bn2 = nn.BatchNorm2d(width)
        self.act2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor, tap: Tap) -> Tensor:
        y = F.relu(self.bn1(self.conv1(self.entry(x))))
        y = self.act2(self.bn2(self.conv2(y, tap)))
        y = self.bn3(self.conv3(y))
        return tap.features(self.name, F.relu(y + self.downsample(x)))


class ResNet(nn.Module):
    """ResNet (He et al. 2016) up to its pooled features; `width` is the first stage's (64 there)."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: tuple[int, ...], in_channels: int, width: int, make: Maker
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)  # 1 x 7 x 7 in Table 1
        self.bn1 = nn.BatchNorm2d(width)
        shift_every = 2 if depths[2] >= 23 else 1  # TSM: in ResNet-101 every second block shifts
        channels = width
        for stage, depth in enumerate(depths):
            blocks = []
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                entry = nn.Identity() if i % shift_every else make.entry()
                blocks.append(block(channels, width * 2**stage, stride, make, entry, f"layer{stage + 1}.{i}"))
                channels = width * 2**stage * block.expansion
            self.add_module(f"layer{stage + 1}", nn.ModuleList(blocks))
        self.num_features = channels
        initialise_plain_convolutions(self)

    def stage_of(self, name: str) -> str:
        """The stage that the module `name` belongs to."""
        return name.split(".")[0]

    def forward(self, x: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        """(B*T, C, H, W) -> features (B*T, num_features)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            for block in getattr(self, stage).children():
                x = block(x, tap)
        return x.mean((2, 3))


class ConvNorm(nn.ModuleList):
    """A convolution and its batch norm, numbered as in torchvision's MobileNetV2."""

    def forward(self, x: Tensor, *tap: Tap) -> Tensor:
        conv, norm = self
        return norm(conv(x, *tap))


def conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> ConvNorm:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    return ConvNorm([conv, nn.BatchNorm2d(out_channels)])


class InvertedResidual(nn.Module):
    """1 x 1 (expand), depthwise 3 x 3 (made by `make`), 1 x 1 (project); residual where shapes allow."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expansion: int, make: Maker, name: str
    ) -> None:
        super().__init__()
        self.name, hidden = name, in_channels * expansion
        self.residual = stride == 1 and in_channels == out_channels
        self.entry = make.entry() if self.residual else nn.Identity()
        self.expands = expansion > 1
        middle = make.conv(hidden, hidden, stride=stride, name=f"{name}.conv.{int(self.expands)}.0", groups=hidden)
        layers = [conv_norm(in_channels, hidden, 1)] if self.expands else []
        layers.append(ConvNorm([middle, nn.BatchNorm2d(hidden)]))
        self.conv = nn.ModuleList(
            [*layers, nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)]
        )

    def forward(self, x: Tensor, tap: Tap) -> Tensor:
        y = self.entry(x)
        if self.expands:
            y = F.relu6(self.conv[0](y))
        y = F.relu6(self.conv[-3](y, tap))
        y = self.conv[-1](self.conv[-2](y))
        return tap.features(self.name, x + y if self.residual else y)


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al. 2018) up to its pooled features; `width` 64 is its multiplier 1.0."""

    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    # expansion, channels, blocks, stride of the first

    def __init__(self, in_channels: int, width: int, make: Maker) -> None:
        super().__init__()
        channels = make_divisible(32 * width / 64)
        layers: list[nn.Module] = [conv_norm(in_channels, channels, 3, stride=2)]
        self.stages = [0]
        for stage, (expansion, out, depth, first_stride) in enumerate(self.STAGES, 1):
            out_channels = make_divisible(out * width / 64)
            for stride in (first_stride, *[1] * (depth - 1)):
                name = f"features.{len(layers)}"
                layers.append(InvertedResidual(channels, out_channels, stride, expansion, make, name))
                channels = out_channels
            self.stages += [stage] * depth
        self.num_features = make_divisible(1280 * max(1.0, width / 64))
        layers.append(conv_norm(channels, self.num_features, 1))
        self.stages.append(len(self.STAGES) + 1)
        self.features = nn.ModuleList(layers)
        initialise_plain_convolutions(self)

    def stage_of(self, name: str) -> str:
        return f"stage{self.stages[int(name.split('.')[1])]}"

    def forward(self, x: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        """(B*T, C, H, W) -> features (B*T, num_features)."""
        x = F.relu6(self.features[0](x))
        for block in self.features[1:-1]:
            x = block(x, tap)
        return F.relu6(self.features[-1](x)).mean((2, 3))


class VGG16(nn.Module):
    """VGG-16 (Simonyan and Zisserman 2015) up to the second hidden layer of its classifier.

    The paper names VGG without details. Batch norm is needed: alpha_S + alpha_T = 1 halves the output of a layer.
    """

    STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions

    def __init__(self, in_channels: int, width: int, make: Maker) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.stages: list[int] = []
        self.shift = make.entry()
        self.replaced: set[int] = set()  # numbers of the layers that `make` made
        channels = in_channels
        for stage, (out, depth) in enumerate(self.STAGES, 1):
            out_channels = out * width // 64
            for _ in range(depth):
                if layers:
                    self.replaced.add(len(layers))
                    conv = make.conv(channels, out_channels, stride=1, name=f"features.{len(layers)}")
                else:
                    conv = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
                layers += [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]
                channels = out_channels
            layers.append(nn.MaxPool2d(2))
            self.stages += [stage] * (3 * depth + 1)
        self.features = nn.ModuleList(layers)
        self.num_features = 4096 * width // 64
        hidden = self.num_features
        self.classifier = nn.ModuleDict({"0": nn.Linear(channels * 49, hidden), "3": nn.Linear(hidden, hidden)})
        initialise_plain_convolutions(self)

    def stage_of(self, name: str) -> str:
        return "classifier" if name.startswith("classifier") else f"stage{self.stages[int(name.split('.')[1])]}"

    def forward(self, x: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        """(B*T, C, H, W) -> features (B*T, num_features)."""
        for i, layer in enumerate(self.features):
            if i in self.replaced:
                x = layer(self.shift(x), tap)
            elif isinstance(layer, nn.ReLU):
                x = tap.features(f"features.{i}", layer(x))
            else:
                x = layer(x)
        x = F.adaptive_avg_pool2d(x, 7).flatten(1)
        for hidden in self.classifier.values():
            x = F.dropout(F.relu(hidden(x)), 0.5, self.training)
        return x


def make_divisible(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, at least 8 (MobileNet's rounding)."""
    return max(8, int(channels + 4) // 8 * 8)


def initialise_plain_convolutions(backbone: nn.Module) -> None:
    """He initialisation of the plain 2D convolutions; the others initialise themselves."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


Backbone = ResNet | MobileNetV2 | VGG16
BACKBONES: dict[str, Callable[[int, int, Maker], Backbone]] = {
    "resnet18": partial(ResNet, BasicBlock, (2, 2, 2, 2)),
    "resnet34": partial(ResNet, BasicBlock, (3, 4, 6, 3)),
    "resnet50": partial(ResNet, Bottleneck, (3, 4, 6, 3)),
    "resnet101": partial(ResNet, Bottleneck, (3, 4, 23, 3)),
    "mobilenet_v2": MobileNetV2,
    "vgg16": VGG16,
}
