"""Depthwise hybrids and the paper's baselines, against torch's own 3D convolution and by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sth_core import Tap
from sth_core.baselines import InflatedConv, SeparableConv, SpatialConv
from sth_core.sth_conv import DepthwiseSTHConv

DOUBLE = torch.float64


def as_clips(x: Tensor, frames: int) -> Tensor:
    return x.unflatten(0, (-1, frames)).transpose(1, 2)  # B C T H W


def as_frames(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(0, 1)


def conv3d(x: Tensor, kernel: Tensor, frames: int, stride: int, dilation: int, groups: int = 1) -> Tensor:
    padding = [dilation * (k // 2) for k in kernel.shape[2:]]
    y = F.conv3d(as_clips(x, frames), kernel, None, (1, stride, stride), padding, dilation, groups)
    return as_frames(y)


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("p", [1, 1 / 2, 1 / 4, 1 / 8])
@pytest.mark.parametrize("variant", ["hybrid", "merge"])
def test_a_depthwise_hybrid_is_one_depthwise_3d_convolution(variant: str, p: float, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    conv = DepthwiseSTHConv(
        16, 16, stride=stride, dilation=dilation, temporal_fraction=p, variant=variant, frames=4
    ).to(DOUBLE)
    x = torch.randn(8, 16, 9, 7, dtype=DOUBLE)
    torch.testing.assert_close(conv(x), conv3d(x, conv.dense_kernel(), 4, stride, dilation, groups=16))


@pytest.mark.parametrize(
    ("variant", "temporal"), [("hybrid", [1, 0, 0, 0, 1, 0, 0, 0]), ("merge", [1, 1, 0, 0, 0, 0, 0, 0])]
)
def test_a_share_p_of_the_channels_is_temporal(variant: str, temporal: list[int]) -> None:
    conv = DepthwiseSTHConv(8, 8, variant=variant)
    for weight in conv.parameters():
        torch.nn.init.ones_(weight)
    assert conv.dense_kernel().sum((1, 2, 3, 4)).tolist() == [3 if t else 9 for t in temporal]
    spatial, temporal_part = conv.parts(torch.ones(8, 8, 3, 3))
    assert (spatial.abs().sum((0, 2, 3)) > 0).tolist() == [not t for t in temporal]
    assert (temporal_part.abs().sum((0, 2, 3)) > 0).tolist() == [bool(t) for t in temporal]


@pytest.mark.parametrize("variant", ["hybrid", "merge"])
def test_a_random_temporal_kernel_gets_length_and_sign_of_the_depthwise_kernel_in_whose_place_it_is(
    variant: str,
) -> None:
    conv = DepthwiseSTHConv(64, 64, variant=variant)
    random = conv.weight_temporal.detach().clone()
    weight = torch.randn(64, 1, 3, 3)
    conv.load_2d(weight)
    temporal, replaced = conv.weight_temporal.detach().flatten(1), weight[conv.temporal_channels].flatten(1)
    torch.testing.assert_close(temporal.norm(dim=1), replaced.norm(dim=1))
    assert torch.equal(temporal.sum(1).sign(), replaced.sum(1).sign())
    cosines = torch.cosine_similarity(temporal, random.flatten(1))
    torch.testing.assert_close(cosines.abs(), torch.ones(16))  # its direction is still its own
    assert torch.equal(conv.weight_spatial.detach(), weight[conv.spatial_channels])
    conv.load_2d(torch.zeros(64, 1, 3, 3))
    assert conv.weight_temporal.isfinite().all()


class Watch(Tap):
    def attention(self, layer: str, alpha: Tensor) -> Tensor:
        self.alpha = alpha
        return alpha


@pytest.mark.parametrize(
    ("variant", "groups"), [("hybrid", [0, 0, 0, 0, 1, 1, 1, 1]), ("merge", [0, 1, 0, 0, 0, 1, 1, 1])]
)
def test_depthwise_attention_is_shared_by_a_temporal_channel_and_its_spatial_ones(
    variant: str, groups: list[int]
) -> None:
    torch.manual_seed(0)
    conv, tap = DepthwiseSTHConv(8, 8, variant=variant, attention=True, frames=4).to(DOUBLE), Watch()
    torch.nn.init.ones_(conv.integration.squeeze.bias)
    x = torch.randn(8, 8, 5, 5, dtype=DOUBLE)
    y, (spatial, temporal) = conv(x, tap), conv.parts(x)
    assert tap.alpha.shape == (2, 2, 8)
    torch.testing.assert_close(tap.alpha.sum(1), torch.ones(2, 8, dtype=DOUBLE))
    for a in range(8):
        for b in range(8):
            assert torch.equal(tap.alpha[:, :, a], tap.alpha[:, :, b]) == (groups[a] == groups[b])
    for frame in range(8):
        alpha_s, alpha_t = tap.alpha[frame // 4, :, :, None, None]
        torch.testing.assert_close(y[frame], alpha_s * spatial[frame] + alpha_t * temporal[frame])


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_2_plus_1_d_is_two_3d_convolutions(stride: int, dilation: int, groups: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 8, 7, 6, dtype=DOUBLE)
    for parallel in (True, False):
        conv = SeparableConv(8, 8, parallel=parallel, stride=stride, dilation=dilation, groups=groups, frames=4).to(
            DOUBLE
        )
        torch.nn.init.normal_(conv.weight_temporal)
        space, time = conv.weight_spatial[:, :, None], conv.weight_temporal[..., None, None]
        spatial = conv3d(x, space, 4, stride, dilation, groups)
        if parallel:
            expected = spatial + conv3d(x, time, 4, stride, dilation, groups)
        else:
            expected = conv3d(spatial, time, 4, 1, dilation, groups)
        torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 3])
def test_3d_is_torchs_3d_convolution(dilation: int, stride: int) -> None:
    conv = InflatedConv(4, 6, stride=stride, dilation=dilation, frames=4).to(DOUBLE)
    x = torch.randn(8, 4, 7, 6, dtype=DOUBLE)
    torch.testing.assert_close(conv(x), conv3d(x, conv.weight, 4, stride, dilation))


def test_2d_sees_each_frame_alone() -> None:
    conv = SpatialConv(4, 4).to(DOUBLE)
    x = torch.randn(8, 4, 5, 5, dtype=DOUBLE)
    torch.testing.assert_close(conv(x)[3], conv(x[3:4])[0])
