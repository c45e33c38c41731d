"""create_model: backbone x convolution x TSN consensus (Table 1)."""

from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from sth_core.backbones import BACKBONES
from sth_core.baselines import InflatedConv, SeparableConv, SpatialConv, TemporalShift
from sth_core.errors import UserError
from sth_core.sth_conv import UNOBSERVED, DepthwiseSTHConv, HybridConv, STHConv, Tap
from sth_core.video.modality import CHANNELS

CONVS = ("sth", "sth_merge", "2d", "tsm", "2plus1d_sequential", "2plus1d_parallel", "3d")


@dataclass(frozen=True)
class ModelConfig:
    """All that `create_model` needs to build the same network again."""

    backbone: str
    num_classes: int
    frames: int = 8
    conv: str = "sth"
    temporal_fraction: float = 1 / 4
    attention: bool = True
    dilations: tuple[int, ...] = (1,)
    modality: str = "rgb"
    width: int = 64
    dropout: float = 0.5


@dataclass(frozen=True)
class Layer:
    """A layer that has attention: its place in the network's order, its name and its stage."""

    index: int
    name: str
    stage: str


class AttentionRecorder(Tap):
    """Keeps each layer's alpha (B, 2, C_out), in the order of the layers."""

    def __init__(self) -> None:
        self.recorded: dict[str, Tensor] = {}

    def attention(self, layer: str, alpha: Tensor) -> Tensor:
        self.recorded[layer] = alpha
        return alpha


class FeatureRecorder(Tap):
    """Keeps the block outputs (B*T, C, H, W); with `layers`, only of those blocks."""

    def __init__(self, layers: tuple[str, ...] | None = None) -> None:
        self.layers = layers
        self.recorded: dict[str, Tensor] = {}

    def features(self, layer: str, x: Tensor) -> Tensor:
        if self.layers is None or layer in self.layers:
            self.recorded[layer] = x
        return x


class VideoNetwork(nn.Module):
    """A frame network, a classifier for each frame, and the mean of their logits (TSN's consensus)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = BACKBONES[config.backbone](CHANNELS[config.modality], config.width, ConvMaker(config))
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(self.backbone.num_features, config.num_classes)
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)

    @property
    def attention_layers(self) -> list[Layer]:
        """The layers that have alpha_S and alpha_T, in forward order; empty without attention."""
        convs = [m for m in self.modules() if isinstance(m, HybridConv) and m.integration is not None]
        return [Layer(i, conv.name, self.backbone.stage_of(conv.name)) for i, conv in enumerate(convs)]

    def forward(self, clips: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        """clips (B, T, C, H, W) float -> logits (B, num_classes).

        Raises:
            ValueError: the clips have not the shape that the network was built for.
        """
        T, C = self.config.frames, CHANNELS[self.config.modality]
        if clips.ndim != 5 or clips.shape[1:3] != (T, C):
            raise ValueError(
                f"this network takes clips (B, {T}, {C}, H, W) ({self.config.modality}), got {tuple(clips.shape)}"
            )
        features = self.backbone(clips.flatten(0, 1), tap)  # B*T F
        logits = self.fc(self.dropout(features))
        return logits.unflatten(0, (-1, T)).mean(1)

    def forward_with_attention(self, clips: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """As `forward`, and {layer name: alpha (B, 2, C_out)}: [:, 0] alpha_S, [:, 1] alpha_T."""
        tap = AttentionRecorder()
        return self(clips, tap), tap.recorded


class ConvMaker:
    """Makes the backbone's 3 x 3 convolutions by the config; dilations alternate over them (Table 8)."""

    def __init__(self, config: ModelConfig) -> None:
        self.config, self.made = config, 0

    def entry(self) -> nn.Module:
        return TemporalShift(self.config.frames) if self.config.conv == "tsm" else nn.Identity()

    def conv(self, in_channels: int, out_channels: int, stride: int, name: str, groups: int = 1) -> nn.Module:
        c = self.config
        dilation = c.dilations[self.made % len(c.dilations)]
        self.made += 1
        shape = (in_channels, out_channels, stride, dilation)
        if c.conv in ("2d", "tsm"):
            return SpatialConv(*shape, groups)
        if c.conv == "3d":
            return InflatedConv(*shape, groups, c.frames)
        if c.conv in ("2plus1d_sequential", "2plus1d_parallel"):
            return SeparableConv(*shape, groups, c.frames, parallel=c.conv == "2plus1d_parallel")
        variant = "merge" if c.conv == "sth_merge" else "hybrid"
        rest = (c.temporal_fraction, variant, c.attention, c.frames, name)
        if groups == in_channels > 1:
            return DepthwiseSTHConv(in_channels, stride, dilation, *rest)
        return STHConv(in_channels, out_channels, stride, dilation, *rest)


