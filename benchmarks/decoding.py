"""How fast several readers read frames of a clip, and whether the frames are correct.

\b
    sth benchmark decoding                      clips that it makes, in a temporary folder
    sth benchmark decoding --clips FOLDER       your own video files, grouped by their suffix

The readers read the middle frame of each segment of a clip, as evaluation does, in one thread, as uint8 RGB
(frames, H, W, 3). They take turns clip by clip, so that a slow moment of the machine affects all; the table shows
medians over the rounds. Other programs slow down what the clock shows, so that the readers are compared by the
processor's time: in each round that of a reader, divided by that of "sth"; the median, and the lowest and the highest.
A difference is within the spread if that range includes 1. "sth" has the file's index cached, as in every epoch but
the first; "sth, first time" also builds the index. A frame is correct if its pixels equal those of the same frame in a
full decode by PyAV, or of the same JPEG read by PIL.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from importlib import import_module
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from unittest.mock import patch

import av
import click
import cv2
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from PIL import Image

from benchmarks.clips import jpeg, make_clips
from benchmarks.measuring import machine, print_head, print_row, seconds
from sth_core.errors import UserError
from sth_core.video import count_frames, images, read_frames, timeline
from sth_core.video.container import ANY_METADATA
from sth_core.video.decoding import VIDEO_SUFFIXES
from sth_core.video.sampling import segment_indices
from workbench.cli.kinds import PATH

Reader = Callable[[Path, list[int]], np.ndarray]
Clips = dict[Path, list[int]]  # and the frames to read of each
FIRST = "sth, first time"
INSTALL = {"decord2": "pip install 'sth-workbench[decord]'", "torchcodec": "pip install torchcodec"}
PARTS = ("readers", "workers")  # readers take turns; several workers of this project's reader
REPEATS = 4  # of all clips in a turn of workers, so that the last clip of one hardly matters


@click.command(help=__doc__)
@click.option("--clips", "folder", type=PATH, help="Your own video files.")
@click.option("--count", default=4, show_default=True, type=click.IntRange(1), help="Clips to make of each kind.")
@click.option("--length", default=300, show_default=True, type=click.IntRange(8), help="Frames of the longest of them.")
@click.option("--frames", default=8, show_default=True, type=click.IntRange(1), help="Frames to read of a clip.")
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(1))
@click.option("--part", "parts", multiple=True, default=PARTS, type=click.Choice(PARTS), help="Both by default.")
def main(folder: Path | None, count: int, length: int, frames: int, rounds: int, parts: tuple[str, ...]) -> None:
    with TemporaryDirectory() as temporary, empty_cache(Path(temporary) / "cache"), torch_in_one_thread():
        scratch = Path(temporary)
        files = by_suffix(folder) if folder else make_clips(scratch, count, length)
        kinds: dict[str, Clips] = {
            kind: {path: segment_indices(count_frames(path), frames).tolist() for path in paths}
            for kind, paths in files.items()
        }
        videos, absent = video_readers()
        packages = [f"{name} {version(name)}" for name in ("av", "decord2", "torchcodec") if name not in absent]
        packages.append(f"OpenCV {cv2.__version__}")
        print(f"\n{frames} frames of a clip; {machine()}, {', '.join(packages)}, median of {rounds} rounds\n")
        for kind, paths in files.items():
            lengths = [count_frames(path) for path in paths]
            sizes = sorted({"{1} x {0}".format(*read_frames(path, [0]).shape[1:3]) for path in paths})
            print(f"- {kind}: {len(paths)} of {min(lengths)} to {max(lengths)} frames, {', '.join(sizes)}")
        for name in absent:
            print(f"- {name} is left out: not installed, or without FFmpeg's libraries ({INSTALL[name]})")

        if "readers" in parts:
            print_readers(kinds, videos, rounds, scratch)
        if "workers" in parts:
            print_workers(kinds, rounds)


def print_readers(kinds: dict[str, Clips], videos: dict[str, Reader], rounds: int, scratch: Path) -> None:
    print()
    print_head("files", "reader", "clips/s", "ms of CPU a clip", "x sth's (lowest to highest)", "correct frames")
    for kind, clips in kinds.items():
        readers = FOLDER_READERS if next(iter(clips)).is_dir() else videos
        truth = {path: (pil if path.is_dir() else pyav)(path, indices) for path, indices in clips.items()}
        correct = {name: correct_frames(reader, clips, truth) for name, reader in readers.items()}
        able = {name: reader for name, reader in readers.items() if correct[name] is not None}
        took = readers_take_turns(able, clips, rounds, kind, scratch)
        for name in readers:
            cells = ["-", "-", "-", "stops with an error"]
            if name in able:
                wall, cpu = took[name].T
                ratios = cpu / took["sth"][:, 1]
                spread = f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
                cells = [f"{len(clips) / np.median(wall):.1f}", f"{1e3 * np.median(cpu) / len(clips):.1f}", spread]
                cells.append(f"{correct[name]}/{sum(map(len, clips.values()))}")
            print_row(kind, name, *cells)


def print_workers(kinds: dict[str, Clips], rounds: int) -> None:
    print("\nWorkers that call read_frames, clips/s:\n")
    print_head("files", "1 thread", "2 threads", "x", "1 process", "2 processes", "x")
    for kind, (t1, t2, p1, p2) in workers_take_turns(kinds, rounds).items():
        print_row(kind, f"{t1:.1f} | {t2:.1f} | {t2 / t1:.2f} | {p1:.1f} | {p2:.1f} | {p2 / p1:.2f}")


def by_suffix(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    kinds: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir(), key=lambda path: (path.suffix.lower(), path.name)):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            kinds.setdefault(path.suffix.lower(), []).append(path)
    if not kinds:
        raise UserError(f"{folder}: holds no video files ({' '.join(sorted(VIDEO_SUFFIXES))})")
    return kinds


@contextmanager
def empty_cache(folder: Path) -> Iterator[None]:
    """No video's index is cached; new ones are cached in this folder."""
    timeline._timeline.cache_clear()
    images._images.cache_clear()
    with patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder)}):
        yield


