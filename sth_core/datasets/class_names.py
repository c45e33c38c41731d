"""Class lists: which name a number in a list of clips stands for."""

import csv
import fnmatch
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sth_core.datasets.blanks import BLANK
from sth_core.datasets.dataset_folder import DatasetFolder
from sth_core.datasets.media import is_video
from sth_core.datasets.text_files import SEPARATORS, read_json, read_text, text_lines
from sth_core.errors import UserError

STEMS = (
    "category", "categories", "classes", "labels", "label_map*", "*label_map", "classInd", "class_names", "class_list",
    "class_labels", "label_names", "label_list", "labelmap", "class_map", "id2label", "label2id", "*_classes",
    "*_labels",
)  # fmt: skip
SUFFIXES = (".txt", ".csv", ".tsv", ".json")
CLASS_LIST = re.compile("|".join(fnmatch.translate(f"{stem}{suffix}") for stem in STEMS for suffix in SUFFIXES))
NUMBER_FIRST = re.compile(r"(?P<number>\d+)[ \t]*[ \t,;:][ \t]*(?P<name>.*\S)")
NUMBER_LAST = re.compile(r"(?P<name>\S.*?)[ \t]*[ \t,;:][ \t]*(?P<number>\d+)")
HEADER_WORDS = {"id", "index", "idx", "number", "name", "label", "class", "classes", "labels", "class_id", "label_id",
                "class_name", "label_name", "category"}  # fmt: skip

NumberedLine = tuple[str, int, str]  # file and line, number, name


@dataclass(frozen=True)
class ClassNames:
    """The names of a class list by their numbers; `numbered`: the file states the numbers, else they count from 0."""

    file: Path
    names: dict[int, str]
    numbered: bool = False

    def of_lists(self, used: dict[int, str]) -> tuple[dict[int, str], tuple[str, ...]]:
        """(name of each number, notes), for lists that use the numbers `used`, each at the file and line of its value.

        Numbers that begin at 1 where names are counted from 0 are recognised if 0 never occurs and the number of
        classes does. Raises UserError: the numbers contradict those of the class list."""
        count, first = len(self.names), min(self.names)
        in_order = [self.names[number] for number in sorted(self.names)]
        from_0, from_1 = dict(enumerate(in_order)), dict(enumerate(in_order, start=1))
        if 0 in used and (count not in used or first == 0):
            return from_0, ()  # also where the class list counts from 1, as TSN's lists of UCF-101 and its classInd.txt
        if 0 in used:
            raise UserError(f"{used[0]}: the label 0 is not in {self.file} (1 to {count}), but {count} occurs too")
        if max(used, default=0) == count and self.numbered and first == 0:
            raise UserError(f"{used[count]}: the label {count} is not in {self.file} (0 to {count - 1})")
        if max(used, default=0) == count or first == 1:
            return from_1, (f"labels are counted from 1, as 0 never occurs: 1 is {from_1[1]!r} ({self.file.name})",)
        doubt = f"no clip has the label 0, {from_0[0]!r} ({self.file.name}); if labels begin at 1, all names are wrong"
        return from_0, (doubt,) if used and not self.numbered else ()


def find_class_names(folder: DatasetFolder, beside: Path) -> ClassNames | None:
    """The class list of a folder: one in the folder `beside`, or the one that lies least deep.

    Raises UserError: a name or number is listed twice, or a number or a line is left out."""
    files = sorted(filter(may_list_classes, folder.files(*SUFFIXES)), key=_rank)
    for file in sorted(files, key=lambda file: file.parent != beside):
        if (names := read_class_names(file, folder)) is not None:
            return names
    return None


def may_list_classes(file: Path) -> bool:
    """Whether a file is called as a class list."""
    return CLASS_LIST.match(file.name) is not None


def _rank(file: Path) -> tuple[int, int]:
    stem = next(i for i, stem in enumerate(STEMS) if fnmatch.fnmatchcase(file.stem, stem))
    return SUFFIXES.index(file.suffix), stem


def read_class_names(file: Path, folder: DatasetFolder) -> ClassNames | None:
    """The names of a class list, normalised; None if the file lists something else.

    One name a line, with its number before or after it or without one; or JSON: a list of names, or an object from
    names to numbers or from numbers to names. Raises UserError as `find_class_names`."""
    lines = _lines_of(file)
    if lines is None or any(_names_clip(name, folder) for _, _, name in lines[:5]):
        return None
    return _named(file, lines)


