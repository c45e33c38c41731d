"""`sth data check`'s OUT/index.html: what was found in a dataset (clips.csv, duplicates.csv), and a picture of each
class."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from analysis.report.page import Finding, PageTable, Picture, Section, write_page
from analysis.report.plots import COLOURS, styled
from sth_core.datasets.entries import SPLITS
from sth_core.video import UnreadableVideo, read_frames
from sth_core.video.transforms import resize

LISTED = 200  # rows of a table, so many at most
THUMBNAILS = 96  # one for each class, so many at most
BY_SPLIT: Any = {"color": "split", "color_discrete_map": dict(zip(SPLITS, COLOURS, strict=False))}
STACKED: Any = {"barmode": "stack", "height": 320}


def dataset_findings(checked: pd.DataFrame, pairs: pd.DataFrame) -> list[tuple[bool, str]]:
    """What to know before a day of training, from `check_dataset` and `duplicates`: whether it is fine, and the
    sentence."""
    usable = checked.query("problem == ''")
    n, exact = len(usable), int(usable["exact"].sum())
    across = int((pairs["split_a"] != pairs["split_b"]).sum())
    slow = int(usable["access"].str.startswith("in order").sum())
    train, val = (usable.loc[usable["split"] == split, "label"] for split in ("train", "val"))
    unseen, per_class = sorted(set(val) - set(train)), train.value_counts()
    findings = [
        (n == len(checked), f"{n} of {len(checked)} clips decode from the first frame to the last"),
        (exact == n, f"{exact} of {n} give the right frame when it is read alone"),
        (across == 0, f"{across} pairs of clips show the same in two splits ({len(pairs)} pairs in all)"),
    ]
    if slow:
        findings.append((True, f"{slow} clips have to be decoded in order, up to the last frame that is needed"))
    if unseen:
        findings.append((False, f"{len(unseen)} labels of val are not in train, among them {unseen[0]!r}"))
    if len(per_class):
        least, most = per_class.index[-1], per_class.index[0]
        text = f"{len(per_class)} classes of {per_class[least]} ({least}) to {per_class[most]} ({most}) clips in train"
        findings.append((per_class[most] <= 10 * per_class[least], text))
    return findings


def write_dataset_page(checked: pd.DataFrame, pairs: pd.DataFrame, name: str, out: Path) -> Path:
    """Write clips.csv, duplicates.csv and index.html, which shows both; returns the page."""
    usable = checked.query("problem == ''")
    labelled = usable.query("label != ''")  # test lists often have no labels
    findings = [Finding(text, "passes" if fine else "fails") for fine, text in dataset_findings(checked, pairs)]
    lists = {
        "Clips that cannot be used": checked.query("problem != ''")[["clip_id", "problem"]],
        "The same clip in two splits": pairs.query("split_a != split_b"),
        "The same clip twice in one split": pairs.query("split_a == split_b"),
    }
    clips = checked.drop(columns=["frame_hash", "motion_mask", "changed"])  # by which the check compares clips
    lengths = px.histogram(usable, x="frames", nbins=60, **BY_SPLIT)
    sections = [
        Section(findings=findings, data={"clips": clips, "duplicates": pairs}),
        Section("Clips of each class", figure=plot_classes_by_split(labelled)),
        Section("Length of the clips", figure=styled(lengths, "frames", "clips", **STACKED)),
        Section("A clip of each class", pictures=list(class_thumbnails(labelled))),
    ]
    for title, table in lists.items():
        if len(table):
            more = f"The first {LISTED} of {len(table)}: see the CSV files." if len(table) > LISTED else ""
            sections.append(Section(title, table=PageTable(table.head(LISTED)), caption=more))
    return write_page(out / "index.html", f"{name}: {len(checked)} clips", sections)


def plot_classes_by_split(clips: pd.DataFrame) -> go.Figure:
    """Clips of each class, a colour for each split, the largest class first."""
    counts = clips.value_counts(["label", "split"], sort=False).rename("clips").reset_index()
    order = {"label": clips["label"].value_counts().index}
    bars = px.bar(counts, x="label", y="clips", category_orders=order, **BY_SPLIT)
    return styled(bars, "", "clips", **STACKED).update_xaxes(type="category")  # or else classes 0, 1, ... were numbers


def class_thumbnails(clips: pd.DataFrame) -> Iterator[Picture]:
    """The middle frame of the first clip of each class."""
    for clip in clips.drop_duplicates("label").sort_values("label").head(THUMBNAILS).itertuples():
        try:
            yield Picture(clip.label, resize(read_frames(clip.path, [clip.frames // 2]), 150)[0])
        except UnreadableVideo:
            continue  # changed since it was checked
