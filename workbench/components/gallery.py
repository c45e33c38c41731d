"""Clips as a grid of thumbnails that play under the pointer or the focus, each with a link to its page."""

import base64
import html
from pathlib import Path
from urllib.parse import quote, urlencode

import cv2
import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from streamlit.elements.lib.column_types import ColumnConfig

from analysis.runs.run_directory import Run
from sth_core.video import UnreadableVideo, count_frames, read_frames
from sth_core.video.transforms import resize
from workbench.components.context import CLIP_PAGE, cache_data_of_files, escape_markdown, run_id

COLUMNS = 4
CLIPS_PER_PAGE = 12
FRAMES, SHORT_SIDE = 8, 150  # of a thumbnail; pixels
STYLE = """<style>
.thumbnail { width: 100%; background-size: FRAMES00% 100%; background-position: 42.9% 0; border-radius: 6px }
.thumbnail:hover, .thumbnail:focus { animation: play 1.6s steps(STEPS) infinite }
@keyframes play { from { background-position: 0 0 } to { background-position: 100% 0 } }
</style>""".replace("FRAMES00%", f"{FRAMES}00%").replace("STEPS", str(FRAMES - 1))


@cache_data_of_files(show_spinner=False, max_entries=2000)
def cached_sprite_sheet(path: Path) -> tuple[str, float] | None:
    """Frames of the whole clip side by side as a JPEG (base64), and height / width of one; None if unreadable."""
    try:
        count = count_frames(path)
        frames = resize(read_frames(path, [int(i) for i in (np.arange(FRAMES) + 0.5) * count / FRAMES]), SHORT_SIDE)
    except UnreadableVideo:
        return None
    _, height, width, _ = frames.shape
    jpeg = cv2.imencode(".jpg", np.concatenate(list(frames), 1)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return base64.b64encode(jpeg.tobytes()).decode(), height / width


def clip_query(run: Run, clip_id: str) -> dict[str, str]:
    """The URL's parameters that open this clip of this run on the Clip page."""
    return {"run": run_id(run), "clip": clip_id}


def clip_links(run: Run, clip_ids: pd.Series) -> list[str]:
    """URLs of the Clip page, for a column of links."""
    return ["clip?" + urlencode(clip_query(run, clip_id), quote_via=quote) for clip_id in clip_ids]


def link_column() -> ColumnConfig:
    """How `st.dataframe` shows `clip_links`."""
    return st.column_config.LinkColumn("", display_text=":material/open_in_new:", width="small")


def show_thumbnail(path: Path, alt: str) -> None:
    """The middle frame of a clip; the clip plays while the pointer or the focus is on it."""
    found = cached_sprite_sheet(path) if path.exists() else None
    if found is None:
        st.caption(f"The video is missing or unreadable: {escape_markdown(str(path))}")
        return
    jpeg, ratio = found
    st.html(
        f'<div class="thumbnail" tabindex="0" role="img" aria-label="{html.escape(alt, quote=True)}" '
        f'style="aspect-ratio: {1 / ratio:.4f}; background-image: url(data:image/jpeg;base64,{jpeg})"></div>'
    )


def choose_page(pages: int, key: str) -> int:
    """The number of the page to show, from the URL; the last one if there are fewer pages."""
    if pages <= 1:
        return 1
    if st.session_state.get(key, 1) > pages:
        st.session_state[key] = pages
    return int(st.number_input(f"Page (of {pages})", 1, pages, key=key, bind="query-params", width=160))


def show_gallery(run: Run, clips: pd.DataFrame, rows: NDArray[np.intp], key: str = "gallery") -> None:
    """One page of these rows of `clips`: thumbnail, label, prediction, and a link to each clip."""
    st.html(STYLE)
    page = choose_page(-(-len(rows) // CLIPS_PER_PAGE), f"{key}_page")
    shown = clips.iloc[rows[(page - 1) * CLIPS_PER_PAGE : page * CLIPS_PER_PAGE]]
    for start in range(0, len(shown), COLUMNS):
        columns = st.columns(COLUMNS)
        for column, clip in zip(columns, shown.iloc[start : start + COLUMNS].itertuples(), strict=False):
            with column, st.container(border=True):
                show_thumbnail(Path(clip.path), f"frames of {clip.clip_id}")
                predicted = "" if clip.correct else f"  \npredicted: {escape_markdown(clip.prediction)}"
                st.markdown(f"**{escape_markdown(clip.label)}**{predicted} ({clip.confidence:.0%})")
                query = clip_query(run, clip.clip_id)
                st.page_link(CLIP_PAGE, label="Inspect", icon=":material/search:", query_params=query)
