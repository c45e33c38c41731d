"""Files that are to be shown otherwise than they are stored, or that break the rules: each made here."""

import struct
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import PictureType

from sth_core.datasets.check import ClipCheck, check_clip
from sth_core.video import UnreadableVideo, count_frames, read_frames, timeline
from sth_core.video.bits import BitReader
from sth_core.video.container import opened
from sth_core.video.decoding import all_frames, numbered_frames
from sth_core.video.display import Screen
from sth_core.video.encoding import plays_in_browsers, transcode
from sth_core.video.packets import read_packets
from tests.test_exact_frames import decoded_in_order, encode, packets_of, picks
from tests.test_unreadable import damage, decoded_in_spite_of_damage
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


# Files whose packets are not their frames, or do not have their frames' times.


class BitWriter:
    def __init__(self) -> None:
        self.bits = ""

    def u(self, value: int, bits: int = 1) -> "BitWriter":
        self.bits += f"{value:0{bits}b}"
        return self

    def ue(self, *values: int) -> "BitWriter":
        for value in values:
            self.bits += "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"
        return self

    def unit(self, header: int) -> bytes:
        """A NAL unit in a raw H.264 file."""
        bits = self.bits + "1"
        content = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))
        return b"\0\0\0\1" + bytes([header]) + content.replace(b"\0\0", b"\0\0\3")


def raw_fields(count: int) -> bytes:
    """H.264 in fields: frames of 16 x 32 pixels, whose two macroblocks, one in each field, hold plain bytes."""
    parameters = BitWriter().u(77, 8).u(0, 8).u(30, 8).ue(0, 0, 0, 4, 1).u(0).ue(0, 0).u(0b001, 3).u(0).u(0)
    pictures = BitWriter().ue(0, 0).u(0, 2).ue(0, 0, 0).u(0, 3).ue(0, 0, 0).u(0b100, 3)
    content = parameters.unit(0x67) + pictures.unit(0x68)
    for number in range(count):
        for bottom in (0, 1):
            first = number == 0 and not bottom
            field = BitWriter().ue(0, 7, 0).u(number % 16, 4).u(1).u(bottom)
            if first:
                field.ue(0)
            field.u((2 * number + bottom) % 256, 8).u(0, 2 if first else 1).ue(0, 1).ue(25)
            field.bits += "0" * (-len(field.bits) % 8)
            for value in [30 + (number * 7 + 60 * bottom) % 200] * 256 + [128] * 128:
                field.u(value, 8)
            content += field.unit(0x65 if first else 0x61)
    return content


def code_in_fields(path: Path) -> None:
    path.with_suffix(".h264").write_bytes(raw_fields(20))
    with av.open(str(path.with_suffix(".h264"))) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(p for p in given.demux(video=0) if p.size):
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 50), stream
            container.mux(packet)


