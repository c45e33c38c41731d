"""Clips as a grid of thumbnails that play under the pointer or the focus, each with a link to its page."""

import html
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from analysis.report.column_titles import column_titles
from analysis.report.plots import jpeg_uri
from analysis.runs.caveats import confidence_is_known
from analysis.runs.correctness import NO_LABEL
from analysis.runs.notes import WRONG_LABEL, notes_table
from analysis.runs.notes_file import why_not_kept
from analysis.runs.run_directory import Run
from sth_core.video import UnreadableVideo, count_frames
from sth_core.video.fields import read_resized
from workbench.components.browser import js_component
from workbench.components.cached import cache_data_of_files
from workbench.components.clip_lists import BESIDE, ClipList, list_query
from workbench.components.context import CLIP_PAGE, errors_shown, escape_markdown, run_id
from workbench.components.tagging import Selection, show_tag_bar
from workbench.roots import why_not_readable

SCROLL_TO_CLIPS = js_component("scroll_to_clips")
COLUMNS = 4
CLIPS_PER_PAGE = 12
FRAMES, SHORT_SIDE = 8, 150  # of a thumbnail; pixels
STYLE = """<style>
.thumbnail { width: 100%; background-size: FRAMES00% 100%; background-position: 42.9% 0; border-radius: 6px }
.thumbnail:hover, .thumbnail:focus { animation: play 1.6s steps(STEPS) infinite }
[class*="st-key-card_of_"] p { font-size: 0.9rem }
[class*="st-key-card_of_"] { scroll-margin: 5rem 0 }
[data-testid="stPageLink-NavLink"] :is(span, p) { white-space: normal; overflow-wrap: anywhere }
@keyframes play { from { background-position: 0 0 } to { background-position: 100% 0 } }
</style>""".replace("FRAMES00%", f"{FRAMES}00%").replace("STEPS", str(FRAMES - 1))


@cache_data_of_files(show_spinner=False, max_entries=2000)
def cached_sprite_sheet(path: Path) -> tuple[str, float] | None:
    """Frames of the whole clip side by side as a JPEG (a data URI), and height / width of one; None if unreadable."""
    try:
        count = count_frames(path)
        frames = read_resized(path, [int(i) for i in (np.arange(FRAMES) + 0.5) * count / FRAMES], SHORT_SIDE)
    except (OSError, UnreadableVideo):
        return None
    _, height, width, _ = frames.shape
    return jpeg_uri(np.concatenate(list(frames), 1), 80), height / width


def clip_query(run: Run, clip_id: str) -> dict[str, str]:
    """The URL's parameters that open this clip of this run on the Clip page."""
    return {"run": run_id(run), "clip": clip_id}


def show_linked_clips(
    run: Run, clips: pd.DataFrame, column_config: dict[str, Any], listed: ClipList | None = None, **options: Any
) -> None:
    """The clips as a table whose first column links to their pages, which step through the list."""
    more = urlencode(list_query(run, listed), quote_via=quote) if listed else ""
    of_run = f"clip?{urlencode({'run': run_id(run)}, quote_via=quote)}&clip="
    links = ["&".join(filter(None, (of_run + quote(clip_id, safe=""), more))) for clip_id in clips["clip_id"]]
    config = {"open": st.column_config.LinkColumn("", display_text=":material/open_in_new:", width="small")}
    table = pd.concat([pd.Series(links, clips.index, name="open", dtype=object), clips], axis=1)
    st.dataframe(
        table, hide_index=True, placeholder="-", column_config=column_titles(clips) | config | column_config, **options
    )


def show_thumbnail(path: Path, alt: str) -> None:
    """The middle frame of a clip; the clip plays while the pointer or the focus is on it."""
    if problem := why_not_readable(path):
        st.caption(escape_markdown(problem))
        return
    found = cached_sprite_sheet(path)
    if found is None:
        st.caption(f"The video is missing or unreadable: {escape_markdown(str(path))}")
        return
    uri, ratio = found
    st.html(
        f'<div class="thumbnail" tabindex="0" role="img" aria-label="{html.escape(alt, quote=True)}" '
        f'style="aspect-ratio: {1 / ratio:.4f}; background-image: url({uri})"></div>'
    )


def choose_page(pages: int, key: str) -> int:
    """The number of the page to show, from the URL; the last one if there are fewer pages."""
    if pages <= 1:
        return 1
    if st.session_state.get(key, 1) > pages:
        st.session_state[key] = pages
    return int(st.number_input(f"Page (of {pages})", 1, pages, key=key, bind="query-params", width=160))


def start_anew(key: str, rows: NDArray[np.intp]) -> None:
    """Other clips than those that were shown last begin with their first page."""
    which = blake2b(rows.tobytes()).hexdigest()
    if st.session_state.setdefault(f"{key} of", which) != which:
        st.session_state[f"{key} of"] = which
        if key in st.session_state:
            st.session_state[key] = 1


