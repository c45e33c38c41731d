"""Optical flow: computed, extracted to images, found and read again, in numbers that can be checked by hand.

Eight bits hold v pixels a frame as 128 + 127 v / bound: with TSN's bound of 20, two pixels are 13 steps.
"""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from sth_core import prefetch
from sth_core.datasets import extraction
from sth_core.datasets.clips import TrainClips
from sth_core.datasets.extraction import extract_clip, extract_flow
from sth_core.datasets.random_clips import Augment
from sth_core.datasets.table import Annotation, read_dataset
from sth_core.errors import UserError
from sth_core.video import UnreadableVideo, read_frames
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import count_fields, read_clip, read_extracted, read_fields
from sth_core.video.flow import Extraction, flow_field, flow_images, read_extraction
from sth_core.video.transforms import Preprocessing, mirror
from tests import datasets_on_disk as on_disk
from tests.datasets_on_disk import FRAMES, HEIGHT, WIDTH, class_folders_of_videos, flow_folder, frame_folder, video
from tests.tiny import write_moving_video
from workbench.cli import main

SMALL = Extraction(side=HEIGHT)  # the frames are not resized
FLOW = Preprocessing("flow", frames=2, resize=HEIGHT, crop=32, mean=(0.502,), std=(0.1,))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other processes: they would take seconds to start."""
    monkeypatch.setattr(prefetch, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))


def sth(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def middle(field: np.ndarray) -> list[float]:
    """The median over the pixels away from the borders, for each channel."""
    return np.median(field[..., 8:-8, 12:-12, :].reshape(-1, field.shape[-1]), 0).tolist()


def contents(folder: Path) -> dict[str, bytes]:
    """The images below a folder, but not those in hidden folders."""
    files = {str(file.relative_to(folder)): file for file in folder.rglob("*.jpg")}
    return {name: file.read_bytes() for name, file in files.items() if not name.startswith(".")}


def image_names(fields: int) -> set[str]:
    return {f"flow_{axis}_{number:05d}.jpg" for axis in "xy" for number in range(1, fields + 1)}


# Computed


@pytest.mark.parametrize("algorithm", ["dis", "tvl1"])
@pytest.mark.parametrize(
    ("dx", "dy", "x", "y"), [(2, 0, 141, 128), (-2, 0, 115, 128), (1, -2, 134, 115), (0, 0, 128, 128)]
)
def test_a_translation_in_eight_bits(dx: int, dy: int, x: int, y: int, algorithm: str) -> None:
    before = next(on_disk.pictures(1))
    field = flow_field(before, np.roll(before, (dy, dx), (0, 1)), 20.0, algorithm)
    assert (field.shape, field.dtype) == ((HEIGHT, WIDTH, 2), np.uint8)
    assert middle(field) == pytest.approx([x, y], abs=1)


def test_the_flow_of_mirrored_frames_is_the_mirrored_flow() -> None:
    before, after = on_disk.pictures(2)
    there = flow_field(before, after, 5.0)
    mirrored = flow_field(before[:, ::-1].copy(), after[:, ::-1].copy(), 5.0)
    assert middle(there) == pytest.approx([179, 128], abs=2)  # 2 pixels of 5
    assert middle(mirrored) == pytest.approx([77, 128], abs=2)
    difference = mirror(there[None], "flow")[0].astype(int) - mirrored
    assert np.abs(difference[8:-8, 12:-12]).mean() < 2


def test_the_mirrored_clip_of_a_video_is_the_clip_of_its_mirrored_frames(tmp_path: Path) -> None:
    path = video(tmp_path / "clip.mp4")
    flipped = tmp_path / "flipped"
    flipped.mkdir()
    for number, frame in enumerate(read_frames(path, range(FRAMES)), start=1):
        cv2.imwrite(str(flipped / f"{number:05d}.png"), frame[:, ::-1, ::-1])
    clip, starts = read_clip(ClipSource(path), FLOW)
    other, same_starts = read_clip(ClipSource(flipped), FLOW)
    assert starts.tolist() == same_starts.tolist() == [1, 3]  # nine fields: five places for stacks of five
    assert middle(clip) == pytest.approx([141, 128] * 5, abs=1)
    assert middle(other) == pytest.approx([115, 128] * 5, abs=1)
    difference = mirror(clip, "flow").astype(int) - other
    assert np.abs(difference[:, 8:-8, 12:-12]).mean() < 1


def test_a_mirrored_training_clip_of_swiping_left_swipes_right(tmp_path: Path) -> None:
    path = frame_folder(tmp_path / "clip")  # it moves to the right
    row = {"clip_id": "clip", "path": str(path), "label": "Swiping Right", "flow": "", "problem": "", "backward": False}
    row |= {"segment": ""}
    clips = TrainClips(pd.DataFrame([row]), ["Swiping Left", "Swiping Right"], FLOW, Augment(flip=True))
    clips.load()
    seen: dict[str, list[Any]] = {}
    for seed in range(20):
        clip, label = clips.sample(0, np.random.default_rng(seed))
        seen.setdefault(clips.classes[label], []).append(middle(clip)[0])
    assert set(seen) == {"Swiping Left", "Swiping Right"}
    assert seen["Swiping Right"] == pytest.approx([141] * len(seen["Swiping Right"]), abs=1)
    assert seen["Swiping Left"] == pytest.approx([115] * len(seen["Swiping Left"]), abs=1)


def test_a_zero_that_others_wrote_is_mirrored_to_the_largest_motion_to_the_right() -> None:
    clip = np.array([0, 0, 1, 0, 128, 0, 129, 0, 255, 0], np.uint8).reshape(1, 1, 1, 10)  # x y x y ...
    assert mirror(clip, "flow")[0, 0, 0].tolist() == [255, 0, 255, 0, 128, 0, 127, 0, 1, 0]


# Extracted


@pytest.mark.parametrize("kind", ["mp4", "avi", "webm", "frames"])
def test_extracted_images_hold_the_motion(kind: str, tmp_path: Path) -> None:
    path = frame_folder(tmp_path / "clip") if kind == "frames" else video(tmp_path / f"clip.{kind}")
    assert extract_clip(path, tmp_path / "flow" / "a" / "clip", SMALL) == ""
    assert {file.name for file in (tmp_path / "flow" / "a").iterdir()} == {"clip"}
    assert {file.name for file in (tmp_path / "flow" / "a" / "clip").iterdir()} == image_names(FRAMES - 1)
    fields = flow_images(tmp_path / "flow" / "a" / "clip").read(range(FRAMES - 1))
    assert fields.shape == (FRAMES - 1, HEIGHT, WIDTH, 2)
    for field in fields:
        assert middle(field) == pytest.approx([141, 128], abs=1)


@pytest.mark.parametrize(
    ("how", "size", "x"),
    [
        (Extraction(side=96), (96, 128), 153),  # twice as large, so is the motion: 4 of 20 pixels
        (Extraction(side=HEIGHT, bound=5.0), (HEIGHT, WIDTH), 179),
        (Extraction(side=HEIGHT, bound=1.0), (HEIGHT, WIDTH), 255),  # beyond it
        (Extraction("tvl1", side=HEIGHT), (HEIGHT, WIDTH), 141),
    ],
)
def test_side_bound_and_algorithm_are_heard(how: Extraction, size: tuple[int, int], x: int, tmp_path: Path) -> None:
    extract_clip(frame_folder(tmp_path / "clip", frames=2), tmp_path / "flow", how)
    field = flow_images(tmp_path / "flow").read([0])[0]
    assert field.shape == (*size, 2)
    assert middle(field) == pytest.approx([x, 128], abs=3)


def test_a_single_frame_does_not_move(tmp_path: Path) -> None:
    path = video(tmp_path / "clip.mp4", frames=1)
    assert extract_clip(path, tmp_path / "flow", SMALL) == ""
    assert set(contents(tmp_path / "flow")) == image_names(1)
    assert (flow_images(tmp_path / "flow").read([0]) == 128).all()
    clip, starts = read_clip(ClipSource(path, str(tmp_path / "flow")), FLOW)
    assert starts.tolist() == [0, 0]
    assert (clip == 128).all()


def test_a_clip_that_cannot_be_read_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no video")
    assert extract_clip(path, tmp_path / "flow" / "clip", SMALL).startswith(f"{path}: not a video that can be decoded")
    assert list((tmp_path / "flow").iterdir()) == []


def test_extracted_again_after_an_interruption_the_images_are_the_same(
    tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_dataset(class_folders_of_videos(tmp_path / "set"))
    out = tmp_path / "whole"
    assert extract_flow(table, out, SMALL) == {}
    described = json.loads((out / "flow.json").read_text())
    assert described.items() >= {"algorithm": "dis", "bound": 20.0, "side": 48}.items() and described["finished"]
    whole = contents(out)
    assert len(whole) == 4 * 2 * (FRAMES - 1)

    computed = 0

    def stopped(*arguments: Any) -> np.ndarray:
        nonlocal computed
        computed += 1
        if computed >= 13:  # in the second clip
            raise KeyboardInterrupt
        return flow_field(*arguments)

    broken = tmp_path / "broken"
    with monkeypatch.context() as patch:
        patch.setattr(extraction, "flow_field", stopped)
        with pytest.raises(KeyboardInterrupt):
            extract_flow(table, broken, SMALL)
    left = contents(broken)
    assert set(left) == {f"test/hug/4/{name}" for name in image_names(FRAMES - 1)}
    assert json.loads((broken / "flow.json").read_text())["finished"] is None
    shown: list[tuple[int, int]] = []
    assert extract_flow(table, broken, SMALL, progress=lambda done, total: shown.append((done, total))) == {}
    assert shown == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert contents(broken) == whole


def test_only_what_is_missing_is_extracted_and_what_is_unfinished_is_replaced(
    tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_dataset(class_folders_of_videos(tmp_path / "set"))
    out = tmp_path / "flow"
    extract_flow(table, out, SMALL)
    whole = contents(out)
    shutil.rmtree(out / "train" / "hug" / "1")
    leftover = out / "train" / "hug" / ".1.part"
    leftover.mkdir()
    (leftover / "flow_x_00077.jpg").write_bytes(b"of another time")
    paths = []

    def noted(path: Path, *rest: Any) -> str:
        paths.append(path.name)
        return extract_clip(path, *rest)

    monkeypatch.setattr(extraction, "extract_clip", noted)
    assert extract_flow(table, out, SMALL) == {}
    assert paths == ["1.mp4"]
    assert contents(out) == whole
    assert not leftover.exists()


KILLED = """
import os, sys
from pathlib import Path
from sth_core.datasets import extraction
from sth_core.video.flow import Extraction
write = extraction._write
def last(folder, number, field):
    write(folder, number, field)
    if number == 4:
        os._exit(9)  # as the kernel kills: nothing is put in order
