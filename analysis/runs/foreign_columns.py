"""What the columns of a table of somebody else's scores mean."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis.runs.foreign_tables import ForeignTable
from sth_core.errors import UserError, did_you_mean, first_few

# The names by which each is found, capital letters apart; of several the first one.
NAMES = {
    "path": ("path", "clip_id", "video", "video_path", "filename", "file_name", "file", "video_name", "video_id",
             "clip", "name", "id"),
    "label": ("label", "gt_label", "gt_labels", "ground_truth", "true_label", "y_true", "target", "gt", "labels",
              "class"),
    "prediction": ("prediction", "pred_label", "pred_labels", "predicted_label", "predicted", "y_pred", "pred",
                   "predictions"),
    "confidence": ("confidence", "probability", "prob", "score"),
    "scores": ("scores", "pred_score", "pred_scores", "probabilities", "probs", "softmax", "logits", "preds"),
}  # fmt: skip
TEXTS = ("path", "label", "prediction")  # whose cells are text, though they may look like numbers
PREFIX = re.compile(r"(scores?|prob|probability|logits?|softmax|pred|p)[_:. ](.+)", re.IGNORECASE)
MOST_SHOWN = 5


@dataclass(frozen=True)
class Columns:
    """The column of each of `NAMES` that a table has; `of_classes` are (class, column), where each has its own.

    `unused` are the columns that mean nothing here."""

    of: Mapping[str, str]
    of_classes: list[tuple[str, str]]
    unused: list[str]

    @property
    def sentences(self) -> list[str]:
        """What was taken for what."""
        said = [f"{role}: column {name!r}" for role, name in self.of.items()]
        if self.of_classes:
            shown = first_few([f"{name!r}" for _, name in self.of_classes], MOST_SHOWN)
            said.append(f"scores: {len(self.of_classes)} columns, one a class: {shown}")
        if self.unused:
            said.append(f"not used: {len(self.unused)} columns: {first_few([*map(repr, self.unused)], MOST_SHOWN)}")
        return said


def text_columns(asked: Mapping[str, str]) -> frozenset[str]:
    """The names, in small letters, of columns that are read as text."""
    named = {asked[role].lower() for role in TEXTS if asked.get(role)}
    return frozenset(name for role in TEXTS for name in NAMES[role]) | named


def asked_columns(text: str) -> dict[str, str]:
    """{"path": "video", "label": "gt"} of "path=video,label=gt"; `label=` means that no column is the label.

    Raises UserError: something else."""
    asked: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        role, equals, name = (piece.strip() for piece in part.partition("="))
        if not equals or role not in NAMES or role in asked:
            roles = ", ".join(NAMES)
            raise UserError(f"--columns names columns as path=video,label=gt; each of {roles} once, got {part!r}")
        asked[role] = name
    return asked


def foreign_columns_of(file: Path, table: ForeignTable, asked: Mapping[str, str], classes: list[str]) -> Columns:
    """What each column is: as asked, else by its name. `classes` are those of a list of class names, if there is one.

    Raises UserError: a column that was asked for is not there, or there are neither scores nor predictions."""
    for name in filter(None, asked.values()):
        if name not in table.columns:
            near = did_you_mean(name, table.columns)
            raise UserError(f"{file} has no column {name!r}{near}; it has {first_few(table.columns, 20)}")
    of_classes = [(name, name) for name in table.columns if name in set(classes) & table.numeric]
    taken = {name for _, name in of_classes} | set(asked.values())
    small = {name.lower(): name for name in table.columns if name not in taken}
    of = {}
    for role, names in NAMES.items():
        found = asked[role] if role in asked else next((small[name] for name in names if name in small), "")
        if found and not (role == "confidence" and role not in asked and found not in table.numeric):
            of[role] = found
    left = [name for name in table.columns if name not in {*of.values(), *taken}]
    if "scores" in of:
        of_classes = []
    elif not of_classes:
        of_classes = columns_of_classes([name for name in left if name in table.numeric], classes, "prediction" in of)
    begins = {match[1].lower() for _, name in of_classes if (match := PREFIX.fullmatch(name))} or {"score", "prob"}
    for name in left:
        if name not in table.numeric and (match := PREFIX.fullmatch(name)) and match[1].lower() in begins:
            raise UserError(f"{file}: some of the column {name!r} is no number, so it holds no scores")
    used = {*of.values(), *(name for _, name in of_classes)}
    if of_classes or "scores" in of:
        of = {role: name for role, name in of.items() if role != "confidence"}  # which the scores say
    if not of_classes and not {"scores", "prediction"} & set(of):
        raise UserError(
            f"{file} has neither scores nor predictions: it needs a column score_CLASS for each class, a list "
            f"`scores`, or `prediction`; it has {first_few(table.columns, 20)}; name columns by --columns scores=NAME"
        )
    return Columns(of, of_classes, [name for name in table.columns if name not in used])


def columns_of_classes(numeric: list[str], classes: list[str], predicted: bool) -> list[tuple[str, str]]:
    """(class, column) of the columns with the prefix that most of them share, as in score_hug; without one, and where
    nothing else says what is predicted, all of them."""
    parts = {name: match for name in numeric if (match := PREFIX.fullmatch(name))}
    shared = Counter(match[1].lower() for match in parts.values()).most_common(1)
    if shared and shared[0][1] > 1:
        found = [(match[2].strip(), name) for name, match in parts.items() if match[1].lower() == shared[0][0]]
        numbers = [of for of, _ in found]
        if classes and not set(numbers) & set(classes) and sorted(numbers) == sorted(map(str, range(len(classes)))):
            return [(classes[int(number)], name) for number, name in found]
        return found
    if len(numeric) > 1 and not predicted:
        if classes and sorted(numeric) == sorted(map(str, range(len(classes)))):
            return [(classes[int(name)], name) for name in numeric]
        return [(name, name) for name in numeric]
    return []
