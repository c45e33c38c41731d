"""Whether a dataset can be trained on: every clip is decoded and compared with the others."""

import json
import math
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import combinations
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import pandas as pd

from sth_core.prefetch import in_processes
from sth_core.resumable import no_report
from sth_core.video.completeness import announced_frames
from sth_core.video.container import UnreadableVideo, opened
from sth_core.video.decoding import count_frames, decode_wanted, doubtful_frames, numbered_frames, read_frames
from sth_core.video.images import NUMBERED, frame_names
from sth_core.video.sampling import segment_indices
from sth_core.video.timeline import read_packets, timeline

HASHED_FRAMES = 8  # of a clip
FINE, COARSE = 16, 8  # cells a side of the hash that decides whether two clips are one, and of that for candidates
MAX_DIFFERING = 0.1  # share of bits in which two encodings of one clip may differ
MOTION_THRESHOLD = 10  # grey levels between a cell and its median over the frames
NOISE_CELLS = 8  # moving cells of 8 frames that compression alone may cause
NAMED_FRAMES = 5  # at most, of those that are damaged
MAX_CANDIDATES = 64  # clips that share a coarse hash, beyond which it distinguishes nothing
RENAMED = {"looks": "frame_hash", "moves": "motion_mask"}  # keys of checked.jsonl in earlier versions


@dataclass(frozen=True)
class ClipCheck:
    """What was found in one clip.

    `access` is "by time", or "in order" and why: then reading a frame takes as long as reading all before it.
    `exact` says whether frames read alone, and those around keyframes, equal those of the full decode. `frame_hash`
    are the difference hashes of 8 frames, `motion_mask` the cells that change between them, both in hex.
    """

    clip_id: str
    path: str
    label: str
    split: str
    problem: str = ""
    frames: int = 0
    seconds: float = math.nan
    width: int = 0
    height: int = 0
    access: str = ""
    exact: bool = False
    bytes: int = 0
    changed: int = 0
    frame_hash: str = ""
    motion_mask: str = ""


def check_dataset(
    clips: pd.DataFrame, out: Path, workers: int | None = None, progress: Callable[[int, int], None] = no_report
) -> pd.DataFrame:
    """Decode every clip of `clips` (of `read_dataset`), in parallel; a row of `ClipCheck` for each.

    Results are kept in <out>/checked.jsonl: the same call continues from there, and decodes again only
    files that have changed.
    """
    out.mkdir(parents=True, exist_ok=True)
    notes = out / "checked.jsonl"
    known = read_notes(notes)
    results: list[ClipCheck] = []
    waiting: dict[str, tuple[ClipCheck]] = {}
    for row in clips.itertuples():
        clip = ClipCheck(row.clip_id, row.path, row.label, row.split, row.problem)
        before = known.get(row.path)
        if row.problem:
            results.append(clip)
        elif before and (before.bytes, before.changed) == size_and_time(Path(row.path)):
            results.append(replace(before, clip_id=row.clip_id, label=row.label, split=row.split))
        else:
            waiting[row.clip_id] = (clip,)
    progress(len(results), len(clips))
    with notes.open("a") as file:
        for _, clip in in_processes(check_clip, waiting, workers):
            results.append(clip)
            file.write(json.dumps(vars(clip)) + "\n")
            file.flush()
            progress(len(results), len(clips))
    table = pd.DataFrame([vars(clip) for clip in results], columns=[field.name for field in fields(ClipCheck)])
    return table.sort_values("clip_id", ignore_index=True)


def read_notes(notes: Path) -> dict[str, ClipCheck]:
    """{path: result} of what an earlier check wrote, whose last line may be cut off."""
    found = {}
    for line in notes.read_text(encoding="utf-8").splitlines() if notes.is_file() else ():
        with suppress(ValueError, TypeError):
            clip = ClipCheck(**{RENAMED.get(key, key): value for key, value in json.loads(line).items()})
            found[clip.path] = clip
    return found


def size_and_time(path: Path) -> tuple[int, int]:
    """Bytes and time of change; only the time for a folder of frames."""
    with suppress(OSError):
        stat = path.stat()
        return 0 if path.is_dir() else stat.st_size, stat.st_mtime_ns
    return -1, -1


def check_clip(clip: ClipCheck) -> ClipCheck:
    path = Path(clip.path)
    size, changed = size_and_time(path)
    clip = replace(clip, bytes=size, changed=changed)
    try:
        count = count_frames(path)
        hashed = segment_indices(count, HASHED_FRAMES).tolist()
        whole = decode_clip(path, hashed)
        clip = replace(clip, frames=len(whole.checksums))
        seconds, access = (math.nan, images_access(path)) if path.is_dir() else video_access(path, count)
        if damaged := sorted({*range(count)} - {*whole.checksums} | whole.damaged):
            numbers = ", ".join(map(str, damaged[:NAMED_FRAMES])) + ", ..." * (len(damaged) > NAMED_FRAMES)
            raise UnreadableVideo(f"{path}: {clip.frames} of {count} frames can be decoded; damaged: {numbers}")
        shown = [whole.kept[i] for i in hashed]
        return replace(
            clip,
            width=shown[0].shape[1],
            height=shown[0].shape[0],
            exact=is_exact(path, whole),
            frame_hash="".join(difference_hash(frame, FINE) + difference_hash(frame, COARSE) for frame in shown),
            motion_mask=motion_mask(shown),
            seconds=seconds,
            access=access,
        )
    except UnreadableVideo as error:
        return replace(clip, problem=str(error))


