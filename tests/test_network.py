"""One contract over every network that create_model builds, and what the paper says about their size."""

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from sth_core import Tap, VideoNetwork, create_model, forms
from sth_core.backbones import BACKBONES as BUILDERS
from sth_core.backbones import VGG16, BasicBlock, Bottleneck, MobileNetV2, ResNet
from sth_core.baselines import InflatedConv, SeparableConv, SpatialConv, TemporalShift
from sth_core.inference import GroupedKernels, PaddedKernel, for_inference, form_of
from sth_core.network import CONVS, ModelConfig, channels_last, count_parameters
from sth_core.sth_conv import DepthwiseSTHConv, STHConv

BACKBONES = list(BUILDERS)

MODALITIES = {"rgb": 3, "flow": 10}
# How many 3 x 3 convolutions each backbone has, the first one on pixels aside.
REPLACED = {"resnet18": 16, "resnet34": 32, "resnet50": 16, "resnet101": 33, "mobilenet_v2": 17, "vgg16": 12}


def tiny(seed: int = 0, **arguments: Any) -> VideoNetwork:
    """A network in eval mode that computes in a blink, with a classifier that is not near zero."""
    torch.manual_seed(seed)
    settings = {"backbone": "resnet18", "num_classes": 5, "frames": 4, "width": 8} | arguments
    model = create_model(**settings)
    shaken(model)
    torch.nn.init.normal_(model.fc.weight)
    for layer in model.attention_layers:  # so few units that by chance none would be awake for these clips
        torch.nn.init.ones_(model.get_submodule(f"backbone.{layer.name}.integration.squeeze").bias)
    return model.eval()


def shaken(model: VideoNetwork) -> None:
    """Batch norms with a scale, a shift and statistics of their own, as after training."""
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(norm.weight, 0.8, 1.2)
            torch.nn.init.uniform_(norm.running_var, 0.8, 1.2)
            torch.nn.init.normal_(norm.bias, std=0.1)
            torch.nn.init.normal_(norm.running_mean, std=0.1)


def some_clips(batch: int = 2, channels: int = 3, frames: int = 4) -> Tensor:
    return torch.randn(batch, frames, channels, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("backbone", "names"),
    [
        ("resnet18", [f"layer{s}.{i}.conv{c}" for s in (1, 2, 3, 4) for i in (0, 1) for c in (1, 2)]),
        ("resnet50", [f"layer{s + 1}.{i}.conv2" for s, depth in enumerate((3, 4, 6, 3)) for i in range(depth)]),
        ("mobilenet_v2", ["features.1.conv.0.0", *(f"features.{i}.conv.1.0" for i in range(2, 18))]),
        ("vgg16", [f"features.{i}" for i in (3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)]),
    ],
)
def test_every_3_x_3_convolution_after_the_first_is_hybrid(backbone: str, names: list[str]) -> None:
    assert [layer.name for layer in tiny(backbone=backbone).attention_layers] == names


