"""What was found in a dataset's folder, in one line for the user."""

from collections.abc import Mapping
from dataclasses import dataclass

from sth_core.datasets.entries import SPLITS
from sth_core.datasets.media import counted
from sth_core.datasets.splits import INVENTED


@dataclass(frozen=True)
class Found:
    """What a dataset's folder holds, where its labels, splits and groups come from, and what was left out of it.

    `read_from` is a file, several, or "its folders"; `left_out` and `notes` are sentences without a full stop.
    """

    name: str
    clips: int
    unusable: int
    unlabelled: int
    classes: int
    splits: Mapping[str, int]
    groups: int
    read_from: str
    split_source: str
    split_invented: bool
    group_source: str
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def how_split(self) -> str:
        """Where the splits come from, as a run records it: "by checksum, no groups known", "the column split"."""
        return f"{INVENTED} {self.split_source}" if self.split_invented else self.split_source

    @property
    def sentence(self) -> str:
        """One line: clips, classes, splits and groups with their origin, and what was left out."""
        parts = [counted(self.clips, "clip")]
        parts += [f"{self.unusable} unusable"] * bool(self.unusable)
        parts += [counted(self.classes, "class")] if self.classes else ["no labels"]
        parts += [f"{self.unlabelled} without a label"] * bool(self.classes and self.unlabelled)
        sentences = [f"{', '.join(parts)}, read from {self.read_from}"]
        order = sorted(self.splits, key=lambda split: (SPLITS.index(split) if split in SPLITS else len(SPLITS), split))
        splits = ", ".join(f"{split or 'none'} {self.splits[split]:,}" for split in order)
        invented = f"{INVENTED}, " if self.split_invented else "from "
        sentences.append(f"splits: {splits} ({invented}{self.split_source})")
        if self.group_source:
            sentences.append(f"groups: {self.groups:,} (from {self.group_source})")
        sentences += [f"left out: {', '.join(self.left_out)}"] * bool(self.left_out)
        return f"{self.name}: " + "; ".join([*sentences, *self.notes])
