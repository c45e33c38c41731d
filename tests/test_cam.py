"""`sth cam`: real files in, real files out; maps lie where and when they belong; every mistake gets a sentence."""

import json
import struct
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from analysis.explain.cam_drawing import FrameAnnotations
from analysis.explain.cam_video import annotated_frames
from analysis.explain.gradcam import BRANCHES, DEFINITIONS, gradcam
from analysis.explain.overlay import NORMALISATIONS, input_box, overlay, scale_maps
from analysis.explain.video_explanation import CamOptions, explain_video
from benchmarks.measuring import LEGEND
from benchmarks.other_cams import has_grad_cam
from sth_core.checkpoint import load_checkpoint, save_checkpoint
from sth_core.errors import UserError
from sth_core.files import sha256
from sth_core.video.clip_source import ClipSource
from sth_core.video.decoding import read_frames
from sth_core.video.encoding import write_video
from sth_core.video.fields import read_clip
from sth_core.video.transforms import crop, normalise, resize
from tests.test_benchmark_decoding import tables
from tests.test_cli import ends_well, mistake
from tests.test_video import KINDS, encode
from tests.tiny import CLASSES, RGB, save_tiny
from workbench.cli import main
from workbench.cli.cam import files_of


def pictures(count: int, height: int, width: int) -> list[np.ndarray]:
    """A block that walks over a dark slope."""
    frames = []
    for t in range(count):
        frame = np.full((height, width, 3), 40, np.uint8) + np.linspace(0, 60, width, dtype=np.uint8)[:, None]
        frame[height // 4 : height // 2, 3 * t % width : 3 * t % width + 20] = (200, 7 * t % 256, 60)
        frames.append(frame)
    return frames


def properties(path: Path) -> tuple[object, ...]:
    """Frames that decode, rate, width, height, codec, pixel format."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        context = stream.codec_context
        return frames, stream.average_rate, context.width, context.height, context.name, context.pix_fmt


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("network") / "tiny.safetensors")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    write_video(path, pictures(20, 120, 160), 25)
    return path


@pytest.fixture(scope="module")
def zero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose classifier's weights are zero: no gradient reaches any layer."""
    path = save_tiny(tmp_path_factory.mktemp("zero") / "tiny.safetensors")
    loaded = load_checkpoint(path)
    torch.nn.init.zeros_(loaded.model.fc.weight)
    save_checkpoint(path, loaded.model, ["Tür öffnen 日本", *CLASSES[1:]], loaded.preprocessing)
    return path


def test_the_video_keeps_its_frames_rate_and_size(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    said = ends_well("cam", checkpoint, video, "-o", tmp_path / "new" / "x.mp4")
    assert properties(tmp_path / "new" / "x.mp4") == (20, 25, 160, 120, "h264", "yuv420p")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["x.json", "x.mp4", "x.npy", "x.png"]
    recipe = json.loads((tmp_path / "new" / "x.json").read_text())
    name, score = next(iter(recipe["top"].items()))
    out = tmp_path / "new" / "x.mp4"
    assert f"{out} (sheet: .png, maps: .npy, recipe: .json): predicted {name}, {score:.0%}\n" in said
    maps = np.load(tmp_path / "new" / "x.npy")
    assert maps.dtype == np.float16 and maps.shape == (4, *recipe["map"]) and np.abs(maps).max() == 1
    share = maps.astype(float).clip(min=0).sum((1, 2))
    np.testing.assert_allclose(share / share.sum(), recipe["cam_share"], atol=2e-3)
    assert recipe["checkpoint_sha256"] == sha256(checkpoint) and recipe["video"] == str(video)
    assert (recipe["target"], recipe["against"], recipe["branch"]) == (name, None, "joint")
    assert (recipe["definition"], recipe["scale"], recipe["layer"]) == ("per_step", "clip", "layer1.1")
    assert recipe["seen"] == [2, 7, 12, 17] and recipe["frames"] == 20
    assert recipe["overlay_shift"] == 1.5  # stride 4
    assert sum(recipe["cam_share"]) == pytest.approx(1, abs=1e-5) and len(recipe["cam_share"]) == 4
    assert len(recipe["top"]) == 5 and len(recipe["alpha_temporal"]) == 16
    assert recipe["command"].startswith("sth") and set(recipe["versions"]) == {"python", "torch", "av"}


def test_the_sheet_shows_each_frame_that_was_seen(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    ends_well("cam", checkpoint, video, "-o", tmp_path / "x.mp4", "--clips", 3)
    sheet = cv2.imread(str(tmp_path / "x.png"))[..., ::-1]
    assert json.loads((tmp_path / "x.json").read_text())["seen"] == [0, 2, 4, 5, 7, 9, 10, 12, 14, 15, 17, 19]
    head = sheet.shape[0] - 2 * (224 + 22 + 8)
    assert sheet.shape[1] == 8 + 8 * 232 and head == 8 * 22 + 16
    loaded = load_checkpoint(checkpoint)
    e = explain_video(loaded, video, CamOptions("layer1.1", clips=3))
    frame = crop(resize(read_frames(video, [9]), 252), 224)  # the sixth: 36/32 of the cell's side is the short side's
    shown = sheet[head : head + 224, 8 + 5 * 232 : 8 + 5 * 232 + 224]
    assert np.abs(shown.astype(int) - overlay(frame, e.maps[5:6], per=1.0)[0]).mean() < 2
    caption = sheet[head + 224 : head + 246, 8 + 5 * 232 : 8 + 5 * 232 + 224]
    assert (caption > 200).sum() > 50
    assert (sheet[: head - 8] > 200).sum() > 1000


def test_the_maps_are_grad_cam_s_on_one_scale_or_on_one_each(checkpoint: Path, video: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    pixels, seen = read_clip(ClipSource(video), RGB)
    clip = normalise(torch.from_numpy(np.ascontiguousarray(crop(pixels, 32))), RGB)
    how = CamOptions("layer2.0.conv1", "opening", "closing", "temporal", "per_clip", "clip", signed=True)
    opening, closing = (CLASSES.index(name) for name in ("opening", "closing"))
    cam = gradcam(loaded.model, clip, opening, how.layer, definition="per_clip", branch="temporal", against=closing)
    e = explain_video(loaded, video, how)
    np.testing.assert_allclose(e.maps, scale_maps(cam.signed), atol=1e-5)
    np.testing.assert_allclose(e.mass, cam.per_frame, atol=1e-5)
    assert e.maps.min() < 0 and list(e.seen) == list(seen)
    e = explain_video(loaded, video, replace(how, scale="frame", signed=False))
    assert all(m.max() == pytest.approx(1) for m in e.maps if m.any())


def test_every_option_is_heard(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    command = import_module("workbench.cli.cam")  # `workbench.cli.cam` is the command that it defines
    assert (command.BRANCHES, command.DEFINITIONS, command.SCALES) == (BRANCHES, DEFINITIONS, NORMALISATIONS)
    changes = {
        "class": "opening", "against": "closing", "layer": "layer2.0.conv1", "branch": "temporal",
        "definition": "per_clip", "scale": "frame", "opacity": 0.8, "clips": 2,
    }  # fmt: skip
    words = [word for option, value in changes.items() for word in (f"--{option}", value)]
    ends_well("cam", checkpoint, video, "-o", tmp_path / "x.mp4", *words, "--signed", "--device", "cpu")
    recipe = json.loads((tmp_path / "x.json").read_text())
    changes["target"] = changes.pop("class")
    assert {option: recipe[option] for option in changes} == changes
    assert recipe["signed"] and recipe["map"] == [4, 4] and len(recipe["seen"]) == 8
    e = explain_video(
        load_checkpoint(checkpoint), video, CamOptions(**{key: recipe[key] for key in (*changes, "signed")})
    )
    assert e.title == [
        "opening against closing", "layer2.0.conv1", "temporal map", "weights per clip", "a scale for each frame",
        "signed",
    ]  # fmt: skip


@pytest.mark.parametrize("changes", [{"modality": "flow"}, {"conv": "2d"}, {"conv": "tsm"}, {"conv": "sth_merge"}])
def test_other_networks(changes: dict[str, str], tmp_path: Path) -> None:
    network = save_tiny(tmp_path / "net.safetensors", **changes)
    folder = tmp_path / "frames"  # of odd size, and fewer than the network takes
    folder.mkdir()
    for t, picture in enumerate(pictures(3, 97, 131)):
        cv2.imwrite(str(folder / f"img_{t + 1:05d}.jpg"), picture)
    ends_well("cam", network, folder, "-o", tmp_path / "x.mp4", "--class", "opening", "--against", "closing")
    assert properties(tmp_path / "x.mp4") == (3, 12, 130, 96, "h264", "yuv420p")
    recipe = json.loads((tmp_path / "x.json").read_text())
    assert recipe["modality"] == changes.get("modality", "rgb") and len(recipe["seen"]) == 4
    assert len(recipe["alpha_temporal"]) == (0 if changes.get("conv") in ("2d", "tsm") else 16)


def test_a_phone_s_video_is_upright(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    content = bytearray(video.read_bytes())
    matrix = content.index(b"tkhd") + 44
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # 90 degrees
    (tmp_path / "phone.mp4").write_bytes(content)
    assert read_frames(tmp_path / "phone.mp4", [0]).shape == (1, 160, 120, 3)
    ends_well("cam", checkpoint, tmp_path / "phone.mp4", "-o", tmp_path / "x.mp4")
    assert properties(tmp_path / "x.mp4")[2:4] == (120, 160)
    sheet = cv2.imread(str(tmp_path / "x.png"))
    assert sheet.shape[1] == 8 + 4 * 232


@pytest.mark.parametrize("kind", ["mpeg4.avi", "vp9.webm"])
def test_other_codecs(kind: str, checkpoint: Path, tmp_path: Path) -> None:
    path = encode(tmp_path / kind, *KINDS[kind])
    ends_well("cam", checkpoint, path, "-o", tmp_path / "x.mp4")
    assert properties(tmp_path / "x.mp4") == (30, 25, 64, 48, "h264", "yuv420p")


def test_where_nothing_speaks_for_the_class_there_is_no_colour(zero: Path, video: Path, tmp_path: Path) -> None:
    said = ends_well("cam", zero, video, "-o", tmp_path / "x.mp4", "--class", "Tür öffnen 日本")
    assert "no map: no evidence for Tür öffnen 日本 at layer1.1 (its map is zero or negative)" in said
    assert json.loads((tmp_path / "x.json").read_text())["map"] is None
    e = explain_video(load_checkpoint(zero), video, CamOptions("layer1.1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameAnnotations, "draw_on", lambda *_: None)
        (picture, *_) = annotated_frames(video, 20, e, RGB)
    top, left, bottom, right = input_box(120, 160, RGB)
    inside = np.s_[top + 1 : bottom - 1, left + 1 : right - 1]
    assert np.array_equal(picture[inside], read_frames(video, [0])[0][inside])


def test_broken_weights_are_named(checkpoint: Path, video: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    loaded.model.fc.weight.data[:] = torch.nan
    with pytest.raises(UserError, match="not finite"):
        explain_video(loaded, video, CamOptions("layer1.1", "opening"))


def test_a_folder_of_videos(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "videos", tmp_path / "out"
    (folder / "deep" / "frames").mkdir(parents=True)
    for name in ("a.mp4", "a.mkv", "deep/b.c.mp4"):
        (folder / name).write_bytes(video.read_bytes())
    (folder / "broken.avi").write_bytes(b"RIFF nothing of the sort")
    (folder / "notes.txt").write_text("no video")
    for t, picture in enumerate(pictures(5, 64, 64)):
        cv2.imwrite(str(folder / "deep" / "frames" / f"{t}.png"), picture)
    said = ends_well("cam", checkpoint, folder, "-o", out)
    names = sorted(str(p.relative_to(out)) for p in out.rglob("*.mp4"))
    assert names == ["a.mp4", "a.mp4.mp4", "deep/b.c.mp4", "deep/frames.mp4"]
    assert len(list(out.rglob("*.json"))) == len(list(out.rglob("*.png"))) == 4
    assert "left out: " in said and "broken.avi: not a video that can be decoded" in said
    assert said.endswith(f"4 videos, 1 left out: {out}\n") and said.count(": predicted ") == 4
    assert "is a folder of 5 videos, so -o must be a folder" in mistake("cam", checkpoint, folder, "-o", "x.mp4")
    for name in ("a.mp4", "a.mkv", "deep/b.c.mp4"):
        (folder / name).write_bytes(b"")
    (folder / "deep" / "frames" / "0.png").write_bytes(b"")
    result = CliRunner().invoke(main, ["cam", str(checkpoint), str(folder), "-o", str(out / "2")])
    assert result.exit_code == 2 and "none of the 5 videos" in result.stderr and result.stdout.count("left out: ") == 5


def test_files_of_a_folder_never_meet(tmp_path: Path) -> None:
    for name in ("a.avi", "a.mp4", "a.avi.mkv", "x/a.mp4"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"")
    (tmp_path / "in" / "a").mkdir()
    (tmp_path / "in" / "a" / "1.jpg").write_bytes(b"")
    jobs, many = files_of(tmp_path / "in", tmp_path / "out")
    assert many and len(jobs) == len(set(jobs.values())) == 5
    stems = [file.with_suffix("") for file in jobs.values()]  # of the sheets and recipes
    assert len(set(stems)) == 5


def test_layers_are_listed(checkpoint: Path) -> None:
    said = ends_well("cam", checkpoint, "--layers").splitlines()
    assert len(said) == 24
    assert "layer2.0 (16 x 4 x 4, stride 8)" in said
    assert "layer1.0.conv1 (8 x 8 x 8, stride 4, spatial and temporal branch)" in said


def test_mistakes(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    def said(*words: Any, path: object = video, out: object = tmp_path / "x.mp4") -> str:
        return mistake("cam", checkpoint, path, "-o", out, *words)

    assert "has no class 'openin'; did you mean 'opening'" in said("--class", "openin")
    assert "has no class '?'; possible: 'appearing', 'closing'" in said("--against", "?")
    assert "are both 'opening'; name two" in said("--class", "opening", "--against", "opening")
    top = explain_video(load_checkpoint(checkpoint), video, CamOptions("layer1.1")).top[0][0]
    assert f"the predicted class is {top!r}" in said("--against", top)
    assert "no layer 'layer2'; did you mean 'layer2.1'" in said("--layer", "layer2")
    assert "layer1.1 has no temporal branch; name one that has, such as --layer" in said("--branch", "temporal")
    assert "must end in .mp4, got" in said(out=tmp_path / "x.avi")
    assert "no such file" in said(path=tmp_path / "nothing.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    assert "not a video that can be decoded" in said(path=tmp_path / "text.mp4")
    (tmp_path / "empty").mkdir()
    assert "holds no frames" in said(path=tmp_path / "empty")
    assert "lies in what is read" in said(out=video)
    assert "name a video and the file to write" in mistake("cam", checkpoint)
    assert "no such checkpoint" in mistake("cam", tmp_path / "none", video, "-o", tmp_path / "x.mp4")
    flat = save_tiny(tmp_path / "flat.safetensors", conv="2d")
    assert "no layer of this network has" in mistake(
        "cam", flat, video, "-o", tmp_path / "x.mp4", "--branch", "spatial"
    )
    assert not list(tmp_path.glob("x.*")) and not list(tmp_path.glob(".*part*"))


def test_explaining_is_measured(in_this_process: None) -> None:
    small = ["--backbone", "resnet18", "--width", "8", "--side", "32", "--frames", "2", "--rounds", "1"]
    clip = ["--seconds", "1", "--longer", "2", "--height", "48"]
    result = CliRunner().invoke(main, ["benchmark", "explaining", *small, *clip])
    assert result.exit_code == 0, result.output
    assert f"\n{LEGEND}\n" in result.stdout
    passes, videos = tables(result.stdout)
    named = [row[0].split(",")[0] for row in passes]
    other = ["pytorch-grad-cam"] * has_grad_cam()
    assert named == [*["forward and backward"] * 2, "8 blocks", "all 24 layers and their branches", *other, "Captum"]
    assert ("differ from ours by at most" if other else "pip install --no-deps grad-cam ttach") in result.stdout
    assert all(float(row[1]) > 0 for row in passes) and passes[0][3] == "1"
    assert [row[0] for row in videos] == ["1 s", "2 s"]
    assert all(float(cell) > 0 for row in videos for cell in row[1:])


def test_without_captum_there_is_nothing_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    assert "pip install captum" in mistake("benchmark", "explaining", "--backbone", "resnet18", "--width", 8)
