"""Whether a dataset can be trained on: every clip is decoded, and described for the comparison with the others."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd

from sth_core.datasets.frame_defects import FrameDefects
from sth_core.datasets.media_facts import MediaFacts, facts_of, missing_numbers
from sth_core.datasets.thumbnails import pack_thumbnails, thumbnail, thumbnail_positions, unpack_thumbnails
from sth_core.errors import first_few
from sth_core.files import naming
from sth_core.prefetch import in_processes
from sth_core.resumable import no_report
from sth_core.values import fits, hints_of
from sth_core.video.clip_source import ClipSource
from sth_core.video.completeness import announced_frames
from sth_core.video.container import UnreadableVideo
from sth_core.video.decoding import (
    NumberedFrame,
    count_frames,
    decode_wanted,
    doubtful_frames,
    numbered_frames,
    read_frames,
)
from sth_core.video.segment import Segment
from sth_core.video.timeline import timeline

NAMED_FRAMES = 5  # at most, of those that are damaged


@dataclass(frozen=True)
class ClipCheck:
    """What was found in one clip.

    `problem` is why it cannot be used, `warning` what is wrong with it although it can. `seconds` are its frames by the
    average `rate`. `access` is "by time", or "in order" and why: then reading a frame takes as long as reading all
    before it. `exact` says whether frames read alone, and those around keyframes, equal those of the full decode.
    `begins_with` and its number of `empty` frames are those of `FrameDefects.beginning`. `brightness` is the mean gray
    level (0 to 255). `group` is empty where the clip has none but itself. `thumbnails` are those of `pack_thumbnails`.
    """

    clip_id: str
    path: str
    label: str
    split: str
    problem: str = ""
    warning: str = ""
    frames: int = 0
    seconds: float = math.nan
    width: int = 0
    height: int = 0
    rate: float = math.nan
    codec: str = ""
    container: str = ""
    pixel_format: str = ""
    access: str = ""
    exact: bool = False
    bytes: int = 0
    brightness: float = math.nan
    begins_with: str = ""
    empty: int = 0
    segment: str = ""
    group: str = ""
    changed: int = 0
    thumbnails: str = ""


@dataclass
class ClipReading:
    """One clip while its video is decoded: its frames are added in order, by their `numbers` in the whole video.

    `checksums` are those of the frames that can be decoded, `damaged` those that the decoder filled in from others.
    """

    clip: ClipCheck
    numbers: range
    defects: FrameDefects = field(default_factory=FrameDefects)
    checksums: dict[int, int] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)
    kept: dict[int, np.ndarray] = field(default_factory=dict)  # to compare with frames that are read alone

    def __post_init__(self) -> None:
        self.shown = [self.numbers[i] for i in thumbnail_positions(len(self.numbers))]

    def add(self, frame: NumberedFrame) -> None:
        if frame.number in self.numbers:
            self.defects.add(frame.pixels)
            self.checksums[frame.number] = crc32(frame.pixels.data)
            if frame.damaged:
                self.damaged.add(frame.number)
            if frame.number in self.shown:
                self.kept[frame.number] = frame.pixels

    def failed(self, error: UnreadableVideo) -> ClipCheck:
        return replace(self.clip, problem=str(error), frames=self.defects.frames)

    def result(self, facts: MediaFacts, access: str) -> ClipCheck:
        """Raises UnreadableVideo: some of its frames are damaged, or cannot be read alone."""
        path, decoded, count = Path(self.clip.path), self.defects.frames, len(self.numbers)
        if damaged := sorted({*self.numbers} - {*self.checksums} | self.damaged):
            listed = first_few([str(number) for number in damaged], NAMED_FRAMES)
            raise UnreadableVideo(f"{path}: {decoded} of {count} frames can be decoded; damaged: {listed}")
        small = [thumbnail(self.kept[number]) for number in self.shown]
        begins_with, empty = self.defects.beginning
        height, width, _ = self.kept[self.shown[0]].shape
        return replace(
            self.clip,
            frames=decoded,
            warning=facts.warning,
            seconds=decoded / facts.rate,
            width=width,
            height=height,
            rate=facts.rate,
            codec=facts.codec,
            container=facts.container,
            pixel_format=facts.pixel_format,
            access=access,
            exact=is_exact(path, self),
            brightness=round(float(np.mean(small)), 1),
            begins_with=begins_with,
            empty=empty,
            thumbnails=pack_thumbnails(small),
        )


def check_dataset(
    clips: pd.DataFrame, out: Path, workers: int | None = None, progress: Callable[[int, int], None] = no_report
) -> pd.DataFrame:
    """Decode every clip of `clips` (of `read_dataset`), in parallel; a row of `ClipCheck` for each.

    A clip that is there forward and backward has one row. Results are kept in <out>/checked.jsonl: the same call
    continues from there, and decodes again only files that have changed.
    """
    out.mkdir(parents=True, exist_ok=True)
    notes = out / "checked.jsonl"
    known = read_notes(notes)
    results: list[ClipCheck] = []
    waiting: dict[str, list[ClipCheck]] = {}
    clips = clips[~clips["backward"].astype(bool)]
    for row in clips.itertuples():
        group = "" if row.group == row.clip_id else row.group
        clip = ClipCheck(row.clip_id, row.path, row.label, row.split, row.problem, segment=row.segment, group=group)
        before = known.get((row.path, row.segment))
        if row.problem:
            results.append(clip)
        elif before and (before.bytes, before.changed) == size_and_time(Path(row.path)):
            results.append(replace(before, clip_id=row.clip_id, label=row.label, split=row.split, group=group))
        else:
            waiting.setdefault(row.path, []).append(clip)
    progress(len(results), len(clips))
    with naming(notes), notes.open("a", encoding="utf-8") as file:
        for _, found in in_processes(check_clips, {path: (of_one,) for path, of_one in waiting.items()}, workers):
            results += found
            file.writelines(json.dumps(vars(clip)) + "\n" for clip in found)
            file.flush()
            progress(len(results), len(clips))
    table = pd.DataFrame([vars(clip) for clip in results], columns=[column.name for column in fields(ClipCheck)])
    return table.sort_values("clip_id", ignore_index=True)


def read_notes(notes: Path) -> dict[tuple[str, str], ClipCheck]:
    """{(path, segment): result} of what an earlier check wrote, whose last line may be cut off.

    A damaged line, or one of another version, is left out: its clip is checked again."""
    hints, found = hints_of(ClipCheck), {}
    with naming(notes):
        lines = notes.read_bytes().splitlines() if notes.is_file() else ()
    for line in lines:
        with suppress(ValueError, RecursionError):
            values = json.loads(line)
            if not isinstance(values, dict) or values.keys() != hints.keys():
                continue
            if all(fits(values[name], hint) for name, hint in hints.items()):
                clip = ClipCheck(**values)
                unpack_thumbnails([clip.thumbnails])
                found[clip.path, clip.segment] = clip
    return found


def size_and_time(path: Path) -> tuple[int, int]:
    """Bytes and time of change; only the time for a folder of frames."""
    with suppress(OSError):
        stat = path.stat()
        return 0 if path.is_dir() else stat.st_size, stat.st_mtime_ns
    return -1, -1


def check_clip(clip: ClipCheck) -> ClipCheck:
    return check_clips([clip])[0]


def check_clips(clips: list[ClipCheck]) -> list[ClipCheck]:
    """Check the clips of one video, which is decoded once."""
    path = Path(clips[0].path)
    size, changed = size_and_time(path)
    clips = [replace(clip, bytes=size, changed=changed) for clip in clips]
    readings: list[ClipReading] = []
    checked = []
    try:
        count = count_frames(path)
        for clip in clips:
            try:
                numbers = ClipSource(path, segment=Segment.parse(clip.segment)).frames()
                readings.append(ClipReading(clip, numbers))
            except UnreadableVideo as error:
                checked.append(replace(clip, problem=str(error)))
        for frame in numbered_frames(path):
            for reading in readings:
                reading.add(frame)
        facts = facts_of(path)
        access = images_access(path) if path.is_dir() else video_access(path, count)
    except UnreadableVideo as error:
        if not readings and not checked:  # not one frame
            return [replace(clip, problem=str(error)) for clip in clips]
        return checked + [reading.failed(error) for reading in readings]
    for reading in readings:
        try:
            checked.append(reading.result(facts, access))
        except UnreadableVideo as error:
            checked.append(reading.failed(error))
    return checked


def is_exact(path: Path, whole: ClipReading) -> bool:
    """Whether three frames that are read alone equal those of the full decode, and those around keyframes too."""
    at = sorted(whole.kept)
    alone = (at[0], at[len(at) // 2], at[-1])
    if not all(np.array_equal(read_frames(path, [i])[0], whole.kept[i]) for i in alone):
        return False
    if path.is_dir() or not (doubtful := whole.checksums.keys() & doubtful_frames(path)):
        return True
    found = decode_wanted(path, doubtful)
    return all(crc32(np.ascontiguousarray(frame).data) == whole.checksums[i] for i, frame in found)


def images_access(folder: Path) -> str:
    missing = missing_numbers(folder)
    return f"images ({missing} numbers missing)" if missing else "images"


def video_access(path: Path, frames: int) -> str:
    """`ClipCheck.access` of a video with so many frames.

    Raises UnreadableVideo: it lacks frames that its header announces."""
    line = timeline(path)
    if (announced := announced_frames(path, frames, line.times)) > frames:
        raise UnreadableVideo(f"{path}: {frames} of {announced} frames are in it; it was cut off, or is damaged")
    return f"in order ({line.reason})" if line.reason else "by time"
