"""Tables of somebody else's scores, read in batches: CSV, Parquet, JSON, NumPy's files, and pickles of plain values."""

import csv
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pyarrow.types as pt

from analysis.runs.plain_pickles import PlainArray, read_plain_pickle
from sth_core.errors import UserError, first_few
from sth_core.files import as_written, why_unread

ROWS = 1024  # that are read at once
LARGEST_NPZ = 8 * 2**30  # bytes of its arrays
BLOCK = 1 << 20  # bytes of a CSV file, or characters of a JSON file, that are read at once
LONGEST_OBJECT = 64 << 20  # characters of JSON
SCORES = "scores"  # the column of an array of scores that has no name
CLASSES = ("classes", "class_names")  # the names of an .npz file's array of the classes
PICKLES, JSONS = (".pkl", ".pickle"), (".json", ".jsonl", ".ndjson")
FORMATS = (".csv", ".tsv", ".parquet", *JSONS, ".npy", ".npz", *PICKLES)


@dataclass(frozen=True)
class ForeignTable:
    """The columns of a file, of which those in `numeric` hold numbers, and how its rows are read.

    `classes` are the names that the file itself states for a list of scores."""

    columns: list[str]
    numeric: frozenset[str]
    batches: Callable[[], Iterator[pa.RecordBatch]]
    classes: list[str] = field(default_factory=list)


def open_foreign(file: Path, texts: frozenset[str]) -> ForeignTable:
    """The table in a file of one of `FORMATS`; columns named in `texts` (in small letters) are not read as numbers.

    Raises UserError: no such file, another format, no rows, or it cannot be read."""
    if not file.is_file():
        raise UserError(f"no such file: {file}")
    if not file.stat().st_size:
        raise UserError(f"{file} is empty")
    suffix = file.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{file}: its format is known by its name, which must end in one of {', '.join(FORMATS)}")
    opening: dict[str, Callable[[Path], ForeignTable]] = {
        ".csv": partial(open_csv, texts=texts), ".tsv": partial(open_csv, texts=texts), ".parquet": open_parquet,
        ".npy": open_npy, ".npz": open_npz, **dict.fromkeys(JSONS, open_json), **dict.fromkeys(PICKLES, open_pickle),
    }  # fmt: skip
    with reading(file):
        table = opening[suffix](file)
        names = [name.lower() for name in table.columns]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"{file} has the column {twice!r} twice (capital letters do not count); leave one of them")
        return table


