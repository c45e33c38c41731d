"""Files that are to be shown otherwise than they are stored, or that break the rules: each made here."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from sth_core.datasets.check import ClipCheck, check_clip
from sth_core.video import UnreadableVideo, count_frames, read_frames
from sth_core.video.decoding import all_frames
from sth_core.video.encoding import plays_in_browsers, transcode
from tests.test_exact_frames import decoded_in_order, encode
from tests.test_video import moving_pictures

X264 = {"bf": "3", "g": "12"}
WIDE = Fraction(64, 45)


def with_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Write the display matrix of an mp4: it moves the pixel (x, y) to (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    fixed = [round(value * 65536) for value in (a, b, c, d)]
    content[start : start + 36] = struct.pack(">9i", *fixed[:2], 0, *fixed[2:], 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def turned_by(degrees: float) -> tuple[float, float, float, float]:
    """The matrix of a clockwise rotation."""
    x, y = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return x, y, -y, x


def transposed(frames: np.ndarray) -> np.ndarray:
    return frames.swapaxes(1, 2)


def clockwise(frames: np.ndarray) -> np.ndarray:
    return np.rot90(frames, -1, (1, 2))


ORIENTATIONS: list[tuple[tuple[float, float, float, float], Callable[[np.ndarray], np.ndarray]]] = [
    ((1, 0, 0, 1), lambda frames: frames),
    ((-1, 0, 0, 1), lambda frames: frames[:, :, ::-1]),
    ((1, 0, 0, -1), lambda frames: frames[:, ::-1]),
    ((-1, 0, 0, -1), lambda frames: frames[:, ::-1, ::-1]),
    ((0, 1, -1, 0), clockwise),
    ((0, -1, 1, 0), lambda frames: np.rot90(frames, 1, (1, 2))),
    ((0, 1, 1, 0), transposed),
    ((0, -1, -1, 0), lambda frames: transposed(frames[:, ::-1, ::-1])),
    (turned_by(89), clockwise),
    (turned_by(91), clockwise),
    (turned_by(-2), lambda frames: frames),
    (turned_by(177), lambda frames: frames[:, ::-1, ::-1]),
    ((0, 2, -2, 0), clockwise),
    ((0, 0, 0, 0), lambda frames: frames),
]


@pytest.mark.parametrize(("matrix", "shown"), ORIENTATIONS, ids=lambda value: "" if callable(value) else str(value))
def test_every_output_has_the_orientation_of_the_display_matrix(
    matrix: tuple[float, float, float, float], shown: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "clip.mp4"
    encode(path, "libx264", X264, count=8)
    stored = decoded_in_order(path)
    with_matrix(path, *matrix)
    expected = shown(stored)
    assert np.array_equal(read_frames(path, [5, 0, 5]), expected[[5, 0, 5]])
    assert np.array_equal(np.stack(list(all_frames(path))), expected)
    assert plays_in_browsers(path) == np.array_equal(expected, stored)
    transcode(path, tmp_path / "copy.mp4")
    copy = read_frames(tmp_path / "copy.mp4", range(8)).astype(int)
    assert copy.shape == expected.shape and np.abs(copy - expected).mean() < 4


def test_a_video_that_lies_askew_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(path, "libx264", X264, count=3)
    with_matrix(path, *turned_by(45))
    with pytest.raises(UnreadableVideo) as refusal:
        read_frames(path, [0])
    assert str(refusal.value) == f"{path}: its display matrix turns it by 45 degrees; only right angles are read"


def encode_wide(path: Path, shape: Fraction = WIDE, size: tuple[int, int] = (160, 120)) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if path.suffix == ".mp4" else "mpeg4", rate=25)
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        stream.codec_context.sample_aspect_ratio = shape
        for picture in moving_pictures(5, size[1], size[0]):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
@pytest.mark.parametrize(("shape", "width"), [(WIDE, 228), (Fraction(1, 2), 80), (Fraction(1), 160)])
def test_pixels_that_are_not_square_are_shown_in_their_shape(
    shape: Fraction, width: int, suffix: str, tmp_path: Path
) -> None:
    path = encode_wide(tmp_path / f"clip{suffix}", shape)
    stored = decoded_in_order(path)
    frames = read_frames(path, range(5))
    assert frames.shape == (5, 120, width, 3)
    expected = np.stack([cv2.resize(f, (width, 120), interpolation=cv2.INTER_AREA) for f in stored])
    assert np.abs(frames.astype(int) - expected).mean() < 5
    assert np.array_equal(frames, stored) == (width == 160)
    assert np.array_equal(np.stack(list(all_frames(path))), frames)
    transcode(path, tmp_path / "copy.mp4")
    assert read_frames(tmp_path / "copy.mp4", [0]).shape == (1, 120, width, 3)


def test_pixels_are_stretched_before_a_video_is_turned(tmp_path: Path) -> None:
    path = encode_wide(tmp_path / "clip.mp4")
    lying = read_frames(path, range(5))
    with_matrix(path, *turned_by(90))
    assert np.array_equal(read_frames(path, range(5)), clockwise(lying))


def test_a_shape_of_pixels_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    path = encode_wide(tmp_path / "clip.mp4", Fraction(100))
    with pytest.raises(UnreadableVideo) as refusal:
        read_frames(path, [0])
    assert str(refusal.value) == f"{path}: states pixels that are 100 times as wide as high"


def write_two(path: Path, sizes: list[tuple[int, int]], default: int | None, cover: bool = False) -> None:
    """Streams of these sizes; the last of them may be a cover."""
    with av.open(str(path), "w") as container:
        streams = []
        for i, size in enumerate(sizes):
            is_cover = cover and i == len(sizes) - 1
            stream = container.add_stream("mjpeg" if is_cover else "libx264", rate=25)
            (stream.width, stream.height), stream.pix_fmt = size, "yuvj420p" if is_cover else "yuv420p"
            stream.disposition = Disposition.attached_pic if is_cover else Disposition(int(i == default))
            streams.append(stream)
        for stream in streams:
            count = 1 if stream.name == "mjpeg" else 6
            for picture in moving_pictures(count, stream.height, stream.width):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())


@pytest.mark.parametrize(
    ("name", "default", "cover", "width"),
    [
        ("second.mp4", 1, False, 160),
        ("second.mkv", 1, False, 160),
        ("first.mp4", 0, False, 64),
        ("first.mkv", 0, False, 64),
        ("none.mkv", None, False, 160),
        ("beside-a-cover.mp4", 0, True, 64),
    ],
)
def test_the_default_stream_is_read_else_the_largest(
    name: str, default: int | None, cover: bool, width: int, tmp_path: Path
) -> None:
    path = tmp_path / name
    write_two(path, [(64, 48), (160, 120)], default, cover)
    assert count_frames(path) == 6
    assert read_frames(path, [5]).shape[2] == width
    assert not plays_in_browsers(path)


def change_size(path: Path) -> None:
    """25 frames of 160 x 120, then 25 of 128 x 96, in one stream."""
    packets = []
    for size in ((160, 120), (128, 96)):
        encode(
            path.with_name(f"{size[0]}.webm"), "libvpx", {"deadline": "realtime", "cpu-used": "8"}, size=size, count=25
        )
        with av.open(str(path.with_name(f"{size[0]}.webm"))) as given:
            packets += [packet for packet in given.demux(video=0) if packet.size]
    with av.open(str(path.with_name("160.webm"))) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for i, packet in enumerate(packets):
            packet.pts = packet.dts = i * 40
            packet.stream = stream
            container.mux(packet)


def test_a_video_that_changes_its_size_is_refused_by_reader_and_check(tmp_path: Path) -> None:
    path = tmp_path / "clip.webm"
    change_size(path)
    said = f"{path}: its frames change their size, at frame 25"
    with pytest.raises(UnreadableVideo) as refusal:
        read_frames(path, range(50))
    assert str(refusal.value) == said
    assert check_clip(ClipCheck("a", str(path), "a", "train")).problem == said


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("clip.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}), ("clip.mp4", "libx264", {"bf": "0"})],
)
def test_a_file_that_was_cut_off_is_said_to_be(name: str, codec: str, options: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / name
    layout = {"movflags": "faststart"} if codec == "libx264" else {}
    encode(path, codec, options, count=60, container_options=layout)
    content = path.read_bytes().replace(b"DURATION", b"LASTNESS")
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.size]
    at = positions[36]
    path.write_bytes(content[: at - 12 if path.suffix == ".webm" else at])
    left = count_frames(path)
    assert left in (35, 36)
    said = check_clip(ClipCheck("a", str(path), "a", "train")).problem
    assert said == f"{path}: {left} of 60 frames are in it; it was cut off, or is damaged"
