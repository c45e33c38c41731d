"""Grad-CAM against Captum and by hand; explaining leaves no trace on a shared network."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import Tensor, nn

from analysis.explain.gradcam import (
    BRANCHES,
    DEFINITIONS,
    ActivationRecorder,
    Cam,
    CamLayer,
    cam_layers,
    default_layer,
    gradcam,
    mass_shares,
    signed_maps,
    sum_by_frame,
)
from analysis.explain.overlay import overlay
from sth_core.convolution import Tap
from sth_core.network import VideoNetwork, create_model
from tests.tiny import tiny_network

LAYERS = ("layer1.0", "layer2.1", "layer3.0", "layer4.1")


@pytest.fixture(scope="module")
def sth() -> VideoNetwork:
    return tiny_network(seed=2)


@pytest.fixture(scope="module")
def flat() -> VideoNetwork:
    return tiny_network(seed=2, conv="2d")


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """(T, C, H, W)"""
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def ones() -> VideoNetwork:
    """A 2D network that hands its input's first channel on, and counts it: every number by hand.

    The stem picks a pixel, the 3 x 3 convolutions are zero, the projections sum all channels. The
    logits are 1, -1 and 0 times the sum of the features.
    """
    model = create_model("resnet18", 3, frames=2, conv="2d", width=1).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, float(module.kernel_size == (1, 1)))
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-30  # 1 + 1e-30 is 1; torch 2.11 refuses 0
    with torch.no_grad():
        model.backbone.conv1.weight[:, 0, 3, 3] = 1
        model.fc.weight.copy_(torch.tensor([1.0, -1.0, 0.0])[:, None].expand(3, 8))
    return model


@pytest.fixture(scope="module")
def counting() -> Tensor:
    """Frame t is filled with t + 1."""
    return torch.arange(1.0, 3.0)[:, None, None, None].expand(2, 3, 32, 32).clone()


class Regrouped(nn.Module):
    """A block whose output passes `whole` as one clip (1, C, T, h, w): there Captum sees it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.whole = block, nn.Identity()

    def forward(self, x: Tensor, tap: Tap) -> Tensor:
        clip = self.whole(self.block(x, tap).transpose(0, 1)[None])
        return clip[0].transpose(0, 1)


