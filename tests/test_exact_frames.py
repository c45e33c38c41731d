"""Frames of files of many kinds, made here, equal those of decoders that read from the first frame on."""

import os
import re
import sqlite3
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import decord
import numpy as np
import pytest
from av.video.frame import PictureType

from sth_core.video import count_frames, read_frames, timeline
from sth_core.video.container import ANY_METADATA
from tests.test_real_data import real_clips, twelve_interactions
from tests.test_video import moving_pictures

START_OF_FRAME = b"\x00\x00\x01\xb6"  # in MPEG-4
STUB = START_OF_FRAME + b"\x50\x00\x18\x7f"  # as DivX writes it for a B-frame that came before its turn


def encode(
    path: Path,
    codec: str,
    options: dict[str, str] | None = None,
    b_frames: int | None = None,
    count: int = 40,
    size: tuple[int, int] = (64, 48),
    pix_fmt: str = "yuv420p",
    times: np.ndarray | None = None,
    container_options: dict[str, str] | None = None,
) -> None:
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        (stream.width, stream.height), stream.pix_fmt, stream.options = size, pix_fmt, options or {}
        stream.codec_context.thread_count = 1  # on every machine the same file
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(moving_pictures(count, size[1], size[0])):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = int(times[i]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def packets_of(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def stream_copy(source: Path, path: Path, change: Callable[[int, av.Packet], av.Packet | None]) -> None:
    """What `ffmpeg -c copy` does, but for what becomes of each packet."""
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(p for p in given.demux(video=0) if p.size):
            if changed := change(number, packet):
                changed.stream = stream
                container.mux(changed)


def with_content(packet: av.Packet, content: bytes) -> av.Packet:
    other = av.Packet(content)
    other.pts, other.dts, other.time_base, other.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    other.is_keyframe = packet.is_keyframe
    return other


def later(packet: av.Packet, frames: int) -> av.Packet:
    step = int(Fraction(frames, 25) / packet.time_base)
    packet.pts, packet.dts = packet.pts + step, packet.dts + step
    return packet


X264 = {"bf": "3", "g": "12"}


def cut_inside_a_gop(path: Path) -> None:
    encode(path.with_name("whole.mp4"), "libx264", X264)
    stream_copy(path.with_name("whole.mp4"), path, lambda number, packet: packet if number >= 5 else None)


def cut_before_frames_that_lean_on_what_is_gone(path: Path) -> None:
    """At a keyframe, after which there are some that are shown before it."""
    encode(path.with_name("whole.mp4"), "libx265", X265)
    first = [packet.is_keyframe for packet in packets_of(path.with_name("whole.mp4"))].index(True, 1)
    stream_copy(path.with_name("whole.mp4"), path, lambda number, packet: packet if number >= first else None)


def begin_before_time_zero(path: Path) -> None:
    encode(path.with_name("whole.mp4"), "libx264", X264)
    stream_copy(path.with_name("whole.mp4"), path, lambda _, packet: later(packet, -7))


def copy_an_avi(path: Path) -> None:
    encode(path.with_name("source.avi"), "libx264", X264)
    stream_copy(path.with_name("source.avi"), path, lambda _, packet: packet)


def leave_a_gap(path: Path) -> None:
    """In AVI time passes by empty packets."""
    encode(path.with_name("source.avi"), "mpeg4", {"g": "10"}, b_frames=0)
    stream_copy(path.with_name("source.avi"), path, lambda number, packet: later(packet, 3 if number > 6 else 0))


def leave_a_frame_out(path: Path) -> None:
    """In MPEG-4 a packet may say that there is no frame at its time, here the 15th of 25 in a second."""
    encode(path.with_name("source.mp4"), "mpeg4", {"g": "10"}, b_frames=0)
    bits = f"01 0 1 {15:05b} 1 0 01111".replace(" ", "")  # predicted, same second, its 15th, not coded, stuffing
    nothing = START_OF_FRAME + int(bits, 2).to_bytes(2, "big")
    stream_copy(
        path.with_name("source.mp4"),
        path,
        lambda number, packet: with_content(packet, nothing) if number == 15 else packet,
    )


def hide_a_frame(path: Path) -> None:
    """VP8's reference frames that are never shown: the bit that says so."""
    encode(path.with_name("source.webm"), "libvpx", VPX)

    def hidden(packet: av.Packet) -> av.Packet:
        content = bytes(packet)
        return with_content(packet, bytes([content[0] & ~0x10]) + content[1:])

    stream_copy(path.with_name("source.webm"), path, lambda number, packet: hidden(packet) if number == 5 else packet)


def pack_b_frames(path: Path) -> None:
    """As DivX did: a B-frame travels with the frame that it leans on, and a stub in its place."""
    encode(path.with_name("source.avi"), "mpeg4", {"g": "10"}, b_frames=1)
    contents: list[bytes] = []
    for packet in packets_of(path.with_name("source.avi")):
        content = re.sub(rb"\x00\x00\x01\xb2Lavc[\d.]*", b"\x00\x00\x01\xb2DivX503b2816p", bytes(packet))
        if picture_type_in(content) == "B":
            contents[-1] += content
            content = STUB
        contents.append(content)
    stream_copy(path.with_name("source.avi"), path, lambda number, packet: with_content(packet, contents[number]))


def picture_type_in(content: bytes) -> str:
    return "IPBS"[content[content.index(START_OF_FRAME) + 4] >> 6]


@dataclass(frozen=True)
class Kind:
    make: Callable[[Path], None]
    way: str = "seek"  # from the keyframe before; "start": from the first; "order": without leaving any frame out
    frames: int = 40
    opencv: bool = True  # decodes it, to the same colours
    decord: bool = False  # the same, from the first frame on, if not from another


X265 = {"x265-params": "keyint=12:bframes=3:pools=none:log-level=none"}
SVT = {"preset": "12", "g": "12", "svtav1-params": "lp=1"}
VPX = {"deadline": "realtime", "cpu-used": "8", "g": "12"}
IRREGULAR = np.cumsum(np.random.default_rng(0).integers(7, 150, 40))
KINDS = {
    "h264.mp4": Kind(partial(encode, codec="libx264", options=X264), decord=True),
    "h264.mkv": Kind(partial(encode, codec="libx264", options=X264)),
    "open-gop.mp4": Kind(
        partial(encode, codec="libx264", options=X264 | {"x264-params": "open-gop=1:b-adapt=0"}),
        decord=True,
    ),
    "intra-refresh.mp4": Kind(
        partial(encode, codec="libx264", options={"g": "12", "x264-params": "intra-refresh=1"}), decord=True
    ),
    "fragmented.mp4": Kind(
        partial(encode, codec="libx264", options=X264, container_options={"movflags": "frag_keyframe+empty_moov"}),
        decord=True,
    ),
    "variable-rate.mp4": Kind(partial(encode, codec="libx264", options=X264, times=IRREGULAR), decord=True),
    "hevc.mp4": Kind(partial(encode, codec="libx265", options=X265), decord=True),
    "vp9.webm": Kind(partial(encode, codec="libvpx-vp9", options=VPX), decord=True),
    "vp8.webm": Kind(partial(encode, codec="libvpx", options=VPX), decord=True),
    "vp8-hidden-frame.webm": Kind(hide_a_frame, frames=39),
    "av1.mp4": Kind(partial(encode, codec="libsvtav1", options=SVT), opencv=False),
    "mpeg4-b.mp4": Kind(partial(encode, codec="mpeg4", options={"g": "10"}, b_frames=2), decord=True),
    "mpeg4-frame-left-out.mp4": Kind(leave_a_frame_out, frames=39),
    "mpeg4.avi": Kind(partial(encode, codec="mpeg4", options={"g": "5"}, b_frames=0)),
    "mpeg4-gap.avi": Kind(leave_a_gap),
    "mpeg4-b.avi": Kind(partial(encode, codec="mpeg4", options={"g": "10"}, b_frames=2), way="start"),
    "mpeg4-packed.avi": Kind(pack_b_frames, way="order"),
    "h264.avi": Kind(partial(encode, codec="libx264", options={"bf": "0", "g": "12"})),
    "h264-b.avi": Kind(partial(encode, codec="libx264", options=X264), way="order"),
    "h264-of-an-avi.mp4": Kind(copy_an_avi, way="order"),
    "h264-of-an-avi.mkv": Kind(copy_an_avi, way="order"),
    "h264.ts": Kind(partial(encode, codec="libx264", options=X264), way="start"),
    "mpeg2.mpg": Kind(partial(encode, codec="mpeg2video", options={"bf": "2", "g": "12"}), way="start"),
    "cut-inside-a-gop.mp4": Kind(cut_inside_a_gop, frames=28),
    "cut-inside-a-gop.mkv": Kind(cut_inside_a_gop, frames=28),
    "cut-at-a-keyframe.mp4": Kind(cut_before_frames_that_lean_on_what_is_gone, frames=28),
    "begins-before-zero.mp4": Kind(begin_before_time_zero, frames=33),
    "63x47.mp4": Kind(partial(encode, codec="libx264", options=X264, size=(63, 47), pix_fmt="yuv444p"), decord=True),
    "63x47.webm": Kind(partial(encode, codec="libvpx-vp9", options=VPX, size=(63, 47)), opencv=False),
    "2x2.mp4": Kind(partial(encode, codec="libx264", size=(2, 2))),
    "1x1.avi": Kind(partial(encode, codec="mjpeg", size=(1, 1), pix_fmt="yuvj420p")),
    "1x1.mkv": Kind(partial(encode, codec="ffv1", size=(1, 1), pix_fmt="bgr0")),
    "one-frame.mp4": Kind(partial(encode, codec="libx264", count=1), frames=1, decord=True),
    "one-frame.avi": Kind(partial(encode, codec="mpeg4", count=1), frames=1),
    "10-bit.mp4": Kind(partial(encode, codec="libx265", options=X265, pix_fmt="yuv420p10le"), opencv=False),
    "grey.mkv": Kind(partial(encode, codec="ffv1", pix_fmt="gray")),
}


class Video(NamedTuple):
    path: Path
    kind: Kind
    whole: np.ndarray


def decoded_in_order(path: Path) -> np.ndarray:
    with av.open(str(path), **ANY_METADATA) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module", params=KINDS)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Video:
    path, kind = tmp_path_factory.mktemp("video") / request.param, KINDS[request.param]
    kind.make(path)
    return Video(path, kind, decoded_in_order(path))


def make(name: str, folder: Path) -> Path:
    KINDS[name].make(folder / name)
    return folder / name


def picks(count: int, times: int = 12) -> list[list[int]]:
    """Some frames in any order, some of them twice."""
    rng = np.random.default_rng(count)
    return [rng.integers(0, count, size).tolist() for size in rng.integers(1, 9, times)]


def test_any_frames_in_any_order_equal_those_of_a_full_decode(video: Video) -> None:
    for indices in picks(video.kind.frames):
        assert np.array_equal(read_frames(video.path, indices), video.whole[indices]), indices


def test_each_frame_alone_equals_that_of_a_full_decode(video: Video) -> None:
    for index, frame in enumerate(video.whole):
        assert np.array_equal(read_frames(video.path, [index])[0], frame), index


def test_all_frames_equal_a_full_decode(video: Video) -> None:
    assert np.array_equal(read_frames(video.path, range(video.kind.frames)), video.whole)


def test_frames_are_counted_as_they_decode(video: Video) -> None:
    assert count_frames(video.path) == len(video.whole) == video.kind.frames


def test_a_second_process_reads_the_same(video: Video) -> None:
    count_frames(video.path)
    timeline._timeline.cache_clear()
    for indices in picks(video.kind.frames, 3):
        assert np.array_equal(read_frames(video.path, indices), video.whole[indices]), indices


def test_no_more_is_decoded_than_the_times_in_the_file_require(video: Video) -> None:
    line = timeline.timeline(video.path)
    if line.times is None:
        way = "order"
    else:
        way = "seek" if len(line.keyframes) == sum(packet.is_keyframe for packet in packets_of(video.path)) else "start"
    assert way == video.kind.way, line.reason


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.opencv])
def test_opencv_decodes_the_same_frames(name: str, tmp_path: Path) -> None:
    path = make(name, tmp_path)
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    assert np.array_equal(read_frames(path, range(KINDS[name].frames)), np.stack(frames))


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.decord])
def test_decord_decodes_the_same_frames_in_order(name: str, tmp_path: Path) -> None:
    path = make(name, tmp_path)
    reader = decord.VideoReader(str(path))
    frames = np.stack([reader[i].asnumpy() for i in range(len(reader))])
    assert np.array_equal(read_frames(path, range(KINDS[name].frames)), frames)


