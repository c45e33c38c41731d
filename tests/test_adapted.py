"""Networks that are none of the paper's: `adapt`, and the adapters of torchvision and Hugging Face."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from captum.attr import LayerGradCam
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import video

from analysis.explain.gradcam import ActivationRecorder, cam_layers, default_layer, signed_maps
from analysis.explain.weight_randomization import randomized_models
from sth_core.adapted import AdaptedNetwork, adapt, frames_first
from sth_core.adapters import torchvision_networks
from sth_core.checkpoint import Checkpoint
from sth_core.convolution import Tap
from sth_core.errors import UserError
from sth_core.grids import ChannelsFirst, ChannelsLast, FramesAsImages, Grid, SizedTokens, Tokens
from sth_core.network_names import NetworkName
from sth_core.open_network import open_network
from sth_core.video.transforms import Preprocessing
from tests.test_app import CLIP, COMPARE, FIGURES, PREDICTIONS, open_page, words
from tests.tiny import write_two_of_each
from workbench.cli import main
from workbench.networks import NETWORKS

transformers = pytest.importorskip("transformers", reason="the extra [transformers] is not installed")
NAMES = ["a", "b", "c"]
SMALL = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3}
HUGGING_FACE: dict[str, tuple[str, dict[str, Any]]] = {
    "videomae": ("VideoMAE", {"num_frames": 4, "image_size": 32, "patch_size": 8, "intermediate_size": 48}),
    "timesformer": ("Timesformer", {"num_frames": 4, "image_size": 32, "patch_size": 8, "intermediate_size": 48}),
    "vivit": ("Vivit", {"num_frames": 4, "image_size": 32, "tubelet_size": [2, 8, 8], "intermediate_size": 48}),
    "vjepa2": ("VJEPA2", {"frames_per_clip": 4, "crop_size": 32, "patch_size": 8, "pred_hidden_size": 12,
                          "pred_num_attention_heads": 3, "pred_num_hidden_layers": 1, "num_pooler_layers": 1}),
}  # fmt: skip


class Frames(nn.Module):
    """A network of single frames (B, T, C, H, W), as TSN: a convolution, a ReLU, and the mean."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.fc = nn.Linear(8, classes)

    def forward(self, clips: Tensor) -> Tensor:
        x = self.block(self.stem(clips.flatten(0, 1))).mean((2, 3))
        return self.fc(x).unflatten(0, clips.shape[:2]).mean(1)


