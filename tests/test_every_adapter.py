"""Every network that ships an adapter, small and with random weights, goes through every command and page."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torchvision
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn
from torchvision.models import video

import sth_core.adapters.hugging_face as of_hugging_face
import sth_core.open_network as opening
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import record
from analysis.runs.run_directory import open_run
from analysis.runs.signals import TIME_SHARE, signal_of
from sth_core.adapters import checkpoint_files, torchvision_networks
from sth_core.adapters.torchvision_networks import FAMILIES
from sth_core.checkpoint import Checkpoint, save_checkpoint
from sth_core.network import create_model
from sth_core.video.transforms import Preprocessing
from tests.test_adapted import HUGGING_FACE, NAMES, hugging_face_folder, small_mvit
from tests.test_app import ATTENTION, CLIP, COMPARE, FIGURES, PREDICTIONS, open_page, words
from tests.test_checkpoint_files import small_slowfast
from tests.tiny import one_torch_thread, write_two_of_each
from workbench.cli import main

SIMPLE, NO_TIME = video.resnet.Conv3DSimple, video.resnet.Conv3DNoTemporal


def small_resnet(num_classes: int, **parts: Any) -> nn.Module:
    """Without the last two stages, which have most weights."""
    module = video.resnet.VideoResNet(video.resnet.BasicBlock, layers=[1, 1, 1, 1], **parts)
    module.layer3, module.layer4, module.fc = nn.Sequential(), nn.Sequential(), nn.Linear(128, num_classes)
    return module


def small_s3d(num_classes: int) -> nn.Module:
    """The first half. The last pooling is for 224 pixels; this one is for any."""
    module = video.s3d(num_classes=num_classes)
    module.features, module.avgpool = module.features[:7], nn.AdaptiveAvgPool3d(1)
    module.classifier = nn.Sequential(nn.Dropout(), nn.Conv3d(480, num_classes, 1))
    return module


def small_swin(num_classes: int, *, width: int, depth: int) -> nn.Module:
    heads = [2, 2]
    return video.swin_transformer.SwinTransformer3d(
        [2, 4, 4], width, [2, depth], heads, [2, 7, 7], num_classes=num_classes
    )


SLOWFAST = "SLOWFAST_4x4.pyth"  # its name says how many frames it takes
MVIT_V2 = {"residual_pool": True, "residual_with_cls_embed": False, "rel_pos_embed": True, "proj_after_attn": True}
SMALL: dict[str, Any] = {
    "r3d_18": partial(small_resnet, conv_makers=[SIMPLE] * 4, stem=video.resnet.BasicStem),
    "mc3_18": partial(small_resnet, conv_makers=[SIMPLE] + [NO_TIME] * 3, stem=video.resnet.BasicStem),
    "r2plus1d_18": partial(small_resnet, conv_makers=[video.resnet.Conv2Plus1D] * 4, stem=video.resnet.R2Plus1dStem),
    "s3d": small_s3d,
    "swin3d_t": partial(small_swin, width=12, depth=2),
    "swin3d_s": partial(small_swin, width=12, depth=4),
    "swin3d_b": partial(small_swin, width=16, depth=4),
    "mvit_v1_b": lambda num_classes: small_mvit(),
    "mvit_v2_s": lambda num_classes: small_mvit(**MVIT_V2),
}


def test_every_adapter_is_here() -> None:
    assert list(SMALL) == list(FAMILIES) and list(HUGGING_FACE) == list(of_hugging_face.ARCHITECTURES)


@pytest.fixture(scope="module")
def door() -> Iterator[None]:
    """torchvision's names open small networks; each is opened once."""
    with pytest.MonkeyPatch.context() as patch, one_torch_thread():
        small = lambda name, weights, num_classes: SMALL[name](num_classes=num_classes)  # noqa: E731
        patch.setattr(torchvision.models, "get_model", small)
        patch.setattr(torchvision_networks, "preprocessing_of", small_clips)
        patch.setitem(checkpoint_files.OF_PYTORCHVIDEO, "crop", 64)
        once(patch, opening, "torchvision_network")
        once(patch, of_hugging_face, "hugging_face_network")
        yield


