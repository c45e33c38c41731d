"""The text of annotation files, with the file and the line of each piece."""

import csv
import io
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sth_core.datasets.blanks import BLANK
from sth_core.errors import UserError
from sth_core.files import as_written

LINE_END = re.compile(r"\r\n|\r|\n")  # not str.splitlines()'s, for the same reason
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
FIRST_LINES = 50  # among which a header line lies
SEPARATORS = (",", ";", "\t")


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark; raises UserError with the line in another encoding."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if content.startswith(UTF_16):
        raise UserError(f"{path}: UTF-16, not UTF-8; save the file as UTF-8")
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
    for number, line in enumerate(LINE_END.split(text), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip(BLANK)


def csv_rows(path: Path, trimmed: list[str] | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """(file and line, row) of a CSV file with a header line, without blanks around its fields.

    `trimmed` gets the file, line and text of each field that had blanks. Fields are separated by commas or, if the
    header line has none, by semicolons or tabs. Raises UserError where fields are too many or few."""
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), skipinitialspace=True, strict=True)
    rows = ([as_table_text(f"{path}, line {reader.line_num}", field, trimmed) for field in fields] for fields in reader)
    line = 0  # the last one of the row before
    try:
        names = next((row for row in rows if _names_columns(row)), [])
        if not names:
            raise UserError(f"{path}: not a CSV file with a header line (it is empty)")
        if twice := next((name for name in names if name and names.count(name) > 1), None):
            raise UserError(f"{path}: has two columns {twice!r}; leave one of them")
        line = reader.line_num
        for fields in filter(any, rows):
            line, where = reader.line_num, f"{path}, line {reader.line_num}"
            if len(fields) > len(names):
                raise UserError(f"{where}: has more fields than the header line ({', '.join(names)})")
            if missing := names[len(fields) :]:
                raise UserError(f"{where}: has no field for {', '.join(missing)}")
            yield where, {name: field for name, field in zip(names, fields, strict=True) if name}
    except csv.Error as error:
        raise UserError(f"{path}, line {line + 1}: not a CSV file with a header line ({error})") from error


def as_table_text(where: str, field: str, trimmed: list[str] | None = None) -> str:
    """A field without blanks around it, which `trimmed` then gets, and without the ' that stands before a formula."""
    text = field.strip(BLANK)
    if trimmed is not None and text != field:
        trimmed.append(f"{where}: {field!r}")
    return text if text.endswith("'") else as_written(text)


def csv_header(path: Path) -> list[str]:
    """The column names of a CSV file; none if it is no such file."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = (line for _, line in zip(range(FIRST_LINES), file, strict=False))
            first = next((line for line in lines if _names_columns([line.strip()])), "")
            reader = csv.reader([first], delimiter=_separator(first), skipinitialspace=True)
            return [name for name in map(partial(as_table_text, ""), next(reader, [])) if name]
    except (OSError, csv.Error):
        return []


def _names_columns(row: list[str]) -> bool:
    """Whether a row is neither empty nor a comment."""
    return any(row) and not row[0].startswith("# ") and row != ["#"]


def _separator(text: str) -> str:
    lines = LINE_END.split(text, maxsplit=FIRST_LINES)
    header = next((line for line in lines if _names_columns([line.strip()])), "")
    return next((separator for separator in SEPARATORS if separator in header), ",")


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises UserError with the line that is not JSON."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise UserError(f"{path}: not JSON ({error})") from error