extraction._write = last
extraction.extract_clip(Path(sys.argv[1]), Path(sys.argv[2]), Extraction(side=48))
"""


def test_killed_in_the_middle_a_clip_is_not_taken_for_extracted(tmp_path: Path, in_process: None) -> None:
    folder = tmp_path / "set"
    path, target = video(folder / "hug" / "1.mp4"), folder / "flow" / "hug" / "1"
    (folder / "flow").mkdir()
    (folder / "flow" / "flow.json").write_text(json.dumps({"algorithm": "dis", "bound": 20.0, "side": 48}))
    done = subprocess.run([sys.executable, "-c", KILLED, path, target], timeout=300, env=os.environ)
    assert done.returncode == 9
    assert len(list((target.parent / ".1.part").iterdir())) == 8  # four fields are there
    table = read_dataset(folder)
    assert list(table["flow"]) == [""]
    assert extract_flow(table, folder / "flow", SMALL) == {}
    assert set(contents(target)) == image_names(FRAMES - 1)
    assert [file.name for file in target.parent.iterdir()] == ["1"]
    assert list(read_dataset(folder)["flow"]) == [str(target)]


@pytest.mark.parametrize("other", [Extraction("tvl1", side=48), Extraction(bound=8.0, side=48), Extraction(side=64)])
def test_flow_of_two_kinds_is_not_mixed(other: Extraction, tmp_path: Path, in_process: None) -> None:
    folder, out = tmp_path / "set", tmp_path / "set" / "flow"
    video(folder / "hug" / "1.mp4", frames=2)
    table = read_dataset(folder)
    extract_flow(table, out, SMALL)
    before = contents(out)
    with pytest.raises(UserError) as refusal:
        extract_flow(table, out, other)
    (key,) = (name for name, value in vars(SMALL).items() if value != getattr(other, name))
    difference = f"{key} is {getattr(SMALL, key)!r}, now {getattr(other, key)!r}"
    assert str(refusal.value).startswith(f"{out} holds another extraction ({difference}); choose another folder, or")
    assert contents(out) == before
    told: list[str] = []
    assert extract_flow(table, out, other, overwrite=True, notify=told.append) == {}
    assert told == [f"the earlier extraction was moved to {out / '.replaced-1'}"]
    assert contents(out / ".replaced-1") == before and set(contents(out)) == set(before)
    assert read_extraction(out / "flow.json") == other


def test_nothing_is_added_to_flow_that_others_extracted(tmp_path: Path, in_process: None) -> None:
    folder = class_folders_of_videos(tmp_path / "set")
    theirs = flow_folder(folder / "flow" / "train" / "hug" / "1")
    with pytest.raises(UserError) as refusal:
        extract_flow(read_dataset(folder), folder / "flow", SMALL)
    assert str(refusal.value).startswith(
        f"{folder / 'flow'} holds train/hug/1 but no flow.json that describes it; choose another folder, or"
    )
    assert theirs.is_dir() and not (folder / "flow" / "flow.json").exists()


def test_clips_whose_flow_would_lie_in_one_folder_are_named_and_do_not_share_it(
    tmp_path: Path, in_process: None
) -> None:
    folder = class_folders_of_videos(tmp_path / "set")
    video(folder / "train" / "hug" / "1.webm")
    target = folder / "flow" / "train" / "hug" / "1"
    sentence = f"train/hug/1.mp4 and train/hug/1.webm would have their flow in one folder, {target}"
    failures = extract_flow(read_dataset(folder), folder / "flow", SMALL)
    assert failures == {"train/hug/1.mp4": sentence, "train/hug/1.webm": sentence}
    flow_folder(target)
    table = read_dataset(folder).set_index("clip_id")
    assert list(table["flow"][list(failures)]) == ["", ""]
    assert table["flow"]["val/hug/3.avi"] == str(folder / "flow" / "val" / "hug" / "3")


def test_a_video_beside_a_folder_of_its_name_is_named(tmp_path: Path, in_process: None) -> None:
    """Its flow would lie beside the folders of others' flow, however many processes extract it."""
    folder = class_folders_of_videos(tmp_path / "set")
    video(folder / "train" / "hug.mp4")
    table = read_dataset(folder)
    outer = table.iloc[[0]].assign(clip_id="train/hug.mp4", path=str(folder / "train" / "hug.mp4"))
    failures = extract_flow(pd.concat([table, outer], ignore_index=True), folder / "flow", SMALL)
    inner = folder / "flow" / "train" / "hug" / "1"
    why = f"the folder of its flow, {inner.parent}, would hold that of another video, {inner}; rename one"
    assert failures == {"train/hug.mp4": why}
    assert (inner / "flow_x_00001.jpg").is_file() and not list(inner.parent.glob("*.jpg"))


