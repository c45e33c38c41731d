"""Lists of clips as other tools have them: a text or CSV file for each split, most often with numbers for classes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from sth_core.datasets.class_names import ClassNames, find_class_names, normalised_label
from sth_core.datasets.dataset_folder import DatasetFolder
from sth_core.datasets.entries import Annotations, Entry, known_label
from sth_core.datasets.folders import split_of
from sth_core.datasets.list_files import LIST_SUFFIXES, split_lists, unsplit_list
from sth_core.datasets.list_lines import WANTED, ListLine, list_lines, not_used, read_list
from sth_core.datasets.tables import (
    LABEL_COLUMNS,
    PATH_COLUMNS,
    AskedColumns,
    has_path_column,
    read_table,
    table_entries,
)
from sth_core.datasets.text_files import csv_header
from sth_core.errors import UserError
from sth_core.video.decoding import count_frames
from sth_core.video.timeline import UnreadableVideo

CHECKED = 8  # clips of a list whose frames are counted where its numbers could be frames or labels
NEAR = 0.1  # the share by which a list's number of frames may differ from a clip's
COUNTS = ("frames", "num_frames", "total_frames", "length")
OFFSETS = "the numbers after a path are its first frame, counted from 0, its number of frames, and its label"
ONE_LABEL = "a clip has one label, and several are not supported"


def clip_lists(folder: DatasetFolder, columns: AskedColumns, fold: int) -> Annotations | None:
    """Lists of TSN, TSM, MMAction2, SlowFast, VideoMAE and others (docs/data.md), or tables with a header line.

    A file for each split, named train.txt, val.csv, ..._train_split_1.txt and so on, or a single list. Numbers stand
    for the names in a class list (category.txt, classes.txt, label_map.txt, classInd.txt, ...), from 0, or from 1 if
    that is certain; without class list a class is called by its number. Raises UserError: a list cannot be read in one
    way alone."""
    files = split_lists(folder, fold)
    if not files and (single := unsplit_list(folder)):
        files = {"": single}
    if not files:
        return None
    classes = find_class_names(folder, next(iter(files.values())).parent)
    read = [
        table_list(file, folder, of_split, columns)
        if _is_table(file)
        else plain_list(file, folder, of_split, classes, columns)
        for of_split, file in files.items()
    ]
    read, notes = _without_repeats(read)
    entries = [entry for annotations in read for entry in annotations.entries]
    notes += [note for annotations in read for note in annotations.notes]
    if columns.label:
        entries, more = label_from_folders(entries, folder)
        notes += more
    entries, more = with_class_names(entries, classes)
    used = [classes.file] if classes else []
    return Annotations(
        entries,
        (*files.values(), *used),
        tuple(dict.fromkeys((*notes, *more))),
        split_from=", ".join(dict.fromkeys(filter(None, (annotations.split_from for annotations in read)))),
        groups_from=next((annotations.groups_from for annotations in read if annotations.groups_from), ""),
    )


def plain_list(
    file: Path, folder: DatasetFolder, of_split: str, classes: ClassNames | None, columns: AskedColumns
) -> Annotations:
    """The clips of a list without header line; its labels are numbers or names as written, or empty."""
    lines, notes = read_list(file, folder)
    parsed = list_lines(file, _without_header(file, lines), folder)
    names, placing = folder.places({line.name: line.source for line in parsed}, file)
    parsed = [replace(line, name=names.get(line.name, line.name)) for line in parsed]
    has_numbers, has_labels = (any(getattr(line, what) for line in parsed) for what in ("numbers", "label"))
    notes += placing
    if columns.group:
        notes.append(f"{file.name} has no columns, so {columns.group!r} is none")
    if has_numbers:
        entries, more = numbered_entries(parsed, of_split, folder, classes)
        notes += more
    else:
        entries = [_entry_of(line, of_split, normalised_label(line.label)) for line in parsed]
        if not has_labels:
            notes.append(f"{file.name} lists paths without labels")
    if not columns.label:
        entries = [replace(entry, label="") for entry in entries]
    groups = "the video of each part" if any(entry.segment for entry in entries) else ""
    return Annotations(entries, (file,), tuple(notes), file.name if of_split else "", groups)


def table_list(file: Path, folder: DatasetFolder, of_split: str, columns: AskedColumns) -> Annotations:
    """The clips of a list with named columns; its labels are numbers or names as written, or empty."""
    read = table_entries(read_table(file), columns, of_split)
    entries, notes = folder.placed(read.entries, file)
    return replace(read, entries=entries, notes=(*read.notes, *notes))


def _without_repeats(read: list[Annotations]) -> tuple[list[Annotations], list[str]]:
    """(lists, notes) but those with the clips of an earlier one, as VideoMAE's test.csv, which is its val.csv."""
    kept: list[Annotations] = []
    notes = []
    for annotations in read:
        clips = {(entry.clip_id, entry.label) for entry in annotations.entries}
        same = next((a for a in kept if clips == {(entry.clip_id, entry.label) for entry in a.entries}), None)
        if same and kept.index(same) > 0:
            notes.append(f"{annotations.files[0].name} is not read: its clips are those of {same.files[0].name}")
        else:
            kept.append(annotations)
    return kept, notes