def pyav(path: Path, indices: list[int], to_the_end: bool = True, convert_all: bool = False) -> np.ndarray:
    converter, pictures, wanted, last = VideoReformatter(), {}, set(indices), max(indices)
    with av.open(str(path), **ANY_METADATA) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for i, frame in enumerate(container.decode(stream)):
            if convert_all or i in wanted:
                pictures[i] = converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            if i == last and not to_the_end:
                break
    return np.rot90(np.stack([pictures[i] for i in indices]), round(frame.rotation) // 90, (1, 2))


def opencv(path: Path, indices: list[int], *, seek: bool) -> np.ndarray:
    """Seek to each frame, or go through all in order and convert only these."""
    capture, pictures = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]), {}
    if seek:
        for i in set(indices):
            capture.set(cv2.CAP_PROP_POS_FRAMES, i)
            pictures[i] = capture.read()[1]
    else:
        for i in range(max(indices) + 1):
            capture.grab()
            if i in indices:
                pictures[i] = capture.retrieve()[1]
    return np.stack([pictures[i] for i in indices])[..., ::-1]


def decord(path: Path, indices: list[int]) -> np.ndarray:
    return import_module("decord").VideoReader(str(path), num_threads=1).get_batch(indices).asnumpy()


def torchcodec(path: Path, indices: list[int], seek_mode: str) -> np.ndarray:
    open_decoder = import_module("torchcodec.decoders").VideoDecoder
    decoder = open_decoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC", seek_mode=seek_mode)
    return decoder.get_frames_at(indices=indices).data.numpy()


def pil(folder: Path, indices: list[int]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(jpeg(folder, i)).convert("RGB")) for i in indices])


def torchvision(folder: Path, indices: list[int]) -> np.ndarray:
    io = import_module("torchvision.io")
    decoded = (io.decode_jpeg(io.read_file(str(jpeg(folder, i))), io.ImageReadMode.RGB) for i in indices)
    return np.stack([picture.numpy().transpose(1, 2, 0) for picture in decoded])


OURS: dict[str, Reader] = {"sth": read_frames, FIRST: read_frames}
FOLDER_READERS: dict[str, Reader] = OURS | {"PIL": pil, "torchvision.io.decode_jpeg": torchvision}


