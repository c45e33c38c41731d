"""The explanation methods: each against its definition, by brute force or on a network whose answer is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import LayerGradientXActivation
from torch import Tensor, nn

from analysis.experiments import clip_tests
from analysis.experiments.clip_tests import CENTRE, RANDOM
from analysis.experiments.tested_maps import at_cells, cells_of, explanations
from analysis.experiments.trust_tables import (
    BEATS,
    BELIEVED,
    FAILS,
    NOT_BELIEVED,
    ON_WEIGHTS,
    OPEN,
    PASSES,
    UNDECIDED,
    TrustResults,
    conclusion,
    ranking_table,
)
from analysis.explain import pixel_maps
from analysis.explain.faithfulness import REMOVAL_TESTS
from analysis.explain.gradcam import ActivationRecorder, gradcam, signed_maps
from analysis.explain.methods import INPUT, METHODS, Question, chosen_methods, explain_clip
from sth_core.adapted import adapt, frames_first
from sth_core.errors import UserError
from sth_core.network import VideoNetwork
from sth_core.network_contract import Network
from sth_core.stopping import REQUEST, Interrupted
from tests.test_cli import ends_well, mistake
from tests.tiny import RGB, listed_clips, save_tiny, tiny_network, write_moving_video
from workbench.cli.kinds import METHOD_NAMES

PIXELS = [name for name, method in METHODS.items() if not method.layered and not method.of_attention]
LAYER = "layer2.0"


class Weighted(nn.Module):
    """Logits of two classes: the sum of weights (T, H, W) times the clip's mean over channels, and minus that."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.block = nn.Conv2d(3, 2, 4, 4)
        self.weights = nn.Parameter(weights)

    def forward(self, clips: Tensor) -> Tensor:
        score = (clips.mean(2) * self.weights).sum((1, 2, 3))
        return torch.stack([score, -score], 1) + 0 * self.block(clips.flatten(0, 1)).mean()


def linear(weights: Tensor) -> Network:
    return adapt(Weighted(weights), classes=["for", "against"], preprocessing=RGB, call=frames_first).model


@pytest.fixture(scope="module")
def model() -> VideoNetwork:
    return tiny_network(seed=1)


@pytest.fixture(scope="module")
def clip() -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def logit(model: Network, clip: Tensor, target: int) -> float:
    return float(model(clip[None])[0, target])


@pytest.mark.parametrize("against", [None, 7])
def test_weights_of_cells_are_the_papers(model: VideoNetwork, clip: Tensor, against: int | None) -> None:
    """HiResCAM: the sum over channels of gradient times activation. Layer-CAM: of positive gradients alone."""
    recorder = ActivationRecorder((LAYER,))
    logits = model(clip[None].requires_grad_(), recorder)
    (x,) = recorder.kept[LAYER]
    score = logits[0, 3] if against is None else logits[0, 3] - logits[0, against]
    (gradient,) = torch.autograd.grad(score, x)
    asked = Question(3, against, LAYER)
    found = {name: explain_clip(name, model, clip, asked).signed for name in ("hirescam", "layercam")}
    np.testing.assert_allclose(found["hirescam"], (gradient * x).sum(1).detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["layercam"], (gradient.relu() * x).sum(1).detach(), rtol=1e-5, atol=1e-6)


def test_hirescam_is_captum_s_and_branches_sum_to_the_joint_map(model: VideoNetwork, clip: Tensor) -> None:
    captum_s = LayerGradientXActivation(model, model.get_submodule(f"backbone.{LAYER}")).attribute(clip[None], target=3)
    np.testing.assert_allclose(
        gradcam(model, clip, 3, LAYER, definition="hirescam").signed, captum_s.detach().sum(1), rtol=1e-5, atol=1e-6
    )
    for definition in ("hirescam", "layercam"):
        maps = signed_maps(model, clip[None], torch.tensor([3]), ("layer2.0.conv1",), definition=definition)
        of = maps["layer2.0.conv1"]
        torch.testing.assert_close(of["joint"], of["spatial"] + of["temporal"])


