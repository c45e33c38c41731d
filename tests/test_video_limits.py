"""Files that claim to be huge are refused in one sentence, before memory is taken for what they claim."""

import os
import struct
import time
import tracemalloc
import weakref
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sth_core.errors import UserError
from sth_core.prefetch import in_processes
from sth_core.video import count_frames, read_frames
from sth_core.video.container import BeyondLimit
from sth_core.video.fields import read_resized
from sth_core.video.images import jpeg_size
from sth_core.video.limits import VARIABLE, VideoLimits
from sth_core.video.transforms import Preprocessing, resize
from sth_core.video.turns import DECODING, LARGE, SHARED, a_turn, share_turns, shared_count, sharing_until_the_end
from workbench.uploads import decode_upload

ONE_FRAME = b"!\xf9\x04\x00\x0a\x00\x00\x00," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"


def gif(path: Path, width: int, height: int) -> Path:
    header = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    path.write_bytes(header + ONE_FRAME * 5 + b";")
    return path


def video(path: Path, width: int = 64, height: int = 48, frames: int = 12, **stream_options: object) -> Path:
    """MPEG-4 Part 2 of random pictures."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for name, value in stream_options.items():
            setattr(stream, name, value)
        for _ in range(frames):
            picture = random.integers(0, 255, (height, width, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def png(path: Path, side: int) -> None:
    """A black PNG of a few kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 + side // 8) * 10)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def folder_of_pngs(folder: Path) -> Path:
    for number in range(3):
        png(folder / f"{number:05d}.png", 30_000)
    return folder


def sparse_image(folder: Path) -> Path:
    png(folder / "00001.png", 8)
    os.truncate(folder / "00001.png", 50 * 2**30)
    return folder


def sparse_avi(folder: Path) -> Path:
    path = video(folder / "clip.avi")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"idx1")])
    os.truncate(path, 50 * 2**30)
    return path


@pytest.mark.parametrize(
    ("make", "limits", "sentence"),
    [
        (folder_of_pngs, "", r"00000.png: its pictures have 30000 x 30000 pixels; at most 16,777,216.*=900000000"),
        (sparse_image, "", r"00001.png: its file has 53,687,091,200 bytes; at most .*STH_VIDEO_LIMITS=pixels="),
        (lambda folder: gif(folder / "clip.gif", 20_000, 10_000), "", "20000 x 10000 pixels of 32 bits.*16,777,216"),
        (lambda folder: gif(folder / "clip.gif", 65_535, 65_535), "", "65535 x 65535 pixels.* at most 16,777,216"),
        (lambda folder: gif(folder / "clip.gif", 16_384, 1), "", "16384 x 1 pixels; a side may be at most 64 times"),
        (lambda folder: video(folder / "clip.mp4"), "pixels=3071", r"clip.mp4: its pictures have 64 x 48 pixels.*3072"),
        (lambda folder: video(folder / "clip.mp4"), "frames=11", r"clip.mp4: it has more than 11 frames; cut it"),
        (lambda folder: video(folder / "clip.avi"), "frames=11", r"clip.avi: it has more than 11 frames; cut it"),
        (sparse_avi, "seconds=1", r"clip.avi: no frame was found in 1 s.*STH_VIDEO_LIMITS=seconds=N"),
        (
            lambda folder: video(folder / "clip.mp4", sample_aspect_ratio=Fraction(4, 1)),
            "pixels=4000",
            "256 x 48 pixels; at most 4,000",
        ),
    ],
)  # fmt: skip
def test_what_claims_to_be_huge_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], limits: str, sentence: str
) -> None:
    path = make(tmp_path)
    monkeypatch.setenv(VARIABLE, limits)
    tracemalloc.start()
    with pytest.raises(BeyondLimit, match=sentence):
        count_frames(path)
        read_frames(path, [0])
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_raised_limit_reads_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gif(tmp_path / "clip.gif", 300, 2)
    with pytest.raises(BeyondLimit, match="elongation=150 reads it"):
        count_frames(path)
    monkeypatch.setenv(VARIABLE, " elongation=150, frames=5 ")
    assert read_frames(path, [4]).shape == (1, 2, 300, 3)


def test_a_header_that_lies_about_a_small_video_does_not_stop_its_reading(tmp_path: Path) -> None:
    """The pictures themselves say their size."""
    path = video(tmp_path / "clip.mp4")
    content = bytearray(path.read_bytes())
    entry = content.index(b"mp4v", content.index(b"stsd"))
    content[entry + 28 : entry + 32] = struct.pack(">HH", 65_535, 65_535)
    path.write_bytes(content)
    assert count_frames(path) == 12
    assert read_frames(path, [11]).shape[1] == 48


