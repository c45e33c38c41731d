"""Which clips are held out, by hand: where a dataset names splits, names them in part, or names none."""

import zlib

import pandas as pd
import pytest

from sth_core.datasets.splits import SPLIT_NAMES, WORDS_OF_SPLITS, assign_splits, checksum_fifth, pattern_groups
from sth_core.errors import UserError


def clips(groups: str, splits: list[str] | None = None, labels: str = "") -> pd.DataFrame:
    """A clip of each group; all of the label "x", or of these."""
    rows = {"clip_id": [f"c{i}" for i in range(len(groups))], "group": [*groups], "problem": ""}
    return pd.DataFrame(rows | {"label": [*(labels or "x" * len(groups))], "split": splits or [""] * len(groups)})


def test_the_names_of_splits() -> None:
    named = {
        "train": {"train", "training"},
        "val": {"val", "valid", "validate", "validation"},
        "test": {"test", "testing"},
    }
    assert {split: {name for name, s in SPLIT_NAMES.items() if s == split} for split in named} == named
    assert {**SPLIT_NAMES, "dev": "val"} == WORDS_OF_SPLITS


def test_splits_that_are_named_are_taken_and_none_may_lack_one_that_can_be_read() -> None:
    table = clips("abc", ["train", "val", "test"])
    found = assign_splits(table, ("a",), "in its files", True)
    assert (found.of_clips.tolist(), found.source, found.invented, found.notes) == (
        ["train", "val", "test"], "in its files", False, (),
    )  # fmt: skip
    some = clips("abc", ["train", "", ""])
    with pytest.raises(UserError, match="2 of 3 clips have no split, among them c1"):
        assign_splits(some, (), "", True)
    damaged = some.assign(problem=["", "it is damaged", "it is damaged"])
    assert assign_splits(damaged, (), "", True).of_clips.tolist() == ["train", "", ""]


@pytest.mark.parametrize(
    ("held_out", "expected", "notes"),
    [
        (("a",), ["val", "train", "val"], ()),
        (("a", "z"), ["val", "train", "val"], ("held_out names groups that are not there: z",)),
    ],
)
def test_groups_that_are_held_out(held_out: tuple[str, ...], expected: list[str], notes: tuple[str, ...]) -> None:
    found = assign_splits(clips("aba"), held_out, "", True)
    assert (found.of_clips.tolist(), found.source, found.invented) == (expected, "by held_out", True)
    assert found.notes == notes


@pytest.mark.parametrize(
    ("held_out", "note"),
    [
        ((), None),
        (("y", "z"), "held_out (y, z) matches no group, so the split is by checksum instead"),
        (("a", "b"), "held_out is every group, so the split is by checksum instead"),
    ],
)
def test_else_a_fifth_is_held_out_by_checksum(held_out: tuple[str, ...], note: str | None) -> None:
    table = clips("aba")
    found = assign_splits(table, held_out, "", True)
    assert found.of_clips.eq("val").tolist() == checksum_fifth(table).tolist()
    assert (found.source, found.invented, found.notes) == ("by checksum", True, (note,) if note else ())
    assert assign_splits(table, held_out, "", False).source == "by checksum, no groups known"


FIFTHS = [group for group in map(str, range(100)) if zlib.crc32(group.encode()) % 5 == 0]
OTHERS = [group for group in map(str, range(100)) if group not in FIFTHS]


def held(groups: list[str], labels: list[str]) -> list[str]:
    """The groups that are held out."""
    table = pd.DataFrame({"group": groups, "label": labels, "problem": ""})
    return sorted(set(table.loc[checksum_fifth(table), "group"]))


def test_groups_whose_checksum_5_divides_are_held_out() -> None:
    assert held(FIFTHS[:2] + OTHERS[:5], ["x"] * 7) == sorted(FIFTHS[:2])
    (smallest,) = held(OTHERS[:5], ["x"] * 5)  # none of them: that with the smallest checksum
    assert smallest == min(OTHERS[:5], key=lambda group: zlib.crc32(group.encode()))
    assert held(OTHERS[:1], ["x"]) == []


def test_a_class_keeps_a_group_to_train_on() -> None:
    largest = max(FIFTHS[:3], key=lambda group: zlib.crc32(group.encode()))
    kept = held(FIFTHS[:3] + OTHERS[:5], ["y"] * 3 + ["x"] * 5)  # all of "y" would be held out
    assert kept == sorted(set(FIFTHS[:3]) - {largest})


def test_groups_by_a_pattern() -> None:
    names = pd.Series(["p1_s2.mp4", "p2_s1.mp4", "other.mp4"])
    assert pattern_groups(names[:2], r"p\d")[0].tolist() == ["p1", "p2"]  # all that it finds
    groups, notes = pattern_groups(names, r"(p\d)_(s\d)")
    assert groups.tolist() == ["p1", "p2", "other.mp4"]
    what = "the group pattern finds nothing in 1 of 3 paths, such as 'other.mp4'"
    assert notes == (f"{what}: each is a group of its own",)
    with pytest.raises(UserError, match=r"finds nothing in any clip's path, such as 'p1_s2\.mp4'"):
        pattern_groups(names, "z")
    with pytest.raises(UserError, match="no regular expression"):
        pattern_groups(names, "(")
