"""A manifest of clips, and the metadata files of Hugging Face's VideoFolder."""

import posixpath
from dataclasses import replace
from pathlib import Path

from sth_core.datasets.class_names import find_class_names
from sth_core.datasets.dataset_folder import DatasetFolder
from sth_core.datasets.entries import SPLITS, Annotations, Entry
from sth_core.datasets.folders import split_of
from sth_core.datasets.lists import with_class_names
from sth_core.datasets.tables import TABLE_SUFFIXES, AskedColumns, read_table, table_entries
from sth_core.datasets.text_files import csv_header
from sth_core.errors import UserError


def manifest(folder: DatasetFolder, columns: AskedColumns) -> Annotations | None:
    """manifest.csv, .tsv, .jsonl or .parquet in the folder or, if there is only one, below it.

    Columns of time make a clip a part of a video. Raises UserError: it lacks a column, or there are two."""
    file = manifest_file(folder)
    if file is None:
        return None
    read = table_entries(read_table(file), columns)
    entries, notes = folder.placed(read.entries, file)
    return replace(read, entries=entries, notes=(*read.notes, *notes))


def manifest_file(folder: DatasetFolder) -> Path | None:
    """The manifest in the folder or, if there is only one, below it. Raises UserError: there are two."""
    files = _tables(folder, "manifest")
    at_top = [file for file in files if file.parent == folder.path] or files
    if len(at_top) > 1:
        raise UserError(f"{at_top[0]} and {at_top[1]} both list clips; leave one of them")
    return at_top[0] if at_top else None


def hugging_face(folder: DatasetFolder, columns: AskedColumns) -> Annotations | None:
    """metadata.csv, .jsonl or .parquet with a column `file_name`, a path below the folder of this file.

    Splits are a column, or folders called train, validation and test. Numbers stand for the names in a class list, as
    in lists of clips. Source: Hugging Face, "Create a video dataset" (VideoFolder). Raises UserError: a file lacks a
    column, or there are two in a folder."""
    tables = [read_table(file) for file in _tables(folder, "metadata") if _has_file_names(file)]
    tables = [table for table in tables if "file_name" in table.columns]
    if not tables:
        return None
    files = [table.file for table in tables]
    if twice := next((file for i, file in enumerate(files) if file.parent in [f.parent for f in files[:i]]), None):
        raise UserError(f"there are several metadata files in {twice.parent}; leave one of them")
    read = [table_entries(table, columns) for table in tables]
    entries = [
        _below(entry, annotations.files[0].parent.relative_to(folder.path))
        for annotations in read
        for entry in annotations.entries
    ]
    found = [of for of in SPLITS if any(entry.split == of for entry in entries)]
    of_split = [annotations.split_from for annotations in read if annotations.split_from]
    classes = find_class_names(folder, files[0].parent)
    entries, notes = with_class_names(entries, classes)
    return Annotations(
        entries,
        (*files, *([classes.file] if classes else [])),
        (*dict.fromkeys(note for annotations in read for note in annotations.notes), *notes),
        split_from=of_split[0] if of_split else f"the folders {', '.join(found)}" if found else "",
        groups_from=read[0].groups_from,
    )


def _has_file_names(file: Path) -> bool:
    """Whether it is worth reading: JSON that is no list of lines is something else."""
    suffix = file.suffix.lower()
    return suffix != ".json" and (suffix not in (".csv", ".tsv") or "file_name" in csv_header(file))


def _tables(folder: DatasetFolder, stem: str) -> list[Path]:
    return [file for file in folder.files(*TABLE_SUFFIXES) if file.stem.lower() == stem]


def _below(entry: Entry, own: Path) -> Entry:
    """The entry with its path below the dataset's folder, and the split that a folder on it names."""
    if not entry.name:
        return entry
    name = posixpath.normpath((own / entry.name).as_posix())
    of_folder = next((split for part in Path(name).parts[:-1] if (split := split_of(part))), "")
    group = name if entry.group == entry.name else entry.group
    clip_id = entry.clip_id.replace(entry.name, name, 1)
    return replace(entry, clip_id=clip_id, name=name, split=entry.split or of_folder, group=group)
