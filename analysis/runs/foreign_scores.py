"""Somebody else's scores: read from a table, checked, and with the names of their classes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from analysis.runs.caveats import NO_SCORES
from analysis.runs.foreign_columns import Columns
from analysis.runs.foreign_tables import ForeignTable, is_numeric
from sth_core.errors import UserError, first_few, shorten
from sth_core.files import as_written

ROUNDED = 0.02  # by which rounded scores of many classes may leave a sum of 1
TIE = 1e-4  # by which the score of a prediction may be below the highest one
MOST_NAMED = 3
WHOLE = re.compile(r"\d+(\.0+)?", re.ASCII)  # as pandas writes whole numbers of a column with missing ones


@dataclass
class ForeignScores:
    """A row for each of N clips; texts are empty where there are none.

    `scores` are (n, K) arrays, one after the other, which sum to 1 but for rounding; NaN where the file has none that
    is finite. Without scores `confidence` are those of the predictions, NaN where there are none."""

    file: Path
    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    predictions: list[str] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    scores: list[NDArray[np.float32]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def row(self, number: int) -> str:
        """A row as messages name it."""
        name = self.paths[number] if number < len(self.paths) else ""
        return f"row {number + 1}" + f" ({name})" * bool(name)


def read_scores(file: Path, table: ForeignTable, columns: Columns, *, logits: bool) -> ForeignScores:
    """All rows of a table. With `logits` the scores are the softmax of what the file has.

    Raises UserError: no rows, or scores that are none (see `checked`)."""
    read = ForeignScores(file)
    sums = Sums()
    for batch in table.batches():
        n, start = batch.num_rows, len(read)
        cells = {name: batch.column(name) for name in batch.schema.names}
        of_role = {
            role: texts(cells[name]) for role, name in columns.of.items() if role in ("path", "label", "prediction")
        }
        read.paths += of_role.get("path", [])
        read.labels += of_role.get("label", [""] * n)
        read.predictions += of_role.get("prediction", [])
        if columns.of_classes:
            rows = np.stack([numbers(cells[name]) for _, name in columns.of_classes], 1)
        elif "scores" in columns.of:
            width = read.scores[0].shape[1] if read.scores else 0
            rows = lists(read, cells[columns.of["scores"]], start, width)
        else:
            of = columns.of.get("confidence")
            read.confidence += list(numbers(cells[of])) if of else [np.nan] * n
            continue
        if n:
            read.scores.append(sums.checked(read, rows, start, logits).astype(np.float32))
    if not len(read):
        raise UserError(f"{file} holds no clips")
    sums.refuse(read, logits)
    return read


def texts(column: pa.Array) -> list[str]:
    """Cells as text; whole numbers without a point, missing ones empty."""
    if pt.is_list(column.type) or pt.is_large_list(column.type):
        return ["" if cell is None else ", ".join(map(str, cell)) for cell in column.to_pylist()]
    cells = column.to_pylist()
    whole = (int(c) if isinstance(c, float) and c.is_integer() else c for c in cells)
    return ["" if cell is None or cell != cell else str(as_written(cell)) for cell in whole]


def numbers(column: pa.Array) -> NDArray[np.float64]:
    """(n,), NaN where a cell is missing or no number."""
    if pt.is_string(column.type) or pt.is_large_string(column.type):
        raise UserError(f"a score is no number but {shorten(next(filter(None, column.to_pylist()), ''))}")
    return np.array(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def lists(read: ForeignScores, column: pa.Array, start: int, width: int) -> NDArray[np.float64]:
    """(n, K) of a column of lists, which may be written as text: "[0.1, 0.9]". Raises UserError: other lengths."""
    if pt.is_string(column.type) or pt.is_large_string(column.type):
        column = pa.array([as_list(read, text, start + i) for i, text in enumerate(column.to_pylist())],
                          pa.list_(pa.float64()))  # fmt: skip
    elif not is_list_of_numbers(column.type):
        raise UserError(f"{read.file}: its column of scores holds {column.type}, not lists of numbers, one a class")
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    width = width or int(lengths[0] if len(lengths) else 0)
    if len(wrong := np.flatnonzero(lengths != width)) or not width:
        row = int(wrong[0]) if len(wrong) else 0
        raise UserError(f"{read.file}: {read.row(start + row)} has {lengths[row]} scores, the rows before have {width}")
    return np.array(column.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)).reshape(-1, width)


def is_list_of_numbers(kind: pa.DataType) -> bool:
    listed = pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)
    return bool(listed and is_numeric(kind.value_type))


def as_list(read: ForeignScores, text: str | None, row: int) -> list[float]:
    try:
        pieces = re.split(r"[\s,;]+", (text or "").strip().strip("[]()").strip())
        return [float(piece) for piece in pieces if piece]
    except ValueError as error:
        raise UserError(f"{read.file}: {read.row(row)} has no list of numbers as scores but {shorten(text)}") from error


@dataclass
class Sums:
    """What the scores of all rows have summed to so far."""

    wrong: int = 0
    of: int = 0
    low: float = np.inf
    high: float = -np.inf
    first: str = ""
    negative: str = ""
    like_scores: bool = True

    def checked(self, read: ForeignScores, rows: NDArray[np.float64], start: int, logits: bool) -> NDArray[np.float64]:
        """The rows as scores."""
        finite = np.asarray(np.isfinite(rows).all(1))
        rows = np.where(finite[:, None], rows, np.nan)
        sums, known = rows.sum(1), np.flatnonzero(finite)
        self.of += len(known)
        if not len(known):
            return rows
        below = np.asarray(finite & (np.where(finite[:, None], rows, 0).min(1) < -1e-6))
        off = np.asarray(finite & (np.abs(sums - 1) > ROUNDED))
        if below.any() and not self.negative:
            row = int(np.flatnonzero(below)[0])
            self.negative = f"{read.row(start + row)} has {rows[row].min():.4g}"
        if off.any() and not self.first:
            row = int(np.flatnonzero(off)[0])
            self.first = f"those of {read.row(start + row)} sum to {sums[row]:.4g}"
        self.wrong += int((off | below).sum())
        self.low, self.high = min(self.low, sums[known].min()), max(self.high, sums[known].max())
        if not logits:
            return np.maximum(rows, 0)
        powers = np.exp(rows - rows.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def refuse(self, read: ForeignScores, logits: bool) -> None:
        """Raises UserError: there are none, they are no probabilities, or, with `logits`, they are already."""
        if read.scores and not self.of:
            raise UserError(
                f"{read.file}: no clip has a finite score for each class; where only the best classes of a clip are "
                "known, leave the other columns out and give --columns prediction=NAME,confidence=NAME"
            )
        if logits and self.of and not self.wrong:
            raise UserError(f"{read.file}: its scores are from 0 to 1 and sum to 1 already; leave --logits out")
        if logits or not self.wrong:
            return
        found = f"{self.negative}, below 0" if self.negative else self.first
        between = f"sums are from {self.low:.4g} to {self.high:.4g}"
        advice = "if they are a network's outputs before the softmax, give --logits"
        if not self.negative and self.low > 1.5 and self.high - self.low <= ROUNDED * self.high:
            advice = f"if they are percent or sums over views, divide them by {self.high:.4g}"
        elif not self.negative and self.high < 1:
            advice = "if only the best classes are known, give --columns prediction=NAME,confidence=NAME"
        raise UserError(
            f"{read.file}: the scores of {self.wrong:,} of {self.of:,} clips are no probabilities that sum to 1 "
            f"({found}; {between}); {advice}"
        )


def name_classes(
    read: ForeignScores, columns: Columns, stated: Sequence[str], listed: Sequence[str]
) -> tuple[list[str], str]:
    """The classes in the order of the scores, and where their names are from. `stated` are in the file beside its
    scores, `listed` in a list of class names, whose order the scores get.

    Raises UserError: the numbers or the names of classes differ, or the names are not known."""
    if columns.of_classes:
        names = [name for name, _ in columns.of_classes]
        if not listed:
            return names, "the columns' names"
        if set(names) != set(listed):
            missing, more = sorted(set(listed) - set(names)), sorted(set(names) - set(listed))
            differ = "; ".join([f"without a column: {first_few(missing)}"] * bool(missing)
                               + [f"not in the list: {first_few(more)}"] * bool(more))  # fmt: skip
            raise UserError(f"{read.file} has {len(names)} classes, --class-names lists {len(listed)} ({differ})")
        order = [names.index(name) for name in listed]
        read.scores = [rows[:, order] for rows in read.scores]
        return list(listed), "--class-names"
    said = {*read.labels, *read.predictions} - {""}
    if read.scores:
        width = read.scores[0].shape[1]
        names, source = (list(listed), "--class-names") if listed else (list(stated), f"{read.file.name}")
        if names and len(names) != width:
            raise UserError(f"{read.file} has {width} scores a clip, but {source} has {len(names)} class names")
        if names:
            return names, source
        if not all(name.isdecimal() and int(name) < width for name in said):
            other = next(name for name in sorted(said) if not (name.isdecimal() and int(name) < width))
            raise UserError(
                f"{read.file} has a list of {width} scores a clip and does not say which class each is of (a label is "
                f"{shorten(other)}); give --class-names FILE, one name a line in the order of the scores"
            )
        return [str(number) for number in range(width)], "their numbers, as no --class-names were given"
    return (list(listed), "--class-names") if listed else (sorted(said), "the labels and predictions")


def with_names(read: ForeignScores, classes: list[str], texts: list[str], what: str) -> tuple[list[str], str]:
    """Labels or predictions as names of classes, and a sentence about it. Numbers are taken for the classes' places if
    none of them is a name of a class.

    Raises UserError: a number is no class's place."""
    said, known = set(texts) - {""}, set(classes)
    if not said:
        return texts, f"{what}s: none"
    if said & known or not all(WHOLE.fullmatch(text) for text in said):
        return texts, f"{what}s: as names ({first_few(sorted(said), MOST_NAMED)})"
    texts = [text.partition(".")[0] for text in texts]
    said = set(texts) - {""}
    places = {int(text) for text in said}
    first = 1 if max(places) == len(classes) and 0 not in places else 0
    if max(places) - first >= len(classes):
        row = next(i for i, text in enumerate(texts) if text and int(text) == max(places))
        raise UserError(
            f"{read.file}: {read.row(row)} has the {what} {max(places)}, but there are {len(classes)} classes "
            f"(0 to {len(classes) - 1})"
        )
    names: Mapping[str, str] = {text: classes[int(text) - first] for text in said} | {"": ""}
    return [names[text] for text in texts], f"{what}s: as numbers from {first} ({first} is {classes[0]!r})"