def test_flow_of_videos_outside_of_the_dataset_lies_in_the_folder_of_flow(tmp_path: Path, in_process: None) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    places = [str(video(tmp_path / "elsewhere" / "v.mp4")), "../elsewhere/w.mp4", "../other/w.mp4"]
    video(tmp_path / "elsewhere" / "w.mp4")
    video(tmp_path / "other" / "w.mp4")
    rows = [
        f"{place},{label},{split}" for place, label, split in zip(places, "aba", ("train", "val", "val"), strict=True)
    ]
    (folder / "manifest.csv").write_text("\n".join(["path,label,split", *rows]))
    assert extract_flow(read_dataset(folder), folder / "flow", SMALL) == {}
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {"v.mp4", "w.mp4"}
    found = read_dataset(folder)["flow"].tolist()
    assert len(set(found)) == 3 and all(Path(flow).parent == folder / "flow" for flow in found)
    assert all((Path(flow) / "flow_x_00001.jpg").is_file() for flow in found)


def test_the_flow_of_a_video_that_was_replaced_is_extracted_again(tmp_path: Path, in_process: None) -> None:
    folder, told = class_folders_of_videos(tmp_path / "set"), list[str]()
    assert extract_flow(read_dataset(folder), folder / "flow", SMALL) == {}
    first, *others = [Path(path) for path in read_dataset(folder)["path"]]
    before = contents(folder / "flow")
    video(first, frames=FRAMES + 3)
    assert extract_flow(read_dataset(folder), folder / "flow", SMALL, notify=told.append) == {}
    assert told == [f"videos of another size than when their flow was extracted, extracted again: {first}"]
    name = str(first.relative_to(folder).with_suffix(""))
    after = contents(folder / "flow")
    assert sum(path.startswith(f"{name}/flow_x_") for path in after) == FRAMES + 2 and others
    assert all(after[path] == content for path, content in before.items() if not path.startswith(f"{name}/"))
    assert extract_flow(read_dataset(folder), folder / "flow", SMALL, notify=told.append) == {} and len(told) == 1