@pytest.mark.parametrize("name", ["mpeg4-b.avi", "mpeg4-packed.avi", "hevc.mp4", "cut-inside-a-gop.mp4"])
def test_random_access_of_decord_gives_other_frames_which_is_why_it_is_not_used(name: str, tmp_path: Path) -> None:
    path, indices = make(name, tmp_path), [3, 9, 15, 21, 25]
    expected = decoded_in_order(path)[indices]
    assert not np.array_equal(decord.VideoReader(str(path)).get_batch(indices).asnumpy(), expected)
    assert np.array_equal(read_frames(path, indices), expected)


def picture_types(path: Path) -> str:
    with av.open(str(path)) as container:
        return "".join(PictureType(frame.pict_type).name for frame in container.decode(video=0))


@pytest.mark.parametrize(
    ("name", "has_b_frames"),
    [("h264.mp4", True), ("hevc.mp4", True), ("mpeg4-b.avi", True), ("mpeg4-packed.avi", True), ("mpeg4.avi", False)],
)
def test_the_files_have_several_groups_of_pictures_and_the_b_frames_of_their_name(
    name: str, has_b_frames: bool, tmp_path: Path
) -> None:
    types = picture_types(make(name, tmp_path))
    assert ("B" in types) == has_b_frames and types.count("I") >= 4


