"""PyTorch files of MMAction2, TSM and pytorchvideo: recognised by the names of their tensors, or refused in a sentence.

The logits were compared with those of pytorchvideo 0.1.5 (`create_resnet`, `create_slowfast`) and of MMAction2 1.2.0
(`ResNet`, `ResNetTSM`, `ResNet3dSlowFast`) on random weights: all were equal, those of MMAction2's SlowFast but for
rounding, as its classifier sums in another order. Here the networks have the names and shapes of theirs.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor
from torchvision.models import resnet50

from sth_core.adapted import AdaptedNetwork
from sth_core.adapters.slowfast import SlowFast, SlowResNet50
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from sth_core.network import VideoNetwork
from sth_core.network_names import NetworkName
from sth_core.open_network import open_network
from workbench.cli import main

CLASSES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def resnet() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return resnet50(num_classes=3).state_dict()


def of_mmaction(weights: dict[str, Tensor], *, shifted: bool) -> dict[str, Tensor]:
    """By MMAction2's names: backbone.layer1.0.conv1.conv.net.weight, ... .bn.weight, cls_head.fc_cls.weight."""
    found = {}
    for name, weight in weights.items():
        if name.startswith("fc."):
            found[name.replace("fc.", "cls_head.fc_cls.")] = weight
            continue
        *path, last, kind = name.split(".")
        if last == "0" or (last == "1" and path[-1] == "downsample"):
            new = ".".join([*path, "conv" if last == "0" else "bn"])
        elif last.startswith("bn"):
            new = ".".join([*path, f"conv{last[2:]}", "bn"])
        else:
            new = ".".join([*path, last, "conv", *["net"] * (shifted and last == "conv1" and bool(path))])
        found[f"backbone.{new}.{kind}"] = weight
    return found


def of_tsm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """By the TSM repository's names, as its checkpoints have them."""
    names = {name: name.replace("conv1.weight", "conv1.net.weight") if "layer" in name else name for name in weights}
    return {
        f"module.new_fc.{name[3:]}" if name.startswith("fc.") else f"module.base_model.{new}": weights[name]
        for name, new in names.items()
    }


def opened(folder: Path, name: str, weights: dict[str, Tensor], classes: list[str] = CLASSES) -> Checkpoint:
    (folder / "names.txt").write_text("\n".join(classes))
    torch.save({"meta": {"epoch": 1}, "state_dict": weights}, folder / name)
    return open_network(NetworkName(str(folder / name), "", str(folder / "names.txt")))


@pytest.mark.parametrize(
    ("name", "shifted", "conv", "frames", "stride"),
    [
        ("tsm_imagenet-pretrained-r50_8xb16-1x1x4-50e_kinetics400-rgb.pth", True, "tsm", 4, 0),
        ("tsm_r50_dense_1x1x8_50e_kinetics400_rgb_20200727.pth", True, "tsm", 8, 8),
        ("tsn_r50_1x1x3.pth", False, "2d", 3, 0),
    ],
)
def test_mmaction2s_tsn_and_tsm(
    name: str, shifted: bool, conv: str, frames: int, stride: int, resnet: dict[str, Tensor], tmp_path: Path
) -> None:
    found = opened(tmp_path, name, of_mmaction(resnet, shifted=shifted))
    model, p = found.model, found.preprocessing
    assert isinstance(model, VideoNetwork) and (model.config.conv, model.config.backbone) == (conv, "resnet50")
    assert (p.frames, p.stride, p.resize, p.crop, p.interpolation) == (frames, stride, 256, 224, "opencv_linear")
    assert all(torch.equal(model.state_dict()["fc.weight"], w) for w in [resnet["fc.weight"]])
    still = torch.rand(1, 1, 3, 64, 64).expand(1, frames, 3, 64, 64)  # the 2D network sees one picture
    if not shifted:
        plain = resnet50(num_classes=3).eval()
        plain.load_state_dict(resnet)
        with torch.inference_mode():
            torch.testing.assert_close(model(still), plain(still[:, 0]), rtol=1e-4, atol=1e-5)
        again = open_network(NetworkName(str(tmp_path / name), "", str(tmp_path / "names.txt")))
        others = opened(tmp_path, name, of_mmaction(resnet, shifted=shifted), list("xyz"))
        assert again.sha256 == found.sha256 != others.sha256  # which class names are a part of


def test_tsms_own(resnet: dict[str, Tensor], tmp_path: Path) -> None:
    found = opened(tmp_path, "TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth", of_tsm(resnet))
    assert isinstance(found.model, VideoNetwork) and found.model.config.conv == "tsm"
    assert (found.preprocessing.frames, found.preprocessing.interpolation) == (8, "pil")


