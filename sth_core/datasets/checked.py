"""A checked dataset: what was found in its folder, in each clip, and between its clips."""

from dataclasses import dataclass

import pandas as pd

from sth_core.datasets.class_balance import classes_by_split
from sth_core.datasets.confounds import find_confounds
from sth_core.datasets.found import Found
from sth_core.datasets.lookalikes import find_duplicates, find_lookalikes
from sth_core.datasets.name_stems import SharedStems, shared_stems

NOT_FOR_PEOPLE = ["changed", "thumbnails"]  # by which clips are compared


@dataclass(frozen=True)
class CheckedDataset:
    """`clips` is the table of `check_dataset`; `duplicates`, `lookalikes` and `confounds` are those of the functions
    of these names, `counts` that of `classes_by_split`, `stems` what `shared_stems` found."""

    found: Found
    clips: pd.DataFrame
    duplicates: pd.DataFrame
    lookalikes: pd.DataFrame
    confounds: pd.DataFrame
    counts: pd.DataFrame
    stems: SharedStems | None

    @classmethod
    def compared(cls, found: Found, clips: pd.DataFrame) -> "CheckedDataset":
        """Compare the clips of `check_dataset` with each other."""
        duplicates = find_duplicates(clips)
        lookalikes, confounds = find_lookalikes(clips, duplicates), find_confounds(clips)
        stems = None if found.group_source else shared_stems(clips)
        return cls(found, clips, duplicates, lookalikes, confounds, classes_by_split(clips), stems)

    @property
    def usable(self) -> pd.DataFrame:
        return self.clips[self.clips["problem"].eq("")]

    @property
    def in_two_splits(self) -> pd.DataFrame:
        """The pairs of `duplicates` of which one clip is in another split."""
        return self.duplicates[self.duplicates["split_a"].ne(self.duplicates["split_b"])]

    @property
    def fit_to_train(self) -> bool:
        """Whether every clip can be used, and none is in two splits."""
        return len(self.usable) == len(self.clips) and self.in_two_splits.empty

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables for people, by the names of their files."""
        return {
            "clips": self.clips.drop(columns=NOT_FOR_PEOPLE),
            "duplicates": self.duplicates,
            "lookalikes": self.lookalikes,
            "confounds": self.confounds,
        }
