"""What a checkpoint says is checked before anything is made of it: each strange value is refused in one sentence."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import Tensor

from sth_core import load_checkpoint, save_checkpoint
from sth_core.checkpoint_metadata import LARGEST_HEADER, read_facts
from sth_core.errors import UserError
from sth_core.network import VideoNetwork
from sth_core.video.transforms import Preprocessing
from tests.tiny import CLASSES, RGB, tiny_network
from workbench.cli import main

WAYS = "; the file may be of a newer version of this project (update it), or changed or damaged (write it anew with "
WAYS += "sth train or sth import)"
STRANGE: list[Any] = [
    None, True, -1, 0, 0.5, 2**31, 10**9, 10**30, -(10**30), 1e308, float("nan"), float("inf"), "", "3", "x" * 10**5,
    "rgb", [], [1], [None], ["a"], [[]], [[1]], {}, {"a": 1}, [float("nan")] * 3, "\ud800", [10**9] * 2, [-1, -1],
]  # fmt: skip
TRAINING = {"recipe": {"start": {"imagenet": False, "checkpoint": ""}}, "seed": 0, "train_keys": "", "split_from": ""}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The content of a checkpoint."""
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    save_checkpoint(path, tiny_network(width=2, temporal_fraction=0.5), CLASSES, RGB, training=TRAINING)
    return path.read_bytes()


def header_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def with_header(text: str, weights: bytes = b"") -> bytes:
    header = text.encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + weights