@pytest.mark.parametrize("text", ["pixels", "pixels=0", "pixels=1e6", "size=5", "frames=-1", "frames=" + "9" * 5000])
def test_limits_that_are_none_are_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:  # fmt: skip
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(UserError, match=f"{VARIABLE} must look like pixels=100000000.*got '{text[:9]}"):
        count_frames(video(tmp_path / "clip.mp4"))


def test_limits_are_the_defaults_where_none_are_given() -> None:
    assert VideoLimits.parse("") == VideoLimits(2**24, 64, 10**6, 10)
    assert VideoLimits.parse("frames=5,seconds=7") == VideoLimits(2**24, 64, 5, 7)


def test_deep_pixels_count_more() -> None:
    limits = VideoLimits(pixels=100)
    assert limits.of_picture(10, 10) is limits.of_picture(10, 10, 12) is limits.of_picture(10, 5, 24) is None
    assert (excess := limits.of_picture(10, 10, 24))
    assert "of 24 bits, as much as 200 of 12 bits" in excess.found


def test_frames_resized_one_by_one_equal_those_resized_together(tmp_path: Path) -> None:
    """And of a large video only one is kept at its own size."""
    path, wanted = video(tmp_path / "clip.mp4", 640, 480, 24), list(range(23, -1, -1))
    expected = resize(read_frames(path, wanted), 36)
    kept = []

    def weighed(frame: np.ndarray) -> np.ndarray:
        kept.append(weakref.ref(frame))
        return resize(frame[None], 36)[0]

    assert np.array_equal(read_frames(path, wanted, each=weighed), expected)
    assert np.array_equal(read_resized(path, wanted, 36), expected)
    assert len(kept) == 24 and not any(reference() is not None for reference in kept)


def test_an_upload_is_refused_without_a_way_that_only_the_server_has(tmp_path: Path) -> None:
    content = gif(tmp_path / "clip.gif", 20_000, 10_000).read_bytes()
    with pytest.raises(UserError, match=r"20000 x 10000 pixels.*; at most [\d,]+ in all are read$"):
        decode_upload(content, Preprocessing(frames=4, resize=36, crop=32))


def test_large_pictures_are_decoded_a_few_at_a_time() -> None:
    """Here 100 million pixels at once; a thread never waits for itself."""
    most, at_once, open_now = 100_000_000, [], []

    def decode(pixels: int) -> None:
        with a_turn(pixels, most), a_turn(pixels, most):  # the second is of a file opened meanwhile
            open_now.append(pixels)
            at_once.append(sum(open_now))
            time.sleep(0.01)
            open_now.remove(pixels)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [40_000_000] * 8))
    assert len(at_once) == 8 and max(at_once) <= 80_000_000 and DECODING == []
    with a_turn(LARGE - 1, 0), a_turn(LARGE - 1, 0):
        assert DECODING == []  # small ones take no turns


def test_processes_of_a_pool_take_turns_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One waits while another decodes a large picture, and never for itself; its turn lasts as long as its call."""
    monkeypatch.setattr("sth_core.video.turns.SHARED", [])
    monkeypatch.setattr("sth_core.video.turns.LONGEST", 0.0)
    count, entered = shared_count(get_context("spawn")), []
    share_turns(count)
    count.value = LARGE  # another process decodes one

    def decode() -> None:
        with sharing_until_the_end():
            with a_turn(LARGE, LARGE), a_turn(LARGE, LARGE):
                pass
            entered.append(count.value)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(decode)
        time.sleep(0.3)
        assert not entered and not waiting.done()
        count.value = 0
        waiting.result(120)
    assert entered == [LARGE] and count.value == 0 and DECODING == []


def test_a_pool_gives_its_processes_one_count() -> None:
    assert SHARED == [] and sorted(dict(in_processes(add_to_shared, {i: (i,) for i in range(3)}, 2)).values()) == [
        1, 2, 3,
    ]  # fmt: skip


def add_to_shared(_: int) -> int:
    [count] = SHARED
    with count.get_lock():
        count.value += 1
        return count.value


@pytest.mark.parametrize("size", [(1, 1), (17, 300), (1920, 1080)], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"comment": b"\xff\xc0" * 500},
        {"exif": b"Exif\x00\x00" + bytes(4000)},
        {"quality": 1},
    ],
    ids=str,
)
def test_the_size_in_a_jpegs_header_is_the_one_that_pillow_reads(size, options) -> None:
    file = BytesIO()
    Image.new("RGB", size).save(file, "JPEG", **options)
    content = file.getvalue()
    assert jpeg_size(content) == size
    start = content.index(b"\xff\xda")  # the first scan: every shorter part ends in the header
    assert {jpeg_size(content[:n]) for n in range(start)} <= {None, size}
    assert jpeg_size(content[:2] + b"\xff\xda" + content[2:]) is None


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "TIFF"])
def test_what_is_no_jpeg_has_no_size_in_its_jpeg_header(kind: str) -> None:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    assert jpeg_size(file.getvalue()) is None and jpeg_size(b"") is None