def video_readers() -> tuple[dict[str, Reader], list[str]]:
    """The readers that work here, and the packages that are left out."""
    readers = OURS | {
        "PyAV, in order": partial(pyav, to_the_end=False),
        "PyAV, full decode": partial(pyav, convert_all=True),
        "PyAV, full decode, only these converted": pyav,
        "OpenCV, in order": partial(opencv, seek=False),
        "OpenCV, seeking": partial(opencv, seek=True),
    }
    modes: dict[str, Reader] = {f"torchcodec, {m}": partial(torchcodec, seek_mode=m) for m in ("exact", "approximate")}
    absent = []
    for package, module, its in (
        ("decord2", "decord", {"decord": decord}),
        ("torchcodec", "torchcodec.decoders", modes),
    ):
        try:
            import_module(module)
            readers |= its
        except (ImportError, RuntimeError, OSError):
            absent.append(package)
    return readers, absent


def correct_frames(reader: Reader, clips: Clips, truth: dict[Path, np.ndarray]) -> int | None:
    """How many frames equal `truth`; None if the reader stops with an error."""
    correct = 0
    for path, indices in clips.items():
        try:
            pairs = zip(reader(path, indices), truth[path], strict=True)
            correct += sum(np.array_equal(*pair) for pair in pairs)
        except UserError:
            raise
        except Exception:
            return None
    return correct


@contextmanager
def torch_in_one_thread() -> Iterator[None]:
    """Else torchcodec copies in several threads, which spin while another reader has its turn."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def readers_take_turns(
    readers: dict[str, Reader], clips: Clips, rounds: int, kind: str, scratch: Path
) -> dict[str, np.ndarray]:
    """The seconds in which each reader reads all clips, (rounds, 2): by the clock, and of the processor."""
    times = {name: np.zeros((rounds, 2)) for name in readers}
    for i in range(rounds):
        print(f"{kind}: round {i + 1}/{rounds}", file=sys.stderr)
        for path, indices in clips.items():
            count_frames(path)  # its index is in the cache again, also after a "first time"
            for name, reader in readers.items():
                with empty_cache(Path(mkdtemp(dir=scratch))) if name == FIRST else nullcontext():
                    before = time.process_time()
                    wall = seconds(partial(reader, path, indices))
                    times[name][i] += wall, time.process_time() - before
    return times


def workers_take_turns(kinds: dict[str, Clips], rounds: int) -> dict[str, list[float]]:
    """Median clips per second by kind: of one thread, two threads, one process, two processes."""
    everything, context = [path for clips in kinds.values() for path in clips], get_context("spawn")
    times: dict[str, list[list[float]]] = {kind: [[], [], [], []] for kind in kinds}
    with ExitStack() as stack:
        pools: list[Executor] = [stack.enter_context(ThreadPoolExecutor(workers)) for workers in (1, 2)]
        for workers in (1, 2):
            ready = partial(cache_indices, everything, context.Barrier(workers))
            pools.append(stack.enter_context(ProcessPoolExecutor(workers, context, initializer=ready)))
        for i in range(-1, rounds):  # one to start them
            print(f"workers: round {i + 1}/{rounds}", file=sys.stderr)
            for kind, clips in kinds.items():
                jobs = zip(*(list(clips.items()) * REPEATS), strict=True)
                paths, indices = map(list, jobs)
                for pool, found in zip(pools, times[kind], strict=True):
                    found.append(seconds(lambda: list(pool.map(read_only, paths, indices))))  # noqa: B023
    rates = {kind: REPEATS * len(clips) / np.array(times[kind])[:, 1:] for kind, clips in kinds.items()}
    return {kind: np.median(of_kind, 1).tolist() for kind, of_kind in rates.items()}


def cache_indices(paths: list[Path], all_ready: Barrier) -> None:
    """Cache the index of every clip, and wait until all processes have."""
    for path in paths:
        count_frames(path)
    all_ready.wait(timeout=60)


def read_only(path: Path, indices: list[int]) -> None:
    """Read frames and drop them: sending them to the parent would cost the same for all readers."""
    read_frames(path, indices)
