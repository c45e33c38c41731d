"""A dataset on disk, read as one table of clips."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd

from sth_core.datasets import official
from sth_core.datasets.blanks import lookalike_classes
from sth_core.datasets.dataset_folder import DatasetFolder
from sth_core.datasets.entries import Annotations, Entry, file_names
from sth_core.datasets.folders import class_folders
from sth_core.datasets.found import Found
from sth_core.datasets.lists import clip_lists
from sth_core.datasets.manifests import hugging_face, manifest
from sth_core.datasets.media import FLOW_FOLDER, Flow, Media, is_video, video_names
from sth_core.datasets.splits import assign_splits, pattern_groups
from sth_core.datasets.tables import DEFAULT_LABEL, AskedColumns
from sth_core.datasets.unread import refuse_unread, with_unread
from sth_core.errors import UserError
from sth_core.values import BadValue, Between, Items, OneOf, Text, check_fields

CLIP_COLUMNS = ["clip_id", "path", "label", "split", "group", "flow", "problem", "backward", "segment"]
FORWARD, BACKWARD = "forward", "backward"

DATASET_KINDS = TEMPORAL, APPEARANCE = ("temporal", "appearance")


@dataclass(frozen=True)
class Annotation:
    """How to read a dataset.

    `label`, `split` and `group` are columns of manifest.csv; empty: it has no such column. `group_pattern` is a regular
    expression that finds a clip's group in its path instead. Clips of one group (the same actors, the same source
    video) are never in two splits: without a split, the groups in `held_out` are the split "val", or, without those, a
    fifth of all groups, chosen by checksum. `format` is one of FORMATS, by default
    the first that fits. `fold` is the number of the official split (UCF-101, HMDB-51 and lists have three). `flow`
    is the folder of extracted flow, by default "flow" in the dataset's folder. With `direction` the table has each
    clip twice, played forward and backward, with labels such as "hug, backward", which no single frame can tell. `kind`
    says what the labels need, as Section 4.1 sorts datasets: "temporal" (order and motion), "appearance", or nothing.
    `folder` is a folder inside of the one that is given: the dataset's, where several lie beside each other.

    Raises BadValue: an unknown format, or another value that cannot be.
    """

    label: Text = DEFAULT_LABEL
    split: Text = "split"
    group: Text = ""
    group_pattern: Text = ""
    held_out: Annotated[tuple[Text, ...], Items(0, 100_000)] = ()
    format: Text = ""
    fold: Annotated[int, Between(1, 1000)] = 1
    flow: Text = ""
    direction: bool = False
    kind: Annotated[str, OneOf(("", *DATASET_KINDS))] = ""
    folder: Text = ""

    def __post_init__(self) -> None:
        check_fields(self)
        if Path(self.folder).is_absolute() or ".." in Path(self.folder).parts:
            raise BadValue(f"folder must be one inside of the data's folder, got {self.folder!r}")
        if self.format and self.format not in FORMATS:
            raise BadValue(f"unknown dataset format {self.format!r}; possible: {', '.join(FORMATS)}")

    @property
    def columns(self) -> AskedColumns:
        return AskedColumns(self.label, self.split, self.group)

    def inside(self, data: Path) -> Path:
        """The dataset's own folder, in the folder that a command was given."""
        return data / self.folder


def readers(annotation: Annotation) -> dict[str, Callable[[DatasetFolder], Annotations | None]]:
    """A reader for each format, in the order in which they are tried."""
    a, columns = annotation, annotation.columns
    return {
        "manifest": partial(manifest, columns=columns),
        "hugging_face": partial(hugging_face, columns=columns),
        "something_v1": partial(official.id_label_lists, prefix="something-something-v1"),
        "something_v2": official.something_v2,
        "jester": partial(official.id_label_lists, prefix="jester-v1"),
        "kinetics": official.kinetics,
        "ucf101": partial(official.ucf101, fold=a.fold),
        "hmdb51": partial(official.hmdb51, fold=a.fold),
        "lists": partial(clip_lists, fold=a.fold, columns=columns),
    }


FORMATS = (*readers(Annotation()), "folders")


@dataclass(frozen=True)
class Dataset:
    """A table of clips (`read_dataset`), and what was found in the folder that it was read from."""

    clips: pd.DataFrame
    found: Found


def read_dataset(data: Path, annotation: Annotation = Annotation()) -> pd.DataFrame:
    """The clips of `open_dataset`."""
    return open_dataset(data, annotation).clips