@dataclass(frozen=True)
class DecodedClip:
    """A full decode: the frames at some numbers, the checksum of each that can be decoded, and those filled in."""

    kept: dict[int, np.ndarray]
    checksums: dict[int, int]
    damaged: set[int]


def decode_clip(path: Path, keep: list[int]) -> DecodedClip:
    whole = DecodedClip({}, {}, set())
    for number, frame, damaged in numbered_frames(path):
        whole.checksums[number] = crc32(frame.data)
        if damaged:
            whole.damaged.add(number)
        if number in keep:
            whole.kept[number] = frame
    return whole


def is_exact(path: Path, whole: DecodedClip) -> bool:
    """Whether three frames that are read alone equal those of the full decode, and those around keyframes too."""
    at = sorted(whole.kept)
    alone = (at[0], at[len(at) // 2], at[-1])
    if not all(np.array_equal(read_frames(path, [i])[0], whole.kept[i]) for i in alone):
        return False
    if path.is_dir() or not (doubtful := doubtful_frames(path)):
        return True
    found = decode_wanted(path, set(doubtful))
    return all(crc32(np.ascontiguousarray(frame).data) == whole.checksums[i] for i, frame in found)


def images_access(folder: Path) -> str:
    numbers = [int(NUMBERED.fullmatch(name)["number"]) for name in frame_names(folder)]  # type: ignore[index]
    gaps = numbers[-1] - numbers[0] + 1 - len(numbers)
    return f"images ({gaps} numbers missing)" if gaps else "images"


def video_access(path: Path, frames: int) -> tuple[float, str]:
    """A video's seconds and `ClipCheck.access`.

    Raises UnreadableVideo: it lacks frames that its header announces."""
    line = timeline(path)
    if (announced := announced_frames(path, frames, line.times)) > frames:
        raise UnreadableVideo(f"{path}: {frames} of {announced} frames are in it; it was cut off, or is damaged")
    with opened(path) as (container, stream):
        rate = float(stream.average_rate or 0)
        access = "by time"
        if line.times is None or line.keyframes is None:
            access = f"in order ({line.reason})"
        elif len(read_packets(container, stream).keyframes) != len(line.keyframes):
            access = "in order (it cannot begin at a later keyframe)"
    return frames / rate if rate else math.nan, access


def difference_hash(frame: np.ndarray, side: int) -> str:
    """Whether each cell of a side x side grid is brighter than its neighbour on the left, as hex ("dHash")."""
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)  # rounding would make cells equal
    cells = cv2.resize(gray, (side + 1, side), interpolation=cv2.INTER_AREA)
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()


def motion_mask(frames: list[np.ndarray]) -> str:
    """Which cells (FINE x FINE) of each frame differ from their median over the frames, as hex."""
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    cells = [cv2.resize(frame, (FINE, FINE), interpolation=cv2.INTER_AREA) for frame in gray]
    return np.packbits(np.abs(cells - np.median(cells, axis=0)) > MOTION_THRESHOLD).tobytes().hex()


def count_ones(packed: np.ndarray) -> int:
    return int(np.bitwise_count(packed).sum())


def find_duplicates(checked: pd.DataFrame) -> pd.DataFrame:
    """Pairs of clips that show the same, also after another compression: columns a, b, split_a, split_b, differing.

    Candidates share half of a coarse hash (32 bits) of one of 8 frames. `differing` is the share of the 8 x 256 bits
    of their fine hashes that differ, at most 0.1. As clips of one place differ only in what moves, half of the cells
    that move in either must move in both.
    """
    hashes: dict[int, np.ndarray] = {}
    motions: dict[int, np.ndarray] = {}
    candidates: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    usable = checked[(checked["frame_hash"] != "") & (checked["frames"] > 0)]
    for row, frame_hash, mask in zip(usable.index, usable["frame_hash"], usable["motion_mask"], strict=True):
        motions[row] = np.frombuffer(bytes.fromhex(mask), np.uint8)
        both = np.frombuffer(bytes.fromhex(frame_hash), np.uint8).reshape(HASHED_FRAMES, -1)
        hashes[row], coarse = np.split(both, [FINE * FINE // 8], axis=1)
        for frame, of_frame in enumerate(coarse):
            for half in np.split(of_frame, 2):
                if len(set(half.tobytes().hex())) > 2:  # frames of one colour all have the same hash
                    candidates[frame, half.tobytes()].append(row)
    found: dict[tuple[int, int], float] = {}
    for rows in candidates.values():
        for a, b in combinations(rows[:MAX_CANDIDATES], 2):
            differing = count_ones(hashes[a] ^ hashes[b]) / (8 * hashes[a].size)
            allowed = max(NOISE_CELLS, count_ones(motions[a] | motions[b]) / 2)
            if differing <= MAX_DIFFERING and count_ones(motions[a] ^ motions[b]) <= allowed:
                found[a, b] = differing
    clip, split = checked["clip_id"], checked["split"]
    pairs = [(clip[a], clip[b], split[a], split[b], differing) for (a, b), differing in sorted(found.items())]
    return pd.DataFrame(pairs, columns=["a", "b", "split_a", "split_b", "differing"])