def test_pytorchvideos_slow_r50(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = SlowResNet50(3)
    found = opened(tmp_path, "SLOW_4x16_R50.pyth", module.state_dict())
    model, p = found.model, found.preprocessing
    assert isinstance(model, AdaptedNetwork) and len(model.grids) == 17 and model.classifier == "blocks.5.proj"
    assert (p.frames, p.stride, p.dense, p.crop, p.mean[0]) == (4, 16, "spread", 256, 0.45)
    clips = torch.rand(1, 4, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(clips), module.eval()(clips.transpose(1, 2)))


def small_slowfast(*, fusion_norm: bool) -> SlowFast:
    """A block in each stage, two in the second of the fast pathway; 4 frames for the slow pathway, 8 for the fast."""
    torch.manual_seed(0)
    kernels = [[1], [1], [3], [3]], [[3], [3, 1], [3], [3]]
    module = SlowFast(
        3, frames=8, slow_frames=(0, 2, 4, 7), kernels=kernels, fusion_kernel=5, fusion_norm=fusion_norm, pool=7
    )
    for name, tensor in module.state_dict().items():
        if tensor.ndim == 5:
            torch.nn.init.kaiming_normal_(tensor)
        elif tensor.ndim == 1:  # of batch norms, which start as the identity
            tensor.copy_(torch.rand(len(tensor)) + (0.5 if name.endswith(("weight", "running_var")) else 0))
    return module.eval()


def slowfast_by_mmaction(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """By MMAction2's names, whose classifier takes the 256 features of the fast pathway first."""
    found = {}
    for name, weight in weights.items():
        kind = name.rpartition(".")[2]
        if name.startswith("blocks.6"):
            found[f"cls_head.fc_cls.{kind}"] = (
                torch.cat([weight[:, 2048:], weight[:, :2048]], 1) if weight.ndim > 1 else weight
            )
            continue
        _, stage, what, *rest = name.split(".")
        if what == "multipathway_fusion":
            place = "slow_path." + ("conv1_lateral" if stage == "0" else f"layer{stage}_lateral")
            part = "bn" if rest[0] == "norm" else "conv"
        else:
            part = "bn" if "norm" in rest[-2] else "conv"
            place = f"{('slow', 'fast')[int(rest[0])]}_path."
            if stage == "0":
                place += "conv1"
            else:
                unit = "downsample" if rest[3].startswith("branch1") else f"conv{'abc'.index(rest[4][-1]) + 1}"
                place += f"layer{stage}.{rest[2]}.{unit}"
        found[f"backbone.{place}.{part}.{kind}"] = weight
    return found


def slowfast_of_formulas(weights: dict[str, Tensor], clips: Tensor, slow_frames: list[int]) -> Tensor:
    """The logits of a SlowFast by MMAction2's names, written down anew: no module, one function for a convolution and
    its batch norm."""

    def unit(x: Tensor, name: str, strides: tuple[int, int], *, relu: bool = True) -> Tensor:
        weight, (t, s) = weights[f"backbone.{name}.conv.weight"], strides
        x = F.conv3d(x, weight, stride=(t, s, s), padding=tuple(size // 2 for size in weight.shape[2:]))
        if f"backbone.{name}.bn.weight" not in weights:
            return x
        mean, var, scale, shift = (
            weights[f"backbone.{name}.bn.{of}"][:, None, None, None]
            for of in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (var + 1e-5).sqrt() * scale + shift
        return x.clamp(min=0) if relu else x

    fast = clips.transpose(1, 2)
    paths = {"slow": fast[:, :, slow_frames], "fast": fast}
    for path, x in paths.items():
        paths[path] = F.max_pool3d(unit(x, f"{path}_path.conv1", (1, 2)), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    ratio = clips.shape[1] // len(slow_frames)
    for stage in range(1, 5):
        lateral = unit(paths["fast"], f"slow_path.{'conv1' if stage == 1 else f'layer{stage - 1}'}_lateral", (ratio, 1))
        paths["slow"] = torch.cat([paths["slow"], lateral], 1)
        for path in paths:
            block = 0
            while f"backbone.{path}_path.layer{stage}.{block}.conv1.conv.weight" in weights:
                x, at = paths[path], f"{path}_path.layer{stage}.{block}"
                stride = 2 if stage > 1 and block == 0 else 1
                y = unit(
                    unit(unit(x, f"{at}.conv1", (1, 1)), f"{at}.conv2", (1, stride)), f"{at}.conv3", (1, 1), relu=False
                )
                kept = unit(x, f"{at}.downsample", (1, stride), relu=False) if block == 0 else x
                paths[path], block = (y + kept).clamp(min=0), block + 1
    features = torch.cat([paths["fast"].mean((2, 3, 4)), paths["slow"].mean((2, 3, 4))], 1)
    return features @ weights["cls_head.fc_cls.weight"].T + weights["cls_head.fc_cls.bias"]


@pytest.mark.parametrize(
    ("name", "of_mmaction", "slow_frames"),
    [
        ("slowfast_r50_8xb8-4x4x1-256e_kinetics400-rgb_20220818-1cb6dfc8.pth", True, [0, 2, 4, 6]),
        ("SLOWFAST_4x4_R50.pyth", False, [0, 2, 4, 7]),  # torch.linspace(0, 7, 4), rounded down
    ],
)
@pytest.mark.parametrize("fusion_norm", [False, True])
def test_slowfast(name: str, of_mmaction: bool, slow_frames: list[int], fusion_norm: bool, tmp_path: Path) -> None:
    weights = small_slowfast(fusion_norm=fusion_norm).state_dict()
    by_mmaction = slowfast_by_mmaction(weights)
    found = opened(tmp_path, name, by_mmaction if of_mmaction else weights)
    model, p = found.model, found.preprocessing
    assert isinstance(model, AdaptedNetwork) and model.classifier == "blocks.6.proj"
    assert (p.frames, p.stride, p.crop) == (8, 2, 224 if of_mmaction else 256)
    assert (p.interpolation, p.mean[0]) == (("opencv_linear", 0.485) if of_mmaction else ("bilinear", 0.45))
    # The slow pathway is last in each stage: Grad-CAM takes the last layer.
    assert list(model.grids)[-1] == "blocks.4.multipathway_blocks.0.res_blocks.0" and len(model.grids) == 11
    clips = torch.rand(2, 8, 3, 64, 64)
    with torch.inference_mode():
        expected = slowfast_of_formulas(by_mmaction, clips, slow_frames)
        torch.testing.assert_close(model(clips), expected, rtol=1e-4, atol=1e-4)
        assert (expected[0] - expected[1]).abs().max() > 1e-2


WITHOUT_HEAD = {"blocks.0.conv.weight": torch.zeros(64, 3, 1, 7, 7), "blocks.5.proj.weight": torch.zeros(3, 2048)}
SLOWFAST = {
    "blocks.0.multipathway_fusion.conv_fast_to_slow.weight": torch.zeros(16, 8, 5, 1, 1),
    "blocks.6.proj.weight": torch.zeros(3, 2304),
}


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        ("ava.pyth", {"blocks.0.multipathway_blocks.0.conv.weight": 5}, "of pytorchvideo that has no classifier"),
        ("SLOWFAST_8x8_R50.pkl.pth", {"s1.pathway1_stem.conv.weight": 5}, "a SlowFast network of PySlowFast"),
        ("ava.pth", {"backbone.slow_path.conv1.conv.weight": 5}, "of MMAction2 that has no classifier of whole clips"),
        ("slowfast_r50.pth", SLOWFAST, "nor its name says how many frames .* SLOWFAST_8x8_R50.pyth"),
        ("slowfast_8x7.pth", SLOWFAST, "its name says 8x7: the frames of the slow pathway must be"),
        ("slowfast_8x8.pth", SLOWFAST, "slowfast_8x8.pth is another SlowFast .*: missing blocks.0.multipathway_blocks"),
        ("i3d.pth", {"backbone.conv1.conv.weight": 5, "cls_head.fc_cls.weight": 2}, "that is no TSN or TSM"),
        ("x3d_8x8.pyth", {"blocks.1.res_blocks.0.branch2.conv_a.weight": 5}, "of pytorchvideo that is no slow_r50"),
        ("c2d_8x8.pyth", WITHOUT_HEAD, "of pytorchvideo than slow_r50: missing blocks.0.norm.weight, and"),
        ("slow.pyth", WITHOUT_HEAD, "nor its name says how many frames .* SLOW_8x8_R50.pyth"),
        ("SLOW_8x9999_R50.pyth", SlowResNet50, "its name says 8x9999: stride must be"),
        ("mine.pth", {"layers.weight": 2}, "is not recognised .its tensors: layers.weight"),
    ],
)  # fmt: skip
def test_what_is_recognised_and_not_opened_is_named(name: str, weights: Any, sentence: str, tmp_path: Path) -> None:
    made = weights(3).state_dict() if callable(weights) else {
        key: torch.zeros((1,) * value) if isinstance(value, int) else value for key, value in weights.items()
    }  # fmt: skip
    with pytest.raises(UserError, match=sentence):
        opened(tmp_path, name, made)


def test_what_a_file_does_not_say_is_asked_for(resnet: dict[str, Tensor], tmp_path: Path) -> None:
    weights = of_mmaction(resnet, shifted=True)
    with pytest.raises(UserError, match=r"nor its name says how many frames a clip has; give it a name .*_1x1x8\.pth"):
        opened(tmp_path, "tsm.pth", weights)
    with pytest.raises(UserError, match="has 3 classes, and 2 names were given"):
        opened(tmp_path, "tsm_1x1x8.pth", weights, ["a", "b"])
    some = {name.replace(".net.", "." if "layer2.1" in name else ".net."): w for name, w in weights.items()}
    with pytest.raises(UserError, match="shifts some of its blocks alone"):
        opened(tmp_path, "some_1x1x8.pth", some)
    with pytest.raises(UserError, match="is a TSM with temporal pooling by its name"):
        opened(tmp_path, "tsm_temporal_pool_r50_1x1x8_50e_sthv1_rgb.pth", weights)
    said = CliRunner().invoke(main, ["cam", str(tmp_path / "tsm_1x1x8.pth"), "--layers"])
    assert said.exit_code and "has 3 classes, whose names are not in it; give them with --class-names" in said.output
    assert "Traceback" not in said.output