def captum_maps(model: VideoNetwork, clip: Tensor, target: int, layer: str, definition: str) -> np.ndarray:
    model = deepcopy(model)
    module = model.backbone.get_submodule(layer)
    if definition == "per_clip":
        stage, number = layer.split(".")
        regrouped = Regrouped(module)
        model.backbone.get_submodule(stage)[int(number)] = regrouped
        module = regrouped.whole
    maps = LayerGradCam(model, module).attribute(clip[None], target, relu_attributions=True)
    return maps.detach().numpy().reshape(len(clip), *maps.shape[-2:])


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("conv", ["sth", "flat"])
def test_maps_are_captum_s(
    conv: str, layer: str, definition: str, clip: Tensor, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(conv)
    expected = captum_maps(model, clip, 3, layer, definition=definition)
    cam = gradcam(model, clip, 3, layer, definition=definition)
    assert (cam.layer, cam.target, cam.definition) == (layer, 3, definition)
    assert expected.max() > 0
    sizes = {known.name: (known.height, known.width) for known in cam_layers(model, 64)}
    assert cam.maps.shape == (4, *sizes[layer])
    np.testing.assert_allclose(cam.maps, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_maps_by_hand(ones: VideoNetwork, counting: Tensor, definition: str) -> None:
    """The last block holds 8 (t + 1) in 8 channels, of gradient 1/2 each; the first t + 1 in 8 x 8
    pixels, of gradient 32 in the one pixel that is picked, 1/2 on average."""
    assert ones(counting[None])[0].tolist() == [96.0, -96.0, 0.0]
    last = gradcam(ones, counting, 0, "layer4.1", definition=definition)
    np.testing.assert_allclose(last.maps, [[[32.0]], [[64.0]]], rtol=1e-6)
    np.testing.assert_allclose(last.per_frame, [1 / 3, 2 / 3], rtol=1e-6)
    first = gradcam(ones, counting, 0, "layer1.0", definition=definition)
    np.testing.assert_allclose(first.maps, np.broadcast_to([[[0.5]], [[1.0]]], (2, 8, 8)), rtol=1e-6)


def test_all_layers_in_one_pass_are_those_of_a_pass_each(sth: VideoNetwork) -> None:
    clips = torch.randn(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(7))
    together = signed_maps(sth, clips, torch.tensor([3, 5]))
    assert list(together) == [layer.name for layer in cam_layers(sth, 64)]
    for layer in ("layer1.0", "layer2.0.conv1", "layer4.1"):
        for branch, maps in together[layer].items():
            for clip, target, found in zip(clips, (3, 5), maps, strict=True):
                alone = gradcam(sth, clip, target, layer, branch=branch).signed
                np.testing.assert_allclose(found.numpy(), alone, atol=1e-5 * np.abs(alone).max())


class Branch(nn.Module):
    """An STH convolution that shows Captum its two parts as outputs of modules of their own."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv, self.spatial, self.temporal = conv, nn.Identity(), nn.Identity()

    def forward(self, x: Tensor, tap: Tap) -> Tensor:
        kept = ActivationRecorder()
        self.conv(x, kept)
        spatial, temporal = kept.kept[self.conv.name]
        return self.spatial(spatial) + self.temporal(temporal)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("branch", ["spatial", "temporal"])
def test_branches_are_captum_s_and_sum_to_the_joint_map(branch: str, attention: bool, clip: Tensor) -> None:
    model = tiny_network(seed=2, attention=attention)
    layer = "layer2.1.conv2"
    maps = signed_maps(model, clip[None], torch.tensor([3]), (layer,))[layer]
    assert torch.allclose(maps["spatial"] + maps["temporal"], maps["joint"], atol=1e-6)
    split = deepcopy(model)
    split.backbone.layer2[1].conv2 = Branch(split.backbone.layer2[1].conv2)
    module = getattr(split.backbone.layer2[1].conv2, branch)
    expected = LayerGradCam(split, module).attribute(clip[None], 3)[:, 0].detach().numpy()  # steps are its batch
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(maps[branch][0].numpy(), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("attention", [True, False])
def test_branches_are_the_parts_of_the_layer_times_their_alpha(attention: bool, clip: Tensor) -> None:
    """The map of a branch is what Eq. 2 and 3 make of the layer's input, weighted by the gradients of its output."""
    model, name = tiny_network(seed=2, attention=attention), "layer2.1.conv2"
    maps = signed_maps(model, clip[None], torch.tensor([3]), (name,))[name]
    conv, seen = model.backbone.get_submodule(name), dict[str, Tensor]()
    conv.register_forward_hook(lambda _, inputs, output: seen.update(x=inputs[0].detach(), y=output))
    logits, alphas = model.forward_with_attention(clip[None])
    (gradient,) = torch.autograd.grad(logits[0, 3], seen["y"])
    weights = gradient.mean((2, 3), keepdim=True)
    for number, (branch, part) in enumerate(zip(("spatial", "temporal"), conv.parts(seen["x"]), strict=True)):
        weighted = part * alphas[name][0, number, :, None, None] if attention else part
        expected = (weights * weighted).sum(1).detach()
        torch.testing.assert_close(maps[branch][0], expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)


@pytest.mark.parametrize(("zero", "branch", "other"), [("temporal", "temporal", "spatial"), ("spatial", *BRANCHES[1:])])
def test_a_branch_without_weights_has_no_map(zero: str, branch: str, other: str, clip: Tensor) -> None:
    model, name = tiny_network(seed=2), "layer2.1.conv2"
    torch.nn.init.zeros_(getattr(model.backbone.get_submodule(name), f"weight_{zero}"))
    maps = signed_maps(model, clip[None], torch.tensor([3]), (name,))[name]
    assert not maps[branch].any() and maps[other].abs().max() > 0 and torch.equal(maps["joint"], maps[other])


def test_the_joint_map_of_an_sth_layer_is_captum_s(sth: VideoNetwork, clip: Tensor) -> None:
    cam = gradcam(sth, clip, 3, "layer3.0.conv1")
    model = deepcopy(sth)
    expected = LayerGradCam(model, model.backbone.layer3[0].conv1).attribute(clip[None], 3)[:, 0].detach().numpy()
    np.testing.assert_allclose(cam.signed, expected, atol=1e-5 * np.abs(expected).max())


def test_a_contrast_is_the_difference_of_two_maps(sth: VideoNetwork, clip: Tensor) -> None:
    contrast = gradcam(sth, clip, 2, "layer2.0", against=9)
    one, other = (gradcam(sth, clip, target, "layer2.0").signed for target in (2, 9))
    np.testing.assert_allclose(contrast.signed, one - other, atol=1e-6)
    assert contrast.against == 9


@pytest.mark.parametrize("conv", ["tsm", "2plus1d_sequential", "2plus1d_parallel", "3d", "sth_merge"])
@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
def test_every_network_of_this_project_can_be_explained(conv: str, backbone: str) -> None:
    torch.manual_seed(0)
    model = create_model(backbone, 5, frames=2, conv=conv, width=16).eval()
    layers = cam_layers(model, 64)
    maps = signed_maps(model, torch.randn(1, 2, 3, 64, 64), torch.tensor([1]))
    assert list(maps) == [layer.name for layer in layers]
    for layer in layers:
        assert set(maps[layer.name]) == set(layer.branches)
        assert maps[layer.name]["joint"].shape == (1, 2, layer.height, layer.width)


@pytest.mark.parametrize("target", [1, 2])  # all speaks against class 1, nothing reaches class 2
def test_no_map_where_nothing_speaks_for_the_class(ones: VideoNetwork, counting: Tensor, target: int) -> None:
    cam = gradcam(ones, counting, target, "layer2.0")
    assert cam.maps.shape == (2, 4, 4)
    assert (cam.maps == 0).all()
    assert cam.per_frame.tolist() == [0, 0]
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), np.uint8)
    assert np.array_equal(overlay(frames, cam.maps), frames)


