"""Clips that are parts of a video: which frames they have, by brute force against slices of the whole video."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from analysis.runs.recording import record
from analysis.runs.run_directory import open_run, predictions
from sth_core.datasets import extraction
from sth_core.datasets.clips import EvaluationClips, TrainClips
from sth_core.datasets.extraction import extract_flow
from sth_core.datasets.media import Flow, Media
from sth_core.datasets.random_clips import Augment
from sth_core.datasets.table import _flow
from sth_core.errors import UserError
from sth_core.video import decoding
from sth_core.video.clip_source import ClipSource
from sth_core.video.decoding import all_frames
from sth_core.video.encoding import transcode
from sth_core.video.fields import count_fields, read_clips, read_fields
from sth_core.video.flow import Extraction
from sth_core.video.sampling import Protocol
from sth_core.video.segment import Segment
from sth_core.video.timeline import UnreadableVideo
from sth_core.video.transforms import Preprocessing
from tests.datasets_on_disk import HEIGHT, WIDTH, flow_folder, frame_folder, pictures, video
from tests.test_app import CLIP, open_page, words
from tests.tiny import save_tiny

RGB = Preprocessing(frames=4, resize=HEIGHT, crop=32)
FLOW = Preprocessing("flow", frames=4, resize=HEIGHT, crop=32, mean=(0.5,), std=(0.1,))
RATE, FRAMES = 25, 60  # 2.4 seconds


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """long.mp4 with a keyframe every 10 frames, long.avi without frame times, and the frames of long.mp4 as images."""
    folder = tmp_path_factory.mktemp("videos")
    video(folder / "long.avi", FRAMES)
    shown = enumerate(pictures(FRAMES))
    folder.joinpath("long.mp4").write_bytes(timed((Fraction(i, RATE), picture) for i, picture in shown))
    (folder / "images").mkdir()
    for i, picture in enumerate(all_frames(folder / "long.mp4"), start=1):
        cv2.imwrite(str(folder / "images" / f"{i:05d}.png"), picture[..., ::-1])
    return folder


def timed(frames: Any) -> bytes:
    """An mp4 of (seconds, picture)."""
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"g": "10", "crf": "16", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 600)
        for seconds, picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(seconds * 600), Fraction(1, 600)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return content.getvalue()


@pytest.mark.parametrize(
    ("text", "segment"),
    [
        ("", Segment()),
        ("2.5-7 s", Segment(2.5, 7)),
        ("2.5- s", Segment(2.5)),
        ("0-7 s", Segment(0, 7)),
        ("0.1-0.25 s", Segment(0.1, 0.25)),
        ("1234567.5-12345678 s", Segment(1234567.5, 12345678)),
        ("75-210 frames", Segment(75, 210, "frames")),
        ("75- frames", Segment(75, None, "frames")),
        ("0-1 frames", Segment(0, 1, "frames")),
    ],
)
def test_a_segment_is_a_text(text: str, segment: Segment) -> None:
    assert (Segment.parse(text), str(segment)) == (segment, text)
    assert segment.whole == (text == "")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0- s", ""),
        ("- s", ""),
        ("0- frames", ""),
        ("-7 s", "0-7 s"),
        ("02.50-7.0s", "2.5-7 s"),
        (".5 - 7 s", "0.5-7 s"),
    ],
)
def test_a_segment_has_one_way_to_be_written(text: str, written: str) -> None:
    assert str(Segment.parse(text)) == written
    assert Segment.parse(text).whole == (written == "")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("7-2.5 s", "a segment must end after it begins, got 7-2.5 s"),
        ("7-7 s", "a segment must end after it begins, got 7-7 s"),
        ("7.5-9 frames", "a segment in frames needs whole numbers, got 7.5-9 frames"),
        ("2-7", "a segment must look like '2.5-7 s' or '75-210 frames', got '2-7'"),
        ("-2-7 s", "a segment must look like '2.5-7 s' or '75-210 frames', got '-2-7 s'"),
        ("2:30-3:10", "a segment must look like '2.5-7 s' or '75-210 frames', got '2:30-3:10'"),
    ],
)
def test_what_is_no_segment_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        Segment.parse(text)
    assert str(refused.value) == sentence
    with pytest.raises(UserError, match="must begin and end at 0 or later, got -1"):
        Segment(-1, 5)
    with pytest.raises(UserError, match="must begin and end at 0 or later, got nan"):
        Segment(float("nan"))


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("", range(60)),
        ("10-20 frames", range(10, 20)),
        ("59- frames", range(59, 60)),
        ("10-61 frames", range(10, 60)),  # one frame too long, as where the last number is included
        ("0.4-0.8 s", range(10, 20)),  # frame 10 is shown at 0.4 s exactly, frame 20 at 0.8 s
        ("0.41-0.81 s", range(11, 21)),
        ("0.1-0.2 s", range(3, 5)),  # 0.12 s and 0.16 s
        ("-1 s", range(25)),
        ("2- s", range(50, 60)),
        ("2-2.5 s", range(50, 60)),  # rounded up from 2.4 s
    ],
)
@pytest.mark.parametrize("name", ["long.mp4", "long.avi", "images"])
def test_the_frames_of_a_segment_are_a_slice_of_all_frames(videos: Path, name: str, text: str, frames: range) -> None:
    source = ClipSource(videos / name, segment=Segment.parse(text))
    if name == "images" and text.endswith(" s"):
        with pytest.raises(UnreadableVideo, match="a folder of frames has no seconds; give the columns start_frame"):
            source.frames()
        return
    assert source.frames() == frames and count_fields(source, RGB) == len(frames)
    part = np.stack([*all_frames(source.path)])[frames.start : frames.stop]
    assert np.array_equal(read_fields(source, range(len(frames)), RGB), part)
    for backward in (False, True):
        source = ClipSource(source.path, backward=backward, segment=source.segment)
        clips, numbers = read_clips(source, RGB, clips=3)
        assert np.array_equal(clips, part[numbers - frames.start])
        assert (np.diff(numbers) * (-1 if backward else 1) >= 0).all()


@pytest.mark.parametrize("text", ["20-28 frames", "59- frames", "58-60 frames"])
@pytest.mark.parametrize("name", ["long.mp4", "images"])
def test_the_flow_of_a_segment_is_that_of_its_frames_alone(videos: Path, name: str, text: str, tmp_path: Path) -> None:
    source = ClipSource(videos / name, segment=Segment.parse(text))
    cut = tmp_path / "cut"
    cut.mkdir()
    for number, frame in enumerate([*all_frames(source.path)][source.frames().start : source.frames().stop], start=1):
        cv2.imwrite(str(cut / f"{number:05d}.png"), frame[..., ::-1])
    clips, numbers = read_clips(source, FLOW, clips=2)
    alone, numbers_alone = read_clips(ClipSource(cut), FLOW, clips=2)
    assert np.array_equal(clips, alone) and np.array_equal(numbers, numbers_alone + source.frames().start)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "long.mp4", "120-240 s",
            "the segment 120-240 s is not in it (2.4 s); if these are frame numbers, name the columns start_frame and "
            "end_frame",
        ),
        ("long.avi", "1.5-7 s", "the segment 1.5-7 s is not in it (2.4 s)"),
        ("long.mp4", "2.41- s", "the segment 2.41- s is not in it (2.4 s)"),
        ("long.mp4", "2.37-2.39 s", "no frame begins in the segment 2.37-2.39 s"),
        ("images", "60- frames", "the segment 60- frames is not in it (60 frames, counted from 0)"),
        ("long.mp4", "10-62 frames", "the segment 10-62 frames is not in it (60 frames, counted from 0)"),
    ],
)  # fmt: skip
def test_a_segment_that_is_not_in_the_video_is_a_failure(videos: Path, name: str, text: str, reason: str) -> None:
    row = table_row("clip", videos / name, segment=text)
    sample = EvaluationClips(pd.DataFrame([row]), ["hug"], RGB)[0]
    assert (sample.views, sample.failure) == (None, f"{videos / name}: {reason}")


def test_with_uneven_times_seconds_are_those_at_which_frames_are_shown(tmp_path: Path) -> None:
    """20 frames in the first second, then one a second."""
    times = [Fraction(i, 20) for i in range(20)] + [Fraction(second) for second in range(1, 6)]
    path = tmp_path / "uneven.mp4"
    path.write_bytes(timed(zip(times, pictures(25), strict=True)))
    for text, frames in (("1-3 s", range(20, 22)), ("0.5-1 s", range(10, 20)), ("4.5- s", range(24, 25))):
        assert ClipSource(path, segment=Segment.parse(text)).frames() == frames


def test_only_the_part_of_a_segment_is_decoded(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyframe every 10 frames: all frames of 30 to 39 come from a seek, none from decoding the file in order."""
    decoded: list[int] = []

    def noted(path: Path, line: Any, index_at: dict[int, int]) -> Any:
        for index, frame in decode_by_time(path, line, index_at):
            decoded.append(index)
            yield index, frame

    decode_by_time = decoding.decode_by_time
    monkeypatch.setattr(decoding, "decode_by_time", noted)
    source = ClipSource(videos / "long.mp4", segment=Segment.parse("1.2-1.6 s"))
    assert read_clips(source, RGB)[1].tolist() == [[31, 33, 36, 38]]
    assert decoded == [31, 33, 36, 38]