def test_attention_adds_the_square_of_each_layers_channels() -> None:
    with torch.device("meta"):
        with_, without = (count_parameters(create_model("resnet50", 174, attention=a)) for a in (True, False))
    layers = [64] * 3 + [128] * 4 + [256] * 6 + [512] * 3  # the STH-Convs of Table 1
    biases = sum(channels // 4 + 2 * channels for channels in layers)
    assert with_ - without == sum(channels**2 for channels in layers) + biases == 1_265_968


def test_without_temporal_kernels_it_is_the_resnet_50_of_torchvision() -> None:
    with torch.device("meta"):
        assert count_parameters(create_model("resnet50", 1000, conv="2d")) == 25_557_032


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_network_keeps_the_contract(backbone: str, conv: str, modality: str) -> None:
    model = tiny(backbone=backbone, conv=conv, modality=modality)
    clips = some_clips(channels=MODALITIES[modality])
    with torch.no_grad():
        logits = model(clips)
        assert logits.shape == (2, 5)
        assert logits.isfinite().all()
        assert torch.equal(model(clips), logits), "two passes in eval mode differ"

        watched, attention = model.forward_with_attention(clips)
        assert torch.equal(watched, logits), "watching the attention changed the result"
        layers = model.attention_layers
        assert len(layers) == (REPLACED[backbone] if conv.startswith("sth") else 0)
        assert list(attention) == [layer.name for layer in layers]
        assert [layer.index for layer in layers] == list(range(len(layers)))
        assert all(re.fullmatch(r"(layer|stage)[1-7]", layer.stage) for layer in layers)
        for name, alpha in attention.items():
            assert alpha.shape == (2, 2, model.get_submodule(f"backbone.{name}").out_channels)
            torch.testing.assert_close(alpha.sum(1), torch.ones_like(alpha[:, 0]))
            assert (alpha > 0).all()
        assert torch.equal(in_two_threads(model, clips), logits), "two threads at once disturb each other"

        fast = for_inference(model)
        quick, also = fast.forward_with_attention(clips)
        torch.testing.assert_close(quick, logits, rtol=1e-4, atol=1e-5 * float(logits.abs().max()))
        assert list(also) == list(attention)
        for name, alpha in also.items():
            torch.testing.assert_close(alpha, attention[name], rtol=0, atol=1e-5)

    model.train()(clips).square().sum().backward()
    without = [name for name, w in model.named_parameters() if w.grad is None or not w.grad.any()]
    assert without == [], "no gradient reaches these"
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())


def in_two_threads(model: VideoNetwork, clips: Tensor) -> Tensor:
    """The logits, each clip's from a thread of its own that watches its attention."""

    def one(clip: Tensor) -> Tensor:
        with torch.no_grad():
            logits, attention = model.forward_with_attention(clip[None])
        assert all(len(alpha) == 1 for alpha in attention.values())
        return logits[0]

    with ThreadPoolExecutor(2) as pool:
        together = torch.stack(list(pool.map(one, clips)))
    alone = torch.stack([one(clip) for clip in clips])
    assert torch.equal(together, alone)
    return model(clips)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("p", [1, 1 / 2, 1 / 4, 1 / 8])
@pytest.mark.parametrize("conv", ["sth", "sth_merge"])
def test_what_is_fused_for_inference_gives_the_same_numbers(
    conv: str, p: float, attention: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(conv=conv, temporal_fraction=p, attention=attention, dilations=(1, 2))
    clips, kept = some_clips(), {name: w.clone() for name, w in model.state_dict().items()}
    with torch.no_grad():
        logits = model(clips)
        for narrowest, kind in ((1, GroupedKernels), (10**6, PaddedKernel)):
            monkeypatch.setattr(forms, "NARROWEST", narrowest)
            fast = for_inference(model)
            if conv == "sth" and p < 1:
                assert any(isinstance(m, kind) for m in fast.modules())
                words = {GroupedKernels: "grouped convolutions", PaddedKernel: "padded kernels"}[kind]
                assert form_of(fast) == f"batch norms folded; STH convolutions as {words}"
            torch.testing.assert_close(fast(clips), logits, rtol=1e-4, atol=1e-5 * float(logits.abs().max()))
            assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fast.modules())
    assert all(torch.equal(w, kept[name]) for name, w in model.state_dict().items()), "the model itself was changed"


# Convolutions and backbones do not know each other: all convolutions in one backbone, and one in each
# kind of backbone (ResNet-34 and -101 are deeper, not other), is all code that there is to trace. One is traced as
# deep as it is; tracing takes as long as a network is deep, so the others have fewer blocks of each of their kinds.
TRACED = [("resnet18", conv) for conv in CONVS] + [(b, "sth") for b in ("resnet50", "mobilenet_v2", "vgg16")]


@pytest.fixture
def fewer_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, block in (("resnet18", BasicBlock), ("resnet50", Bottleneck)):
        monkeypatch.setitem(BUILDERS, name, partial(ResNet, block, (2, 1, 1, 1)))
    monkeypatch.setattr(MobileNetV2, "STAGES", ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 1, 2)))
    monkeypatch.setattr(VGG16, "STAGES", ((64, 2), (128, 1), (256, 2)))


