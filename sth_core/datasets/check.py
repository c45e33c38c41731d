"""Whether a dataset can be trained on: every clip decoded, compared, counted, before a day of training."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from sth_core.video.decoding import all_frames, count_frames, read_frames
from sth_core.video.images import NUMBERED, frame_names
from sth_core.video.sampling import segment_indices
from sth_core.video.timeline import UnreadableVideo, opened, read_packets, timeline

LOOKS = 8  # frames of a clip whose looks are kept
FINE, COARSE = 16, 8  # bits a side: what decides whether two clips are one, and what finds candidates
SAME = 0.1  # share of bits that may differ
MOVED = 10  # steps of brightness between a cell and how it looks in most of the frames
FEW = 8  # cells that move, of those of 8 frames, which compression may bring about
CLOCK = re.compile(r"(\d+):(\d+):([\d.]+)")
CROWD = 64  # clips with one coarse look in common, beyond which that look says nothing


@dataclass(frozen=True)
class ClipCheck:
    """What was found in one clip.

    `access` is "by time", or "in order" and why: then a frame costs as much as all before it. `exact` says whether
    frames read one by one equal those of the full decode. `looks` are 8 frames as bits, in hex; `moves` what
    moves in them.
    """

    clip_id: str
    path: str
    label: str
    split: str
    problem: str = ""
    frames: int = 0
    seconds: float = float("nan")
    width: int = 0
    height: int = 0
    access: str = ""
    exact: bool = False
    bytes: int = 0
    changed: int = 0
    looks: str = ""
    moves: str = ""


def check_dataset(
    clips: pd.DataFrame,
    out: Path,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Decode every clip of `clips` (of `read_dataset`), in parallel; a row of `ClipCheck` for each.

    What is done is kept in <out>/checked.jsonl: the same call goes on from there, and looks again only
    at files that have changed.
    """
    out.mkdir(parents=True, exist_ok=True)
    notes = out / "checked.jsonl"
    known = dict(recalled(notes))
    results: list[ClipCheck] = []
    waiting: list[ClipCheck] = []
    for row in clips.itertuples():
        clip = ClipCheck(row.clip_id, row.path, row.label, row.split, row.problem)
        before = known.get(row.path)
        if row.problem:
            results.append(clip)
        elif before and (before.bytes, before.changed) == size_and_time(Path(row.path)):
            results.append(replace(before, clip_id=row.clip_id, label=row.label, split=row.split))
        else:
            waiting.append(clip)
    progress(len(results), len(clips))
    with ProcessPoolExecutor(workers or os.cpu_count(), get_context("spawn")) as pool, notes.open("a") as file:
        futures = [pool.submit(check_clip, clip) for clip in waiting]
        try:
            for future in as_completed(futures):
                results.append(future.result())
                file.write(json.dumps(asdict(results[-1])) + "\n")
                file.flush()
                progress(len(results), len(clips))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    table = pd.DataFrame([asdict(clip) for clip in results], columns=[field.name for field in fields(ClipCheck)])
    return table.sort_values("clip_id", ignore_index=True)


def recalled(notes: Path) -> Iterator[tuple[str, ClipCheck]]:
    """What an earlier check wrote, whose last line may be cut off."""
    if not notes.is_file():
        return
    for line in notes.read_text(encoding="utf-8").splitlines():
        try:
            clip = ClipCheck(**json.loads(line))
        except (ValueError, TypeError):
            continue
        yield clip.path, clip


def size_and_time(path: Path) -> tuple[int, int]:
    """Bytes and time of change; of a folder of frames, only the time."""
    try:
        stat = path.stat()
    except OSError:
        return (-1, -1)
    return (0 if path.is_dir() else stat.st_size, stat.st_mtime_ns)


