"""A dataset's folder as the readers of annotation files see it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sth_core.datasets.media import Media


@dataclass(frozen=True)
class DatasetFolder:
    """A dataset's folder, as the user named it, with its videos and folders of frames."""

    path: Path
    media: Media

    @cached_property
    def other_files(self) -> list[Path]:
        """All files below that are no media: those that lie least deep first, then by name."""
        below = sorted(file.relative_to(self.media.folder) for file in self.media.left_out.other_files)
        return [self.path / file for file in sorted(below, key=lambda file: len(file.parts))]

    def files(self, *suffixes: str) -> list[Path]:
        """Those with one of these suffixes, in lower or upper case."""
        return [file for file in self.other_files if file.suffix.lower() in suffixes]

    def find(self, *patterns: str) -> Path | None:
        """The first file whose name matches the first of these patterns that any name matches."""
        matching = (file for pattern in patterns for file in self.other_files if file.match(pattern))
        return next(matching, None)
