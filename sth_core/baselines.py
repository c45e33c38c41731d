"""The convolutions that the paper compares STH with, in the same frame: called as conv(x, tap)."""

from torch import Tensor, nn

from sth_core.sth_conv import UNOBSERVED, Tap


class SpatialConv(nn.Conv2d):
    """A plain 3 x 3 convolution of each frame: TSN's, the row p = 0 of Table 6."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, stride, dilation, dilation, bias=False)

    def forward(self, x: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        return super().forward(x)