def test_sth_data_flow(tmp_path: Path) -> None:
    """With processes of its own; then again, when there is nothing to do."""
    folder = class_folders_of_videos(tmp_path / "my set")
    broken = folder / "train" / "hug" / "broken.mp4"
    broken.write_bytes(b"no video")
    result = sth("data", "flow", folder, "--side", 48, "--bound", 5, "--workers", 1)
    assert result.exit_code == 0, result.output
    reason = f"{broken}: not a video that can be decoded (Invalid data found when processing input)"
    expected = (
        f"not extracted: train/hug/broken.mp4: {reason}\nflow of 4 clips, 1 could not be read: {folder / 'flow'}\n"
    )
    assert result.stdout.endswith(expected)
    failures = pd.read_parquet(folder / "flow" / "failures.parquet")
    assert failures.to_dict("records") == [{"clip_id": "train/hug/broken.mp4", "reason": reason}]
    flow = read_dataset(folder).set_index("clip_id")["flow"]
    assert flow["train/hug/broken.mp4"] == ""
    assert middle(flow_images(Path(flow["val/hug/3.avi"])).read([0])) == pytest.approx([179, 128], abs=2)

    broken.unlink()
    images = {file: file.stat().st_mtime_ns for file in (folder / "flow").rglob("*.jpg")}
    again = sth("data", "flow", folder, "--side", 48, "--bound", 5, "--workers", 1)
    assert again.stdout.endswith(f"flow of 4 clips, 0 could not be read: {folder / 'flow'}\n")
    assert {file: file.stat().st_mtime_ns for file in (folder / "flow").rglob("*.jpg")} == images
    other = sth("data", "flow", folder)
    assert other.exit_code == 2
    expected = "holds another extraction (bound is 5.0, now 20.0; side is 48, now 256); choose another folder, or"
    assert other.stderr.startswith(f"sth: {folder / 'flow'} {expected}")