class Volume(nn.Module):
    """A network of clips (B, C, T, H, W) that halves the time."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(3, 6, 3, (1, 4, 4), 1), nn.ReLU(), nn.Conv3d(6, 8, 3, (2, 1, 1), 1))
        self.fc = nn.Linear(8, classes)

    def forward(self, clips: Tensor) -> Tensor:
        return self.fc(self.layers(clips).relu().mean((2, 3, 4)))


def clip_of_32(frames: int = 4, crop: int = 32) -> Preprocessing:
    return Preprocessing(frames=frames, resize=crop, crop=crop)


def of_family(name: str, module: nn.Module, frames: int, crop: int) -> Checkpoint:
    layers = torchvision_networks.FAMILIES[name].layers([layer for layer, _ in module.named_modules()])
    return adapt(module, classes=NAMES, preprocessing=clip_of_32(frames, crop), name=name, layers=layers)


def small_mvit(**changes: bool) -> nn.Module:
    block = partial(video.mvit.MSBlockConfig, num_heads=1, kernel_q=[3, 3, 3], kernel_kv=[3, 3, 3], stride_kv=[1, 1, 1])
    blocks = [
        block(input_channels=12, output_channels=24, stride_q=[1, 1, 1]),
        block(input_channels=24, output_channels=24, stride_q=[1, 2, 2]),
        block(input_channels=24, output_channels=24, stride_q=[1, 1, 1]),
    ]
    options = {
        "residual_pool": False,
        "residual_with_cls_embed": True,
        "rel_pos_embed": False,
        "proj_after_attn": False,
    }
    return video.mvit.MViT((32, 32), 4, blocks, **(options | changes), num_classes=3)


def small_swin() -> nn.Module:
    return video.swin_transformer.SwinTransformer3d([2, 4, 4], 12, [2, 2], [2, 2], [2, 7, 7], num_classes=3)


def hugging_face_folder(kind: str, folder: Path) -> Path:
    """A small classifier with random weights, as `save_pretrained` writes it."""
    prefix, options = HUGGING_FACE[kind]
    config = getattr(transformers, f"{prefix}Config")(num_labels=3, **(SMALL | options))
    config.id2label = dict(enumerate(NAMES))
    getattr(transformers, f"{prefix}ForVideoClassification")(config).save_pretrained(folder)
    settings = {"size": {"shortest_edge": 36}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def from_hugging_face(kind: str, folder: Path) -> Checkpoint:
    return open_network(f"hf:{hugging_face_folder(kind, folder)}")


ADAPTED: dict[str, Callable[[Path], Checkpoint]] = {
    "frames": lambda _: adapt(Frames(), classes=NAMES, preprocessing=clip_of_32(), call=frames_first),
    "volume": lambda _: adapt(Volume(), classes=NAMES, preprocessing=clip_of_32()),
    "r3d_18": lambda _: of_family("r3d_18", video.r3d_18(num_classes=3), 8, 32),
    "mc3_18": lambda _: of_family("mc3_18", video.mc3_18(num_classes=3), 4, 32),
    "r2plus1d_18": lambda _: of_family("r2plus1d_18", video.r2plus1d_18(num_classes=3), 4, 32),
    "swin": lambda _: of_family("swin3d_t", small_swin(), 4, 32),
    "mvit": lambda _: of_family("mvit_v1_b", small_mvit(), 4, 32),
    **{
        kind: lambda folder, kind=kind: open_network(f"hf:{hugging_face_folder(kind, folder)}") for kind in HUGGING_FACE
    },
}


@pytest.fixture(scope="module", params=ADAPTED)
def adapted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    torch.manual_seed(0)
    return ADAPTED[request.param](tmp_path_factory.mktemp("hf"))


def clips_for(c: Checkpoint, count: int = 2) -> Tensor:
    p = c.preprocessing
    return torch.randn(count, p.frames, 3, p.crop, p.crop, generator=torch.Generator().manual_seed(1))


def has_hooks(module: nn.Module) -> bool:
    return any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules())


def network_in(c: Checkpoint) -> AdaptedNetwork:
    assert isinstance(c.model, AdaptedNetwork)
    return c.model


@torch.inference_mode()
def test_the_logits_are_the_modules_own_also_where_layers_are_observed(adapted: Checkpoint) -> None:
    model, clips = network_in(adapted), clips_for(adapted)
    own = model.call(model.module, clips)
    own = getattr(own, "logits", own)
    recorder = ActivationRecorder()
    assert torch.equal(model(clips), own)
    assert torch.equal(model(clips, recorder), own)
    assert torch.equal(model.forward_with_attention(clips)[0], own) and not model.forward_with_attention(clips)[1]
    assert list(recorder.kept) == list(model.grids)
    assert not has_hooks(model)


def test_a_layer_is_described_with_what_its_cells_cover(adapted: Checkpoint) -> None:
    p, layers = adapted.preprocessing, cam_layers(adapted.model, adapted.preprocessing.crop)
    for layer in layers:
        assert layer.height * layer.stride == p.crop and layer.frames_per_step in (1, 2, 4, 8)
    assert default_layer(layers) in network_in(adapted).grids


def test_grad_cam_of_every_layer_is_what_its_gradients_give(adapted: Checkpoint) -> None:
    """By autograd alone, with a hook of this test, for each layer and both definitions."""
    model, clips, targets = network_in(adapted), clips_for(adapted), torch.tensor([1, 2])
    kept: dict[str, Any] = {}

    def hook(name: str, module: nn.Module, args: Any, output: Any) -> None:
        kept[name] = output

    handles = [model.module.get_submodule(n).register_forward_hook(partial(hook, n)) for n in model.grids]
    score = model(clips.clone().requires_grad_()).gather(1, targets[:, None]).sum()
    for handle in handles:
        handle.remove()
    outputs = {name: output[0] if isinstance(output, tuple) else output for name, output in kept.items()}
    gradients = torch.autograd.grad(score, list(outputs.values()))
    for definition in ("per_step", "per_clip"):
        maps = signed_maps(model, clips, targets, definition=definition)
        for (name, output), gradient in zip(kept.items(), gradients, strict=True):
            sizes = (gradient, *output[1:]) if isinstance(output, tuple) else gradient
            x, g = (model.grids[name].to_grid(of).detach() for of in (output, sizes))
            weights = g.mean((1, 3, 4) if definition == "per_clip" else (3, 4), keepdim=True)
            expected = (weights * x).sum(2).repeat_interleave(model.frames // x.shape[1], 1)
            found = maps[name]["joint"]
            assert found.abs().max() > 0, name
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["volume", "mc3_18"])
def test_grad_cam_is_captums(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    c = ADAPTED[name](tmp_path)
    model, clips = network_in(c), clips_for(c)
    for layer in model.grids:
        captums = LayerGradCam(model.module, model.module.get_submodule(layer))
        expected = captums.attribute(clips.transpose(1, 2), torch.tensor([1, 2]))[:, 0].detach()
        found = signed_maps(model, clips, torch.tensor([1, 2]), (layer,), definition="per_clip")[layer]["joint"]
        expected = expected.repeat_interleave(model.frames // expected.shape[1], 1)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", HUGGING_FACE)
@torch.inference_mode()
def test_a_token_lies_where_its_pixels_are(kind: str, tmp_path: Path) -> None:
    c = open_network(f"hf:{hugging_face_folder(kind, tmp_path)}")
    model = network_in(c)
    grid = next(iter(model.grids.values()))
    assert isinstance(grid, Tokens) and grid.height == grid.width == 4
    embeddings = next(m for n, m in model.module.named_modules() if n.endswith("embeddings"))
    seen: list[Tensor] = []
    clips = torch.zeros(2, 4, 3, 32, 32)
    clips[1, 2:, :, 24:, 8:16] = 1.0  # the frames 2 and 3, the lowest row of patches, the second column
    handle = embeddings.register_forward_hook(lambda module, args, output: seen.append(grid.to_grid(output)))
    model(clips)
    handle.remove()
    changed = (seen[0][0] - seen[0][1]).abs().sum(1) > 1e-6  # (T', h, w)
    expected = torch.zeros_like(changed)
    expected[grid.steps // 2 :, 3, 1] = True
    assert torch.equal(changed, expected)


@pytest.mark.parametrize(
    ("grid", "output"),
    [
        (ChannelsFirst(), torch.rand(2, 5, 3, 4, 6)),
        (ChannelsLast(), torch.rand(2, 3, 4, 6, 5)),
        (FramesAsImages(3), torch.rand(6, 5, 4, 6)),
        (Tokens(3, 4, 6), torch.rand(2, 72, 5)),
        (Tokens(3, 4, 6, extra=1), (torch.rand(2, 73, 5), "attention")),
        (Tokens(3, 4, 6, extra=2, time_last=True), torch.rand(2, 74, 5)),
        (SizedTokens(), (torch.rand(2, 73, 5), (3, 4, 6))),
    ],
    ids=["channels first", "channels last", "frames", "tokens", "class token", "time last", "sized tokens"],
)
def test_a_grid_and_back(grid: Grid, output: Any) -> None:
    x = grid.to_grid(output)
    assert x.shape == (2, 3, 5, 4, 6)
    back = grid.from_grid(x, output)
    assert type(back) is type(output)
    if isinstance(output, tuple):
        assert back[1:] == output[1:]
        back, output = back[0], output[0]
    assert torch.equal(back, output)


def test_a_tap_that_changes_a_layer_changes_the_logits_and_leaves_no_trace() -> None:
    class Halved(Tap):
        def features(self, layer: str, x: Tensor) -> Tensor:
            return x / 2

    class Broken(Tap):
        def features(self, layer: str, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    c = adapt(
        Frames(), classes=NAMES, preprocessing=clip_of_32(), call=frames_first, layers={"block": FramesAsImages(4)}
    )
    clips, model = clips_for(c), network_in(c)
    bias = model.module.get_parameter("fc.bias")
    torch.testing.assert_close(model(clips, Halved()) - bias, (model(clips) - bias) / 2)
    with pytest.raises(KeyboardInterrupt):
        model(clips, Broken())
    assert not has_hooks(model)


def test_two_threads_on_one_network_see_their_own_layers() -> None:
    c = adapt(Volume(), classes=NAMES, preprocessing=clip_of_32())
    clips = [clips_for(c, 1) * scale for scale in (1, 2, 3)]
    alone = [signed_maps(c.model, x, torch.tensor([0]))["layers"]["joint"] for x in clips] * 20
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda x: signed_maps(c.model, x, torch.tensor([0]))["layers"]["joint"], clips * 20))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other)
    assert not has_hooks(c.model)


def test_weights_become_random_from_the_output_down(adapted: Checkpoint) -> None:
    stages = adapted.model.stages()
    assert sum(map(len, stages.values())) == len(list(adapted.model.parameters()))
    if sum(weight.numel() for weight in adapted.model.parameters()) > 1e6:
        return  # a copy for each stage is slow, and no other than that of a small network
    before = {name: weight.clone() for name, weight in adapted.model.named_parameters()}
    parts = list(randomized_models(adapted.model))
    assert [name for name, _ in parts] == list(reversed(stages))
    lowest = dict(parts[-1][1].named_parameters())
    assert all(torch.equal(before[name], weight) for name, weight in adapted.model.named_parameters())
    assert any(not torch.equal(before[name], lowest[name]) for name in before)


def test_layers_are_found_by_the_shape_of_their_output() -> None:
    found = adapt(video.r3d_18(num_classes=3), classes=NAMES, preprocessing=clip_of_32(8)).model
    assert isinstance(found, AdaptedNetwork)
    assert list(found.grids) == ["stem", *[f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)]]
    s3d = of_family("s3d", video.s3d(num_classes=3), 16, 224).model  # which has no small form
    assert isinstance(s3d, AdaptedNetwork) and list(s3d.grids) == [f"features.{i}" for i in range(16)]
    swin = adapt(small_swin(), classes=NAMES, preprocessing=clip_of_32()).model
    assert isinstance(swin, AdaptedNetwork) and swin.grids["features.2.1"] == ChannelsLast()


class Fixed(nn.Module):
    """Returns what it is told to, whatever it is shown."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output, self.unused = output, nn.Sequential(nn.Linear(1, 1))

    def forward(self, clips: Tensor) -> Any:
        return self.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"module": Fixed(torch.zeros(2, 5))}, r"a tensor \(2, 5\) for 2 clips; it must return the logits \(2, 3\)"),
        ({"module": Fixed("text")}, "a str for 2 clips; it must return the logits"),
        ({"module": Fixed(torch.zeros(2, 3))}, "no layer of Fixed has an output .* name the layers by `layers`"),
        ({"module": Fixed(torch.zeros(2, 3)), "layers": {"unused": ChannelsFirst()}}, "layer unused .* does not run"),
        ({"module": nn.ReLU()}, "ReLU has no weights"),
        ({"layers": {"bloc": FramesAsImages(4)}}, "Frames has no module 'bloc' .did you mean 'block'?"),
        ({"layers": {"block": ChannelsFirst()}}, "not as `layers` says: a tensor .* not one of 5 dimensions"),
        ({"layers": {"block": FramesAsImages(3)}}, "not as `layers` says"),
        ({"classes": []}, "must be a list of the names of all outputs"),
        ({"classes": "abc"}, "must be a list of the names of all outputs"),
        ({"classes": ["a", "a", "b"]}, "two classes have one name"),
        ({"classes": ["a", "b"]}, r"must return the logits \(2, 2\) of the 2 classes that were named"),
        ({"preprocessing": clip_of_32(4, 2)}, "no layer|fails on clips of zeros"),
        ({"call": lambda module, clips: module(clips.flatten(2))}, "Frames fails on clips of zeros"),
    ],
)  # fmt: skip
def test_what_cannot_be_adapted_is_said(options: dict[str, Any], message: str) -> None:
    usual = {"module": Frames(), "classes": NAMES, "preprocessing": clip_of_32(), "call": frames_first}
    with pytest.raises(UserError, match=message):
        adapt(**(usual | options))