def leave_reordering_unsaid(path: Path) -> None:
    """The file does not say how many frames wait for another, and none does until frame 40."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"g": "250", "bf": "3", "profile": "main", "x264-params": "b-adapt=0:b-pyramid=normal"}
        stream.codec_context.thread_count = 1
        for i, picture in enumerate(moving_pictures(80)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pict_type = PictureType.P if i < 40 else PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        extradata = bytes(container.streams.video[0].codec_context.extradata)
    parameters = extradata[8 : 8 + int.from_bytes(extradata[6:8])]
    shorter = without_usability_information(parameters)
    content = path.read_bytes()
    assert content.count(parameters) == 1
    path.write_bytes(content.replace(parameters, shorter.ljust(len(parameters), b"\0")))


def without_usability_information(parameters: bytes) -> bytes:
    bits = "".join(f"{byte:08b}" for byte in parameters[4:])
    r = BitReader(parameters[4:])
    r.ue(), r.ue(), r.ue(), r.ue(), r.ue(), r.u(1), r.ue(), r.ue(), r.u(2)
    if r.u(1):
        r.ue(), r.ue(), r.ue(), r.ue()
    left = bits[: len(bits) - r.left] + "01"
    return parameters[:4] + int(left.ljust(-(-len(left) // 8) * 8, "0"), 2).to_bytes(-(-len(left) // 8))


def write_packets(path: Path, template: Path, packets: list[av.Packet]) -> None:
    with av.open(str(template)) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for packet in packets:
            packet.stream = stream
            container.mux(packet)


def join_open_groups(path: Path, codec: str, options: dict[str, str], until: int, begin: int) -> None:
    """A video until a keyframe, joined with the same from another keyframe on; frames shown before that refer to some
    that are missing now."""
    source = path.with_name(f"source{path.suffix}")
    encode(source, codec, options)
    keyframes = [i for i, packet in enumerate(packets_of(source)) if packet.is_keyframe]
    first, second = packets_of(source)[: keyframes[until]], packets_of(source)[keyframes[begin] :]
    step = sorted(packet.pts for packet in first)[1]
    offset = max(packet.pts for packet in first) + step - min(packet.pts for packet in second)
    for packet in second:
        packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
    write_packets(path, source, first + second)


def swap_times(path: Path) -> None:
    """The times of two frames, which are decoded one after the other and shown in the order of their counts."""
    source = path.with_name(f"source{path.suffix}")
    encode(source, "libx264", {"bf": "0", "g": "12"}, times=np.arange(40) * 80)
    packets = packets_of(source)
    for one, other in ((packets[5], packets[6]), (packets[20], packets[21])):
        step = other.pts - one.pts
        one.pts, other.pts = other.pts, one.pts
        one.dts, other.dts = one.dts - step // 2, one.dts - step // 4
    write_packets(path, source, packets)


def empty_samples(path: Path) -> None:
    """Three samples get no bytes; theirs belong to those before them."""
    encode(path, "mjpeg", pix_fmt="yuvj420p")
    content = bytearray(path.read_bytes())
    start = content.index(b"stsz") + 16
    sizes = list(struct.unpack(">40I", content[start : start + 160]))
    for i in (9, 21, 30):
        sizes[i - 1], sizes[i] = sizes[i - 1] + sizes[i], 0
    content[start : start + 160] = struct.pack(">40I", *sizes)
    path.write_bytes(content)


def change_parameters(path: Path) -> None:
    """Two pieces by different settings; the second brings its parameters with it."""
    pieces = []
    for i, params in enumerate(("bframes=3:ref=4:repeat-headers=1", "bframes=0:ref=1:cabac=0:repeat-headers=1")):
        pieces.append(path.with_name(f"{i}.mp4"))
        encode(pieces[-1], "libx264", {"g": "12", "x264-params": params})
    first, second = map(packets_of, pieces)
    step = sorted(packet.pts for packet in first)[1]
    for packet in second:
        packet.pts, packet.dts = packet.pts + 40 * step, packet.dts + 40 * step
    write_packets(path, pieces[0], first + second)


X264_OPEN = X264 | {"x264-params": "open-gop=1:b-adapt=0"}
X265_OPEN = {"x265-params": "keyint=12:bframes=3:b-adapt=0:pools=none:log-level=none"}
X265_CLOSED = {"x265-params": "keyint=12:bframes=4:open-gop=0:radl=2:pools=none:log-level=none"}
ALT_REF = {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "15", "b": "40000", "cpu-used": "8"}
JOINED = "frames of it are missing, or it was joined from pieces"
PROVEN = "proven"  # nothing was decoded to know the frames
ODD: dict[str, tuple[Callable[[Path], None], int | None, str]] = {  # how to make it, its frames, why it must be decoded
    "fields.mp4": (code_in_fields, 20, "it is coded in fields"),
    "unsaid-pyramid.mkv": (leave_reordering_unsaid, 79, "it does not say how many frames wait for one"),
    "joined.mkv": (partial(join_open_groups, codec="libx264", options=X264_OPEN, until=2, begin=1), 42, JOINED),
    "joined.mp4": (partial(join_open_groups, codec="libx265", options=X265_OPEN, until=2, begin=1), 38, JOINED),
    "left-out.mp4": (partial(join_open_groups, codec="libx265", options=X265_OPEN, until=1, begin=2), None, JOINED),
    "swapped-times.mp4": (swap_times, 40, "in another order than that of their times"),
    "empty-samples.mov": (empty_samples, 37, "its format does not prove"),
    "changed-parameters.mp4": (change_parameters, 80, "its parameters change"),
    "plain.mp4": (partial(encode, codec="libx264", options=X264), 40, PROVEN),
    "without-b.mp4": (partial(encode, codec="libx264", options={"profile": "baseline", "g": "12"}), 40, PROVEN),
    "pyramid.mkv": (partial(encode, codec="libx264", options={"bf": "8", "x264-params": "b-adapt=0"}), 40, PROVEN),
    "interlaced.mp4": (partial(encode, codec="libx264", options={"x264-params": "tff=1:keyint=12"}), 40, PROVEN),
    "open.mkv": (partial(encode, codec="libx264", options=X264_OPEN), 40, "at each of its keyframes"),
    "slices.mp4": (partial(encode, codec="libx264", options={"x264-params": "slices=3:aud=1:keyint=9"}), 40, PROVEN),
    "open-hevc.mkv": (partial(encode, codec="libx265", options=X265_OPEN), 40, PROVEN),
    "closed-hevc.mp4": (partial(encode, codec="libx265", options=X265_CLOSED), 40, PROVEN),
    "hidden-frames.webm": (partial(encode, codec="libvpx-vp9", options=ALT_REF), 40, PROVEN),
}


@pytest.mark.parametrize("name", ODD)
def test_frames_of_odd_files_are_those_of_a_full_decode(name: str, tmp_path: Path) -> None:
    make, count, reason = ODD[name]
    path = tmp_path / name
    make(path)
    whole = decoded_in_spite_of_damage(path)
    assert count_frames(path) == len(whole) == (count or len(whole))  # FFmpeg 7 gives other frames than 8
    for process in range(2):
        timeline._timeline.cache_clear()
        for i in range(len(whole)):
            assert np.array_equal(read_frames(path, [i])[0], whole[i]), i
        for indices in picks(len(whole), 6 if process else 2):
            assert np.array_equal(read_frames(path, indices), whole[indices]), indices
    assert np.array_equal(np.stack(list(all_frames(path))), whole)
    with opened(path) as (container, stream):
        packets = read_packets(path, container, stream)
    assert (packets.unproven or PROVEN).find(reason) >= 0
    assert (timeline.timeline(path).checksums is None) == (reason == PROVEN)


def test_one_damaged_packet_is_a_damaged_frame_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(path, "libx264", X264)
    damage(path, 27, lambda content: b"\xff" * 4 + content[4:])
    whole = decoded_in_spite_of_damage(path)
    assert len(whole) == 39
    frames = {number: pixels for number, pixels, _ in numbered_frames(path)}
    (lost,) = set(range(40)) - set(frames)
    assert count_frames(path) == 40 and 12 < lost < 36
    assert np.array_equal(np.stack(list(frames.values())), whole)
    for number, frame in frames.items():
        assert np.array_equal(read_frames(path, [number])[0], frame), number
    said = f"{path}: frames [{lost}] cannot be decoded"
    for use in (lambda: read_frames(path, [3, lost]), lambda: list(all_frames(path))):
        with pytest.raises(UnreadableVideo) as refusal:
            use()
        assert str(refusal.value) == said
    checked = check_clip(ClipCheck("a", str(path), "a", "train"))
    assert checked.problem.startswith(f"{path}: 39 of 40 frames can be decoded; damaged: {lost}")
    transcode(path, tmp_path / "copy.mp4")
    assert count_frames(tmp_path / "copy.mp4") == 40


def test_a_check_finds_that_a_seek_gives_other_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the three frames that are read alone."""
    path = tmp_path / "clip.mp4"
    encode(path, "libx264", X264)
    assert check_clip(ClipCheck("a", str(path), "a", "train")).exact
    show = Screen.show
    shown = {"frames": 0}

    def wrong_at_last(screen: Screen, frame: av.VideoFrame) -> np.ndarray:
        shown["frames"] += 1
        return show(screen, frame) ^ np.uint8(shown["frames"] > 40 + 3 + 5)  # the full decode, and the three

    monkeypatch.setattr(Screen, "show", wrong_at_last)
    assert not check_clip(ClipCheck("a", str(path), "a", "train")).exact