def test_a_bound_that_is_none_is_refused(tmp_path: Path) -> None:
    result = sth("data", "flow", class_folders_of_videos(tmp_path), "--bound", 0)
    assert (result.exit_code, result.stderr) == (
        2,
        "sth: Invalid value for '--bound': 0.0 is not in the range 0<x<=1000; see sth data flow --help\n",
    )


# Found


def found(folder: Path, annotation: Annotation = Annotation()) -> dict[str, str]:
    """Where the flow of each clip is found, below the folder."""
    table = read_dataset(folder, annotation)
    places = (os.path.relpath(flow, folder) if flow else "" for flow in table["flow"])
    return dict(zip(table["clip_id"], places, strict=True))


def test_the_flow_of_one_clip_is_never_that_of_another_of_the_same_name(tmp_path: Path) -> None:
    for label in ("hug", "kick"):
        video(tmp_path / label / "1.mp4")
    video(tmp_path / "kick" / "2.mp4")
    flow_folder(tmp_path / "flow" / "hug" / "1")
    (tmp_path / "flow" / "flow.json").write_text(json.dumps({"algorithm": "dis", "bound": 20.0, "side": 48}))
    assert found(tmp_path) == {"hug/1.mp4": "flow/hug/1", "kick/1.mp4": "", "kick/2.mp4": ""}
    (tmp_path / "flow" / "flow.json").unlink()  # others keep it otherwise: clips are known by name, if it is one clip's
    (tmp_path / "flow" / "hug" / "1").rename(tmp_path / "flow" / "1")
    flow_folder(tmp_path / "flow" / "2")
    assert found(tmp_path) == {"hug/1.mp4": "", "kick/1.mp4": "", "kick/2.mp4": "flow/2"}