# By name, and by the commands.

BUILD = """
import torch
from sth_core import adapt
from sth_core.video.transforms import Preprocessing
from tests.test_adapted import Volume

def build():
    torch.manual_seed(0)
    return adapt(Volume(6), classes=list("abcdef"), preprocessing=Preprocessing(frames=4, resize=36, crop=32),
                 training={"seed": 7})

def bare():
    return Volume()

def broken():
    raise RuntimeError("no such weights")

def number():
    return 3

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture(scope="module")
def six_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of each of three classes."""
    return write_two_of_each(tmp_path_factory.mktemp("videos"), NAMES)


@pytest.fixture
def my_model(tmp_path: Path) -> Path:
    (tmp_path / "my_model.py").write_text(BUILD)
    return tmp_path / "my_model.py"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}:build", ""),
        ("{}:bild", "has no function 'bild'; it has .*build"),
        ("{}:bare", "returned a module alone; it must return sth_core.adapt"),
        ("{}:number", "returned a int"),
        ("{}:leaves", "failed: SystemExit: 3"),
        ("hf:", "hf: names no network; name one as"),
        ("{}:broken", "failed: RuntimeError: no such weights"),
        ("{}2.py:build", "no such file: .*2.py; a network is named as a .safetensors file"),
        ("torchvision:r3d18", r"torchvision:r3d18 is known here \(did you mean 'r3d_18'\?\)"),
        ("hf:/no/such/folder", "hf:/no/such/folder cannot be had"),
    ],
)
def test_a_name_opens_a_network_or_is_refused(name: str, message: str, my_model: Path) -> None:
    if not message:
        c = open_network(name.format(my_model))
        assert c.classes == list("abcdef") and c.named and c.named.name == f"{my_model.resolve()}:build"
        return
    with pytest.raises(UserError, match=message):
        open_network(name.format(my_model))


