"""Whether the splits of a dataset have the same classes, in the same shares."""

import unicodedata
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from sth_core.datasets.entries import SPLITS

SIGNIFICANT = 0.001  # below this probability, shares that differ between splits are no accident
LARGE_DIFFERENCE = 0.1  # half the sum of the differences of the shares: so much of a split is of other classes


@dataclass(frozen=True)
class UnevenClasses:
    """The classes of `split` have other shares than those of train.

    `different` is half the sum of the differences of the shares (total variation); `label` is the class that differs
    most: so many clips of it `here`, among all `clips_here`, and `in_train`, among all `clips_in_train`.
    """

    split: str
    different: float
    label: str
    here: int
    clips_here: int
    in_train: int
    clips_in_train: int


def classes_by_split(clips: pd.DataFrame) -> pd.DataFrame:
    """The number of usable clips: a row for each label, a column for each split, train first."""
    labelled = clips[clips["problem"].eq("") & clips["label"].ne("")]
    counts = pd.crosstab(labelled["label"], labelled["split"])
    order = sorted(counts, key=lambda split: SPLITS.index(split) if split in SPLITS else len(SPLITS))
    return counts[order]


def uneven_classes(counts: pd.DataFrame) -> list[UnevenClasses]:
    """The splits whose classes have other shares than those of train, of `classes_by_split`.

    They differ by a tenth or more, and by Pearson's chi-squared test (p < 0.001) not by accident. Classes that one of
    both lacks are another finding, and left out."""
    found = []
    for split in counts.columns if "train" in counts else ():
        both = counts.loc[counts[split].gt(0) & counts["train"].gt(0), ["train", split]].to_numpy(float)
        if split == "train" or len(both) < 2:
            continue
        expected = both.sum(1, keepdims=True) * both.sum(0) / both.sum()
        p = special.chdtrc(len(both) - 1, ((both - expected) ** 2 / expected).sum())
        shares = both / both.sum(0)
        different = float(np.abs(shares[:, 0] - shares[:, 1]).sum() / 2)
        if p < SIGNIFICANT and different >= LARGE_DIFFERENCE:
            kept = counts[counts[split].gt(0) & counts["train"].gt(0)]
            label = kept.index[int((((both - expected) ** 2 / expected)[:, 1]).argmax())]
            in_train, here = (int(kept.loc[label, name]) for name in ("train", split))
            sums = [int(kept[name].sum()) for name in (split, "train")]
            found.append(UnevenClasses(split, different, str(label), here, sums[0], in_train, sums[1]))
    return found


def similar_labels(labels: set[str]) -> list[list[str]]:
    """Labels that differ only in upper and lower case, spaces and underscores, or the form of their Unicode."""
    forms: dict[str, list[str]] = {}
    for label in sorted(labels):
        plain = unicodedata.normalize("NFKC", label).casefold().replace("_", " ").replace("-", " ")
        forms.setdefault(" ".join(plain.split()), []).append(label)
    return [of_form for of_form in forms.values() if len(of_form) > 1]
