"""What all convolutions of a network share: their contract, the tap that observes them, and the temporal operation.

Shapes: B clips, T frames, C channels, H x W pixels; BT is B*T, with the frames of a clip adjacent.
"""

from typing import Protocol, TypedDict, runtime_checkable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ConvInput = Float[Tensor, "BT C_in H W"]
ConvOutput = Float[Tensor, "BT C_out H_out W_out"]


class Tap:
    """An observer of one forward pass; each method returns its input unless a subclass overrides it.

    It is an argument of the call, not a hook on the model, so that one model can serve many observers at once.
    The network continues with the value that a method returns: an intervention returns another tensor.
    """

    def attention(self, layer: str, alpha: Float[Tensor, "B 2 C_out"]) -> Float[Tensor, "B 2 C_out"]:
        """alpha[:, 0] is alpha_S, alpha[:, 1] is alpha_T (Eq. 3)."""
        return alpha

    def branches(self, layer: str, spatial: ConvOutput, temporal: ConvOutput) -> tuple[ConvOutput, ConvOutput]:
        """alpha_S O_S and alpha_T O_T (without attention O_S and O_T); the layer returns their sum.

        A network from `for_inference` never computes them, and refuses a tap that overrides this method.
        """
        return spatial, temporal

    def features(self, layer: str, x: Float[Tensor, "BT C H W"]) -> Float[Tensor, "BT C H W"]:
        """The output of a block of the backbone."""
        return x

    def weights(self, layer: str, kind: str, weights: Float[Tensor, "N heads queries keys"]) -> None:
        """The attention weights of a transformer's block, which cannot be changed; `kind`, and N, as of
        `token_attention.AttentionModule`."""

    def embedding(self, x: Float[Tensor, "B F"]) -> None:
        """The features of each clip before the classifier, the mean over frames (and places); only to be read."""


class AlphaReplacement(Tap):
    """A tap that replaces alpha of some layers by factor * alpha + value, and does no more.

    What it takes from a layer are numbers alone, so one program of torch.compile computes all of them.
    """

    def terms(self, layer: str) -> tuple[Tensor, Tensor] | None:
        """Factor and value, each of a shape that expands to (B, 2, C_out); None for a layer whose alpha stays."""
        raise NotImplementedError


UNOBSERVED = Tap()


@runtime_checkable
class VideoConv(Protocol):
    """The contract of every 3 x 3 convolution of a backbone, in `sth_conv` and in `baselines`; it has no bias.

    Called as conv(x, tap): x (B*T, C_in, H, W) -> (B*T, C_out, ceil(H / stride), ceil(W / stride)).
    """

    in_channels: int
    out_channels: int
    groups: int

    def __call__(self, x: ConvInput, tap: Tap = UNOBSERVED) -> ConvOutput: ...

    def load_2d(self, weight: Tensor) -> None:
        """Start from the weight (C_out, C_in / groups, 3, 3) of a 2D convolution (Section 4.2)."""


class HybridLayer(Protocol):
    """What `forms` and `gpu_conv` need of a `sth_conv.HybridConv`."""

    name: str
    in_channels: int
    out_channels: int
    groups: int
    frames: int
    stride: int
    dilation: int
    types: int
    block: int
    weight_spatial: nn.Parameter
    weight_temporal: nn.Parameter

    @property
    def integration(self) -> "Integration | None": ...

    def padded_spatial_weight(self) -> Tensor: ...


class Integration(Protocol):
    """What `gpu_conv` needs of a `sth_conv.AttentiveIntegration`."""

    squeeze: nn.Linear
    expand: nn.Linear

    def __call__(self, spatial: Tensor, temporal: Tensor) -> Tensor: ...


class ClipConvOptions(TypedDict, total=False):
    """The keywords of `ClipConv`."""

    stride: int
    dilation: int
    groups: int
    frames: int


class ClipConv(nn.Module):
    """A convolution over the frames of a clip: `HybridConv` and the (2+1)D and 3D baselines.

    Args:
        stride: of space alone.
        dilation: of space and time, the rate d of Table 8.
        frames: T, the number of adjacent frames of one clip.
    """

    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        frames: int = 8,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.stride, self.dilation, self.frames = stride, dilation, frames
        self.register_parameter("bias", None)  # until a batch norm is folded into a baseline


def temporal_conv(
    x: ConvInput,
    weight: Float[Tensor, "C_out C_group K"],
    *,
    frames: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: Float[Tensor, "C_out"] | None = None,
) -> ConvOutput:
    """Convolve each pixel over time; the weight reads the first groups * C_group channels of x.

    The pixels of a frame are laid out in one row, so that time is the vertical axis of a plain 2D convolution with
    a K x 1 kernel: on CPU 2 to 5 times as fast as conv3d.
    """
    x = x[:, : groups * weight.shape[1]]
    if stride > 1:
        x = F.avg_pool2d(x, 1, stride)  # x[:, :, ::stride, ::stride], whose gradient would have another memory format
    _, C, H, W = x.shape
    x = x.reshape(-1, frames, C, H * W).transpose(1, 2)  # B C T HW
    padding = dilation * (weight.shape[-1] // 2)
    y = F.conv2d(x, weight[..., None], bias, padding=(padding, 0), dilation=(dilation, 1), groups=groups)
    return y.transpose(1, 2).reshape(-1, weight.shape[0], H, W)
