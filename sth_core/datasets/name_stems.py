"""Clips whose file names differ only in the numbers at their end: perhaps pieces of one source video."""

import re
from dataclasses import dataclass
from itertools import product

import pandas as pd

from sth_core.datasets.splits import assign_splits

# "_12", "_c01", "-part3", " (2)", ".10", "_10s", and the 7 of "clip7"; not the end of a longer number or of ".mp4".
ENDING = r"(?:[ _(-]+[A-Za-z]{0,6}|\.)?(?<!\d)(?<!\.mp)(?<!\.3g)\d+s?\)?"
PATTERNS = tuple(rf"([^/]+?)(?:{ENDING}){{{endings}}}(?:\.[A-Za-z]\w*)?$" for endings in (1, 2, 3))
REPEATED = 0.05  # of the clips share their stem: else the endings are part of the sources' names
FEWEST_SHARED, SHARED_SHARE = 2, 0.1  # clips of a split, and share of them, that have a clip of the same stem in train


@dataclass(frozen=True)
class SharedStems:
    """`shared` of the `clips` in `split` have a clip of the same stem in train, such as `example`.

    `pattern` finds the stems (a value of --group-pattern); there are `stems` of them. `splits` are the clips of each
    split if clips of one stem were kept together.
    """

    split: str
    shared: int
    clips: int
    stems: int
    example: str
    pattern: str
    splits: dict[str, int]


def shared_stems(clips: pd.DataFrame) -> SharedStems | None:
    """The split with most clips that have one of the same stem in train; None if there is none.

    One, two or three endings are left out of the names, the fewest with which stems are repeated. Stems are more than
    the classes, as clips are often named after their class."""
    for pattern in PATTERNS:
        stems = clips["clip_id"].str.extract(pattern, expand=False).fillna(clips["clip_id"])
        if stems.duplicated(keep=False).mean() >= REPEATED:
            found = _shared(clips, stems, pattern) if stems.nunique() > clips["label"].nunique() else []
            return max(found, key=lambda of_split: of_split.shared, default=None)
    return None


def simple_pattern(names: pd.Series, stems: pd.Series, pattern: str) -> str:
    """A short regular expression that gives the same groups as `pattern`, for people to read; else `pattern`."""
    wanted, _ = pd.factorize(stems)
    for separator, letters, endings in product("_-. ", ("", "[A-Za-z]+"), (1, 2, 3)):
        ending = rf"{re.escape(separator)}{letters}\d+"
        short = rf"([^/]+?)(?:{ending}){{{endings}}}\.\w+$" if endings > 1 else rf"([^/]+){ending}\.\w+$"
        groups = names.str.extract(short, expand=False).fillna(names)
        if (pd.factorize(groups)[0] == wanted).all():
            return short
    return pattern


def _shared(clips: pd.DataFrame, stems: pd.Series, pattern: str) -> list[SharedStems]:
    in_train = set(stems[clips["split"].eq("train")])
    together = assign_splits(clips.assign(group=stems, split=""), (), "", True).of_clips.value_counts().to_dict()
    found = []
    for split, of_split in stems[clips["split"].ne("train")].groupby(clips["split"]):
        shared = of_split[of_split.isin(in_train)]
        if len(shared) >= max(FEWEST_SHARED, SHARED_SHARE * len(of_split)):
            example = str(shared.mode().iloc[0])
            counts = len(shared), len(of_split), stems.nunique()
            short = simple_pattern(clips["clip_id"], stems, pattern)
            found.append(SharedStems(str(split), *counts, example, short, together))
    return found
