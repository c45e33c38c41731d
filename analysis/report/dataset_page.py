"""`sth data check`'s page: what was found in a dataset, with a picture of each class; its numbers beside it as CSV.

OUT/index.html (self-contained), clips.csv, duplicates.csv
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from analysis.report.page import Finding, PageTable, Picture, Section, write_page
from analysis.report.plots import COLOURS, styled
from sth_core.datasets.entries import SPLITS
from sth_core.files import write_csv
from sth_core.video import UnreadableVideo, read_frames
from sth_core.video.transforms import resize

LISTED = 200  # rows of a table, so many at most
THUMBNAILS = 96  # one for each class, so many at most
SPLIT_COLOURS: Any = {"color_discrete_map": dict(zip(SPLITS, COLOURS, strict=False))}
NOT_WRITTEN = ["frame_hash", "motion_mask", "changed"]  # what the check compares clips by


def dataset_findings(checked: pd.DataFrame, pairs: pd.DataFrame) -> list[tuple[bool, str]]:
    """What to know before a day of training, from `check_dataset` and `duplicates`: whether it is fine, and the
    sentence."""
    usable = checked[checked["problem"] == ""]
    broken = len(checked) - len(usable)
    across = pairs[pairs["split_a"] != pairs["split_b"]]
    slow = int(usable["access"].str.startswith("in order").sum())
    inexact = int((~usable["exact"].astype(bool)).sum())
    train = usable.loc[usable["split"] == "train", "label"]
    unseen = sorted(set(usable.loc[usable["split"] == "val", "label"]) - set(train))
    per_class = train.value_counts()
    findings = [
        (broken == 0, f"{len(usable)} of {len(checked)} clips decode from the first frame to the last"),
        (inexact == 0, f"{len(usable) - inexact} of {len(usable)} give the right frame when it is read alone"),
        (across.empty, f"{len(across)} pairs of clips show the same in two splits ({len(pairs)} pairs in all)"),
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
    write_csv(out / "clips.csv", checked.drop(columns=NOT_WRITTEN))
    write_csv(out / "duplicates.csv", pairs)
    usable = checked[checked["problem"] == ""]
    labelled = usable[usable["label"] != ""]  # test lists often have no labels
    findings = [Finding(text, "passes" if fine else "fails") for fine, text in dataset_findings(checked, pairs)]
    across = pairs["split_a"] != pairs["split_b"]
    lists = {
        "Clips that cannot be used": checked.loc[checked["problem"] != "", ["clip_id", "problem"]],
        "The same clip in two splits": pairs[across],
        "The same clip twice in one split": pairs[~across],
    }
    sections = [
        Section(findings=findings, files=("clips.csv", "duplicates.csv")),
        Section("Clips of each class", figure=plot_classes_by_split(labelled)),
        Section("Length of the clips", figure=plot_lengths_by_split(usable)),
        Section("A clip of each class", pictures=list(class_thumbnails(labelled))),
        *(list_section(title, table) for title, table in lists.items() if len(table)),
    ]
    return write_page(out / "index.html", f"{name}: {len(checked)} clips", sections)


def list_section(title: str, table: pd.DataFrame) -> Section:
    more = f"The first {LISTED} of {len(table)}: see the CSV files." if len(table) > LISTED else ""
    return Section(title, table=PageTable(table.head(LISTED)), caption=more)


def plot_classes_by_split(clips: pd.DataFrame) -> go.Figure:
    """Clips of each class, a colour for each split, the largest class first."""
    counts = clips.groupby(["label", "split"]).size().rename("clips").reset_index()
    order = list(clips["label"].value_counts().index)
    bars = px.bar(counts, x="label", y="clips", color="split", category_orders={"label": order}, **SPLIT_COLOURS)
    bars.update_xaxes(type="category")  # or else classes 0, 1, ... were numbers
    return styled(bars, "", "clips").update_layout(barmode="stack", height=320)


def plot_lengths_by_split(clips: pd.DataFrame) -> go.Figure:
    bars = px.histogram(clips, x="frames", color="split", nbins=60, **SPLIT_COLOURS)
    return styled(bars, "frames", "clips").update_layout(barmode="stack", height=320)


def class_thumbnails(clips: pd.DataFrame) -> Iterator[Picture]:
    """The middle frame of the first clip of each class."""
    for clip in clips.groupby("label").head(1).sort_values("label").head(THUMBNAILS).itertuples():
        try:
            yield Picture(clip.label, resize(read_frames(clip.path, [clip.frames // 2]), 150)[0])
        except UnreadableVideo:
            continue  # changed since it was checked
