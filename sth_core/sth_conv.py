"""Spatio-temporal hybrid convolution (STH-Conv): Eq. 2, Eq. 3, Figures 2 to 4 of Li et al. 2020.

Reads from leaf to root: `Tap`, the temporal half of a kernel, the attentive integration, what every
hybrid convolution does with its two parts, and the two that there are: `STHConv`, and
`DepthwiseSTHConv` for MobileNet.
Shapes: B clips, T frames, C channels, H x W pixels. A clip's frames are adjacent: (B*T, C, H, W).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tap:
    """What a forward pass shows to an observer; identity unless a subclass says otherwise.

    It is an argument of the call, never a hook on the model, so that one model can serve many
    observers at once. Whatever a method returns is what the network goes on with: recording
    returns its input, an intervention returns something else.
    """

    def attention(self, layer: str, alpha: Tensor) -> Tensor:
        """alpha (B, 2, C_out): [:, 0] is alpha_S, [:, 1] is alpha_T (Eq. 3)."""
        return alpha

    def branches(self, layer: str, spatial: Tensor, temporal: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_S O_S and alpha_T O_T (without attention O_S and O_T), each (B*T, C_out, H', W'); their sum goes on.

        Networks `for_inference` do not show them: what is faster there is that they are never apart.
        """
        return spatial, temporal

    def features(self, layer: str, x: Tensor) -> Tensor:
        """x (B*T, C, H, W): the output of a backbone's block."""
        return x


UNOBSERVED = Tap()


def temporal_types(temporal_fraction: float, channels: int) -> int:
    """The number n = 1/p of hybrid kernel types (Fig. 2 shows n = 4).

    Raises:
        ValueError: p is not one over a whole number, or n does not divide `channels`.
    """
    types = round(1 / temporal_fraction) if 0 < temporal_fraction <= 1 else 0
    if types < 1 or abs(types * temporal_fraction - 1) > 1e-6:
        raise ValueError(
            f"temporal_fraction must be 1/n for a whole number n (1/2, 1/4, 1/8, ...), got "
            f"{temporal_fraction!r}; for no temporal kernels at all use conv='2d'"
        )
    if channels % types:
        raise ValueError(
            f"temporal_fraction 1/{types} needs channels that {types} divides, got {channels}; "
            f"possible here: {', '.join(f'1/{n}' for n in range(1, channels + 1) if channels % n == 0)}"
        )
    return types