class reading:  # noqa: N801 (a context manager that is used as a function)
    """Errors of the libraries that read a file, as one sentence that names it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, pa.ArrowException | ValueError | KeyError | OSError | EOFError | zipfile.BadZipFile):
            raise UserError(f"{self.file} cannot be read ({why_unread(error)[:300]})") from error


def open_csv(file: Path, texts: frozenset[str]) -> ForeignTable:
    """Commas, or, where the header has none, semicolons or tabs."""
    with file.open("rb") as opened:
        header = opened.readline(BLOCK).decode("utf-8-sig")
    separator = next((mark for mark in (",", ";", "\t") if mark in header), ",")
    parse = pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    names = next(csv.reader([header], delimiter=separator))
    if len(set(names)) < len(names):
        raise UserError(f"{file} has the column {next(n for n in names if names.count(n) > 1)!r} twice; leave one")
    read = pyarrow.csv.ReadOptions(use_threads=False, block_size=max(BLOCK, 4 * len(header)))
    guessed = pyarrow.csv.open_csv(file, read, parse).schema
    numeric = [f.name for f in guessed if is_numeric(f.type) and as_written(f.name).lower() not in texts]
    types = {f.name: pa.float64() if f.name in numeric else pa.string() for f in guessed}
    convert = pyarrow.csv.ConvertOptions(column_types=types, null_values=["", "nan", "NaN", "NA", "null"])
    columns = [as_written(name) for name in guessed.names]

    def batches() -> Iterator[pa.RecordBatch]:
        with reading(file):
            for batch in pyarrow.csv.open_csv(file, read, parse, convert):
                yield batch.rename_columns(columns)

    return ForeignTable(columns, frozenset(map(as_written, numeric)), batches)


def is_numeric(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_null(kind))


def open_parquet(file: Path) -> ForeignTable:
    schema = pq.read_schema(file)

    def batches() -> Iterator[pa.RecordBatch]:
        with reading(file), pq.ParquetFile(file) as opened:
            yield from opened.iter_batches(ROWS, use_threads=False)

    return ForeignTable(schema.names, frozenset(f.name for f in schema if is_numeric(f.type)), batches)


def open_npy(file: Path) -> ForeignTable:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    return of_arrays(file, {SCORES: array})


def open_npz(file: Path) -> ForeignTable:
    with zipfile.ZipFile(file) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > LARGEST_NPZ:
        raise UserError(f"{file} holds {size:,} bytes of arrays, more than {LARGEST_NPZ:,}; save the scores as .npy")
    with np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    of_classes = [arrays.pop(name) for name in CLASSES if name in arrays]
    if len(arrays) == 1:
        arrays = dict.fromkeys([SCORES], *arrays.values())
    return of_arrays(file, arrays, [str(name) for name in of_classes[0].ravel()] if of_classes else [])


def of_arrays(file: Path, arrays: dict[str, np.ndarray], classes: list[str] | None = None) -> ForeignTable:
    """A row for each of the first axis, which all arrays share; of two axes is an array of scores."""
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    if not arrays or len({array.shape[:1] for array in arrays.values()}) > 1:
        raise UserError(f"{file}: its arrays must have a row for each clip, got {shapes or 'none'}")
    if wrong := [name for name, a in arrays.items() if a.ndim not in (1, 2) or a.dtype.kind not in "biufSU"]:
        raise UserError(f"{file}: {wrong[0]} is neither texts or numbers (N,) nor scores (N, K); it has {shapes}")

    def column(rows: np.ndarray) -> pa.Array:
        if rows.ndim == 1:
            return pa.array(rows.astype(str) if rows.dtype.kind == "S" else rows)
        ends = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
        return pa.ListArray.from_arrays(ends, pa.array(np.ascontiguousarray(rows, np.float64).ravel()))

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(next(iter(arrays.values()))), ROWS):
            parts = [column(array[start : start + ROWS]) for array in arrays.values()]
            yield pa.RecordBatch.from_arrays(parts, list(arrays))

    numeric = frozenset(name for name, array in arrays.items() if array.ndim == 1 and array.dtype.kind in "iuf")
    return ForeignTable(list(arrays), numeric, batches, classes or [])


def open_json(file: Path) -> ForeignTable:
    """A list of objects, an object a line, or one object from a clip's path to its object or its list of scores."""
    return of_objects(file, lambda: json_objects(file))


