"""What readers of annotation files return: clips, each with its file and line, and what was assumed of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sth_core.errors import UserError

SPLITS = ("train", "val", "test")


class NoSuchColumn(UserError):
    """An annotation file lacks a column that was asked for by its name."""

    def __init__(self, file: Path, column: str, columns: Iterable[str]) -> None:
        super().__init__(f"{file}: has no column {column!r}; its columns: {', '.join(columns)}")
        self.column = column


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


def known_label(label: str, labels: set[str], source: str, where: Path) -> str:
    """The problem of a label that is not in the list of labels; empty if it is."""
    return "" if label in labels or not labels else f"{source}: the label {label!r} is not in {where}"
