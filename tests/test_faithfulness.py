"""Deletion, insertion and their controls, by hand; and on a network that looks at one place and moment."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.explain.faithfulness import (
    BASELINES_OF,
    REMOVAL_TESTS,
    SPACE,
    SPACE_TIME,
    TIME,
    RemovalTest,
    area_under_curve,
    baseline_clip,
    blurred,
    centre_prior,
    kept_masks,
    occlusion_drop,
    random_map,
    removal_curve,
)
from analysis.explain.weight_randomization import randomized_models
from sth_core.network import create_model
from tests.tiny import tiny_network


class Watches(nn.Module):
    """Two classes; the first's logit is the brightness of one pixel block in one frame."""

    def __init__(self, frame: int, y: int, x: int) -> None:
        super().__init__()
        self.at = (frame, y, x)

    def forward(self, clips: Tensor) -> Tensor:
        t, y, x = self.at
        seen = clips[:, t, :, y : y + 4, x : x + 4].mean((1, 2, 3))
        return torch.stack([8 * seen - 4, torch.zeros_like(seen)], 1)


@pytest.fixture
def clip() -> Tensor:
    clip = torch.zeros(4, 3, 16, 16)
    clip[1, :, 8:12, 4:8] = 1.0  # not in the middle frame, which "frozen" repeats
    return clip


TRUE_MAP = torch.zeros(4, 4, 4)
TRUE_MAP[1, 2, 1] = 1.0


@pytest.mark.parametrize("test", REMOVAL_TESTS, ids=lambda t: f"{t.direction} in {t.way}, {t.baseline}")
def test_the_true_map_beats_the_controls_and_its_opposite_does_not(test: RemovalTest, clip: Tensor) -> None:
    model = Watches(1, 8, 4)

    def at(maps: Tensor) -> float:
        return area_under_curve(*removal_curve(model, clip, 0, maps, test))

    controls = [at(random_map(4, 4, 4, seed)) for seed in range(8)] + [at(centre_prior(4, 4, 4))]
    better = at(TRUE_MAP) - np.mean(controls)
    worse = at(-TRUE_MAP) - np.mean(controls)
    if test.direction == "deletion":
        better, worse = -better, -worse
    assert better > 0.05 and worse < -0.02, (better, worse)


def test_curves_begin_and_end_with_the_whole_clip_and_the_baseline(clip: Tensor) -> None:
    model = Watches(1, 8, 4)
    whole, replaced = (float(model(x[None]).softmax(1)[0, 0]) for x in (clip, baseline_clip(clip, "frozen")))
    for way, steps in ((SPACE, 6), (SPACE_TIME, 6), (TIME, 4)):
        shares, deleted = removal_curve(model, clip, 0, TRUE_MAP, RemovalTest(way, "deletion", "frozen"))
        assert shares.tolist() == pytest.approx([i / steps for i in range(steps + 1)])
        assert (deleted[0], deleted[-1]) == pytest.approx((whole, replaced))
        _, inserted = removal_curve(model, clip, 0, TRUE_MAP, RemovalTest(way, "insertion", "frozen"))
        assert (inserted[0], inserted[-1]) == pytest.approx((replaced, whole))


def test_what_is_kept_by_hand() -> None:
    maps = torch.tensor([[[4.0, 3.0]], [[1.0, 2.0]]])  # T = 2, one row of two cells
    shares, kept = kept_masks(maps, TIME, (1, 2))
    assert shares.tolist() == [0, 0.5, 1]
    assert kept[:, :, 0, 0].tolist() == [[True, True], [False, True], [False, False]]
    _, kept = kept_masks(maps, SPACE_TIME, (1, 2), steps=4)
    assert kept.flatten(1).int().tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]]
    _, kept = kept_masks(maps * torch.tensor([[[1.0]], [[3.0]]]), SPACE, (1, 2), steps=2)  # sums 7 and 9
    assert kept[1].flatten(1).int().tolist() == [[1, 0], [1, 0]]


def test_baselines_by_hand(clip: Tensor) -> None:
    counting = torch.arange(4.0)[:, None, None, None].expand(4, 3, 16, 16)
    first = [baseline_clip(counting, b)[:, 0, 0, 0].tolist() for b in ("neighbour", "frozen", "mean", "blur")]
    assert first[:2] == [[1, 0, 1, 2], [2, 2, 2, 2]]
    np.testing.assert_allclose(first[2:], [[0, 1, 2, 3]] * 2, atol=1e-5)
    assert baseline_clip(clip, "mean")[1].unique().tolist() == pytest.approx([16 / 256])
    assert baseline_clip(clip[:1], "neighbour").equal(clip[:1])  # a single frame has no neighbour
    with pytest.raises(ValueError, match="unknown baseline 'black'; possible: blur, mean, neighbour, frozen"):
        baseline_clip(clip, "black")
    assert {b for of_way in BASELINES_OF.values() for b in of_way} == {"blur", "mean", "neighbour", "frozen"}


def test_blur_is_opencv_s(clip: Tensor) -> None:
    import cv2

    noise = torch.rand(2, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    expected = [
        cv2.GaussianBlur(x.permute(1, 2, 0).numpy(), (13, 13), 2.0, borderType=cv2.BORDER_REFLECT_101) for x in noise
    ]
    np.testing.assert_allclose(blurred(noise, 2.0).permute(0, 2, 3, 1).numpy(), expected, atol=1e-6)


def test_hiding_the_frame_that_matters_costs_most(clip: Tensor) -> None:
    drop = occlusion_drop(Watches(1, 8, 4), clip, 0)
    assert drop.argmax() == 1 and drop[1] > 0.9 and drop[[0, 2, 3]].tolist() == [0, 0, 0]


def test_weights_are_shuffled_from_the_top_down_in_copies() -> None:
    model = tiny_network(seed=4)
    before = {name: w.clone() for name, w in model.state_dict().items()}
    parts = dict(randomized_models(model, seed=1))
    assert list(parts) == ["fc", "layer4", "layer3", "layer2", "layer1", "bn1", "conv1"]
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())
    of_half = parts["layer3"].state_dict()
    for name, w in before.items():
        changed = not torch.equal(of_half[name], w)
        if w.ndim > 1:
            assert changed == name.startswith(("fc", "backbone.layer4", "backbone.layer3")), name
        assert torch.equal(of_half[name].flatten().sort()[0], w.flatten().sort()[0])


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "vgg16"])
def test_every_backbone_can_be_made_random(backbone: str) -> None:
    model = create_model(backbone, 3, frames=2, width=16).eval()
    parts = [part for part, _ in randomized_models(model)]
    assert parts[0] == "fc" and len(parts) > 4 and len(set(parts)) == len(parts)


def test_the_blur_is_a_gaussian_mirrored_at_the_edges() -> None:
    frames, sigma = torch.randn(2, 3, 20, 32, generator=torch.Generator().manual_seed(0)), 3.0
    at = torch.arange(-9, 10.0)
    kernel = (-(at**2) / (2 * sigma**2)).exp()
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    expected = F.conv2d(F.pad(frames, (9, 9, 0, 0), mode="reflect"), kernel, groups=3)
    expected = F.conv2d(F.pad(expected, (0, 0, 9, 9), mode="reflect"), kernel.transpose(2, 3), groups=3)
    torch.testing.assert_close(blurred(frames, sigma), expected, atol=1e-5, rtol=0)
