"""What `sth data check` warns of: each fault is planted in a dataset that is sound without it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from analysis.report.dataset_findings import dataset_findings
from sth_core import prefetch
from sth_core.datasets.check import ClipCheck, check_dataset
from sth_core.datasets.checked import CheckedDataset
from sth_core.datasets.class_balance import classes_by_split, similar_labels, uneven_classes
from sth_core.datasets.confounds import find_confounds, lookup_accuracy
from sth_core.datasets.frame_defects import GRAY, ONE_COLOUR, ONE_PICTURE, FrameDefects
from sth_core.datasets.lookalikes import find_duplicates, find_lookalikes
from sth_core.datasets.name_stems import shared_stems
from sth_core.datasets.table import Annotation, open_dataset
from workbench.cli import main

FRAMES = 24
SIZES, RATES = ((96, 64), (64, 64)), (25, 30)


def scene(seed: int, first: int = 0, size: tuple[int, int] = SIZES[0]) -> Iterator[np.ndarray]:
    """A source video from the frame `first` on: a place seen by a fixed camera, and somebody who walks in it."""
    width, height = size
    rng = np.random.default_rng(seed)
    place = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (0, 0), height / 12)
    place = cv2.normalize(place, None, 20, 235, cv2.NORM_MINMAX)
    colour = rng.integers(0, 256, 3).tolist()
    speed, start = rng.uniform(0.05, 0.2), rng.uniform(0, 6)
    for t in range(first, first + FRAMES):
        at = (
            round(width / 2 + width / 3 * np.sin(start + speed * t)),
            round(height / 2 + height / 5 * np.cos(speed * t)),
        )
        yield cv2.circle(place.copy(), at, height // 8, colour, -1)


def written(path: Path, frames: Iterator[np.ndarray], rate: int = 25, crf: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
        stream = container.add_stream(codec, rate=Fraction(rate))
        stream.pix_fmt, stream.options = "yuv420p", {"crf": str(crf), "preset": "veryfast", "bf": "0"}
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return path


def sound_set(folder: Path, *, confounded: bool = False) -> Path:
    """32 clips of as many places; without `confounded` both classes have both sizes and both rates."""
    for seed in range(32):
        split, label = "val" if seed % 4 == 3 else "train", ("run", "jump")[seed // 4 % 2]
        form = seed // 4 % 2 if confounded else seed // 8 % 2
        name = f"{'abcdefgh'[seed % 8]}{'wxyz'[seed // 8]}.mp4"
        written(folder / split / label / name, scene(seed, size=SIZES[form]), RATES[form])
    return folder


def faulty_set(folder: Path) -> Path:
    """The same with a class for each size and rate, and one or two clips with each fault."""
    train, val = (sound_set(folder, confounded=True) / split / "run" for split in ("train", "val"))
    for seed, name in enumerate(("street", "park"), start=100):
        written(train / f"{name}_1.mp4", scene(seed))
        written(val / f"{name}_2.mp4", scene(seed, first=FRAMES), crf=32)
    written(val / "again.mp4", scene(0), crf=30)
    cut = written(train / "cut.webm", scene(102))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    cv2.imwrite(str(train / "preview1.png"), next(scene(103)))
    gray = [cv2.circle(np.full((64, 96, 3), 129, np.uint8), (20 + 5 * t, 30), 8, (200, 40, 40), -1) for t in range(6)]
    written(train / "nokey.mp4", iter([*gray, *scene(104)]))
    written(train / "frozen.mp4", iter([next(scene(105))] * FRAMES))
    written(train / "late.mp4", iter([*[next(scene(106))] * 15, *scene(106)]))
    written(train / "dark.mp4", iter([*[np.zeros((64, 96, 3), np.uint8)] * 3, *scene(107)]))
    return folder


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other processes: they would take seconds to start."""
    monkeypatch.setattr(prefetch, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))


