"""The top of the Clip page: what the clip is, where it lies in the list that one came from, its marks, and the keys."""

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from analysis.runs import notes
from analysis.runs.caveats import confidence_is_known
from analysis.runs.correctness import NO_LABEL
from analysis.runs.notes_file import why_not_kept
from analysis.runs.run_directory import Run
from sth_core.errors import UserError
from workbench.components.browser import js_component
from workbench.components.clip_lists import FROM, LIST, ClipList, linked_list, list_query
from workbench.components.context import CLIP_PAGE, errors_shown, escape_markdown, run_action, show_problem
from workbench.components.gallery import clip_query
from workbench.components.notes import draw_notes_panel

OF_ONE_CLIP = ("class", "against", "frame")  # URL parameters that mean nothing for another clip
MARKS = {"correct": "check", "exclude": "block"}  # {tag: icon}
KEYS = [
    {"key": "j", "does": "the next clip of the list", "click": ".st-key-clip_next a"},
    {"key": "k", "does": "the previous clip of the list", "click": ".st-key-clip_previous a"},
    {"key": "c", "does": "tag the clip “correct”, or take the tag away", "click": ".st-key-mark_correct button"},
    {"key": "x", "does": "tag the clip “exclude”, or take the tag away", "click": ".st-key-mark_exclude button"},
    {"key": "t", "does": "add a tag or a note", "click": ".st-key-clip_tags button",
     "focus": "[data-testid=stPopoverBody] input[aria-label='Add a tag']"},
    {"key": "?", "does": "show these keys", "click": ""},
    {"key": "← →", "does": "in the picture: one frame, with Shift ten"},
    {"key": "Page Up, Page Down", "does": "in the picture: the network's previous, next input frame"},
    {"key": "Space", "does": "in the picture: play or pause"},
]  # fmt: skip
HTML = """<div class="clip-keys"><button type="button" aria-haspopup="dialog">? keys</button>
<dialog aria-labelledby="keys"><h2 id="keys">Keys of this page</h2><table></table>
<p>They do nothing while you type in a field.</p>
<form method="dialog"><button>Close</button></form></dialog></div>"""
CLIP_KEYS = js_component("clip_keys", HTML)


def verdict_of(run: Run, clip: pd.Series) -> str:
    """Whether the prediction is right, else what it is, and the confidence, as Markdown."""
    predicted = f"predicted: {escape_markdown(clip['prediction'])}"
    known = pd.notna(clip["correct"])  # whether the network knows the label
    verdict = ":green[correct]" if known and clip["correct"] else f":red[{predicted}]" if known else predicted
    return verdict + (f" · confidence {clip['confidence']:.1%}" if confidence_is_known(run.meta) else "")


def show_clip_title(run: Run, clip: pd.Series) -> None:
    """The page's title, and in the same line the clip's label, prediction, confidence and name."""
    label = escape_markdown(clip["label"] or NO_LABEL)
    with st.container(key="clip_title", horizontal=True, vertical_alignment="center", gap="small"):
        st.title("Clip", anchor=False, width="content")
        st.header(f"{label} · {verdict_of(run, clip)}", anchor=False, width="content")
        st.caption(escape_markdown(clip["clip_id"]), width="content")


def list_of(run: Run, table: pd.DataFrame, row: int, misclassified: NDArray[np.intp]) -> ClipList:
    """The list that the URL names; without one, the misclassified clips if the clip is one of them, else all clips."""
    wrong = ClipList("misclassified clips, most confident first", misclassified, "misclassified")
    every = ClipList("all clips", np.arange(len(table)), "all")
    named = {listed.word: listed for listed in (wrong, every) if len(listed.rows)}
    if (word := st.query_params.get(LIST)) in named:
        return named[word]
    try:
        if found := linked_list(run, len(table), st.query_params.to_dict()):
            return found
    except UserError as error:
        for key in (FROM, LIST):
            st.query_params.pop(key, None)
        st.caption(f"{escape_markdown(str(error))} You step through another one.")
    return wrong if row in misclassified else every


def show_steps(run: Run, table: pd.DataFrame, row: int, listed: ClipList) -> None:
    """Links to the previous and the next clip of the list, the position in it, the marks of the clip, and the keys."""
    at = listed.position(row)
    before, after = (None, 0) if at is None else (at - 1 if at else None, at + 1)
    where = "Not in the list" if at is None else f"**{at + 1:,} of {len(listed.rows):,}**"
    with st.container(key="clip_steps", horizontal=True, vertical_alignment="center", gap="small"):
        show_step(run, table, listed, before, "previous", ":material/chevron_left:")
        show_step(run, table, listed, after, "next", ":material/chevron_right:")
        st.markdown(f"{where}, from: {escape_markdown(listed.name)}", width="stretch")
        show_marks(run, str(table["clip_id"].iloc[row]))
        CLIP_KEYS(key="clip_keys", data={"keys": KEYS}, width="content")


def show_step(run: Run, table: pd.DataFrame, listed: ClipList, to: int | None, way: str, icon: str) -> None:
    """A link to the clip at this place of the list; a word where the list ends."""
    if to is None or to >= len(listed.rows):
        st.caption(f"{icon} {way.capitalize()}", width="content")
        return
    clip_id = table["clip_id"].iloc[listed.rows[to]]
    kept = {key: value for key, value in st.query_params.to_dict().items() if key not in (*OF_ONE_CLIP, FROM, LIST)}
    query = kept | clip_query(run, clip_id) | list_query(run, listed)
    with st.container(key=f"clip_{way}", width="content"):
        st.page_link(CLIP_PAGE, label=way.capitalize(), icon=icon, query_params=query)


@st.fragment
def show_marks(run: Run, clip_id: str) -> None:
    """Buttons that mark the clip, and its tags and notes."""
    with errors_shown():  # app.py does not catch an error of a fragment that runs alone
        with st.container(key="clip_marks", horizontal=True, gap="xsmall", width="content"):
            tags, read_only = notes.tags_of(run, clip_id), bool(why_not_kept(run))
            for tag, icon in MARKS.items():
                has, name = tag in tags, f"mark_{tag}"
                st.button(
                    tag.capitalize(), key=name, icon=f":material/{icon}:", type="primary" if has else "secondary",
                    disabled=read_only, on_click=run_action, args=(name, toggle_tag, run, clip_id, tag),
                    help=f"Take the tag “{tag}” away" if has else f"Tag the clip “{tag}”",
                )  # fmt: skip
            with st.popover("Tags and notes", key="clip_tags", icon=":material/edit_note:"):
                draw_notes_panel(run, clip_id)
        for tag in MARKS:
            show_problem(f"mark_{tag}")


def toggle_tag(run: Run, clip_id: str, tag: str) -> None:
    change = notes.remove_tag if tag in notes.tags_of(run, clip_id) else notes.add_tag
    change(run, clip_id, tag)