def open_dataset(data: Path, annotation: Annotation = Annotation()) -> Dataset:
    """All clips of a dataset, from its annotation files or, without any, a class for each folder of videos.

    Columns: clip_id (unique, sorted), path (absolute), label (empty if it is not known), split, group, flow (a folder
    of extracted flow, or empty), problem (why the clip cannot be used, with file and line; empty if it can), backward
    (whether it is to be played backward), segment (the part of the video that is the clip, as `Segment` writes it;
    empty: all of it).
    Raises UserError: no such folder, no clips in it, or annotation files that cannot be read."""
    folder = annotation.inside(data)
    if not folder.is_dir():
        raise UserError(f"no such dataset folder: {folder}")
    media = Media(folder.resolve(), folder.resolve() / annotation.flow if annotation.flow else None)
    read = read_annotations(folder, annotation, media)
    if not read.entries:
        raise UserError(
            f"no clips in {folder}: it needs a manifest.csv (path,label,split) or a folder of videos or of frames "
            f"for each class, or the annotation files of a dataset ({', '.join(FORMATS[1:-1])})"
        )
    clips = pd.DataFrame([_row(entry, media) for entry in unique_entries(read.entries)], columns=CLIP_COLUMNS)
    if clips["problem"].ne("").all():
        first = clips["problem"].iloc[0]
        raise UserError(f"none of the {len(clips)} clips of {folder} can be used; the first: {first}")
    group_source, notes = read.groups_from, (*read.notes, *lookalike_classes(clips["label"]))
    if annotation.group_pattern:
        clips["group"], more = pattern_groups(clips["clip_id"], annotation.group_pattern)
        group_source, notes = f"the pattern {annotation.group_pattern}", (*notes, *more)
    try:
        splits = assign_splits(clips, annotation.held_out, read.split_from, bool(group_source))
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    if read.files:
        media.leave_out("clip not in the annotation files", set(media.clips) - set(map(Path, clips["path"])))
    clips["split"] = splits.of_clips
    clips["flow"] = _flow(clips, media, Flow(folder.resolve() / (annotation.flow or FLOW_FOLDER)))
    found = Found(
        name=folder.resolve().name,
        clips=len(clips),
        unusable=int(clips["problem"].ne("").sum()),
        unlabelled=int(clips["label"].eq("").sum()),
        classes=clips.loc[clips["label"].ne(""), "label"].nunique(),
        splits=clips["split"].value_counts().to_dict(),
        groups=clips["group"].nunique(),
        read_from=file_names(read.files) or "its folders",
        split_source=splits.source,
        split_invented=splits.invented,
        group_source=group_source,
        left_out=tuple(media.left_out.sentences(media.folder, [file.resolve() for file in read.files])),
        notes=(*notes, *splits.notes),
    )
    if annotation.direction:
        clips = with_backward(clips)
    return Dataset(clips.sort_values("clip_id", ignore_index=True), found)


def only_inside(dataset: Dataset, folders: Sequence[Path]) -> Dataset:
    """The dataset, in which a clip has a `problem` if its video or flow, links followed, is outside of them."""
    allowed, names = [folder.resolve() for folder in folders], ", ".join(map(str, folders))
    clips = dataset.clips

    def outside(path: str) -> bool:
        return bool(path) and not any(Path(os.path.realpath(path)).is_relative_to(folder) for folder in allowed)

    # The same sentence whether it exists or not: it must not tell which files lie outside.
    problem = f"it lies outside of the folders that may be read: {names}"
    led_out = clips["path"].map(outside) | clips["flow"].map(outside)
    return replace(dataset, clips=clips.assign(problem=clips["problem"].mask(led_out, problem)))


def read_annotations(folder: Path, annotation: Annotation, media: Media) -> Annotations:
    """The clips that the folder's annotation files list or, without any, those of its folders."""
    wanted, source = annotation.format, DatasetFolder(folder, media)
    for name, read in readers(annotation).items():
        if wanted in ("", name) and (found := read(source)) is not None:
            return with_unread(found, source)
    if wanted not in ("", "folders"):
        raise UserError(f"{folder} holds no annotation files of the format {wanted!r}")
    unused = refuse_unread(source) if not wanted else ()
    found = class_folders(media)
    return replace(found, notes=(*found.notes, *unused))


def with_backward(clips: pd.DataFrame) -> pd.DataFrame:
    """Each clip twice, the second time to be played backward; labels name the direction."""
    label, clip_id = clips["label"], clips["clip_id"] + f" ({BACKWARD})"
    forward, backward = (label.where(label.eq(""), label + f", {way}") for way in (FORWARD, BACKWARD))
    twice = clips.assign(clip_id=clip_id, label=backward, backward=True)
    return pd.concat([clips.assign(label=forward), twice], ignore_index=True)


def unique_entries(entries: list[Entry]) -> list[Entry]:
    """The entries; one whose id was listed before gets a problem and an id of its own."""
    first: dict[str, Entry] = {}
    result = []
    for entry in entries:
        before = first.setdefault(entry.clip_id, entry)
        if before is not entry:
            problem = f"{entry.source}: {entry.clip_id} is listed twice, before in {before.source}"
            entry = replace(entry, clip_id=f"{entry.clip_id} ({entry.source})", problem=problem)
        result.append(entry)
    return result


def _row(entry: Entry, media: Media) -> tuple[str | bool, ...]:
    problem, path = entry.problem, media.folder / entry.name
    if not problem:
        found = media.find_all(entry.name, entry.label, entry.split) if entry.anywhere else [media.at(entry.name)]
        path = next(filter(None, found), path)
        videos = [other for other in found if other and is_video(other) == is_video(path)]
        if not any(found):
            problem = f"{entry.source}: no video or folder of frames {entry.name!r} in {media.folder}"
        elif len(videos) > 1:
            places = " and ".join(str(other.relative_to(media.folder)) for other in videos[:2])
            problem = f"{entry.source}: {entry.name!r} is {places} in {media.folder}; list the path of one of them"
    return (
        entry.clip_id,
        str(path),
        entry.label,
        entry.split,
        entry.group or entry.clip_id,
        "",
        problem,
        False,
        entry.segment,
    )


def _flow(clips: pd.DataFrame, media: Media, flow: Flow) -> pd.Series:
    """The folder of flow of each clip's video: one of no other video, else its own with flow beside the frames."""
    found = video_names(clips, media.folder).map(flow.find)
    of_several = clips["path"].groupby(found).transform("nunique").gt(1)
    found[of_several | found.eq(clips["path"])] = ""
    beside = clips["path"].where(clips["path"].isin([str(path) for path in media.with_flow]), "")
    return found.where(found.ne(""), beside)
