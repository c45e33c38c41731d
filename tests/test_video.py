"""Frames out of real video files, and what becomes of them on the way to a network."""

import ast
import pkgutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

import sth_core.video
from sth_core.datasets.synthetic import draw_scenes, render
from sth_core.video import UnreadableVideo, count_frames, read_frames
from sth_core.video.encoding import FAST_PRESET, SMALL, plays_in_browsers, transcode, write_video
from sth_core.video.sampling import segment_indices

KINDS = {
    "h264.mp4": ("libx264", {"bf": "3", "g": "12"}, 0),
    "mpeg4.avi": ("mpeg4", {"g": "10"}, 2),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, 0),
}


def moving_pictures(count: int, height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    """Frames that no codec can take for one another: a block that walks on noise that stays."""
    noise = np.random.default_rng(0).integers(0, 60, (height, width, 1), np.uint8).repeat(3, 2)
    for t in range(count):
        frame = noise.copy()
        frame[8:24, 2 * t % width : 2 * t % width + 12] = (200, 5 * t % 256, 255 - 5 * t % 256)
        yield frame


def encode(path: Path, codec: str, options: dict[str, str], b_frames: int = 0, count: int = 30) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt, stream.options = 64, 48, "yuv420p", options
        if b_frames:
            stream.codec_context.max_b_frames = b_frames
        for picture in moving_pictures(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def decode_everything(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def picture_types(path: Path) -> set[str]:
    with av.open(str(path)) as container:
        return {PictureType(frame.pict_type).name for frame in container.decode(video=0)}


@pytest.mark.parametrize("options", [SMALL, FAST_PRESET], ids=["small", "fast"])
def test_the_same_frames_give_the_same_bytes_whatever_memory_held_before(options: Mapping, tmp_path: Path) -> None:
    """With a setting of x264 that reads memory which it never wrote, this clip gave 8 different files in 30."""
    frames, rng = list(render(draw_scenes(6, seed=1)[2])), np.random.default_rng(0)
    files = set()
    for _ in range(10):
        memory = [rng.bytes(int(size)) for size in rng.integers(1, 3_000_000, 5)]  # freed, not cleared, and used again
        del memory
        write_video(tmp_path / "clip.mp4", frames, 24, options)
        files.add((tmp_path / "clip.mp4").read_bytes())
    assert len(files) == 1


def test_reading_videos_needs_neither_torch_nor_the_network() -> None:
    modules = [f"sth_core.video.{module.name}" for module in pkgutil.iter_modules(sth_core.video.__path__)]
    assert "sth_core.video.fields" in modules
    lines = (
        f"import sys, {', '.join(modules)}",
        "print({name for name in sys.modules if name == 'torch' or name.startswith('sth_core.')})",
    )
    out = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True).stdout
    others = {f"sth_core.{name}" for name in ("video", "errors", "files", "memory", "stopping", "values")}
    needed = {*others, *modules}
    assert ast.literal_eval(out) == needed


@pytest.fixture(params=KINDS)
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return encode(tmp_path / request.param, *KINDS[request.param])


@pytest.mark.parametrize("kind", ["h264.mp4", "mpeg4.avi"])
def test_the_files_below_have_the_b_frames_that_random_access_stumbles_over(kind: str, tmp_path: Path) -> None:
    assert "B" in picture_types(encode(tmp_path / kind, *KINDS[kind]))


@pytest.mark.parametrize("indices", [[0], [29], [17, 3, 3, 28, 0, 17], [5, 4], list(range(30))])
def test_any_frames_in_any_order_equal_a_full_decode(video: Path, indices: list[int]) -> None:
    assert np.array_equal(read_frames(video, indices), decode_everything(video)[indices])


def test_frames_are_counted_as_they_decode(video: Path) -> None:
    assert count_frames(video) == len(decode_everything(video)) == 30


@pytest.mark.parametrize("indices", [[30], [0, 31], [-1]])
def test_an_index_outside_the_video_is_refused(video: Path, indices: list[int]) -> None:
    with pytest.raises(UnreadableVideo, match=f"{video}: .*{indices[-1]}"):
        read_frames(video, indices)


def test_asking_for_no_frames_is_refused(video: Path) -> None:
    with pytest.raises(ValueError, match="no frame indices given; pass at least one"):
        read_frames(video, [])


def test_a_file_that_changes_is_counted_again(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.avi", "mpeg4", {}, count=5)
    assert count_frames(path) == 5
    encode(path, "mpeg4", {}, count=9)
    assert count_frames(path) == 9


@pytest.mark.parametrize("use", [count_frames, lambda path: read_frames(path, [0])], ids=["count", "read"])
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm", ".mkv"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file"), (b"", "not a video"), (b"This is a letter, not a video. " * 100, "not a video")],
    ids=["missing", "empty", "garbage"],
)
def test_what_is_no_video_is_refused_by_name(
    use, suffix: str, content: bytes | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / f"clip{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableVideo, match=f"^{path}: {reason}"):
        use(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(UnreadableVideo, match=r"clip\.mp4: is a directory"):
        read_frames(tmp_path / "clip.mp4", [0])


@pytest.mark.parametrize(("name", "codec"), [("sound.mp4", "aac"), ("sound.avi", "mp2"), ("sound.webm", "libopus")])
def test_sound_without_pictures_is_refused(name: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 48000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    for use in (count_frames, lambda path: read_frames(path, [0])):
        with pytest.raises(UnreadableVideo, match=f"^{path}: "):
            use(path)


def test_a_truncated_mp4_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", *KINDS["h264.mp4"])
    path.write_bytes(path.read_bytes()[:-2000])  # its table of contents is at the end
    with pytest.raises(UnreadableVideo, match=f"^{path}: not a video that can be decoded"):
        read_frames(path, [0])


@pytest.mark.parametrize("share", [0.8, 0.9])
def test_a_truncated_avi_gives_the_frames_that_are_left_and_no_more(share: float, tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.avi", *KINDS["mpeg4.avi"])
    whole = decode_everything(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    left = count_frames(path)
    assert 0 < left < 30
    sound = range(left - 3)  # the last frame is cut through, and B-frames before it lean on it
    assert np.array_equal(read_frames(path, sound), whole[sound])
    with pytest.raises(UnreadableVideo):
        read_frames(path, [0, left])


@pytest.mark.parametrize(
    ("positions", "segments", "expected"),
    [
        (24, 8, [1, 4, 7, 10, 13, 16, 19, 22]),
        (16, 8, [1, 3, 5, 7, 9, 11, 13, 15]),
        (30, 4, [3, 11, 18, 26]),
        (3, 8, [0, 0, 0, 1, 1, 2, 2, 2]),
        (1, 3, [0, 0, 0]),
    ],
)
def test_testing_takes_the_middle_of_each_segment(positions: int, segments: int, expected: list[int]) -> None:
    assert segment_indices(positions, segments).tolist() == expected


@pytest.mark.parametrize(("positions", "segments"), [(24, 8), (30, 8), (5, 8)])
def test_training_takes_any_place_of_each_segment(positions: int, segments: int) -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([segment_indices(positions, segments, rng) for _ in range(500)])
    first = np.arange(segments) * positions / segments
    assert (drawn >= np.floor(first)).all() and (drawn <= np.floor(first + positions / segments)).all()
    assert set(drawn.flat) == set(range(positions))


def test_write_video_gives_the_same_bytes_twice_and_frames_close_to_what_it_got(tmp_path: Path) -> None:
    a, b = tmp_path / "a.mp4", tmp_path / "b.mp4"
    for path in (a, b):
        write_video(path, moving_pictures(20), fps=24, options=SMALL | {"crf": "10"})
    assert a.read_bytes() == b.read_bytes()
    assert count_frames(a) == 20
    difference = read_frames(a, range(20)).astype(float) - np.stack(list(moving_pictures(20)))
    assert np.abs(difference).mean() < 10  # yuv420p halves the resolution of colour


def test_write_video_leaves_nothing_behind_when_its_source_fails(tmp_path: Path) -> None:
    def source() -> Iterator[np.ndarray]:
        yield from moving_pictures(3)
        raise RuntimeError("the camera fell over")

    with pytest.raises(RuntimeError, match="the camera fell over"):
        write_video(tmp_path / "clip.mp4", source(), 24)
    assert list(tmp_path.iterdir()) == []


def test_an_avi_is_transcoded_frame_for_frame_for_the_browser(tmp_path: Path) -> None:
    avi, mp4 = encode(tmp_path / "clip.avi", *KINDS["mpeg4.avi"]), tmp_path / "clip.mp4"
    transcode(avi, mp4)
    assert (plays_in_browsers(avi), plays_in_browsers(mp4)) == (False, True)
    assert count_frames(mp4) == 30
    assert np.abs(read_frames(mp4, range(30)).astype(float) - decode_everything(avi)).mean() < 4
