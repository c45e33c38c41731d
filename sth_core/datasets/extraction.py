"""Optical flow of a whole dataset, extracted once, in parallel; an interrupted extraction is resumed."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from glob import escape
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from sth_core.datasets.media import flow_name, video_names, walk
from sth_core.datasets.trained_clips import file_bytes
from sth_core.errors import first_few
from sth_core.files import naming, short_name
from sth_core.prefetch import in_processes
from sth_core.resumable import Work, no_report, working_on
from sth_core.shards import read_shard, write_failures, write_table
from sth_core.video.container import UnreadableVideo
from sth_core.video.decoding import all_frames
from sth_core.video.flow import Extraction, flow_field, read_extraction
from sth_core.video.transforms import resize_frame

JPEG_QUALITY = 95
EXTRACTED = "extracted.parquet"  # the size of each video when its flow was extracted; earlier versions wrote none


def extract_flow(
    clips: pd.DataFrame,
    out: Path,
    how: Extraction,
    workers: int | None = None,
    *,
    folder: Path | None = None,
    command: str = "",
    overwrite: bool = False,
    progress: Callable[[int, int], None] = no_report,
    notify: Callable[[str], None] = no_report,
) -> dict[str, str]:
    """Write <out>/<video>/flow_x_00001.jpg and flow_y_00001.jpg of each clip's video, flow.json and failures.parquet.

    `folder` is the dataset's, by default that above `out`. A video of several clips is extracted once. Its folder
    appears when it is whole; those that are there are not extracted again, but for videos of another size than then,
    which `notify` gets. Returns the reason for each clip_id whose video could not be extracted.
    Raises UserError: `out` holds flow that was extracted in another way, or by others."""
    of_others = overwrite or not (out / "flow.json").is_file()
    owned = ("failures.parquet", EXTRACTED, *(flow_folders(out) if of_others else ()))
    work = Work(out, "flow.json", "extraction", asdict(how), owned)
    with working_on(work, command=command, overwrite=overwrite, notify=notify):
        read_extraction.cache_clear()
        targets, failures = flow_targets(clips, folder or out.parent, out)
        ids = clips.groupby("path")["clip_id"].agg(list)
        sizes, now = read_sizes(out), {path: file_bytes(path) for path in targets}
        changed = {path: target for path, target in targets.items() if sizes.get(path, now[path]) != now[path]}
        if changed:
            said = first_few([*changed])
            notify(f"videos of another size than when their flow was extracted, extracted again: {said}")
        missing = {path: target for path, target in targets.items() if not target.is_dir()}
        waiting = {path: (Path(path), target, how) for path, target in (missing | changed).items()}
        videos = clips["path"].nunique()
        progress(videos - len(waiting), videos)
        found = in_processes(extract_clip, waiting, workers)
        try:
            for done, (path, reason) in enumerate(found, start=videos - len(waiting) + 1):
                if reason:
                    failures |= dict.fromkeys(ids[path], reason)
                else:
                    sizes[path] = now[path]
                progress(done, videos)
        finally:
            table = pd.DataFrame({"path": list(sizes), "bytes": pd.Series(sizes.values(), dtype="int64")})
            write_table(out / EXTRACTED, table)
        write_failures(out, failures)
    return failures


def read_sizes(out: Path) -> dict[str, int]:
    """{path: bytes} of the videos whose flow was extracted into `out`, where that is known."""
    try:
        table = read_shard(out / EXTRACTED, ["path", "bytes"])
    except (pa.ArrowException, OSError, ValueError):
        return {}
    return dict(zip(table["path"].to_pylist(), table["bytes"].to_pylist(), strict=True))


def flow_folders(out: Path) -> list[str]:
    """The folders of flow images below a folder, as patterns of their paths there."""
    return [escape(str(path.relative_to(out))) for path, kind in walk(out) if kind == "flow"] if out.is_dir() else []


def flow_targets(clips: pd.DataFrame, folder: Path, out: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The folder of each video's flow, by its path, and why clips, by clip_id, have none."""
    failures = {row.clip_id: row.problem for row in clips.itertuples() if row.problem}
    usable = clips[clips["problem"] == ""]
    usable = usable.assign(video=video_names(usable, folder))
    targets = {}
    for name, rows in usable.groupby(usable["video"].map(flow_name)):
        if len(paths := rows["path"].unique()) == 1:
            targets[paths[0]] = out / name
        else:
            several = " and ".join(rows["video"].unique())
            failures |= dict.fromkeys(rows["clip_id"], f"{several} would have their flow in one folder, {out / name}")
    inner = {folder: target for target in targets.values() for folder in target.parents}
    for path, target in [*targets.items()]:
        if target in inner:
            del targets[path]
            why = f"the folder of its flow, {target}, would hold that of another video, {inner[target]}; rename one"
            failures |= dict.fromkeys(usable["clip_id"][usable["path"] == path], why)
    return targets, failures


def extract_clip(path: Path, target: Path, how: Extraction) -> str:
    """One clip's flow; returns why it could not be computed, or nothing."""
    unfinished = target.with_name(f".{short_name(target.name, target.name)}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        frames = (resize_frame(frame, how.side) for frame in all_frames(path))
        if (before := next(frames, None)) is None:
            raise UnreadableVideo(f"{path}: no frame can be decoded")
        number = 0
        for number, after in enumerate(frames, start=1):
            _write(unfinished, number, flow_field(before, after, how.bound, how.algorithm))
            before = after
        if number == 0:  # a single frame does not move
            _write(unfinished, 1, np.full((*before.shape[:2], 2), 128, np.uint8))
        if target.is_dir():  # of a video that was replaced
            shutil.rmtree(target)
        unfinished.replace(target)
    except UnreadableVideo as error:
        return str(error)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return ""


def _write(folder: Path, number: int, field: np.ndarray) -> None:
    for axis, image in zip("xy", np.moveaxis(field, -1, 0), strict=True):
        _, content = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        file = folder / f"flow_{axis}_{number:05d}.jpg"
        with naming(file):
            file.write_bytes(content.tobytes())