def test_flow_beside_the_frames_is_found_unless_other_flow_was_extracted(tmp_path: Path) -> None:
    folder = on_disk.tsn_lists(tmp_path)
    clips = ["jpg/v_Archery_g01_c01", "jpg/v_Archery_g02_c01", "jpg/v_Biking_g01_c01"]
    assert found(folder) == {clip: clip for clip in clips}
    own = flow_folder(folder / "flow" / clips[0], values=(100, 100))
    assert found(folder) == {clip: "flow/" + clip if clip == clips[0] else clip for clip in clips}
    clip, _ = read_clip(ClipSource(folder / clips[0], str(own)), FLOW)
    assert (clip == 100).all()
    clip, _ = read_clip(ClipSource(folder / clips[1], str(folder / clips[1])), FLOW)
    assert (clip == [138, 120] * 5).all()
    assert read_frames(folder / clips[1], range(FRAMES)).shape == (FRAMES, HEIGHT, WIDTH, 3)


def test_flow_of_tsm_is_found_and_not_taken_for_frames(tmp_path: Path) -> None:
    """Something-Something V1's lies under six digits; V2's images are called as frames are."""
    folder = on_disk.something_v1(tmp_path)
    theirs = folder / "20bn-something-something-v1-flow"
    for number in (7, 24413, 100218):
        flow_folder(theirs / f"{number:06d}", f"{number:06d}-x_{{:05d}}.jpg", f"{number:06d}-y_{{:05d}}.jpg")
    frame_folder(theirs / "1099", "{:06d}.jpg")
    expected = dict.fromkeys(("1099", "1420", "42326", "7", "24413", "100218"), "")
    assert found(folder) == expected
    for clip in ("7", "24413", "100218"):
        expected[clip] = f"{theirs.name}/{int(clip):06d}"
    expected["1099"] = f"{theirs.name}/1099"
    for place in (theirs.name, str(theirs)):
        table = read_dataset(folder, Annotation(flow=place)).set_index("clip_id")
        assert found(folder, Annotation(flow=place)) == expected
        assert all(f"{folder}/20bn-something-something-v1/" in path for path in table["path"])


def test_frames_alone_are_no_flow(tmp_path: Path) -> None:
    """Where the folder of both is named as that of flow, only some clips may have flow."""
    folder = on_disk.tsn_lists(tmp_path)
    for image in (folder / "jpg" / "v_Biking_g01_c01").glob("flow_*"):
        image.unlink()
    for place in ("", ".", str(folder)):
        assert found(folder, Annotation(flow=place)) == {
            "jpg/v_Archery_g01_c01": "jpg/v_Archery_g01_c01",
            "jpg/v_Archery_g02_c01": "jpg/v_Archery_g02_c01",
            "jpg/v_Biking_g01_c01": "",
        }


