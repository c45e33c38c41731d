"""Networks for inference: the same numbers in fewer steps.

`for_inference` folds each batch norm into the convolution before it, and computes an STH-Conv, where that is faster,
without the multiplications by the zeros of its padded kernels.
"""

import copy
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sth_core.baselines import InflatedConv, SeparableConv
from sth_core.convolution import UNOBSERVED, ConvInput, ConvOutput, Tap, temporal_conv
from sth_core.forms import grouped_are_faster, kernels_infer
from sth_core.network import VideoNetwork, channels_last
from sth_core.network_contract import Network
from sth_core.precision import HALF, without_autocast
from sth_core.sth_conv import HybridConv, clip_means, per_frame

FORMS = {  # of an STH-Conv; the first is of `gpu_conv`
    "KernelHybridConv": "Triton kernels",
    "GroupedKernels": "grouped convolutions",
    "PaddedKernel": "padded kernels",
}


@torch.inference_mode(False)
@torch.no_grad()
def for_inference(model: VideoNetwork, dtype: torch.dtype = torch.float32) -> VideoNetwork:
    """A copy of `model` in eval mode that gives the same logits and attention, faster; `model` stays as it is.

    Its weights are of type `dtype`, but for those of alpha and of the classifier, which stay in float32 where `dtype`
    is of 16 bits; so do alpha and the logits. Its clips are of type `dtype` too, or autocast converts them.
    It is not for training or saving: its weights are not those of the state_dict of `model`. It does not
    compute the branches apart, and raises ValueError for a tap that overrides `Tap.branches`.
    """
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    fast.computes_branches = False
    for parent in list(fast.modules()):
        for (name, conv), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(norm, nn.BatchNorm2d):  # it belongs to the module before it, in all backbones
                folded, act = fold_batch_norm(conv, norm, dtype), norm_name.replace("bn", "act")
                setattr(parent, name, folded)
                setattr(parent, norm_name, nn.Identity())
                if hasattr(folded, "relu") and isinstance(getattr(parent, act, None), nn.ReLU):
                    folded.relu = True  # type: ignore[assignment]
                    setattr(parent, act, nn.Identity())
    classifier = copy.deepcopy(fast.fc)
    fast.to(dtype)
    if dtype in HALF.values():
        fast.fc = classifier
    return channels_last(fast)


def form_of(model: Network) -> str:
    """How a network `for_inference` computes its convolutions, in words; of any other network that it is as it was."""
    if not isinstance(model, VideoNetwork):
        return "as its module computes"
    kinds = [type(module).__name__ for module in model.modules()]
    forms = [words for name, words in FORMS.items() if name in kinds]
    dtype = next(model.backbone.parameters()).dtype
    types = [f"weights in {name}" for name, of_name in HALF.items() if of_name == dtype]
    return "; ".join(["batch norms folded", *[f"STH convolutions as {' and '.join(forms)}"] * bool(forms), *types])


