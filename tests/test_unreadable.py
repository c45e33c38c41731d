"""Files without readable frames, or with some: one sentence that names the file; and unusual file names that work."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from sth_core.errors import UserError
from sth_core.video import UnreadableVideo, count_frames, read_frames
from sth_core.video.container import ANY_METADATA
from sth_core.video.decoding import VIDEO_SUFFIXES
from tests.test_video import KINDS, decode_everything, encode

H264, MPEG4_B, VP9 = (KINDS[name] for name in ("h264.mp4", "mpeg4.avi", "vp9.webm"))


def refusals(path: Path) -> set[str]:
    """What is said of a file, whether its frames are counted or read."""
    said = set()
    for use in (count_frames, lambda path: read_frames(path, [0])):
        with pytest.raises(UnreadableVideo) as refusal:
            use(path)
        said.add(str(refusal.value))
    return said


def decoded_in_spite_of_damage(path: Path) -> np.ndarray:
    """What `ffmpeg -vsync 0` gives. By one thread: how damage is patched up depends on their number."""
    frames: list[np.ndarray] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for packet in [*(packet for packet in container.demux(stream) if packet.size), None]:
            with suppress(av.error.InvalidDataError):
                frames += [frame.to_ndarray(format="rgb24") for frame in stream.decode(packet)]
    return np.stack(frames)


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def move_contents_to_the_front(path: Path) -> Path:
    """Copy an mp4 so that its table of contents comes before the frames."""
    other = path.with_name(f"front-{path.name}")
    with (
        av.open(str(path)) as given,
        av.open(str(other), "w", container_options={"movflags": "faststart"}) as container,
    ):
        stream = container.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    content = other.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    return other


def test_what_is_refused_is_an_error_of_the_user_who_sees_no_traceback() -> None:
    assert issubclass(UnreadableVideo, UserError)


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_an_empty_file_is_called_empty(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip{suffix}"
    path.touch()
    assert refusals(path) == {f"{path}: not a video that can be decoded (empty)"}


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
@pytest.mark.parametrize(
    "content",
    [np.random.default_rng(0).bytes(50_000), bytes(50_000), b"<!DOCTYPE html><html>404</html>" * 99, b"PK\3\4" * 999],
    ids=["noise", "zeros", "html", "zip"],
)
def test_garbage_is_no_video(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(content)
    (said,) = refusals(path)
    assert said in {
        f"{path}: not a video that can be decoded (Invalid data found when processing input)",
        f"{path}: not a video that can be decoded (of a format that holds no video)",
        f"{path}: not a video that can be decoded (it ends too early)",  # .gif
    }


def image(suffix: str) -> bytes:
    return cv2.imencode(suffix, np.zeros((48, 64, 3), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    "content",
    [
        image(".jpg"),
        image(".png"),
        b"ffconcat version 1.0\nfile other.mp4\n",
        b"1\n00:00:01,000 --> 00:00:04,000\nHello\n\n",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"></svg>',
    ],
    ids=["jpeg", "png", "playlist", "subtitles", "svg"],
)
def test_what_ffmpeg_would_open_but_is_no_video_is_refused(content: bytes, tmp_path: Path) -> None:
    encode(tmp_path / "other.mp4", *H264)
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert refusals(path) == {f"{path}: not a video that can be decoded (of a format that holds no video)"}


def test_a_playlist_reaches_no_other_file(tmp_path: Path) -> None:
    encode(tmp_path / "other.ts", *H264)
    path = tmp_path / "clip.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nother.ts\n#EXT-X-ENDLIST\n")
    refusals(path)


@pytest.mark.parametrize(
    ("name", "kind"), [("avi.mp4", MPEG4_B), ("webm.avi", VP9), ("mp4.webm", H264)], ids=["avi", "webm", "mp4"]
)
def test_a_video_under_the_suffix_of_another_container_is_read_exactly(name: str, kind: tuple, tmp_path: Path) -> None:
    path = encode(tmp_path / f"clip.{name.split('.')[0]}", *kind).rename(tmp_path / name)
    whole = decode_everything(path)
    assert count_frames(path) == len(whole) == 30
    assert np.array_equal(read_frames(path, [28, 3, 3, 17]), whole[[28, 3, 3, 17]])


def write_sound(path: Path, cover: bool = False) -> None:
    with av.open(str(path), "w") as container:
        if cover:
            pictures = container.add_stream("mjpeg", rate=1)
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuvj420p"
            pictures.disposition = Disposition.attached_pic
        stream = container.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48000
        if cover:
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
            container.mux(pictures.encode())
        container.mux(stream.encode(sound))
        container.mux(stream.encode())


@pytest.mark.parametrize("cover", [False, True], ids=["sound", "sound with a cover"])
def test_sound_is_no_video_even_with_a_picture_on_its_cover(cover: bool, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_sound(path, cover)
    assert refusals(path) == {f"{path}: has no video stream"}


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "libx264"), (".avi", "mpeg4"), (".webm", "libvpx-vp9"), (".mkv", "libx264")]
)
def test_a_video_without_a_frame_is_refused(suffix: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    assert refusals(path) <= {
        f"{path}: no frame can be decoded",
        f"{path}: has no video stream",
        f"{path}: not a video that can be decoded (it ends too early)",
    }


def test_a_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", *H264)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    assert refusals(path) == {f"{path}: FFmpeg has no decoder for its video"}


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_mp4_with_its_contents_at_the_end_is_refused(share: float, tmp_path: Path) -> None:
    path = cut(encode(tmp_path / "clip.mp4", *H264), share)
    (said,) = refusals(path)
    assert said in {
        f"{path}: not a video that can be decoded (Invalid data found when processing input)",
        f"{path}: not a video that can be decoded (it ends too early)",
    }


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.avi", "clip.ts"])
def test_a_truncated_file_has_the_frames_that_are_left(name: str, share: float, tmp_path: Path) -> None:
    kinds = {".mp4": H264, ".webm": VP9, ".avi": MPEG4_B, ".ts": H264}
    path = encode(tmp_path / name, *kinds[Path(name).suffix])
    path = cut(move_contents_to_the_front(path) if name == "clip.mp4" else path, share)
    left = decoded_in_spite_of_damage(path)
    assert count_frames(path) == len(left) < 30
    assert np.array_equal(read_frames(path, range(len(left))), left)
    for index in {0, len(left) // 2, len(left) - 1}:
        assert np.array_equal(read_frames(path, [index])[0], left[index])
    with pytest.raises(UnreadableVideo, match=rf"^{path}: has frames 0 to {len(left) - 1}, asked for \[{len(left)}\]$"):
        read_frames(path, [len(left)])


def damage(path: Path, number: int, damaged: Callable[[bytes], bytes]) -> None:
    """Change a packet where it lies in the file."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        position, content = packet.pos, bytes(packet)
    whole = bytearray(path.read_bytes())
    assert whole[position : position + len(content)] == content
    whole[position : position + len(content)] = damaged(content)
    path.write_bytes(whole)