# Read


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("flow_x_{:05d}.jpg", "flow_y_{:05d}.jpg"),  # TSN
        ("x_{:05d}.jpg", "y_{:05d}.jpg"),  # MMAction
        ("000001-x_{:05d}.jpg", "000001-y_{:05d}.jpg"),  # TSM, Something-Something V1
        ("Flow_X_{:d}.PNG", "Flow_Y_{:d}.PNG"),
    ],
)
def test_pairs_of_images_whatever_they_are_called(x: str, y: str, tmp_path: Path) -> None:
    folder = flow_folder(tmp_path / "clip", x, y, fields=12)
    images = flow_images(folder)
    assert len(images) == 12
    assert images.y[8:] == [y.format(number) for number in (9, 10, 11, 12)]
    fields = images.read([11, 0, 11])
    assert fields.shape == (3, HEIGHT, WIDTH, 2)
    assert (fields == [138, 120]).all()
    assert count_fields(ClipSource(tmp_path / "no video", str(folder)), FLOW) == 12


@pytest.mark.parametrize("name", ["flow_{:05d}.jpg", "{:06d}.jpg", "{:d}.png"])
def test_x_in_red_and_y_in_green_of_one_image(name: str, tmp_path: Path) -> None:
    for number, x in ((1, 150), (2, 100)):
        image = np.full((HEIGHT, WIDTH, 3), (0, 120, x), np.uint8)  # blue, green, red
        cv2.imwrite(str(tmp_path / name.format(number)), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
    fields = flow_images(tmp_path).read([0, 1])
    assert fields.shape == (2, HEIGHT, WIDTH, 2)
    assert middle(fields[0]) == pytest.approx([150, 120], abs=2)
    assert middle(fields[1]) == pytest.approx([100, 120], abs=2)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda d: (d / "flow_y_00009.jpg").unlink(),
            ": 9 images of flow in x and 8 in y; flow_x_00009.jpg has no partner",
        ),
        (
            lambda d: [(d / name).unlink() for name in ("flow_x_00004.jpg", "flow_y_00003.jpg")],
            ": 8 images of flow in x and 8 in y; flow_x_00003.jpg has no partner",
        ),
        (lambda d: [file.unlink() for file in d.glob("flow_y_*")], ": 9 images of flow in x and 0 in y"),
        (
            lambda d: [file.unlink() for file in d.glob("flow_x_*")],
            ": 0 images of flow in x and 9 in y; flow_y_00001.jpg",
        ),
        (lambda d: [file.unlink() for file in d.iterdir()], ": no optical flow in it (flow_x_00001.jpg, "),
        (lambda d: shutil.rmtree(d), ": no such folder of optical flow"),
        (lambda d: (d / "flow_x_00005.jpg").write_bytes(b""), "/flow_x_00005.jpg: not an image that can be decoded"),
        (
            lambda d: cv2.imwrite(str(d / "flow_y_00005.jpg"), np.zeros((8, 8), np.uint8)),
            ": flow_x_00005.jpg and flow_y_00005.jpg differ in size",
        ),
        (
            lambda d: [cv2.imwrite(str(d / f"flow_{a}_00005.jpg"), np.zeros((8, 8), np.uint8)) for a in "xy"],
            ": its images differ in size",
        ),
    ],
    ids=["fewer y", "gaps", "no y", "no x", "empty", "gone", "damaged", "x and y", "two sizes"],
)
def test_damaged_flow_is_refused_by_name(damage, words: str, tmp_path: Path) -> None:
    folder = flow_folder(tmp_path / "clip")
    damage(folder)
    with pytest.raises(UnreadableVideo) as refusal:
        flow_images(folder).read(range(FRAMES - 1))
    assert str(refusal.value).startswith(f"{folder}{words}")


def test_a_training_clip_whose_flow_is_damaged_is_named(tmp_path: Path) -> None:
    folder = on_disk.tsn_lists(tmp_path)
    (folder / "jpg" / "v_Biking_g01_c01" / "flow_x_00002.jpg").unlink()
    table = read_dataset(folder)
    clips = TrainClips(table, ["0", "1"], FLOW, Augment())
    assert clips.load() and sorted(clips.kept) == [0, 1] and clips.rows == [0, 1, 2]
    assert clips.failures == {
        "jpg/v_Biking_g01_c01": f"{folder / 'jpg' / 'v_Biking_g01_c01'}: 8 images of flow in x and 9 in y; "
        "flow_y_00002.jpg has no partner"
    }


