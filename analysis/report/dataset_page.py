"""`sth data check`: what was found in a dataset, as tables, a page to look at, and a few lines."""

import base64
import html
from pathlib import Path

import cv2
import pandas as pd
import plotly.graph_objects as go
from rich.table import Table

from analysis.report.plots import COLOURS, on_paper, styled
from sth_core.datasets.entries import SPLITS
from sth_core.files import temporary_beside
from sth_core.video import UnreadableVideo, read_frames
from sth_core.video.transforms import resize

THUMBNAILS = 96  # one for each class, so many at most
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; color: #222 }}
h1 {{ font-size: 1.5rem }} h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem }}
.grid {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px }}
figure {{ margin: 0 }}
figure img {{ width: 100%; aspect-ratio: 4/3; object-fit: contain; background: #f2f2f2; border-radius: 4px }}
figcaption {{ font-size: 12px; color: #555; overflow-wrap: anywhere }}
table {{ border-collapse: collapse; font-size: 13px }}
td, th {{ text-align: left; padding: 3px 12px 3px 0; vertical-align: top }}
.good {{ color: #00794d }} .bad {{ color: #b3400d }}
</style><h1>{title}</h1><ul>{verdicts}</ul>{body}</html>"""


def verdicts(checked: pd.DataFrame, pairs: pd.DataFrame) -> list[tuple[bool, str]]:
    """What a person wants to know before a day of training: whether it is well, and the sentence."""
    usable = checked[checked["problem"] == ""]
    broken = len(checked) - len(usable)
    across = pairs[pairs["split_a"] != pairs["split_b"]]
    slow = int(usable["access"].str.startswith("in order").sum())
    inexact = int((~usable["exact"].astype(bool)).sum())
    unseen = sorted(
        set(usable.loc[usable["split"] == "val", "label"]) - set(usable.loc[usable["split"] == "train", "label"])
    )
    per_class = usable[usable["split"] == "train"]["label"].value_counts()
    said = [
        (broken == 0, f"{len(usable)} of {len(checked)} clips decode from the first frame to the last"),
        (inexact == 0, f"{len(usable) - inexact} of {len(usable)} give the right frame when it is read alone"),
        (across.empty, f"{len(across)} pairs of clips show the same in two splits ({len(pairs)} pairs in all)"),
    ]
    if slow:
        said.append((True, f"{slow} clips have to be decoded in order, up to the last frame that is needed"))
    if unseen:
        said.append((False, f"{len(unseen)} labels of val are not in train, among them {unseen[0]!r}"))
    if len(per_class):
        least, most = per_class.index[-1], per_class.index[0]
        text = (
            f"{len(per_class)} classes of {per_class.iloc[-1]} ({least}) to {per_class.iloc[0]} ({most}) clips in train"
        )
        said.append((per_class.iloc[0] <= 10 * per_class.iloc[-1], text))
    return said


def split_table(checked: pd.DataFrame) -> Table:
    """A line for each split, for the terminal."""
    table = Table(box=None, pad_edge=False)
    for heading in ("split", "clips", "unusable", "classes", "frames", "sizes"):
        table.add_column(heading, justify="left" if heading in ("split", "sizes") else "right")
    for split in [s for s in (*SPLITS, *sorted(set(checked["split"]) - set(SPLITS))) if s in set(checked["split"])]:
        clips = checked[checked["split"] == split]
        usable = clips[clips["problem"] == ""]
        frames = usable["frames"]
        lengths = f"{frames.min()} to {frames.max()}, median {frames.median():.0f}" if len(usable) else "-"
        sizes = (usable["width"].astype(str) + " x " + usable["height"].astype(str)).value_counts()
        shown = ", ".join(sizes.index[:2]) + (f" and {len(sizes) - 2} more" if len(sizes) > 2 else "")
        unusable, classes = len(clips) - len(usable), len(set(usable["label"]) - {""})
        table.add_row(split or "(none)", str(len(clips)), str(unusable), str(classes), lengths, shown)
    return table


def write_check(checked: pd.DataFrame, pairs: pd.DataFrame, name: str, out: Path) -> Path:
    """clips.csv, duplicates.csv and index.html, which shows both."""
    for file, table in (("clips.csv", checked.drop(columns=["looks", "moves", "changed"])), ("duplicates.csv", pairs)):
        with temporary_beside(out / file) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
    usable = checked[checked["problem"] == ""]
    labelled = usable[usable["label"] != ""]  # test lists often have no labels
    body = "".join(
        on_paper(figure).to_html(full_html=False, include_plotlyjs="directory" if i == 0 else False)
        for i, figure in enumerate((classes_figure(labelled), lengths_figure(usable)))
    )
    body += "<h2>A clip of each class</h2>" + thumbnails(labelled)
    body += listed("Clips that cannot be used", checked.loc[checked["problem"] != "", ["clip_id", "problem"]])
    across = pairs[pairs["split_a"] != pairs["split_b"]]
    body += listed("The same clip in two splits", across) + listed(
        "The same clip twice in one split", pairs[pairs["split_a"] == pairs["split_b"]]
    )
    lines = "".join(
        f'<li class="{"good" if well else "bad"}">{html.escape(text)}</li>' for well, text in verdicts(checked, pairs)
    )
    page = out / "index.html"
    with temporary_beside(page) as temporary:
        temporary.write_text(
            PAGE.format(title=html.escape(f"{name}: {len(checked)} clips"), verdicts=lines, body=body), encoding="utf-8"
        )
    write_plotly(out)
    return page


def write_plotly(out: Path) -> None:
    """plotly.min.js beside the page, as `include_plotlyjs="directory"` expects."""
    from plotly.offline import get_plotlyjs

    with temporary_beside(out / "plotly.min.js") as temporary:
        temporary.write_text(get_plotlyjs(), encoding="utf-8")


def classes_figure(clips: pd.DataFrame) -> go.Figure:
    """Clips of each class, a colour for each split, the largest class first."""
    figure = go.Figure()
    order = clips["label"].value_counts().index
    for split, colour in zip(SPLITS, COLOURS, strict=False):
        counts = clips.loc[clips["split"] == split, "label"].value_counts().reindex(order)
        if counts.notna().any():
            figure.add_bar(x=list(order), y=counts, name=split, marker_color=colour)
    figure.update_xaxes(type="category")  # or else classes 0, 1, ... were numbers
    return styled(figure, "", "clips").update_layout(
        barmode="stack", title="Clips of each class", margin_t=80, height=360
    )


def lengths_figure(clips: pd.DataFrame) -> go.Figure:
    figure = go.Figure()
    for split, colour in zip(SPLITS, COLOURS, strict=False):
        lengths = clips.loc[clips["split"] == split, "frames"]
        if len(lengths):
            figure.add_histogram(x=lengths, name=split, marker_color=colour, nbinsx=60)
    return styled(figure, "frames", "clips").update_layout(
        barmode="stack", title="Length of the clips", margin_t=80, height=360
    )


def thumbnails(clips: pd.DataFrame) -> str:
    pictures = []
    for clip in clips.groupby("label").head(1).sort_values("label").head(THUMBNAILS).itertuples():
        try:
            frame = resize(read_frames(clip.path, [clip.frames // 2]), 150)[0]
        except UnreadableVideo:
            continue  # changed since it was checked
        _, content = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
        data = base64.b64encode(content.tobytes()).decode()
        label = html.escape(clip.label)
        pictures.append(
            f'<figure><img src="data:image/jpeg;base64,{data}" alt="{label}"><figcaption>{label}</figcaption></figure>'
        )
    return f'<div class="grid">{"".join(pictures)}</div>'


def listed(heading: str, table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    first = table.head(200)
    more = f"<p>and {len(table) - 200} more, see the CSV file</p>" if len(table) > 200 else ""
    return f"<h2>{heading}</h2>{first.to_html(index=False, border=0, float_format='{:.3f}'.format)}{more}"
