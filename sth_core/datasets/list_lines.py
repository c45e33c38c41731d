"""The lines of a list of clips: a path and, after it, numbers, the name of a class, or nothing."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sth_core.datasets.blanks import BLANK
from sth_core.datasets.dataset_folder import DatasetFolder
from sth_core.datasets.media import is_video
from sth_core.datasets.text_files import FIRST_LINES, SEPARATORS, text_lines
from sth_core.errors import UserError
from sth_core.video.decoding import VIDEO_SUFFIXES

INTEGER = re.compile(r"-?\d+")
SPACED = re.compile(r"(?P<name>[^ \t].*?)(?P<numbers>(?:[ \t]+-?\d+)+)")
VIDEO_FIRST = re.compile(
    rf"(?P<name>[^ \t].*?(?:{'|'.join(map(re.escape, sorted(VIDEO_SUFFIXES)))}))[ \t]+(?P<label>\S.*)", re.IGNORECASE
)
WANTED = "path label, path frames label, or (parts of a folder of frames) path offset frames label"

OR_FOLDERS = 'or [data] format = "folders", which ignores lists and takes classes from the folders'
LONGEST = 80  # characters of a line that are quoted


@dataclass(frozen=True)
class ListLine:
    """A line of a list: `source` is its file and line; without numbers or label it is a path alone."""

    source: str
    text: str
    name: str
    numbers: tuple[int, ...] = ()
    label: str = ""


def list_lines(file: Path, lines: Sequence[tuple[str, str]], folder: DatasetFolder) -> list[ListLine]:
    """The lines of a list without header, whose fields are separated by commas, semicolons, tabs or blanks.

    Numbers end a line or, if no line has any, the name of a class does or the path itself. Raises UserError: it is no
    such list, or its first line has another form than all others."""
    separator = max((*SEPARATORS, " "), key=lambda by: sum(bool(_numbered(line, by).numbers) for line in lines))
    numbered = [_numbered(line, separator) for line in lines]
    alike = len({len(line.numbers) for line in numbered}) == 1
    if not (alike and all(folder.clip(line.name) for line in numbered[:FIRST_LINES])):
        numbered = [_whole_names(line, folder) for line in numbered]
    with_numbers = [bool(line.numbers) for line in numbered]
    if not any(with_numbers):
        return _without_numbers(file, lines, folder)
    if len(numbered) > 1 and with_numbers.index(True) == 1 and all(with_numbers[1:]) and not folder.clip(lines[0][1]):
        raise UserError(not_used(file, *lines[0], WANTED))
    return numbered


def not_used(file: Path, source: str, text: str, wanted: str) -> str:
    """The refusal of an annotation file, with the line that was not understood."""
    where = source.removeprefix(f"{file}, ")
    return f"{file} is not used: {where} is {text[:LONGEST]!r}; wanted: {wanted}; {OR_FOLDERS}"


def read_list(file: Path, folder: DatasetFolder) -> tuple[list[tuple[str, str]], list[str]]:
    """((file and line, text) of each line that is no comment, notes); raises UserError if there is none.

    A comment begins with #, and no clip does so."""
    lines = list(text_lines(file))
    comments = {source: text for source, text in lines if text.startswith("#") and _is_comment(text, folder)}
    lines = [(source, text) for source, text in lines if source not in comments]
    if not lines:
        raise UserError(f"{file} is empty")
    clips = [text for text in comments.values() if folder.clip(_name_in(text).lstrip("# "))]
    return lines, [f"{file.name} has clips in comments, which are not read: {clips[0]!r}"] if clips else []


def _is_comment(text: str, folder: DatasetFolder) -> bool:
    name = _name_in(text)
    if folder.clip(name):
        return False
    return text.startswith(("# ", "##")) or name == text or folder.clip(name.lstrip("#")) is not None


def _name_in(text: str) -> str:
    """A line without the numbers at its end."""
    match = SPACED.fullmatch(text)
    return match["name"] if match else text


def _numbered(line: tuple[str, str], separator: str) -> ListLine:
    """A line as a path and the whole numbers at its end."""
    source, text = line
    if separator == " ":
        match = SPACED.fullmatch(text)
        fields = [match["name"], *match["numbers"].split()] if match else [text]
    else:
        fields = separated(text, separator)
    numbers = [int(field) for field in fields[1:] if INTEGER.fullmatch(field)]
    if len(numbers) != len(fields) - 1:  # something else after the path
        return ListLine(source, text, text)
    match = SPACED.fullmatch(fields[0])
    if match and numbers and VIDEO_FIRST.fullmatch(fields[0]):  # "a.mp4 0,3"
        fields[0], numbers = match["name"], [*map(int, match["numbers"].split()), *numbers]
    return ListLine(source, text, path_text(fields[0]), tuple(numbers))


def separated(text: str, separator: str) -> list[str]:
    return [field.strip(BLANK) for field in next(csv.reader([text], delimiter=separator), [""])]


def path_text(text: str) -> str:
    """A path as this system writes it, without quotes around it."""
    unquoted = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
    return unquoted.replace("\\", "/")


def _whole_names(line: ListLine, folder: DatasetFolder) -> ListLine:
    """A line whose path itself ends with numbers ("take 2") with the longest path that there is."""
    if len(line.numbers) < 2 or folder.clip(line.name):
        return line
    for taken in range(len(line.numbers) - 1, 0, -1):
        name = " ".join((line.name, *map(str, line.numbers[:taken])))
        if line.text.startswith(name) and folder.clip(name):
            return ListLine(line.source, line.text, name, line.numbers[taken:])
    return line


def _without_numbers(file: Path, lines: Sequence[tuple[str, str]], folder: DatasetFolder) -> list[ListLine]:
    """Paths alone or, if no whole line is one, paths and names of classes."""
    paths = [ListLine(source, text, path_text(text)) for source, text in lines]
    if _are_clips(paths, folder):
        return paths
    for separator in (*SEPARATORS, " "):
        named = [_named(line, separator) for line in lines]
        if all(line.label for line in named) and _are_clips(named, folder):
            if folder.clip(named[0].name) is None and len(named) > 1 and folder.clip(named[1].name):
                break  # a header line
            return named
    raise UserError(not_used(file, *lines[0], WANTED))


def _are_clips(lines: Sequence[ListLine], folder: DatasetFolder) -> bool:
    if any(folder.clip(line.name) for line in lines):
        return True
    return all(is_video(Path(line.name)) and not re.search(r"[\s,;]", line.name) for line in lines)


def _named(line: tuple[str, str], separator: str) -> ListLine:
    source, text = line
    if separator == " ":
        match = VIDEO_FIRST.fullmatch(text)
        fields = [match["name"], match["label"]] if match else re.split(r"[ \t]+", text)
    else:
        fields = separated(text, separator)
    return ListLine(source, text, path_text(fields[0]), label=fields[1] if len(fields) == 2 else "")