def changed(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The same file with other metadata: `change` gets the metadata's parts, as values."""
    header, weights = header_of(content)
    metadata = header["__metadata__"]
    parts = {name: text if name == "format" else json.loads(text) for name, text in metadata.items()}
    change(parts)
    header["__metadata__"] = {k: v if isinstance(v, Text) or k == "format" else json.dumps(v) for k, v in parts.items()}
    return with_header(json.dumps(header), weights)


class Text(str):
    """A part that is no JSON of a value, but this text."""


def refusal(content: bytes, path: Path, read: Callable[[Path], object] = load_checkpoint) -> str:
    """The sentence with which a file is refused, without its name; empty if it is read."""
    path.write_bytes(content)
    try:
        read(path)
    except UserError as error:
        sentence = str(error)
        assert "\n" not in sentence and len(sentence) < 1500 and sentence.startswith(str(path)), sentence
        return sentence.removeprefix(str(path))
    return ""


def leaves(values: dict[str, Any], *outer: str) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (*outer, name)
        if isinstance(value, dict):
            yield from leaves(value, *outer, name)


def put(parts: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        parts = parts[name]
    parts[path[-1]] = value


def test_every_strange_value_of_every_key_is_a_sentence_or_a_network(tiny: bytes, tmp_path: Path) -> None:
    """About 900 files: each key of each part with each strange value."""
    parts = {name: json.loads(text) for name, text in header_of(tiny)[0]["__metadata__"].items() if name != "format"}
    tried = refused = 0
    for path in leaves(parts):
        for value in STRANGE:
            content = changed(tiny, lambda parts, path=path, value=value: put(parts, path, value))
            tried += 1
            read = load_checkpoint if path[0] == "config" else read_facts  # which no network follows that could fail
            refused += bool(refusal(content, tmp_path / "x.safetensors", read))
    assert tried > 800 and refused > 0.8 * tried, (tried, refused)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_bytes_are_a_sentence_or_a_network(seed: int, tiny: bytes, tmp_path: Path) -> None:
    """Some bytes of the file, most of them of its header, are replaced, removed or doubled."""
    draw, content, header = random.Random(seed), bytearray(tiny), len(tiny) - len(header_of(tiny)[1])
    for _ in range(draw.randint(1, 8)):
        at = draw.randrange(header - 100 if seed % 4 else len(content))
        end = at + draw.choice((1, 1, 1, 4, 50))
        content[at:end] = draw.choice((b"", draw.randbytes(end - at), content[at:end] * 2))
    refusal(bytes(content), tmp_path / "x.safetensors")


def gone(*path: str) -> Callable[[dict[str, Any]], object]:
    def change(parts: dict[str, Any]) -> None:
        for name in path[:-1]:
            parts = parts[name]
        del parts[path[-1]]

    return change


def value(path: str, new: Any) -> Callable[[dict[str, Any]], object]:
    return lambda parts: put(parts, tuple(path.split(".")), new)


NESTED: Any = []
for _ in range(200):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (gone("config"), ": its metadata lack 'config'"),
        (gone("training"), ": its metadata lack 'training'"),
        (gone("format"), " is not a checkpoint of this project: its metadata has no format 'sth-workbench-1'"),
        (value("format", "sth-workbench-2"), " is not a checkpoint of this project: "),
        (value("augment", {}), ": unknown metadata 'augment'; possible: format, config, "),
        (value("config", None), ": config must be a table of names and values, got None"),
        (value("config", Text("")), ": config is not JSON: Expecting value"),
        (value("config", Text("{'a': 1}")), ": config is not JSON: "),
        (value("config", Text('{"a": 1, "a": 2}')), ": config is not JSON: it has 'a' more than once"),
        (value("training", Text("[" * 10**5)), ": training is nested too deep"),
        (value("training.more", NESTED), ": training is nested too deep: more than 20 lists or tables"),
        (value("config.pooling", "max"), ": config: unknown key 'pooling'; possible: backbone, "),
        (value("preprocessing.reszie", 3), "unknown key 'reszie' (did you mean 'resize'?)"),
        (gone("config", "backbone"), ": config: missing backbone"),
        (value("config.backbone", "resnet81"), ": config: unknown backbone 'resnet81' (did you mean 'resnet18'?)"),
        (value("config.temporal_fraction", 0.3), ": config: temporal_fraction must be 1/n for a whole number n"),
        (value("config.temporal_fraction", 1 / 16), "temporal_fraction 1/16 needs channels that 16 divides"),
        (value("config.num_classes", 13), ": classes must have a name for each of the network's 13 outputs, got 12"),
        (value("classes", [*CLASSES, "more"]), "a name for each of the network's 12 outputs, got 13"),
        (value("classes", ["a"] * 12), ": classes must have each name once, got 'a' more often"),
        (value("classes", [""] * 12), ": classes must be a list of 1 to 100,000 items, each a text of 1 to 1,000 char"),
        (value("classes", [*CLASSES[:11], 3]), ": classes must be a list of "),
        (value("classes", {}), ": classes must be a list of "),
        (
            value("preprocessing.frames", 10**9),
            ": preprocessing: frames must be a whole number from 1 to 1,024, got 10000",
        ),
        (value("preprocessing.frames", 8), ": frames and modality must be the same in [model] and [preprocessing]"),
        (value("preprocessing.crop", 37), ": preprocessing: crop (37) must not be larger than resize (36)"),
        (value("preprocessing.std", [0, 0, 0]), ": preprocessing: std must be a list, each a number from 0.001 to 10"),
        (value("preprocessing.mean", [0.5, 0.5]), ": mean must have as many values as divide 3 channels (rgb), got"),
        (value("annotation.format", "jestre"), ": annotation: unknown dataset format 'jestre'"),
        (value("training.seed", {}), ": training.seed must be a whole number from 0 to "),
        (value("training.recipe", 3), ": training.recipe must be a table of names and values, got 3"),
        (value("training.recipe.start", []), ": training.recipe.start must be a table of names and values, got []"),
        (value("training.recipe.start.checkpoint", 3), ": training.recipe.start.checkpoint must be a text of at most "),
        (value("training.train_keys", 3), ": training.train_keys must be a text, got 3"),
    ],
)
def test_a_sentence_names_the_key_the_value_and_the_way_out(
    change: Callable[[dict[str, Any]], object], sentence: str, tiny: bytes, tmp_path: Path
) -> None:
    said = refusal(changed(tiny, change), tmp_path / "x.safetensors")
    assert sentence in said and (said.endswith(WAYS) or "no format" in said or "not a checkpoint" in said)