def test_a_whole_network_survives_compile_and_export() -> None:
    assert_survives_compile_and_export("resnet18", "sth")


@pytest.mark.long
@pytest.mark.usefixtures("fewer_blocks")
@pytest.mark.parametrize(("backbone", "conv"), [*TRACED[1:], ("mobilenet_v2", "3d"), ("vgg16", "tsm")])
def test_a_network_survives_compile_and_export(backbone: str, conv: str) -> None:
    assert_survives_compile_and_export(backbone, conv)


def assert_survives_compile_and_export(backbone: str, conv: str) -> None:
    model, clips = tiny(backbone=backbone, conv=conv), some_clips()
    with torch.no_grad():
        logits = model(clips)
        torch._dynamo.reset()
        traced = torch.compile(model, backend="eager", fullgraph=True)  # one graph, no break
        torch.testing.assert_close(traced(clips), logits)
        exported = torch.export.export(model, (clips,)).module()
        torch.testing.assert_close(exported(clips), logits)


def test_no_attention_means_no_layers_to_watch() -> None:
    model = tiny(attention=False)
    assert model.attention_layers == []
    assert model.forward_with_attention(some_clips())[1] == {}


def test_the_features_of_each_block_can_be_recorded() -> None:
    class Shapes(Tap):
        def features(self, layer: str, x: Tensor) -> Tensor:
            shapes[layer] = tuple(x.shape)
            return x

    model, shapes = tiny(), dict[str, tuple[int, ...]]()
    logits = model(some_clips(), Shapes())
    assert list(shapes) == [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert (shapes["layer1.1"], shapes["layer4.0"]) == ((8, 8, 8, 8), (8, 64, 1, 1))
    assert torch.equal(logits, model(some_clips()))


def test_dilations_alternate_over_the_layers() -> None:
    model = tiny(dilations=(1, 2, 3))
    used = [model.get_submodule(f"backbone.{layer.name}").dilation for layer in model.attention_layers]
    assert used == [1, 2, 3] * 5 + [1]
    assert model(some_clips()).isfinite().all()


def test_plain_values_build_the_same_network_again() -> None:
    model = tiny(conv="sth_merge", temporal_fraction=1 / 8, dilations=(1, 2))
    again = VideoNetwork(ModelConfig(**json.loads(json.dumps(asdict(model.config)))))
    assert again.config == model.config
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(some_clips()), model(some_clips()))


def test_the_consensus_is_the_mean_over_the_frames() -> None:
    four, one = tiny(conv="2d"), tiny(conv="2d", frames=1)
    one.load_state_dict(four.state_dict())
    clips = some_clips()
    each_frame = torch.stack([one(clips[:, t : t + 1]) for t in range(4)])
    torch.testing.assert_close(four(clips), each_frame.mean(0))


def test_a_2d_network_does_not_see_the_order_of_frames() -> None:
    model, clips = tiny(conv="2d"), some_clips()
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        torch.testing.assert_close(model(clips[:, order]), model(clips))


@pytest.mark.parametrize("conv", ["sth", "sth_merge"])
@pytest.mark.parametrize("order", [[3, 2, 1, 0], [1, 3, 0, 2]])
def test_an_sth_network_sees_the_order_of_frames(conv: str, order: list[int]) -> None:
    model, clips = tiny(conv=conv), some_clips()
    change = (model(clips[:, order]) - model(clips)).abs().max()
    assert change > 1e-3 * model(clips).abs().max()