def show_gallery(
    run: Run, clips: pd.DataFrame, rows: NDArray[np.intp], key: str = "gallery", across: int = COLUMNS,
    per_page: int = CLIPS_PER_PAGE, *, origin: str = "", beside: Run | None = None,
    tags: Mapping[str, Sequence[str]] | None = None,
    answers: Callable[[NDArray[np.intp]], Mapping[str, Sequence[str]]] | None = None,
    opened: bool = False,
) -> None:  # fmt: skip
    """One page of these rows of `clips`, so many across: thumbnail, label, prediction, tags and a link of each clip,
    which can be ticked and tagged.

    Behind the link one steps through all these rows; `origin` says there what they are, and `beside` is another run
    whose network is shown too. `tags` by clip_id are by default the run's; `answers` gives, of the rows that are shown,
    lines by clip_id instead of the run's prediction. `opened` clips are those of a click on this page, which scrolls to
    them."""
    st.html(STYLE)
    steps = list_query(run, ClipList(origin or "a gallery", rows)) | ({BESIDE: run_id(beside)} if beside else {})
    start_anew(f"{key}_page", rows)
    page = choose_page(-(-len(rows) // per_page), f"{key}_page")
    shown = rows[(page - 1) * per_page : page * per_page]
    with st.container(key=f"gallery_of_{key}"):
        show_cards(run, clips, rows, shown, key, across, tags, answers and answers(shown), steps)
    if opened:
        data = {"card": f"st-key-card_of_{key}_0", "clips": blake2b(rows.tobytes()).hexdigest()}
        SCROLL_TO_CLIPS(key=f"scroll_to_{key}", data=data)


@st.fragment
def show_cards(
    run: Run, clips: pd.DataFrame, rows: NDArray[np.intp], shown: NDArray[np.intp], key: str, across: int,
    tags: Mapping[str, Sequence[str]] | None, answers: Mapping[str, Sequence[str]] | None, steps: Mapping[str, str],
) -> None:  # fmt: skip
    """The cards of the clips that are shown, and the bar that tags those that are ticked."""
    with errors_shown():  # app.py does not catch an error of a fragment that runs alone
        selection = Selection(run, key)
        if st.session_state.pop(f"{selection.key} changed", False):
            st.rerun()  # other parts of the page show tags, and filter by them
        selection.keep(clips["clip_id"], rows)
        refusal = why_not_kept(run)
        noted = tags_by_clip(run)
        for i, clip in enumerate(clips.iloc[shown].itertuples()):
            if i % across == 0:
                columns = st.columns(across)
            with (
                columns[i % across],
                st.container(border=True, key=f"card_of_{key}_{i}", gap="xsmall", height="stretch"),
            ):
                of_clip = noted.get(clip.clip_id, []) if tags is None else tags.get(clip.clip_id, [])
                show_card(selection, clip, of_clip, answers, steps, ticking=not refusal)
        if refusal:
            st.caption(escape_markdown(refusal))
        else:
            show_tag_bar(selection, clips, rows, list(clips["clip_id"].iloc[shown]))


def show_card(
    selection: Selection, clip: Any, tags: Sequence[str], answers: Mapping[str, Sequence[str]] | None,
    steps: Mapping[str, str], *, ticking: bool,
) -> None:  # fmt: skip
    """A clip (a row of `itertuples`): its picture, a box that ticks it with its label, what is predicted, its tags."""
    if isinstance(clip.path, str):
        show_thumbnail(Path(clip.path), f"frames of {clip.clip_id}")
    else:
        st.caption("The run does not say where the video is.")
    label = f"**{escape_markdown(clip.label or NO_LABEL)}**"
    right = pd.notna(clip.correct) and clip.correct
    confidence = f" ({clip.confidence:.0%})" if confidence_is_known(selection.run.meta) else ""
    if ticking:
        selection.show_box(clip.clip_id, label)
    lines = [] if ticking else [label]
    if answers is not None:
        lines += answers.get(clip.clip_id, ())
    else:
        lines.append(f"{'correct' if right else f'predicted: {escape_markdown(clip.prediction)}'}{confidence}")
    lines += [" ".join(f":gray-badge[{escape_markdown(tag)}]" for tag in tags)] * bool(tags)
    st.markdown("  \n".join(lines))
    name = escape_markdown(Path(clip.clip_id).name)
    query = clip_query(selection.run, clip.clip_id) | dict(steps)
    st.page_link(CLIP_PAGE, label=f"Inspect {name}", icon=":material/search:", query_params=query)


def tags_by_clip(run: Run) -> dict[str, list[str]]:
    """The tags of each clip that has some, with the right class of a wrong label."""
    table = notes_table(run)
    return {
        row.clip_id: [
            f"{tag}: {row.right_label}" if tag == WRONG_LABEL and row.right_label else tag for tag in row.tags
        ]
        for row in table.itertuples()
        if row.tags
    }


def tags_of_both(a: Run, b: Run) -> dict[str, list[str]]:
    """The tags of each clip in B, then those that it has in A alone, which are said to be A's."""
    of_a, of_b = tags_by_clip(a), tags_by_clip(b)
    return {
        clip_id: [*of_b.get(clip_id, []), *(f"A: {tag}" for tag in tags if tag not in of_b.get(clip_id, []))]
        for clip_id, tags in ((clip_id, of_a.get(clip_id, [])) for clip_id in {**of_a, **of_b})
    }