def test_definitions_agree_at_the_top_and_differ_below_temporal_layers(sth: VideoNetwork, clip: Tensor) -> None:
    def pair(layer: str) -> Iterator[np.ndarray]:
        return (gradcam(sth, clip, 0, layer, definition=definition).maps for definition in DEFINITIONS)

    per_step, per_clip = pair("layer4.1")
    np.testing.assert_allclose(per_step, per_clip, atol=1e-6 * per_clip.max())
    per_step, per_clip = pair("layer2.1")
    assert np.abs(per_step - per_clip).max() > 0.05 * per_clip.max()


def state_of(model: VideoNetwork) -> list[object]:
    hooks = [
        len(getattr(module, kind))
        for module in model.modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    ]
    modes = [module.training for module in model.modules()]
    return [sum(hooks), modes, [(p.requires_grad, p.grad) for p in model.parameters()]]


POSSIBLE = r"layer1\.0\.conv1, layer1\.0\.conv2, layer1\.0, .*layer4\.1"
MISTAKES = [
    ({"layer": "layer9.0"}, rf"no layer 'layer9\.0'; possible: {POSSIBLE}"),
    ({"target": 12}, "class 12 is not one of 0 to 11"),
    ({"target": -1}, "class -1 is not one of 0 to 11"),
    ({"branch": "temporal"}, r"layer2\.0 has no branch 'temporal'; possible: joint"),
    ({"against": 12}, "class 12 is not one of 0 to 11"),
    ({"definition": "per_pixel"}, "unknown definition 'per_pixel'; possible: per_step, per_clip"),
]


@pytest.mark.parametrize("change,message", [({}, ""), *MISTAKES])
def test_explaining_leaves_no_trace(change: dict, message: str, clip: Tensor) -> None:
    model = tiny_network(seed=2)
    model.fc.weight.requires_grad_(False)
    model.fc.bias.grad = torch.ones_like(model.fc.bias)
    before, weights, pixels = state_of(model), deepcopy(model.state_dict()), clip.clone()
    with torch.inference_mode():
        logits = model(clip[None])
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        gradcam(model, clip, **({"target": 1, "layer": "layer2.0", "definition": "per_step"} | change))
    after = state_of(model)
    assert after[:2] == before[:2] and before[0] == 0
    for (required, gradient), (required_before, gradient_before) in zip(after[2], before[2], strict=True):
        assert required == required_before and gradient is gradient_before
    assert model.fc.bias.grad.tolist() == [1.0] * 12
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(clip, pixels) and not clip.requires_grad
    with torch.inference_mode():
        assert torch.equal(model(clip[None]), logits)


def test_a_network_in_training_mode_is_refused_before_it_runs(clip: Tensor) -> None:
    model = tiny_network().train()
    weights = deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"training mode.*call model\.eval\(\)"):
        gradcam(model, clip, 0, "layer2.0")
    assert model.training
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_frozen_parameters_and_callers_without_gradients(sth: VideoNetwork, clip: Tensor) -> None:
    expected = gradcam(sth, clip, 4, "layer3.0").maps
    frozen = deepcopy(sth).requires_grad_(False)
    assert np.array_equal(gradcam(frozen, clip, 4, "layer3.0").maps, expected)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            made_here = clip * 1
            assert np.array_equal(gradcam(frozen, made_here, 4, "layer3.0").maps, expected)
            assert not torch.is_grad_enabled()


def test_two_threads_on_one_network_get_their_own_maps(sth: VideoNetwork) -> None:
    clips = torch.randn(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(6))
    questions = [(clips[0], 0, "layer2.0"), (clips[1], 7, "layer3.1")] * 6
    alone = [gradcam(sth, *question).maps for question in questions[:2]] * 6
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda question: gradcam(sth, *question).maps, questions))
    for maps, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(maps, expected, atol=1e-5 * expected.max())


