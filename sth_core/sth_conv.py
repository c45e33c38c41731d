"""Spatio-temporal hybrid convolution (STH-Conv): Eq. 2, Eq. 3, Figures 2 to 4 of Li et al. 2020.

| paper                             | code                                                    |
|-----------------------------------|---------------------------------------------------------|
| Eq. 2, O_S + O_T                  | `HybridConv.parts`                                      |
| Eq. 3, alpha_S O_S + alpha_T O_T  | `HybridConv.forward`; for inference `FusedHybridConv`   |
| Figure 2, Figure 3                | `STHConv`; `DepthwiseSTHConv` for MobileNet             |
| Figure 4                          | `AttentiveIntegration`                                  |

Shapes: B clips, T frames, C channels, H x W pixels; BT is B*T, with the frames of a clip adjacent.
"""

from typing import Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sth_core.convolution import UNOBSERVED, ClipConv, ClipConvOptions, ConvInput, ConvOutput, Tap, temporal_conv
from sth_core.forms import kernels_serve


def temporal_types(temporal_fraction: float, *channels: int) -> int:
    """The number n = 1/p of hybrid kernel types (Fig. 2 shows n = 4).
    Raises ValueError: p is not one over a whole number, or n does not divide one of `channels`."""
    types = round(1 / temporal_fraction) if 0 < temporal_fraction <= 1 else 0
    if types < 1 or abs(types * temporal_fraction - 1) > 1e-6:
        raise ValueError(
            f"temporal_fraction must be 1/n for a whole number n (1/2, 1/4, 1/8, ...), got "
            f"{temporal_fraction!r}; for no temporal kernels at all use conv='2d'"
        )
    for count in channels:
        if count % types:
            raise ValueError(
                f"temporal_fraction 1/{types} needs channels that {types} divides, got {count}; "
                f"possible here: {', '.join(f'1/{n}' for n in range(1, count + 1) if count % n == 0)}"
            )
    return types


def clip_means(x: Float[Tensor, "BT C H W"], frames: int) -> Float[Tensor, "B C"]:
    """Means over T, H and W: the squeeze of Figure 4."""
    return x.mean((2, 3)).unflatten(0, (-1, frames)).mean(1)


def per_frame(alpha: Float[Tensor, "B 2 C"], frames: int) -> tuple[Tensor, Tensor]:
    """alpha_S and alpha_T of each frame, each (B*T, C, 1, 1), to multiply its O_S and O_T."""
    return alpha.repeat_interleave(frames, 0)[..., None, None].unbind(1)  # type: ignore[return-value]


