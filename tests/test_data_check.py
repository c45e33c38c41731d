"""`sth data check` finds and reports what is wrong with a dataset before it is trained on."""

import base64
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from analysis.report.dataset_page import dataset_findings
from sth_core import prefetch
from sth_core.datasets import check
from sth_core.datasets.check import ClipCheck, check_clip, check_clips, check_dataset, read_notes
from sth_core.datasets.checked import CheckedDataset
from sth_core.datasets.found import Found
from sth_core.datasets.lookalikes import find_duplicates
from sth_core.datasets.table import read_dataset
from tests import datasets_on_disk as on_disk
from tests.datasets_on_disk import FRAMES, encoded, frame_folder, pictures, video
from workbench.cli import main


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def small_set(folder: Path) -> Path:
    """Two classes for training, one of them whole, and a third that only "val" has."""
    written(folder / "train" / "hug" / "good.mp4", encoded(".mp4", pictures(24, seed=1)))
    written(folder / "train" / "hug" / "b-frames.avi", encoded(".avi", pictures(16, seed=2), g="5"))
    written(folder / "train" / "kick" / "other.mp4", encoded(".mp4", pictures(20, seed=3)))
    cut = encoded(".mp4", pictures(20, seed=5))
    written(folder / "train" / "kick" / "cut.mp4", cut[: len(cut) // 2])
    (frame_folder(folder / "train" / "kick" / "gap", "{:05d}.jpg") / "00004.jpg").unlink()
    shutil.copytree(folder / "train" / "hug", folder / "val" / "hug")
    (folder / "val" / "hug" / "b-frames.avi").unlink()
    (folder / "val" / "hug" / "good.mp4").rename(folder / "val" / "hug" / "copy.mp4")
    written(folder / "val" / "kick" / "again.mp4", encoded(".mp4", pictures(20, seed=3), crf="30"))
    written(folder / "val" / "wave & <go>" / "new.webm", encoded(".webm", pictures(12, seed=4)))
    return folder


def sound_set(folder: Path) -> Path:
    for number, name in enumerate(["train/hug/1.mp4", "train/kick/2.mp4", "val/hug/3.mp4", "val/kick/4.mp4"]):
        written(folder / name, encoded(".mp4", pictures(6, seed=20 + number)))
    return folder


def sth(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other processes: they would take seconds to start."""
    monkeypatch.setattr(prefetch, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))


@pytest.fixture
def decoded(in_process: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clips that are decoded."""
    clips: list[str] = []

    def noted(of_video: list[ClipCheck]) -> list[ClipCheck]:
        clips.extend(clip.clip_id for clip in of_video)
        return check_clips(of_video)

    monkeypatch.setattr(check, "check_clips", noted)
    return clips


def findings_of(clips: list[ClipCheck], **found: Any) -> set[tuple[str, str]]:
    """Tone and sentence of each finding."""
    table = pd.DataFrame([vars(clip) for clip in clips])
    facts = {"splits": {}, "groups": 0, "split_source": "the column split", "split_invented": False, "group_source": ""}
    counts = {"clips": len(clips), "unusable": 0, "unlabelled": 0, "classes": 0}
    checked = CheckedDataset.compared(Found("set", read_from="manifest.csv", **(counts | facts | found)), table)
    return {(finding.tone, finding.text) for finding in dataset_findings(checked)}


class Page(HTMLParser):
    """The page as a browser takes it apart."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.words: dict[str, list[str]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.setdefault(self.inside, []).append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Result]:
    """The small set, its report, and the command's output; with processes of its own."""
    folder = small_set(tmp_path_factory.mktemp("check") / "small")
    out = folder.parent / "report"
    return folder, out, sth("data", "check", folder, "-o", out, "--workers", 1)


def test_the_table_says_of_each_clip_what_it_is(checked: tuple[Path, Path, Result]) -> None:
    folder, out, _ = checked
    table = pd.read_csv(out / "clips.csv", keep_default_na=False).set_index("clip_id")
    assert list(table.columns) == [
        "path", "label", "split", "problem", "warning", "frames", "seconds", "width", "height", "rate", "codec",
        "container", "pixel_format", "access", "exact", "bytes", "brightness", "begins_with", "empty", "segment",
        "group",
    ]  # fmt: skip
    assert list(table.index) == [
        "train/hug/b-frames.avi",
        "train/hug/good.mp4",
        "train/kick/cut.mp4",
        "train/kick/gap",
        "train/kick/other.mp4",
        "val/hug/copy.mp4",
        "val/kick/again.mp4",
        "val/wave & <go>/new.webm",
    ]
    good = table.loc["train/hug/good.mp4"]
    assert good["path"] == str(folder / "train" / "hug" / "good.mp4")
    assert (good["label"], good["split"], good["problem"]) == ("hug", "train", "")
    assert (good["frames"], float(good["seconds"]), good["width"], good["height"]) == (24, 24 / 25, 64, 48)
    assert (good["access"], good["exact"]) == ("by time", True)
    assert (float(good["rate"]), good["codec"], good["container"], good["pixel_format"]) == (
        25,
        "h264",
        "mp4",
        "yuv420p",
    )
    assert (good["warning"], good["begins_with"], good["empty"], good["segment"], good["group"]) == ("", "", 0, "", "")
    assert good["bytes"] == (folder / "train" / "hug" / "good.mp4").stat().st_size

    assert table["access"]["train/hug/b-frames.avi"].startswith("in order (")
    assert (table["frames"]["train/hug/b-frames.avi"], table["exact"]["train/hug/b-frames.avi"]) == (16, True)
    gap = table.loc["train/kick/gap"]
    assert (gap["frames"], gap["access"], gap["exact"]) == (FRAMES - 1, "images (1 numbers missing)", True)
    assert (gap["seconds"], gap["bytes"]) == ("", 0)
    assert (gap["rate"], gap["codec"], gap["container"]) == ("", "jpg", "images")
    assert gap["warning"] == "1 number missing between its images"

    unusable = table[table["problem"] != ""]
    assert list(unusable.index) == ["train/kick/cut.mp4"]
    broken = folder / "train" / "kick" / "cut.mp4"
    assert unusable["problem"].iloc[0].startswith(f"{broken}: not a video that can be decoded (")
    assert (table["frames"]["train/kick/cut.mp4"], table["exact"]["train/kick/cut.mp4"]) == (0, False)


def test_copies_are_found_even_when_they_were_compressed_again(checked: tuple[Path, Path, Result]) -> None:
    table = pd.read_csv(checked[1] / "duplicates.csv")
    assert list(table.columns) == ["a", "b", "split_a", "split_b", "differing"]
    assert list(zip(table["a"], table["b"], table["split_a"], table["split_b"], strict=True)) == [
        ("train/hug/good.mp4", "val/hug/copy.mp4", "train", "val"),
        ("train/kick/other.mp4", "val/kick/again.mp4", "train", "val"),
    ]
    assert table["differing"][0] == 0
    assert 0 < table["differing"][1] <= 0.1


def test_the_terminal_says_it_in_sentences(checked: tuple[Path, Path, Result]) -> None:
    folder, out, result = checked
    assert result.exit_code == 1
    output = [" ".join(line.split()) for line in result.output.splitlines()]
    broken = folder / "train" / "kick" / "cut.mp4"
    for line in (
        "split clips unusable classes frames sizes",
        "train 5 1 2 9 to 24, median 18 64 x 48",
        "val 3 0 3 12 to 24, median 20 64 x 48",
        "! 7 of 8 clips decode from the first frame to the last",
        "7 of 7 give the right frame when it is read alone",
        "! 2 pairs of clips show the same in two splits (2 pairs in all)",
        "1 clips have to be decoded in order, up to the last frame that is needed",
        "! 1 labels of val are not in train, among them 'wave & <go>'",
        "2 classes of 2 (kick) to 2 (hug) clips in train",
        f"report: {out / 'index.html'}; tables: {out / 'clips.csv'}, {out / 'duplicates.csv'}, "
        f"{out / 'lookalikes.csv'}, {out / 'confounds.csv'}",
    ):
        assert line in output
    assert any(line.startswith(f"train/kick/cut.mp4: {broken}: not a video that can be decoded (") for line in output)


def test_the_page_shows_the_dataset(checked: tuple[Path, Path, Result]) -> None:
    folder, out, _ = checked
    page = Page(out / "index.html")
    assert page.words["title"] == page.words["h1"] == ["small: 8 clips"]
    plots = ["Clips of each class", "Length of the clips"]
    lists = ["Clips that cannot be used", "The same clip in two splits", "Clips with a flaw"]
    assert page.words["h2"] == [*lists, *plots, "A clip of each class"]
    marks = [item["class"] for item in page.all("li")]
    assert marks == sorted(marks, key=("fails", "warns", "passes").index)
    assert marks.count("fails") == 2
    assert page.words["li"][0] == "7 of 8 clips decode from the first frame to the last"

    pairs = [
        "train/hug/good.mp4 (train) | val/hug/copy.mp4 (val)",
        "train/kick/other.mp4 (train) | val/kick/again.mp4 (val)",
    ]
    assert [image["alt"] for image in page.all("img")] == [*pairs, "hug", "kick", "wave & <go>"]
    assert page.words["figcaption"] == [*pairs, "hug", "kick", "wave & <go>"]
    assert [figure.get("class") for figure in page.all("figure")] == ["pair", "pair", None, None, None]
    for image in page.all("img")[2:]:
        head, _, data = image["src"].partition(",")
        assert head == "data:image/jpeg;base64"
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (150, 200, 3)
        assert picture.std() > 20  # blotches, not one colour

    assert len([box for box in page.all("div") if "plotly-graph-div" in (box.get("class") or "")]) == 2
    assert not [script["src"] for script in page.all("script") if script.get("src")]
    assert sum("plotly.js v" in script for script in page.words["script"]) == 1  # Plotly is in the page, once
    cells = page.words["td"]
    assert cells[0] == "train/kick/cut.mp4"
    broken = folder / "train" / "kick" / "cut.mp4"
    assert cells[1].startswith(f"{broken}: not a video") and cells[1].endswith(")")
    assert cells[2:6] == ["train/hug/good.mp4", "val/hug/copy.mp4", "train", "val"]


def test_a_sound_dataset_ends_with_exit_code_0(tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    result = sth("data", "check", sound_set(tmp_path / "sound"))
    assert result.exit_code == 0, result.output
    assert not [line for line in result.output.splitlines() if line.startswith("!")]
    assert {file.name for file in (tmp_path / "sound-check").iterdir()} == {
        "checked.jsonl", "clips.csv", "confounds.csv", "duplicates.csv", "index.html", "lookalikes.csv",
    }  # fmt: skip
    assert (tmp_path / "sound-check" / "duplicates.csv").read_text() == "a,b,split_a,split_b,differing\n"
    assert Page(tmp_path / "sound-check" / "index.html").words["h2"][2:] == ["A clip of each class"]


def test_a_copy_in_the_same_split_is_shown_but_no_failure(tmp_path: Path, in_process: None) -> None:
    folder = sound_set(tmp_path / "sound")
    shutil.copy(folder / "train" / "hug" / "1.mp4", folder / "train" / "kick" / "5.mp4")
    result = sth("data", "check", folder, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert "0 pairs of clips show the same in two splits (1 pairs in all)" in result.output
    assert Page(tmp_path / "out" / "index.html").words["h2"][0] == "The same clip twice in one split"


def test_a_line_of_the_annotation_that_cannot_be_used_is_a_clip_that_cannot(tmp_path: Path, decoded: list[str]) -> None:
    folder = on_disk.something_v1(tmp_path / "v1")
    shutil.rmtree(folder / "20bn-something-something-v1" / "24413")
    result = sth("data", "check", folder, "-o", tmp_path / "out")
    assert result.exit_code == 1
    place = f"{folder / 'something-something-v1-train.csv'}, line 2"
    assert f"    24413: {place}: no video or folder of frames '24413' in {folder}\n" in result.output
    assert sorted(decoded) == ["100218", "1099", "1420", "42326", "7"]


def test_clips_without_a_label_count_for_no_class(tmp_path: Path, in_process: None) -> None:
    """Those to be tested; and classes that are only numbers stay names."""
    result = sth("data", "check", on_disk.jester(tmp_path / "jester"), "-o", tmp_path / "out")
    output = [" ".join(line.split()) for line in result.output.splitlines()]
    for line in ("train 2 0 2 10 to 10, median 10 64 x 48", "test 1 0 0 10 to 10, median 10 64 x 48"):
        assert line in output
    assert [image["alt"] for image in Page(tmp_path / "out" / "index.html").all("img")][-2:] == [
        "Swiping Left", "Swiping Right",
    ]  # fmt: skip
    sth("data", "check", on_disk.tsn_lists(tmp_path / "lists"), "-o", tmp_path / "numbers")
    page = Page(tmp_path / "numbers" / "index.html")
    assert [image["alt"] for image in page.all("img")][-2:] == ["0", "1"]
    assert '"type":"category"' in "".join(page.words["script"])


def test_the_second_check_decodes_nothing(tmp_path: Path, decoded: list[str]) -> None:
    folder = small_set(tmp_path / "small")
    first = sth("data", "check", folder, "-o", tmp_path / "out")
    assert len(decoded) == 8
    reports = {name: (tmp_path / "out" / name).read_bytes() for name in ("clips.csv", "duplicates.csv")}
    decoded.clear()
    second = sth("data", "check", folder, "-o", tmp_path / "out")
    assert decoded == []
    assert second.exit_code == first.exit_code == 1
    assert {name: (tmp_path / "out" / name).read_bytes() for name in reports} == reports


def test_a_damaged_line_of_an_earlier_check_is_left_out(tmp_path: Path, decoded: list[str]) -> None:
    check_dataset(read_dataset(sound_set(tmp_path / "data")), tmp_path)
    notes = tmp_path / "checked.jsonl"
    first, *others = notes.read_bytes().splitlines(keepends=True)
    clip = json.loads(first)
    damaged = [
        {"frames": "x"}, {"thumbnails": clip["thumbnails"][1:]}, {"thumbnails": 3}, {"path": None}, {"unknown": 1},
    ]  # fmt: skip
    lines = [json.dumps(clip | change).encode() + b"\n" for change in damaged]
    notes.write_bytes(b"".join([*lines, b"\xff" + first, b"[" * 9999 + b"\n", b"[1]\n", *others, first[:50]]))
    assert len(read_notes(notes)) == len(others)


def test_only_what_has_changed_is_looked_at_again(tmp_path: Path, decoded: list[str]) -> None:
    folder = small_set(tmp_path / "small")
    check_dataset(read_dataset(folder), tmp_path / "out")
    decoded.clear()
    mended = written(folder / "train" / "kick" / "cut.mp4", encoded(".mp4", pictures(20, seed=5)))
    frame_folder(folder / "train" / "kick" / "gap")  # the missing number is there now
    same_size = folder / "val" / "hug" / "copy.mp4"
    os.utime(same_size, ns=(1, 1))
    video(folder / "val" / "hug" / "more.mp4")
    table = check_dataset(read_dataset(folder), tmp_path / "out").set_index("clip_id")
    assert sorted(decoded) == [
        "train/kick/cut.mp4", "train/kick/gap", "val/hug/copy.mp4", "val/hug/more.mp4",
    ]  # fmt: skip
    assert (table["problem"] == "").all()
    assert (table["frames"][f"train/kick/{mended.name}"], table["access"]["train/kick/gap"]) == (20, "images")
    decoded.clear()
    check_dataset(read_dataset(folder), tmp_path / "out")
    assert decoded == []


def test_stopped_in_the_middle_it_goes_on_from_there(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_dataset(sound_set(tmp_path / "sound"))
    whole = check_dataset(table, tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_dataset(table, tmp_path / "out", progress=stop)
    notes = tmp_path / "out" / "checked.jsonl"
    known = [json.loads(line)["clip_id"] for line in notes.read_text().splitlines()]
    assert len(known) == 2
    unknown = next(row for row in table.itertuples() if row.clip_id not in known)
    size, changed = check.size_and_time(Path(unknown.path))
    earlier = vars(ClipCheck(unknown.clip_id, unknown.path, "hug", "val", bytes=size, changed=changed, frames=99))
    earlier = {key: value for key, value in earlier.items() if key != "thumbnails"} | {"frame_hash": "00" * 320}
    with notes.open("a") as file:
        file.write(json.dumps(earlier) + "\n")  # as an earlier version wrote it: the clip is checked again
        file.write('{"clip_id": "val/hug/3.mp4", "pa')  # killed while it wrote
    decoded.clear()
    again = check_dataset(table, tmp_path / "out")
    assert sorted(decoded) == sorted(set(table["clip_id"]) - set(known))
    pd.testing.assert_frame_equal(again, whole)


@pytest.mark.parametrize(("suffix", "share"), [(".avi", 0.8), (".webm", 0.8), (".webm", 0.5), (".mp4", 0.95)])
def test_a_clip_that_was_cut_off_is_a_problem_even_if_frames_are_left(
    suffix: str, share: float, tmp_path: Path
) -> None:
    content = encoded(suffix, pictures(30))
    whole = check_clip(ClipCheck("a", str(written(tmp_path / f"whole{suffix}", content)), "a", "train"))
    assert (whole.problem, whole.frames, whole.exact) == ("", 30, True)
    path = written(tmp_path / f"cut{suffix}", content[: int(len(content) * share)])
    cut = check_clip(ClipCheck("a", str(path), "a", "train"))
    assert cut.problem.startswith(f"{path}: ")
    if suffix == ".mp4":  # its table of contents is at the end
        assert cut.frames == 0
    else:
        assert 0 < cut.frames < 27
        assert cut.problem == f"{path}: {cut.frames} of 30 frames are in it; it was cut off, or is damaged"


def test_frames_that_are_not_those_of_the_full_decode_are_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = ClipCheck("a", str(video(tmp_path / "a.mp4")), "a", "train")
    assert check_clip(clip).exact
    monkeypatch.setattr(check, "read_frames", lambda path, indices: np.zeros((1, 48, 64, 3), np.uint8))
    assert not check_clip(clip).exact
    assert ("warns", "0 of 1 give the right frame when it is read alone") in findings_of([check_clip(clip)])


def one_place(size: int, seed: int, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """A bright square that walks somewhere over one and the same background."""
    noise = np.random.default_rng(99).integers(0, 200, (height, width, 3), np.uint8)
    place = cv2.GaussianBlur(noise, (0, 0), 5)
    place = cv2.normalize(place, None, 0, 180, cv2.NORM_MINMAX)
    rng = np.random.default_rng(seed)
    (y, x), (v, u) = rng.integers(0, (height - size, width - size), (2, 2))
    frames = []
    for t in np.linspace(0, 1, 16):
        top, left = round(y + t * (v - y)), round(x + t * (u - x))
        frame = place.copy()
        frame[top : top + size, left : left + size] = 255
        frames.append(frame)
    return frames


def checks_of(folder: Path, clips: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    rows = []
    for name, frames in clips.items():
        for number, frame in enumerate(frames, start=1):
            (folder / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name / f"{number}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, 90])
        rows.append(vars(check_clip(ClipCheck(name, str(folder / name), "a", "train"))))
    return pd.DataFrame(rows)


@pytest.mark.parametrize("size", [12, 20, 32])
def test_other_things_that_happen_in_the_same_place_are_other_clips(size: int, tmp_path: Path) -> None:
    clips = {f"clip {seed}": one_place(size, seed) for seed in range(6)}
    clips["still"] = [one_place(1, 0)[0]] * 16
    table = checks_of(tmp_path, clips)
    assert find_duplicates(table).empty


@pytest.mark.parametrize("size", [12, 32])
def test_the_same_in_one_place_at_another_size_and_quality_is_found(size: int, tmp_path: Path) -> None:
    frames = one_place(size, 1)
    smaller = [cv2.resize(frame, (96, 72), interpolation=cv2.INTER_AREA) for frame in frames]
    darker = [cv2.convertScaleAbs(frame, alpha=0.95, beta=2) for frame in frames]
    clips = {"clip": frames, "smaller": smaller, "darker": darker, "other": one_place(size, 2)}
    found = find_duplicates(checks_of(tmp_path, clips))
    assert set(zip(found["a"], found["b"], strict=True)) == {
        ("clip", "smaller"), ("clip", "darker"), ("smaller", "darker"),
    }  # fmt: skip


def test_clips_of_one_colour_are_not_called_the_same(tmp_path: Path) -> None:
    black, gray = ([np.full((48, 64, 3), value, np.uint8)] * 4 for value in (0, 90))
    assert find_duplicates(checks_of(tmp_path, {"black": black, "gray": gray})).empty


def test_classes_of_very_different_sizes_are_a_warning() -> None:
    rows = [ClipCheck(f"{i}", f"{i}", "hug" if i < 11 else "kick", "train", exact=True, frames=9) for i in range(12)]
    assert ("warns", "2 classes of 1 (kick) to 11 (hug) clips in train") in findings_of(rows)
    assert ("passes", "2 classes of 1 (kick) to 10 (hug) clips in train") in findings_of(rows[1:])