def test_two_threads_on_one_network_record_their_own_attention() -> None:
    """A cached model serves all sessions of the app at once."""
    model = tiny()
    clips = [some_clips()[:1], some_clips()[1:]]
    with torch.inference_mode():
        alone = [model.forward_with_attention(clip)[1] for clip in clips]
    assert not torch.equal(alone[0]["layer1.0.conv1"], alone[1]["layer1.0.conv1"])
    wrong: list[str] = []
    start = threading.Barrier(2)

    def watch(i: int) -> None:
        start.wait()
        for _ in range(20):
            with torch.inference_mode():
                attention = model.forward_with_attention(clips[i])[1]
            wrong.extend(name for name in alone[i] if not torch.allclose(attention[name], alone[i][name]))

    threads = [threading.Thread(target=watch, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("form", [lambda model: model, for_inference], ids=["plain", "for inference"])
def test_what_a_tap_puts_in_place_of_alpha_reaches_the_logits(form: Callable[[VideoNetwork], VideoNetwork]) -> None:
    class OnlySpace(Tap):
        def attention(self, layer: str, alpha: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0])[None, :, None].expand_as(alpha)

    clips = some_clips()
    model = form(tiny())
    assert not torch.allclose(model(clips, OnlySpace()), model(clips))
    torch.testing.assert_close(model(clips.flip(1), OnlySpace()), model(clips, OnlySpace()))
    torch.testing.assert_close(model(clips, OnlySpace()), tiny()(clips, OnlySpace()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ({"backbone": "resnet8"}, "unknown backbone 'resnet8' (did you mean 'resnet18'?); possible: resnet18, "),
        ({"backbone": "vit"}, "unknown backbone 'vit'; possible: resnet18, "),
        ({"conv": "sth_merged"}, "unknown conv 'sth_merged' (did you mean 'sth_merge'?); possible: sth, sth_merge, 2d"),
        ({"conv": "2+1d"}, "unknown conv '2+1d'"),
        ({"dilations": ()}, "dilations must be a list of 1 to 100 items, each a whole number from 1 to 64, got ()"),
        ({"dilations": (0,)}, "dilations must be a list of 1 to 100 items, each a whole number from 1 to 64, got (0,)"),
        ({"frames": 0}, "frames must be a whole number from 1 to 1,024, got 0"),
        ({"temporal_fraction": 1 / 3}, "temporal_fraction 1/3 needs channels that 3 divides, got 64; possible here: "),
        (
            {"temporal_fraction": 0.3},
            "temporal_fraction must be 1/n for a whole number n (1/2, 1/4, 1/8, ...), got 0.3",
        ),
        ({"modality": "flows"}, "unknown modality 'flows' (did you mean 'flow'?); possible: rgb, flow"),
        (
            {"dilation": 2},
            "unknown option 'dilation' (did you mean 'dilations'?); possible: frames, conv, temporal_fra",
        ),
    ],
)
def test_a_wrong_name_is_refused_with_the_near_one(argument: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        create_model(**({"backbone": "resnet18", "num_classes": 2} | argument))
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize("conv", [conv for conv in CONVS if not conv.startswith("sth")])
def test_a_config_without_hybrid_kernels_has_no_p_and_no_attention(conv: str) -> None:
    config = ModelConfig("resnet18", 2, conv=conv, temporal_fraction=1 / 4, attention=True, dilations=[1, 2])
    assert (config.temporal_fraction, config.attention, config.dilations) == (0, False, (1, 2))


@pytest.mark.parametrize(
    ("backbone", "conv", "kind", "expected"),
    [
        ("resnet18", "sth", STHConv, {"variant": "hybrid", "block": 8, "dilation": 3}),
        ("resnet18", "sth_merge", STHConv, {"variant": "merge", "block": 8, "dilation": 3}),
        ("mobilenet_v2", "sth", DepthwiseSTHConv, {"variant": "hybrid", "stride": 2}),
        ("mobilenet_v2", "sth_merge", DepthwiseSTHConv, {"variant": "merge", "stride": 2}),
        ("resnet18", "2d", SpatialConv, {"groups": 1, "out_channels": 16}),
        ("resnet18", "tsm", SpatialConv, {"groups": 1, "out_channels": 16}),
        ("resnet18", "2plus1d_sequential", SeparableConv, {"parallel": False, "dilation": 3, "frames": 2}),
        ("resnet18", "2plus1d_parallel", SeparableConv, {"parallel": True, "dilation": 3, "frames": 2}),
        ("resnet18", "3d", InflatedConv, {"in_channels": 16, "out_channels": 16, "dilation": 3, "frames": 2}),
        ("mobilenet_v2", "3d", InflatedConv, {"groups": 48, "stride": 2, "frames": 2}),
    ],
)
def test_each_convolution_gets_what_the_config_says(backbone, conv, kind, expected: dict[str, Any]) -> None:
    """The sixth convolution of ResNet-18, of 16 channels; the second of MobileNetV2, depthwise with a stride."""
    model = create_model(backbone, 3, frames=2, conv=conv, width=8 if backbone == "resnet18" else 16,
                         temporal_fraction=1 / 2, attention=False, dilations=(1, 2, 3))  # fmt: skip
    place = "layer2.0.conv2" if backbone == "resnet18" else "features.2.conv.1.0"
    module = model.get_submodule(f"backbone.{place}")
    assert type(module) is kind
    assert {name: getattr(module, name) for name in expected} == expected
    shifts = [m.frames for m in model.modules() if isinstance(m, TemporalShift)]
    assert set(shifts) == ({2} if conv == "tsm" else set())


@pytest.mark.parametrize(
    ("field", "fitting", "others"),
    [
        ("num_classes", [1, 100_000], [0, 100_001]),
        ("frames", [1, 1024], [0, 1025]),
        ("width", [1, 1024], [0, 1025]),
        ("dropout", [0.0, 0.99], [-0.01, 1.0]),
        ("dilations", [(1,), (64,) * 100], [(), (65,), (0,), (1,) * 101]),
    ],
)
def test_the_ranges_of_a_config(field: str, fitting: list[Any], others: list[Any]) -> None:
    for value in fitting:
        assert getattr(ModelConfig(**{"backbone": "resnet18", "num_classes": 2, field: value}), field) == value
    for value in others:
        with pytest.raises(ValueError, match=field):
            ModelConfig(**{"backbone": "resnet18", "num_classes": 2, field: value})


def test_the_defaults_of_a_config() -> None:
    plain = {"frames": 8, "conv": "sth", "temporal_fraction": 0.25, "attention": True, "dilations": (1,)}
    plain |= {"modality": "rgb", "width": 64, "dropout": 0.5}
    assert asdict(ModelConfig("vgg16", 7)) == {"backbone": "vgg16", "num_classes": 7} | plain


@pytest.mark.parametrize("conv", ["sth", "3d"])
def test_the_channels_are_innermost_in_each_weight(conv: str) -> None:
    model = channels_last(create_model("resnet18", 2, frames=2, conv=conv, width=8))
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    weights = [w for w in model.parameters() if w.ndim in formats]
    assert len(weights) == 20 and all(w.is_contiguous(memory_format=formats[w.ndim]) for w in weights)


def test_a_network_for_inference_refuses_a_tap_that_reads_branches() -> None:
    class Branches(Tap):
        def branches(self, layer: str, spatial: Tensor, temporal: Tensor) -> tuple[Tensor, Tensor]:
            return spatial, temporal

    model, clips = tiny(), some_clips()
    model(clips, Branches())
    with pytest.raises(ValueError, match="Branches reads the branches, which a network for inference does not compute"):
        for_inference(model)(clips, Branches())


@pytest.mark.parametrize(
    "shape",
    [(4, 3, 32, 32), (2, 8, 3, 32, 32), (2, 3, 4, 32, 32), (2, 4, 10, 32, 32)],
    ids=["one clip without batch", "too many frames", "channels before time", "flow for rgb"],
)
def test_clips_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as refused:
        tiny()(torch.zeros(shape))
    assert str(refused.value) == f"this network takes clips (B, 4, 3, H, W) (rgb), got {shape}"


def test_what_stays_in_fp32_for_inference_in_16_bits_was_never_rounded() -> None:
    model = tiny()
    half = for_inference(model, torch.bfloat16).to("cpu")
    assert torch.equal(half.fc.weight, model.fc.weight) and half.fc.weight.dtype == torch.float32
    conv, fused = (m.get_submodule("backbone.layer1.0.conv1") for m in (model, half))
    assert torch.equal(fused.integration.expand.weight, conv.integration.expand.weight)
    assert fused.scale.dtype == torch.float32 and not torch.equal(fused.scale, fused.scale.bfloat16().float())