def table_row(clip_id: str, path: Path, **more: Any) -> dict[str, Any]:
    row = {"clip_id": clip_id, "path": str(path), "label": "hug", "split": "train", "group": clip_id}
    return row | {"flow": "", "problem": "", "backward": False, "segment": ""} | more


def test_rows_of_the_table_and_of_runs_of_earlier_versions_are_clips(videos: Path) -> None:
    row = table_row("clip", videos / "long.mp4", segment="1-2 s", backward=True)
    whole = ClipSource(videos / "long.mp4")
    assert ClipSource.from_row(row) == ClipSource(whole.path, "", True, Segment(1, 2))
    assert ClipSource.from_row({"path": row["path"]}) == whole
    missing = {"path": row["path"], "flow": float("nan"), "backward": float("nan"), "segment": None}
    assert ClipSource.from_row(pd.Series(missing)) == whole


def test_parts_of_one_video_are_clips_of_their_own_in_training_and_evaluation(videos: Path) -> None:
    path = videos / "long.mp4"
    parts = {"a": range(10, 20), "b": range(40, 50), "c": range(40, 50)}
    texts = {"a": "10-20 frames", "b": "40-50 frames", "c": "40-50 frames"}
    rows = [table_row(name, path, segment=text, backward=name == "c") for name, text in texts.items()]
    every = np.stack([*all_frames(path)])
    clips = EvaluationClips(pd.DataFrame(rows), ["hug"], RGB, Protocol(clips=2))
    for sample, part in zip(map(clips.__getitem__, range(3)), parts.values(), strict=True):
        assert set(sample.frame_indices) <= set(part)
    kept, read = (TrainClips(pd.DataFrame(rows), ["hug"], RGB, Augment()) for _ in range(2))
    kept.load()
    assert kept.rows == [0, 1, 2] and kept.kept[1] is kept.kept[2]
    for row, part in enumerate(parts.values()):
        assert np.array_equal(kept.kept[row], every[part.start : part.stop])
        assert np.array_equal(read.read(row, None), every[part.start : part.stop])
        drawn = [t.sample(row, np.random.default_rng(5)) for t in (kept, read)]
        assert drawn[0] is not None and drawn[1] is not None and np.array_equal(drawn[0][0], drawn[1][0])


