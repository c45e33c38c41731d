"""Clips for benchmarks, made in seconds, that are about as hard to encode as real videos."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from sth_core.prefetch import prefetch
from sth_core.readers import usable_cores
from sth_core.video.decoding import all_frames
from sth_core.video.sampling import segment_indices

WIDTH, HEIGHT, RATE = 340, 256, 30
CODECS = {  # file suffix, encoder, its options
    "H.264, mp4": (".mp4", "libx264", {"preset": "medium", "crf": "23"}),
    "VP9, webm": (".webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "6", "b": "600k"}),
    "MPEG-4, AVI": (".avi", "mpeg4", {"g": "250", "bf": "2", "b": "1000k"}),
}
JPEG = "JPEG folders"


def make_clips(folder: Path, count: int, length: int) -> dict[str, list[Path]]:
    """`count` clips of each kind, the shortest of two thirds of `length` frames."""
    made: dict[str, list[Path]] = {kind: [] for kind in (*CODECS, JPEG)}
    for i in range(count):
        print(f"making clip {i + 1}/{count} of each kind", file=sys.stderr)
        pictures = list(scene(length - length * i // (3 * count), seed=i))
        for kind, (suffix, codec, options) in CODECS.items():
            made[kind].append(folder / f"{i}{suffix}")
            encode(made[kind][-1], pictures, codec, options)
        made[JPEG].append(folder / str(i))
        made[JPEG][-1].mkdir()
        for t, picture in enumerate(pictures):
            cv2.imwrite(str(jpeg(made[JPEG][-1], t)), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return made


def make_dataset(folder: Path, count: int, length: int, place: Callable[[int], str]) -> Path:
    """H.264 clips of 340 x 256; clip i lies in the folder place(i): a split and a class."""
    suffix, codec, options = CODECS["H.264, mp4"]

    def make(i: int) -> None:
        (folder / place(i)).mkdir(parents=True, exist_ok=True)
        encode(folder / place(i) / f"{i}{suffix}", list(scene(length, seed=i)), codec, options)

    for i, _ in enumerate(prefetch(make, range(count), usable_cores(), count), start=1):
        print(f"made clip {i}/{count}", file=sys.stderr)
    return folder


def make_frame_folders(videos: Path, folder: Path) -> Path:
    """The same dataset, each video as a folder of JPEG frames of quality 95."""

    def make(video: Path) -> None:
        target = folder / video.relative_to(videos).with_suffix("")
        target.mkdir(parents=True)
        for t, picture in enumerate(all_frames(video)):
            cv2.imwrite(str(jpeg(target, t)), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])

    files = sorted(videos.rglob("*.mp4"))
    deque(prefetch(make, files, usable_cores(), len(files)), maxlen=0)
    return folder


def decode_alone(paths: list[Path], frames: int) -> None:
    """What any program must do for a clip of so many frames: OpenCV decodes the JPEG files, FFmpeg all pictures up to
    the last one that is wanted, and converts the wanted ones."""
    for path in paths:
        if path.is_dir():
            files = sorted(path.iterdir())
            for i in segment_indices(len(files), frames):
                cv2.imdecode(np.fromfile(files[i], np.uint8), cv2.IMREAD_COLOR_RGB)
            continue
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            wanted = set(segment_indices(stream.frames, frames).tolist())
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    frame.to_ndarray(format="rgb24")
                if number == max(wanted):
                    break


def jpeg(folder: Path, index: int) -> Path:
    return folder / f"{index + 1:05d}.jpg"


def encode(path: Path, pictures: list[np.ndarray], codec: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(RATE), options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())


def scene(frames: int, seed: int) -> Iterator[np.ndarray]:
    """Frames (256, 340, 3): an unsteady, noisy camera pans and zooms over a texture, with discs in front of it."""
    rng, size = np.random.default_rng(seed), np.array([WIDTH, HEIGHT])
    plane = np.zeros((3 * HEIGHT, 3 * WIDTH, 3), np.float32)
    for octave in range(3, 10):  # finer detail is fainter, as in natural images
        grid = rng.standard_normal((2**octave, 2**octave, 1)) + 0.5 * rng.standard_normal((2**octave, 2**octave, 3))
        plane += cv2.resize(grid.astype(np.float32), (3 * WIDTH, 3 * HEIGHT)) * 0.75**octave
    plane = np.clip(128 + 45 * plane / plane.std(), 0, 255).astype(np.uint8)
    pan, zoom = rng.uniform(-1.5, 1.5, 2), rng.uniform(0.05, 0.2)
    starts, speeds = rng.uniform(0, 1, (6, 2)) * size, rng.uniform(-5, 5, (6, 2))
    radii, colours = rng.integers(8, 40, 6).tolist(), rng.integers(0, 256, (6, 3)).tolist()
    for t in range(frames):
        scale = 1 + zoom * np.sin(t / 20)
        x, y = size / 2 - scale * (1.5 * size + pan * t + rng.uniform(-0.5, 0.5, 2))
        view = cv2.warpAffine(plane, np.array([[scale, 0, x], [0, scale, y]]), (WIDTH, HEIGHT))
        centres = size - np.abs((starts + speeds * t) % (2 * size) - size)  # reflected at the borders
        for centre, radius, colour in zip(centres.astype(int).tolist(), radii, colours, strict=True):
            cv2.circle(view, centre, radius, colour, -1, cv2.LINE_AA)
        yield cv2.add(view, rng.integers(0, 8, view.shape, np.uint8))