def check_clip(clip: ClipCheck) -> ClipCheck:
    path = Path(clip.path)
    size, changed = size_and_time(path)
    clip = replace(clip, bytes=size, changed=changed)
    try:
        count = count_frames(path)
        at = sorted(set(segment_indices(count, LOOKS).tolist()))
        kept, decoded = {}, 0
        for i, frame in enumerate(all_frames(path)):
            decoded = i + 1
            if i in at:
                kept[i] = frame
        clip = replace(clip, frames=decoded)
        if decoded != count:
            raise UnreadableVideo(f"{path}: {decoded} of {count} frames can be decoded")
        if lost := cut_off(path, count):
            raise UnreadableVideo(f"{path}: {count} of {count + lost} frames are in it; it was cut off, or is damaged")
        chosen = [at[0], at[len(at) // 2], at[-1]]
        exact = all(np.array_equal(read_frames(path, [i])[0], kept[i]) for i in chosen)
        height, width = kept[at[0]].shape[:2]
        shown = [kept[i] for i in segment_indices(count, LOOKS).tolist()]
        return replace(
            clip,
            width=width,
            height=height,
            exact=exact,
            looks="".join(look(frame, FINE) + look(frame, COARSE) for frame in shown),
            moves=moves(shown),
            seconds=seconds(path, count),
            access=access(path),
        )
    except UnreadableVideo as error:
        return replace(clip, problem=str(error))


def access(path: Path) -> str:
    if path.is_dir():
        numbers = [int(NUMBERED.fullmatch(name)["number"]) for name in frame_names(path)]  # type: ignore[index]
        gaps = numbers[-1] - numbers[0] + 1 - len(numbers)
        return f"images ({gaps} numbers missing)" if gaps else "images"
    line = timeline(path)
    if line.times is None or line.keyframes is None:
        return f"in order ({line.reason})"
    with opened(path) as (container, stream):
        keyframes = read_packets(container, stream).keyframes
    return "by time" if len(keyframes) == len(line.keyframes) else "in order (it cannot begin at a later keyframe)"


def cut_off(path: Path, frames: int) -> int:
    """About how many frames a video lacks of those that its header announces, if many.

    AVI headers often count one or two that never were; in webm a frame may be shown for long. An mp4 that is cut
    off cannot be decoded.
    """
    if path.is_dir():
        return 0
    times, lost = timeline(path).times, 0.0
    with opened(path) as (container, stream):
        if container.format.name == "avi":
            lost = stream.frames - frames
        elif times is not None and (end := CLOCK.fullmatch(stream.metadata.get("DURATION", ""))):
            h, m, s = map(float, end.groups())
            last = float(times[-1] * (stream.time_base or 0))
            lost = (3600 * h + 60 * m + s - last) * float(stream.average_rate or 0) - 1
    return round(lost) if lost > max(3, frames / 10) else 0


def seconds(path: Path, frames: int) -> float:
    """The length of a video; a folder of frames has none."""
    if path.is_dir():
        return float("nan")
    with opened(path) as (_, stream):
        return frames / float(stream.average_rate) if stream.average_rate else float("nan")


def look(frame: np.ndarray, side: int) -> str:
    """Whether each cell of a side x side grid is brighter than its neighbour on the left, as hex (a "dHash")."""
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)  # or else rounding makes cells equal
    cells = cv2.resize(gray, (side + 1, side), interpolation=cv2.INTER_AREA)
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()


def moves(frames: list[np.ndarray]) -> str:
    """Which cells of the frames differ from how they look in most of the frames, as hex: what moves, not where."""
    cells = [
        cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (FINE, FINE), interpolation=cv2.INTER_AREA) for f in frames
    ]
    usual = np.median(cells, axis=0)
    return np.packbits(np.abs(cells - usual) > MOVED).tobytes().hex()


def bits(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), np.uint8)


def ones(packed: np.ndarray) -> int:
    return int(np.bitwise_count(packed).sum())


def duplicates(checked: pd.DataFrame) -> pd.DataFrame:
    """Pairs of clips that show the same, also after another compression: columns a, b, split_a, split_b, differing.

    Compared are 8 frames of each clip, in 256 bits each, where a half of one of them looks the same in 32 bits.
    `differing` is the share of bits that differ, at most 0.1. Clips of one place look the same but for what moves in
    them: of that, half must be the same.
    """
    fine, coarse = FINE * FINE // 4, COARSE * COARSE // 4  # hex digits
    usable = checked[(checked["looks"] != "") & (checked["frames"] > 0)]
    by_look: dict[tuple[int, str], list[int]] = defaultdict(list)
    seen: dict[int, np.ndarray] = {}
    moved: dict[int, np.ndarray] = {}
    for row, looks, motion in zip(usable.index, usable["looks"], usable["moves"], strict=True):
        parts = [looks[i : i + fine + coarse] for i in range(0, len(looks), fine + coarse)]
        seen[row], moved[row] = bits("".join(p[:fine] for p in parts)), bits(motion)
        for place, part in enumerate(parts):
            for half in (part[fine : fine + coarse // 2], part[fine + coarse // 2 :]):
                if len(set(half)) > 2:  # one colour looks like any other
                    by_look[place, half].append(row)
    found: dict[tuple[int, int], float] = {}
    for rows in by_look.values():
        for i, a in enumerate(rows[:CROWD]):
            for b in rows[i + 1 : CROWD]:
                differing = ones(seen[a] ^ seen[b]) / (8 * len(seen[a]))
                allowed = max(FEW, ones(moved[a] | moved[b]) / 2)
                if differing <= SAME and ones(moved[a] ^ moved[b]) <= allowed:
                    found[a, b] = differing
    columns = ["a", "b", "split_a", "split_b", "differing"]
    pairs = [
        (checked["clip_id"][a], checked["clip_id"][b], checked["split"][a], checked["split"][b], differing)
        for (a, b), differing in sorted(found.items())
    ]
    return pd.DataFrame(pairs, columns=columns)