def test_integrated_gradients_are_complete(model: VideoNetwork, clip: Tensor) -> None:
    fall = logit(model, clip, 3) - logit(model, torch.zeros_like(clip), 3)
    contrast = fall - (logit(model, clip, 7) - logit(model, torch.zeros_like(clip), 7))
    for against, expected in ((None, fall), (7, contrast)):
        found = explain_clip("integrated-gradients", model, clip, Question(3, against)).signed
        assert found.shape == (4, 32, 32) and found.sum() == pytest.approx(expected, rel=0.02, abs=0.02)


def test_gradient_shap_has_the_mean_of_a_linear_network(clip: Tensor) -> None:
    """Its gradient is the weight everywhere: noise of mean 0 is all that differs, and less of it over more seeds."""
    weights = torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(1))
    network, expected = linear(weights), (weights * clip.mean(1)).numpy()
    maps = [explain_clip("gradient-shap", network, clip, Question(0, seed=seed)).signed for seed in range(6)]
    errors = [np.abs(some - expected).mean() for some in (maps[0], np.mean(maps, 0))]
    assert errors[1] < 0.6 * errors[0] < 0.02 and not np.array_equal(maps[0], maps[1])
    np.testing.assert_allclose(
        explain_clip("integrated-gradients", network, clip, Question(0)).signed, expected, atol=1e-5
    )


def one_cell() -> Tensor:
    """Weights of a network that looks at one box alone: frame 2, rows 10 to 14, columns 20 to 24."""
    weights = torch.zeros(4, 32, 32)
    weights[2, 10:15, 20:25] = 1.0
    return weights


def test_occlusion_finds_the_one_box_that_counts() -> None:
    bright = torch.ones(4, 3, 32, 32)
    assert pixel_maps.occlusion_boxes(4, 32, 32) == (1, 5, 5)
    for against, expected in ((None, 25.0), (1, 50.0)):
        found = explain_clip("occlusion", linear(one_cell()), bright, Question(0, against)).signed
        np.testing.assert_allclose(found, expected * one_cell(), atol=1e-4)


def test_rise_points_at_the_one_cell_that_counts() -> None:
    bright = torch.ones(4, 3, 32, 32)
    found = explain_clip("rise", linear(one_cell()), bright, Question(0)).signed
    t, y, x = np.unravel_index(found.argmax(), found.shape)
    assert t == 2 and 9 <= y <= 15 and 19 <= x <= 25
    assert abs(found[0, 20:, :10].mean()) < 0.15 * found.max()


def test_feature_ablation_is_occlusion_of_frames_by_brute_force(model: VideoNetwork, clip: Tensor) -> None:
    found = explain_clip("feature-ablation", model, clip, Question(3)).signed
    expected = []
    for t in range(4):
        hidden = clip.clone()
        hidden[t] = 0
        expected.append(logit(model, clip, 3) - logit(model, hidden, 3))
    assert found.shape == (4, 1, 1)
    np.testing.assert_allclose(found[:, 0, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PIXELS)
def test_a_method_needs_the_passes_that_it_says_and_leaves_no_trace(
    name: str, model: VideoNetwork, clip: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[pixel_maps.ExplainedScore] = []
    before = pixel_maps.ExplainedScore.__init__

    def kept(self: pixel_maps.ExplainedScore, *given: object, **more: object) -> None:
        before(self, *given, **more)  # type: ignore[arg-type]
        counted.append(self)

    monkeypatch.setattr(pixel_maps.ExplainedScore, "__init__", kept)
    monkeypatch.setattr(pixel_maps, "VALUES_AT_ONCE", 8 * clip.numel())
    pixels, weights = clip.clone(), {key: value.clone() for key, value in model.state_dict().items()}
    random, seen = (np.random.get_state()[1].sum(), torch.get_rng_state()), []
    with torch.inference_mode():
        maps = [explain_clip(name, model, clip, Question(3), lambda *at: seen.append(at)).signed for _ in range(2)]
    assert np.array_equal(*maps) and maps[0].any()
    assert (counted[0].forwards, counted[0].backwards) == METHODS[name].passes(4, 32, 32)
    assert seen[-1] == (counted[0].forwards, counted[0].forwards) and len(seen) > 2
    assert random[0] == np.random.get_state()[1].sum() and torch.equal(random[1], torch.get_rng_state())
    assert torch.equal(clip, pixels) and not clip.requires_grad
    assert all(p.grad is None and p.requires_grad for p in model.parameters()) and not model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())


def test_a_stop_is_heard_between_two_passes(model: VideoNetwork, clip: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int) -> None:
        REQUEST.number = 15

    monkeypatch.setattr(REQUEST, "number", 0)
    done: list[int] = []
    with pytest.raises(Interrupted):
        explain_clip("rise", model, clip, Question(3), lambda at, total: (done.append(at), stop(at, total))[0])
    assert done == [pixel_maps.MOST_AT_ONCE]


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.of_attention])
def test_wrong_questions_are_refused(method: str, model: VideoNetwork, clip: Tensor) -> None:
    for asked in (Question(12, layer=LAYER), Question(1, -1, LAYER)):
        with pytest.raises(ValueError, match="is not one of 0 to 11"):
            explain_clip(method, model, clip, asked)
    with pytest.raises(ValueError, match="training mode"):
        explain_clip(method, tiny_network().train(), clip, Question(1, layer=LAYER))


