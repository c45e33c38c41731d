"""Which files of a folder are lists of clips, and for which split."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sth_core.datasets.dataset_folder import DatasetFolder
from sth_core.datasets.entries import SPLITS
from sth_core.datasets.list_lines import path_text
from sth_core.datasets.media import normalised_name
from sth_core.datasets.splits import WORDS_OF_SPLITS
from sth_core.datasets.tables import TABLE_SUFFIXES, has_path_column, path_column, read_table
from sth_core.datasets.text_files import SEPARATORS, csv_header, read_text
from sth_core.errors import UserError

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".lst", ".list")
SPLIT_WORD = re.compile(
    rf"(?<![a-z])({'|'.join(sorted(WORDS_OF_SPLITS, key=len, reverse=True))})(?:list|set|split|data)?(?![a-z])"
)
FOLD = re.compile(r"(?:split|fold|list)[-_ ]?0*(\d+)(?!\d)")
HARMLESS = {"readme", "license", "licence", "notes", "note", "changelog", "citation", "todo", "log", "requirements",
            "answers", "copying", "authors"}  # fmt: skip
OF_NO_LABELS = {"fold", "folds", "split", "splits", "group", "groups"}  # what their numbers stand for
FIRST_LINES = 50
OFFICIAL = re.compile(r"(something-something-v\d|jester-v\d)-")


def split_in(name: str) -> str:
    """The split that a file's name without suffix names; empty if it names none, or two."""
    splits = {WORDS_OF_SPLITS[word] for word in SPLIT_WORD.findall(name.lower())}
    return splits.pop() if len(splits) == 1 else ""


def words_of(file: Path) -> set[str]:
    """The words of a file's name, in lower case."""
    return set(re.split(r"[^a-z]+", file.stem.lower()))


def split_lists(folder: DatasetFolder, fold: int) -> dict[str, Path]:
    """The list of each split: files such as train.txt, val.csv, ucf101_rgb_train_split_1.txt, testlist01.txt.

    Of files for several folds ("split_2", "list02"), those of `fold`; never those for flow. Raises UserError: there
    are only lists for other folds, or several for one split."""
    files: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for file in folder.files(*LIST_SUFFIXES, *TABLE_SUFFIXES):
        if (split := split_in(file.stem)) and not _other(file, folder):
            files[split].append(file)
    chosen = {split: _of_fold(of_split, fold) for split, of_split in files.items()}
    return {split: _only_one(found, split, folder) for split, found in chosen.items() if found}


def unsplit_list(folder: DatasetFolder) -> Path | None:
    """The only file that lists clips, whose name names no split; None if there are several or none."""
    files = folder.files(*LIST_SUFFIXES, *TABLE_SUFFIXES)
    found = [file for file in files if not words_of(file) & OF_NO_LABELS and names_clips(file, folder)]
    return found[0] if len(found) == 1 else None


def names_clips(file: Path, folder: DatasetFolder) -> bool:
    """Whether a list or table names a video or folder of frames of the folder in one of its first lines."""
    if words_of(file) & HARMLESS or beside_its_clip(file, folder):
        return False
    try:
        if file.suffix.lower() not in LIST_SUFFIXES or has_path_column(csv_header(file)):
            table = read_table(file)
            return any(folder.clip(path_text(row[path_column(table)])) for _, row in table.rows[:FIRST_LINES])
        lines = read_text(file).split("\n")[:FIRST_LINES]
    except (UserError, KeyError):
        return False
    separators = (*SEPARATORS, " ")
    fields = {text for line in lines for text in (line, *(part for by in separators for part in line.split(by)))}
    paths = [field for field in (text.strip(' \t\r"').replace("\\", "/") for text in fields) if _like_a_path(field)]
    return any(folder.clip(path) or folder.clip(PurePosixPath(path).name) for path in paths)


def _like_a_path(text: str) -> bool:
    return "/" in text or "\\" in text or "." in text[1:]


def beside_its_clip(file: Path, folder: DatasetFolder) -> bool:
    """Whether a file is called as a clip in the same folder: notes or subtitles of this clip."""
    here = folder.media.folder / file.parent.relative_to(folder.path)
    stems = {normalised_name(file.stem), normalised_name(Path(file.stem).stem)}  # 1.txt, 1.mp4.txt
    return any(clip.parent == here for stem in stems for clip in folder.media.by_name.get(stem, ()))


def _other(file: Path, folder: DatasetFolder) -> bool:
    """Whether a file is no list, or one that has a reader of its own."""
    if words_of(file) & HARMLESS or OFFICIAL.match(file.name) or beside_its_clip(file, folder):
        return True
    try:
        return file.suffix.lower() not in LIST_SUFFIXES and not has_path_column(read_table(file).columns)
    except UserError:
        return True


def _of_fold(files: list[Path], fold: int) -> list[Path]:
    folds = {file: match[1] for file in files if (match := FOLD.search(file.stem.lower()))}
    fitting = [file for file, of_file in folds.items() if int(of_file) == fold]
    without = [file for file in files if file not in folds]
    if files and not fitting and not without:
        raise UserError(f"no list of split {fold} in {files[0].parent}; there are {_names(files)}")
    return [file for file in fitting or without if "flow" not in words_of(file)]


def _only_one(files: list[Path], split: str, folder: DatasetFolder) -> Path:
    if len(files) > 1:
        files = [file for file in files if names_clips(file, folder)] or files
    if len(files) > 1 and len({file.read_bytes() for file in files}) > 1:
        raise UserError(f"several lists for the split {split}: {_names(files)}; leave one of them in {folder.path}")
    return files[0]


def _names(files: Iterable[Path]) -> str:
    return ", ".join(file.name for file in files)
