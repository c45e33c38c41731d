"""A run's table of clips, which shows itself in Jupyter."""

from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from sth_core.notebook_html import card, data_uri
from sth_core.video.container import UnreadableVideo
from sth_core.video.fields import read_resized
from sth_core.video.transforms import crop

SHOWN = ("clip_id", "label", "prediction", "correct", "confidence")
MOST_CLIPS, SIDE = 8, 72  # rows with a picture; its side in pixels
SAID = {True: "✓", False: "✗"}


class ClipTable(pd.DataFrame):
    """A row per clip. Jupyter shows the first ones, each with the middle frame that the network saw, where its video
    can still be read; it shows rows that were chosen from it in the same way."""

    @property
    def _constructor(self) -> type["ClipTable"]:
        return ClipTable

    def _repr_html_(self) -> str:
        if not (self.columns.is_unique and set(SHOWN) <= set(self.columns)):  # another table, made from this one
            return str(super()._repr_html_() or "")
        first = self.head(MOST_CLIPS)
        pictures = [picture_of(row) for _, row in first.iterrows()]
        known = self["correct"].dropna()
        accuracy = f"{int(known.sum()):,} of {len(known):,} correct" if len(known) else "no label is known"
        some = f"the first {len(first)} are shown" if len(first) < len(self) else ""
        gone = "without pictures: the videos cannot be read" if len(first) and not any(pictures) else ""
        lines = [accuracy] * bool(len(self)) + [some, gone]
        rows = "".join(map(row_html, (row for _, row in first.iterrows()), pictures))
        titles = "".join(f"<th>{title}</th>" for title in ("", "clip", "label", "prediction", "", "confidence"))
        table = f"<table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>" if len(self) else ""
        return card(f"{len(self):,} clip{'s' * (len(self) != 1)}", lines, table)


def picture_of(clip: pd.Series) -> str:
    """The middle one of the frames that the network saw, as a square JPEG; empty if it cannot be read."""
    seen = clip.get("frame_indices")
    if not isinstance(clip.get("path"), str) or seen is None or not len(seen):
        return ""
    try:
        return data_uri(crop(read_resized(Path(clip["path"]), [int(seen[len(seen) // 2])], SIDE), SIDE)[0], SIDE)
    except (OSError, UnreadableVideo):
        return ""


def row_html(clip: pd.Series, picture: str) -> str:
    image = f'<img alt="" width="{SIDE}" height="{SIDE}" src="{picture}"/>' if picture else ""
    confidence = np.nan if pd.isna(clip["confidence"]) else float(clip["confidence"])
    right = "" if pd.isna(clip["correct"]) else SAID[bool(clip["correct"])]
    texts = [*(str(clip[name]) for name in SHOWN[:3]), right, f"{confidence:.1%}" if np.isfinite(confidence) else "-"]
    return f"<tr><td>{image}</td>{''.join(f'<td>{escape(text)}</td>' for text in texts)}</tr>"
