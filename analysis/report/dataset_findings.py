"""What to know of a checked dataset before a day of training, as sentences, the most important first."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from sth_core.datasets.checked import CheckedDataset
from sth_core.datasets.class_balance import similar_labels, uneven_classes
from sth_core.datasets.confounds import labels_by_value
from sth_core.datasets.frame_defects import GRAY, ONE_COLOUR, ONE_PICTURE
from sth_core.datasets.lookalikes import VERY_ALIKE
from sth_core.datasets.media import counted

FAILS, WARNS, PASSES = "fails", "warns", "passes"
LARGEST_RATIO = 10  # of the clips of two classes in train
ENOUGH_CLIPS = 20  # to say that nothing else tells their labels


@dataclass(frozen=True)
class DatasetFinding:
    """A sentence, and whether it `fails` (the dataset should not be trained on), `warns` or `passes`.

    `title` is the heading of its part of the page, which shows a row of frames for each of `shown`: pairs of clip_id
    and share of the clip (0 is its first frame, 1 its last); and `table`.
    """

    tone: str
    text: str
    title: str = ""
    shown: Sequence[tuple[tuple[str, float], ...]] = ()
    table: pd.DataFrame | None = None


def dataset_findings(checked: CheckedDataset) -> list[DatasetFinding]:
    """All findings; first those that fail, then those that warn."""
    parts = (
        decoding, copies, lookalikes, names, groups, split, classes, confounds, beginnings, flaws, repetitions, remains,
    )  # fmt: skip
    found = [finding for part in parts for finding in part(checked)]
    return sorted(found, key=lambda finding: (FAILS, WARNS, PASSES).index(finding.tone))


def decoding(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    clips, usable = checked.clips, checked.usable
    n, exact = len(usable), int(usable["exact"].sum())
    problems = clips.loc[clips["problem"].ne(""), ["clip_id", "problem"]]
    yield DatasetFinding(
        PASSES if n == len(clips) else FAILS,
        f"{n} of {len(clips)} clips decode from the first frame to the last",
        "Clips that cannot be used",
        table=problems,
    )
    wrong = usable.loc[~usable["exact"].astype(bool), ["clip_id", "access"]]
    text = f"{exact} of {n} give the right frame when it is read alone"
    yield DatasetFinding(PASSES if exact == n else WARNS, text, "Clips of which other frames are read", table=wrong)
    if slow := int(usable["access"].str.startswith("in order").sum()):
        text = f"{slow} clips have to be decoded in order, up to the last frame that is needed"
        yield DatasetFinding(PASSES, text)


def copies(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    across, pairs = checked.in_two_splits, checked.duplicates
    yield DatasetFinding(
        FAILS if len(across) else PASSES,
        f"{len(across)} pairs of clips show the same in two splits ({len(pairs)} pairs in all)",
        "The same clip in two splits",
        pairs_shown(across),
        across,
    )


def lookalikes(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    """With known groups only clips count that look very much alike, and are in two groups."""
    known = bool(checked.found.group_source)
    pairs = checked.lookalikes.sort_values("likeness", ascending=False)
    if known:
        pairs = pairs[pairs["likeness"].ge(VERY_ALIKE) & pairs["group_a"].ne(pairs["group_b"])]
    of_split = checked.usable["split"].value_counts()
    for (split, earlier), rows in pairs.groupby(["split_a", "split_b"], sort=False):
        very = int(rows["likeness"].ge(VERY_ALIKE).sum())
        text = f"{len(rows)} of {of_split[split]} {split} clips look like a clip of {earlier}"
        if known:
            text += f" that is in another group (from {checked.found.group_source}): perhaps pieces of one source video"
        else:
            text += f", {very} of them very much: perhaps pieces of one source video, or the same place"
            text += f" (each looks like {rows['alike'].mean():.0f} of {of_split[earlier]} clips, on average)"
        title = f"Clips of {split} that look like clips of {earlier}"
        table = rows.drop(columns=[] if known else ["group_a", "group_b"]).rename(columns={"alike": "clips_like_a"})
        yield DatasetFinding(WARNS, text, title, pairs_shown(rows), table)
    if pairs.empty and checked.in_two_splits.empty and len(of_split) > 1:
        yield DatasetFinding(PASSES, "No clip looks like a clip of another split" + " and group" * known)


def repetitions(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    within = checked.duplicates.drop(checked.in_two_splits.index)
    if len(within):
        text = f"{counted(len(within), 'pair')} of clips show the same, or nearly so, in one split"
        yield DatasetFinding(WARNS, text, "The same clip twice in one split", pairs_shown(within), within)


def names(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    stems, found = checked.stems, checked.found
    if stems is None:
        return
    sizes = ", ".join(f"{split} {number}" for split, number in sorted(stems.splits.items()))
    option = f"--group-pattern {shlex.quote(stems.pattern)}"
    how = f"{option} keeps them together ({stems.stems} groups; {sizes})"
    if not found.split_invented:
        how = f"the split is from {found.split_source}; without it, {how}"
    yield DatasetFinding(
        WARNS,
        f"{stems.shared} of {stems.clips} {stems.split} clips are named like a clip of train, but for the end of the "
        f"name ({stems.example}...): perhaps pieces of one source video; {how}",
    )


def groups(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    grouped = checked.usable[checked.usable["group"].ne("")]
    splits = grouped.groupby("group")["split"].nunique()
    if len(several := splits[splits.gt(1)].index):
        text = f"{counted(len(several), 'group')} (from {checked.found.group_source}) are in two splits: {several[0]}"
        yield DatasetFinding(WARNS, text + ", ..." * (len(several) > 1))


def split(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    if checked.found.split_invented and not checked.found.group_source and len(checked.found.splits) > 1:
        yield DatasetFinding(
            WARNS,
            f"The split is invented, {checked.found.split_source}: clips of one source video may be on both sides; "
            "--group-pattern, or a column of groups, keeps them together",
        )


def classes(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    counts = checked.counts
    for split in counts.columns.drop("train") if "train" in counts else ():
        unseen = counts.index[counts[split].gt(0) & counts["train"].eq(0)]
        if len(unseen):
            text = f"{len(unseen)} labels of {split} are not in train, among them {unseen[0]!r}"
            yield DatasetFinding(WARNS, text)
        missing = counts.index[counts[split].eq(0) & counts["train"].gt(0)]
        if len(missing):
            text = f"{len(missing)} labels of train are not in {split}, among them {missing[0]!r}"
            yield DatasetFinding(WARNS, text)
    for alike in similar_labels(set(counts.index)):
        listed = " and ".join(f"{label!r} ({counts.loc[label].sum()} clips)" for label in alike)
        yield DatasetFinding(WARNS, f"{listed} are {len(alike)} classes, but differ only in how they are written")
    for uneven in uneven_classes(counts):
        yield DatasetFinding(
            WARNS,
            f"The classes have other shares in {uneven.split} than in train, most of all {uneven.label!r}: "
            f"{uneven.here} of {uneven.clips_here} clips in {uneven.split}, {uneven.in_train} of "
            f"{uneven.clips_in_train} in train",
        )
    if "train" in counts and counts["train"].any():
        per_class = counts["train"][counts["train"].gt(0)].sort_values(ascending=False, kind="stable")
        least, most = per_class.index[-1], per_class.index[0]
        text = f"{len(per_class)} classes of {per_class[least]} ({least}) to {per_class[most]} ({most}) clips in train"
        yield DatasetFinding(PASSES if per_class[most] <= LARGEST_RATIO * per_class[least] else WARNS, text)


def confounds(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    found = checked.confounds
    if found.empty:
        if len(checked.counts) > 1 and checked.counts.to_numpy().sum() >= ENOUGH_CLIPS:
            yield DatasetFinding(PASSES, "Frame size, rate, codec, length and brightness do not tell the labels")
        return
    first, *others = found.itertuples()
    text = (
        f"{first.accuracy:.0%} of the labels can be told from {first.attribute} alone, and the most frequent class is "
        f"{first.most_frequent:.0%}: {first.of_label} of {first.clips} clips with {first.value} are {first.label!r}"
    )
    text += "".join(f"; {other.accuracy:.0%} from {other.attribute}" for other in others)
    table = labels_by_value(checked.clips, first.attribute)
    yield DatasetFinding(WARNS, text, "What tells the labels apart besides the action", table=table)


def beginnings(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    """Clips that begin with frames without content."""
    usable = checked.usable
    whole = usable["empty"].gt(0) & usable["empty"].eq(usable["frames"])
    for rows, what, title in (
        (usable[whole], "show one picture all the time", "Clips without motion"),
        (
            usable[~whole & usable["begins_with"].eq(GRAY)],
            "begin with gray frames, decoded without the keyframe before them",
            "Clips that begin with gray frames",
        ),
        (
            usable[~whole & usable["begins_with"].eq(ONE_COLOUR)],
            "begin with frames of one colour",
            "Clips that begin with frames of one colour",
        ),
        (
            usable[~whole & usable["begins_with"].eq(ONE_PICTURE)],
            "begin with one picture, repeated",
            "Clips that begin with a repeated frame",
        ),
    ):
        if len(rows):
            fewest, most = rows["empty"].min(), rows["empty"].max()
            numbers = counted(most, "frame") if fewest == most else f"{fewest} to {most} frames"
            text = f"{len(rows)} of {len(usable)} clips {what} ({numbers})"
            shown = [((clip, 0.0), (clip, 0.5)) for clip in rows["clip_id"]]
            yield DatasetFinding(WARNS, text, title, shown, rows[["clip_id", "begins_with", "empty", "frames"]])


def flaws(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    """The warnings of single clips; those that differ only in numbers are one."""
    rows = checked.usable.loc[checked.usable["warning"].ne(""), ["clip_id", "warning"]]
    for _, alike in rows.groupby(rows["warning"].map(lambda text: re.sub(r"\d+", "0", text)), sort=False):
        first = alike.iloc[0]
        more = f", and {counted(len(alike) - 1, 'clip')} alike" if len(alike) > 1 else ""
        yield DatasetFinding(WARNS, f"{first['clip_id']}: {first['warning']}{more}", "Clips with a flaw", table=alike)


def remains(checked: CheckedDataset) -> Iterator[DatasetFinding]:
    found = checked.found
    if found.left_out:
        yield DatasetFinding(WARNS, f"Left out: {', '.join(found.left_out)}")
    yield from (DatasetFinding(WARNS, note) for note in found.notes)
    if found.unlabelled:
        some = f"{found.unlabelled} of {found.clips}" if found.unlabelled < found.clips else "All"
        yield DatasetFinding(PASSES, f"{some} clips have no label: they are recorded without accuracy")


def pairs_shown(pairs: pd.DataFrame) -> list[tuple[tuple[str, float], ...]]:
    return [((a, 0.0), (b, 0.0)) for a, b in zip(pairs["a"], pairs["b"], strict=True)]
