"""Clips as a wall of thumbnails that play while the pointer or the focus is on them, each with a link to its page."""

import base64
import html
from pathlib import Path
from urllib.parse import quote, urlencode

import cv2
import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from analysis.runs.run_directory import Run
from sth_core.video import UnreadableVideo, count_frames, read_frames
from sth_core.video.transforms import resize
from workbench.components.context import CLIP_PAGE, name_of, plain

COLUMNS = 4
PER_PAGE = 12
FRAMES, SIDE = 8, 150  # of a thumbnail; the short side in pixels
STYLE = """<style>
.reel { width: 100%; background-size: FRAMES00% 100%; background-position: 42.9% 0; border-radius: 6px }
.reel:hover, .reel:focus { animation: reel 1.6s steps(STEPS) infinite }
@keyframes reel { from { background-position: 0 0 } to { background-position: 100% 0 } }
</style>""".replace("FRAMES00%", f"{FRAMES}00%").replace("STEPS", str(FRAMES - 1))


@st.cache_data(show_spinner=False, max_entries=2000)
def reel(path: str, changed: int) -> tuple[str, float] | None:
    """Frames of the whole clip side by side as a JPEG (base64), and one's height by its width; None if unreadable."""
    try:
        count = count_frames(Path(path))
        frames = resize(read_frames(Path(path), [int(i) for i in (np.arange(FRAMES) + 0.5) * count / FRAMES]), SIDE)
    except UnreadableVideo:
        return None
    _, height, width, _ = frames.shape
    picture = cv2.imencode(".jpg", np.concatenate(list(frames), 1)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return base64.b64encode(picture.tobytes()).decode(), height / width


def link(run: Run, clip_id: str) -> dict[str, str]:
    """The query that opens this clip of this run."""
    return {"run": name_of(run), "clip": clip_id}


def address(run: Run, clip_id: str) -> str:
    """The same as an address, for a column of links."""
    return "clip?" + urlencode(link(run, clip_id), quote_via=quote)


def thumbnail(path: str, alt: str) -> None:
    """A clip's frames, of which the middle one is shown; they play while the pointer or the focus is on them."""
    file = Path(path)
    found = reel(path, file.stat().st_mtime_ns) if file.exists() else None
    if found is None:
        st.caption(f"The video is gone: {plain(path)}")
        return
    picture, ratio = found
    st.html(
        f'<div class="reel" tabindex="0" role="img" aria-label="{html.escape(alt, quote=True)}" style="aspect-ratio: '
        f'{1 / ratio:.4f}; background-image: url(data:image/jpeg;base64,{picture})"></div>'
    )


def page_number(pages: int, key: str) -> int:
    """Which of the pages is shown: in the URL, and the last one where fewer clips are left."""
    if pages <= 1:
        return 1
    if st.session_state.get(key, 1) > pages:
        st.session_state[key] = pages
    return int(st.number_input(f"Page (of {pages})", 1, pages, key=key, bind="query-params", width=160))


def gallery(run: Run, clips: pd.DataFrame, rows: NDArray[np.intp], key: str = "gallery") -> None:
    """A page of these rows of `clips`, of each: what it is, what the network said, and a link."""
    st.html(STYLE)
    page = page_number(-(-len(rows) // PER_PAGE), f"{key}_page")
    shown = clips.iloc[rows[(page - 1) * PER_PAGE : page * PER_PAGE]]
    for start in range(0, len(shown), COLUMNS):
        columns = st.columns(COLUMNS)
        for column, clip in zip(columns, shown.iloc[start : start + COLUMNS].itertuples(), strict=False):
            with column, st.container(border=True):
                thumbnail(clip.path, f"frames of {clip.clip_id}")
                st.markdown(
                    f"**{plain(clip.label)}**  \nsaid: {plain(clip.prediction)} ({clip.confidence:.0%})"
                    if not clip.correct
                    else f"**{plain(clip.label)}** ({clip.confidence:.0%})"
                )
                st.page_link(CLIP_PAGE, label="Inspect", icon=":material/search:", query_params=link(run, clip.clip_id))
