"""The weights before training: their variances, the sizes of the attention, and alpha by hand."""

import math

import pytest
import torch
from torch import nn

from sth_core import STHConv, create_model
from sth_core.baselines import InflatedConv, SeparableConv
from sth_core.sth_conv import AttentiveIntegration, DepthwiseSTHConv, temporal_types

HE_STH = 2 / (9 * 192 + 3 * 64)  # 256 outputs of as many inputs, p = 1/4: a kernel has 9 x 192 + 3 x 64 weights


@pytest.mark.parametrize(
    ("make", "variances"),
    [
        (lambda: STHConv(256, 256), {"weight_spatial": HE_STH, "weight_temporal": HE_STH}),
        (lambda: STHConv(256, 256, variant="merge"), {"weight_spatial": HE_STH, "weight_temporal": HE_STH}),
        (
            lambda: STHConv(64, 256, temporal_fraction=1 / 2),  # 256 x (9 x 32 + 3 x 32) / 64
            {"weight_spatial": 2 / 1536, "weight_temporal": 2 / 1536},
        ),
        (lambda: DepthwiseSTHConv(2**14, 2**14), {"weight_spatial": 2 / 9, "weight_temporal": 2 / 3}),
        (
            lambda: SeparableConv(64, 128, parallel=True),
            {"weight_spatial": 2 / (128 * 9), "weight_temporal": 2 / (128 * 3)},
        ),
        (lambda: InflatedConv(32, 64), {"weight": 2 / (64 * 27)}),
        (lambda: create_model("resnet18", 200, conv="2d").fc, {"weight": 1e-6}),
        (
            lambda: create_model("resnet18", 5, conv="2d", width=32).backbone,
            {"conv1.weight": 2 / (32 * 49), "layer4.1.conv2.weight": 2 / (256 * 9)},
        ),
    ],
    ids=["hybrid", "merge", "p = 1/2", "depthwise", "(2+1)D", "3d", "classifier", "plain convolutions"],
)
def test_weights_have_the_variance_of_he(make, variances: dict[str, float]) -> None:
    """2 / fan-out, so that an output has the variance of a 2D layer's; the classifier begins near zero."""
    torch.manual_seed(0)
    module = make()
    for name, expected in variances.items():
        weight = module.get_parameter(name).detach()
        assert abs(float(weight.mean())) < 5 * math.sqrt(expected / weight.numel())
        accuracy = 5 * math.sqrt(2 / weight.numel())  # five standard deviations of a sample variance
        assert float(weight.var()) == pytest.approx(expected, rel=accuracy) and accuracy < 0.11


def test_a_sequential_2_plus_1_d_network_starts_as_the_2d_one() -> None:
    weight = SeparableConv(4, 4, parallel=False).weight_temporal.detach()
    assert torch.equal(weight, torch.tensor([0.0, 1.0, 0.0]) * torch.eye(4)[..., None])


@pytest.mark.parametrize(
    ("channels", "groups", "read", "hidden", "written"),
    [(64, None, 128, 16, 128), (10, None, 20, 2, 20), (3, None, 6, 1, 6), (64, 16, 64, 16, 32), (8, 2, 8, 2, 4)],
)
def test_attention_squeezes_to_a_quarter_of_the_channels(channels, groups, read, hidden, written) -> None:
    group_of = None if groups is None else torch.arange(groups).repeat_interleave(channels // groups)
    integration = AttentiveIntegration(channels, groups, group_of)
    assert integration.squeeze.weight.shape == (hidden, read)
    assert integration.expand.weight.shape == (written, hidden)
    assert not integration.squeeze.bias.any()
    for unit in range(0, hidden - 1, 2):  # in pairs of opposite weights, one of which is active for every clip
        assert torch.equal(integration.squeeze.weight[unit], -integration.squeeze.weight[unit + 1])
        assert integration.squeeze.weight[unit].all()


def filled(linear: nn.Linear, rows: list[list[float]]) -> None:
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(rows))
        linear.bias.zero_()


def share(of: float, other: float) -> float:
    return math.exp(of) / (math.exp(of) + math.exp(other))


def test_alpha_by_hand() -> None:
    """Two channels: one hidden unit, 1 x 1 + 10 x 2 + 100 x 3 - 80 x 4 = 1; unit 2 below zero would count as 0."""
    integration = AttentiveIntegration(2)
    filled(integration.squeeze, [[1.0, 10.0, 100.0, -80.0]])
    filled(integration.expand, [[2.0], [0.0], [0.0], [1.0]])  # alpha_S of both channels, alpha_T of both
    spatial, temporal = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    alpha = integration(spatial, temporal)
    assert alpha.shape == (1, 2, 2)
    torch.testing.assert_close(alpha[0], torch.tensor([[share(2, 0), share(0, 1)], [share(0, 2), share(1, 0)]]))
    assert (integration(-spatial, -temporal) == 0.5).all()  # -1, after the ReLU 0


def test_alpha_of_a_depthwise_layer_by_hand() -> None:
    """Two groups of a temporal channel and a spatial one. The sum of the means is (5, 1, 7, 2); 5 + 1 - 7 + 2 = 1."""
    integration = AttentiveIntegration(4, 2, torch.tensor([0, 0, 1, 1]))
    filled(integration.squeeze, [[1.0, 1.0, -1.0, 1.0]])
    filled(integration.expand, [[2.0], [0.0], [0.0], [1.0]])
    alpha = integration(torch.tensor([[0.0, 1.0, 0.0, 2.0]]), torch.tensor([[5.0, 0.0, 7.0, 0.0]]))
    first, second = [share(2, 0), share(0, 2)], [share(0, 1), share(1, 0)]
    torch.testing.assert_close(alpha[0].T, torch.tensor([first, first, second, second]))


@pytest.mark.parametrize(("p", "n"), [(1, 1), (1 / 2, 2), (0.25, 4), (1 / 3, 3), (0.3333333, 3), (0.2500001, 4)])
def test_p_is_one_over_a_whole_number(p: float, n: int) -> None:
    assert temporal_types(p) == n


@pytest.mark.parametrize("p", [0.26, 0.24, 0.251, 0.249, 0.33, 0.34, 0.9, 0.51, 1.0000005, 1.0001, 1.2, 0, -0.25, -1])
def test_p_near_one_over_a_whole_number_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=f"temporal_fraction must be 1/n for a whole number n .*, got {p}"):
        temporal_types(p)
