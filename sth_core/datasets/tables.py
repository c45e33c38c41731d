"""Tables of clips with named columns: CSV, JSON lines and Parquet files."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sth_core.datasets.class_names import normalised_label
from sth_core.datasets.entries import Annotations, Entry, NoSuchColumn
from sth_core.datasets.list_lines import path_text
from sth_core.datasets.media import counted
from sth_core.datasets.splits import WORDS_OF_SPLITS
from sth_core.datasets.text_files import as_table_text, csv_header, csv_rows, read_json, text_lines
from sth_core.errors import UserError
from sth_core.values import has_surrogates
from sth_core.video.segment import Segment

DEFAULT_LABEL = "label"  # the column of labels, where no other is asked for
DEFAULT_SPLIT = "split"
TABLE_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
PATH_COLUMNS = ("path", "file_name", "video_path", "clip_path", "file_path", "filepath", "filename", "file",
                "video_name", "video", "clip_name", "clip", "video_id", "clip_id", "id", "name")  # fmt: skip
LABEL_COLUMNS = (
    "label",
    "class",
    "category",
    "action",
    "class_name",
    "label_name",
    "class_id",
    "label_id",
    "target",
    "labels",
)
SPLIT_COLUMNS = ("subset", "partition", "set", "phase")
SECONDS = (("start", "end"), ("start_time", "end_time"), ("time_start", "time_end"), ("start_sec", "end_sec"))
FRAMES = (("start_frame", "end_frame"),)
OF_TIME = {"start", "stop", "begin", "end", "frame", "onset", "duration"}  # in the name of a column


@dataclass(frozen=True)
class Table:
    """A file's rows, each with its file and line, as text; a missing value is empty."""

    file: Path
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, dict[str, str]]]
    trimmed: tuple[str, ...] = ()  # fields that had blanks around them, each with its file and line

    def column(self, name: str) -> str:
        """The column of this name, or the only one of this name in other case; empty: there is none."""
        alike = [column for column in self.columns if column.lower() == name.lower()]
        return name if name in self.columns else alike[0] if len(alike) == 1 else ""

    def lacking(self, column: str) -> NoSuchColumn:
        return NoSuchColumn(self.file, column, self.columns)


@dataclass(frozen=True)
class AskedColumns:
    """The columns that the user names, `Annotation.label` and so on; empty: there is none."""

    label: str = DEFAULT_LABEL
    split: str = DEFAULT_SPLIT
    group: str = ""


@dataclass(frozen=True)
class FoundColumns:
    """Which columns of a table hold what; empty: none does."""

    path: str
    label: str
    split: str
    group: str
    start: str
    end: str
    unit: str


def has_path_column(columns: Iterable[str]) -> bool:
    return any(column.lower() in PATH_COLUMNS for column in columns)


def path_column(table: Table) -> str:
    return next(filter(None, map(table.column, PATH_COLUMNS)), "")


def read_table(file: Path) -> Table:
    """Raises UserError with file and line: it cannot be read."""
    if file.suffix.lower() == ".parquet":
        return _parquet_table(file)
    if file.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return _json_table(file)
    trimmed: list[str] = []
    rows = list(csv_rows(file, trimmed))
    return Table(file, tuple(csv_header(file)), rows, tuple(trimmed))


def table_entries(table: Table, asked: AskedColumns, of_file: str = "") -> Annotations:
    """The clips of a table; `of_file` is the split of those that no column gives one.

    Raises UserError: it lacks a column."""
    columns, notes = find_columns(table, asked)
    entries = [_entry(source, row, columns, of_file) for source, row in table.rows]
    if table.trimmed:
        fields = counted(len(table.trimmed), "field")
        notes += (f"blanks around {fields} of {table.file.name} are not read, the first in {table.trimmed[0]}",)
    of_split = f"the column {columns.split}" if columns.split else table.file.name if of_file else ""
    groups = f"the column {asked.group}" if asked.group else "the video of each part" if columns.unit else ""
    return Annotations(entries, (table.file,), notes, of_split, groups)


