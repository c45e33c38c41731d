"""A folder of videos as one table of clips: clip_id, path, label, split, group."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sth_core.errors import UserError
from sth_core.video.decoding import VIDEO_SUFFIXES

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Annotation:
    """Where a manifest says what; empty means that it does not.

    `label`, `split` and `group` are columns of manifest.csv. Clips of one group (the same actors,
    the same source video) never lie on both sides of a split: without a `split` column the groups
    in `held_out` make the split "val", or without those a fifth of all groups, chosen by checksum.
    """

    label: str = "label"
    split: str = "split"
    group: str = ""
    held_out: tuple[str, ...] = ()


def read_dataset(folder: Path, annotation: Annotation) -> pd.DataFrame:
    """All clips of `folder`: those of its manifest.csv, else a class for each folder of videos.

    Layouts without a manifest: <class>/x.mp4 or <split>/<class>/x.mp4.

    Returns:
        clip_id (path relative to the folder), path (absolute), label, split, group; by clip_id.

    Raises:
        UserError: no such folder, no clips in it, or a manifest that lacks a column.
    """
    if not folder.is_dir():
        raise UserError(f"no such dataset folder: {folder}")
    manifest = folder / "manifest.csv"
    clips = _read_manifest(manifest, annotation) if manifest.is_file() else _read_folders(folder)
    if clips.empty:
        raise UserError(
            f"no clips in {folder}: it needs a manifest.csv (path,label,split) or a folder of videos "
            f"for each class ({', '.join(sorted(VIDEO_SUFFIXES))})"
        )
    if clips["clip_id"].duplicated().any():
        twice = clips.loc[clips["clip_id"].duplicated(), "clip_id"].iloc[0]
        raise UserError(f"{manifest}: {twice} is listed twice")
    without = clips["split"].eq("")
    if without.any() and not without.all():
        raise UserError(
            f"{folder}: {without.sum()} of {len(clips)} clips have no split, among them "
            f"{clips.loc[without, 'clip_id'].iloc[0]}; give all of them one ({', '.join(SPLITS)}), or none"
        )
    if without.all():
        clips["split"] = _split_by_group(clips["group"], annotation.held_out)
    clips["path"] = [str(folder.resolve() / clip_id) for clip_id in clips["clip_id"]]
    columns = ["clip_id", "path", "label", "split", "group"]
    return clips[columns].sort_values("clip_id", ignore_index=True)


def _read_manifest(manifest: Path, annotation: Annotation) -> pd.DataFrame:
    try:
        rows = pd.read_csv(manifest, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{manifest}: not a CSV file with a header line ({error})") from error
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes a first field too many for an index
        raise UserError(f"{manifest}: its lines have more fields than its header line")
    for column in filter(None, ("path", annotation.label, annotation.group)):
        if column not in rows:
            raise UserError(f"{manifest}: has no column {column!r}; its columns: {', '.join(rows.columns)}")
    return pd.DataFrame(
        {
            "clip_id": rows["path"].str.replace("\\", "/"),
            "label": rows[annotation.label],
            "split": rows.get(annotation.split, ""),
            "group": rows[annotation.group] if annotation.group else rows["path"],
        }
    )


def _read_folders(folder: Path) -> pd.DataFrame:
    rows = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = path.name.startswith(".")  # an unfinished file, or what macOS puts beside a file
        if path.suffix.lower() in VIDEO_SUFFIXES and len(parts) in (2, 3) and not hidden:
            split = parts[0] if len(parts) == 3 and parts[0] in SPLITS else ""
            clip_id = "/".join(parts)
            rows.append({"clip_id": clip_id, "label": parts[-2], "split": split, "group": clip_id})
    return pd.DataFrame(rows, columns=["clip_id", "label", "split", "group"])


def _split_by_group(groups: pd.Series, held_out: tuple[str, ...]) -> pd.Series:
    if held_out:
        return groups.isin(held_out).map({True: "val", False: "train"})
    return groups.map(lambda group: "val" if zlib.crc32(group.encode()) % 5 == 0 else "train")