def small_clips(name: str) -> Preprocessing:
    side = 16 if name.endswith("_18") else 32
    return Preprocessing(frames=4, resize=side + 4, crop=side)


def once(patch: pytest.MonkeyPatch, module: ModuleType, function: str) -> None:
    """The function opens each network once."""
    original, opened = getattr(module, function), dict[str, Checkpoint]()

    def open_once(name: str, *arguments: Any, **more: Any) -> Checkpoint:
        if name not in opened:
            opened[name] = original(name, *arguments, **more)
        return opened[name]

    patch.setattr(module, function, open_once)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, door: None) -> Path:
    """Four videos of two of the three classes, and the names of the classes."""
    folder = tmp_path_factory.mktemp("every")
    (folder / "videos").mkdir()
    write_two_of_each(folder / "videos", NAMES[:2])
    (folder / "names.txt").write_text("\n".join(NAMES))
    return folder


def named(name: str, folder: Path) -> list[str]:
    """The words that name a network on the command line, with the files that they need."""
    torch.manual_seed(0)
    names = ["--class-names", f"{folder / 'names.txt'}"]
    if name in HUGGING_FACE:
        return [f"hf:{hugging_face_folder(name, folder / name)}"]
    if name == SLOWFAST:
        torch.save(small_slowfast(fusion_norm=True).state_dict(), folder / name)
        return [f"{folder / name}", *names]
    weights = SMALL[name](num_classes=3).state_dict()
    save_file(weights, folder / f"{name}.safetensors")
    return [f"torchvision:{name}", "--weights", f"{folder / name}.safetensors", *names]


@pytest.mark.long
@pytest.mark.parametrize("name", [*SMALL, *HUGGING_FACE, SLOWFAST])
def test_a_network_goes_through_every_command_and_page(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, run, data = named(name, folder), folder / "runs" / name, ["--data", folder / "videos"]
    video_file = folder / "videos" / "a" / "0.mp4"
    for command in (
        ["record", *network, *data, "-o", run, "--features"],
        ["evaluate", *network, *data, "-o", tmp_path / "evaluated"],
        ["cam", *network, video_file, "-o", tmp_path / "step.mp4", "--definition", "per_step"],
        ["cam", *network, video_file, "-o", tmp_path / "clip.mp4", "--definition", "per_clip"],
        ["probe", *network, *data, "-o", run, "--shuffles", "1"],
        ["trust", *network, *data, "-o", tmp_path / "trust", "--clips", "2", "--methods", "gradcam"],
    ):
        result = CliRunner().invoke(main, [str(word) for word in command], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    recorded = open_run(run)
    assert not recorded.problem and (signal_of(recorded) == TIME_SHARE) == (name in HUGGING_FACE)
    assert json.loads((run / "run.json").read_text())["checkpoint"].endswith(name)
    text = words(open_page(folder / "runs", monkeypatch, CLIP, run=name))
    assert "Input frames" in text and "Grad-CAM needs" not in text
    first = sorted(path.name for path in (folder / "runs").iterdir())[0]
    assert not open_page(folder / "runs", monkeypatch, COMPARE, a=first, b=name).error


@pytest.mark.long
def test_all_of_them_and_an_sth_network_are_on_one_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """α of the one and attention across time of the others stand beside each other, each under its own name."""
    runs, network = folder / "runs", folder / "sth.safetensors"
    torch.manual_seed(0)
    save_checkpoint(network, create_model("resnet18", 3, width=8, frames=4), NAMES, small_clips("sth"))
    record(network, folder / "videos", runs / "sth", DatasetOptions())
    if not (runs / "videomae").exists():  # this test alone
        record(named("videomae", folder)[0], folder / "videos", runs / "videomae", DatasetOptions())
    for page in ("", ATTENTION, PREDICTIONS, FIGURES):
        app = open_page(runs, monkeypatch, page)
        assert not app.error
        if page == ATTENTION:
            assert "α_T" in words(app) and "attention across time" in words(app).lower()
    compared = open_page(runs, monkeypatch, COMPARE, a="sth", b="videomae")
    assert not compared.error and "4 clips" in words(compared)