def create_model(
    backbone: str,
    num_classes: int,
    frames: int = 8,
    conv: str = "sth",
    temporal_fraction: float = 1 / 4,
    attention: bool = True,
    dilations: tuple[int, ...] = (1,),
    modality: str = "rgb",
    width: int = 64,
    dropout: float = 0.5,
) -> VideoNetwork:
    """Build a video network.

    Args:
        backbone: "resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v2" or "vgg16".
        num_classes: the length of a row of logits.
        frames: T, the frames of one clip.
        conv: "sth" (hybrid, Fig. 3 a), "sth_merge" (Fig. 3 b), or what the paper compares with: "2d"
            (TSN, p = 0), "tsm", "2plus1d_sequential", "2plus1d_parallel", "3d" (I3D's inflation).
        temporal_fraction: p = 1/n of Eq. 2; only "sth" and "sth_merge" have it.
        attention: the attentive integration of Eq. 3; only "sth" and "sth_merge" have it.
        dilations: dilation rates, alternating over the layers (Table 8).
        modality: "rgb" (3 channels) or "flow" (stacks of 5 fields, 10 channels).
        width: channels of the first stage; 64 is the paper's, smaller is for laptops. All channels
            of a backbone are scaled by width/64.
        dropout: before the classifier (the paper does not say; 0.5 is TSM's).

    Raises:
        ValueError: an argument has no such value; the message names the possible ones.
    """
    for what, given, possible in (
        ("backbone", backbone, tuple(BACKBONES)),
        ("conv", conv, CONVS),
        ("modality", modality, tuple(CHANNELS)),
    ):
        if given not in possible:
            near = get_close_matches(given, possible, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"unknown {what} {given!r}{hint}; possible: {', '.join(possible)}")
    if not dilations or any(not isinstance(d, int) or d < 1 for d in dilations):
        raise ValueError(f"dilations must be whole numbers of at least 1, at least one of them, got {dilations!r}")
    for what, number in (("num_classes", num_classes), ("frames", frames), ("width", width)):
        if number < 1:
            raise ValueError(f"{what} must be at least 1, got {number}")
    config = ModelConfig(
        backbone, num_classes, frames, conv, temporal_fraction, attention, tuple(dilations), modality, width, dropout
    )
    if not conv.startswith("sth"):
        config = replace(config, temporal_fraction=0.0, attention=False)
    return VideoNetwork(config)


def model_from_config(config: dict[str, object]) -> VideoNetwork:
    """The network of a `ModelConfig` as plain values (from a checkpoint or a recipe)."""
    return create_model(**config)  # type: ignore[arg-type]


def config_of(model: VideoNetwork) -> dict[str, object]:
    """The network's `ModelConfig` as plain values."""
    return asdict(model.config)


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def channels_last(model: VideoNetwork) -> VideoNetwork:
    """The network itself, its weights and buffers laid out with the channels innermost: faster on CPU and GPU alike.

    Then the frames of a clip are an image whose height is time without a copy (`temporal_conv`).
    """
    for w in (*model.parameters(), *model.buffers()):
        if w.ndim in (4, 5):
            w.data = w.data.contiguous(memory_format=torch.channels_last if w.ndim == 4 else torch.channels_last_3d)
    return model


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" takes a GPU when there is one.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"no device {name!r} here ({str(error).splitlines()[0]}); try --device cpu") from error
