"""Video networks: a `ModelConfig` names a backbone, a convolution and TSN's consensus (Table 1)."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Annotated, Any, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sth_core.backbones import BACKBONES
from sth_core.baselines import InflatedConv, SeparableConv, SpatialConv, TemporalShift
from sth_core.convolution import UNOBSERVED, ClipConvOptions, Tap
from sth_core.errors import UserError, did_you_mean
from sth_core.network_contract import Layer, Network
from sth_core.precision import at_least_fp32, without_autocast
from sth_core.sth_conv import AttentiveIntegration, DepthwiseSTHConv, STHConv, temporal_types
from sth_core.values import BadValue, Between, Items, Text, check_fields
from sth_core.video.modality import CHANNELS, Frames

MOST_CLASSES = 100_000
CONVS = ("sth", "sth_merge", "2d", "tsm", "2plus1d_sequential", "2plus1d_parallel", "3d")


@dataclass(frozen=True)
class ModelConfig:
    """All that defines a network but its weights; valid once it is built.

    A new option of the convolutions needs a field with a default here, so that older checkpoints still open, and
    the keyword in `ConvMaker.conv` and in the convolution itself.

    Attributes:
        backbone: one of `BACKBONES`.
        num_classes: K, the length of a row of logits.
        frames: T, the frames of one clip.
        conv: "sth" (hybrid, Fig. 3 a), "sth_merge" (Fig. 3 b), or a baseline of the paper: "2d"
            (TSN, p = 0), "tsm", "2plus1d_sequential", "2plus1d_parallel", "3d" (I3D's inflation).
        temporal_fraction, attention: p = 1/n of Eq. 2, and whether alpha of Eq. 3 is learnt; 0 and False unless conv
            is "sth" or "sth_merge".
        dilations: dilation rates, alternating over the layers (Table 8).
        modality: "rgb" (3 channels) or "flow" (stacks of 5 fields, 10 channels).
        width: channels of the first stage; all are scaled by width/64. 64 is the paper's, smaller is for laptops.
        dropout: before the classifier (the paper does not say; 0.5 is TSM's).

    Raises BadValue, a ValueError: a field has no such value; the message names the possible ones.
    """

    backbone: Text
    num_classes: Annotated[int, Between(1, MOST_CLASSES)]
    frames: Frames = 8
    conv: Text = "sth"
    temporal_fraction: Annotated[float, Between(0, 1)] = 1 / 4
    attention: bool = True
    dilations: Annotated[tuple[Annotated[int, Between(1, 64)], ...], Items(1, 100)] = (1,)
    modality: Text = "rgb"
    width: Annotated[int, Between(1, 1024)] = 64
    dropout: Annotated[float, Between(0, 1, below=True)] = 0.5

    def __post_init__(self) -> None:
        check_fields(self)
        for field, possible in (("backbone", BACKBONES), ("conv", CONVS), ("modality", CHANNELS)):
            if (given := getattr(self, field)) not in possible:
                refuse_unknown(field, given, possible)
        if self.conv.startswith("sth"):
            temporal_types(self.temporal_fraction)
        else:
            object.__setattr__(self, "temporal_fraction", 0.0)
            object.__setattr__(self, "attention", False)


class VideoNetwork(Network):
    """A frame network, a classifier for each frame, and the mean of their logits (TSN's consensus)."""

    computes_branches = True  # False after `for_inference`

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.num_classes, self.frames, self.modality = config.num_classes, config.frames, config.modality
        self.backbone = BACKBONES[config.backbone](CHANNELS[config.modality], config.width, ConvMaker(config))
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(self.backbone.num_features, config.num_classes)
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)

    @property
    def attention_layers(self) -> list[Layer]:
        """The layers that have alpha_S and alpha_T, in forward order; empty without attention."""
        convs = (m for m in self.modules() if isinstance(getattr(m, "integration", None), AttentiveIntegration))
        names = [str(conv.name) for conv in convs]
        return [Layer(i, name, self.backbone.stage_of(name)) for i, name in enumerate(names)]

    def forward(self, clips: Float[Tensor, "B T C H W"], tap: Tap = UNOBSERVED) -> Float[Tensor, "B K"]:
        """Logits of the K classes.
        Raises ValueError: the shape of the clips is not the one that the network was built for, or the tap asks a
        network `for_inference` for branches."""
        T, C = self.config.frames, CHANNELS[self.config.modality]
        if clips.ndim != 5 or clips.shape[1:3] != (T, C):
            raise ValueError(
                f"this network takes clips (B, {T}, {C}, H, W) ({self.config.modality}), got {tuple(clips.shape)}"
            )
        if not self.computes_branches and type(tap).branches is not Tap.branches:
            raise ValueError(
                f"{type(tap).__name__} reads the branches, which a network for inference does not compute; "
                f"pass the tap to the network that it was made from (Checkpoint.model)"
            )
        features = self.backbone(clips.flatten(0, 1), tap)  # B*T F
        if type(tap).embedding is not Tap.embedding:
            tap.embedding(at_least_fp32(features).unflatten(0, (-1, T)).mean(1))
        with without_autocast(features.device):  # in 16 bits two classes would often have the same score
            logits = self.fc(self.dropout(features.to(self.fc.weight.dtype)))
        return logits.unflatten(0, (-1, T)).mean(1)

    def described(self) -> dict[str, Any]:
        c = self.config
        shape = {name: getattr(c, name) for name in ("width", "frames", "conv", "temporal_fraction", "attention")}
        return {"arch": c.backbone, **shape, "modality": c.modality}

    def stages(self) -> dict[str, list[nn.Parameter]]:
        found: dict[str, list[nn.Parameter]] = {}
        for name, weight in self.backbone.named_parameters():
            found.setdefault(str(self.backbone.stage_of(name)), []).append(weight)
        return found | {"fc": list(self.fc.parameters())}

    def overlay_shift(self, layer: str, stride: int) -> float:
        # VGG-16's 2 x 2 poolings leave a cell where it is drawn.
        return 0.0 if self.config.backbone == "vgg16" else super().overlay_shift(layer, stride)


class ConvMaker:
    """Makes the convolutions of a config for a backbone (`Maker`); dilations alternate over them (Table 8)."""

    def __init__(self, config: ModelConfig) -> None:
        self.config, self.made = config, 0

    def entry(self) -> nn.Module:
        return TemporalShift(self.config.frames) if self.config.conv == "tsm" else nn.Identity()

    def conv(self, in_channels: int, out_channels: int, *, stride: int, name: str, groups: int = 1) -> nn.Module:
        C_in, C_out, c = in_channels, out_channels, self.config
        dilation = c.dilations[self.made % len(c.dilations)]
        self.made += 1
        if c.conv in ("2d", "tsm"):
            return SpatialConv(C_in, C_out, stride=stride, dilation=dilation, groups=groups)
        options: ClipConvOptions = {"stride": stride, "dilation": dilation, "frames": c.frames}
        if c.conv in ("sth", "sth_merge"):
            hybrid = DepthwiseSTHConv if groups == in_channels > 1 else STHConv
            p, variant = c.temporal_fraction, "merge" if c.conv == "sth_merge" else "hybrid"
            return hybrid(
                C_in, C_out, temporal_fraction=p, variant=variant, attention=c.attention, name=name, **options
            )
        options["groups"] = groups
        if c.conv == "3d":
            return InflatedConv(C_in, C_out, **options)
        return SeparableConv(C_in, C_out, parallel=c.conv == "2plus1d_parallel", **options)


def create_model(backbone: str, num_classes: int, **options: Any) -> VideoNetwork:
    """Build a video network with random weights; `options` are the other fields of `ModelConfig`, by name.
    Raises ValueError: there is no such option or value; the message names the possible ones."""
    possible = [field.name for field in fields(ModelConfig)][2:]
    for option in options:
        if option not in possible:
            refuse_unknown("option", option, possible)
    return VideoNetwork(ModelConfig(backbone, num_classes, **options))


def refuse_unknown(what: str, given: str, possible: Collection[str]) -> NoReturn:
    raise BadValue(f"unknown {what} {given!r}{did_you_mean(given, possible)}; possible: {', '.join(possible)}")


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
    """The device of that name; "auto" takes a GPU when there is one. Raises UserError: none of that name computes here.

    It must give a number back, which `meta` does not."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.empty(0, device=name).device
        torch.ones(1, device=device).item()
    except Exception as error:  # each kind of device has its own: RuntimeError, AssertionError, ImportError, ...
        here = devices_here()
        near = did_you_mean(name, here) or f"; possible: auto, {', '.join(here)}"
        raise UserError(f"no device {name!r} computes here{near}") from error
    return device


def devices_here() -> list[str]:
    """The names of this machine's devices."""
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    others = [name for name in ("mps", "xpu") if (of := getattr(torch, name, None)) and of.is_available()]
    return ["cpu", *["cuda"] * bool(gpus), *gpus, *others]