def numbered_entries(
    lines: Sequence[ListLine], of_split: str, folder: DatasetFolder, classes: ClassNames | None
) -> tuple[list[Entry], list[str]]:
    """(clips whose label is a number, notes) of lines with one number or more; others get a problem.

    Raises UserError: the numbers could be several labels of a clip, or do not fit its frames."""
    counts = Counter(len(line.numbers) for line in lines if line.numbers)
    usual = counts.most_common(1)[0][0]
    with_numbers = [line for line in lines if line.numbers]
    odd = [line for line in with_numbers if len(line.numbers) != usual]
    if usual > 3 or (odd and not (set(counts) == {1, 2} and _all_frames(with_numbers, folder))):
        line = max(with_numbers, key=lambda line: len(line.numbers))
        raise UserError(_refused(line, f"has {len(line.numbers)} numbers after its path"))
    parts = usual == 3
    if parts:
        _check_offsets(with_numbers, folder, classes)
    elif usual == 2:
        _check_frames([line for line in with_numbers if line not in odd], folder, classes)
    entries = []
    for line in lines:
        problem = "" if line.numbers else f"{line.source}: must be path frames label, or path label; is {line.text!r}"
        number = line.numbers[-1] if line.numbers else 0
        if number < 0:
            problem = f"{line.source}: the label must be a number from 0, is {number}"
        segment = f"{line.numbers[0]}-{line.numbers[0] + line.numbers[1]} frames" if parts and not problem else ""
        entry = _entry_of(line, of_split, str(number) if not problem else "")
        clip_id = f"{line.name} ({segment})" if segment else line.name
        entries.append(replace(entry, clip_id=clip_id, problem=problem, segment=segment, group=line.name))
    return entries, [OFFSETS] if parts else []


def _entry_of(line: ListLine, split: str, label: str) -> Entry:
    return Entry(line.name, line.name, label, split, line.source)


def _check_frames(lines: Sequence[ListLine], folder: DatasetFolder, classes: ClassNames | None) -> None:
    """Raises UserError if the first of two numbers may be a label, as it is no clip's number of frames."""
    if zero := next((line for line in lines if line.numbers[0] < 1), None):
        raise UserError(_refused(zero, f"has two numbers after its path, of which {zero.numbers[0]} is no frame count"))
    most = len(classes.names) if classes else max(line.numbers[1] for line in lines)
    if any(line.numbers[0] > most for line in lines):
        return
    counted = [(line, number) for line in lines[:CHECKED] if (number := frames_of(folder.clip(line.name)))]
    wrong = [(line, number) for line, number in counted if not _near(line.numbers[0], number)]
    if len(wrong) > len(counted) / 2:
        line, number = wrong[0]
        raise UserError(_refused(line, f"has two numbers after its path, but the clip has {number} frames"))


def _all_frames(lines: Sequence[ListLine], folder: DatasetFolder) -> bool:
    """Whether the first of two numbers is each clip's number of frames."""
    return all(_near(line.numbers[0], frames_of(folder.clip(line.name))) for line in lines if len(line.numbers) == 2)


def _near(number: int, frames: int) -> bool:
    return abs(number - frames) <= max(2, NEAR * frames)


