"""The convolutions that the paper compares STH with, in the same frame: called as conv(x, tap).

All take and give (B*T, C, H, W), a clip's frames adjacent, and have no bias. `load_2d` starts one
from the weight (C_out, C_in/groups, 3, 3) of a 2D network, as `STHConv.load_2d` does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sth_core.sth_conv import UNOBSERVED, Tap, temporal_conv


class SpatialConv(nn.Conv2d):
    """A plain 3 x 3 convolution of each frame: TSN's, the row p = 0 of Table 6."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__(in_channels, out_channels, 3, stride, dilation, dilation, groups, bias=False)

    def forward(self, x: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        return super().forward(x)

    @torch.no_grad()
    def load_2d(self, weight: Tensor) -> None:
        self.weight.copy_(weight)


class TemporalShift(nn.Module):
    """TSM (Lin et al. 2019): an eighth of the channels is a frame late, an eighth a frame early.

    It has no weights. It stands where a residual branch begins, so that the identity keeps what
    was shifted out ("residual shift"); in VGG, which has no residuals, before each convolution.
    """

    def __init__(self, frames: int, fraction: int = 8) -> None:
        super().__init__()
        self.frames, self.fraction = frames, fraction

    def forward(self, x: Tensor) -> Tensor:
        fold = x.shape[1] // self.fraction
        clips = x.unflatten(0, (-1, self.frames))  # B T C H W
        shifted = torch.zeros_like(clips)
        shifted[:, :-1, :fold] = clips[:, 1:, :fold]  # what comes next
        shifted[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]  # what was before
        shifted[:, :, 2 * fold :] = clips[:, :, 2 * fold :]
        return shifted.flatten(0, 1)


class SeparableConv(nn.Module):
    """(2+1)D: 1 x 3 x 3 and 3 x 1 x 1 convolutions, one after the other or side by side (Table 7).

    The temporal one maps C_out to C_out if sequential, and C_in to C_out, added, if parallel; in a
    bottleneck both have the same parameters. The paper names no batch norm or ReLU between
    (R(2+1)D has them) and its parameter count has no room to tell: here is none, so that only the
    kernels differ from STH.
    """

    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        dilation: int,
        groups: int,
        frames: int,
        parallel: bool,
    ) -> None:
        super().__init__()
        self.stride, self.dilation, self.groups = stride, dilation, groups
        self.frames, self.parallel = frames, parallel
        read = in_channels if parallel else out_channels
        self.weight_spatial = nn.Parameter(torch.empty(out_channels, in_channels // groups, 3, 3))
        self.weight_temporal = nn.Parameter(torch.empty(out_channels, read // groups, 3))
        self.register_parameter("bias", None)  # until a batch norm is folded in
        nn.init.kaiming_normal_(self.weight_spatial, mode="fan_out", nonlinearity="relu")
        if parallel:
            nn.init.kaiming_normal_(self.weight_temporal, mode="fan_out", nonlinearity="relu")
        else:
            self.keep_time()

    @torch.no_grad()
    def keep_time(self) -> None:
        """Let the sequential temporal kernels pass each frame on as it is: the network starts as the 2D one."""
        nn.init.dirac_(self.weight_temporal, self.groups)

    def forward(self, x: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        d, g = self.dilation, self.groups
        spatial = F.conv2d(x, self.weight_spatial, stride=self.stride, padding=d, dilation=d, groups=g)
        if self.parallel:
            return spatial + temporal_conv(x, self.weight_temporal, self.frames, self.stride, d, g, self.bias)
        return temporal_conv(spatial, self.weight_temporal, self.frames, 1, d, g, self.bias)

    @torch.no_grad()
    def load_2d(self, weight: Tensor) -> None:
        self.weight_spatial.copy_(weight)


class InflatedConv(nn.Module):
    """A 3 x 3 x 3 convolution, as I3D inflates a 3 x 3 one (Carreira and Zisserman 2017)."""

    bias: Tensor | None

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, dilation: int, groups: int, frames: int
    ) -> None:
        super().__init__()
        self.stride, self.dilation, self.groups, self.frames = stride, dilation, groups, frames
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, 3, 3, 3))
        self.register_parameter("bias", None)  # until a batch norm is folded in
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        clips = x.unflatten(0, (-1, self.frames)).transpose(1, 2)  # B C T H W
        stride, d = (1, self.stride, self.stride), self.dilation
        y = F.conv3d(clips, self.weight, self.bias, stride, d, d, self.groups)
        return y.transpose(1, 2).flatten(0, 1)

    @torch.no_grad()
    def load_2d(self, weight: Tensor) -> None:
        """A third of the 2D weight at each of the three times: a still clip gives what the 2D network gave."""
        self.weight.copy_(weight[:, :, None].expand_as(self.weight) / 3)
