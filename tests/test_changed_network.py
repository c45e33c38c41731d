"""A network whose α is replaced is explained as any other, and the network that it shares stays as it is."""

import pytest
import torch

from analysis.explain.alpha_replacement import HALF, WITHOUT_SPATIAL, WITHOUT_TEMPORAL, replacing
from analysis.explain.changed_network import ChangedNetwork
from analysis.explain.gradcam import gradcam
from analysis.explain.methods import METHODS, Question, explain_clip
from sth_core.network import VideoNetwork
from tests.tiny import tiny_network

LAYER = "layer1.0.conv1"


@pytest.fixture(scope="module")
def sth() -> VideoNetwork:
    return tiny_network(seed=2)


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def changed(sth: VideoNetwork, how: str) -> ChangedNetwork:
    return ChangedNetwork(sth, replacing(how, [layer.name for layer in sth.attention_layers]))


def test_its_logits_are_those_of_the_replaced_attention(sth: VideoNetwork, clip: torch.Tensor) -> None:
    network = changed(sth, HALF)
    assert torch.equal(network(clip[None]), sth(clip[None], network.replacement))
    assert not torch.equal(network(clip[None]), sth(clip[None]))
    assert network.attention_layers == sth.attention_layers and not network.training


@pytest.mark.parametrize(("how", "gone"), [(WITHOUT_TEMPORAL, "temporal"), (WITHOUT_SPATIAL, "spatial")])
def test_a_branch_that_is_taken_away_has_no_map(how: str, gone: str, sth: VideoNetwork, clip: torch.Tensor) -> None:
    before = gradcam(sth, clip, 0, LAYER, branch=gone).signed
    assert before.any()
    assert not gradcam(changed(sth, how), clip, 0, LAYER, branch=gone).signed.any()
    assert (gradcam(sth, clip, 0, LAYER, branch=gone).signed == before).all()


@pytest.mark.parametrize("method", ["hirescam", "integrated-gradients"])
def test_other_methods_explain_it_too(method: str, sth: VideoNetwork, clip: torch.Tensor) -> None:
    asked = Question(0, layer=LAYER)
    plain, other = (explain_clip(method, network, clip, asked).signed for network in (sth, changed(sth, HALF)))
    assert plain.shape == other.shape and (plain != other).any() and METHODS[method].serves(changed(sth, HALF))
