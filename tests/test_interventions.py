"""alpha replaced where it is computed: the predictions by hand, without a trace, in several threads."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from analysis.explain.alpha_replacement import (
    ANOTHER_CLIP,
    DATASET_MEAN,
    EVERY_LAYER,
    HALF,
    REPLACEMENTS,
    SPATIAL_ONLY,
    TEMPORAL_ONLY,
    SetAlpha,
    donor_clips,
    intervention_table,
    interventions,
    places,
    replacement,
    replacement_rows,
)
from sth_core.network import VideoNetwork, create_model
from sth_core.sth_conv import STHConv
from tests.tiny import tiny_network


@pytest.fixture(scope="module")
def model() -> VideoNetwork:
    return tiny_network(seed=1)


@pytest.fixture(scope="module")
def clips() -> Tensor:
    return torch.randn(3, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("kind", "share"), [(HALF, (0.5, 0.5)), (SPATIAL_ONLY, (1, 0)), (TEMPORAL_ONLY, (0, 1))])
def test_a_layer_weighs_its_parts_as_it_is_told(kind: str, share: tuple[float, float]) -> None:
    torch.manual_seed(0)
    conv = STHConv(8, 8, attention=True, frames=4, name="it").eval()
    x = torch.randn(8, 8, 5, 5)
    spatial, temporal = conv.parts(x)
    values = replacement(kind, {"it": torch.zeros(2, 8)}, {})
    found = conv(x, SetAlpha(values))
    assert torch.allclose(found, share[0] * spatial + share[1] * temporal, atol=1e-6)
    assert torch.equal(conv(x, SetAlpha({"another layer": values["it"]})), conv(x))


def test_its_own_alpha_put_back_changes_nothing(model: VideoNetwork, clips: Tensor) -> None:
    with torch.inference_mode():
        logits, alphas = model.forward_with_attention(clips)
        assert torch.equal(model(clips, SetAlpha(alphas)), logits)


def test_every_place_and_kind(model: VideoNetwork, clips: Tensor) -> None:
    logits, alphas = model.forward_with_attention(clips)
    mean = {name: alpha.mean(0) for name, alpha in alphas.items()}
    other = {name: alpha.roll(1, 0) for name, alpha in alphas.items()}
    found = {(place, kind): out for place, kind, out in interventions(model, clips, mean, other)}
    layers = [layer.name for layer in model.attention_layers]
    assert list(places(model)) == [*layers, "layer1", "layer2", "layer3", "layer4", EVERY_LAYER]
    assert list(found) == [(place, kind) for place in places(model) for kind in REPLACEMENTS]
    half = {name: torch.full((2, alpha.shape[2]), 0.5) for name, alpha in alphas.items()}
    with torch.inference_mode():
        assert torch.equal(found[EVERY_LAYER, HALF], model(clips, SetAlpha(half)))
        some = {name: half[name] for name in layers if name.startswith("layer2")}
        assert torch.equal(found["layer2", HALF], model(clips, SetAlpha(some)))
        assert torch.equal(
            found["layer1.0.conv1", DATASET_MEAN], model(clips, SetAlpha({"layer1.0.conv1": mean["layer1.0.conv1"]}))
        )
        assert torch.equal(found[EVERY_LAYER, ANOTHER_CLIP], model(clips, SetAlpha(other)))
        assert not torch.equal(found[EVERY_LAYER, HALF], logits)
        assert torch.equal(model(clips), logits)  # no trace


def test_two_threads_replace_what_they_were_told(model: VideoNetwork, clips: Tensor) -> None:
    alphas = model.forward_with_attention(clips)[1]
    mean = {name: alpha.mean(0).detach() for name, alpha in alphas.items()}
    kinds = [SPATIAL_ONLY, TEMPORAL_ONLY] * 6

    def ask(kind: str) -> Tensor:
        with torch.inference_mode():
            return model(clips, SetAlpha(replacement(kind, mean, {})))

    alone = {kind: ask(kind) for kind in kinds}
    with ThreadPoolExecutor(2) as pool:
        for kind, found in zip(kinds, pool.map(ask, kinds), strict=True):
            assert torch.allclose(found, alone[kind], atol=1e-5)


@pytest.mark.parametrize("changes", [{"conv": "2d"}, {"conv": "tsm"}, {"attention": False}])
def test_a_network_without_attention_is_refused(changes: dict[str, Any]) -> None:
    model = create_model("resnet18", 3, frames=2, **({"width": 8} | changes))
    with pytest.raises(ValueError, match="has no α to replace"):
        places(model)


def test_outcomes_by_hand() -> None:
    clips = pd.DataFrame({"clip_id": ["x", "y", "z"], "label": ["a", "b", "unknown"]})
    plain = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    now = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 3.0]])
    rows = replacement_rows(clips, ["a", "b"], plain, now, place="layer1", kind=HALF)
    assert list(rows["plain_prediction"]) == ["a", "a", "b"] and list(rows["prediction"]) == ["b", "a", "b"]
    assert list(rows["plain_correct"][:2]) == [True, False] and list(rows["correct"][:2]) == [False, False]
    assert rows.loc[2, ["plain_correct", "correct"]].isna().all()  # the network does not know the label
    np.testing.assert_allclose(rows["logit_label"], [-1.5, 0, np.nan])  # (0 - 0.5) - (2 - 1)
    sigmoid = [1 / (1 + np.exp(-x)) for x in (-1, 2)]
    np.testing.assert_allclose(rows["score_label"], [sigmoid[0] - sigmoid[1], 0, np.nan], atol=1e-6)
    assert set(rows["kind"]) == {HALF}


def test_the_replacements_have_the_names_of_the_tables() -> None:
    names = ("one half", "spatial only", "temporal only", "the dataset's mean", "another clip's")
    assert names == REPLACEMENTS and EVERY_LAYER == "everywhere"


def test_a_donor_is_another_clip_of_another_class() -> None:
    labels = ["a", "b", "a", "c", "a", "a"]
    found = donor_clips(labels, seed=3)
    assert all(labels[i] != labels[j] for i, j in enumerate(found)) and found == donor_clips(labels, seed=3)
    assert donor_clips(labels) == donor_clips(labels, seed=0) != donor_clips(labels, seed=1)
    assert all(i != j for n in range(2, 10) for i, j in enumerate(donor_clips(["a"] * n))) and donor_clips(["a"]) == [0]


def test_a_clip_without_finite_scores_under_an_intervention_is_left_out(model: VideoNetwork, clips: Tensor) -> None:
    with torch.inference_mode():
        plain, alphas = model.forward_with_attention(clips[:1])
    classes = [str(i) for i in range(plain.shape[1])]
    rows = pd.DataFrame({"clip_id": ["a"], "label": ["0"]})
    mean = {layer: alpha[0] for layer, alpha in alphas.items()}
    table = intervention_table(model, clips[:1], rows, classes, plain, mean, alphas)
    assert len(table) == len(places(model)) * 5 and table["kind"].value_counts().nunique() == 1
    broken = {layer: torch.full_like(alpha, torch.nan) for layer, alpha in alphas.items()}
    assert intervention_table(model, clips[:1], rows, classes, plain, mean, broken).empty
