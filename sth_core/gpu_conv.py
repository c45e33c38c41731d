"""An STH-Conv on a GPU: cuDNN computes O_S, the kernels of `sth_core.kernels` the rest of Eq. 3.

`fused_forward` is the form for training, `KernelHybridConv` the one for inference; `sth_core.forms` says when.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sth_core.convolution import UNOBSERVED, ConvInput, ConvOutput, HybridLayer, Tap, temporal_conv
from sth_core.kernels import combine, packed, window_sums
from sth_core.precision import without_autocast


def fused_forward(conv: HybridLayer, x: ConvInput, tap: Tap) -> ConvOutput:
    """`HybridConv.forward`, differentiable; alpha is computed in float32."""
    s, d, frames, types = conv.stride, conv.dilation, conv.frames, conv.types
    spatial = innermost(F.conv2d(x, conv.padded_spatial_weight(), None, s, d, d))
    seen = innermost(x[:, : types * conv.block]).to(spatial.dtype)
    if s > 1:
        seen = F.avg_pool2d(seen, 1, s)  # see `temporal_conv`
    weight = packed(conv.weight_temporal).to(spatial.dtype)
    alpha_s = alpha_t = None
    if conv.integration is not None:
        with without_autocast(x.device):
            means = spatial.mean((2, 3), dtype=torch.float32).unflatten(0, (-1, frames)).mean(1)
            alpha = conv.integration(means, temporal_means(seen, weight, types, frames, d))
            alpha_s, alpha_t = (part.contiguous() for part in tap.attention(conv.name, alpha).float().unbind(1))
    return combine(seen, weight, spatial, alpha_s, alpha_t, None, None, types, frames, d, False)


def innermost(x: Tensor) -> Tensor:
    """x itself, if its channels are the innermost axis in memory, or a copy that is so."""
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)


def temporal_means(
    x: Float[Tensor, "BT C H W"], weight: Float[Tensor, "3 R N"], types: int, frames: int, dilation: int
) -> Float[Tensor, "B N"]:
    """`clip_means` of O_T, from the means of the frames of x."""
    means = x.mean((2, 3), dtype=torch.float32).unflatten(0, (-1, frames))
    read = tap_sums(means, dilation).unflatten(2, (types, -1)) / frames
    return torch.einsum("bkgr,krgm->bgm", read, weight.float().unflatten(2, (types, -1))).flatten(1)


def tap_sums(frames: Float[Tensor, "B T C"], dilation: int) -> Float[Tensor, "B 3 C"]:
    """The sum of the frames that each temporal tap reads: all but the last, all, all but the first (`dilation` 1)."""
    T = frames.shape[1]
    cut = max(T - dilation, 0)
    return torch.stack([frames[:, :cut].sum(1), frames.sum(1), frames[:, T - cut :].sum(1)], 1)


class KernelHybridConv(nn.Module):
    """A hybrid convolution and its batch norm for inference, as `FusedHybridConv`; with `relu`, the ReLU after them.

    The means of O_S and O_T are linear in the sums of the pixels that each tap reads, and the first layer of the
    integration is linear in the means. So one matrix, `squeeze`, takes the sums to the hidden units, and alpha is
    known before O_S is read. What alpha is computed from stays in float32 when the module is converted.
    """

    scale: Tensor
    shift: Tensor
    weight_spatial: Tensor
    weight_temporal: Tensor
    squeeze: Tensor

    def __init__(self, conv: HybridLayer, scale: Float[Tensor, "C_out"], shift: Float[Tensor, "C_out"]) -> None:
        super().__init__()
        self.frames, self.name, self.out_channels = conv.frames, conv.name, conv.out_channels
        self.stride, self.dilation, self.types, self.block = conv.stride, conv.dilation, conv.types, conv.block
        self.integration, self.relu = conv.integration, False
        spatial, temporal = conv.padded_spatial_weight(), conv.weight_temporal.detach()
        if self.integration is None:
            spatial, temporal = spatial * scale[:, None, None, None], temporal * scale[:, None, None]
        else:
            of_spatial, of_temporal = self.integration.squeeze.weight.chunk(2, 1)  # hidden C_out
            by_space = torch.einsum("ho,ocij->hijc", of_spatial, spatial).flatten(1, 2)  # hidden 9 C_in
            read = torch.einsum(
                "hgm,gmrk->hkgr", *(w.unflatten(d, (self.types, -1)) for w, d in ((of_temporal, 1), (temporal, 0)))
            )
            by_time = F.pad(read.flatten(2), (0, conv.in_channels - self.types * self.block))  # hidden 3 C_in
            self.register_buffer("squeeze", torch.cat([by_space, by_time], 1).flatten(1))
        self.register_buffer("weight_spatial", spatial)
        self.register_buffer("weight_temporal", packed(temporal))
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "KernelHybridConv":
        exact = {name: w.data for name, w in (*self.named_parameters(), *self.named_buffers())}
        super()._apply(fn, recurse)
        for name, w in (*self.named_parameters(), *self.named_buffers()):
            if not name.startswith("weight_"):  # what alpha is computed from is not rounded to 16 bits
                w.data = exact[name].to(w.device, torch.float32)
        return self

    def alpha(self, x: ConvInput) -> Float[Tensor, "B 2 C_out"]:
        """Of Eq. 3."""
        assert self.integration is not None
        H, W = (-(-side // self.stride) for side in x.shape[2:])
        sums = window_sums(x, self.stride, self.dilation).unflatten(0, (-1, self.frames))  # B T 9 C
        read = torch.cat([sums.sum(1), tap_sums(sums[:, :, 4], self.dilation)], 1) / (self.frames * H * W)  # B 12 C
        with without_autocast(x.device):
            hidden = F.relu(F.linear(read.flatten(1), self.squeeze, self.integration.squeeze.bias))
            return self.integration.expand(hidden).unflatten(1, (2, -1)).softmax(1)

    def forward(self, x: ConvInput, tap: Tap = UNOBSERVED) -> ConvOutput:
        s, d = self.stride, self.dilation
        spatial = innermost(F.conv2d(x, self.weight_spatial, None, s, d, d))
        seen = innermost(x)[:, : self.types * self.block, ::s, ::s].to(spatial.dtype)
        weight = self.weight_temporal.to(spatial.dtype)  # autocast does not know `combine`
        alpha_s = alpha_t = None
        if self.integration is not None:
            scaled = tap.attention(self.name, self.alpha(x)) * self.scale
            alpha_s, alpha_t = (part.contiguous() for part in scaled.unbind(1))
        types, frames = self.types, self.frames
        return combine(seen, weight, spatial, alpha_s, alpha_t, None, self.shift, types, frames, d, self.relu)


@torch.inference_mode(False)
@torch.enable_grad()
def error_of_kernels(device: torch.device) -> float:
    """The greatest relative error of `combine` and its gradients on a device, against `temporal_conv`."""
    generator = torch.Generator(device).manual_seed(0)
    x, base, dy = (innermost(torch.randn(8, 64, 6, 6, generator=generator, device=device).half()) for _ in range(3))
    weight = torch.randn(64, 16, 3, generator=generator, device=device).half()
    alpha = torch.rand(2, 64, generator=generator, device=device)
    with without_autocast(device):
        a = [w.clone().requires_grad_() for w in (x, base, weight)]
        y = combine(a[0], packed(a[2]), a[1], 1 - alpha, alpha, None, None, 4, 4, 1, False)
        b = [w.double().requires_grad_() for w in (x, base, weight)]
        alpha_t = alpha.double().repeat_interleave(4, 0)[..., None, None]
        z = (1 - alpha_t) * b[1] + alpha_t * temporal_conv(b[0], b[2], frames=4, groups=4)
        found = [y, *torch.autograd.grad(y, a, dy)]
        right = [z, *torch.autograd.grad(z, b, dy.double())]
    return max(float((p.double() - q).detach().norm() / q.detach().norm()) for p, q in zip(found, right, strict=True))
