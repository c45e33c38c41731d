"""STHConv against the paper's equations, written out in loops or by hand."""

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sth_core import STHConv, Tap
from sth_core.convolution import temporal_conv
from sth_core.sth_conv import AttentiveIntegration, DepthwiseSTHConv, temporal_types

DOUBLE = torch.float64
FRACTIONS = [1 / 2, 1 / 4, 1 / 8]


def equation_2(conv: STHConv, x: Tensor, types: int) -> Tensor:
    """Eq. 2 as the paper writes it, one output number at a time; x is one clip (T, C_in, H, W)."""
    T, C_in, H, W = x.shape
    weight_temporal, weight_spatial = conv.weight_temporal.tolist(), conv.weight_spatial.tolist()
    block, d, s = C_in // types, conv.dilation, conv.stride
    out = torch.zeros(T, conv.out_channels, -(-H // s), -(-W // s), dtype=x.dtype)

    def pixel(t: int, c: int, h: int, w: int) -> float:
        inside = 0 <= t < T and 0 <= h < H and 0 <= w < W
        return float(x[t, c, h, w]) if inside else 0.0

    for t, m, h, w in itertools.product(*map(range, out.shape)):
        kind = m // (conv.out_channels // types) if conv.types > 1 else 0  # merge: all kernels are of type 0
        temporal_channels = range(kind * block, (kind + 1) * block)
        total, spatial_seen = 0.0, 0
        for c in range(C_in):
            if c in temporal_channels:
                for k in (-1, 0, 1):
                    total += weight_temporal[m][c - kind * block][k + 1] * pixel(t + d * k, c, s * h, s * w)
            else:
                for i, j in itertools.product((-1, 0, 1), repeat=2):
                    weight = weight_spatial[m][spatial_seen][i + 1][j + 1]
                    total += weight * pixel(t, c, s * h + d * i, s * w + d * j)
                spatial_seen += 1
        out[t, m, h, w] = total
    return out


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("p", FRACTIONS)
@pytest.mark.parametrize("variant", ["hybrid", "merge"])
def test_the_layer_is_equation_2(variant: str, p: float, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    conv = STHConv(8, 8, stride=stride, dilation=dilation, temporal_fraction=p, variant=variant, frames=3).to(DOUBLE)
    x = torch.randn(3, 8, 4, 3, dtype=DOUBLE)
    torch.testing.assert_close(conv(x), equation_2(conv, x, round(1 / p)))


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("p", FRACTIONS)
@pytest.mark.parametrize("variant", ["hybrid", "merge"])
def test_the_dense_kernel_in_a_3d_convolution_gives_the_same(
    variant: str, p: float, stride: int, dilation: int
) -> None:
    torch.manual_seed(1)
    conv = STHConv(16, 8, stride=stride, dilation=dilation, temporal_fraction=p, variant=variant, frames=4).to(DOUBLE)
    x = torch.randn(2, 4, 16, 9, 7, dtype=DOUBLE)  # B T C H W
    dense = F.conv3d(
        x.transpose(1, 2), conv.dense_kernel(), stride=(1, stride, stride), padding=dilation, dilation=dilation
    )
    torch.testing.assert_close(conv(x.flatten(0, 1)), dense.transpose(1, 2).flatten(0, 1))


@pytest.mark.parametrize("p", [1, *FRACTIONS])
@pytest.mark.parametrize("variant", ["hybrid", "merge"])
def test_a_kernel_has_the_parameters_of_section_3_2(variant: str, p: float) -> None:
    conv = STHConv(16, 24, temporal_fraction=p, variant=variant)
    kernel = p * 16 * 3 + (1 - p) * 16 * 9  # p C_i K_T + (1 - p) C_i K_H K_W
    assert sum(w.numel() for w in conv.parameters()) == 24 * kernel


def test_the_dense_kernel_is_zero_where_the_paper_has_no_weight() -> None:
    conv = STHConv(4, 4, temporal_fraction=1 / 4)
    torch.nn.init.ones_(conv.weight_spatial)
    torch.nn.init.ones_(conv.weight_temporal)
    weights = conv.dense_kernel().sum((2, 3, 4))  # of each basic kernel: 3 if temporal, 9 if spatial
    assert weights.tolist() == [[3, 9, 9, 9], [9, 3, 9, 9], [9, 9, 3, 9], [9, 9, 9, 3]]  # Fig. 2: shifted


def ones(variant: str = "hybrid", dilation: int = 1, attention: bool = False) -> STHConv:
    """Two channels in and out, p = 1/2, T = 4, every weight one."""
    conv = STHConv(2, 2, dilation=dilation, temporal_fraction=1 / 2, variant=variant, attention=attention, frames=4)
    torch.nn.init.ones_(conv.weight_spatial)
    torch.nn.init.ones_(conv.weight_temporal)
    return conv


def frames_filled_with_their_number(size: int = 3) -> Tensor:
    """T = 4 frames of 2 channels: channel 0 holds t, channel 1 holds 10 t."""
    t = torch.arange(4.0)
    return torch.stack([t, 10 * t], 1)[..., None, None].expand(4, 2, size, size).contiguous()


def test_a_clip_filled_with_its_frame_numbers_gives_numbers_known_by_heart() -> None:
    middle = ones()(frames_filled_with_their_number())[:, :, 1, 1]
    # Output 0: channel 0 over time (t-1 + t + t+1), channel 1 over 9 pixels (90 t). Output 1: the other way.
    assert middle.tolist() == [
        [0 + 0 + 1 + 0, 0 + 0 + 10 + 0],
        [0 + 1 + 2 + 90, 0 + 10 + 20 + 9],
        [1 + 2 + 3 + 180, 10 + 20 + 30 + 18],
        [2 + 3 + 0 + 270, 20 + 30 + 0 + 27],
    ]


def test_merge_reads_time_in_the_first_channels_only() -> None:
    middle = ones("merge")(frames_filled_with_their_number())[:, :, 1, 1]
    assert middle.tolist() == [[1, 1], [93, 93], [186, 186], [275, 275]]


def test_a_corner_misses_the_pixels_outside_but_no_frames() -> None:
    corner = ones()(frames_filled_with_their_number())[:, 0, 0, 0]
    assert corner.tolist() == [1, 3 + 40, 6 + 80, 5 + 120]  # 4 of 9 pixels


def test_dilation_2_reads_every_second_frame() -> None:
    middle = ones(dilation=2)(frames_filled_with_their_number(5))[:, 0, 2, 2]
    assert middle.tolist() == [0 + 2, 1 + 3 + 90, 0 + 2 + 180, 1 + 3 + 270]


def test_stride_2_reads_time_at_the_pixels_that_it_keeps() -> None:
    x = torch.arange(2 * 16.0).view(2, 1, 4, 4)  # one clip of two frames
    y = temporal_conv(x, torch.ones(1, 1, 3), frames=2, stride=2, dilation=1, groups=1)
    assert y[0, 0].tolist() == y[1, 0].tolist() == [[0 + 16, 2 + 18], [8 + 24, 10 + 26]]


def test_time_does_not_leak_between_the_clips_of_a_batch() -> None:
    torch.manual_seed(0)
    conv = STHConv(8, 8, attention=True, frames=4).to(DOUBLE)
    a, b, c = torch.randn(3, 4, 8, 5, 5, dtype=DOUBLE)
    together = conv(torch.cat([a, b])).unflatten(0, (2, 4))
    beside_another = conv(torch.cat([c, b])).unflatten(0, (2, 4))
    torch.testing.assert_close(together[1], beside_another[1])
    torch.testing.assert_close(together[0], conv(a))


class Shown(Tap):
    """Keeps what it is shown; goes on with `instead`, if that is given."""

    def __init__(self, instead: Tensor | None = None) -> None:
        self.instead = instead

    def attention(self, layer: str, alpha: Tensor) -> Tensor:
        self.layer, self.alpha = layer, alpha
        return alpha if self.instead is None else self.instead


@pytest.mark.parametrize("variant", ["hybrid", "merge"])
def test_attention_weighs_the_two_parts_as_in_equation_3(variant: str) -> None:
    torch.manual_seed(2)
    conv = STHConv(8, 8, variant=variant, attention=True, frames=3, name="layer1.0.conv2").to(DOUBLE)
    x, tap = torch.randn(6, 8, 5, 5, dtype=DOUBLE), Shown()
    y = conv(x, tap)
    spatial, temporal = conv.parts(x)
    assert tap.layer == "layer1.0.conv2" and tap.alpha.shape == (2, 2, 8)
    torch.testing.assert_close(tap.alpha.sum(1), torch.ones(2, 8, dtype=DOUBLE))
    for frame in range(6):
        alpha_s, alpha_t = tap.alpha[frame // 3]
        for m in range(8):
            expected = alpha_t[m] * temporal[frame, m] + alpha_s[m] * spatial[frame, m]
            torch.testing.assert_close(y[frame, m], expected)


def test_alpha_is_a_softmax_over_two_layers_on_the_means_of_both_parts() -> None:
    torch.manual_seed(3)
    conv = STHConv(8, 8, attention=True, frames=3).to(DOUBLE)
    x, tap = torch.randn(3, 8, 5, 5, dtype=DOUBLE), Shown()
    conv(x, tap)
    spatial, temporal = conv.parts(x)
    squeezed = torch.stack([part[:, m].mean() for part in (spatial, temporal) for m in range(8)])
    hidden = (conv.integration.squeeze.weight @ squeezed + conv.integration.squeeze.bias).clamp(min=0)
    scores = conv.integration.expand.weight @ hidden + conv.integration.expand.bias
    for m in range(8):
        share = scores[m].exp() / (scores[m].exp() + scores[8 + m].exp())
        torch.testing.assert_close(tap.alpha[0, :, m], torch.stack([share, 1 - share]))


def test_a_tap_may_replace_alpha() -> None:
    conv, x = ones(attention=True), frames_filled_with_their_number()
    halves = conv(x, Shown(torch.full((1, 2, 2), 0.5)))
    torch.testing.assert_close(halves, 0.5 * ones()(x))
    only_time = conv(x, Shown(torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])))
    assert only_time[:, :, 1, 1].tolist() == [[1, 10], [3, 30], [6, 60], [5, 50]]


@pytest.mark.parametrize(
    ("shape", "options", "sentence"),
    [
        *(
            ((8, 8), {"temporal_fraction": p}, f"temporal_fraction must be 1/n for a whole number n .*, got {p}")
            for p in (0, 0.3, 2 / 3, 2, -0.5)
        ),
        (
            (12, 8),
            {"temporal_fraction": 1 / 8},
            "1/8 needs channels that 8 divides, got 12; possible here: 1/1, 1/2, 1/3, ",
        ),
        ((8, 12), {"temporal_fraction": 1 / 8}, "1/8 needs channels that 8 divides, got 12"),
        ((4, 4), {"variant": "mixed"}, r"variant must be 'hybrid' or 'merge' \(Fig. 3\), got 'mixed'"),
    ],
)
def test_options_that_make_no_hybrid_kernels_are_refused(
    shape: tuple[int, int], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        STHConv(*shape, **options)


def test_merge_needs_no_divisible_outputs() -> None:
    conv = STHConv(8, 12, temporal_fraction=1 / 8, variant="merge")
    assert conv(torch.zeros(8, 8, 3, 3)).shape == (8, 12, 3, 3)


def test_p_written_as_a_rounded_number_is_understood() -> None:
    assert temporal_types(0.3333333, 6) == 3


def test_frames_that_are_no_whole_number_of_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="clips of 8 frames, got 12 frames in all, which is no whole number of clips"):
        STHConv(4, 4, frames=8)(torch.zeros(12, 4, 3, 3))


@pytest.mark.parametrize("seed", range(20))
def test_attention_depends_on_the_clip_from_the_start(seed: int) -> None:
    """In a layer of 16 channels too, whose 4 hidden units could all be silent for every clip."""
    torch.manual_seed(seed)
    integration = AttentiveIntegration(16)
    a_layers_means = torch.randn(1, 32)
    clips = a_layers_means + 0.05 * torch.randn(6, 32)  # clips differ little
    hidden = integration.squeeze(clips).relu()
    assert ((hidden > 0).sum(1) == 2).all()
    alpha = integration(*clips.chunk(2, 1))
    assert torch.allclose(alpha.sum(1), torch.ones(6, 16))
    assert (alpha.std(0) > 0).all()


@pytest.mark.parametrize(
    ("variant", "groups"), [("hybrid", [0, 0, 0, 0, 1, 1, 1, 1]), ("merge", [0, 1, 0, 0, 0, 1, 1, 1])]
)
def test_depthwise_channels_share_alpha_in_groups_of_n(variant: str, groups: list[int]) -> None:
    """Of 8 channels with n = 4, two are temporal: each has three spatial ones."""
    conv = DepthwiseSTHConv(8, 8, temporal_fraction=1 / 4, variant=variant, attention=True, frames=2)
    assert conv.integration.group_of.tolist() == groups
    assert [groups[i] for i in conv.temporal_channels] == [0, 1]
    assert [groups[i] for i in conv.spatial_channels] == [0, 0, 0, 1, 1, 1]


def test_a_temporal_kernel_of_five_reads_two_frames_on_both_sides() -> None:
    x = torch.arange(6.0).view(6, 1, 1, 1)  # one clip
    shifted = temporal_conv(x, torch.tensor([[[1.0, 0, 0, 0, 0]]]), frames=6)
    assert shifted.flatten().tolist() == [0, 0, 0, 1, 2, 3]
    assert temporal_conv(x, torch.tensor([[[0.0, 0, 0, 1, 0]]]), frames=6).flatten().tolist() == [1, 2, 3, 4, 5, 0]