def fold_batch_norm(conv: nn.Module, norm: nn.BatchNorm2d, dtype: torch.dtype) -> nn.Module:
    """One module that computes `conv` followed by `norm`."""
    if isinstance(conv, nn.Conv2d):
        return fuse_conv_bn_eval(conv, norm)
    scale, shift = scale_and_shift(norm)
    if isinstance(conv, HybridConv):
        if kernels_infer(conv, dtype):
            from sth_core.gpu_conv import KernelHybridConv  # which needs Triton

            return KernelHybridConv(conv, scale, shift)
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


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Float[Tensor, "C"], Float[Tensor, "C"]]:
    """In eval mode the norm is x * scale + shift."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


class FusedHybridConv(nn.Module):
    """A hybrid convolution and its batch norm: scale (alpha_S O_S + alpha_T O_T) + shift (Eq. 3).

    Composed of the terms whose sum is O_S (`PaddedKernel` or `GroupedKernels`), the temporal weight, the
    integration, and the scale and shift (C_out,) of the batch norm; the scale is multiplied into alpha.
    """

    weight_temporal: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, conv: HybridConv, scale: Float[Tensor, "C_out"], shift: Float[Tensor, "C_out"]) -> None:
        super().__init__()
        self.frames, self.name, self.out_channels = conv.frames, conv.name, conv.out_channels
        self.stride, self.dilation, self.temporal_groups = conv.stride, conv.dilation, conv.temporal_groups
        self.integration = conv.integration
        self.spatial_terms = GroupedKernels(conv) if grouped_are_faster(conv) else PaddedKernel(conv)
        self.register_buffer("weight_temporal", conv.padded_temporal_weight())
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FusedHybridConv":
        exact = copy.deepcopy(self.integration), self.scale
        super()._apply(fn, recurse)
        if self.shift.dtype in HALF.values():  # alpha is not computed in 16 bits, nor from what was rounded to them
            device = self.shift.device
            self.integration, self.scale = exact[0] and exact[0].to(device), exact[1].to(device)
        return self

    def forward(self, x: ConvInput, tap: Tap = UNOBSERVED) -> ConvOutput:
        spatial = self.spatial_terms(x)
        s, d, g = self.stride, self.dilation, self.temporal_groups
        temporal = temporal_conv(x, self.weight_temporal, frames=self.frames, stride=s, dilation=d, groups=g)
        if self.integration is None:
            alpha_s = alpha_t = self.scale.to(self.shift.dtype)[:, None, None]
        else:
            mean = torch.stack([clip_means(term, self.frames) for term in spatial]).sum(0)
            with without_autocast(x.device):
                means = (m.to(self.scale.dtype) for m in (mean, clip_means(temporal, self.frames)))
                alpha = self.integration(*means)
            scaled = (tap.attention(self.name, alpha) * self.scale).to(self.shift.dtype)
            alpha_s, alpha_t = per_frame(scaled, self.frames)
        out = torch.addcmul(self.shift[:, None, None], temporal, alpha_t)
        for term in spatial:
            out = torch.addcmul(out, term, alpha_s)
        return out


class PaddedKernel(nn.Module):
    """O_S in one term: the padded kernel of Eq. 2, padded once and not in each call."""

    weight: Tensor

    def __init__(self, conv: HybridConv) -> None:
        super().__init__()
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.register_buffer("weight", conv.padded_spatial_weight())

    def forward(self, x: ConvInput) -> list[ConvOutput]:
        return [F.conv2d(x, self.weight, None, self.stride, self.dilation, self.dilation, self.groups)]


class GroupedKernels(nn.Module):
    """O_S in log2(n) terms, without the weights that are zero in the padded kernel.

    With n = 2^k kernel types, the spatial part of type g reads every block b of input channels but block g. Write g
    and b in binary: they differ first in some bit j, counted from the top. The pairs with the same j are a grouped
    convolution in 2^j groups in which each group reads its neighbour; the flip moves each result to its own type.
    So k convolutions, with 1/2, 1/4, ... 1/n of the padded kernel's multiplications, need 1 - 1/n of them.
    """

    def __init__(self, conv: HybridConv) -> None:
        super().__init__()
        self.stride, self.dilation = conv.stride, conv.dilation
        self.levels = [2**j for j in range(1, conv.types.bit_length())]
        padded = conv.padded_spatial_weight()
        for groups in self.levels:
            blocks = padded.unflatten(1, (groups, -1)).unflatten(0, (groups, -1))  # G C_out/G G C_in/G 3 3
            own = torch.arange(groups, device=padded.device)
            self.register_buffer(f"weight_{groups}", blocks[own ^ 1, :, own].flatten(0, 1))

    def forward(self, x: ConvInput) -> list[ConvOutput]:
        s, d, terms = self.stride, self.dilation, []
        for groups in self.levels:
            y = F.conv2d(x, self.get_buffer(f"weight_{groups}"), None, s, d, d, groups)
            terms.append(y.unflatten(1, (groups // 2, 2, -1)).flip(2).flatten(1, 3))
        return terms
