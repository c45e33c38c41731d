"""Clips as a wall of thumbnails, each a link to the clip's page."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from analysis.runs import Run
from sth_core.video import UnreadableVideo, read_frames
from sth_core.video.transforms import resize
from workbench.components.context import CLIP_PAGE, plain, runs_folder

COLUMNS = 4
PER_PAGE = 12


@st.cache_data(show_spinner=False, max_entries=2000)
def thumbnail(path: str, index: int) -> np.ndarray | None:
    """Frame `index` with a short side of 150 pixels, or None if it cannot be read."""
    try:
        return resize(read_frames(Path(path), [index]), 150)[0]
    except UnreadableVideo:
        return None


def link(run: Run, clip_id: str) -> dict[str, str]:
    """The query that opens this clip of this run."""
    return {"run": str(run.path.relative_to(runs_folder())), "clip": clip_id}


def gallery(run: Run, clips: pd.DataFrame) -> None:
    """A page of clips: the middle frame, what it is, what the network said, and a link."""
    pages = -(-len(clips) // PER_PAGE)
    page = st.number_input(f"Page (of {pages})", 1, pages, key="gallery_page", width=160) if pages > 1 else 1
    shown = clips.iloc[(page - 1) * PER_PAGE : page * PER_PAGE]
    for start in range(0, len(shown), COLUMNS):
        columns = st.columns(COLUMNS)
        for column, clip in zip(columns, shown.iloc[start : start + COLUMNS].itertuples(), strict=False):
            with column, st.container(border=True):
                image = thumbnail(clip.path, int(clip.frame_indices[len(clip.frame_indices) // 2]))
                if image is None:
                    st.caption(f"The video is gone: {plain(clip.path)}")
                else:
                    st.image(image, width="stretch", alt=f"middle frame of {clip.clip_id}")
                st.markdown(
                    f"**{plain(clip.label)}**  \nsaid: {plain(clip.prediction)} ({clip.confidence:.0%})"
                    if not clip.correct
                    else f"**{plain(clip.label)}** ({clip.confidence:.0%})"
                )
                st.page_link(CLIP_PAGE, label="Inspect", icon=":material/search:", query_params=link(run, clip.clip_id))