def sth(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def findings(result: Result) -> tuple[set[str], set[str]]:
    """The sentences of what fails or warns, and of what passes."""
    lines = result.output.splitlines()
    return {line[2:] for line in lines if line.startswith("! ")}, {line[2:] for line in lines if line.startswith("  ")}


def test_a_sound_set_gives_no_warning(tmp_path: Path, in_process: None) -> None:
    result = sth("data", "check", sound_set(tmp_path / "sound"), "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    warnings, passed = findings(result)
    assert warnings == set()
    assert {
        "32 of 32 clips decode from the first frame to the last",
        "No clip looks like a clip of another split",
        "Frame size, rate, codec, length and brightness do not tell the labels",
    } <= passed


def test_each_planted_fault_is_found(tmp_path: Path, in_process: None) -> None:
    folder = faulty_set(tmp_path / "faulty")
    result = sth("data", "check", folder, "-o", tmp_path / "out")
    assert result.exit_code == 1
    warnings, _ = findings(result)
    pattern = r"--group-pattern '([^/]+)_\d+\.\w+$' keeps them together (40 groups; train 37, val 5)"
    assert warnings == {
        "41 of 42 clips decode from the first frame to the last",
        "1 pairs of clips show the same in two splits (1 pairs in all)",
        "2 of 11 val clips look like a clip of train, 2 of them very much: perhaps pieces of one source video, or the "
        "same place (each looks like 1 of 30 clips, on average)",
        "2 of 11 val clips are named like a clip of train, but for the end of the name (park...): perhaps pieces of "
        f"one source video; the split is from the folders train, val; without it, {pattern}",
        "100% of the labels can be told from frame size alone, and the most frequent class is 61%: 16 of 16 clips with "
        "64 x 64 are 'jump'; 100% from shape of the frame; 100% from frame rate; 100% from frame size and rate; 93% "
        "from compression",
        "1 of 41 clips show one picture all the time (24 frames)",
        "1 of 41 clips begin with gray frames, decoded without the keyframe before them (6 frames)",
        "1 of 41 clips begin with frames of one colour (3 frames)",
        "1 of 41 clips begin with one picture, repeated (16 frames)",
        "Left out: 1 picture beside clips (train/run/preview1.png)",
    }
    assert (
        f"    train/run/cut.webm: {folder / 'train/run/cut.webm'}: 1 of 24 frames are in it; it was cut off"
        in result.output
    )
    pairs = pd.read_csv(tmp_path / "out" / "lookalikes.csv")
    assert set(zip(pairs["a"], pairs["b"], strict=True)) == {
        ("val/run/street_2.mp4", "train/run/street_1.mp4"),
        ("val/run/park_2.mp4", "train/run/park_1.mp4"),
    }
    same = pd.read_csv(tmp_path / "out" / "duplicates.csv")
    assert list(zip(same["a"], same["b"], strict=True)) == [("train/run/aw.mp4", "val/run/again.mp4")]


def table_of(clips: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Rows of `ClipCheck`: {clip_id: values that differ from the usual}; the split is the first part of the clip_id."""
    usual = {"label": "hug", "width": 64, "height": 48, "rate": 25.0, "codec": "h264", "container": "mp4", "frames": 20}
    rows = []
    for clip_id, values in clips.items():
        facts = {"path": clip_id, "split": clip_id.split("/")[0]} | usual | values
        rows.append(vars(ClipCheck(clip_id=clip_id, **facts)))
    return pd.DataFrame(rows)


UCF, CCTV = "v_Run_g{g:02d}_c{c:02d}.avi", "Abuse{g:03d}_x264_{c}.mp4"


@pytest.mark.parametrize(
    ("form", "by_group", "shared", "stems", "pattern"),
    [
        (UCF, False, 4, 10, r"([^/]+)_[A-Za-z]+\d+\.\w+$"),
        (UCF, True, 0, 0, ""),  # the groups are held out, as in the official splits
        (CCTV, False, 4, 10, r"([^/]+)_\d+\.\w+$"),
        ("Id{g:03d}x_{c:06d}_{d:06d}.mp4", False, 4, 10, r"([^/]+?)(?:_\d+){2}\.\w+$"),
        ("street{g} ({c}).mp4", False, 4, 10, None),
        ("IMG_{n}.mp4", False, 0, 0, ""),  # one stem
        ("{n}.mp4", False, 0, 0, ""),
        ("bbaf{g}{c}n.mp4", False, 0, 0, ""),  # .mp4 is no number
    ],
)
def test_clips_of_one_name(form: str, by_group: bool, shared: int, stems: int, pattern: str | None) -> None:
    """10 sources of 2 clips each, of which 4 clips are held out: of 4 sources, or of 2."""
    clips = {}
    for n in range(20):
        g, c = n // 2, n % 2 + 1
        held_out = g < 2 if by_group else g < 4 and c == 2
        clips[f"{'val' if held_out else 'train'}/run/{form.format(g=g, c=c, d=c + 10, n=n)}"] = {"label": "run"}
    found = shared_stems(table_of(clips))
    assert (found.shared if found else 0) == shared
    if found:
        assert (found.split, found.clips, found.stems) == ("val", 4, stems)
        assert pattern is None or found.pattern == pattern
        names = pd.Series(list(clips))
        assert names.str.extract(found.pattern, expand=False).nunique() == 10
        assert sum(found.splits.values()) == 20


def test_names_of_classes_are_no_sources() -> None:
    clips = {
        f"{split}/{label}_{n}.mp4": {"label": label}
        for label in ("run", "hug")
        for split in ("train", "val")
        for n in range(5)
    }
    assert shared_stems(table_of(clips)) is None


@pytest.mark.parametrize(
    ("labels", "alike"),
    [
        ({"Hug", "hug", "kick"}, [["Hug", "hug"]]),
        ({"shake hands", "shake_hands ", "shake  hands"}, [["shake  hands", "shake hands", "shake_hands "]]),
        ({"caf\u00e9", "cafe\u0301", "cafe"}, [["cafe\u0301", "caf\u00e9"]]),
        ({"turn left", "turn right", "1", "10"}, []),
    ],
)
def test_labels_that_differ_only_in_how_they_are_written(labels: set[str], alike: list[list[str]]) -> None:
    assert similar_labels(labels) == alike


@pytest.mark.parametrize(
    ("train", "val", "label"),
    [
        ([100, 100, 100], [60, 10, 10], "a"),
        ([100, 100, 100], [10, 10, 60], "c"),
        ([100, 100, 100], [35, 25, 30], ""),  # by accident
        ([4, 4, 4], [3, 1, 0], ""),  # too few to say
        ([5000, 5000, 5000], [1200, 1000, 1000], ""),  # no accident, but small
        ([100, 100, 0], [40, 40, 40], ""),  # a class that train lacks is another finding
    ],
)
def test_classes_in_other_shares(train: list[int], val: list[int], label: str) -> None:
    clips = {
        f"{split}/{name}{n}": {"label": name}
        for split, counts in (("train", train), ("val", val))
        for name, count in zip("abc", counts, strict=True)
        for n in range(count)
    }
    counts = classes_by_split(table_of(clips))
    assert list(counts) == ["train", "val"] and counts["train"].tolist() == train
    assert [uneven.label for uneven in uneven_classes(counts)] == [label] * bool(label)


def test_accuracy_of_a_table_of_the_most_frequent_label() -> None:
    """Value 0 has label 0 but for one clip, value 1 has label 1; value 2 is in one fold only, so that the label that is
    more frequent in the others is predicted, 1."""
    values = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1, 0])
    fold = np.array([0, 1, 2, 3, 0, 1, 2, 2, 3])
    assert lookup_accuracy(values, labels, fold) == 7 / 9


def test_what_tells_the_labels_is_found_but_chance_is_not() -> None:
    rng = np.random.default_rng(1)
    flagged = 0
    for _ in range(20):
        clips = {
            f"train/{n}": {
                "label": "abc"[rng.integers(3)],
                "frames": int(rng.integers(10, 90)),
                "rate": float(rng.choice([24, 25, 30])),
            }
            for n in range(60)
        }
        flagged += len(find_confounds(table_of(clips)))
    assert flagged <= 1
    told = {name: values | {"frames": 10 + 20 * "abc".index(values["label"])} for name, values in clips.items()}
    found = find_confounds(table_of(told))
    assert list(found["attribute"]) == ["length"]
    assert found["accuracy"][0] == 1


def test_a_source_video_that_has_one_size_and_one_label_is_no_confound_between_sources() -> None:
    """Ten sources: knowing a clip's source tells its size and its label, but sizes say nothing of new sources."""
    rng = np.random.default_rng(2)
    labels, widths = rng.permutation([*"aaaaabbbbb"]), rng.permutation([64, 96] * 5)
    rows = {
        f"train/{source}_{n}": {"label": labels[source], "width": int(widths[source]), "group": f"source {source}"}
        for source in range(10)
        for n in range(20)
    }
    assert find_confounds(table_of(rows)).empty


def plain(value: int) -> np.ndarray:
    return np.full((48, 64, 3), value, np.uint8)


def asphalt(t: int) -> np.ndarray:
    """A scene that is gray itself, in which something small moves."""
    return cv2.circle(plain(128), (10 + 2 * t, 20), 6, (180, 60, 60), -1)


SCENE = list(scene(1))


@pytest.mark.parametrize(
    ("frames", "begins_with", "empty"),
    [
        (SCENE, "", 0),
        ([asphalt(t) for t in range(4)] + SCENE, GRAY, 4),
        ([asphalt(t) for t in range(24)], "", 0),
        ([plain(0)] * 2 + SCENE, ONE_COLOUR, 2),
        ([plain(90)] * 6, ONE_COLOUR, 6),
        ([SCENE[0]] * 24, ONE_PICTURE, 24),
        ([SCENE[0]] * 12 + SCENE, ONE_PICTURE, 13),
        ([SCENE[0]] * 4 + SCENE, "", 0),  # a short stop is none
        ([cv2.circle(SCENE[0].copy(), (8 + t, 8), 2, (255, 255, 255), -1) for t in range(24)], "", 0),  # a small motion
        ([SCENE[0]], "", 0),
    ],
)
def test_how_a_clip_begins(frames: list[np.ndarray], begins_with: str, empty: int) -> None:
    defects = FrameDefects()
    for frame in frames:
        defects.add(frame)
    assert defects.beginning == (begins_with, empty)


def checked_set(folder: Path, out: Path, annotation: Annotation = Annotation()) -> CheckedDataset:
    dataset = open_dataset(folder, annotation)
    return CheckedDataset.compared(dataset.found, check_dataset(dataset.clips, out))


def texts(checked: CheckedDataset) -> str:
    return "\n".join(f"{finding.tone}: {finding.text}" for finding in dataset_findings(checked))


def test_an_invented_split_is_said_and_pieces_of_one_video_are_found(tmp_path: Path, in_process: None) -> None:
    for seed in range(6):
        for piece in range(3):
            written(tmp_path / "clips" / f"video{seed}_{piece}.mp4", scene(seed, piece * FRAMES))
    checked = checked_set(tmp_path / "clips", tmp_path / "out")
    n = len(checked.clips.query("split == 'val'"))
    said = texts(checked)
    assert (
        "warns: The split is invented, by checksum, no groups known: clips of one source video may be on both" in said
    )
    assert f"warns: {n} of {n} val clips look like a clip of train" in said
    assert f"warns: {n} of {n} val clips are named like a clip of train" in said
    assert "passes: All clips have no label" in said
    assert checked.stems is not None
    again = checked_set(tmp_path / "clips", tmp_path / "out", Annotation(group_pattern=checked.stems.pattern))
    assert again.clips["split"].value_counts().to_dict() == checked.stems.splits
    assert "warns" not in texts(again)


def test_groups_in_two_splits_and_groups_that_are_too_fine(tmp_path: Path, in_process: None) -> None:
    lines = ["path,label,split,person"]
    for seed, piece, split, person in (
        (0, 0, "train", "A"),
        (0, 1, "val", "B"),
        (1, 0, "train", "C"),
        (2, 0, "val", "C"),
    ):
        name = f"{'xyz'[seed]}{'kl'[piece]}.mp4"
        written(tmp_path / "set" / name, scene(seed, piece * FRAMES))
        lines.append(f"{name},run,{split},{person}")
    (tmp_path / "set" / "manifest.csv").write_text("\n".join(lines))
    said = texts(checked_set(tmp_path / "set", tmp_path / "out", Annotation(group="person")))
    assert "warns: 1 group (from the column person) are in two splits: C" in said
    assert "warns: 1 of 2 val clips look like a clip of train that is in another group (from the column person)" in said


def test_parts_of_a_video_are_checked_as_clips_and_the_video_is_decoded_once(
    tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "set" / "long.mp4", iter([*scene(1), *scene(2)]))
    parts = ("run,train,0,24", "hug,val,24,48", "hug,val,30,90")
    lines = ["path,label,split,start_frame,end_frame", *(f"long.mp4,{part}" for part in parts)]
    (tmp_path / "set" / "manifest.csv").write_text("\n".join(lines))
    checked = checked_set(tmp_path / "set", tmp_path / "out")
    assert sorted(checked.usable["frames"]) == [24, 24] and checked.usable["exact"].all()
    assert checked.clips["problem"].str.contains("the segment 30-90 frames is not in it").sum() == 1
    assert checked.lookalikes.empty and checked.duplicates.empty
    assert len((tmp_path / "out" / "checked.jsonl").read_text().splitlines()) == 3
    monkeypatch.setattr("sth_core.datasets.check.check_clips", lambda clips: pytest.fail("is known"))
    pd.testing.assert_frame_equal(checked_set(tmp_path / "set", tmp_path / "out").clips, checked.clips)


def test_a_clip_that_is_also_played_backward_is_checked_once(tmp_path: Path, in_process: None) -> None:
    for n, split in enumerate(("train", "val")):
        written(tmp_path / "set" / split / "run" / f"{n}.mp4", scene(n))
    checked = checked_set(tmp_path / "set", tmp_path / "out", Annotation(direction=True))
    assert len(checked.clips) == 2 and checked.duplicates.empty


def test_frames_of_several_kinds_are_said(tmp_path: Path, in_process: None) -> None:
    folder = tmp_path / "set" / "run" / "clip"
    folder.mkdir(parents=True)
    for n, frame in enumerate(scene(1)):
        cv2.imwrite(str(folder / f"{n:03d}.{'webp' if n == 5 else 'jpg'}"), frame)
    written(tmp_path / "set" / "run" / "other.mp4", scene(2))
    said = texts(checked_set(tmp_path / "set", tmp_path / "out"))
    assert "warns: run/clip: its frames are of several kinds: 23 .jpg, 1 .webp" in said


@pytest.mark.parametrize(
    ("folder", "annotation", "every", "duplicates", "lookalikes", "beginnings"),
    [
        ("two_questions/grid_s1", Annotation(label="command"), 8, 0, "most", 0),
        ("two_questions/grid_s1_damaged", Annotation(), 1, 0, "none", 5),
        ("ut_interaction", Annotation(), 6, 0, "none", 0),
    ],
)
def test_real_clips(
    folder: str, annotation: Annotation, every: int, duplicates: int, lookalikes: str, beginnings: int,
    real_data: Path, tmp_path: Path, in_process: None,
) -> None:  # fmt: skip
    """Talking heads look alike but are not the same clip; damaged beginnings are found; people who stand still are
    no frozen clips."""
    dataset = open_dataset(real_data / folder, annotation)
    clips = check_dataset(dataset.clips[::every].reset_index(drop=True), tmp_path)
    same = find_duplicates(clips)
    assert len(same) == duplicates
    found = len(find_lookalikes(clips, same))
    held_out = clips["split"].eq("val").sum()
    assert found > held_out / 2 if lookalikes == "most" else found == 0
    assert clips["begins_with"].eq(GRAY).sum() == beginnings == clips["begins_with"].ne("").sum()
