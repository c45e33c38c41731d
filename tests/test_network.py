"""One contract over every network that create_model builds, and what the paper says about their size."""

import threading

import pytest
import torch
from torch import Tensor

from sth_core import Tap, VideoNetwork, create_model
from sth_core.network import FeatureRecorder, config_of, count_parameters, model_from_config

BACKBONES, CONVS, MODALITIES = ["resnet18", "resnet50"], ["sth", "sth_merge", "2d"], {"rgb": 3, "flow": 10}


def tiny(seed: int = 0, **arguments: object) -> VideoNetwork:
    """A network in eval mode that computes in a blink, with a classifier that is not near zero."""
    torch.manual_seed(seed)
    settings = {"backbone": "resnet18", "num_classes": 5, "frames": 4, "width": 8} | arguments
    model = create_model(**settings)
    torch.nn.init.normal_(model.fc.weight)
    for layer in model.attention_layers:  # so few units that by chance none would be awake for these clips
        torch.nn.init.ones_(model.get_submodule(f"backbone.{layer.name}.integration.squeeze").bias)
    return model.eval()


def some_clips(batch: int = 2, channels: int = 3, frames: int = 4) -> Tensor:
    return torch.randn(batch, frames, channels, 32, 32, generator=torch.Generator().manual_seed(1))


def sth_layers(model: VideoNetwork) -> list[str]:
    """The names of the 3 x 3 convolutions of a ResNet, from its depths alone."""
    if model.config.backbone == "resnet50":
        return [f"layer{s + 1}.{i}.conv2" for s, depth in enumerate((3, 4, 6, 3)) for i in range(depth)]
    return [f"layer{s}.{i}.conv{c}" for s in (1, 2, 3, 4) for i in (0, 1) for c in (1, 2)]


@pytest.mark.parametrize(
    ("attention", "millions"),
    [(True, "23.24"), (False, "21.98")],  # Tables 6 and 7: 23.2 and 22.0
)
def test_resnet_50_with_174_classes_is_as_large_as_in_the_paper(attention: bool, millions: str) -> None:
    with torch.device("meta"):
        model = create_model("resnet50", num_classes=174, attention=attention)
    assert f"{count_parameters(model) / 1e6:.2f}" == millions


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

    logits = model(clips)
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()
    assert torch.equal(model(clips), logits), "two passes in eval mode differ"

    watched, attention = model.forward_with_attention(clips)
    assert torch.equal(watched, logits), "watching the attention changed the result"
    expected = [] if conv == "2d" else sth_layers(model)
    assert list(attention) == [layer.name for layer in model.attention_layers] == expected
    assert [(layer.index, layer.stage) for layer in model.attention_layers] == [
        (i, name[:6]) for i, name in enumerate(expected)
    ]
    for name, alpha in attention.items():
        assert alpha.shape == (2, 2, model.get_submodule(f"backbone.{name}").out_channels)
        torch.testing.assert_close(alpha.sum(1), torch.ones_like(alpha[:, 0]))
        assert (alpha > 0).all()

    model.train()(clips).square().sum().backward()
    without = [name for name, w in model.named_parameters() if w.grad is None or not w.grad.any()]
    assert without == [], "no gradient reaches these"
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())


def test_no_attention_means_no_layers_to_watch() -> None:
    model = tiny(attention=False)
    assert model.attention_layers == []
    assert model.forward_with_attention(some_clips())[1] == {}


def test_the_features_of_each_block_can_be_recorded() -> None:
    model, recorder = tiny(), FeatureRecorder(("layer1.1", "layer4.0"))
    logits = model(some_clips(), recorder)
    assert {name: tuple(x.shape) for name, x in recorder.recorded.items()} == {
        "layer1.1": (8, 8, 8, 8),
        "layer4.0": (8, 64, 1, 1),
    }
    assert torch.equal(logits, model(some_clips()))


def test_dilations_alternate_over_the_layers() -> None:
    model = tiny(dilations=(1, 2, 3))
    used = [model.get_submodule(f"backbone.{name}").dilation for name in sth_layers(model)]
    assert used == [1, 2, 3] * 5 + [1]
    assert model(some_clips()).isfinite().all()


def test_plain_values_build_the_same_network_again() -> None:
    model = tiny(conv="sth_merge", temporal_fraction=1 / 8, dilations=(1, 2))
    again = model_from_config(config_of(model))
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


def test_what_a_tap_puts_in_place_of_alpha_reaches_the_logits() -> None:
    class OnlySpace(Tap):
        def attention(self, layer: str, alpha: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0])[None, :, None].expand_as(alpha)

    model, clips = tiny(), some_clips()
    assert not torch.allclose(model(clips, OnlySpace()), model(clips))
    torch.testing.assert_close(model(clips.flip(1), OnlySpace()), model(clips, OnlySpace()))


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ({"backbone": "resnet8"}, "unknown backbone 'resnet8' (did you mean 'resnet18'?); possible: resnet18, "),
        ({"backbone": "vit"}, "unknown backbone 'vit'; possible: resnet18, "),
        ({"conv": "sth_merged"}, "unknown conv 'sth_merged' (did you mean 'sth_merge'?); possible: sth, sth_merge, 2d"),
        ({"modality": "flows"}, "unknown modality 'flows' (did you mean 'flow'?); possible: rgb, flow"),
    ],
)
def test_a_wrong_name_is_refused_with_the_near_one(argument: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        create_model(**({"backbone": "resnet18", "num_classes": 2} | argument))
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    "shape",
    [(4, 3, 32, 32), (2, 8, 3, 32, 32), (2, 3, 4, 32, 32), (2, 4, 10, 32, 32)],
    ids=["one clip without batch", "too many frames", "channels before time", "flow for rgb"],
)
def test_clips_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as refused:
        tiny()(torch.zeros(shape))
    assert str(refused.value) == f"this network takes clips (B, 4, 3, H, W) (rgb), got {shape}"
