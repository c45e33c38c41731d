"""A dataset's folder as the readers of annotation files see it."""

import posixpath
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath

from sth_core.datasets.entries import Entry
from sth_core.datasets.media import Media, normalised_name
from sth_core.errors import UserError

ABSOLUTE = re.compile(r"/|[A-Za-z]:/")
RESULTS = {"run.json", "training.json", "study.json", "probes.json", "interventions.json", "trust.json", "flow.json",
           "job.json"}  # each marks a folder that sth has written  # fmt: skip
OF_A_CHECK = {"clips.csv", "duplicates.csv"}  # `sth data check` writes both into one folder


@dataclass(frozen=True)
class DatasetFolder:
    """A dataset's folder, as the user named it, with its videos and folders of frames."""

    path: Path
    media: Media

    @cached_property
    def other_files(self) -> list[Path]:
        """All files below that are no media and no results: those that lie least deep first, then by name."""
        below = sorted(file.relative_to(self.media.folder) for file in self.media.left_out.other_files)
        names: dict[Path, set[str]] = {}
        for file in below:
            names.setdefault(file.parent, set()).add(file.name)
        results = {folder for folder, of in names.items() if of & RESULTS or of >= OF_A_CHECK} - {Path()}
        below = [file for file in below if not results or results.isdisjoint(file.parents)]
        return [self.path / file for file in sorted(below, key=lambda file: len(file.parts))]

    @cached_property
    def clips(self) -> dict[str, Path]:
        """Each video and folder of frames by its path below the folder, which is normalised."""
        start = len(str(self.media.folder)) + 1
        return {normalised_name(str(path)[start:]): path for path in self.media.clips}

    def files(self, *suffixes: str) -> list[Path]:
        """Those with one of these suffixes, in lower or upper case."""
        return [file for file in self.other_files if file.suffix.lower() in suffixes]

    def find(self, *patterns: str) -> Path | None:
        """The first file whose name matches the first of these patterns that any name matches."""
        matching = (file for pattern in patterns for file in self.other_files if fnmatchcase(file.name, pattern))
        return next(matching, None)

    def clip(self, name: str) -> Path | None:
        """The video or folder of frames whose path ends with `name`, with or without suffix."""
        if len(name) > 1000 or not name.strip("./"):  # a line of text, no path
            return None
        return self.clips.get(normalised_name(name)) or self.media.find(name)

    def placed(self, entries: list[Entry], file: Path) -> tuple[list[Entry], tuple[str, ...]]:
        """(the entries of a file with paths below this folder, notes), as `places` finds them."""
        names, notes = self.places({entry.name: entry.source for entry in entries}, file)
        return [_renamed(entry, names.get(entry.name, entry.name)) for entry in entries], notes

    def places(self, names_in_file: dict[str, str], file: Path) -> tuple[dict[str, str], tuple[str, ...]]:
        """({path as a file has it: path below this folder}, notes), of paths each with its file and line.

        A path may be relative to the file's own folder, or absolute. Where none is there, folders that all begin with
        are left out if then one is. Raises UserError: a path fits both this folder and the file's."""
        own = file.parent.relative_to(self.path).as_posix()
        names = {name: self._place(name, own, source) for name, source in names_in_file.items() if name}
        notes = [f"paths in {file.name} are relative to its folder, {own}"] if _moved(names) else []
        if prefix := self._absent_prefix(list(names.values())):
            names = {name: new.removeprefix(prefix) for name, new in names.items()}
            notes = [f"paths in {file.name} begin with {prefix}, which is not there, and are read without it"]
        return names, tuple(notes)

    def _place(self, name: str, own: str, source: str) -> str:
        if ABSOLUTE.match(name):
            roots = [folder.as_posix() for folder in (self.media.folder, self.path.absolute())]
            root = next((root for root in roots if PurePosixPath(name).is_relative_to(root)), "")
            return PurePosixPath(name).relative_to(root).as_posix() if root else name
        here, there = posixpath.normpath(name), posixpath.normpath(f"{own}/{name}")
        if there == here or normalised_name(there) not in self.clips:
            return here
        if normalised_name(here) in self.clips:
            raise UserError(f"{source}: {name!r} is both {here} and {there} in {self.path}; write the whole path")
        return there

    def _absent_prefix(self, names: list[str]) -> str:
        """The folders that all names begin with, as few as are to be left out so that one is there; often none."""
        if not names or any(self.clip(name) for name in names):
            return ""
        common = posixpath.commonpath([posixpath.dirname(name) for name in names]) if _alike(names) else ""
        parts = common.split("/")
        prefixes = ["/".join(parts[:taken]) + "/" for taken in range(1, len(parts) + 1)] if common else []
        return next((p for p in prefixes if any(self.clip(name.removeprefix(p)) for name in names)), "")


def _moved(names: dict[str, str]) -> bool:
    return any(new != posixpath.normpath(name) and not ABSOLUTE.match(name) for name, new in names.items())


def _alike(names: list[str]) -> bool:
    return len({name.startswith("/") for name in names}) == 1


def _renamed(entry: Entry, name: str) -> Entry:
    group = name if entry.group == entry.name else entry.group
    return replace(entry, name=name, clip_id=entry.clip_id.replace(entry.name, name, 1), group=group)