def test_an_open_group_has_frames_that_are_shown_before_the_keyframe_they_come_after(tmp_path: Path) -> None:
    packets = packets_of(make("open-gop.mp4", tmp_path))
    assert sum(packet.is_keyframe and after.pts < packet.pts for packet, after in pairwise(packets)) >= 2


def test_packed_b_frames_lie_in_their_file_as_in_those_of_hmdb(tmp_path: Path) -> None:
    path = make("mpeg4-packed.avi", tmp_path)
    contents = [bytes(packet) for packet in packets_of(path)]
    assert b"DivX503b2816p" in contents[0]
    assert [content.count(START_OF_FRAME) for content in contents[:6]] == [1, 2, 1, 2, 1, 2]
    assert [content == STUB for content in contents[:6]] == [False, False, True, False, True, False]


@pytest.mark.parametrize("name", ["cut-inside-a-gop.mp4", "begins-before-zero.mp4"])
def test_an_edit_list_hides_frames_of_these_files(name: str, tmp_path: Path) -> None:
    assert any(packet.is_discard for packet in packets_of(make(name, tmp_path)))


def test_pyav_comes_with_the_encoders_of_hevc_and_av1() -> None:
    assert {"libx265", "libsvtav1"} <= av.codecs_available


TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # clockwise


