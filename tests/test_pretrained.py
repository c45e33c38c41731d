"""Weights of 2D networks: what ours takes of them, what stays as it was, and what is refused."""

import urllib.error
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from sth_core import VideoNetwork, create_model
from sth_core.backbones import BACKBONES
from sth_core.baselines import InflatedConv, SeparableConv, TemporalShift
from sth_core.errors import UserError
from sth_core.pretrained import Loaded, load_2d_weights, load_imagenet
from sth_core.recipe import load_recipe
from sth_core.sth_conv import DepthwiseSTHConv, HybridConv
from sth_core.training import load_start_weights
from sth_core.weight_files import read_pth
from sth_core.weight_names import plain_names

MOTION = Path(__file__).parent.parent / "recipes" / "synthetic_motion.toml"


def torchvision_network(backbone: str) -> nn.Module:
    """Random weights; the batch norms have seen something, and scale and shift it."""
    torch.manual_seed(0)
    quick = {"init_weights": False} if backbone == "vgg16" else {}
    network = torchvision.models.get_model("vgg16_bn" if backbone == "vgg16" else backbone, **quick)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.5)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias)
    with torch.inference_mode():
        network.train()(torch.randn(4, 3, 64, 64))
    return network.eval().requires_grad_(False)


def some_clip(frames: int = 2) -> Tensor:
    return torch.randn(1, frames, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@cache
def resnet18() -> nn.Module:
    return torchvision_network("resnet18")


def resnet18_weights() -> dict[str, Tensor]:
    """By torchvision's names, a new dictionary each time."""
    return dict(resnet18().state_dict())


@cache
def mobilenet() -> nn.Module:
    return torchvision_network("mobilenet_v2")


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model: nn.Module, before: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@torch.inference_mode()
def assert_same_logits(model: VideoNetwork, network: nn.Module, clip: Tensor) -> None:
    """`model` gives for a clip what `network` gives for its frames, on average; and the frames differ."""
    of_frames = network(clip[0])
    scale = float(of_frames.abs().max())
    if len(of_frames) > 1:
        assert (of_frames[0] - of_frames[1]).abs().max() > 0.05 * scale
    torch.testing.assert_close(model.eval()(clip)[0], of_frames.mean(0), rtol=0, atol=1e-4 * scale)


# The 2D network


@pytest.mark.parametrize(
    "backbone", [pytest.param(b, marks=[pytest.mark.long] * (b in ("vgg16", "resnet101"))) for b in BACKBONES]
)
def test_a_2d_network_gives_the_mean_of_torchvisions_logits_over_the_frames(backbone: str) -> None:
    network = torchvision_network(backbone)
    with torch.device("meta"):
        model = create_model(backbone, 1000, frames=2, conv="2d")
    model = model.to_empty(device="cpu")  # whatever is not loaded is rubbish
    loaded = load_2d_weights(model, plain_names(network.state_dict()), "torchvision")
    assert loaded.kept == []
    assert loaded.taken == sorted(name.removeprefix("backbone.") for name in model.state_dict())
    assert_same_logits(model, network, some_clip())


def test_loading_leaves_the_given_weights_as_they_were() -> None:
    given = {"features.0.bias": torch.ones(64), "features.1.running_mean": torch.zeros(64)}
    with torch.device("meta"):
        model = create_model("vgg16", 2, frames=2)
    with pytest.raises(UserError, match="missing features"):  # the bias was put into the mean by then
        load_2d_weights(model, given, "a part")
    assert list(given) == ["features.0.bias", "features.1.running_mean"]
    assert not given["features.1.running_mean"].any()


def test_without_a_classifier_ours_stays_at_random() -> None:
    weights = {name: tensor for name, tensor in resnet18_weights().items() if not name.startswith("fc.")}
    model = create_model("resnet18", 5, conv="2d")
    before = copied(model)
    loaded = load_2d_weights(model, weights, "headless")
    assert loaded.kept == ["fc.bias", "fc.weight"]
    assert torch.equal(model.fc.weight, before["fc.weight"])
    assert torch.equal(model.backbone.conv1.weight, weights["conv1.weight"])


# Networks with other convolutions


def is_temporal(layer: HybridConv, p: float) -> Tensor:
    """(C_out, C_in/groups): which kernels are temporal, by Fig. 3 and the depthwise rule."""
    n, out, of_each = round(1 / p), layer.out_channels, layer.dense_kernel().shape[1]
    m, c = torch.arange(out)[:, None], torch.arange(of_each)
    if of_each == 1:
        return m % n == 0 if layer.variant == "hybrid" else m < out // n
    return c * n // of_each == (m * n // out if layer.variant == "hybrid" else torch.zeros_like(m))


@pytest.mark.parametrize(
    ("backbone", "conv", "p", "attention"),
    [
        ("resnet18", "sth", 1 / 4, True),
        ("resnet18", "sth_merge", 1 / 2, False),
        ("mobilenet_v2", "sth", 1 / 4, True),
        ("mobilenet_v2", "sth", 1 / 8, False),
        ("mobilenet_v2", "sth_merge", 1 / 2, True),
    ],
)
def test_spatial_kernels_are_the_2d_ones_and_all_that_is_new_stays_at_random(
    backbone: str, conv: str, p: float, attention: bool
) -> None:
    network = resnet18() if backbone == "resnet18" else mobilenet()
    source = plain_names(network.state_dict())
    model = create_model(backbone, 1000, frames=2, conv=conv, temporal_fraction=p, attention=attention)
    before = copied(model)
    loaded = load_2d_weights(model, source, "torchvision")

    hybrids = {name: layer for name, layer in model.backbone.named_modules() if isinstance(layer, HybridConv)}
    assert len(hybrids) == {"resnet18": 16, "mobilenet_v2": 17}[backbone]
    for name, layer in hybrids.items():
        temporal, middle = is_temporal(layer, p), layer.dense_kernel()[:, :, 1]
        assert temporal.sum() == p * temporal.numel()
        assert torch.equal(middle[~temporal], source[f"{name}.weight"][~temporal]), name
        random = before[f"backbone.{name}.weight_temporal"]
        if isinstance(layer, DepthwiseSTHConv):  # only their length and sign are of the 2D kernels
            cosines = torch.cosine_similarity(layer.weight_temporal.flatten(1), random.flatten(1))
            torch.testing.assert_close(cosines.abs(), torch.ones(len(random)))
        else:
            assert torch.equal(layer.weight_temporal, random), name

    new = {n for n in before if "weight_temporal" in n or "integration" in n}
    for name, tensor in model.state_dict().items():
        if name in new:
            assert "weight_temporal" in name or torch.equal(tensor, before[name]), name
        elif not name.endswith("weight_spatial"):
            assert torch.equal(tensor, source[name.removeprefix("backbone.")]), name
    assert set(loaded.kept) == {name.removeprefix("backbone.") for name in new}
    assert loaded.taken == sorted(source)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
def test_a_sequential_2plus1d_network_starts_as_the_2d_network(backbone: str) -> None:
    network = resnet18() if backbone == "resnet18" else mobilenet()
    model = create_model(backbone, 1000, frames=3, conv="2plus1d_sequential")
    load_2d_weights(model, plain_names(network.state_dict()), "torchvision")
    assert_same_logits(model, network, some_clip(3))


def test_a_parallel_2plus1d_network_is_the_2d_network_beside_its_own_temporal_kernels() -> None:
    model = create_model("resnet18", 1000, frames=3, conv="2plus1d_parallel")
    before = copied(model)
    loaded = load_2d_weights(model, resnet18_weights(), "torchvision")
    temporal = [name for name in before if name.endswith("weight_temporal")]
    assert len(temporal) == 16
    assert all(torch.equal(model.state_dict()[name], before[name]) and before[name].any() for name in temporal)
    assert set(loaded.kept) == {name.removeprefix("backbone.") for name in temporal}
    for name in temporal:
        nn.init.zeros_(model.get_parameter(name))
    assert_same_logits(model, resnet18(), some_clip(3))


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_an_inflated_convolution_gives_for_a_still_clip_what_the_2d_one_gives(
    stride: int, dilation: int, groups: int
) -> None:
    torch.manual_seed(0)
    conv = InflatedConv(4, 8, stride=stride, dilation=dilation, groups=groups, frames=5).double()
    weight, image = torch.randn(8, 4 // groups, 3, 3).double(), torch.randn(2, 4, 9, 8).double()
    conv.load_2d(weight)
    still = conv(image.repeat_interleave(5, 0)).detach().unflatten(0, (2, 5))
    flat = F.conv2d(image, weight, stride=stride, padding=dilation, dilation=dilation, groups=groups)
    for t in range(5):
        inside = sum(0 <= t + k * dilation < 5 for k in (-1, 0, 1))  # the frames beyond the ends are black
        torch.testing.assert_close(still[:, t], inside / 3 * flat)
    assert inside == 2


def test_a_3d_network_holds_a_third_of_the_2d_weights_three_times() -> None:
    model, source = create_model("resnet18", 1000, frames=2, conv="3d"), resnet18_weights()
    assert load_2d_weights(model, source, "torchvision").kept == []
    inflated = {name: layer for name, layer in model.backbone.named_modules() if isinstance(layer, InflatedConv)}
    assert len(inflated) == 16
    for name, layer in inflated.items():
        for at in layer.weight.unbind(2):
            torch.testing.assert_close(3 * at, source[f"{name}.weight"])


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_sequential_convolution_starts_as_the_2d_one(stride: int, dilation: int, groups: int) -> None:
    torch.manual_seed(0)
    conv = SeparableConv(4, 8, parallel=False, stride=stride, dilation=dilation, groups=groups, frames=3)
    weight, x = torch.randn(8, 4 // groups, 3, 3), torch.randn(6, 4, 9, 8)
    conv.load_2d(weight)
    flat = F.conv2d(x, weight, stride=stride, padding=dilation, dilation=dilation, groups=groups)
    torch.testing.assert_close(conv(x).detach(), flat)


def test_the_shift_takes_an_eighth_from_the_next_frame_and_an_eighth_from_the_one_before() -> None:
    clips = torch.tensor([[10 * t + c for c in range(8)] for t in range(1, 7)])  # two clips of three frames
    shifted = TemporalShift(frames=3)(clips[..., None, None].expand(6, 8, 2, 2))
    assert shifted[:, :, 1, 0].tolist() == [
        [20, 0, 12, 13, 14, 15, 16, 17],
        [30, 11, 22, 23, 24, 25, 26, 27],
        [0, 21, 32, 33, 34, 35, 36, 37],
        [50, 0, 42, 43, 44, 45, 46, 47],
        [60, 41, 52, 53, 54, 55, 56, 57],
        [0, 51, 62, 63, 64, 65, 66, 67],
    ]


class Shifted(nn.Module):
    """TSM as its repository wraps a convolution, which gives the names with ".net." in them."""

    def __init__(self, net: nn.Module, frames: int) -> None:
        super().__init__()
        self.net, self.frames = net, frames

    def forward(self, x: Tensor) -> Tensor:
        clips = x.unflatten(0, (-1, self.frames))
        fold = x.shape[1] // 8
        none = torch.zeros_like(clips[:, :1])
        later, earlier = torch.cat([clips[:, 1:], none], 1), torch.cat([none, clips[:, :-1]], 1)
        parts = (later[:, :, :fold], earlier[:, :, fold : 2 * fold], clips[:, :, 2 * fold :])
        return self.net(torch.cat(parts, 2).flatten(0, 1))


def tsm_resnet18(frames: int) -> nn.Module:
    """torchvision's, shifted at the start of each residual branch."""
    network = torchvision.models.resnet18()
    network.load_state_dict(resnet18_weights())
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for block in network.get_submodule(stage).children():
            block.conv1 = Shifted(block.conv1, frames)
    return network.eval().requires_grad_(False)


def repository_name(name: str) -> str:
    """As TSN and TSM save it: a new classifier, in a network in a DataParallel."""
    return f"module.{name.replace('fc.', 'new_fc.') if name.startswith('fc.') else f'base_model.{name}'}"


def test_a_tsm_file_gives_the_logits_of_the_network_that_it_was_saved_from(tmp_path: Path) -> None:
    network = tsm_resnet18(frames=3)
    weights = {repository_name(name): tensor for name, tensor in network.state_dict().items()}
    assert {"module.base_model.layer1.0.conv1.net.weight", "module.new_fc.weight"} <= set(weights)
    torch.save({"epoch": 3, "arch": "resnet18", "best_prec1": 45.5, "state_dict": weights}, tmp_path / "tsm.pth.tar")
    read = read_pth(tmp_path / "tsm.pth.tar")
    assert set(read) == set(resnet18_weights())

    model = create_model("resnet18", 1000, frames=3, conv="tsm")
    assert load_2d_weights(model, read, "tsm.pth.tar").kept == []
    assert_same_logits(model, network, some_clip(3))
    with pytest.raises(AssertionError):
        assert_same_logits(model, resnet18(), some_clip(3))  # a control: the shift matters


# Flow


@pytest.mark.parametrize(("backbone", "first"), [("resnet18", "conv1.weight"), ("mobilenet_v2", "features.0.0.weight")])
def test_for_flow_the_first_convolution_is_the_mean_over_rgb_in_every_channel(backbone: str, first: str) -> None:
    source = plain_names((resnet18() if backbone == "resnet18" else mobilenet()).state_dict())
    model = create_model(backbone, 1000, frames=2, modality="flow")
    load_2d_weights(model, source, "torchvision")
    weight, rgb = model.backbone.get_parameter(first), source[first]
    assert weight.shape[1] == 10
    for channel in weight.unbind(1):
        torch.testing.assert_close(channel, (rgb[:, 0] + rgb[:, 1] + rgb[:, 2]) / 3)


def test_the_weights_of_a_flow_network_are_taken_as_they_are() -> None:
    source = resnet18_weights() | {"conv1.weight": torch.randn(64, 10, 7, 7)}
    model = create_model("resnet18", 1000, frames=2, conv="2d", modality="flow")
    load_2d_weights(model, source, "TSN's flow network")
    assert torch.equal(model.backbone.conv1.weight, source["conv1.weight"])


# What does not fit


def replaced(name: str, *shape: int) -> Callable[[dict[str, Tensor]], object]:
    return lambda weights: weights.update({name: torch.ones(shape)})


def several(weights: dict[str, Tensor]) -> None:
    del weights["layer1.0.conv1.weight"], weights["bn1.bias"]
    weights |= {"more": torch.ones(1), "fc.bias": torch.ones(3)}


@pytest.mark.parametrize(
    ("change", "classes", "problems"),
    [
        (lambda w: w.pop("layer2.0.conv1.weight"), 1000, ["missing layer2.0.conv1.weight"]),
        (lambda w: w.pop("bn1.running_var"), 1000, ["missing bn1.running_var"]),
        (lambda w: w.pop("fc.bias"), 1000, ["missing fc.bias"]),
        (replaced("extra", 1), 1000, ["unexpected extra"]),
        (
            replaced("layer1.0.conv1.weight", 64, 64, 1, 1), 1000,
            ["layer1.0.conv1.weight is (64, 64, 1, 1) where the network has (64, 64, 3, 3)"],
        ),
        (replaced("bn1.weight", 32), 1000, ["bn1.weight is (32,) where the network has (64,)"]),
        (
            replaced("conv1.weight", 64, 10, 7, 7), 1000,
            ["conv1.weight is (64, 10, 7, 7) where the network has (64, 3, 7, 7)"],
        ),
        (replaced("conv1.weight", 64), 1000, ["conv1.weight is (64,) where the network has (64, 3, 7, 7)"]),
        (
            several, 1000,
            ["fc.bias is (3,) where the network has (1000,)", "missing bn1.bias", "missing layer1.0.conv1.weight",
             "unexpected more"],
        ),
        (
            lambda w: None, 5,
            ["fc.bias is (1000,) where the network has (5,)",
             "fc.weight is (1000, 512) where the network has (5, 512)"],
        ),
    ],
    ids=["a kernel", "a buffer", "a bias", "an extra one", "1 x 1", "narrow", "flow", "flat", "several", "classes"],
)  # fmt: skip
def test_weights_that_do_not_fit_are_all_named_and_nothing_is_changed(
    change: Callable[[dict[str, Tensor]], object], classes: int, problems: list[str]
) -> None:
    weights, model = resnet18_weights(), create_model("resnet18", classes, frames=2)
    before = copied(model)
    change(weights)
    with pytest.raises(UserError) as refused:
        load_2d_weights(model, weights, "x.pth")
    start, named = str(refused.value).split(": ", 1)
    assert start == f"x.pth does not fit a resnet18 for {classes} classes"
    assert sorted(named.split("; ")) == problems
    assert unchanged(model, before)


def shapes_of(network: str) -> dict[str, Tensor]:
    """A network's weights without their numbers."""
    with torch.device("meta"):
        return plain_names(torchvision.models.get_model(network).state_dict())


@pytest.mark.parametrize("other", ["resnet34", "resnet50", "mobilenet_v2", "vgg16_bn", "vgg11", "densenet121"])
def test_of_another_backbone_the_message_counts_what_does_not_fit_and_names_the_backbone(other: str) -> None:
    theirs, ours = shapes_of(other), resnet18_weights()
    model = create_model("resnet18", 1000, frames=2)
    before = copied(model)
    with pytest.raises(UserError) as refused:
        load_2d_weights(model, theirs, other)
    *said, hint = str(refused.value).split(": ", 1)[1].split("; ")
    asked = {n for n in ours if "fc.weight" in theirs or not n.startswith("fc.")}  # a backbone alone may come without
    missing = {name for name in asked - theirs.keys() if not name.endswith("num_batches_tracked")}
    # the biases of VGG's convolutions go into the batch norms that follow them
    biases = {name for name in theirs if other == "vgg16_bn" and name.startswith("features.") and "bias" in name}
    norms = {name.replace("running_mean", "bias") for name in theirs if name.endswith("running_mean")}
    unexpected = theirs.keys() - ours.keys() - (biases - norms)
    misshapen = {name for name in ours.keys() & theirs.keys() if ours[name].shape != theirs[name].shape}
    kinds = {"missing": missing, "unexpected": unexpected, "": misshapen}
    for kind, names in kinds.items():
        if names:
            first, _, more = said.pop(0).removeprefix(kind).lstrip().partition(", and ")
            assert first.split(" is ")[0] in names and int(more.removesuffix(" more") or 0) == len(names) - 1
    assert not said
    tensors = len([n for n in theirs.keys() - (biases - norms) if not n.startswith("fc.") and "batches" not in n])
    name = {"vgg16_bn": "vgg16", "vgg11": "", "densenet121": ""}.get(other, other)
    likely = f"a {name} ({tensors} of {tensors} tensors fit), set model.backbone={name}"
    none = "none of the backbones here (resnet18, resnet34, resnet50, resnet101, mobilenet_v2, vgg16)"
    assert hint == f"it looks like {likely if name else none}"
    assert len(str(refused.value)) < 400
    assert unchanged(model, before)


def test_a_flow_network_of_another_width_is_refused() -> None:
    model = create_model("resnet18", 1000, frames=2, modality="flow", width=8)
    looks = r"does not fit a resnet18 for 1000 classes: .*; it looks like a resnet18 \(.*\), set model.width=64$"
    with pytest.raises(UserError, match=looks):
        load_2d_weights(model, resnet18_weights(), "x.pth")


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("layer1.0.conv1.weight", lambda w: w * torch.nan, "layer1.0.conv1.weight has a value that is not finite"),
        ("bn1.running_var", lambda w: w - 1e6, "bn1.running_var has a value that is a variance below 0"),
        ("bn1.weight", lambda w: w.double() + 1e300, "bn1.weight has a value that is not finite"),
        ("conv1.weight", lambda w: w.to(torch.int8), "conv1.weight must be plain floating-point numbers, got int8"),
        ("fc.weight", lambda w: w.to(torch.complex64), "fc.weight must be plain floating-point numbers, got complex64"),
        ("fc.weight", lambda w: w.to_sparse(), "fc.weight must be plain floating-point numbers, got float32, sp"),
        ("fc.weight", lambda w: w.to("meta"), "numbers, got float32, strided, on meta"),
        ("bn1.num_batches_tracked", lambda w: w.float(), "num_batches_tracked must be plain whole numbers, got"),
    ],
)  # fmt: skip
def test_weights_that_no_network_can_have_are_refused_and_nothing_is_changed(
    name: str, change: Callable[[Tensor], Tensor], sentence: str
) -> None:
    model, weights = create_model("resnet18", 1000, frames=2), resnet18_weights()
    before = copied(model)
    weights[name] = change(weights[name])
    with pytest.raises(UserError) as refused:
        load_2d_weights(model, weights, "x.pth")
    assert str(refused.value).startswith("x.pth") and sentence in str(refused.value)
    assert unchanged(model, before)


def test_counts_of_batches_may_be_missing() -> None:
    """They do in files of PyTorch before 0.4.1; nothing computes with them."""
    weights = {name: tensor for name, tensor in resnet18_weights().items() if not name.endswith("num_batches_tracked")}
    model = create_model("resnet18", 1000, frames=2, conv="2d")
    assert load_2d_weights(model, weights, "x.pth") == Loaded(sorted(weights), [])
    assert_same_logits(model, resnet18(), some_clip())
    del weights["bn1.running_mean"]
    with pytest.raises(UserError, match=r"^x.pth does not fit a resnet18 for 1000 classes: missing bn1.running_mean$"):
        load_2d_weights(model, weights, "x.pth")


# ImageNet


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TORCH_HOME in which ResNet-18's weights lie, random ones."""
    home = tmp_path_factory.mktemp("torch_home")
    (home / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(resnet18_weights(), home / "hub" / "checkpoints" / hub_name("ResNet18_Weights"))
    return home


def hub_name(weights: str) -> str:
    """The file that torchvision would look for."""
    return str(getattr(torchvision.models, weights).IMAGENET1K_V1.url).rpartition("/")[2]


def test_imagenet_weights_are_taken_from_the_hubs_folder(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(hub))
    model = create_model("resnet18", 1000, frames=2, conv="sth", attention=False)
    classifier = model.fc.weight.detach().clone()
    loaded = load_imagenet(model)
    source = resnet18_weights()
    assert loaded.taken == sorted(source.keys() - {"fc.weight", "fc.bias"})
    assert {"fc.weight", "fc.bias", "layer4.1.conv2.weight_temporal"} <= set(loaded.kept)
    assert torch.equal(model.backbone.conv1.weight, source["conv1.weight"])
    conv = model.backbone.get_submodule("layer4.1.conv2")
    spatial = ~is_temporal(conv, 1 / 4)
    assert torch.equal(conv.dense_kernel()[:, :, 1][spatial], source["layer4.1.conv2.weight"][spatial])
    assert torch.equal(model.fc.weight, classifier), "ImageNet's classes are not ours"


@pytest.mark.parametrize("width", [16, 128])
def test_imagenet_weights_are_refused_at_another_width(width: int, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(hub))
    with torch.device("meta"):
        model = create_model("resnet18", 5, width=width)
    with pytest.raises(UserError, match=f"^ImageNet weights are for width 64, this network has width {width}; "):
        load_imagenet(model)


def test_without_internet_the_sentence_says_where_the_file_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    model = create_model("resnet18", 5, frames=2)
    before = copied(model)
    with pytest.raises(UserError) as refused:
        load_imagenet(model)
    said = str(refused.value)
    assert said.startswith("cannot get the ImageNet weights of resnet18: ")
    assert "Name or service not known" in said
    assert "into $TORCH_HOME/hub/checkpoints" in said
    assert unchanged(model, before)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>"], ids=["empty", "a web page"])
def test_a_broken_file_in_the_hubs_folder_is_a_sentence(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / hub_name("ResNet18_Weights")).write_bytes(content)
    with pytest.raises(UserError, match="cannot get the ImageNet weights of resnet18"):
        load_imagenet(create_model("resnet18", 5, frames=2))


@pytest.fixture
def real_home(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = real_data / "torch_home"
    if not (home / "hub" / "checkpoints" / hub_name("MobileNet_V2_Weights")).is_file():
        pytest.skip(f"no MobileNetV2 weights of ImageNet in {home}")
    monkeypatch.setenv("TORCH_HOME", str(home))
    return home


@pytest.mark.real_data
def test_with_the_real_imagenet_weights_ours_is_torchvisions_network(real_home: Path) -> None:
    network = torchvision.models.mobilenet_v2(weights="IMAGENET1K_V1").eval()
    model = create_model("mobilenet_v2", 1000, frames=2, conv="2d")
    loaded = load_imagenet(model)
    assert loaded.kept == ["fc.bias", "fc.weight"]
    model.fc.load_state_dict(network.classifier[1].state_dict())
    assert_same_logits(model, network, some_clip())


@pytest.mark.real_data
def test_the_real_imagenet_weights_fit_an_sth_network(real_home: Path) -> None:
    model = create_model("mobilenet_v2", 6, frames=2, conv="sth")
    loaded = load_imagenet(model)
    assert "features.17.conv.1.0.weight" in loaded.taken
    kept = {name.rpartition(".")[2] for name in loaded.kept if not name.startswith("fc.") and "integr" not in name}
    assert kept == {"weight_temporal"}
    assert model.eval()(some_clip()).isfinite().all()


# A recipe's [start]


def started(*changes: str) -> VideoNetwork:
    """The network of the motion recipe at full width, before its first step."""
    recipe = load_recipe(MOTION, ("model.width=64", "model.conv=2d", *changes))
    model = create_model(num_classes=2, **recipe.model)
    load_start_weights(model, ["a", "b"], recipe.start)
    return model


def takes_all_but_the_classifier(model: VideoNetwork, source: Mapping[str, Tensor]) -> bool:
    """And that it still has as many classes as the data."""
    mine = {name.removeprefix("backbone."): tensor for name, tensor in model.state_dict().items()}
    assert mine["fc.weight"].shape == (2, 512)
    return all(torch.equal(mine[name], source[name]) for name in source if not name.startswith("fc."))


def test_a_recipe_starts_from_nothing_unless_it_says_so() -> None:
    assert not takes_all_but_the_classifier(started(), resnet18_weights())


def test_a_recipe_may_start_from_imagenet(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(hub))
    assert takes_all_but_the_classifier(started("start.imagenet=true"), resnet18_weights())


@pytest.mark.parametrize("name", ["x.pth", "x.pth.tar"])
def test_a_recipe_may_start_from_a_pth_file_of_other_classes(name: str, tmp_path: Path) -> None:
    weights = {repository_name(name): tensor for name, tensor in resnet18_weights().items()}
    torch.save({"state_dict": weights}, tmp_path / name)
    assert takes_all_but_the_classifier(started(f"start.checkpoint={tmp_path / name}"), resnet18_weights())


def test_a_pth_file_of_another_backbone_is_refused_by_name(hub: Path) -> None:
    path = hub / "hub" / "checkpoints" / hub_name("ResNet18_Weights")
    with pytest.raises(UserError, match=f"^{path} does not fit a resnet34 for 2 classes: missing layer1.2.bn1.weight"):
        started(f"start.checkpoint={path}", "model.backbone=resnet34")


def test_a_recipe_that_starts_from_two_things_is_refused() -> None:
    with pytest.raises(UserError) as refused:
        load_recipe(MOTION, ("start.imagenet=true", "start.checkpoint=x.pth"))
    assert str(refused.value) == f"{MOTION} [start]: give either checkpoint or imagenet, not both"
