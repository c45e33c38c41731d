"""An uploaded video, decoded by a process of its own with limited memory and time.

Decoders are written in C, and an upload may be made to attack them. The process that serves the app never opens an
upload: a child does, under limits that it cannot raise again, and writes arrays, which are checked.

    python -m workbench.uploads FOLDER SETTINGS    the child: FOLDER/video -> FOLDER/*.npy, or a sentence
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import numpy as np

from analysis.explain.overlay import seen_frames
from sth_core.errors import UserError
from sth_core.video.clip_source import ClipSource
from sth_core.video.container import BeyondLimit, opened
from sth_core.video.decoding import count_frames
from sth_core.video.display import display_width, pixel_shape
from sth_core.video.fields import read_clip
from sth_core.video.modality import CHANNELS
from sth_core.video.transforms import Preprocessing, centre_crop

SHOWN_SIDE = 224  # pixels of the frames that the app shows
REFUSAL_FILE, REFUSAL_CODE = "refusal.txt", 2  # the sentence of a child that refuses, and its exit code
LARGEST_FILE = 2**26  # bytes that the child may write to one
INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")  # of the environment: no token, no credentials
DECODERS = BoundedSemaphore(2)  # at the same time


@dataclass(frozen=True)
class UploadLimits:
    """The largest upload, and the most that decoding it may use."""

    megabytes: int = 200  # of the file
    frames: int = 20_000
    pixels: int = 3840 * 2160  # of one frame
    memory: int = 2 * 2**30  # bytes, besides what Python and its packages take; on Linux
    cpu_seconds: int = 60  # of computing
    seconds: float = 120.0  # until it must be done


@dataclass(frozen=True)
class DecodedUpload:
    """A network's input, uint8 (T, crop, crop, C); the frames to show, uint8 (T, 224, 224, 3); their numbers (T,)."""

    clip: np.ndarray
    frames: np.ndarray
    indices: np.ndarray


def decode_upload(
    content: bytes | memoryview, p: Preprocessing, limits: UploadLimits = UploadLimits()
) -> DecodedUpload:
    """The middle clip of an uploaded video.

    Raises:
        UserError: it is too large, too long or no video, or decoding it failed or reached a limit.
    """
    if len(content) > limits.megabytes * 2**20:
        raise UserError(f"the file is too large: {len(content) / 2**20:.1f} MB; at most {limits.megabytes} are taken")
    with DECODERS, tempfile.TemporaryDirectory(prefix="sth-upload-") as name:
        folder, video = Path(name), Path(name) / secrets.token_hex(16)
        video.write_bytes(content)
        settings = {"video": video.name, "preprocessing": asdict(p), "limits": asdict(limits)}
        run_child(folder, json.dumps(settings), limits)
        return load_arrays(folder, p)


def run_child(folder: Path, settings: str, limits: UploadLimits) -> None:
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= {"XDG_CACHE_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "workbench.uploads", str(folder), settings]
    silent: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    try:
        code = subprocess.run(command, env=environment, timeout=limits.seconds, **silent).returncode
    except subprocess.TimeoutExpired as error:
        raise UserError(f"the video was not decoded within {limits.seconds:g} s; try a shorter one") from error
    if code == REFUSAL_CODE:
        with (folder / REFUSAL_FILE).open(encoding="utf-8", errors="replace") as file:
            raise UserError(file.read(1000))
    if code == -signal.SIGXCPU:
        raise UserError(f"the video takes more than {limits.cpu_seconds} s of computing; try a shorter one")
    if code:
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        raise UserError(f"decoding the video failed ({how}): it is damaged, or needs more memory than is allowed")


def load_arrays(folder: Path, p: Preprocessing) -> DecodedUpload:
    """The child's arrays, which are trusted no more than the upload.

    Raises:
        UserError: an array is missing, or has another shape or type than was asked for.
    """
    found = {}
    expected = {
        "clip": ((p.frames, p.crop, p.crop, CHANNELS[p.modality]), "uint8"),
        "frames": ((p.frames, SHOWN_SIDE, SHOWN_SIDE, 3), "uint8"),
        "indices": ((p.frames,), "int64"),
    }
    for name, form in expected.items():
        try:
            with (folder / f"{name}.npy").open("rb") as file:
                array = found[name] = np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"decoding the video gave no usable result ({name})") from error
        if (array.shape, str(array.dtype)) != form:
            raise UserError(f"decoding the video gave no usable result ({name} is {array.dtype} {array.shape})")
    return DecodedUpload(**found)


# From here on: what the child runs.


def set_limits(limits: UploadLimits) -> None:
    """Limit this process, irrevocably. What it has used so far, to import packages, is not counted."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + limits.cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        memory = pages * resource.getpagesize() + limits.memory
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def check_size(video: Path, limits: UploadLimits) -> None:
    """Refuse a video with too many pixels or frames before a frame of it is converted."""
    with opened(video) as (_, stream):
        width = display_width(stream.codec_context.width, pixel_shape(video, stream))
        height = stream.codec_context.height
    if width * height > limits.pixels:
        raise UserError(f"its frames have {width} x {height} pixels; at most {limits.pixels:,} are taken")
    if (frames := count_frames(video)) > limits.frames:
        raise UserError(f"it is too long: {frames:,} frames; at most {limits.frames:,} are taken")


def decode_to_files(folder: Path, settings: dict[str, Any]) -> int:
    """Write the arrays of `folder`/video, or the sentence that refuses it; returns the exit code."""
    video, limits = folder / settings["video"], UploadLimits(**settings["limits"])
    given = settings["preprocessing"]
    values: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    p = Preprocessing(**values)
    try:
        set_limits(limits)
        check_size(video, limits)
        clip, indices = read_clip(ClipSource(video), p)
        frames = seen_frames(video, indices, p, SHOWN_SIDE)
        arrays = {"clip": centre_crop(clip, p), "frames": frames, "indices": indices}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
    except BeyondLimit as error:  # whoever uploads cannot raise a limit
        sentence = f"the video cannot be used: {error.found}"
    except UserError as error:
        sentence = f"the video cannot be used: {str(error).replace(f'{video}: ', '')}"
    except MemoryError:
        sentence = f"decoding the video needs more than {limits.memory / 2**20:,.0f} MB of memory"
    else:
        return 0
    (folder / REFUSAL_FILE).write_text(sentence, encoding="utf-8")
    return REFUSAL_CODE


if __name__ == "__main__":
    sys.exit(decode_to_files(Path(sys.argv[1]), json.loads(sys.argv[2])))
