"""The six datasets of Section 4.1, from their own annotation files, as their owners distribute them.

Each reader returns the clips that its files in the dataset's folder list, or None if the folder is of another
dataset. Where the only other list is for testing (UCF-101, HMDB-51), it is the split "val", on which TSN and TSM
report.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sth_core.datasets.class_names import normalised_label
from sth_core.datasets.dataset_folder import DatasetFolder
from sth_core.datasets.entries import Annotations, Entry, file_names, known_label
from sth_core.datasets.text_files import csv_header, csv_rows, read_json, text_lines
from sth_core.errors import UserError, shorten


def part_files(folder: DatasetFolder, prefix: str, suffix: str) -> Iterator[tuple[str, Path]]:
    """(split, file) of the lists for training, validation and testing that are there."""
    for part, split in (("train", "train"), ("validation", "val"), ("test", "test")):
        if file := folder.find(f"{prefix}{part}{suffix}"):
            yield split, file


def id_label_lists(folder: DatasetFolder, prefix: str) -> Annotations | None:
    """Something-Something V1 and Jester: lines of "id;label", and a folder of frames for each id."""
    if not folder.find(f"{prefix}-train.csv"):
        return None
    entries: list[Entry] = []
    list_of_labels = folder.find(f"{prefix}-labels.csv")
    labels = {normalised_label(label) for _, label in text_lines(list_of_labels)} if list_of_labels else set()
    files = dict(part_files(folder, f"{prefix}-", ".csv"))
    for split, file in files.items():
        for source, line in text_lines(file):
            number, separator, label = line.partition(";")
            label = normalised_label(label)
            problem = known_label(label, labels, source, list_of_labels or file)
            if not separator:
                problem = f"{source}: must be id;label, is {line!r}"
            entries.append(Entry(number, number, label, split, source, problem="" if split == "test" else problem))
    return _of_parts(entries, files.values(), list_of_labels)


def something_v2(folder: DatasetFolder) -> Annotations | None:
    """Something-Something V2: JSON with templates and placeholders, a webm file for each id.

    The class is the template without its brackets, as in labels.json.
    """
    train = folder.find("something-something-v2-train.json", "train.json")
    if not train or (train.name == "train.json" and not _has_templates(read_json(train))):
        return None
    prefix = train.name.removesuffix("train.json")
    entries: list[Entry] = []
    list_of_labels = folder.find(f"{prefix}labels.json")
    names = read_json(list_of_labels) if list_of_labels else {}
    if not isinstance(names, dict | list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{list_of_labels}: must be the classes, by their names, is {shorten(names)}")
    labels = set(map(normalised_label, names))
    files = dict(part_files(folder, prefix, ".json"))
    for split, file in files.items():
        rows = read_json(file)
        if not isinstance(rows, list):
            raise UserError(f"{file}: must be a list of clips, is a {type(rows).__name__}")
        for number, row in enumerate(rows, start=1):
            source = f"{file}, clip {number}"
            if not isinstance(row, dict) or "id" not in row:
                clip_id, problem = f"clip {number} of {file.name}", f"{source}: no id"
                entries.append(Entry(clip_id, "", "", split, source, problem=problem))
                continue
            name, label = str(row["id"]), normalised_label(re.sub(r"[][]", "", str(row.get("template", ""))))
            problem = known_label(label, labels, source, list_of_labels or file) if label else f"{source}: no template"
            entries.append(Entry(name, name, label, split, source, problem="" if split == "test" else problem))
    return _of_parts(entries, files.values(), list_of_labels)


def _has_templates(rows: object) -> bool:
    return isinstance(rows, list) and any(isinstance(row, dict) and {"id", "template"} <= row.keys() for row in rows)


def _of_parts(entries: list[Entry], lists: Iterable[Path], class_list: Path | None) -> Annotations:
    files = (*lists, *([class_list] if class_list else []))
    return Annotations(entries, files, split_from=file_names(lists))


def kinetics(folder: DatasetFolder) -> Annotations | None:
    """Kinetics: CSV files with youtube_id, time_start, time_end; <label>/<id>_<start>_<end>.mp4."""
    headers = {file: csv_header(file) for file in folder.files(".csv")}
    files = [file for file, columns in headers.items() if "youtube_id" in columns]
    if not files:
        return None
    for file, columns in headers.items():
        if not columns and any(file.parent == other.parent for other in files):
            raise UserError(f"{file} is empty")
    entries: list[Entry] = []
    names = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
    for file in files:
        if missing := sorted({"time_start", "time_end"} - set(headers[file])):
            raise UserError(f"{file}: has no column {missing[0]!r}; its columns: {', '.join(headers[file])}")
        of_file = next((split for name, split in names.items() if re.search(rf"(^|[^a-z]){name}", file.stem)), "")
        for source, row in csv_rows(file):
            split, label = names.get(row.get("split", ""), of_file), normalised_label(row.get("label", ""))
            problem = "" if split else f"{source}: the split {row.get('split', '')!r} is none of {', '.join(names)}"
            if not label and split != "test":
                problem = f"{source}: no label"
            try:
                start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
                name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
            except (ValueError, OverflowError):  # no number; infinity
                name = row["youtube_id"]
                problem = f"{source}: time_start and time_end must be numbers"
            entries.append(Entry(name, name, label, split, source, row["youtube_id"], problem))
    return Annotations(entries, tuple(files), split_from=file_names(files), groups_from="the column youtube_id")


def ucf101(folder: DatasetFolder, fold: int) -> Annotations | None:
    """UCF-101: trainlist0N.txt, testlist0N.txt and classInd.txt, whose numbers begin at 1."""
    class_list = folder.find("classInd.txt")
    if not class_list or not any(class_list.parent.glob("trainlist*.txt")):
        return None
    numbers: dict[str, str] = {}
    for source, line in text_lines(class_list):
        number, _, label = line.partition(" ")
        if not number.isdigit() or not label:
            raise UserError(f"{source}: must be a number and a class, is {line!r}")
        label = normalised_label(label.strip())
        if label in numbers or number in numbers.values():
            raise UserError(f"{source}: {line!r} has a number or a class that is listed before")
        numbers[label] = number
    entries: list[Entry] = []
    files: list[Path] = []
    for part, split in (("train", "train"), ("test", "val")):
        file = class_list.with_name(f"{part}list{fold:02d}.txt")
        if not file.is_file():
            raise UserError(f"no such file: {file}; UCF-101 has the splits 1, 2 and 3 (fold = {fold})")
        files.append(file)
        for source, line in text_lines(file):
            name, _, number = line.partition(" ")
            label = normalised_label(Path(name).parts[0])
            problem = known_label(label, set(numbers), source, class_list)
            if not problem and number and number != numbers[label]:
                problem = f"{source}: {label} is class {numbers[label]} in {class_list}, here {number}"
            group = re.sub(r"_c\d+$", "", Path(name).stem)
            entries.append(Entry(name, Path(name).stem, label, split, source, group, problem))
    groups = "the g number of UCF-101's names"
    return Annotations(entries, (*files, class_list), split_from=file_names(files), groups_from=groups)


def hmdb51(folder: DatasetFolder, fold: int) -> Annotations | None:
    """HMDB-51: <class>_test_splitN.txt with 1 for training, 2 for testing, 0 for neither."""
    first = folder.find("*_test_split1.txt")
    if not first:
        return None
    entries: list[Entry] = []
    files = sorted(first.parent.glob(f"*_test_split{fold}.txt"))
    if not files:
        raise UserError(f"no file *_test_split{fold}.txt in {first.parent}; HMDB-51 has the splits 1, 2 and 3")
    for file in files:
        label = normalised_label(file.name.removesuffix(f"_test_split{fold}.txt"))
        for source, line in text_lines(file):
            name, _, use = line.rpartition(" ")
            problem = "" if use in ("1", "2") else f"{source}: must end with 0, 1 or 2, is {line!r}"
            split, group = "train" if use == "1" else "val", name.split(f"_{label}_")[0]
            if use != "0":
                entries.append(Entry(f"{label}/{name}", Path(name).stem, label, split, source, group, problem))
    lists, groups = f"the {len(files)} files *_test_split{fold}.txt", "the start of HMDB-51's names, before the class"
    return Annotations(entries, tuple(files), split_from=lists, groups_from=groups)
