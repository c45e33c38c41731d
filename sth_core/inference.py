"""Networks for inference: the same numbers in fewer steps.

`for_inference` folds each batch norm into the convolution before it, in every network alike, and
computes an STH-Conv, where that is faster, without the multiplications by the zeros of its plain
form.
"""

import copy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sth_core.baselines import InflatedConv, SeparableConv
from sth_core.network import VideoNetwork, channels_last
from sth_core.sth_conv import UNOBSERVED, HybridConv, STHConv, Tap, per_frame


def for_inference(model: VideoNetwork) -> VideoNetwork:
    """A copy of `model` in eval mode that gives the same logits and attention, faster; `model` stays as it is.

    Its weights are no longer those of the state_dict of `model`: it is not for training or saving.
    """
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    for parent in list(fast.modules()):
        children = list(parent.named_children())
        for (name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(norm, nn.BatchNorm2d):  # it belongs to what comes before it, in all backbones
                setattr(parent, name, folded(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return channels_last(fast)


def folded(conv: nn.Module, norm: nn.BatchNorm2d) -> nn.Module:
    """One module that does what `conv` and then `norm` do."""
    if isinstance(conv, nn.Conv2d):
        return fuse_conv_bn_eval(conv, norm)
    scale, shift = scale_and_shift(norm)
    if isinstance(conv, STHConv):
        return fused(conv, scale, shift)
    if isinstance(conv, HybridConv):
        return FusedHybridConv(conv, scale, shift)
    if isinstance(conv, SeparableConv):
        conv.weight_temporal.mul_(scale[:, None, None])
        if conv.parallel:
            conv.weight_spatial.mul_(scale[:, None, None, None])
    elif isinstance(conv, InflatedConv):
        conv.weight.mul_(scale[:, None, None, None, None])
    else:
        raise TypeError(f"no way to fold a batch norm into {type(conv).__name__}")
    conv.bias = nn.Parameter(shift, requires_grad=False)
    return conv


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(C,) each: in eval mode the norm is x * scale + shift."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


class FusedHybridConv(HybridConv):
    """A hybrid convolution and its batch norm: the scale goes into alpha, the shift is added."""

    scale: Tensor
    shift: Tensor

    def __init__(self, conv: HybridConv, scale: Tensor, shift: Tensor) -> None:
        super().__init__(
            conv.in_channels, conv.out_channels, conv.stride, conv.dilation, conv.variant, conv.frames, conv.name
        )
        self.conv, self.integration = conv, conv.integration
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv.parts(x)

    def alpha(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        return self.conv.alpha(spatial, temporal)

    def forward(self, x: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        spatial, temporal = self.parts(x)
        shift = self.shift[:, None, None]
        if self.integration is None:
            return torch.addcmul(shift, spatial.add_(temporal), self.scale[:, None, None])
        alpha = tap.attention(self.name, self.alpha(spatial, temporal))
        alpha_s, alpha_t = per_frame(alpha * self.scale, self.frames)
        return torch.addcmul(shift, spatial, alpha_s).addcmul_(temporal, alpha_t)


class DenseSTHConv(FusedHybridConv):
    """As `FusedHybridConv`, with the spatial kernels padded once and not in each call."""

    conv: STHConv
    weight: Tensor

    def __init__(self, conv: STHConv, scale: Tensor, shift: Tensor) -> None:
        super().__init__(conv, scale, shift)
        self.register_buffer("weight", conv.padded_spatial_weight())

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d = self.dilation
        return F.conv2d(x, self.weight, None, self.stride, d, d), self.conv.temporal_part(x)


class NeighbourSTHConv(FusedHybridConv):
    """As `FusedHybridConv`, without the weights that are zero in `padded_spatial_weight`.

    With n = 2^k kernel types, type g reads every block of input channels but block g for its
    spatial part. Write g and b in binary: b differs from g first in some bit j, counted from the
    top. The pairs with the same j are a grouped convolution in 2^j groups in which each group
    reads its neighbour, and the flip in `forward` takes what it gives to where it belongs. So k
    grouped convolutions, with 1/2, 1/4, ... 1/n of the dense one's multiplications, do what it
    does with 1 - 1/n of them: nothing is wasted.
    """

    conv: STHConv

    def __init__(self, conv: STHConv, scale: Tensor, shift: Tensor) -> None:
        super().__init__(conv, scale, shift)
        self.levels = [2**j for j in range(1, conv.types.bit_length())]
        dense = conv.padded_spatial_weight()
        for groups in self.levels:
            blocks = dense.unflatten(1, (groups, -1)).unflatten(0, (groups, -1))  # G C_out/G G C_in/G 3 3
            own = torch.arange(groups, device=dense.device)
            self.register_buffer(f"weight_{groups}", blocks[own ^ 1, :, own].flatten(0, 1))

    def forward(self, x: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        d = self.dilation
        temporal = self.by_type(self.conv.temporal_part(x))
        spatial = [
            self.by_type(F.conv2d(x, self.get_buffer(f"weight_{groups}"), None, self.stride, d, d, groups)).flip(j)
            for j, groups in enumerate(self.levels, start=1)
        ]
        if self.integration is None:
            alpha = self.scale.expand(x.shape[0] // self.frames, 2, -1)
        else:
            means = [self.clip_means(y.flatten(1, -3)) for y in (*spatial, temporal)]
            alpha = self.integration(torch.cat([torch.stack(means[:-1]).sum(0), means[-1]], 1))
            alpha = tap.attention(self.name, alpha) * self.scale
        alpha_s, alpha_t = map(self.by_type, per_frame(alpha, self.frames))
        out = torch.addcmul(self.by_type(self.shift[None, :, None, None]), temporal, alpha_t)
        for y in spatial:
            out = torch.addcmul(out, y, alpha_s)
        return out.flatten(1, -3)

    def by_type(self, x: Tensor) -> Tensor:
        """(N, C_out, H, W) -> (N, 2, 2, ..., C_out/n, H, W): a dimension for each bit of the type."""
        return x.unflatten(1, (*[2] * len(self.levels), -1))


NARROWEST = 32  # channels of a block; a grouped convolution of narrower ones wins nothing on a CPU


def fused(conv: STHConv, scale: Tensor, shift: Tensor) -> FusedHybridConv:
    """The form that is fastest on a CPU; on a GPU, where none has been measured, the dense one."""
    power_of_two = conv.types > 1 and conv.types & (conv.types - 1) == 0
    if power_of_two and conv.block >= NARROWEST and scale.device.type == "cpu":
        return NeighbourSTHConv(conv, scale, shift)
    return DenseSTHConv(conv, scale, shift)
