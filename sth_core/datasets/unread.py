"""Annotation files that no reader understood: they are refused or named, never passed over."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sth_core.datasets.class_names import may_list_classes, read_class_names
from sth_core.datasets.dataset_folder import DatasetFolder
from sth_core.datasets.entries import Annotations
from sth_core.datasets.list_files import HARMLESS, LIST_SUFFIXES, beside_its_clip, names_clips, split_in, words_of
from sth_core.datasets.list_lines import OR_FOLDERS, WANTED, not_used
from sth_core.datasets.text_files import text_lines
from sth_core.errors import UserError, first_few

WORDS = {"manifest", "metadata", "label", "labels", "annotation", "annotations", "split", "splits", "trainval"}
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
OTHER_SUFFIXES = (".parquet", ".xlsx", ".xls", ".ods", ".xml", ".pkl", ".pickle", ".npy", ".npz",
                  ".mat", ".arrow", ".feather", ".h5", ".hdf5", ".db", ".sqlite")  # fmt: skip
A_MANIFEST = "a manifest.csv with the columns path,label,split"


def refuse_unread(folder: DatasetFolder) -> tuple[str, ...]:
    """Notes on class lists that are not used; raises UserError if there is any other annotation file."""
    files = unread_files(folder)
    class_lists = [file for file in files if file.suffix in (*LIST_SUFFIXES, ".json") and _lists_classes(file, folder)]
    refused = [file for file in files if file not in class_lists]
    if refused:
        others = first_few([str(file.relative_to(folder.path)) for file in refused[1:]], 2)
        more = f" (nor {'is' if len(refused) == 2 else 'are'} {others})"
        raise UserError(refusal(refused[0]) + more * (len(refused) > 1))
    return tuple(f"{file.name} is not used: classes are called by their folders" for file in class_lists)


def with_unread(found: Annotations, folder: DatasetFolder) -> Annotations:
    """With a note of the annotation files that were not read, apart from those for other folds and for flow."""
    alike = {(file.parent, _pattern(file)) for file in found.files}
    others = [file for file in unread_files(folder, found.files) if (file.parent, _pattern(file)) not in alike]
    if not others:
        return found
    note = f"not read: {first_few([str(file.relative_to(folder.path)) for file in others])}"
    return replace(found, notes=(*found.notes, note))


def unread_files(folder: DatasetFolder, read: Iterable[Path] = ()) -> list[Path]:
    """The files but those that were `read` that are called as annotation files, or that name clips."""
    known = set(read)
    return [file for file in folder.other_files if file not in known and _is_annotation(file, folder)]


def refusal(file: Path) -> str:
    """Why a file is not used: what stands in it and what is wanted instead."""
    suffix = file.suffix.lower()
    if suffix in LIST_SUFFIXES:
        source, line = next(text_lines(file))
        return not_used(file, source, line, f"{WANTED}, in a file whose name has train, val or test; or {A_MANIFEST}")
    what = f"{suffix} files are not read"
    if suffix in JSON_SUFFIXES:
        what = "no format is known whose JSON is like this"
    if suffix == ".parquet":
        try:
            what = f"it lacks a column path or file_name; its columns: {', '.join(pq.read_schema(file).names)}"
        except (OSError, pa.ArrowException):
            what = "it is no Parquet file"
    return f"{file} is not used: {what}; wanted: {A_MANIFEST}; {OR_FOLDERS}"


def _is_annotation(file: Path, folder: DatasetFolder) -> bool:
    suffix, words = file.suffix.lower(), words_of(file)
    if suffix not in (*LIST_SUFFIXES, *JSON_SUFFIXES, *OTHER_SUFFIXES) or words & HARMLESS:
        return False
    if beside_its_clip(file, folder):
        return False
    if words & WORDS or split_in(file.stem) or may_list_classes(file):
        return True
    return names_clips(file, folder) or (suffix in JSON_SUFFIXES and _json_names(file, folder))


def _json_names(file: Path, folder: DatasetFolder) -> bool:
    """Whether one of the first strings of a JSON file names a clip."""
    with file.open(encoding="utf-8", errors="replace") as content:
        strings = re.findall(r'"((?:[^"\\]|\\.)*)"', content.read(20_000))
    return any(folder.clip(_unescaped(text)) for text in strings if "." in text or "/" in text)


def _unescaped(text: str) -> str:
    """A string of JSON; as it is if it has a backslash that JSON does not know, as in a path of Windows."""
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def _lists_classes(file: Path, folder: DatasetFolder) -> bool:
    try:
        return may_list_classes(file) and read_class_names(file, folder) is not None
    except UserError:
        return True  # one with a mistake, which does not matter where it is not used


def _pattern(file: Path) -> str:
    """The same for the lists of other folds and of flow."""
    return re.sub(r"\d+", "0", file.name.lower().replace("flow", "rgb"))
