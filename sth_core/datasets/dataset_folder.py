"""A dataset's folder as the readers of annotation files see it."""

import posixpath
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from sth_core.datasets.entries import Entry
from sth_core.datasets.media import Media, normalised_name
from sth_core.errors import UserError

ABSOLUTE = re.compile(r"/|[A-Za-z]:/")
OF_A_CHECK = {"clips.csv", "duplicates.csv"}  # `sth data check` writes both into one folder


@dataclass(frozen=True)
class DatasetFolder:
    """A dataset's folder, as the user named it, with its videos and folders of frames."""

    path: Path
    media: Media

    @cached_property
    def other_files(self) -> list[Path]:
        """All files below that are no media: those that lie least deep first, then by name."""
        below = sorted(file.relative_to(self.media.folder) for file in self.media.left_out.other_files)
        names: dict[Path, set[str]] = {}
        for file in below:
            names.setdefault(file.parent, set()).add(file.name)
        below = [file for file in below if not names[file.parent] >= OF_A_CHECK]
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
        matching = (file for pattern in patterns for file in self.other_files if file.match(pattern))
        return next(matching, None)

    def clip(self, name: str) -> Path | None:
        """The video or folder of frames whose path ends with `name`, with or without suffix."""
        if len(name) > 1000 or not name.strip("./"):  # a line of text, no path
            return None
        try:
            return self.clips.get(normalised_name(name)) or self.media.find(name)
        except OSError:  # a part of the name is longer than file names can be
            return None

    def placed(self, entries: list[Entry], file: Path) -> tuple[list[Entry], tuple[str, ...]]:
        """(the entries of a file with paths below this folder, notes): paths may be relative to the file's own folder.

        Absolute paths that lie elsewhere stay as they are; of those that are not there, what lies below this folder is
        taken. Raises UserError: a path fits both this folder and the file's."""
        own = file.parent.relative_to(self.path).as_posix()
        names = {entry.name: self._place(entry.name, own, entry.source) for entry in entries}
        moved = [
            replace(entry, name=names[entry.name], clip_id=entry.clip_id.replace(entry.name, names[entry.name], 1))
            for entry in entries
        ]
        notes = []
        if any(name != new and new == posixpath.normpath(f"{own}/{name}") for name, new in names.items()):
            notes.append(f"paths in {file.name} are relative to its folder, {own}")
        absent = next((name for name, new in names.items() if ABSOLUTE.match(name) and not ABSOLUTE.match(new)), "")
        if absent and not absent.startswith((str(self.media.folder), str(self.path.absolute()))):
            prefix = absent.removesuffix(names[absent])
            notes.append(f"paths in {file.name} begin with {prefix}, which is not there, and are read without it")
        return moved, tuple(notes)

    def _place(self, name: str, own: str, source: str) -> str:
        if not name:
            return name
        if ABSOLUTE.match(name):
            return self._place_absolute(name)
        here, there = posixpath.normpath(name), posixpath.normpath(f"{own}/{name}")
        if there == here or normalised_name(there) not in self.clips:
            return here
        if normalised_name(here) in self.clips:
            raise UserError(f"{source}: {name!r} is both {here} and {there} in {self.path}; write the whole path")
        return there

    def _place_absolute(self, name: str) -> str:
        for folder in (self.media.folder, self.path.absolute()):
            if PurePosixPath(name).is_relative_to(folder.as_posix()):
                return PurePosixPath(name).relative_to(folder.as_posix()).as_posix()
        if self.media.at(name):
            return name
        parts = [part for part in PurePosixPath(name).parts if part != "/"]
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((end for end in ends if self.clip(end)), name)