@pytest.mark.parametrize("degrees", TURNS)
def test_a_video_filmed_with_the_camera_turned_is_given_upright(degrees: int, tmp_path: Path) -> None:
    path = make("h264.mp4", tmp_path)
    lying = decoded_in_order(path)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in TURNS[degrees])
    content[matrix : matrix + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    indices = [31, 2, 2, 17]
    upright = read_frames(path, indices)
    assert np.array_equal(upright, np.rot90(lying[indices], -degrees // 90, (1, 2)))
    read, frame = cv2.VideoCapture(str(path)).read()
    assert read and np.array_equal(read_frames(path, [0])[0], frame[..., ::-1])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this test, still empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    clear_process_cache()
    return tmp_path / "cache" / "sth-workbench" / "videos.sqlite"


def clear_process_cache() -> None:
    timeline._timeline.cache_clear()


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded from beginning to end."""
    names: list[str] = []
    decode = timeline.decode_everything

    def counted(path: Path, *args: Any, **more: Any) -> Any:
        names.append(path.name)
        return decode(path, *args, **more)

    monkeypatch.setattr(timeline, "decode_everything", counted)
    return names


@pytest.mark.parametrize("name", ["mpeg4.avi", "mpeg4-b.avi", "h264-b.avi", "h264.ts", "h264-of-an-avi.mp4"])
def test_a_file_is_decoded_once_for_all_processes(name: str, cache: Path, decodings: list[str], tmp_path: Path) -> None:
    path = make(name, tmp_path)
    first = timeline.timeline(path)
    clear_process_cache()
    again = timeline.timeline(path)
    assert decodings == [name]
    assert np.array_equal(again.times, first.times) and again.frames == first.frames == 40
    assert again.reason == first.reason


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "vp9.webm", "av1.mp4"])
def test_what_files_are_today_is_not_decoded_at_all_to_count_its_frames(
    name: str, cache: Path, decodings: list[str], tmp_path: Path
) -> None:
    assert count_frames(make(name, tmp_path)) == 40
    assert decodings == [] and not cache.exists()


def test_a_file_that_changes_is_decoded_anew(cache: Path, decodings: list[str], tmp_path: Path) -> None:
    path = make("mpeg4-b.avi", tmp_path)
    count_frames(path)
    encode(path, "mpeg4", {"g": "10"}, b_frames=0, count=25)
    for _ in range(2):
        clear_process_cache()
        assert count_frames(path) == 25
        assert np.array_equal(read_frames(path, [24, 3]), decoded_in_order(path)[[24, 3]])
    assert len(decodings) == 2


def test_a_file_of_the_same_size_and_another_time_is_decoded_anew(
    cache: Path, decodings: list[str], tmp_path: Path
) -> None:
    path = make("mpeg4.avi", tmp_path)
    count_frames(path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert count_frames(path) == 40
    assert len(decodings) == 2


def test_a_moved_file_is_not_taken_for_another(cache: Path, tmp_path: Path) -> None:
    path, other = make("mpeg4.avi", tmp_path), tmp_path / "other.avi"
    encode(other, "mpeg4", {"g": "10"}, b_frames=2, count=15)
    count_frames(path), count_frames(other)
    other.rename(path)
    assert count_frames(path) == 15


def damage_cache(cache: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "no folder can be made":
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parents[2] / "file"))
        (cache.parents[2] / "file").touch()
    elif how == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home directory")))
    elif how == "it is a folder":
        cache.mkdir(parents=True)
    elif how == "garbage":
        cache.parent.mkdir(parents=True)
        cache.write_bytes(b"this is no database" * 1000)
    elif how == "another table":
        timeline._cache().close()
        with closing(sqlite3.connect(cache)) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                database.execute(f"DROP TABLE {table}")
                database.execute(f"CREATE TABLE {table} (path TEXT)")


@pytest.mark.parametrize("how", ["no folder can be made", "no home", "it is a folder", "garbage", "another table"])
def test_a_cache_that_cannot_be_used_harms_nothing(
    how: str, cache: Path, decodings: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = make("mpeg4-b.avi", tmp_path)
    damage_cache(cache, how, monkeypatch)
    for _ in range(2):
        clear_process_cache()
        assert count_frames(path) == 40
        assert np.array_equal(read_frames(path, [21, 3]), decoded_in_order(path)[[21, 3]])
    assert len(decodings) == 2


def test_threads_read_the_same_files_at_once(cache: Path, tmp_path: Path) -> None:
    names = ["h264.mp4", "open-gop.mp4", "vp9.webm", "mpeg4.avi", "mpeg4-packed.avi", "cut-inside-a-gop.mp4"]
    whole = {path: decoded_in_order(path) for path in (make(name, tmp_path) for name in names)}
    jobs = [(path, indices) for path in whole for indices in picks(len(whole[path]), 8)]

    def read(job: tuple[Path, list[int]]) -> np.ndarray:
        return read_frames(*job)

    shuffled = [jobs[i] for i in np.random.default_rng(0).permutation(len(jobs))]
    with ThreadPoolExecutor(8) as pool:
        for (path, indices), frames in zip(shuffled, pool.map(read, shuffled), strict=True):
            assert np.array_equal(frames, whole[path][indices]), (path.name, indices)


@pytest.mark.real_data
def test_any_frames_of_real_videos_equal_those_of_a_full_decode(real_data: Path) -> None:
    timeline._timeline.cache_clear()
    for path in [*real_clips(real_data), *twelve_interactions(real_data)]:
        whole = decoded_in_order(path)
        assert count_frames(path) == len(whole), path.name
        for indices in [*picks(len(whole), 2), range(len(whole))]:
            assert np.array_equal(read_frames(path, indices), whole[indices]), (path.name, indices)


@pytest.mark.real_data
def test_opencv_decodes_the_same_frames_of_real_videos(real_data: Path) -> None:
    for path in [*real_clips(real_data), *list(twelve_interactions(real_data))[::6]]:
        capture, count = cv2.VideoCapture(str(path)), count_frames(path)
        frames = [capture.read()[1][..., ::-1] for _ in range(count)]
        assert not capture.read()[0], path.name
        assert np.array_equal(read_frames(path, range(count)), np.stack(frames)), path.name