class AttentiveIntegration(nn.Module):
    """Figure 4: alpha_S and alpha_T of Eq. 3, from the global means of O_S and O_T.

    Both means, concatenated (2 C_out) -> C_out/4 -> ReLU -> 2 C_out, then a softmax between the two parts, channel
    by channel.

    Inferred: Figure 4 is a picture without text. Tables 6 and 7 fix its size: in ResNet-50 with 174 classes
    attention adds 1.2 M parameters (22.0 -> 23.2); this form adds C_out^2 weights a layer, 1.27 M in all with its
    biases. Other readings have the same size: a sigmoid gate for each part; a squeeze of O_S + O_T to C_out/3. The
    softmax makes the two coefficients comparable, as Figures 5 to 8 compare them.

    Initialisation (the paper gives none): hidden units come in pairs of opposite weights without bias, so that one
    of each pair is active for every clip. Of independent units half, in a narrow layer all, could be inactive for
    every clip, as the means differ little between clips; then alpha would be the same for every clip.

    Args:
        channels: C_out, the channels of O_S and of O_T.
        groups, group_of: the number of groups whose channels share their alpha, and the group (C_out,) of each
            channel, where a channel has only one of the two parts (`DepthwiseSTHConv`). Then the sum of both
            means is squeezed: C_out -> C_out/4 -> ReLU -> 2 groups.
    """

    group_of: Tensor | None

    def __init__(self, channels: int, groups: int | None = None, group_of: Tensor | None = None) -> None:
        super().__init__()
        hidden = max(1, channels // 4)
        self.squeeze = nn.Linear(2 * channels if groups is None else channels, hidden)
        self.expand = nn.Linear(hidden, 2 * (groups or channels))
        self.register_buffer("group_of", group_of, persistent=False)
        with torch.no_grad():
            self.squeeze.weight[1::2] = -self.squeeze.weight[: hidden // 2 * 2 : 2]
        nn.init.zeros_(self.squeeze.bias)

    def forward(self, spatial: Float[Tensor, "B C"], temporal: Float[Tensor, "B C"]) -> Float[Tensor, "B 2 C"]:
        """The `clip_means` of O_S and O_T -> alpha, with alpha[:, 0] + alpha[:, 1] = 1."""
        means = torch.cat([spatial, temporal], 1) if self.group_of is None else spatial + temporal
        alpha = self.expand(F.relu(self.squeeze(means))).unflatten(1, (2, -1)).softmax(1)
        return alpha if self.group_of is None else alpha[..., self.group_of]


class HybridConv(ClipConv):
    """Eq. 2 and Eq. 3 over kernels of which a share p is temporal; `STHConv` and `DepthwiseSTHConv` define the kernels.

    With a stride a temporal kernel reads the pixel under the centre of the spatial kernel (the paper does not say).

    Args, beside those of `ClipConv`:
        temporal_fraction: p = 1/n; n must divide the channels.
        variant: "hybrid" (Fig. 3 a) or "merge" (Fig. 3 b).
        attention: weigh O_S and O_T as in Eq. 3; else add them.
        name: the layer's name for a `Tap`.

    Raises ValueError: p is not 1/n, n does not divide the channels, or an unknown variant.
    """

    types: int  # of kernels in use; 1 where a kernel reads one channel
    temporal_groups: int  # `groups` are those of the spatial convolution
    weight_spatial: nn.Parameter
    weight_temporal: nn.Parameter
    integration: AttentiveIntegration | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        temporal_fraction: float = 1 / 4,
        variant: str = "hybrid",
        attention: bool = False,
        name: str = "",
        **options: Unpack[ClipConvOptions],
    ) -> None:
        super().__init__(in_channels, out_channels, **options)
        if self.groups != 1:
            raise ValueError(f"{type(self).__name__} takes no groups, got {self.groups}")
        if variant not in ("hybrid", "merge"):
            raise ValueError(f"variant must be 'hybrid' or 'merge' (Fig. 3), got {variant!r}")
        n = temporal_types(temporal_fraction, in_channels, *([out_channels] if variant == "hybrid" else []))
        self.variant, self.name = variant, name
        self.block = in_channels // n  # p C_in: the temporal input channels of a type
        self.make_kernels(n, attention)

    def make_kernels(self, n: int, attention: bool) -> None:
        """Set the groups, the weights and the integration."""
        raise NotImplementedError

    def padded_spatial_weight(self) -> Tensor:
        """W^(S) as a plain 2D weight (C_out, C_in / groups, 3, 3), zero where a kernel is temporal."""
        raise NotImplementedError

    def padded_temporal_weight(self) -> Tensor:
        """W^(T) as the weight of `temporal_conv` in `temporal_groups` groups."""
        raise NotImplementedError

    def parts(self, x: ConvInput) -> tuple[ConvOutput, ConvOutput]:
        """Eq. 2: O_S and O_T."""
        s, d, g = self.stride, self.dilation, self.temporal_groups
        spatial = F.conv2d(x, self.padded_spatial_weight(), None, s, d, d, self.groups)
        weight = self.padded_temporal_weight()
        return spatial, temporal_conv(x, weight, frames=self.frames, stride=s, dilation=d, groups=g)

    def forward(self, x: ConvInput, tap: Tap = UNOBSERVED) -> ConvOutput:
        """Eq. 3: alpha_S O_S + alpha_T O_T; without attention Eq. 2: O_S + O_T.
        Raises ValueError: the number of frames is not a multiple of T."""
        if x.shape[0] % self.frames:
            raise ValueError(
                f"{type(self).__name__} was built for clips of {self.frames} frames, got {x.shape[0]} frames in all, "
                f"which is no whole number of clips; pass (B*T, C, H, W) with T = {self.frames}"
            )
        if kernels_serve(self, x, tap):
            from sth_core.gpu_conv import fused_forward  # which needs Triton

            return fused_forward(self, x, tap)
        spatial, temporal = self.parts(x)
        if self.integration is not None:
            alpha = self.integration(clip_means(spatial, self.frames), clip_means(temporal, self.frames))
            alpha_s, alpha_t = per_frame(tap.attention(self.name, alpha).to(spatial.dtype), self.frames)
            spatial, temporal = alpha_s * spatial, alpha_t * temporal
        spatial, temporal = tap.branches(self.name, spatial, temporal)
        return spatial + temporal

    def extra_repr(self) -> str:
        sizes = f"stride={self.stride}, dilation={self.dilation}, frames={self.frames}"
        return f"{self.in_channels}, {self.out_channels}, {self.variant}, {sizes}, p={self.block}/{self.in_channels}"


class STHConv(HybridConv):
    """A 2D convolution with a share p of its basic kernels replaced by temporal ones (Section 3.2).

    | paper                   | here                                                        |
    |-------------------------|-------------------------------------------------------------|
    | p                       | `temporal_fraction` = 1/n                                   |
    | W^(S), 1 x 3 x 3        | `weight_spatial` (C_out, (1-p) C_in, 3, 3)                  |
    | W^(T), 3 x 1 x 1        | `weight_temporal` (C_out, p C_in, 3)                        |
    | STH_hybrid, Fig. 3 (a)  | variant="hybrid": C_out/n kernels of each of n types; type  |
    |                         | g is temporal in input channels [g p C_in, (g+1) p C_in)    |
    | STH_merge, Fig. 3 (b)   | variant="merge": every kernel is of type 0                  |
    | alpha_S, alpha_T, Eq. 3 | `integration`, if `attention`                               |

    Weights are stored without the entries that are always zero, so that parameters count as in the paper.
    """

    def make_kernels(self, n: int, attention: bool) -> None:
        C_in, C_out = self.in_channels, self.out_channels
        self.types = self.temporal_groups = n if self.variant == "hybrid" else 1
        self.weight_spatial = nn.Parameter(torch.empty(C_out, C_in - self.block, 3, 3))
        self.weight_temporal = nn.Parameter(torch.empty(C_out, self.block, 3))
        self.integration = AttentiveIntegration(C_out) if attention else None
        # He initialisation with the fan of the whole hybrid kernel: O_S + O_T has the variance of a 2D layer.
        fan_out = C_out * (9 * (C_in - self.block) + 3 * self.block) / C_in
        for weight in (self.weight_spatial, self.weight_temporal):
            nn.init.normal_(weight, std=(2 / fan_out) ** 0.5)

    def padded_spatial_weight(self) -> Tensor:
        hole = self.weight_spatial.new_zeros(self.out_channels // self.types, self.block, 3, 3)
        types = enumerate(self.weight_spatial.chunk(self.types))
        return torch.cat([torch.cat([w[:, : g * self.block], hole, w[:, g * self.block :]], 1) for g, w in types])

    def padded_temporal_weight(self) -> Tensor:
        """W^(T) itself: output group g reads channel block g, hence one grouped convolution; merge reads block 0."""
        return self.weight_temporal

    @torch.no_grad()
    def load_2d(self, weight: Tensor) -> None:
        """Take a 2D weight (C_out, C_in, 3, 3): a spatial kernel gets the values of its input channel (Section 4.2)."""
        for g, (ours, w) in enumerate(
            zip(self.weight_spatial.chunk(self.types), weight.chunk(self.types), strict=True)
        ):
            ours.copy_(torch.cat([w[:, : g * self.block], w[:, (g + 1) * self.block :]], 1))

    def dense_kernel(self) -> Float[Tensor, "C_out C_in 3 3 3"]:
        """The kernel with which F.conv3d gives O_S + O_T (Eq. 2)."""
        dense = self.weight_spatial.new_zeros(self.out_channels, self.in_channels, 3, 3, 3)
        dense[:, :, 1] = self.padded_spatial_weight()
        for g, rows in enumerate(torch.arange(self.out_channels).chunk(self.types)):
            dense[rows, g * self.block : (g + 1) * self.block, :, 1, 1] = self.weight_temporal[rows]
        return dense


class DepthwiseSTHConv(HybridConv):
    """The hybrid of a depthwise convolution (MobileNetV2), where each output channel has one input channel.

    The paper names MobileNet without details. Here a share p of the channels is temporal, the others are spatial:
    every n-th channel, from the first on ("hybrid", interleaved), or the first p C ("merge"). So O_S is zero in
    temporal channels and O_T in spatial ones.

    With a single part in each channel, alpha_S and alpha_T of one channel would have nothing to balance. They are
    shared by a group of n channels: alpha_T weighs its temporal channel, alpha_S its n - 1 spatial ones.
    """

    temporal_channels: Tensor
    spatial_channels: Tensor

    def make_kernels(self, n: int, attention: bool) -> None:
        channels, out = self.in_channels, self.out_channels
        self.types = 1
        self.groups = self.temporal_groups = channels
        if out != channels:
            raise ValueError(f"a depthwise convolution has as many outputs as inputs, got {channels} and {out}")
        groups = self.block
        group = torch.arange(groups)
        if self.variant == "hybrid":
            group_of = group.repeat_interleave(n)
            temporal, spatial = group * n, (group[:, None] * n + torch.arange(1, n)).flatten()
        else:
            group_of = torch.cat([group, group.repeat_interleave(n - 1)])
            temporal, spatial = group, torch.arange(groups, channels)
        self.register_buffer("temporal_channels", temporal, persistent=False)
        self.register_buffer("spatial_channels", spatial, persistent=False)
        self.weight_spatial = nn.Parameter(torch.empty(channels - groups, 1, 3, 3))
        self.weight_temporal = nn.Parameter(torch.empty(groups, 1, 3))
        self.integration = AttentiveIntegration(channels, groups, group_of) if attention else None
        nn.init.normal_(self.weight_spatial, std=(2 / 9) ** 0.5)
        nn.init.normal_(self.weight_temporal, std=(2 / 3) ** 0.5)

    def padded_spatial_weight(self) -> Tensor:
        zeros = self.weight_spatial.new_zeros(self.in_channels, 1, 3, 3)
        return zeros.index_copy(0, self.spatial_channels, self.weight_spatial)

    def padded_temporal_weight(self) -> Tensor:
        zeros = self.weight_temporal.new_zeros(self.in_channels, 1, 3)
        return zeros.index_copy(0, self.temporal_channels, self.weight_temporal)

    @torch.no_grad()
    def load_2d(self, weight: Tensor) -> None:
        """Take a depthwise weight (C, 1, 3, 3): spatial channels get theirs, temporal ones stay random.

        A temporal kernel gets the norm, and the sign of the sum, of the spatial kernel that it replaces (the paper
        does not say): the next layer was trained on that kernel alone, not on a sum over many as elsewhere.
        """
        self.weight_spatial.copy_(weight[self.spatial_channels])
        replaced, ours = weight[self.temporal_channels].flatten(1), self.weight_temporal.flatten(1)
        sign = torch.where(replaced.sum(1).sign() * ours.sum(1).sign() < 0, -1.0, 1.0)
        scale = sign * replaced.norm(dim=1) / ours.norm(dim=1)
        self.weight_temporal.mul_(scale[:, None, None])

    def dense_kernel(self) -> Float[Tensor, "C 1 3 3 3"]:
        """The kernel with which F.conv3d in C groups gives O_S + O_T (Eq. 2)."""
        dense = self.weight_spatial.new_zeros(self.in_channels, 1, 3, 3, 3)
        dense[self.spatial_channels, :, 1] = self.weight_spatial
        dense[self.temporal_channels, :, :, 1, 1] = self.weight_temporal
        return dense