def _check_offsets(lines: Sequence[ListLine], folder: DatasetFolder, classes: ClassNames | None) -> None:
    """Raises UserError unless three numbers are offset, frames and label of a folder of frames, and nothing else."""
    count = cache(frames_of)
    for line in lines:
        offset, frames, _ = line.numbers
        path = folder.clip(line.name)
        if path and not path.is_dir():
            raise UserError(_refused(line, "has three numbers after the path of a video, not of a folder of frames"))
        if offset < 0 or frames < 1 or (path and offset + frames > count(path)):
            there = f"the folder has {count(path)}" if path else "a clip has one or more"
            raise UserError(_refused(line, f"does not fit as path offset frames label ({there} frames)"))
    most = len(classes.names) if classes else max(line.numbers[2] for line in lines)
    if all(line.numbers[0] < line.numbers[1] < line.numbers[2] <= most for line in lines):
        raise UserError(_refused(lines[0], "could be path offset frames label, or three labels"))


def frames_of(path: Path | None) -> int:
    """The number of a clip's frames; 0 if it is not there or cannot be read."""
    try:
        return count_frames(path) if path else 0
    except UnreadableVideo:
        return 0


def _refused(line: ListLine, what: str) -> str:
    return (
        f"{line.source}: {line.text!r} {what}; {ONE_LABEL}; wanted: {WANTED}, "
        "or a manifest.csv with the columns path,label (and start,end or start_frame,end_frame)"
    )


def _is_table(file: Path) -> bool:
    """Whether a file has named columns: by its suffix, or by a header line with a column of paths."""
    return file.suffix.lower() not in LIST_SUFFIXES or has_path_column(csv_header(file))


def _without_header(file: Path, lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The lines but a first one that names the fields, separated by blanks: "path label"."""
    words = lines[0][1].lower().split()
    if len(words) < 2 or words[0] not in PATH_COLUMNS or len(lines) == 1:
        return lines
    if words[-1] not in LABEL_COLUMNS or words[1:-1] not in ([], *([name] for name in COUNTS)):
        raise UserError(not_used(file, *lines[0], WANTED))
    return lines[1:]


def label_from_folders(entries: list[Entry], folder: DatasetFolder) -> tuple[list[Entry], tuple[str, ...]]:
    """(the entries, notes): those without label get that of their folder.

    That is what other lists call the clips in this folder or, if no clip has a label, the folder's name, if there are
    several folders of several clips. Otherwise they stay without."""
    unlabelled = {entry.clip_id for entry in entries if not entry.label and not entry.problem}
    if not unlabelled:
        return entries, ()
    folders = {entry.clip_id: _folder_of(entry, folder) for entry in entries}
    labels: dict[str, set[str]] = {}
    for entry in entries:
        if entry.label and not entry.problem:
            labels.setdefault(folders[entry.clip_id], set()).add(entry.label)
    names = {folders[clip_id] for clip_id in unlabelled}
    if not all(names):
        return entries, ()
    if not labels and 1 < len(names) < len(unlabelled):
        labels = {name: {normalised_label(name)} for name in names}
    if not all(len(labels.get(name, ())) == 1 for name in names):
        return entries, ()
    new = [replace(e, label=min(labels[folders[e.clip_id]])) if e.clip_id in unlabelled else e for e in entries]
    return new, ("labels that are not listed are from the clips' folders",)


def _folder_of(entry: Entry, folder: DatasetFolder) -> str:
    """The name of the folder of a clip; empty if it is the dataset's folder or a split."""
    path = folder.clip(entry.name)
    parts = path.relative_to(folder.media.folder).parts if path else Path(entry.name).parts
    return parts[-2] if len(parts) > 1 and not split_of(parts[-2]) else ""


def with_class_names(entries: list[Entry], classes: ClassNames | None) -> tuple[list[Entry], tuple[str, ...]]:
    """(the entries with the names of their classes, notes), where their labels are numbers.

    Raises UserError: the numbers contradict the class list."""
    labelled = [entry for entry in entries if entry.label and not entry.problem]
    if not classes or not labelled:
        return entries, ()
    if not all(entry.label.isdecimal() for entry in labelled):
        known = set(classes.names.values())
        problems = {entry.source: known_label(entry.label, known, entry.source, classes.file) for entry in labelled}
        return [replace(e, problem=e.problem or problems.get(e.source, "")) for e in entries], ()
    names, notes = classes.of_lists({int(entry.label): entry.source for entry in reversed(labelled)})
    span = f"{min(names)} to {max(names)}"
    result = []
    for entry in entries:
        if entry.label and not entry.problem:
            name = names.get(int(entry.label), "")
            absent = f"{entry.source}: the label {entry.label} is not in {classes.file} ({span})"
            entry = replace(entry, label=name or entry.label, problem="" if name else absent)
        result.append(entry)
    return result, notes