def test_the_layers_that_can_be_explained(sth: VideoNetwork, flat: VideoNetwork) -> None:
    layers = {layer.name: layer for layer in cam_layers(sth, 64)}
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert list(layers) == [name for block in blocks for name in (f"{block}.conv1", f"{block}.conv2", block)]
    assert layers["layer1.1"] == CamLayer("layer1.1", 8, 16, 16, 4, ("joint",))
    assert layers["layer4.0.conv1"] == CamLayer("layer4.0.conv1", 64, 2, 2, 32, BRANCHES)
    assert "64 x 2 x 2, stride 32, spatial and temporal branch" in layers["layer4.0.conv1"].title
    assert [layer.name for layer in cam_layers(flat, 64)] == blocks


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v2", "vgg16"])
def test_where_a_cell_looks_against_where_the_overlay_draws_it(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first to the last pixel with a gradient: with weights that are all positive, and mean instead of maximum
    pooling, none of them cancels or is left out."""
    model = create_model(backbone, 3, frames=1, conv="2d", width=4).eval().double()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    mean = F.avg_pool2d
    monkeypatch.setattr(F, "max_pool2d", lambda x, size, stride, padding=0, *_, **__: mean(x, size, stride, padding))
    wide = torch.full((1, 1, 3, 32, 1216), 1e-4, dtype=torch.float64, requires_grad=True)  # no field reaches its ends
    recorder = ActivationRecorder()
    model(wide, recorder)
    for name, (features,) in recorder.kept.items():
        cells = features.shape[-1]
        stride, cell = 1216 // cells, cells // 2
        (gradient,) = torch.autograd.grad(features[0, :, 0, cell].sum(), wide, retain_graph=True)
        seen = gradient.sum((0, 1, 2, 3)).nonzero().flatten()
        assert seen[0] > 0 and seen[-1] < 1215, name
        drawn = stride * cell + (stride - 1) / 2
        assert (seen[0] + seen[-1]).item() / 2 == drawn - model.overlay_shift(name, stride), name


@pytest.mark.parametrize(
    "sides,layer",
    [((14, 7, 6, 5), "c"), ((14, 7, 5, 5), "b"), ((6, 3), "a"), ((4, 4, 2), "a"), ((56, 28, 14, 7), "d")],
)
def test_default_layer_is_the_deepest_block_with_six_by_six_cells(sides: tuple[int, ...], layer: str) -> None:
    layers = [CamLayer(n, 8, s, s, 1, ("joint",)) for n, s in zip("abcd", sides, strict=False)]
    assert default_layer([*layers, CamLayer("conv", 8, 9, 9, 1, BRANCHES)]) == layer


def test_the_shares_of_the_frames_sum_to_one() -> None:
    cam = Cam(np.array([[[1.0, 2.0]], [[0.0, -3.0]], [[4.0, 1.0]]]), "layer1.0", 0, "per_step")
    assert cam.per_frame.tolist() == [3 / 8, 0, 5 / 8]


def test_a_clip_without_a_map_has_shares_of_zero_whatever_the_memory_held_before() -> None:
    for frames in (1, 2, 4, 8, 4, 2, 1):
        freed = [np.full((2, frames), np.nan) for _ in range(20)]
        del freed
        maps = np.zeros((2, frames, 3, 3))
        maps[1, 0] = 2
        assert mass_shares(maps).tolist() == [[0.0] * frames, [1.0] + [0.0] * (frames - 1)]


@pytest.mark.parametrize("seen", [[2, 2, 5, 9], [9, 5, 2, 2], [5, 2, 9, 2]])
def test_values_are_summed_by_frame_in_whatever_order_it_was_seen(seen):
    values = np.array([{2: 1.0, 5: 10.0, 9: 100.0}[frame] for frame in seen])
    frames, sums = sum_by_frame(np.array(seen), values)
    assert frames.tolist() == [2, 5, 9] and sums.tolist() == [2, 10, 100]
    maps = sum_by_frame(np.array(seen), values[:, None, None] * np.ones((2, 3)))[1]
    assert maps.shape == (3, 2, 3) and maps[0].tolist() == [[2.0] * 3] * 2


def test_the_maps_of_several_clips_are_those_of_each_alone() -> None:
    model = tiny_network()
    clips, targets = torch.randn(3, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])
    together = signed_maps(model, clips, targets, ("layer2.0.conv1",), definition="per_clip")
    for i in range(3):
        alone = signed_maps(model, clips[i : i + 1], targets[i : i + 1], tuple(together), definition="per_clip")
        for layer, branches in alone.items():
            for branch, maps in branches.items():
                torch.testing.assert_close(together[layer][branch][i : i + 1], maps, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("branches", "title"),
    [
        (("joint",), "a (8 x 4 x 6, stride 16)"),
        (("joint", "spatial", "temporal"), "a (8 x 4 x 6, stride 16, spatial and temporal branch)"),
    ],
)
def test_the_title_of_a_layer(branches: tuple[str, ...], title: str) -> None:
    assert CamLayer("a", 8, 4, 6, 16, branches).title == title
