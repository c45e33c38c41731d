"""What lies in a dataset's folder is a clip, or is named; what the dataset does not say is invented, and said."""

import os
import unicodedata
import zlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from sth_core.datasets.table import Annotation, open_dataset, read_dataset
from sth_core.errors import UserError
from sth_core.video import count_frames, read_frames
from tests.test_datasets import manifest, put, records
from workbench.cli import main

# One codec for each kind of container, of those that FFmpeg writes.
ENCODERS = {
    ".avi": "mpeg4", ".divx": "mpeg4", ".mp4": "libx264", ".m4v": "libx264", ".mov": "mjpeg", ".webm": "libvpx-vp9",
    ".mkv": "libx264", ".flv": "flv", ".wmv": "wmv2", ".asf": "wmv2", ".gif": "gif", ".3gp": "libx264",
    ".3g2": "libx264", ".ts": "libx264", ".mts": "libx264", ".m2ts": "mpeg2video", ".ogv": "libvpx",
    ".vob": "mpeg2video", ".mpg": "mpeg1video", ".mpeg": "mpeg2video",
}  # fmt: skip
FORMATS = {".divx": "avi", ".mts": "mpegts", ".vob": "vob", ".ogv": "ogg", ".m4v": "mp4", ".mpeg": "mpeg"}


