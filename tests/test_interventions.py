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
    RESET_TO_SPATIAL,
    RESET_TO_TEMPORAL,
    WITHOUT_SPATIAL,
    WITHOUT_TEMPORAL,
    SetAlpha,
    donor_of,
    donor_pool,
    intervention_table,
    interventions,
    places,
    replacement_rows,
    replacing,
)
from sth_core.network import VideoNetwork, create_model
from sth_core.network_contract import AttentionRecorder
from sth_core.sth_conv import STHConv
from tests.tiny import tiny_network


@pytest.fixture(scope="module")
def model() -> VideoNetwork:
    return tiny_network(seed=1)


@pytest.fixture(scope="module")
def clips() -> Tensor:
    return torch.randn(3, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("kind", "share", "learnt"),
    [
        (HALF, (0.5, 0.5), False), (RESET_TO_SPATIAL, (1, 0), False), (RESET_TO_TEMPORAL, (0, 1), False),
        (WITHOUT_TEMPORAL, (1, 0), True), (WITHOUT_SPATIAL, (0, 1), True),
    ],
)  # fmt: skip
def test_a_layer_weighs_its_parts_as_it_is_told(kind: str, share: tuple[float, float], learnt: bool) -> None:
    """Without one part, the other keeps its learnt weights: (alpha_S, 0) is not (1, 0)."""
    torch.manual_seed(0)
    conv = STHConv(8, 8, attention=True, frames=4, name="it").eval()
    x = torch.randn(8, 8, 5, 5)
    spatial, temporal = conv.parts(x)
    recorder = AttentionRecorder()
    conv(x, recorder)
    weights = recorder.recorded["it"].repeat_interleave(4, 0)[..., None, None] if learnt else torch.ones(8, 2, 1, 1, 1)
    found = conv(x, replacing(kind, ["it"]))
    expected = share[0] * weights[:, 0] * spatial + share[1] * weights[:, 1] * temporal
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(conv(x, replacing(kind, ["another layer"])), conv(x))


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
    alone = {kind for _, kind, _ in interventions(model, clips[:1], mean, {})}
    assert alone == set(REPLACEMENTS) - {ANOTHER_CLIP}
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
    layers = [layer.name for layer in model.attention_layers]
    kinds = [WITHOUT_TEMPORAL, RESET_TO_TEMPORAL] * 6

    def ask(kind: str) -> Tensor:
        with torch.inference_mode():
            return model(clips, replacing(kind, layers, mean))

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
    clips = pd.DataFrame({"clip_id": ["x", "y", "z"], "label": ["a", "b", "unknown"]}, index=[4, 9, 2])
    plain = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    now = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 3.0]])
    rows = replacement_rows(clips, ["a", "b"], plain, now, place="layer1", kind=HALF)
    assert list(rows) == [
        "clip_id", "place", "kind", "label", "plain_prediction", "prediction", "plain_correct", "correct",
        "logit_label", "score_label", "score_plain",
    ]  # fmt: skip
    assert list(rows["plain_prediction"]) == ["a", "a", "b"] and list(rows["prediction"]) == ["b", "a", "b"]
    assert list(rows["plain_correct"][:2]) == [True, False] and list(rows["correct"][:2]) == [False, False]
    assert rows.loc[2, ["plain_correct", "correct"]].isna().all()  # the network does not know the label
    np.testing.assert_allclose(rows["logit_label"], [-1.5, 0, np.nan])  # (0 - 0.5) - (2 - 1)
    sigmoid = [1 / (1 + np.exp(-x)) for x in (-1, 2)]
    np.testing.assert_allclose(rows["score_label"], [sigmoid[0] - sigmoid[1], 0, np.nan], atol=1e-6)
    assert set(rows["kind"]) == {HALF}


def test_the_replacements_have_the_names_of_the_tables() -> None:
    assert REPLACEMENTS == (
        "one half", "no temporal part: (α_S, 0)", "no spatial part: (0, α_T)", "reset to (1, 0)", "reset to (0, 1)",
        "the dataset's mean", "another clip's",
    )  # fmt: skip
    assert EVERY_LAYER == "everywhere"


def test_a_donor_is_another_clip_of_another_class() -> None:
    labels = ["a", "b", "a", "c", "a", "a"]
    found = [donor_of(i, labels, range(6), seed=3) for i in range(6)]
    assert all(j is not None and labels[i] != labels[j] for i, j in enumerate(found))
    assert found == [donor_of(i, labels, range(6), seed=3) for i in range(6)]
    assert len({tuple(donor_of(i, labels, range(6), seed) for i in range(6)) for seed in range(20)}) > 10
    for n in range(2, 10):  # of one class only: still never the clip itself, and not always the same other
        assert all(donor_of(i, ["a"] * n, range(n)) not in (i, None) for i in range(n))
    assert donor_of(0, ["a"], [0]) is None and donor_of(1, ["a", "a"], [0]) == 0


def test_donors_are_drawn_from_the_whole_set() -> None:
    assert donor_pool(5) == [0, 1, 2, 3, 4]
    pool = donor_pool(10_000, seed=1)
    assert len(set(pool)) == 256 and pool == sorted(pool) and max(pool) > 9_000 and pool != donor_pool(10_000, seed=2)


def test_a_clip_without_finite_scores_under_an_intervention_is_left_out(model: VideoNetwork, clips: Tensor) -> None:
    with torch.inference_mode():
        plain, alphas = model.forward_with_attention(clips[:1])
    classes = [str(i) for i in range(plain.shape[1])]
    rows = pd.DataFrame({"clip_id": ["a"], "label": ["0"]})
    mean = {layer: alpha[0] for layer, alpha in alphas.items()}
    table = intervention_table(model, clips[:1], rows, classes, plain, mean, alphas)
    assert len(table) == len(places(model)) * 7 and table["kind"].value_counts().nunique() == 1
    broken = {layer: torch.full_like(alpha, torch.nan) for layer, alpha in alphas.items()}
    assert intervention_table(model, clips[:1], rows, classes, plain, mean, broken).empty
