"""One clip of an annotation file, and readers of such files that know the line of each clip."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sth_core.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Entry:
    """One clip of an annotation file.

    `name` is the path of its video below the dataset's folder or, with `anywhere`, the end of one, with or without
    suffix. `source` is the file and line, for messages; `problem` is why the clip cannot be used, if so. `segment` is
    the part of the video that is the clip: "" for the whole video, "2.5-7 s" in seconds, "75-210 frames" in frames
    counted from 0 without the last; either end may be missing ("75- frames").
    """

    clip_id: str
    name: str
    label: str
    split: str
    source: str
    group: str = ""
    problem: str = ""
    anywhere: bool = True
    segment: str = ""


@dataclass(frozen=True)
class Annotations:
    """What a reader found: the clips, the files that it read, and sentences for the user on what it assumed.

    `split_from` and `groups_from` say where the splits and the groups come from ("train.csv, val.csv", "the column
    sequence"); empty: there are none.
    """

    entries: list[Entry]
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    split_from: str = ""
    groups_from: str = ""


def file_names(files: Iterable[Path]) -> str:
    """The names of files, for a sentence."""
    return ", ".join(file.name for file in files)


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark; raises UserError with the line in another encoding."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(file and line, text) of each line that is not blank; raises UserError if there is none."""
    text = read_text(path)
    if not text.strip():
        raise UserError(f"{path} is empty")
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def csv_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(file and line, row) of a CSV file with a header line; raises UserError where fields are too many or few."""
    reader = csv.DictReader(read_text(path).splitlines(keepends=True), strict=True)
    try:
        if not reader.fieldnames:
            raise UserError(f"{path}: not a CSV file with a header line (it is empty)")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row:
                raise UserError(f"{where}: has more fields than the header line ({', '.join(reader.fieldnames)})")
            if missing := [name for name, value in row.items() if value is None]:
                raise UserError(f"{where}: has no field for {', '.join(missing)}")
            yield where, row
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num + 1}: not a CSV file with a header line ({error})") from error


def csv_header(path: Path) -> list[str]:
    """The column names of a CSV file; none if it is no such file."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, csv.Error):
        return []


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises UserError with the line that is not JSON."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error


def known_label(label: str, labels: set[str], source: str, where: Path) -> str:
    """The problem of a label that is not in the list of labels; empty if it is."""
    return "" if label in labels or not labels else f"{source}: the label {label!r} is not in {where}"
