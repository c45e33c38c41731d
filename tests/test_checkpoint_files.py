"""PyTorch files of MMAction2, TSM and pytorchvideo: recognised by the names of their tensors, or refused in a sentence.

The logits were compared with those of pytorchvideo 0.1.5 (`create_resnet`) and of MMAction2 1.2.0 (`ResNet`,
`ResNetTSM`) on random weights: all were equal. Here the networks have the names and shapes of theirs.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor
from torchvision.models import resnet50

from sth_core.adapted import AdaptedNetwork
from sth_core.adapters.slow_resnet import SlowResNet50
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


WITHOUT_HEAD = {"blocks.0.conv.weight": torch.zeros(64, 3, 1, 7, 7), "blocks.5.proj.weight": torch.zeros(3, 2048)}


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        ("SLOWFAST_8x8_R50.pyth", {"blocks.0.multipathway_blocks.0.conv.weight": 5}, "SlowFast .* of pytorchvideo"),
        ("SLOWFAST_8x8_R50.pkl.pth", {"s1.pathway1_stem.conv.weight": 5}, "a SlowFast network of PySlowFast"),
        ("slowfast_r50.pth", {"backbone.slow_path.conv1.conv.weight": 5}, "a SlowFast network of MMAction2"),
        ("i3d.pth", {"backbone.conv1.conv.weight": 5, "cls_head.fc_cls.weight": 2}, "that is no TSN or TSM"),
        ("x3d_8x8.pyth", {"blocks.1.res_blocks.0.branch2.conv_a.weight": 5}, "of pytorchvideo that is no slow_r50"),
        ("c2d_8x8.pyth", WITHOUT_HEAD, "is no slow_r50 of pytorchvideo, .*: missing blocks.0.norm.weight, and"),
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