def test_a_damaged_packet_takes_no_frames_with_it_but_those_that_lean_on_it(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", *H264)
    whole = decode_everything(path)
    damage(path, 15, lambda content: bytes(len(content)))
    beyond = [*range(12), *range(24, 30)]
    assert np.array_equal(read_frames(path, beyond), whole[beyond])
    with pytest.raises(UnreadableVideo, match=f"^{path}: "):
        read_frames(path, range(12, 24))


@pytest.mark.parametrize("number", [12, 13, 15])
def test_frames_that_are_patched_up_are_those_of_a_full_decode(number: int, tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", *H264)
    whole = decode_everything(path)
    damage(path, number, lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    patched = decoded_in_spite_of_damage(path)
    assert len(patched) == 30 and not np.array_equal(patched, whole)
    for index in range(30):
        assert np.array_equal(read_frames(path, [index])[0], patched[index]), index


def test_a_frame_that_the_decoder_drops_does_not_shift_the_others(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(path, "libx265", {"x265-params": "keyint=12:bframes=3:pools=none:log-level=none"})
    whole = decode_everything(path)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    number = next(i for i, packet in enumerate(packets) if i > 12 and packet.is_disposable)
    lost = sorted(packet.pts for packet in packets).index(packets[number].pts)
    # The type of a unit that no decoder knows: it is passed over without a word.
    damage(path, number, lambda content: content[:4] + bytes([41 << 1]) + content[5:])
    assert len(decode_everything(path)) == 29
    others = [i for i in range(30) if i != lost]
    assert np.array_equal(read_frames(path, others), whole[others])
    with pytest.raises(UnreadableVideo, match=rf"^{path}: frames \[{lost}\] cannot be decoded$"):
        read_frames(path, [0, lost])


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "clip.mp4", *H264)

    def refuse(name: str, *_: Any, **__: Any) -> None:  # root may read everything, so that no mode of a file helps
        raise av.error.PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(av, "open", refuse)
    assert refusals(path) == {f"{path}: not a video that can be decoded (Permission denied)"}


def test_a_file_that_vanishes_after_it_was_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "clip.mp4", *H264)
    opens = av.open

    def after_all_checks(name: str, *args: Any, **more: Any) -> object:
        path.unlink()
        return opens(name, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(av, "open", after_all_checks)
        with pytest.raises(UnreadableVideo, match=rf"^{path}: .*\(No such file or directory\)$"):
            read_frames(path, [0])
    assert refusals(path) == {f"{path}: no such file"}


def test_a_file_that_vanishes_before_it_is_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", lambda _: True)
        assert refusals(path) == {f"{path}: No such file or directory"}


@pytest.mark.parametrize("name", ["x" * 300 + ".mp4", "clip\0.mp4", "file.mp4/clip.mp4", "pipe.mp4", "nowhere.mp4"])
def test_what_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")  # to open it would be to wait for ever
    (tmp_path / "nowhere.mp4").symlink_to(tmp_path / "gone.mp4")
    path = tmp_path / name
    assert refusals(path) <= {f"{path}: no such file", f"{path}: File name too long"}


def test_a_folder_with_the_name_of_a_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.mkdir()
    assert refusals(path) == {f"{path}: is a directory, and holds no frames (00001.jpg, img_00001.jpg, ...)"}


NAMES = [
    "with space.mp4",
    "Über 视频 é.mp4",
    "a#b.mp4",
    "100%.mp4",
    "clip%03d.mp4",
    "-clip.mp4",
    "a&b?c=d.mp4",
    'it\'s "quoted".mp4',
    "two\nlines.mp4",
    "all*[of]{them}.mp4",
    "back\\slash.mp4",
    os.fsdecode(b"latin-\xe9.mp4"),
    # What FFmpeg would take for protocols.
    "a:b.mp4",
    "http:clip.mp4",
    "file:clip.mp4",
    "concat:clip.mp4",
    "data:clip.mp4",
    "pipe:0",
    "subfile,,start,0,end,0,,:clip.mp4",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("kind", [H264, MPEG4_B], ids=["mp4", "avi"])
def test_a_video_is_read_whatever_its_name(
    name: str, kind: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = "clip.mp4" if kind is H264 else "clip.avi"
    source = encode(tmp_path / file, *(*kind, 8))
    whole = decode_everything(source)
    folder = tmp_path / "folder"
    folder.mkdir()
    source.rename(folder / name)
    monkeypatch.chdir(folder)
    for path in (folder / name, Path(name), name, f"./{name}", f"../folder/{name}"):
        assert count_frames(path) == 8
        assert np.array_equal(read_frames(path, [7, 2]), whole[[7, 2]])


def test_metadata_in_no_encoding_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "a title of some length"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    assert b"a title of" in content
    path.write_bytes(content.replace(b"a title of", b"\xe4 t\xeftl\xff \xc0\xaf"))
    if ANY_METADATA:  # else PyAV allows for them
        with pytest.raises(UnicodeDecodeError), av.open(str(path)):
            pass
    assert count_frames(path) == 4
    assert read_frames(path, [3]).shape == (1, 48, 64, 3)


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """RGB; what JPEG makes of it comes within 3 of it."""
    return np.full((height, width, 3), (10 * number, 100, 250 - 10 * number), np.uint8)


def write_frames(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        written = cv2.imencode(Path(name).suffix, picture(number)[..., ::-1])[1]
        (folder / name).write_bytes(written.tobytes())
    return folder


@pytest.mark.parametrize(
    "names",
    [
        [f"{i:05d}.jpg" for i in range(1, 13)],
        [f"{i:06d}.png" for i in range(12)],
        [f"img_{i:05d}.jpg" for i in range(1, 13)],
        [f"frame{i}.jpg" for i in range(1, 13)],  # frame10 comes before frame2 in a dictionary
        [f"{i}.jpg" for i in range(12)],
        [f"{i}.JPG" for i in range(995, 1007)],
        [f"clip-25fps_{i}.jpeg" for i in range(1, 13)],
        [f"Bild é {i}.png" for i in range(1, 13)],
        [f"{i:05d}.jpg" for i in range(5, 29, 2)],  # every other frame was kept
    ],
    ids=lambda names: ascii(names[0]),
)
@pytest.mark.parametrize("folder", ["clip", "Ünï 视频 #1 100%", "clip.mp4"])
def test_images_are_frames_in_the_order_of_their_numbers(folder: str, names: list[str], tmp_path: Path) -> None:
    path = write_frames(tmp_path / folder, names)
    (path / "Thumbs.db").touch()
    (path / "._00001.jpg").touch()  # as macOS leaves them
    assert count_frames(path) == 12
    for indices in (list(range(12)), [11, 0, 0, 9]):
        frames = read_frames(path, indices)
        assert frames.dtype == np.uint8
        expected = np.stack([picture(i) for i in indices])
        assert np.abs(frames.astype(int) - expected).max() <= 3
    assert read_frames(str(path), [4]).shape == (1, 48, 64, 3)


@pytest.mark.parametrize("indices", [[-1], [3], [0, 1, 7]])
def test_a_number_beyond_the_images_is_refused(indices: list[int], tmp_path: Path) -> None:
    path = write_frames(tmp_path / "clip", ["1.jpg", "2.jpg", "3.jpg"])
    with pytest.raises(UnreadableVideo) as refusal:
        read_frames(path, indices)
    assert str(refusal.value) == f"{path}: has frames 0 to 2, asked for {indices}"


def test_optical_flow_beside_the_frames_is_not_among_them(tmp_path: Path) -> None:
    names = [f"{prefix}_{i:05d}.jpg" for prefix in ("img", "flow_x", "flow_y") for i in range(1, 4)]
    path = write_frames(tmp_path / "clip", names)
    assert count_frames(path) == 3
    assert np.abs(read_frames(path, [2])[0].astype(int) - picture(2)).max() <= 3


def test_a_folder_of_nothing_but_optical_flow_holds_no_frames(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "clip", ["flow_x_00001.jpg", "flow_y_00001.jpg"])
    assert refusals(path) == {f"{path}: is a directory, and holds no frames (00001.jpg, img_00001.jpg, ...)"}


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["picture.jpg"], ["00001.psd"]])
def test_a_folder_without_frames_is_refused(names: list[str], tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.mkdir()
    for name in names:
        (path / name).touch()
    assert refusals(path) == {f"{path}: is a directory, and holds no frames (00001.jpg, img_00001.jpg, ...)"}


def test_a_folder_of_two_videos_is_refused(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "clip", ["a_1.jpg", "a_2.jpg", "b_1.jpg"])
    assert refusals(path) == {f"{path}: frames of more than one video (a_1.jpg, b_1.jpg); leave one kind in it"}


@pytest.mark.parametrize("twins", [["01.jpg", "1.jpg"], ["00001.jpg", "00001.png"]])
def test_two_images_of_one_number_are_refused(twins: list[str], tmp_path: Path) -> None:
    path = write_frames(tmp_path / "clip", [*twins, "2.jpg"])
    assert refusals(path) == {f"{path}: two images for one frame ({' and '.join(twins)}); leave one of them in it"}


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(
    "damaged", [lambda _: b"", lambda _: b"an image? " * 50, lambda whole: whole[: len(whole) // 2]]
)
def test_a_damaged_image_is_refused_by_its_own_name(
    suffix: str, damaged: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = write_frames(tmp_path / "clip", [f"{i}{suffix}" for i in range(3)])
    image = path / f"1{suffix}"
    image.write_bytes(damaged(image.read_bytes()))
    assert count_frames(path) == 3
    assert len(read_frames(path, [0, 2])) == 2
    with pytest.raises(UnreadableVideo) as refusal:
        read_frames(path, [0, 1])
    assert str(refusal.value) == f"{image}: not an image that can be decoded"


def test_images_of_several_sizes_are_refused(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "clip", ["1.png", "2.png"])
    cv2.imwrite(str(path / "3.png"), picture(3, 24, 32))
    assert len(read_frames(path, [1, 0])) == 2
    with pytest.raises(UnreadableVideo) as refusal:
        read_frames(path, [0, 2])
    assert str(refusal.value) == f"{path}: its frames differ in size: (24, 32, 3), (48, 64, 3)"


def test_an_image_that_vanishes_after_it_was_listed_is_refused(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "clip", ["1.png", "2.png"])
    before = path.stat()
    count_frames(path)
    (path / "2.png").unlink()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # so that the list is the one remembered
    with pytest.raises(UnreadableVideo) as refusal:
        read_frames(path, [0, 1])
    assert str(refusal.value) == f"{path / '2.png'}: No such file or directory"


def test_a_folder_that_may_not_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_frames(tmp_path / "clip", ["1.png"])

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert refusals(path) == {f"{path}: Permission denied"}


def test_a_folder_that_changes_is_listed_anew(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "clip", ["1.png", "2.png"])
    assert count_frames(path) == 2
    (path / "3.png").write_bytes((path / "1.png").read_bytes())
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # where the clock of the disk is too coarse
    assert count_frames(path) == 3