def stored(folder: Path, how: Extraction | None) -> Path:
    """Fields of (+10, -8) steps, extracted as `how` says, or by others."""
    flow_folder(folder / "clip")
    if how:
        (folder / "flow.json").write_text(json.dumps({"algorithm": "dis", "bound": how.bound, "side": how.side}))
    return folder / "clip"


@pytest.mark.parametrize(
    ("how", "resize", "bound", "expected"),
    [
        (SMALL, HEIGHT, 20.0, (138, 120)),  # as it is stored
        (SMALL, HEIGHT, 5.0, (168, 96)),  # four times as many steps to a pixel
        (SMALL, HEIGHT, 0.5, (255, 1)),  # beyond the bound
        (SMALL, 24, 20.0, (133, 124)),  # half the size, half the motion
        (SMALL, 24, 10.0, (138, 120)),
        (SMALL, (24, 128), 20.0, (148, 124)),  # twice as wide and half as high, whatever the aspect ratio was
        (Extraction(bound=10.0, side=HEIGHT), HEIGHT, 20.0, (133, 124)),
        (None, HEIGHT, 20.0, (138, 120)),  # others' bound is 20 pixels of the resized frame, of any size
        (None, (24, 128), 20.0, (138, 120)),
        (None, 24, 5.0, (168, 96)),
    ],
)
def test_extracted_flow_is_read_in_pixels_of_the_resized_frame(
    how: Extraction | None, resize: int | tuple[int, int], bound: float, expected: tuple[int, int], tmp_path: Path
) -> None:
    p = Preprocessing("flow", frames=2, resize=resize, crop=16, flow_bound=bound)
    fields = read_extracted(stored(tmp_path, how), [0, 8], p)
    height, width = resize if isinstance(resize, tuple) else (resize, resize * WIDTH // HEIGHT)
    assert (fields.shape, fields.dtype) == ((2, height, width, 2), np.uint8)
    assert (fields == expected).all()


@pytest.mark.parametrize("resize", [24, 48, (40, 40), (48, 128)])
def test_extracted_flow_is_that_which_would_be_computed(resize: int | tuple[int, int], tmp_path: Path) -> None:
    path = frame_folder(tmp_path / "clip")
    extract_clip(path, tmp_path / "flow" / "clip", SMALL)
    (tmp_path / "flow" / "flow.json").write_text(json.dumps({"algorithm": "dis", "bound": 20.0, "side": 48}))
    p = Preprocessing("flow", frames=2, resize=resize, crop=16, flow_bound=8.0)
    extracted = read_fields(ClipSource(path, str(tmp_path / "flow" / "clip")), range(FRAMES - 1), p)
    computed = read_fields(ClipSource(path), range(FRAMES - 1), p)
    assert extracted.shape == computed.shape
    inner = (slice(None), slice(6, -6), slice(8, -8))
    width = computed.shape[2]
    assert np.median(computed[inner], (0, 1, 2)).tolist() == pytest.approx([128 + 127 / 8 * 2 * width / 64, 128], abs=2)
    assert np.median(extracted[inner], (0, 1, 2)) == pytest.approx(np.median(computed[inner], (0, 1, 2)), abs=3)


@pytest.mark.parametrize(
    "content", ['{"algorithm": "dis", "bou', "[]", '{"algorithm": []}', '{"bound": -1}', "[" * 9999]
)
def test_what_says_how_flow_was_extracted_may_be_damaged(content: str, tmp_path: Path) -> None:
    clip = stored(tmp_path, SMALL)
    (tmp_path / "flow.json").write_text(content)
    with pytest.raises(UserError, match=rf"^{tmp_path / 'flow.json'} is damaged \(.*\); extract the flow again$"):
        read_extracted(clip, [0], FLOW)


def test_the_flow_of_a_video_with_the_longest_name(tmp_path: Path) -> None:
    write_moving_video(tmp_path / "video.mp4", frames=3)
    target = tmp_path / "flow" / ("ü" * 127 + "x")
    assert extract_clip(tmp_path / "video.mp4", target, Extraction("dis", 20.0, 32)) == ""
    assert len(list(target.iterdir())) == 4 and list(target.parent.iterdir()) == [target]