def test_weights_and_class_names_are_given_beside_a_name(my_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    weights = Volume(6).state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    torch.save({"state_dict": {f"module.{name}": w for name, w in weights.items()}}, tmp_path / "w.pth")
    (tmp_path / "names.txt").write_text("\n".join("uvwxyz"))
    for file in ("w.safetensors", "w.pth"):
        c = open_network(NetworkName(f"{my_model}:build", str(tmp_path / file), str(tmp_path / "names.txt")))
        assert c.classes == list("uvwxyz") and c.training == {"seed": 7}
        assert all(torch.equal(network_in(c).module.state_dict()[name], w) for name, w in weights.items())
    other = {name: w for name, w in weights.items() if name != "fc.bias"} | {"head": torch.zeros(1)}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"does not fit .*missing fc.bias; unexpected head"):
        open_network(NetworkName(f"{my_model}:build", str(tmp_path / "other.safetensors")))
    save_file(weights | {"fc.bias": torch.full((6,), torch.nan)}, tmp_path / "nan.safetensors")
    with pytest.raises(UserError, match=r"its weights are broken: fc\.bias"):
        open_network(NetworkName(f"{my_model}:build", str(tmp_path / "nan.safetensors")))
    with pytest.raises(UserError, match=r"2 classes; .* has 6"):
        (tmp_path / "two.txt").write_text("a\nb")
        open_network(NetworkName(f"{my_model}:build", "", str(tmp_path / "two.txt")))