def read_name_list(file: Path) -> list[str]:
    """The names of a class list, by their numbers. Raises UserError: it cannot be read, or is no list of names."""
    if not file.is_file():
        raise UserError(f"no such file: {file}")
    lines = _lines_of(file)
    if not lines:
        raise UserError(f"{file} lists no class names: one a line, or a JSON list or object")
    return [name for _, name in sorted(_named(file, lines).names.items())]


def _lines_of(file: Path) -> list[NumberedLine] | None:
    return _of_json(file) if file.suffix.lower() == ".json" else _of_text(file)


def _named(file: Path, lines: list[NumberedLine]) -> ClassNames:
    lines = [(source, number, normalised_label(name)) for source, number, name in lines]
    numbered = bool(lines) and lines[0][1] >= 0
    _refuse_twice((source, name) for source, _, name in lines)
    if not numbered:
        return ClassNames(file, {number: name for number, (_, _, name) in enumerate(lines)})
    _refuse_twice((source, str(number)) for source, number, _ in lines)
    ordered = sorted(lines, key=lambda line: line[1])
    for wanted, (source, number, name) in enumerate(ordered, start=ordered[0][1]):
        if number != wanted or ordered[0][1] > 1:
            missing = wanted if ordered[0][1] <= 1 else 0
            raise UserError(f"{source}: {name!r} has the number {number}, but no class has the number {missing}")
    return ClassNames(file, {number: name for _, number, name in ordered}, numbered=True)


def _names_clip(line: str, folder: DatasetFolder) -> bool:
    fields = {line, *(line.split(separator)[0] for separator in (*SEPARATORS, " "))}
    return any(is_video(Path(field)) or folder.clip(field) for field in fields if field.strip())


def normalised_label(label: str) -> str:
    """The same for labels that look the same (NFC)."""
    return unicodedata.normalize("NFC", label)


def _refuse_twice(lines: Iterable[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for source, text in lines:
        if text in seen:
            raise UserError(f"{source}: {text!r} is listed twice, before in {seen[text]}; each class needs its own")
        seen[text] = source


def _of_text(file: Path) -> list[NumberedLine] | None:
    lines = [(source, line) for source, line in text_lines(file) if not line.startswith("# ")]
    _refuse_blank_lines(file)
    if len(lines) > 1 and _is_header(lines[0][1], file.suffix.lower() == ".txt"):
        lines = lines[1:]
    for pattern in (NUMBER_FIRST, NUMBER_LAST):
        matches = [(source, pattern.fullmatch(line)) for source, line in lines]
        found = [(source, int(match["number"]), match["name"]) for source, match in matches if match]
        numbers = [number for _, number, _ in found]
        counts_up = numbers and numbers[0] in (0, 1) and numbers == sorted(numbers)
        complete = sorted(numbers) in (list(range(len(lines))), list(range(1, len(lines) + 1)))
        names_differ = len({name for _, _, name in found}) > 1 or len(found) == 1
        if len(found) == len(lines) and names_differ and (counts_up or complete):
            return [(source, number, _unquoted(name)) for source, number, name in found]
    return [(source, -1, _unquoted(line)) for source, line in lines]


def _refuse_blank_lines(file: Path) -> None:
    lines = re.split(r"\r\n|\r|\n", read_text(file).rstrip())
    blank = next((number for number, line in enumerate(lines, start=1) if not line.strip()), None)
    if blank and any(line.strip() for line in lines[: blank - 1]):
        raise UserError(f"{file}, line {blank}: is empty, so the numbers of the classes after it are in doubt")


def _is_header(line: str, plain_text: bool) -> bool:
    separator = next((separator for separator in SEPARATORS if separator in line), None)
    fields = line.split(separator) if separator else line.split()
    columns = (2,) if plain_text else (1, 2)
    return len(fields) in columns and all(field.strip(BLANK).lower() in HEADER_WORDS for field in fields)


def _unquoted(name: str) -> str:
    fields = next(csv.reader([name]), [name]) if name.startswith('"') else [name]
    return fields[0] if len(fields) == 1 else name


def _of_json(file: Path) -> list[NumberedLine] | None:
    content = read_json(file)
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return [(f"{file}, name {i}", -1, name) for i, name in enumerate(content, start=1)] or None
    if not isinstance(content, dict) or not content:
        return None
    pairs = [(str(key), str(value)) for key, value in content.items()]
    for number, name in ((0, 1), (1, 0)):
        if all(pair[number].isdecimal() for pair in pairs):
            return [(f"{file}, {pair[0]!r}", int(pair[number]), pair[name]) for pair in pairs]
    return None