def encode(path: Path, frames: int = 5) -> Path:
    """Frames of 64 x 64 pixels that become brighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=FORMATS.get(path.suffix)) as container:
        stream = container.add_stream(ENCODERS[path.suffix], rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(stream.codec_context.name, "yuv420p")
        for i in range(frames):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * i, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def images(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), np.full((16, 16, 3), 20 * i, np.uint8))
    return folder


def test_videos_in_every_container_that_decodes_are_clips(tmp_path: Path) -> None:
    """.flv, .wmv, .gif, .3gp, .ts, .mts, .ogv and .vob were left out without a word."""
    for suffix in ENCODERS:
        encode(tmp_path / "run" / f"{suffix[1:]}{suffix}")
    table = read_dataset(tmp_path)
    assert {Path(path).suffix for path in table["path"]} == set(ENCODERS)
    frames = {path: count_frames(path) for path in table["path"]}
    assert set(frames.values()) == {5}, frames


def test_frames_of_several_image_formats_are_one_clip(tmp_path: Path) -> None:
    names = ["1.jpg", "2.webp", "3.bmp", "4.png", "5.tif", "6.TIFF", "7.jpeg"]
    folder = images(tmp_path / "clip", *names)
    assert read_frames(folder, range(7)).mean((1, 2, 3)) == pytest.approx([20 * i for i in range(7)], abs=2)


@pytest.mark.parametrize(
    ("stray", "left_out"),
    [
        ("hug/preview1.png", "1 picture beside clips (hug/preview1.png)"),
        ("cover01.jpg", "1 picture in the folder itself (cover01.jpg)"),
        ("hug/0/poster.png", "1 picture beside clips (hug/0/poster.png)"),
        ("hug/0/thumbs.db", "1 file of another kind (1 .db)"),
        ("README", "1 file of another kind (1 without a suffix)"),
    ],
)
def test_one_stray_file_hides_no_clip_and_is_named(stray: str, left_out: str, tmp_path: Path) -> None:
    """A picture beside folders of frames, or beside classes, made them one clip."""
    for name in ("hug/0", "hug/1", "run/0"):
        images(tmp_path / name, "1.jpg", "2.jpg")
    if Path(stray).suffix in (".png", ".jpg"):
        images((tmp_path / stray).parent, Path(stray).name)
    else:
        put(tmp_path, stray)
    dataset = open_dataset(tmp_path)
    assert list(dataset.clips["clip_id"]) == ["hug/0", "hug/1", "run/0"]
    assert dataset.found.left_out == (left_out,)
    assert dataset.found.sentence.endswith(f"left out: {left_out}")


def test_a_stray_picture_beside_the_classes_of_a_split(tmp_path: Path) -> None:
    put(tmp_path, *(f"{split}/{label}/1.mp4" for split in ("train", "val") for label in ("hug", "run")))
    images(tmp_path / "train", "histogram1.jpg")
    found = open_dataset(tmp_path).found
    assert (found.splits, found.split_source, found.split_invented) == (
        {"train": 2, "val": 2}, "the folders train, val", False,
    )  # fmt: skip
    assert found.left_out == ("1 picture beside clips (train/histogram1.jpg)",)


def test_names_that_are_not_utf8_and_links_that_lead_back_lose_only_themselves(tmp_path: Path) -> None:
    put(tmp_path, "hug/1.mp4", "run/1.mp4")
    (tmp_path / os.fsdecode(b"hug/caf\xe9.mp4")).touch()
    (tmp_path / "run" / "again").symlink_to(tmp_path)
    (tmp_path / "run" / "itself").symlink_to("itself")
    dataset = open_dataset(tmp_path)
    assert list(dataset.clips["clip_id"]) == ["hug/1.mp4", "run/1.mp4"]
    assert dataset.found.left_out == (
        "1 link to a folder above it (run/again)",
        r"1 name that is not UTF-8 (hug/caf\xe9.mp4)",
        "1 file of another kind (1 without a suffix)",
    )


def test_a_video_that_no_list_names_is_counted(tmp_path: Path) -> None:
    manifest(tmp_path, "path,label,split\na/1.mp4,hug,train\n")
    put(tmp_path, "a/2.mp4", "b/3.webm")
    dataset = open_dataset(tmp_path)
    assert list(dataset.clips["clip_id"]) == ["a/1.mp4"]
    assert dataset.found.left_out == ("2 clips not in the annotation files (a/2.mp4, b/3.webm)",)


def test_names_match_in_either_unicode_form(tmp_path: Path) -> None:
    """macOS stores an é as two characters; a manifest has it as one."""
    stored, listed = (unicodedata.normalize(form, "drücken/café 1.mp4") for form in ("NFD", "NFC"))
    manifest(tmp_path, f"path,label,split\n{listed},drücken,train\n")
    (tmp_path / listed).unlink()
    put(tmp_path, stored)
    table = read_dataset(tmp_path)
    assert records(table, "path", "problem") == [(str(tmp_path / stored), "")]


@pytest.mark.parametrize(
    ("files", "expected", "left_out"),
    [
        (["a.mp4", "b.mp4"], {"a.mp4": ("", ""), "b.mp4": ("", "")}, ()),
        (["val/a.mp4"], {"val/a.mp4": ("", "val")}, ()),
        (["UCF/run/a.avi", "UCF/hug/b.avi"], {"UCF/run/a.avi": ("run", ""), "UCF/hug/b.avi": ("hug", "")}, ()),
        (["data/training/run/a.avi", "data/Validation/run/b.avi"], {
            "data/training/run/a.avi": ("run", "train"), "data/Validation/run/b.avi": ("run", "val"),
        }, ()),
        (["hug/a.mp4", "test/b.mp4"], {"hug/a.mp4": ("hug", ""), "test/b.mp4": ("test", "")}, ()),
        (["hug/a.mp4", "cover.mp4"], {"hug/a.mp4": ("hug", "")}, ("1 clip outside of CLASS (cover.mp4)",)),
        (["train/hug/a.mp4", "val/b.mp4", "more/hug/c.mp4"], {"train/hug/a.mp4": ("hug", "train")}, (
            "2 clips outside of SPLIT/CLASS (more/hug/c.mp4, val/b.mp4)",
        )),
    ],
)  # fmt: skip
def test_the_folders_are_the_classes_and_splits(files, expected, left_out, tmp_path: Path) -> None:
    dataset = open_dataset(put(tmp_path, *files))
    given = {clip_id: expected[clip_id] for clip_id in dataset.clips["clip_id"]}
    found = zip(dataset.clips["label"], dataset.clips["split"], strict=True)
    invented = dataset.found.split_invented
    assert [(label, "" if invented else split) for label, split in found] == list(given.values())
    assert set(given) == set(expected)
    assert dataset.found.left_out == left_out


def test_folders_of_which_either_could_be_the_class_are_refused(tmp_path: Path) -> None:
    """The inner folders were taken for the classes: here, the people."""
    put(tmp_path, "hug/anna/1.mp4", "hug/ben/1.mp4", "run/anna/1.mp4")
    with pytest.raises(UserError, match=r"'hug' or 'anna' could be the class of hug/anna/1\.mp4; arrange the clips"):
        read_dataset(tmp_path)


def test_an_invented_split_says_so(tmp_path: Path) -> None:
    put(tmp_path, *(f"{label}/{i}.mp4" for label in ("hug", "run") for i in range(20)))
    found = open_dataset(tmp_path).found
    fifth = sum(zlib.crc32(f"{label}/{i}.mp4".encode()) % 5 == 0 for label in ("hug", "run") for i in range(20))
    assert found.splits == {"train": 40 - fifth, "val": fifth}
    assert found.how_split == "invented by checksum, no groups known"
    assert found.sentence == (
        f"{tmp_path.name}: 40 clips, 2 classes, read from its folders; "
        f"splits: train {40 - fifth}, val {fifth} (invented, by checksum, no groups known)"
    )


@pytest.mark.parametrize("clips", range(2, 12))
def test_an_invented_split_of_few_clips_has_two_sides_and_all_classes_to_train_on(clips: int, tmp_path: Path) -> None:
    put(tmp_path, *(f"{label}/{i}.mp4" for label in ("hug", "run", "kick") for i in range(clips)))
    table = read_dataset(tmp_path)
    assert set(table["split"]) == {"train", "val"}
    assert set(table.loc[table["split"] == "train", "label"]) == {"hug", "run", "kick"}


@pytest.mark.parametrize(
    ("held_out", "source", "notes"),
    [
        (("3",), "by held_out", ()),
        (("3", "7"), "by held_out", ("held_out names groups that are not there: 7",)),
        (("7", "8"), "by checksum", ("held_out (7, 8) matches no group, so the split is by checksum instead",)),
        (("1", "2", "3"), "by checksum", ("held_out is every group, so the split is by checksum instead",)),
    ],
)
def test_groups_held_out_that_are_not_there_are_named(held_out, source, notes, tmp_path: Path) -> None:
    """With a recipe whose held_out matched no group, training ended: "needs clips in the splits 'train' and 'val'"."""
    manifest(tmp_path, "path,label,person\n" + "\n".join(f"{i}.mp4,hug,{1 + i % 3}" for i in range(9)))
    dataset = open_dataset(tmp_path, Annotation(group="person", held_out=held_out))
    assert (dataset.found.split_source, dataset.found.notes) == (source, notes)
    assert set(dataset.clips["split"]) == {"train", "val"}
    assert dataset.clips.groupby("group")["split"].nunique().eq(1).all()


def test_groups_from_a_pattern_of_the_names(tmp_path: Path) -> None:
    put(tmp_path, *(f"hug/v{video}_c{cut}.mp4" for video in range(10) for cut in range(4)), "hug/other.mp4")
    dataset = open_dataset(tmp_path, Annotation(group_pattern=r"(v\d+)_c"))
    assert dataset.found.groups == 11
    assert dataset.found.group_source == r"the pattern (v\d+)_c"
    assert dataset.clips.groupby("group")["split"].nunique().eq(1).all()
    assert dataset.found.notes == (
        "the group pattern finds nothing in 1 of 41 paths, such as 'hug/other.mp4': each is a group of its own",
    )


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(v", "is no regular expression: missing )"), ("w(.)", "finds nothing in any clip's path, such as 'hug/v1.mp4'")],
)
def test_a_pattern_that_finds_no_groups_is_refused(pattern: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        read_dataset(put(tmp_path, "hug/v1.mp4"), Annotation(group_pattern=pattern))
    assert words in str(refused.value)


def test_the_command_prints_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("hug/v1_a.mp4", "hug/v2_a.mp4"):
        encode(tmp_path / "videos" / name)
    result = CliRunner().invoke(main, ["data", "check", "videos", "--workers", "1", "--group-pattern", r"(v\d)_"])
    first = result.output.splitlines()[0]
    assert first == (
        r"videos: 2 clips, 1 class, read from its folders; splits: train 1, val 1 (invented, by checksum); "
        r"groups: 2 (from the pattern (v\d)_)"
    )