def test_torchvisions_network_has_its_published_weights_or_others(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    cached = tmp_path / "hub" / "checkpoints"
    cached.mkdir(parents=True)
    published = video.MC3_18_Weights.KINETICS400_V1
    torch.save(video.mc3_18().state_dict(), cached / published.url.rpartition("/")[2])
    c = open_network("torchvision:mc3_18")
    with pytest.raises(UserError, match="of torchvision:r3d_18 have not been downloaded"):
        open_network("torchvision:r3d_18", download=False)
    assert open_network("torchvision:mc3_18", download=False).sha256 == c.sha256
    assert c.classes == published.meta["categories"] and len(c.classes) == 400
    assert (c.preprocessing.frames, c.preprocessing.stride, c.preprocessing.resize) == (16, 2, (128, 171))
    assert c.preprocessing.mean == (0.43216, 0.394666, 0.37645)
    six = video.mc3_18(num_classes=6).state_dict()
    save_file(six, tmp_path / "six.safetensors")
    with pytest.raises(UserError, match="has 6 classes, whose names are not known; give them with --class-names"):
        open_network(NetworkName("torchvision:mc3_18", str(tmp_path / "six.safetensors")))
    (tmp_path / "names.json").write_text('{"u": 0, "v": 1, "w": 2, "x": 3, "y": 4, "z": 5}')
    c = open_network(NetworkName("torchvision:mc3_18", str(tmp_path / "six.safetensors"), str(tmp_path / "names.json")))
    assert c.classes == list("uvwxyz")
    with pytest.raises(UserError, match="not those of torchvision's r3d_18"):
        open_network(NetworkName("torchvision:r3d_18", str(tmp_path / "six.safetensors"), str(tmp_path / "names.json")))


def test_the_checksum_is_of_weights_classes_and_preprocessing() -> None:
    def of(seed: int = 0, classes: list[str] = NAMES, crop: int = 32) -> str:
        torch.manual_seed(seed)
        return adapt(Volume(), classes=classes, preprocessing=clip_of_32(4, crop)).sha256

    assert of() == of()
    assert len({of(), of(seed=1), of(classes=["a", "b", "d"]), of(crop=40)}) == 4


@pytest.mark.parametrize("named", ["{folder}/my_model.py:build", "hf:{folder}/videomae"])
def test_every_command_takes_the_name(
    named: str, my_model: Path, six_clips: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    if named.startswith("hf:"):
        hugging_face_folder("videomae", tmp_path / "videomae")
    name, run = named.format(folder=tmp_path), tmp_path / "run"
    for command in (
        ["record", name, "--data", six_clips, "-o", run],
        ["evaluate", name, "--data", six_clips, "-o", tmp_path / "evaluated", "--clips", "2"],
        ["cam", name, six_clips / "a" / "0.mp4", "-o", tmp_path / "cam.mp4", "--definition", "per_clip"],
        ["probe", name, "--data", six_clips, "-o", run, "--shuffles", "1"],
        ["trust", name, "--data", six_clips, "-o", tmp_path / "trust", "--clips", "2"],
    ):
        result = CliRunner().invoke(main, [str(word) for word in command], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    said = json.loads((run / "run.json").read_text())
    assert said["checkpoint"] == (name if named.startswith("hf:") else str(tmp_path.resolve() / "my_model.py:build"))
    transformer = named.startswith("hf:")  # whose attention across time is recorded; it is no α
    assert (said["conv"], said["attention"], bool(said["layers"])) == ("other", transformer, transformer)
    assert said.get("signal") == ("time_share" if transformer else None)
    assert re.search(re.escape(Path(name).name), said["command"])
    for page in ("", "workbench/pages/attention.py", PREDICTIONS, CLIP, COMPARE, FIGURES):
        assert not open_page(tmp_path, monkeypatch, page).exception
    text = words(open_page(tmp_path, monkeypatch, CLIP, run="run"))
    if named.startswith("hf:"):
        assert "Input frames" in text or "frames" in text
    else:
        assert "The app runs no code that a run names: start it with sth app --network" in text.replace("`", "")
        monkeypatch.setenv(NETWORKS, said["checkpoint"])
        assert "runs no code" not in words(open_page(tmp_path, monkeypatch, CLIP, run="run"))
    result = CliRunner().invoke(main, ["intervene", name, "--data", str(six_clips), "-o", str(run)])
    assert result.exit_code and "has no α to replace" in result.output
