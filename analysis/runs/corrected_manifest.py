"""A dataset's manifest with the labels that somebody corrected by tags, and without the clips that were excluded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.runs.notes import EXCLUDED, WRONG_LABEL, notes_table
from analysis.runs.run_directory import Run, clips_of
from sth_core.datasets.dataset_folder import DatasetFolder
from sth_core.datasets.manifests import manifest, manifest_file
from sth_core.datasets.media import Media, counted
from sth_core.datasets.table import Annotation, open_dataset
from sth_core.datasets.tables import AskedColumns, find_columns, read_table
from sth_core.errors import UserError, first_few
from sth_core.files import error_sentence
from sth_core.video.segment import FRAMES, SECONDS, Segment

BOTH_WAYS = (
    "This run has each clip forward and backward, and its labels say which: correct the manifest by a run that does not"
)


@dataclass(frozen=True)
class CorrectedManifest:
    """The rows of a manifest, as `read_dataset` reads them from `manifest.csv`, and what the tags changed in them.

    `source` says where the rows come from. `corrected` is {clip: (label before, now)}; `excluded` and `undecided` (a
    wrong label whose right one nobody said) are left out; `missing` are tagged clips that the source does not list."""

    table: pd.DataFrame
    source: str
    corrected: Mapping[str, tuple[str, str]]
    excluded: tuple[str, ...]
    undecided: tuple[str, ...]
    missing: tuple[str, ...]

    @cached_property
    def sentences(self) -> list[str]:
        """What was done, with the numbers of clips."""
        rows = f"{counted(len(self.table), 'clip')} of {self.source}"
        said = [f"{rows}: {counted(len(self.corrected), 'label')} corrected, {len(self.excluded):,} excluded."]
        if self.undecided:
            which = f"{counted(len(self.undecided), 'clip')} left out ({first_few(self.undecided)})"
            said.append(
                f"{which}: tagged {WRONG_LABEL!r} without the right class. Give it on its page or in a gallery."
            )
        if self.missing:
            said.append(f"Not listed there, so not changed: {first_few(self.missing)}.")
        return said


def corrections(run: Run) -> tuple[dict[str, str], set[str], set[str]]:
    """What the tags say of the run's clips: ({clip: right label}, excluded, wrong labels without the right one)."""
    labels, excluded, undecided = dict[str, str](), set[str](), set[str]()
    for row in notes_table(run).itertuples():
        if EXCLUDED in row.tags:
            excluded.add(row.clip_id)
        elif row.right_label:
            labels[row.clip_id] = row.right_label
        elif WRONG_LABEL in row.tags:
            undecided.add(row.clip_id)
    return labels, excluded, undecided


def correct_manifest(run: Run, may_read: Callable[[Path], bool] = lambda _: True) -> CorrectedManifest:
    """The manifest of the run's dataset, corrected by the tags of the run.

    Its columns are those of the dataset's own manifest; of another dataset path, label, split and group where they are
    not invented, start and end of parts of videos. Of a dataset that is not there, or that `may_read` refuses, the rows
    are the run's clips.

    Raises:
        UserError: the run's labels are not the dataset's (it has each clip forward and backward).
    """
    if run.meta.get("direction"):
        raise UserError(f"{BOTH_WAYS}.")
    labels, excluded, undecided = corrections(run)
    rows, label, source = listed_rows(run, may_read)
    clips, before = list(rows.index), list(rows[label])
    right = [labels.get(clip, old) for clip, old in zip(clips, before, strict=True)]
    changed = {c: (old, new) for c, old, new in zip(clips, before, right, strict=True) if old != new}
    kept = rows.assign(**{label: right})[~rows.index.isin(excluded | undecided)]
    left_out, unsaid = (tuple(sorted(some & set(clips))) for some in (excluded, undecided))
    missing = tuple(sorted((set(labels) | excluded | undecided) - set(clips)))
    return CorrectedManifest(kept.reset_index(drop=True), source, changed, left_out, unsaid, missing)


def listed_rows(run: Run, may_read: Callable[[Path], bool]) -> tuple[pd.DataFrame, str, str]:
    """(rows by clip_id, the column of labels, where they come from)."""
    data = Path(run.meta.get("data") or "")
    why = "" if run.meta.get("data") else "the run does not name its dataset"
    if not why and not may_read(data):
        why = f"this app may not read its dataset ({data})"
    try:
        if not why:
            rows, label, source = dataset_rows(data, run, may_read)
            if set(clips_of(run, ())["clip_id"]) <= set(rows.index):
                return rows, label, source
            why = f"{data} does not list all of them"
    except (UserError, OSError) as error:
        why = error_sentence(error)
    clips = clips_of(run, ("path", "segment")).astype({"label": str})
    parts = clips["segment"] if "segment" in clips else pd.Series("", clips.index)
    rows = with_parts(clips[["path", "label"]], parts).set_index(clips["clip_id"])
    return rows, "label", f"the run alone, since {why.rstrip('.')}"


def dataset_rows(data: Path, run: Run, may_read: Callable[[Path], bool]) -> tuple[pd.DataFrame, str, str]:
    """`listed_rows` of the dataset's folder. Raises UserError: it is not there, or cannot be read."""
    annotation = Annotation(label=run.meta.get("label", ""), group_pattern=run.meta.get("group_pattern", ""))
    if not data.is_dir():
        raise UserError(f"its dataset is not there ({data})")
    columns, folder = annotation.columns, DatasetFolder(data, Media(data.resolve()))
    file = manifest_file(folder)
    if file is not None and not may_read(file):
        raise UserError(f"this app may not read {file}")
    if file is not None and (read := manifest(folder, columns)):
        return manifest_rows(file, [entry.clip_id for entry in read.entries], columns)
    dataset, root = open_dataset(data, annotation), data.resolve()
    paths = [Path(path) for path in dataset.clips["path"]]
    clips = dataset.clips.assign(path=[str(p.relative_to(root) if p.is_relative_to(root) else p) for p in paths])
    columns_of = ["path", "label", *["split"] * (not dataset.found.split_invented)]
    columns_of += ["group"] * bool(dataset.found.group_source)
    return with_parts(clips[columns_of], clips["segment"]).set_index(clips["clip_id"]), "label", str(data)


def manifest_rows(file: Path, clip_ids: list[str], columns: AskedColumns) -> tuple[pd.DataFrame, str, str]:
    read = read_table(file)
    rows = pd.DataFrame([row for _, row in read.rows], columns=list(read.columns), dtype=object)
    label = find_columns(read, columns)[0].label
    if not label:
        label = columns.label
        rows[label] = ""
    return rows.set_index(pd.Index(clip_ids)), label, str(file)


def with_parts(clips: pd.DataFrame, segments: pd.Series) -> pd.DataFrame:
    """With start and end (seconds), or start_frame and end_frame, if any clip is a part of its video."""
    parts = [Segment.parse(str(text)) for text in segments]
    for unit, names in ((SECONDS, ("start", "end")), (FRAMES, ("start_frame", "end_frame"))):
        of_unit = [part if part.unit == unit and not part.whole else None for part in parts]
        if any(of_unit):
            starts = [written(part.start) if part else "" for part in of_unit]
            stops = [written(part.stop) if part else "" for part in of_unit]
            clips = clips.assign(**dict(zip(names, (starts, stops), strict=True)))
    return clips


def written(number: float | None) -> str:
    return "" if number is None else np.format_float_positional(number, trim="-")