def test_no_memory_is_taken_by_a_file_that_lies(tiny: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest values that are in range: the weights do not fit, which is found on the meta device."""
    devices: list[str] = []
    monkeypatch.setattr(VideoNetwork, "__init__", recording_devices(VideoNetwork.__init__, devices))
    large = {"config.width": 1024, "config.backbone": "resnet101", "config.num_classes": 100_000}
    large |= {"config.frames": 1024, "preprocessing.frames": 1024, "classes": [f"c{i}" for i in range(100_000)]}
    content = changed(tiny, lambda parts: [value(path, new)(parts) for path, new in large.items()])
    assert "weights do not fit the network: missing " in refusal(content, tmp_path / "x.safetensors")
    assert devices == ["meta"]


def recording_devices(init: Callable[..., None], devices: list[str]) -> Callable[..., None]:
    def made(self: VideoNetwork, *arguments: Any) -> None:
        devices.append(torch.get_default_device().type)
        init(self, *arguments)

    return made


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda tiny: b"", "it has 0 bytes and no whole header; it may be cut off or damaged"),
        (lambda tiny: tiny[:4], "it has 4 bytes and no whole header"),
        (lambda tiny: tiny[:100], "it has 100 bytes and no whole header"),
        (lambda tiny: tiny[:-1], "is not a safetensors file: "),
        (lambda tiny: tiny + b"more", "is not a safetensors file: "),
        (lambda tiny: (2**63).to_bytes(8, "little") + tiny[8:], "and no whole header"),
        (lambda tiny: (LARGEST_HEADER + 1).to_bytes(8, "little") + b" " * (LARGEST_HEADER + 1), "at most 33,554,432"),
        (lambda tiny: (0).to_bytes(8, "little") + tiny[8:], "and no whole header"),
        (lambda tiny: with_header("[" * 10**5), "its header is nested too deep"),
        (lambda tiny: with_header("[1, 2]"), "its metadata are no texts"),
        (lambda tiny: with_header('{"__metadata__": {"format": 3}}'), "its metadata are no texts, {'format': 3}"),
        (
            lambda tiny: with_header('{"__metadata__": {"format": "a", "format": "b"}}'),
            "it has 'format' more than once",
        ),
        (lambda tiny: with_header('{"a": 1, "a": 2}'), "it has 'a' more than once"),
    ],
)
def test_a_file_that_is_cut_off_or_lies_about_its_header(
    write: Callable[[bytes], bytes], sentence: str, tiny: bytes, tmp_path: Path
) -> None:
    assert sentence in refusal(write(tiny), tmp_path / "x.safetensors")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["complexity", str(tmp_path)])
    with pytest.raises(UserError, match=r"is a folder, no checkpoint; name the \.safetensors file"):
        load_checkpoint(tmp_path)
    assert result.exit_code == 2 and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fc.weight": lambda w: w * torch.nan}, "its weights are broken: fc.weight has a value that is not finite"),
        ({"fc.bias": lambda w: w - torch.inf}, "its weights are broken: fc.bias has a value that is not finite"),
        ({"fc.bias": lambda w: w.double() + 1e300}, "its weights are broken: fc.bias has a value that is not finite"),
        ({"backbone.bn1.running_var": lambda w: -w}, "backbone.bn1.running_var has a value that is a variance below 0"),
        ({"fc.weight": lambda w: w.to(torch.int8)}, "fc.weight is of type I8; it must be F64 or F32 or F16 or BF16"),
        ({"fc.weight": lambda w: w.to(torch.complex64)}, "fc.weight is of type C64"),
        ({"fc.weight": lambda w: w.to(torch.float8_e4m3fn)}, "fc.weight is of type F8_E4M3"),
        ({"fc.weight": lambda w: w.bool()}, "fc.weight is of type BOOL"),
        (
            {"backbone.bn1.num_batches_tracked": lambda w: w.float()},
            "num_batches_tracked is of type F32; it must be I64",
        ),
    ],
)
def test_weights_that_no_network_can_have(
    change: dict[str, Callable[[Tensor], Tensor]], sentence: str, tiny: bytes, tmp_path: Path
) -> None:
    model = tiny_network(width=2, temporal_fraction=0.5)
    weights = {name: change.get(name, lambda w: w)(w).contiguous() for name, w in model.state_dict().items()}
    path = tmp_path / "x.safetensors"
    save_file(weights, path, header_of(tiny)[0]["__metadata__"])
    with pytest.raises(UserError) as refused:
        load_checkpoint(path)
    assert str(refused.value).startswith(str(path)) and sentence in str(refused.value)


@pytest.mark.parametrize(
    ("classes", "preprocessing", "fill", "half", "sentence"),
    [
        (CLASSES[:11], RGB, 0.0, False, "classes must have a name for each of the network's 12 outputs, got 11"),
        (["a"] * 12, RGB, 0.0, False, "classes must have each name once"),
        (CLASSES, Preprocessing(frames=5), 0.0, False, "frames and modality must be the same"),
        (CLASSES, RGB, float("nan"), False, "its weights are broken: fc.weight has a value that is not finite"),
        (CLASSES, RGB, 1e6, True, "its weights are broken: fc.weight has a value that is not finite"),  # above 65504
    ],
)
def test_what_nobody_could_load_is_not_written(
    classes: list[str], preprocessing: Preprocessing, fill: float, half: bool, sentence: str, tmp_path: Path
) -> None:
    model = tiny_network(width=2, temporal_fraction=0.5)
    model.fc.weight.data.fill_(fill)
    with pytest.raises(UserError, match=f"x.safetensors is not written: {sentence}"):
        save_checkpoint(tmp_path / "x.safetensors", model, classes, preprocessing, half=half)
    assert not list(tmp_path.iterdir())
