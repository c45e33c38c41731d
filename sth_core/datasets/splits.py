"""Which clips a network is trained on and which are held out, where the dataset itself does not say."""

import re
import zlib
from dataclasses import dataclass

import pandas as pd

from sth_core.datasets.entries import SPLITS
from sth_core.errors import UserError

ALL = "all"  # stands for every split, where a command asks for one
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validate": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
WORDS_OF_SPLITS = SPLIT_NAMES | {"dev": "val"}  # in files; a folder "dev" may well be a class
INVENTED = "invented"  # how the origin of splits begins if the dataset names none
BY_CHECKSUM = "by checksum"
NO_GROUPS = "no groups known"


@dataclass(frozen=True)
class Splits:
    """A split for each clip; `source` says where they come from, `notes` what the user did not ask for.

    `invented`: the dataset names no splits.
    """

    of_clips: pd.Series
    source: str
    invented: bool
    notes: tuple[str, ...] = ()


def pattern_groups(names: pd.Series, pattern: str) -> tuple[pd.Series, tuple[str, ...]]:
    """The group of each clip: what the first parenthesis of a regular expression (or all of it) finds in its path.

    A path in which it finds nothing is a group of its own, which a note says. Raises UserError: no regular expression,
    or it finds nothing in any path."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"the group pattern {pattern!r} is no regular expression: {error}") from error
    matches = names.map(expression.search)
    found = matches.notna()
    if not found.any():
        raise UserError(f"the group pattern {pattern!r} finds nothing in any clip's path, such as {names.iloc[0]!r}")
    groups = matches.map(lambda match: match[min(1, expression.groups)] if match else None)
    groups, without = groups.where(groups.notna(), names), list(names[~found])
    if not without:
        return groups, ()
    what = f"the group pattern finds nothing in {len(without)} of {len(names)} paths, such as {without[0]!r}"
    return groups, (f"{what}: each is a group of its own",)


def assign_splits(clips: pd.DataFrame, held_out: tuple[str, ...], source: str, groups_known: bool) -> Splits:
    """The splits that the dataset names, which come from `source`, or invented ones.

    Invented: the groups in `held_out` are the split "val"; without those, or if there is none of them, a fifth of all
    groups by checksum. Clips of one group are always in one split. Raises UserError: only some clips have a split."""
    if clips["split"].ne("").any():
        usable = clips[clips["problem"].eq("")]
        without = usable.loc[usable["split"].eq(""), "clip_id"]
        if len(without):
            raise UserError(
                f"{len(without)} of {len(clips)} clips have no split, among them {without.iloc[0]}; "
                f"give all of them one ({', '.join(SPLITS)}), or none"
            )
        return Splits(clips["split"], source, invented=False)
    groups = clips["group"]
    named = groups.isin(held_out)
    missing = [group for group in held_out if group not in set(groups)]
    if named.any() and not named.all():
        notes = (f"held_out names groups that are not there: {', '.join(missing)}",) if missing else ()
        return Splits(as_splits(named), "by held_out", invented=True, notes=notes)
    notes = ()
    if held_out:
        what = "is every group" if named.all() else f"({', '.join(held_out)}) matches no group"
        notes = (f"held_out {what}, so the split is by checksum instead",)
    source = BY_CHECKSUM if groups_known else f"{BY_CHECKSUM}, {NO_GROUPS}"
    return Splits(as_splits(checksum_fifth(clips)), source, invented=True, notes=notes)


def as_splits(held_out: pd.Series) -> pd.Series:
    return held_out.map({True: "val", False: "train"}).astype(object)


def checksum_fifth(clips: pd.DataFrame) -> pd.Series:
    """Which clips to hold out: those of the groups whose checksum is divisible by 5, so that a new clip moves no other.

    In a small dataset that can be none, or all clips of a class. Then the group with the smallest checksum is held
    out, and the groups with the largest stay, until each class has a clip to train on.
    """
    checksums = {group: zlib.crc32(group.encode()) for group in clips["group"].unique()}
    held = {group for group, checksum in checksums.items() if checksum % 5 == 0}
    if not held and len(checksums) > 1:
        held = {min(checksums, key=lambda group: (checksums[group], group))}
    usable = clips[clips["problem"].eq("")]
    for _, groups in usable.groupby("label")["group"]:
        if held.issuperset(groups):
            held.discard(max(groups, key=lambda group: (checksums[group], group)))
    return clips["group"].isin(held)