def test_what_trust_tests_of_each_method(model: VideoNetwork) -> None:
    """Maps of pixels at the cells of Grad-CAM's layer, by the mean of each cell; coarser maps as they are."""
    h, w = cells_of(model, 32)
    halves = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).repeat_interleave(16, 0).repeat_interleave(16, 1)
    found = at_cells(halves.expand(4, 32, 32), (h, w))
    assert found.shape == (4, h, w) and found[0, 0, 0] == 0 and found[3, -1, -1] == 3
    assert at_cells(torch.rand(4, 1, 1), (h, w)).shape == (4, 1, 1)
    assert [e.name for e in explanations(model, 32, ("rise",))] == ["RISE"]
    assert all(e.name.startswith("Grad-CAM") for e in explanations(model, 32))


def test_a_network_without_attention_weights_has_no_rollout(model: VideoNetwork) -> None:
    assert explanations(model, 32, ("attention-rollout",)) == []
    with pytest.raises(UserError, match="has no attention weights that are known"):
        explain_clip("attention-rollout", model, torch.zeros(4, 3, 32, 32), Question(0))


def test_names_of_methods() -> None:
    assert tuple(METHODS) == METHOD_NAMES == chosen_methods("all")
    assert chosen_methods("RISE, gradcam rise") == ("gradcam", "rise")
    with pytest.raises(UserError, match=r"no explanation method 'hirescan' \(did you mean 'hirescam'\?\); possible"):
        chosen_methods("gradcam,hirescan")
    with pytest.raises(UserError, match="no explanation method is named"):
        chosen_methods(" , ")


@pytest.fixture
def fewer_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"GRADIENT_STEPS": 4, "SHAP_SAMPLES": 3, "OCCLUSION_BOXES": (2, 2, 2), "RISE_MASKS": 20}.items():
        monkeypatch.setattr(pixel_maps, name, value)
    monkeypatch.setattr(clip_tests, "REMOVAL_TESTS", REMOVAL_TESTS[::2])  # one baseline
    monkeypatch.setattr(clip_tests, "alpha_table", lambda _, result: result.row[["clip_id"]].reset_index(drop=True))