def json_objects(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file one by one; the file is not held."""
    decode, text, listed, ended = json.JSONDecoder().raw_decode, "", False, False
    with file.open(encoding="utf-8-sig") as opened:
        while True:
            text = text.lstrip()
            listed |= text.startswith("[")
            text = text.lstrip(" \t\r\n,[")
            if listed and text.startswith("]"):
                text, ended = text[1:], True
                continue
            try:
                found, end = decode(text)
            except (ValueError, RecursionError) as error:
                more = opened.read(max(BLOCK, len(text)))
                if not more and not text and ended == listed:
                    return
                if not more or len(text) > LONGEST_OBJECT:
                    why = "it ends within its list" if not text else f"{text[:60]!r} is no whole object ({error})"
                    raise UserError(f"{file} is not JSON: {why}") from error
                text += more
                continue
            text = text[end:]
            if not isinstance(found, dict):
                raise UserError(f"{file} must be a list of objects, one a clip; it holds {json.dumps(found)[:60]}")
            if found and all(isinstance(value, dict | list) for value in found.values()):  # by path
                yield from (by_class(value) | {"path": p} if isinstance(value, dict) else {"path": p, SCORES: value}
                            for p, value in found.items())  # fmt: skip
            else:
                yield by_class(found)


def by_class(clip: dict[str, Any]) -> dict[str, Any]:
    """The object with a key for each class where its scores are an object from each class to its score."""
    if not isinstance(scores := clip.get(SCORES), dict):
        return clip
    return {k: v for k, v in clip.items() if k != SCORES} | {f"score_{name}": score for name, score in scores.items()}


def of_objects(file: Path, objects: Callable[[], Iterable[dict[str, Any]]]) -> ForeignTable:
    """A table of objects whose keys are columns: those of the first rows."""

    def chunks() -> Iterator[list[dict[str, Any]]]:
        rows = iter(objects())
        while some := list(islice(rows, ROWS)):
            yield some

    first = next(chunks(), [])
    columns = list(dict.fromkeys(str(key) for row in first for key in row))
    if not columns:
        raise UserError(f"{file} holds no clips")
    numeric = frozenset(k for k in columns if all(isinstance(row.get(k), int | float | None) for row in first))

    def batches() -> Iterator[pa.RecordBatch]:
        with reading(file):
            for number, rows in enumerate(chunks()):
                if new := sorted({str(key) for row in rows for key in row} - set(columns)):
                    start = number * ROWS + 1
                    raise UserError(f"{file}: from row {start} on there is {first_few(new)}, which the first rows lack")
                arrays = [pa.array([row.get(name) for row in rows]) for name in columns]
                yield pa.RecordBatch.from_arrays(arrays, columns)

    return ForeignTable(columns, numeric, batches)


def open_pickle(file: Path) -> ForeignTable:
    """MMAction2's `--dump`: a list of a dict for each clip. A list of arrays of scores, one array, or the scores and
    the labels, as PySlowFast saves them, will do too."""
    content = read_plain_pickle(file)
    if isinstance(content, PlainArray):
        return of_arrays(file, {SCORES: content.array})
    if not isinstance(content, list | tuple) or not content:
        raise UserError(f"{file} must hold a list of dicts or of arrays, one for each clip, as MMAction2's --dump does")
    arrays = [item.array for item in content if isinstance(item, PlainArray)]
    if len(arrays) == len(content) and {array.ndim for array in arrays} == {1}:
        return of_objects(file, lambda: ({SCORES: array} for array in arrays))
    if len(arrays) == len(content) and [array.ndim for array in arrays] == [2, 1]:
        return of_arrays(file, {SCORES: arrays[0], "label": arrays[1]})
    if not all(isinstance(item, dict) for item in content):
        raise UserError(f"{file}: some of its {len(content)} items are no dicts, as MMAction2's --dump writes them")
    kept = [key for key in dict.fromkeys(key for item in content[:ROWS] for key in item) if isinstance(key, str)]
    flat = {key for key in kept if any(is_flat(plain(item.get(key))) for item in content[:ROWS])}
    return of_objects(file, lambda: ({k: plain(item.get(k)) for k in kept if k in flat} for item in content))


def plain(value: Any) -> Any:
    """A value as a table holds it: of a `LabelData` of MMAction2 1.0 its item, of an array of one number this one."""
    if isinstance(value, dict) and list(value) == ["item"]:
        value = value["item"]
    if isinstance(value, PlainArray):
        array = value.array.astype(np.float64) if value.array.dtype.kind == "f" else value.array
        return array.item() if array.size == 1 else array if array.ndim == 1 else array.tolist()
    return value


def is_flat(value: Any) -> bool:
    """Whether it is a text, a number or a list of numbers."""
    return isinstance(value, str | int | float) or (isinstance(value, np.ndarray) and value.ndim == 1)


def listed_clips(file: Path) -> list[tuple[str, str]]:
    """(path, label or "") of each line of a list of clips, as MMAction2 and TSN have them: a path, then whole numbers,
    of which the last is the label. Raises UserError: it cannot be read."""
    from sth_core.datasets.text_files import text_lines

    rows = [re.fullmatch(r"(.*?)((?:[ \t,]+\d+)*)", text) for _, text in text_lines(file)]
    return [(row[1].strip(), (row[2].replace(",", " ").split() or [""])[-1]) for row in rows if row]