def find_columns(table: Table, asked: AskedColumns) -> tuple[FoundColumns, tuple[str, ...]]:
    """(the columns of a table, notes); raises UserError: it lacks one."""
    name, columns, notes = table.file.name, table.columns, []
    path = path_column(table)
    if not path:
        raise table.lacking("path")
    start, end, unit = _of_time(table)
    of_split = _split_column(table, asked.split)
    known = {path, of_split, asked.group, start, end}
    of_label = _label_column(table, asked.label, known)
    if asked.group and asked.group not in columns:
        raise table.lacking(asked.group)
    _refuse_several(table, of_label)
    if of_label.lower() != asked.label.lower():
        none = f"{name} has no column {asked.label!r}, so its clips have no labels; its columns: {', '.join(columns)}"
        notes.append(f"labels are from the column {of_label} of {name}" if of_label else none)
    if of_split.lower() not in ("", asked.split.lower()):
        notes.append(f"splits are from the column {of_split} of {name}")
    if unit:
        bounds = " and ".join(filter(None, (start, end)))
        counted_from = "in seconds" if unit == "s" else "in frames counted from 0, the last not included"
        notes.append(f"clips are parts of videos, by the columns {bounds} of {name}, {counted_from}")
    unread = [c for c in columns if set(re.split(r"[^a-z]+", c.lower())) & OF_TIME and c not in {*known, of_label}]
    if unread:
        notes.append(f"not read: the columns {', '.join(unread)} of {name}")
    return FoundColumns(path, of_label, of_split, asked.group, start, end, unit), tuple(notes)


def _label_column(table: Table, label: str, known: set[str]) -> str:
    if not label or table.column(label):
        return table.column(label)
    if label != DEFAULT_LABEL:
        raise table.lacking(label)
    candidates = [column for column in table.columns if column.lower() in LABEL_COLUMNS and column not in known]
    return candidates[0] if len(candidates) == 1 else ""


def _refuse_several(table: Table, column: str) -> None:
    """Raises UserError if labels are numbers, of which a row has several: "0 3"."""
    labels = [(source, row[column]) for source, row in table.rows if column and row[column]]
    if all(re.fullmatch(r"\d+([ ,;|/]+\d+)*", label) for _, label in labels):
        for source, label in labels:
            if not label.isdecimal():
                raise UserError(f"{source}: {column} is {label!r}; a clip has one label, and several are not supported")


def _split_column(table: Table, split: str) -> str:
    if not split or table.column(split):
        return table.column(split)
    if split != DEFAULT_SPLIT:
        raise table.lacking(split)
    return next(
        (
            column for column in table.columns
            if column.lower() in SPLIT_COLUMNS and all(row[column].lower() in WORDS_OF_SPLITS for _, row in table.rows)
        ),
        "",
    )  # fmt: skip


def _of_time(table: Table) -> tuple[str, str, str]:
    """(column of the start, of the end, unit), empty if there are none."""
    found = [
        (table.column(start), table.column(end), unit)
        for pairs, unit in ((SECONDS, "s"), (FRAMES, "frames")) for start, end in pairs
        if table.column(start) or table.column(end)
    ]  # fmt: skip
    if len(found) > 1:
        names = ", ".join(name for start, end, _ in found for name in (start, end) if name)
        raise UserError(f"{table.file}: the columns {names} give a clip's start or end twice; leave one pair")
    return found[0] if found else ("", "", "")


def _entry(source: str, row: dict[str, str], columns: FoundColumns, of_file: str) -> Entry:
    name, label = path_text(row[columns.path]), normalised_label(row[columns.label]) if columns.label else ""
    problem = "" if name else f"{source}: no path"
    of_row = row[columns.split] if columns.split else ""
    split = WORDS_OF_SPLITS.get(of_row.lower(), of_row) or of_file
    if split not in ("", *WORDS_OF_SPLITS.values()):
        problem = f"{source}: the split {of_row!r} is none of {', '.join(WORDS_OF_SPLITS)}"
    if columns.label and not label and split == "train":
        problem = f"{source}: no label"
    segment = ""
    try:
        segment = segment_text(row.get(columns.start, ""), row.get(columns.end, ""), columns.unit)
    except ValueError as error:
        problem = f"{source}: {error}"
    clip_id = f"{name} ({segment})" if segment else name
    group = row[columns.group] if columns.group else name
    return Entry(clip_id, name, label, split, source, group, problem, segment=segment)