@pytest.mark.parametrize("network", ["sth", "transformer"])
def test_trust_ranks_every_method(network: str, scenes_folder: Path, tmp_path: Path, fewer_passes: None) -> None:
    data = listed_clips(scenes_folder, tmp_path / "data", val=2)
    if network == "sth":
        named: object = save_tiny(tmp_path / "sth.safetensors", width=4)
    else:
        adapted = pytest.importorskip("tests.test_adapted", reason="the extra [transformers] is not installed")
        named = f"hf:{adapted.hugging_face_folder('videomae', tmp_path)}"
    words = ("trust", named, "--data", data, "-o", tmp_path / "out", "--clips", 2, "--methods")
    said = ends_well(*words, "all")
    ranking = pd.read_csv(tmp_path / "out" / "ranking.csv")
    assert len(ranking) == 11
    serving = {method.title for method in METHODS.values() if network == "transformer" or not method.of_attention}
    assert serving - {"Grad-CAM"} <= {*ranking["explanation"]}
    assert ("Attention rollout and Gradient-weighted attention: left out" in said) == (network == "sth")
    assert set(ranking["belief"]) <= {BELIEVED, NOT_BELIEVED, UNDECIDED} and (ranking["seconds"] > 0).all()
    cost = ranking.set_index("explanation")[["forwards", "backwards"]]
    assert cost.loc["Occlusion"].tolist() == [9, 0] and cost.loc["Integrated Gradients"].tolist() == [4, 4]
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    sentence = next(line for line in said.splitlines() if line.startswith("On 2 clips"))
    assert "tests" in sentence and "On 2 clips" in page and "forward passes" in page
    if network == "sth":
        assert "holds another test of explanations (methods" in mistake(*words, "occlusion")


def test_the_best_comes_first_and_the_sentence_has_its_counts() -> None:
    results = TrustResults.__new__(TrustResults)
    clips, areas = [f"c{i}" for i in range(9)], {"good": 0.1, "bad": 0.9, "open": 0.4, RANDOM: 0.5, CENTRE: 0.5}
    results.groups = pd.Series(clips, clips)
    results.curves = pd.DataFrame(
        {"clip_id": clip, "way": "time", "direction": "deletion", "baseline": "frozen", "explanation": name,
         "area": area + 0.01 * i * (name == "good")}
        for i, clip in enumerate(clips) for name, area in areas.items()
    )  # fmt: skip
    results.costs = pd.DataFrame(
        {"explanation": ["good", "bad", "open"], "forwards": 1, "backwards": 1, "seconds": 0.5}
    )
    beats = f"{BEATS}, time"
    verdicts = pd.DataFrame(
        [("bad", beats, FAILS), ("bad", ON_WEIGHTS, PASSES), ("open", beats, PASSES), ("open", ON_WEIGHTS, OPEN),
         ("good", beats, PASSES), ("good", ON_WEIGHTS, PASSES)], columns=["explanation", "question", "verdict"],
    )  # fmt: skip
    ranking = ranking_table(results, verdicts)
    assert ranking["explanation"].tolist() == ["good", "open", "bad"]
    assert ranking["belief"].tolist() == [BELIEVED, UNDECIDED, NOT_BELIEVED]
    assert ranking["value"].tolist() == pytest.approx([0.36, 0.1, -0.4])
    said = conclusion(ranking, 9)
    assert said.startswith("On 9 clips, believe: good (passes 2 and fails 0 of 2 tests, areas +0.360 better than")
    assert "Do not believe: bad (passes 1 and fails 1 of 2 tests" in said and "95 %: +0.3" in said
    nothing = conclusion(ranking[ranking["belief"] == NOT_BELIEVED], 9)
    assert nothing.startswith("On 9 clips, no explanation can be believed yet. Do not believe: bad")


def test_cam_by_every_kind_of_method(checkpoint: Path, tmp_path: Path) -> None:
    video = write_moving_video(tmp_path / "video.mp4", frames=12)
    for method, shape in (("layercam", None), ("occlusion", (32, 32)), ("feature-ablation", (1, 1))):
        ends_well("cam", checkpoint, video, "-o", tmp_path / "x.mp4", "--method", method, "--clips", 2)
        maps = np.load(tmp_path / "x.npy")
        assert len(maps) == 8 and (shape is None or maps.shape[1:] == shape)
        recipe = json.loads((tmp_path / "x.json").read_text())
        assert (recipe["method"], recipe["layer"] == INPUT) == (method, shape is not None)
        assert recipe["overlay_shift"] == 0 or shape is None
    words = ("cam", checkpoint, video, "-o", tmp_path / "y.mp4", "--method")
    assert "Occlusion explains the pixels; leave --layer" in mistake(*words, "occlusion", "--layer", "layer1.0")
    assert "--definition is of Grad-CAM" in mistake(*words, "hirescam", "--definition", "per_clip")
