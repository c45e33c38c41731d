"""`sth data check`'s OUT/index.html: what was found in a dataset, the clips that it is about, and a picture of each
class. Its tables beside it: clips, duplicates, lookalikes, confounds (CSV)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from analysis.report.colours import SPLIT_COLOURS
from analysis.report.dataset_findings import PASSES, DatasetFinding, dataset_findings
from analysis.report.page import Finding, PageTable, Picture, Section, write_page
from analysis.report.plots import styled
from sth_core.datasets.checked import CheckedDataset
from sth_core.datasets.entries import SPLITS
from sth_core.video import UnreadableVideo, read_frames
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import read_resized
from sth_core.video.transforms import resize

LISTED = 40  # rows of a table, so many at most
THUMBNAILS = 96  # one for each class, so many at most
SHOWN = 12  # pictures of a finding
THUMBNAIL_SIDE, GAP = 150, 4  # pixels: the short side, or the height of frames side by side; between them
MOST_TIMES_WIDER = 3  # than high, that a frame is shown
BY_SPLIT: Any = {"color": "split", "color_discrete_map": dict(zip(SPLITS, SPLIT_COLOURS, strict=False))}
STACKED: Any = {"barmode": "stack", "height": 320}


def write_dataset_page(checked: CheckedDataset, out: Path) -> Path:
    """Write the tables of a checked dataset and index.html, which shows them; returns the page."""
    labelled = checked.usable.query("label != ''")  # test lists often have no labels
    findings = dataset_findings(checked)
    listed = [Finding(finding.text, finding.tone) for finding in findings]
    lengths = px.histogram(checked.usable, x="frames", nbins=60, **BY_SPLIT)
    sections = [
        Section(findings=listed, data=checked.tables),
        *(finding_section(finding, checked.clips) for finding in findings if is_shown(finding)),
        Section("Length of the clips", figure=styled(lengths, "frames", "clips", **STACKED)),
    ]
    if len(labelled):
        sections[-1:-1] = [Section("Clips of each class", figure=plot_classes_by_split(labelled))]
        sections.append(Section("A clip of each class", pictures=list(class_thumbnails(labelled))))
    heading = f"{checked.found.name}: {len(checked.clips)} clips"
    return write_page(out / "index.html", heading, sections, about=checked.found.sentence)


def is_shown(finding: DatasetFinding) -> bool:
    return finding.tone != PASSES and bool(finding.title)


def finding_section(finding: DatasetFinding, clips: pd.DataFrame) -> Section:
    """The clips that a finding is about: the frames of the first, and a table."""
    of_clip = clips.set_index("clip_id")
    pictures = [picture for frames in finding.shown[:SHOWN] if (picture := frames_side_by_side(frames, of_clip))]
    table, cut = None, []
    if len(finding.shown) > SHOWN:
        cut.append(f"The pictures are of the first {SHOWN} of {len(finding.shown)}.")
    if finding.table is not None and len(finding.table):
        table = PageTable(finding.table.head(LISTED))
        if len(finding.table) > LISTED:
            cut.append(f"The first {LISTED} of {len(finding.table)}: see the CSV files.")
    return Section(finding.title, finding.text, pictures=pictures, table=table, caption=" ".join(cut))


def frames_side_by_side(frames: tuple[tuple[str, float], ...], of_clip: pd.DataFrame) -> Picture | None:
    """The frames of clips, each given by its clip_id and the share of the clip before it; None if one has changed since
    it was checked."""
    shown = []
    for clip_id, share in frames:
        row = of_clip.loc[clip_id]
        try:
            numbers = ClipSource.from_row(row).frames()
            frame = read_frames(row["path"], [numbers[int(share * (len(numbers) - 1))]])
        except UnreadableVideo:
            return None
        height, width = frame.shape[1:3]
        narrow = min(MOST_TIMES_WIDER * height, width)
        shown.append(resize(frame, (THUMBNAIL_SIDE, max(1, round(THUMBNAIL_SIDE * narrow / height))))[0])
        shown.append(np.full((THUMBNAIL_SIDE, GAP, 3), 128, np.uint8))
    name = " | ".join(dict.fromkeys(f"{clip_id} ({of_clip.loc[clip_id, 'split']})" for clip_id, _ in frames))
    return Picture(name, np.concatenate(shown[:-1], axis=1), pair=len(frames) > 1)


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
            yield Picture(clip.label, read_resized(Path(clip.path), [clip.frames // 2], THUMBNAIL_SIDE)[0])
        except UnreadableVideo:
            continue  # changed since it was checked