def temporal_conv(
    x: Tensor, weight: Tensor, frames: int, stride: int, dilation: int, groups: int, bias: Tensor | None = None
) -> Tensor:
    """Convolve each pixel over time. x (B*T, C_in, H, W), weight (C_out, C_in/groups, K).

    The pixels of a frame are laid out in one row, so that time becomes the vertical axis of a
    plain 2D convolution with a K x 1 kernel: on CPU 2 to 5 times as fast as conv3d.
    """
    if stride > 1:
        x = F.avg_pool2d(x, 1, stride)  # x[:, :, ::stride, ::stride], whose gradient would have another memory format
    _, C, H, W = x.shape
    x = x.reshape(-1, frames, C, H * W).transpose(1, 2)  # B C T HW
    padding = dilation * (weight.shape[-1] // 2)
    y = F.conv2d(x, weight[..., None], bias, padding=(padding, 0), dilation=(dilation, 1), groups=groups)
    return y.transpose(1, 2).reshape(-1, weight.shape[0], H, W)


class AttentiveIntegration(nn.Module):
    """alpha_S and alpha_T of Eq. 3, from the squeezed spatial and temporal parts.

    Global means over T, H, W of O_S and O_T, concatenated (2 C_out) -> C_out/4 -> ReLU -> 2 C_out,
    then a softmax between the two parts, channel by channel.

    Inferred: Figure 4 is a picture without text. Tables 6 and 7 pin its size: in ResNet-50 with
    174 classes attention adds 1.2 M parameters (22.0 -> 23.2); this form adds C_out^2 weights a
    layer, 1.27 M in all with its biases. Other readings of the same size fit as well: a sigmoid
    gate for each part; a squeeze of the sum O_S + O_T to C_out/3. The softmax makes the two
    coefficients comparable, as Figures 5 to 8 compare them.

    The paper is silent on the start. Hidden units start in pairs of opposite weights and no bias, so
    that of each pair one is active whatever the clip: the means differ little between clips, half of
    independent units would be silent for all of them, and in a narrow layer all of them can be,
    which leaves alpha the same for every clip.

    Args:
        squeezed: how many means come in; 2 C_out for the two parts of an `STHConv`.
        pairs: how many pairs of alpha_S and alpha_T come out; C_out for an `STHConv`.
        hidden: units between; C_out/4.
    """

    def __init__(self, squeezed: int, pairs: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(squeezed, hidden)
        self.expand = nn.Linear(hidden, 2 * pairs)
        with torch.no_grad():
            self.squeeze.weight[1::2] = -self.squeeze.weight[: hidden // 2 * 2 : 2]
        nn.init.zeros_(self.squeeze.bias)

    def forward(self, means: Tensor) -> Tensor:
        """(B, squeezed) -> alpha (B, 2, pairs), [:, 0] + [:, 1] = 1."""
        return self.expand(F.relu(self.squeeze(means))).unflatten(1, (2, -1)).softmax(1)


class HybridConv(nn.Module):
    """What an `STHConv` and a `DepthwiseSTHConv` have in common: Eq. 3 over the parts of Eq. 2.

    Args:
        frames: T, the number of adjacent frames of one clip.
        name: how a `Tap` knows this layer.
    """

    integration: AttentiveIntegration | None

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, dilation: int, variant: str, frames: int, name: str
    ) -> None:
        super().__init__()
        if variant not in ("hybrid", "merge"):
            raise ValueError(f"variant must be 'hybrid' or 'merge' (Fig. 3), got {variant!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.stride, self.dilation, self.frames, self.name = stride, dilation, frames, name
        self.variant = variant

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """O_S and O_T of Eq. 2, each (B*T, C_out, H', W'), from x (B*T, C_in, H, W)."""
        raise NotImplementedError

    def alpha(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """alpha (B, 2, C_out) of Eq. 3 from O_S and O_T; only with attention."""
        raise NotImplementedError

    def clip_means(self, x: Tensor) -> Tensor:
        """Means over T, H, W: (B*T, C, H, W) -> (B, C)."""
        return x.mean((2, 3)).unflatten(0, (-1, self.frames)).mean(1)

    def forward(self, x: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        """x (B*T, C_in, H, W) -> (B*T, C_out, H', W'): Eq. 2, or Eq. 3 with attention.

        Raises:
            ValueError: the frames are no whole number of clips.
        """
        if x.shape[0] % self.frames:
            raise ValueError(
                f"{type(self).__name__} was built for clips of {self.frames} frames, got {x.shape[0]} frames in all, "
                f"which is no whole number of clips; pass (B*T, C, H, W) with T = {self.frames}"
            )
        spatial, temporal = self.parts(x)
        if self.integration is not None:
            alpha = tap.attention(self.name, self.alpha(spatial, temporal))
            alpha_s, alpha_t = per_frame(alpha, self.frames)
            spatial, temporal = alpha_s * spatial, alpha_t * temporal
        spatial, temporal = tap.branches(self.name, spatial, temporal)
        return spatial + temporal

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, {self.variant}, stride={self.stride}, "
            f"dilation={self.dilation}, frames={self.frames}"
        )


def per_frame(alpha: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """alpha (B, 2, C) -> alpha_S and alpha_T, each (B*T, C, 1, 1)."""
    return alpha.repeat_interleave(frames, 0)[..., None, None].unbind(1)  # type: ignore[return-value]


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
    | rate d of Table 8       | `dilation`, of both parts                                   |

    Weights are stored without the entries that are always zero, so that parameters count as in
    the paper. The paper does not say where the spatial stride of a strided block goes in a
    temporal kernel: here it reads the pixel under the centre of the spatial kernel.

    Args:
        in_channels, out_channels: C_in and C_out; n must divide C_in, and for "hybrid" C_out.
        frames: T, the number of adjacent frames of one clip.
        name: how a `Tap` knows this layer.

    Raises:
        ValueError: p is not 1/n, n does not divide the channels, or an unknown variant.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        dilation: int = 1,
        temporal_fraction: float = 1 / 4,
        variant: str = "hybrid",
        attention: bool = False,
        frames: int = 8,
        name: str = "",
    ) -> None:
        super().__init__(in_channels, out_channels, stride, dilation, variant, frames, name)
        n = temporal_types(temporal_fraction, in_channels)
        if variant == "hybrid":
            temporal_types(temporal_fraction, out_channels)
        self.types = n if variant == "hybrid" else 1  # kernel types in use
        self.block = in_channels // n  # p C_in: the temporal input channels of a type
        self.weight_spatial = nn.Parameter(torch.empty(out_channels, in_channels - self.block, 3, 3))
        self.weight_temporal = nn.Parameter(torch.empty(out_channels, self.block, 3))
        self.integration = (
            AttentiveIntegration(2 * out_channels, out_channels, max(1, out_channels // 4)) if attention else None
        )
        # He initialisation with the fan of the whole hybrid kernel, so that O_S + O_T has the
        # variance that a 2D layer would have.
        fan_out = out_channels * (9 * (in_channels - self.block) + 3 * self.block) / in_channels
        for weight in (self.weight_spatial, self.weight_temporal):
            nn.init.normal_(weight, std=(2 / fan_out) ** 0.5)

    def padded_spatial_weight(self) -> Tensor:
        """W^(S) as a plain 2D weight (C_out, C_in, 3, 3), zero where a kernel is temporal."""
        hole = self.weight_spatial.new_zeros(self.out_channels // self.types, self.block, 3, 3)
        kinds = [
            torch.cat([w[:, : g * self.block], hole, w[:, g * self.block :]], 1)
            for g, w in enumerate(self.weight_spatial.chunk(self.types))
        ]
        return torch.cat(kinds)

    @torch.no_grad()
    def load_2d(self, weight: Tensor) -> None:
        """Take a 2D convolution's weight (C_out, C_in, 3, 3): a spatial kernel gets the values of its
        input channel, the temporal kernels stay as they are (Section 4.2)."""
        kinds = [
            torch.cat([w[:, : g * self.block], w[:, (g + 1) * self.block :]], 1)
            for g, w in enumerate(weight.chunk(self.types))
        ]
        self.weight_spatial.copy_(torch.cat(kinds))

    def dense_kernel(self) -> Tensor:
        """The (C_out, C_in, 3, 3, 3) kernel with which F.conv3d gives O_S + O_T (Eq. 2)."""
        dense = self.weight_spatial.new_zeros(self.out_channels, self.in_channels, 3, 3, 3)
        dense[:, :, 1] = self.padded_spatial_weight()
        for g, rows in enumerate(torch.arange(self.out_channels).chunk(self.types)):
            dense[rows, g * self.block : (g + 1) * self.block, :, 1, 1] = self.weight_temporal[rows]
        return dense

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d = self.dilation
        spatial = F.conv2d(x, self.padded_spatial_weight(), stride=self.stride, padding=d, dilation=d)
        return spatial, self.temporal_part(x)

    def temporal_part(self, x: Tensor) -> Tensor:
        """O_T: output group g reads channel block g, hence one grouped convolution; merge reads block 0 alone."""
        x = x[:, : self.types * self.block]
        return temporal_conv(x, self.weight_temporal, self.frames, self.stride, self.dilation, self.types)

    def alpha(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        assert self.integration is not None
        return self.integration(torch.cat([self.clip_means(spatial), self.clip_means(temporal)], 1))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.block}/{self.in_channels}"


class DepthwiseSTHConv(HybridConv):
    """The hybrid of a depthwise convolution (MobileNetV2), where each output channel has one input channel.

    The paper names MobileNet but not how. Here a share p of the channels is temporal and the
    others are spatial: every n-th channel, from the first on ("hybrid", interleaved), or the first
    p C ("merge"). So O_S is zero in temporal channels and O_T in spatial ones.

    With a single part in each channel, alpha_S and alpha_T of one channel would have nothing to
    balance. They are shared by a group of n channels, one temporal and its n - 1 spatial
    neighbours: alpha_T weighs the one, alpha_S the others, and they sum to one. What is
    squeezed is the one part that each channel has (C means).

    Raises:
        ValueError: p is not 1/n, n does not divide the channels, or an unknown variant.
    """

    temporal_channels: Tensor
    spatial_channels: Tensor
    group_of: Tensor

    def __init__(
        self,
        channels: int,
        stride: int = 1,
        dilation: int = 1,
        temporal_fraction: float = 1 / 4,
        variant: str = "hybrid",
        attention: bool = False,
        frames: int = 8,
        name: str = "",
    ) -> None:
        super().__init__(channels, channels, stride, dilation, variant, frames, name)
        n = temporal_types(temporal_fraction, channels)
        groups = channels // n
        group = torch.arange(groups)
        if variant == "hybrid":
            group_of = group.repeat_interleave(n)
            temporal, spatial = group * n, (group[:, None] * n + torch.arange(1, n)).flatten()
        else:
            group_of = torch.cat([group, group.repeat_interleave(n - 1)])
            temporal, spatial = group, torch.arange(groups, channels)
        self.register_buffer("group_of", group_of, persistent=False)
        self.register_buffer("temporal_channels", temporal, persistent=False)
        self.register_buffer("spatial_channels", spatial, persistent=False)
        self.weight_spatial = nn.Parameter(torch.empty(channels - groups, 1, 3, 3))
        self.weight_temporal = nn.Parameter(torch.empty(groups, 1, 3))
        self.integration = AttentiveIntegration(channels, groups, max(1, channels // 4)) if attention else None
        nn.init.normal_(self.weight_spatial, std=(2 / 9) ** 0.5)
        nn.init.normal_(self.weight_temporal, std=(2 / 3) ** 0.5)

    @torch.no_grad()
    def load_2d(self, weight: Tensor) -> None:
        """Take a depthwise weight (C, 1, 3, 3): spatial channels get theirs, temporal ones stay random.

        But they get the length, and the sign of the sum, of the spatial kernel whose place they take. What
        comes after them was trained on that kernel alone, not on a sum over many as elsewhere, and a
        channel turned upside down would teach it nothing but to unlearn. (The paper is silent here.)
        """
        self.weight_spatial.copy_(weight[self.spatial_channels])
        replaced, ours = weight[self.temporal_channels].flatten(1), self.weight_temporal.flatten(1)
        sign = torch.where(replaced.sum(1).sign() * ours.sum(1).sign() < 0, -1.0, 1.0)
        scale = sign * replaced.norm(dim=1) / ours.norm(dim=1)
        self.weight_temporal.mul_(scale[:, None, None])

    def dense_kernel(self) -> Tensor:
        """The (C, 1, 3, 3, 3) kernel with which F.conv3d in C groups gives O_S + O_T."""
        dense = self.weight_spatial.new_zeros(self.in_channels, 1, 3, 3, 3)
        dense[self.spatial_channels, :, 1] = self.weight_spatial
        dense[self.temporal_channels, :, :, 1, 1] = self.weight_temporal
        return dense

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d, C = self.dilation, self.in_channels
        weight = self.weight_spatial.new_zeros(C, 1, 3, 3).index_copy(0, self.spatial_channels, self.weight_spatial)
        spatial = F.conv2d(x, weight, stride=self.stride, padding=d, dilation=d, groups=C)
        weight = self.weight_temporal.new_zeros(C, 1, 3).index_copy(0, self.temporal_channels, self.weight_temporal)
        return spatial, temporal_conv(x, weight, self.frames, self.stride, d, groups=C)

    def alpha(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        assert self.integration is not None
        return self.integration(self.clip_means(spatial + temporal))[..., self.group_of]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={len(self.temporal_channels)}/{self.in_channels}"