# Extracted flow


def numbered_flow(folder: Path, fields: int = FRAMES - 1) -> Path:
    """Flow whose field i has the value 100 + i in x and y."""
    folder.mkdir(parents=True)
    for i in range(fields):
        for axis in "xy":
            cv2.imwrite(str(folder / f"flow_{axis}_{i + 1:05d}.png"), np.full((HEIGHT, WIDTH), 100 + i, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", range(59)),
        ("20-30 frames", range(20, 29)),  # not 29, the motion to frame 30
        ("50- frames", range(50, 59)),
        ("20-22 frames", range(20, 21)),
    ],
)
def test_extracted_flow_is_of_the_whole_video(videos: Path, text: str, fields: range, tmp_path: Path) -> None:
    flow = str(numbered_flow(tmp_path / "flow"))
    source = ClipSource(videos / "long.mp4", flow, segment=Segment.parse(text))
    read = read_fields(source, range(count_fields(source, FLOW)), FLOW)
    assert (read[:, 0, 0, 0].astype(int) - 100).tolist() == list(fields)
    numbers = read_clips(source, FLOW)[1]
    assert set(numbers.ravel()) <= set(fields)


def test_a_part_of_one_frame_has_no_motion_and_flow_may_end_early(videos: Path, tmp_path: Path) -> None:
    flow = str(numbered_flow(tmp_path / "flow", fields=50))
    still = ClipSource(videos / "long.mp4", flow, segment=Segment(20, 21, "frames"))
    assert (read_clips(still, FLOW)[0] == 128).all()
    shorter = ClipSource(videos / "long.mp4", flow, segment=Segment(45, None, "frames"))
    assert count_fields(shorter, FLOW) == 5
    after = ClipSource(videos / "long.mp4", flow, segment=Segment(50, None, "frames"))
    with pytest.raises(UnreadableVideo, match=r"flow: has 50 fields of flow, the clip begins at 50$"):
        count_fields(after, FLOW)


