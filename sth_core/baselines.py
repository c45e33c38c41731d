"""The convolutions that the paper compares STH with; all keep the contract `VideoConv`."""

from typing import Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sth_core.convolution import UNOBSERVED, ClipConv, ClipConvOptions, ConvInput, ConvOutput, Tap, temporal_conv


class SpatialConv(nn.Conv2d):
    """A plain 3 x 3 convolution of each frame: TSN's, the row p = 0 of Table 6."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, 3, stride, dilation, dilation, groups, bias=False)

    def forward(self, x: ConvInput, tap: Tap = UNOBSERVED) -> ConvOutput:
        return super().forward(x)

    @torch.no_grad()
    def load_2d(self, weight: Tensor) -> None:
        self.weight.copy_(weight)


class TemporalShift(nn.Module):
    """TSM (Lin et al. 2019): delays an eighth of the channels by one frame and advances another eighth by one.

    It begins a residual branch, so that the identity keeps the channels that were shifted out ("residual shift");
    in VGG, which has no residuals, it precedes each convolution.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, x: Float[Tensor, "BT C H W"]) -> Float[Tensor, "BT C H W"]:
        fold = x.shape[1] // 8
        clips = x.unflatten(0, (-1, self.frames))  # B T C H W
        shifted = torch.zeros_like(clips)
        shifted[:, :-1, :fold] = clips[:, 1:, :fold]  # from the next frame
        shifted[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]  # from the previous frame
        shifted[:, :, 2 * fold :] = clips[:, :, 2 * fold :]
        return shifted.flatten(0, 1)


class SeparableConv(ClipConv):
    """(2+1)D: 1 x 3 x 3 and 3 x 1 x 1 convolutions, one after the other or side by side (Table 7).

    The temporal one maps C_out to C_out if sequential, and C_in to C_out, added, if parallel; in a bottleneck both
    have the same parameters. The paper mentions no batch norm or ReLU between the two (R(2+1)D has them), and its
    parameter count does not decide it. There is none here, so that only the kernels differ from STH.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, parallel: bool, **options: Unpack[ClipConvOptions]
    ) -> None:
        super().__init__(in_channels, out_channels, **options)
        groups, self.parallel = self.groups, parallel
        read = in_channels if parallel else out_channels
        self.weight_spatial = nn.Parameter(torch.empty(out_channels, in_channels // groups, 3, 3))
        self.weight_temporal = nn.Parameter(torch.empty(out_channels, read // groups, 3))
        nn.init.kaiming_normal_(self.weight_spatial, mode="fan_out", nonlinearity="relu")
        if parallel:
            nn.init.kaiming_normal_(self.weight_temporal, mode="fan_out", nonlinearity="relu")
        else:  # temporal kernels pass each frame on as it is: the network starts as the 2D one
            nn.init.dirac_(self.weight_temporal, groups)

    def forward(self, x: ConvInput, tap: Tap = UNOBSERVED) -> ConvOutput:
        d, g = self.dilation, self.groups
        spatial = F.conv2d(x, self.weight_spatial, None, self.stride, d, d, g)
        read, stride = (x, self.stride) if self.parallel else (spatial, 1)
        temporal = temporal_conv(
            read, self.weight_temporal, frames=self.frames, stride=stride, dilation=d, groups=g, bias=self.bias
        )
        return spatial + temporal if self.parallel else temporal

    @torch.no_grad()
    def load_2d(self, weight: Tensor) -> None:
        self.weight_spatial.copy_(weight)


class InflatedConv(ClipConv):
    """A 3 x 3 x 3 convolution, as I3D inflates a 3 x 3 one (Carreira and Zisserman 2017)."""

    def __init__(self, in_channels: int, out_channels: int, **options: Unpack[ClipConvOptions]) -> None:
        super().__init__(in_channels, out_channels, **options)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // self.groups, 3, 3, 3))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: ConvInput, tap: Tap = UNOBSERVED) -> ConvOutput:
        clips = x.unflatten(0, (-1, self.frames)).transpose(1, 2)  # B C T H W
        stride, d = (1, self.stride, self.stride), self.dilation
        y = F.conv3d(clips, self.weight, self.bias, stride, d, d, self.groups)
        return y.transpose(1, 2).flatten(0, 1)

    @torch.no_grad()
    def load_2d(self, weight: Tensor) -> None:
        """A third of the 2D weight at each of the three times: a still clip gives the output of the 2D network."""
        self.weight.copy_(weight[:, :, None].expand_as(self.weight) / 3)
