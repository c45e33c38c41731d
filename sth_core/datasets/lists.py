"""Datasets of your own: a CSV manifest, the list files of TSN and TSM, or a folder for each class."""

import re
from pathlib import Path

from sth_core.datasets.dataset_folder import DatasetFolder
from sth_core.datasets.entries import SPLITS, Annotations, Entry, NoSuchColumn, file_names
from sth_core.datasets.text_files import csv_header, csv_rows, text_lines
from sth_core.errors import UserError

DEFAULT_LABEL = "label"  # the column of labels, where no other is asked for
LINE = re.compile(r"(?P<name>\S.*?)(?:\s+(?P<frames>\d+))?\s+(?P<label>\d+)")
CLASS_LISTS = ("category", "categories", "classes", "labels", "label_map*", "*label_map", "classInd")


def manifest(folder: DatasetFolder, label: str, split: str, group: str) -> Annotations | None:
    """manifest.csv, whose column `path` is relative to the folder; without a column "label" its clips have no labels.

    Raises UserError: it has no path, or lacks a column of another name."""
    file = folder.path / "manifest.csv"
    if not file.is_file():
        return None
    rows, columns = list(csv_rows(file)), csv_header(file)
    notes: tuple[str, ...] = ()
    if label == DEFAULT_LABEL and label not in columns:
        label, notes = "", (f"{file.name} has no column {label!r}, so its clips have no labels",)
    if missing := [column for column in ("path", label, group) if column and column not in columns]:
        raise NoSuchColumn(file, missing[0], columns)
    entries: list[Entry] = []
    for source, row in rows:
        name, of_split = row["path"].replace("\\", "/"), row.get(split, "")
        problem = "" if name else f"{source}: no path"
        if label and not row[label] and of_split == "train":
            problem = f"{source}: no label"
        of_group = row[group] if group else name
        entries.append(Entry(name, name, row[label] if label else "", of_split, source, of_group, problem))
    return Annotations(
        entries,
        (file,),
        notes,
        split_from=f"the column {split}" if split in columns else "",
        groups_from=f"the column {group}" if group else "",
    )


def tsn_lists(folder: DatasetFolder, fold: int) -> Annotations | None:
    """Lists of TSN, TSM and MMAction: lines of "path frames label" or "path label", labels from 0.

    The files are train*.txt and val*.txt, or *_train_*.txt and *_val_*.txt; with "split_N" in their names, those
    of `fold`; never those for flow. Class names are in category.txt (or classes.txt, label_map*.txt; in UCF-101's
    classInd.txt after their number), one a line; without such a file a class is called by its number.
    Raises UserError: there are only lists for other folds."""
    lists = {split: file for split in SPLITS if (file := _list_file(folder, split, fold))}
    if "train" not in lists:
        return None
    class_list = folder.find(*(f"{name}.txt" for name in CLASS_LISTS))
    names = [line for _, line in text_lines(class_list)] if class_list else []
    if class_list and class_list.name == "classInd.txt":
        names = [line.partition(" ")[2] for line in names]
    entries: list[Entry] = []
    for split, file in lists.items():
        for source, line in text_lines(file):
            match = LINE.fullmatch(line)
            if not match:
                problem = f"{source}: must be path frames label, or path label; is {line!r}"
                entries.append(Entry(line, line, "", split, source, problem=problem))
                continue
            number, problem = int(match["label"]), ""
            if class_list and number >= len(names):
                problem = f"{source}: the label {number} is not in {class_list} (0 to {len(names) - 1})"
            label, name = names[number] if number < len(names) else str(number), match["name"].replace("\\", "/")
            entries.append(Entry(name, name, label, split, source, problem=problem))
    files = (*lists.values(), *([class_list] if class_list else []))
    return Annotations(entries, files, split_from=file_names(lists.values()))


def _list_file(folder: DatasetFolder, split: str, fold: int) -> Path | None:
    files = folder.files(".txt")
    of_split = re.compile(rf"(^|_){split}(_|\d|list|$)")
    found = [file for file in files if of_split.search(file.stem.lower()) and _is_list(file)]
    of_fold = [file for file in found if re.search(rf"split_?0?{fold}(\D|$)", file.stem)]
    without = [file for file in found if "split" not in file.stem]
    if found and not of_fold and not without:
        raise UserError(f"no list of split {fold} in {found[0].parent}; there are {', '.join(f.name for f in found)}")
    return next((file for file in of_fold or without if "flow" not in file.stem), None)


def _is_list(file: Path) -> bool:
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        first = next((line.strip() for line in lines if line.strip()), None)
    return first is None or LINE.fullmatch(first) is not None  # reading it reports an empty list
