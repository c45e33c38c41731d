"""A checkpoint is one file that brings the same network back, or says why it cannot."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sth_core import VideoNetwork, create_model, load_checkpoint, save_checkpoint
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError
from sth_core.pretrained import start_from
from sth_core.video.transforms import Preprocessing

CLASSES = ["opening", "schließen", "à gauche"]
PREPROCESSING = Preprocessing("flow", frames=4, resize=40, crop=32, mean=(0.502,), std=(0.1,), flow_bound=8.0)
ANNOTATION = Annotation(label="motion", split="", group="sequence", held_out=("1", "2"))
TRAINING = {"recipe": {"optimisation": {"epochs": 2}}, "val_accuracy": 0.75, "seed": 7}


@pytest.fixture
def model() -> VideoNetwork:
    """A network whose batch norms have seen something."""
    torch.manual_seed(0)
    network = create_model(
        "resnet18", 3, frames=4, conv="sth_merge", temporal_fraction=1 / 2, dilations=(1, 2), modality="flow", width=8
    )
    torch.nn.init.normal_(network.fc.weight)
    network.train()(some_clips())
    return network.eval()


@pytest.fixture
def saved(model: VideoNetwork, tmp_path: Path) -> Path:
    path = tmp_path / "new folder" / "model.safetensors"
    save_checkpoint(path, model, CLASSES, PREPROCESSING, ANNOTATION, TRAINING)
    return path


def some_clips() -> Tensor:
    return torch.randn(2, 4, 10, 32, 32, generator=torch.Generator().manual_seed(1))


def test_the_network_comes_back_bit_for_bit(model: VideoNetwork, saved: Path) -> None:
    loaded = load_checkpoint(saved).model
    assert loaded.config == model.config
    assert not loaded.training
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    assert torch.equal(loaded(some_clips()), model(some_clips()))


def test_what_it_was_trained_on_and_how_comes_back(saved: Path) -> None:
    loaded = load_checkpoint(saved)
    assert loaded.classes == CLASSES
    assert loaded.preprocessing == PREPROCESSING
    assert loaded.annotation == ANNOTATION
    assert loaded.training == TRAINING


def test_only_the_checkpoint_is_left_in_its_folder(saved: Path) -> None:
    assert list(saved.parent.iterdir()) == [saved]


def test_the_same_network_makes_the_same_bytes_in_every_process(saved: Path, tmp_path: Path) -> None:
    lines = (
        "import sys; from sth_core import load_checkpoint; from sth_core.checkpoint import save_checkpoint",
        "c = load_checkpoint(sys.argv[1])",
        "save_checkpoint(sys.argv[2], c.model, c.classes, c.preprocessing, c.annotation, c.training)",
    )
    for name in ("a", "b"):  # six keys have 720 orders
        words = [sys.executable, "-c", "\n".join(lines), str(saved), str(tmp_path / name)]
        subprocess.run(words, check=True, cwd=Path(__file__).parent.parent)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == saved.read_bytes()


def test_half_the_bits_make_half_the_file_and_nearly_the_same_logits(
    model: VideoNetwork, saved: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half.safetensors"
    save_checkpoint(half, model, CLASSES, PREPROCESSING, half=True)
    assert half.stat().st_size < 0.6 * saved.stat().st_size
    loaded = load_checkpoint(half).model
    assert {w.dtype for w in loaded.parameters()} == {torch.float32}
    logits = model(some_clips()).detach()
    torch.testing.assert_close(loaded(some_clips()), logits, atol=0.02 * float(logits.abs().max()), rtol=0)
    assert not torch.equal(loaded(some_clips()), logits)


def test_saving_leaves_the_network_as_it_was(model: VideoNetwork, tmp_path: Path) -> None:
    before = model(some_clips())
    save_checkpoint(tmp_path / "half.safetensors", model, CLASSES, PREPROCESSING, half=True)
    assert torch.equal(model(some_clips()), before)


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was executed')",)


def torch_file(path: Path) -> None:
    torch.save({"weights": {"a": torch.ones(1)}, "trap": Trap()}, path)


NOT_SAFETENSORS = "is not a safetensors file: "
NOT_OURS = "is not a checkpoint of this project: its metadata has no format 'sth-workbench-1'"


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: None, "no such checkpoint: "),
        (lambda path: path.write_bytes(b""), NOT_SAFETENSORS),
        (lambda path: path.write_bytes(b"no weights at all"), NOT_SAFETENSORS),
        (lambda path: path.write_bytes(pickle.dumps(Trap())), NOT_SAFETENSORS),
        (torch_file, NOT_SAFETENSORS),
        (lambda path: save_file({"weight": torch.ones(2)}, path), NOT_OURS),
        (lambda path: save_file({"weight": torch.ones(2)}, path, {}), NOT_OURS),
        (lambda path: save_file({"weight": torch.ones(2)}, path, {"format": "pt"}), NOT_OURS),
    ],
    ids=["missing", "empty", "text", "pickle", "torch's", "no metadata", "empty metadata", "another format"],
)
def test_what_is_no_checkpoint_is_refused_and_runs_no_code(write: Callable, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path)
    with pytest.raises(UserError, match=sentence) as refused:
        load_checkpoint(path)
    assert str(path) in str(refused.value)


def edited(path: Path, weights: Callable[[dict[str, Tensor]], object], **config: object) -> Path:
    """The same file with other weights, or other values of the config."""
    with safe_open(path, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    weights(tensors)
    save_file(tensors, path, metadata | {"config": json.dumps(json.loads(metadata["config"]) | config)})
    return path


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda w: w.pop("fc.bias"), "missing fc.bias"),
        (lambda w: w.update(extra=torch.ones(1)), "unexpected extra"),
        (lambda w: w.update({"fc.bias": torch.ones(4)}), "fc.bias is (4,) where the network has (3,)"),
        (
            lambda w: (w.pop("fc.bias"), w.pop("backbone.conv1.weight"), w.update(x=torch.ones(1))),
            "missing backbone.conv1.weight; missing fc.bias; unexpected x",
        ),
    ],
    ids=["missing", "unexpected", "misshapen", "all at once"],
)
def test_weights_that_do_not_fit_are_named(change: Callable, problem: str, saved: Path) -> None:
    with pytest.raises(UserError) as refused:
        load_checkpoint(edited(saved, change))
    assert str(refused.value) == f"{saved}: weights do not fit the network: {problem}"


def test_a_checkpoint_of_a_newer_version_is_refused_with_the_option_that_is_unknown(saved: Path) -> None:
    with pytest.raises(UserError, match=r"config: unknown key 'pooling'; possible: backbone, .* newer version"):
        load_checkpoint(edited(saved, lambda weights: None, pooling="max"))


def test_the_network_for_inference_is_made_once_and_predicts_the_same(saved: Path) -> None:
    checkpoint = load_checkpoint(saved)
    with torch.inference_mode():
        assert checkpoint.inference_model is checkpoint.inference_model
        logits, attention = checkpoint.model.forward_with_attention(some_clips())
        fast_logits, fast_attention = checkpoint.inference_model.forward_with_attention(some_clips())
    torch.testing.assert_close(fast_logits, logits, rtol=1e-4, atol=1e-5)
    assert list(fast_attention) == list(attention)
    assert not any(w.is_inference() for w in checkpoint.inference_model.buffers()), "made in inference mode for good"


def test_the_metadata_can_be_read_by_anybody(saved: Path) -> None:
    with safe_open(saved, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["classes"]) == CLASSES
    assert json.loads(metadata["config"])["backbone"] == "resnet18"


def test_training_can_start_from_another_networks_weights(tmp_path: Path) -> None:
    """All but the classifier, whose classes are others; and the classifier too where they are the same."""
    source, target, same = (tiny_model(seed) for seed in (1, 2, 3))
    file = tmp_path / "source.safetensors"
    save_checkpoint(file, source, ["a", "b", "c"], Preprocessing(frames=2))
    assert start_from(target, ["d", "e", "f"], file).kept == ["fc.weight", "fc.bias"]
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name]) != name.startswith("fc."), name
    assert start_from(same, ["a", "b", "c"], file).kept == []
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in same.state_dict().items())


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        ({"temporal_fraction": 1 / 8}, {}, "has p = 1/8, this network has p = 1/4"),
        ({"conv": "sth_merge"}, {}, "has conv sth_merge, this network has conv sth"),
        ({"conv": "3d"}, {}, "has conv 3d, this network has conv sth"),
        ({"width": 16}, {}, "has width 16, this network has width 8"),
        ({"conv": "2d", "width": 16}, {}, "has width 16, this network has width 8"),
        ({}, {"backbone": "resnet34"}, "has backbone resnet18, this network has backbone resnet34"),
    ],
)
def test_starting_from_a_network_of_another_kind_is_refused(
    theirs: dict[str, Any], ours: dict[str, Any], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "source.safetensors"
    save_checkpoint(file, tiny_model(1, **theirs), ["a", "b", "c"], Preprocessing(frames=2))
    with pytest.raises(UserError) as refused:
        start_from(tiny_model(2, **ours), ["a", "b", "c"], file)
    assert str(refused.value) == f"{file} {words}; start from one that has the same"


def test_starting_from_a_2d_network_gives_the_spatial_kernels(tmp_path: Path) -> None:
    """As from ImageNet: the temporal kernels and the attention stay as they were."""
    source, target = tiny_model(1, conv="2d"), tiny_model(2)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    file = tmp_path / "source.safetensors"
    save_checkpoint(file, source, ["a", "b", "c"], Preprocessing(frames=2))
    kept = start_from(target, ["a", "b", "c"], file).kept
    assert kept and all("weight_temporal" in name or "integration" in name for name in kept)
    assert all(torch.equal(before[f"backbone.{name}"], target.state_dict()[f"backbone.{name}"]) for name in kept)
    conv, plain = target.backbone.layer1[0].conv1, source.backbone.layer1[0].conv1  # type: ignore[union-attr, index]
    assert torch.equal(conv.weight_spatial[:2], plain.weight[:2, 2:])  # type 0 is temporal in the first p C_in = 2
    assert torch.equal(target.fc.weight, source.fc.weight)


def test_a_flow_network_starts_from_an_rgb_one_by_the_mean_over_its_colours(tmp_path: Path) -> None:
    source, target = tiny_model(1), tiny_model(2, modality="flow")
    file = tmp_path / "source.safetensors"
    save_checkpoint(file, source, ["a", "b", "c"], Preprocessing(frames=2))
    assert start_from(target, ["a", "b", "c"], file).kept == []
    first = target.backbone.conv1.weight  # type: ignore[union-attr]
    mean = source.backbone.conv1.weight.mean(1)  # type: ignore[union-attr, operator]
    assert first.shape[1] == 10 and all(torch.equal(first[:, c], mean) for c in range(10))  # type: ignore[index, union-attr]


def tiny_model(seed: int, **config: Any) -> VideoNetwork:
    """Whose every tensor is random, also those that start at zero or one."""
    torch.manual_seed(seed)
    model = create_model(**{"backbone": "resnet18", "num_classes": 3, "frames": 2, "width": 8, **config})
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 1)
    return model
