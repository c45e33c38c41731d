"""Weights in files of other programs: where they lie, what they are called, and what is refused."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sth_core.errors import UserError
from sth_core.weight_files import read_pth
from sth_core.weight_names import plain_names
from tests.test_pretrained import mobilenet, repository_name, resnet18_weights

Weights = dict[str, Tensor]


def called(prefix: str) -> Callable[[str], str]:
    return lambda name: prefix + name


def mmaction_name(name: str) -> str:
    """In MMAction2 a convolution and its batch norm are one ConvModule (mmaction/models/backbones/resnet.py); TSM wraps
    the first convolution of a block (resnet_tsm.py)."""
    if name.startswith("fc."):
        return f"cls_head.fc_cls.{name.removeprefix('fc.')}"
    name = name.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.bn.")
    name = re.sub(r"conv(\d)\.weight", r"conv\1.conv.weight", name)
    name = re.sub(r"(layer.*conv1\.conv)\.weight", r"\1.net.weight", name)
    return "backbone." + re.sub(r"bn(\d)", r"conv\1.bn", name)


@pytest.mark.parametrize(
    "rename",
    [
        called(""),
        called("module."),
        called("_orig_mod."),
        called("module._orig_mod."),
        called("_orig_mod.module."),
        called("model."),
        called("net."),
        called("net._orig_mod.backbone."),
        called("model.module."),
        repository_name,
        mmaction_name,
        lambda name: f"module.{mmaction_name(name)}",
        lambda name: name.replace("layer3.0.", "layer3.0._orig_mod."),
        lambda name: name.replace("fc.", "new_fc."),
    ],
    ids=["torchvision", "parallel", "compiled", "compiled, parallel", "parallel, compiled", "Lightning", "net",
         "Lightning, compiled", "Lightning, parallel", "TSM", "MMAction2", "MMAction2, parallel", "a compiled block",
         "new_fc"],
)  # fmt: skip
def test_names_become_torchvisions(rename: Callable[[str], str]) -> None:
    weights = resnet18_weights()
    read = plain_names({rename(name): tensor for name, tensor in weights.items()})
    assert read.keys() == weights.keys() and all(read[name] is weights[name] for name in read)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("classifier.1.weight", "fc.weight"),  # MobileNetV2's
        ("classifier.6.weight", "fc.weight"),  # VGG's
        ("classifier.0.weight", "classifier.0.weight"),
        ("features.1.conv.0.0.weight", "features.1.conv.0.0.weight"),
    ],
)
def test_names_of_other_backbones_become_torchvisions(name: str, plain: str) -> None:
    assert list(plain_names({name: torch.ones(1)})) == [plain]


def mmaction_mobilenet_name(name: str) -> str:
    """mmaction/models/backbones/mobilenet_v2.py and mobilenet_v2_tsm.py, which shift a ConvModule."""
    if not (found := re.fullmatch(r"features\.(\d+)\.(?:conv\.)?([\d.]+)\.(\w+)", name)):
        return f"cls_head.fc_cls.{name.removeprefix('classifier.1.')}"
    block, places, kind = int(found[1]), found[2].split("."), found[3]
    if block in (0, 18):
        return f"backbone.conv{1 if block == 0 else 2}.{'conv' if places == ['0'] else 'bn'}.{kind}"
    last = 1 if block == 1 else 2
    place, norm = map(int, places) if len(places) == 2 else (last, int(places[0]) - last)
    stage = next(stage for stage in range(7, 0, -1) if block >= FIRST_BLOCKS[stage - 1])
    shift = "net." if place == 0 and block > FIRST_BLOCKS[stage - 1] else ""
    i = block - FIRST_BLOCKS[stage - 1]
    return f"backbone.layer{stage}.{i}.conv.{place}.{shift}{('conv', 'bn')[norm]}.{kind}"


def tsm_mobilenet_name(name: str) -> str:
    """archs/mobilenet_v2.py of the TSM repository, where blocks are flat, with activations between."""
    if name.startswith("classifier"):
        return f"module.new_fc.{name.removeprefix('classifier.1.')}"
    if found := re.fullmatch(r"features\.(\d+)\.conv\.([\d.]+)\.(\w+)", name):
        flat = {"0.0": 0, "0.1": 1, "1.0": 3, "1.1": 4, "2": 6, "3": 7} | ({"1": 3, "2": 4} if found[1] == "1" else {})
        shift = ".net" if flat[found[2]] == 0 and int(found[1]) not in FIRST_BLOCKS else ""
        name = f"features.{found[1]}.conv.{flat[found[2]]}{shift}.{found[3]}"
    return f"module.base_model.{name}"


FIRST_BLOCKS = (1, 2, 4, 7, 11, 14, 17)  # of the stages of MobileNetV2


@pytest.mark.parametrize("rename", [mmaction_mobilenet_name, tsm_mobilenet_name])
def test_names_of_mobilenets_become_torchvisions(rename: Callable[[str], str]) -> None:
    weights = mobilenet().state_dict()
    renamed = {rename(name): tensor for name, tensor in weights.items()}
    assert len(renamed) == len(weights) and not renamed.keys() & weights.keys()
    read, plain = plain_names(renamed), plain_names(weights)
    assert read.keys() == plain.keys() and all(read[name] is plain[name] for name in read)


def test_a_file_of_a_tsm_network_is_said_to_be_one(tmp_path: Path) -> None:
    """Shifted convolutions alone; a block that is shifted as a whole, shortcut and all, is no network of ours."""
    path, told = tmp_path / "x.pth", list[str]()
    torch.save({"module.base_model.layer1.0.conv1.net.weight": torch.ones(1)}, path)
    assert list(read_pth(path, notify=told.append)) == ["layer1.0.conv1.weight"]
    assert told == [f"{path} is of a TSM network: its convolutions are trained for shifted frames (model.conv=tsm)"]
    torch.save({"layer1.0.net.conv1.weight": torch.ones(1)}, path)
    assert list(read_pth(path, notify=told.append)) == ["layer1.0.net.conv1.weight"] and len(told) == 1


def test_two_networks_in_one_file_are_not_mixed(tmp_path: Path) -> None:
    torch.save({"model.conv1.weight": torch.ones(1), "net.conv1.weight": torch.zeros(1)}, tmp_path / "x.pth")
    sentence = "model.conv1.weight and net.conv1.weight are both conv1.weight in torchvision's names; keep one of them"
    with pytest.raises(UserError, match=f"^{tmp_path / 'x.pth'}: {re.escape(sentence)}$"):
        read_pth(tmp_path / "x.pth")


W, AVERAGE = {"module.conv1.weight": torch.arange(3.0)}, {"module.conv1.weight": torch.full((3,), 7.0)}
BOTH = "holds weights and their moving average (EMA): the weights are taken, not the average"
ALONE = "holds the moving average (EMA) of weights alone: it is taken"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (W, ""),
        ({"state_dict": W, "epoch": 3, "arch": "bninception", "best_prec1": np.float64(45.5)}, ""),
        ({"model": W, "args": {"lr": 0.1}, "best": np.float32(0.5), "seen": np.int64(3), "done": np.bool_(True)}, ""),
        (W | {"epoch": 3, "arch": "bninception"}, ""),
        ({"model": "resnet50", "model_state_dict": W, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}, ""),
        ({"state_dict": W, "pytorch-lightning_version": "2.4.0", "hyper_parameters": {"lr": 0.1}, "loops": {}}, ""),
        ({"model": {"state_dict": W}, "loss": torch.tensor(1.0)}, ""),
        ({"meta": {"mmengine_version": "0.10"}, "state_dict": W}, ""),
        ({"state_dict": W, "state_dict_ema": AVERAGE}, BOTH),
        ({"model": W, "model_ema": AVERAGE}, BOTH),
        ({"state_dict": W, "ema_state_dict": AVERAGE | {"steps": torch.tensor(9)}}, BOTH),
        ({"state_dict": W | {"model_ema.module.conv1.weight": torch.full((3,), 7.0)}}, BOTH),
        ({"model": W, "ema": {"module": AVERAGE, "decay": 0.999}}, BOTH),
        ({"state_dict_ema": W}, ALONE),
        ({"ema": {"module": W}, "epoch": 3}, ALONE),
        ({"state_dict": {"ema.conv1.weight": torch.arange(3.0)}}, ALONE),
        (W | {"n_averaged": torch.tensor(5)}, ""),  # torch.optim.swa_utils.AveragedModel
    ],
)
def test_the_tensors_are_found_where_programs_put_them(content: Any, said: str, tmp_path: Path) -> None:
    path, told = tmp_path / "x.pth", list[str]()
    torch.save(content, path)
    read = read_pth(path, notify=told.append)
    assert {name: tensor.tolist() for name, tensor in read.items()} == {"conv1.weight": [0, 1, 2]}
    assert told == ([f"{path} {said}"] if said else [])
    if said == BOTH:
        told.clear()
        read = read_pth(path, averaged=True, notify=told.append)
        assert {name: tensor.tolist() for name, tensor in read.items()} == {"conv1.weight": [7, 7, 7]}
        assert told == [f"{path} holds weights and their moving average (EMA): the average is taken, not the weights"]
    elif not said:
        with pytest.raises(UserError, match=f"^{path} holds no moving average of its weights \\("):
            read_pth(path, averaged=True)


@pytest.mark.parametrize("module", ["numpy._core.multiarray", "numpy.core.multiarray"], ids=["numpy 2", "numpy 1"])
def test_numbers_of_numpy_are_read_by_both_their_names(module: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth.tar"
    content = {"state_dict": {"a.weight": torch.ones(2)}, "best_prec1": np.float64(45.5)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    saved = path.read_bytes()
    assert saved.count(b"numpy._core.multiarray") == 1
    path.write_bytes(saved.replace(b"numpy._core.multiarray", module.encode()))
    assert read_pth(path)["a.weight"].tolist() == [1, 1]


def test_a_legacy_file_is_read_too(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert read_pth(tmp_path / "old.pth")["a.weight"].tolist() == [1, 1]


@pytest.mark.parametrize("name", ["nowhere.pth", ""], ids=["missing", "a folder"])
def test_what_is_no_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^no such file: {tmp_path / name}$"):
        read_pth(tmp_path / name)


def half_a_zip(path: Path) -> bytes:
    torch.save({"a.weight": torch.ones(100)}, path)
    return path.read_bytes()[:600]


@pytest.mark.parametrize(
    "content",
    [
        lambda path: b"",
        lambda path: b"no weights at all",
        lambda path: b"<!DOCTYPE html><html></html>",
        lambda path: b"PK\x03\x04" + bytes(200),
        half_a_zip,
        lambda path: half_a_zip(path)[:50],
        lambda path: bytes.fromhex("52029b"),
        lambda path: b"r\xdd]\x93\x08\xbc",
    ],
    ids=["empty", "text", "web page", "no zip", "half", "a head", "pop", "index"],
)
def test_what_is_no_pytorch_file_is_refused_with_a_sentence(content: Callable[[Path], bytes], tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content(path))
    with pytest.raises(UserError) as refused:
        read_pth(path)
    assert str(refused.value).startswith(f"{path} ")
    assert "\n" not in str(refused.value)


class WritesAFile:
    """Unpickling this opens a file for writing: what an attacker could do, without harm."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_with_code_is_refused_and_its_code_does_not_run(zipped: bool, tmp_path: Path) -> None:
    path, victim = tmp_path / "x.pth", tmp_path / "victim"
    content = {"state_dict": {"a.weight": torch.ones(2)}, "trap": WritesAFile(victim)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=f"^{path} holds Python objects, which can run any code when they are loaded"):
        read_pth(path)
    assert not victim.exists()
    torch.load(path, weights_only=False)["trap"].close()
    assert victim.exists(), "the trap is none"


@pytest.mark.parametrize("harmless", [argparse.Namespace(lr=1), Path("x"), np.array([None]), np.datetime64("2020")])
def test_a_file_with_harmless_objects_is_refused_too(harmless: object, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a.weight": torch.ones(2)}, "args": harmless}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds Python objects"):
        read_pth(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"epoch": 3, "arch": "resnet50"}, "holds no weights; its keys are: epoch, arch"),
        ({"state_dict": {"lr": 0.1}}, "holds no weights; its keys are: lr"),
        ({}, "holds no weights; its keys are: "),
        ([torch.ones(2)], "holds a list, not a dictionary of weights"),
        (torch.ones(2), "holds a Tensor, not a dictionary of weights"),
        ({"state_dict": [1, 2]}, "holds a list, not a dictionary of weights"),
    ],
    ids=["no tensors", "none inside", "empty", "a list", "a tensor", "a list inside"],
)
def test_a_file_without_a_dictionary_of_weights_is_refused(content: Any, sentence: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError) as refused:
        read_pth(tmp_path / "x.pth")
    assert str(refused.value) == f"{tmp_path / 'x.pth'} {sentence}"