def test_the_flow_of_a_video_is_extracted_once_and_found_for_all_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        extraction, "in_processes", lambda f, given, workers: ((key, f(*of_key)) for key, of_key in given.items())
    )
    long, short = frame_folder(tmp_path / "hug" / "long"), frame_folder(tmp_path / "hug" / "short", frames=3)
    parts = [table_row(f"long {text}", long, segment=text) for text in ("0-4 frames", "4-9 frames")]
    rows = [*parts, table_row("hug/short", short), table_row("hug/short (backward)", short, backward=True)]
    table = pd.DataFrame(rows)
    shown: list[tuple[int, int]] = []
    out, how = tmp_path / "flow", Extraction(side=HEIGHT)
    assert extract_flow(table, out, how, progress=lambda *done: shown.append(done)) == {}
    assert shown == [(0, 2), (1, 2), (2, 2)]
    assert sorted(str(file.parent.relative_to(out)) for file in out.rglob("flow_x_00001.jpg")) == [
        "hug/long", "hug/short",
    ]  # fmt: skip
    found = _flow(table, Media(tmp_path), Flow(out))
    assert found.tolist() == [str(out / "hug" / "long")] * 2 + [str(out / "hug" / "short")] * 2


def test_parts_of_two_videos_do_not_share_flow(tmp_path: Path) -> None:
    paths = [video(tmp_path / "hug" / f"1{suffix}") for suffix in (".mp4", ".webm")]
    table = pd.DataFrame([table_row(f"{path.name} {i}", path, segment="2-5 frames") for i, path in enumerate(paths)])
    failures = extract_flow(table, tmp_path / "flow", Extraction(side=HEIGHT), 1)
    sentence = f"hug/1.mp4 and hug/1.webm would have their flow in one folder, {tmp_path / 'flow' / 'hug' / '1'}"
    assert failures == {"1.mp4 0": sentence, "1.webm 1": sentence}
    flow_folder(tmp_path / "flow" / "hug" / "1")
    assert _flow(table, Media(tmp_path), Flow(tmp_path / "flow")).tolist() == ["", ""]


def test_the_clip_page_shows_the_frames_of_the_part(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, data = save_tiny(tmp_path / "network.safetensors"), tmp_path / "data"
    data.mkdir()
    (data / "long.mp4").symlink_to(videos / "long.mp4")
    (data / "manifest.csv").write_text(
        "path,motion,split,start,end\nlong.mp4,opening,val,1.2,2\nlong.mp4,opening,val,9,10\n"
    )
    record(network, data, tmp_path / "runs" / "parts")
    recorded = predictions(open_run(tmp_path / "runs" / "parts")).iloc[0]
    assert recorded["segment"] == "1.2-2 s" and set(recorded["frame_indices"]) <= set(range(30, 50))
    app = open_page(tmp_path / "runs", monkeypatch, CLIP, run="parts")
    assert "The clip is a part of its video: 1.2-2 s." in words(app)
    captions = [image.proto.imgs[0].caption for image in app.get("image")]
    for number in recorded["frame_indices"]:
        assert any(caption.startswith(f"frame {number}") for caption in captions)


@pytest.mark.parametrize("name", ["long.mp4", "long.avi", "images"])
def test_the_player_shows_the_part_alone(videos: Path, name: str, tmp_path: Path) -> None:
    transcode(videos / name, tmp_path / "part.mp4", range(30, 50))
    shown, frames = np.stack([*all_frames(tmp_path / "part.mp4")]), np.stack([*all_frames(videos / name)])
    assert shown.shape == (20, HEIGHT, WIDTH, 3)
    differing = np.abs(shown[:, None].astype(int) - frames[None]).mean((2, 3, 4))  # (20, 60)
    assert differing.argmin(1).tolist() == list(range(30, 50))