def segment_text(start: str, end: str, unit: str) -> str:
    """The part of a video from `start` to `end`, either of which may be empty, as `Entry.segment` has it.

    Raises ValueError: no numbers, or it ends before it begins."""
    first, last = (_bound(text, unit) for text in (start, end))
    if last is not None and last <= (first or 0):
        raise ValueError(f"the clip ends at {end}, and begins at {start or 0}")
    return str(Segment(first or 0, last, unit)) if unit else ""


def _bound(text: str, unit: str) -> float | None:
    if not text:
        return None
    parts = text.split(":") if unit == "s" else [text]  # 1:02:03.5
    if not all(re.fullmatch(r"\d+(\.\d*)?|\.\d+", part) for part in parts) or len(parts) > 3:
        raise ValueError(f"must be {'seconds' if unit == 's' else 'the number of a frame'}, is {text!r}")
    number = sum(float(part) * 60**power for power, part in enumerate(reversed(parts)))
    if unit == "frames" and not number.is_integer():
        raise ValueError(f"must be the number of a frame, is {text!r}")
    return number


def _json_table(file: Path) -> Table:
    rows: list[tuple[str, dict[str, str]]] = []
    trimmed: list[str] = []
    for source, row in _json_list(file) if file.suffix.lower() == ".json" else _json_lines(file):
        if not isinstance(row, dict):
            raise UserError(f"{source}: must be a JSON object, is {row!r}")
        rows.append((source, {str(key): _as_text(value, source, str(key), trimmed) for key, value in row.items()}))
    return _complete(file, dict.fromkeys(key for _, row in rows for key in row), rows, trimmed)


def _json_list(file: Path) -> Iterator[tuple[str, Any]]:
    content = read_json(file)
    if not isinstance(content, list):
        raise UserError(f"{file}: must be a list of clips, is a {type(content).__name__}")
    for number, row in enumerate(content, start=1):
        yield f"{file}, clip {number}", row


def _json_lines(file: Path) -> Iterator[tuple[str, Any]]:
    for source, line in text_lines(file):
        try:
            yield source, json.loads(line)
        except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
            raise UserError(f"{source}: not JSON ({getattr(error, 'msg', error)})") from error


def _parquet_table(file: Path) -> Table:
    try:
        schema = pq.read_schema(file)
        plain = [field.name for field in schema if not pa.types.is_nested(field.type) and not _is_binary(field.type)]
        columns = pq.read_table(file, columns=plain).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: not a Parquet file ({str(error).splitlines()[0]})") from error
    for name, names in _class_labels(schema).items():
        if name in columns:
            columns[name] = [_class_name(v, names, f"{file}, row {i}") for i, v in enumerate(columns[name], start=1)]
    rows: list[tuple[str, dict[str, str]]] = []
    trimmed: list[str] = []
    for number, values in enumerate(zip(*columns.values(), strict=True), start=1):
        source = f"{file}, row {number}"
        row = dict(zip(columns, values, strict=True))
        rows.append((source, {key: _as_text(value, source, key, trimmed) for key, value in row.items()}))
    return _complete(file, plain, rows, trimmed)


def _class_name(value: object, names: list[str], source: str) -> object:
    """The name of a class by its number; None for -1, which Hugging Face writes where there is no label."""
    if not isinstance(value, int):
        return value
    if not -1 <= value < len(names):
        raise UserError(f"{source}: class {value} is not one of the {len(names)} that the file names, from 0 on")
    return names[value] if value >= 0 else None


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the classes by column, as Hugging Face's library writes them beside its numbers."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: of["names"] for name, of in features.items() if of.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, AttributeError):
        return {}


def _complete(
    file: Path, columns: Iterable[str], rows: Sequence[tuple[str, dict[str, str]]], trimmed: Sequence[str]
) -> Table:
    empty = dict.fromkeys(columns, "")
    return Table(file, tuple(empty), [(source, empty | row) for source, row in rows], tuple(trimmed))


def _as_text(value: Any, source: str, column: str, trimmed: list[str]) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, list | dict) and column.lower() in LABEL_COLUMNS:
        raise UserError(f"{source}: {column} is {value!r}; a clip has one label, and several are not supported")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    if has_surrogates(text):
        raise UserError(f"{source}: {column} is {text!r}, which is not Unicode text")
    return as_table_text(f"{source}, {column}", text, trimmed)