def complete(read: ForeignScores, classes: list[str]) -> tuple[list[NDArray[np.float32]], str]:
    """Scores of clips of which only the predicted class is known, and what was invented: the rest of the confidence is
    spread evenly over all other classes.

    Raises UserError: a prediction is missing or none of the classes, or a confidence is none."""
    numbers_of, K = {name: i for i, name in enumerate(classes)}, len(classes)
    for row, name in enumerate(read.predictions):
        if name not in numbers_of:
            raise UserError(f"{read.file}: {read.row(row)} predicts {shorten(name)}, which is none of the {K} classes")
    best = np.array([numbers_of[name] for name in read.predictions])
    confidence = np.array(read.confidence, float)
    invented = "only the predicted class's score is known: the rest is spread evenly over the other classes"
    if np.isnan(confidence).all():
        confidence = np.ones(len(best))
        invented = f"{NO_SCORES}: each predicted class has 1, all others 0, so confidence tells nothing"
    wrong = np.flatnonzero(~((confidence >= 1 / K - TIE) & (confidence <= 1 + TIE)))
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f"{read.file}: {read.row(row)} has the confidence {confidence[row]:.4g}; that of the best of {K} classes "
            f"is from {1 / K:.3g} to 1"
        )
    confidence = np.minimum(confidence, 1)
    chunks = []
    for start in range(0, len(best), 1024):
        some = slice(start, start + 1024)
        rows = np.repeat((1 - confidence[some])[:, None] / max(K - 1, 1), K, 1).astype(np.float32)
        rows[np.arange(len(rows)), best[some]] = confidence[some]
        chunks.append(rows)
    return chunks, invented


def refuse_other_predictions(read: ForeignScores, classes: list[str]) -> None:
    """Raises UserError: the file's own prediction of a clip is not the class of its highest score."""
    numbers_of, start, wrong = {name: i for i, name in enumerate(classes)}, 0, []
    for rows in read.scores:
        said = read.predictions[start : start + len(rows)]
        for i, (row, name) in enumerate(zip(rows, said, strict=True)):
            if name and np.isfinite(row).all() and (name not in numbers_of or row[numbers_of[name]] < row.max() - TIE):
                wrong.append((start + i, name, classes[int(row.argmax())]))
        start += len(rows)
    if wrong:
        row, name, best = wrong[0]
        raise UserError(
            f"{read.file}: of {len(wrong):,} of {len(read):,} clips the prediction is not the class of the highest "
            f"score ({read.row(row)}: {name!r}, highest {best!r}), so the classes may be in another order; give "
            "--class-names, or --columns prediction= to leave the predictions out"
        )


def json_facts(columns: Columns) -> dict[str, Any]:
    """What run.json says of the columns."""
    facts: dict[str, Any] = dict(columns.of)
    return json.loads(json.dumps(facts | ({"classes": len(columns.of_classes)} if columns.of_classes else {})))
