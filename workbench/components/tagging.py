"""Tagging the clips of a gallery: which of them are ticked, and the bar below that tags them and undoes the last step.

Keys of widgets that `gallery_keys.js` looks for begin with what they are, and end with the gallery's name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from analysis.runs import notes
from analysis.runs.notes import WRONG_LABEL
from analysis.runs.run_directory import Run
from sth_core.datasets.media import counted
from sth_core.errors import UserError
from workbench.components.browser import js_component
from workbench.components.context import escape_markdown, run_action, run_id, show_problem
from workbench.components.csv_files import show_clips_csv
from workbench.components.notes import NOTES_PAGE

GALLERY_KEYS = js_component("gallery_keys")
FREQUENT = 4  # tags of the run that are offered besides those that change a manifest
AS_PREDICTED = "the class that is predicted for each"
HOW = (
    "With Shift all from the last one on. Keys, with the pointer in the gallery: A ticks all, Esc none, T types a tag, "
    "W gives *wrong label*, X *exclude*, U undoes."
)
STYLE = """<style>
[data-testid="stLayoutWrapper"]:has(> [class*="st-key-bar_of_"]) { position: sticky; bottom: 0; z-index: 90 }
[class*="st-key-bar_of_"] { background: light-dark(#ffffff, #21201d); padding: 0.35rem 0.8rem; border-radius: 8px;
  border: 1px solid light-dark(#d5d6db, #41403e); box-shadow: 0 -2px 10px light-dark(#0000001a, #00000080) }
[class*="st-key-gallery_of_"] .thumbnail { cursor: pointer }
[class*="st-key-card_of_"]:has(input:checked) { border-color: light-dark(#00629b, #56b4e9);
  box-shadow: 0 0 0 1px light-dark(#00629b, #56b4e9) }
</style>"""


@dataclass(frozen=True)
class Selection:
    """The ticked clips of a gallery, which is called `name` in keys; ticks stay from page to page."""

    run: Run
    name: str

    @property
    def key(self) -> str:
        return f"{self.name} of {self.run.path}"

    @property
    def clips(self) -> dict[str, None]:
        """In the order in which they were ticked."""
        found: dict[str, None] = st.session_state.setdefault(f"{self.key} ticked", {})
        return found

    def box(self, clip_id: str) -> str:
        return f"{self.key} box {clip_id}"

    def show_box(self, clip_id: str, label: str) -> None:
        """A box that ticks the clip."""
        key, ticked = self.box(clip_id), clip_id in self.clips
        # Only where it differs: a value that is set replaces one that the browser is about to send.
        if st.session_state.get(key) != ticked:
            st.session_state[key] = ticked
        st.checkbox(label, key=key, on_change=self.follow, args=(clip_id,))

    def follow(self, clip_id: str) -> None:
        if st.session_state[self.box(clip_id)]:
            self.clips[clip_id] = None
        else:
            self.clips.pop(clip_id, None)

    def tick(self, clip_ids: Sequence[str]) -> None:
        self.clips.update(dict.fromkeys(clip_ids))

    def clear(self) -> None:
        self.clips.clear()

    def keep(self, clip_ids: pd.Series, rows: NDArray[np.intp]) -> None:
        """Forget ticks of clips that are not in these rows of the table any more."""
        if self.clips:
            ticked = set(clip_ids.iloc[self.rows(clip_ids, rows)])
            for clip_id in set(self.clips) - ticked:
                del self.clips[clip_id]

    def rows(self, clip_ids: pd.Series, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of the rows whose clips are ticked."""
        return rows[clip_ids.iloc[rows].isin(list(self.clips)).to_numpy()]


def show_tag_bar(selection: Selection, clips: pd.DataFrame, rows: NDArray[np.intp], shown: Sequence[str]) -> None:
    """The bar of a gallery of these rows of `clips`, of which it shows some: below it, and always on the screen."""
    name, clip_ids = selection.name, clips["clip_id"]
    GALLERY_KEYS(key=f"keys_of_{name}")
    st.html(STYLE)
    with st.container(key=f"bar_of_{name}", horizontal=True, vertical_alignment="center", gap="small"):
        if selection.clips:
            elsewhere = len(set(selection.clips) - set(shown))
            pages = f" ({elsewhere:,} on other pages)" if elsewhere else ""
            st.markdown(f"**{counted(len(selection.clips), 'clip')} ticked**{pages}", width="content")
            show_tag_choice(selection, clips)
        elif f"{selection.key} step" not in st.session_state:
            st.caption("Click pictures to tick clips, and tag them.", help=HOW, width="content")
        show_last_step(selection, clips)
        show_tick_buttons(selection, clip_ids, rows, shown)
        saved = selection.rows(clip_ids, rows) if selection.clips else rows
        label = f"CSV of {len(saved):,}" + " ticked" * bool(selection.clips)
        show_clips_csv(selection.run, clips, saved, key=name, label=label)
        show_problem(selection.key)


def show_tick_buttons(selection: Selection, clip_ids: pd.Series, rows: NDArray[np.intp], shown: Sequence[str]) -> None:
    name = selection.name
    if any(clip_id not in selection.clips for clip_id in shown):
        label = f"Tick all {len(shown)} shown" if len(shown) > 1 else "Tick it"
        st.button(
            label, key=f"all_of_{name}", icon=":material/select_all:", type="tertiary",
            on_click=selection.tick, args=(shown,),
        )  # fmt: skip
    elif len(selection.clips) < len(rows):
        st.button(
            f"Tick all {len(rows):,}", key=f"all_of_{name}", icon=":material/select_all:", type="tertiary",
            on_click=lambda: selection.tick(clip_ids.iloc[rows].tolist()),
        )  # fmt: skip
    if selection.clips:
        st.button(
            "Tick none", key=f"none_of_{name}", icon=":material/deselect:", type="tertiary", on_click=selection.clear
        )


def show_tag_choice(selection: Selection, clips: pd.DataFrame) -> None:
    """Tags to give to the ticked clips, or to take from them if all have them; the right class of a wrong label."""
    name, ticked = selection.name, set(selection.clips)
    table = notes.notes_table(selection.run)
    of_ticked = [set(tags) for clip, tags in zip(table["clip_id"], table["tags"], strict=True) if clip in ticked]
    common = set.intersection(*of_ticked) if len(of_ticked) == len(ticked) else set[str]()
    known = [notes.WRONG_LABEL, notes.EXCLUDED]
    known += [tag for tag in notes.tag_counts(selection.run) if tag not in known][:FREQUENT]
    tags, text = f"tags_of_{name}", f"tag_of_{name}"
    st.pills(
        "Tag", known, key=tags, label_visibility="collapsed", width="content",
        format_func=lambda tag: f"remove {escape_markdown(tag)}" if tag in common else escape_markdown(tag),
        on_change=lambda: selection_step(selection, tags, common),
    )  # fmt: skip
    st.text_input(
        "Another tag", key=text, placeholder="another tag, Enter", max_chars=notes.LONGEST_TAG, width=170,
        label_visibility="collapsed", on_change=lambda: selection_step(selection, text, set()),
    )  # fmt: skip
    if WRONG_LABEL in common:
        choose_right_class(selection, clips)


def selection_step(selection: Selection, widget: str, common: set[str]) -> None:
    """Give the ticked clips the tag of a widget, or take it from them if it is `common` to all."""
    tag = st.session_state[widget]
    st.session_state[widget] = "" if widget.startswith("tag_of") else None
    if not tag:
        return
    change = notes.untag_clips if tag in common else notes.tag_clips
    take_step(selection, lambda: change(selection.run, list(selection.clips), tag))


def take_step(selection: Selection, step: Callable[[], notes.TagStep]) -> None:
    def act() -> None:
        st.session_state[f"{selection.key} step"] = step()
        selection.clear()
        st.session_state[f"{selection.key} changed"] = True

    run_action(selection.key, act)


def show_last_step(selection: Selection, clips: pd.DataFrame) -> None:
    """What was done last, with a button that undoes it; after a wrong label the right class can be chosen."""
    step: notes.TagStep | None = st.session_state.get(f"{selection.key} step")
    if step is None:
        return
    st.markdown(f":material/check: {describe_step(step)}", width="content")
    st.button(
        "Undo", key=f"undo_of_{selection.name}", icon=":material/undo:", type="tertiary", on_click=undo_last,
        args=(selection,), disabled=not step.clips,
    )  # fmt: skip
    query = {"run": run_id(selection.run)}
    st.page_link(NOTES_PAGE, label="Export in Notes", icon=":material/edit_note:", query_params=query)
    wrong = step.tag == WRONG_LABEL and not step.untagged and (step.tagged or step.right_labels)
    if wrong and not selection.clips:
        choose_right_class(selection, clips)


def describe_step(step: notes.TagStep) -> str:
    tag = f"**{escape_markdown(step.tag)}**"
    if step.untagged:
        return f"{tag} removed from {counted(len(step.untagged), 'clip')}."
    if step.right_labels:
        classes = sorted({label for _, label in step.right_labels.values()})
        which = escape_markdown(classes[0]) if len(classes) == 1 else f"{len(classes)} classes"
        return f"{tag}: {counted(len(step.right_labels), 'clip')}, right class {which}."
    return f"{tag}: {counted(len(step.tagged), 'clip')} tagged." if step.tagged else f"{tag}: all had it already."


def choose_right_class(selection: Selection, clips: pd.DataFrame) -> None:
    """The right class of the ticked clips, or of those that the last step tagged."""
    choice = f"right_of_{selection.name}"
    st.selectbox(
        "Right class", [AS_PREDICTED, *selection.run.meta["classes"]], index=None, key=choice, width=250,
        placeholder="the right class, if you know it", label_visibility="collapsed",
        on_change=lambda: say_right_class(selection, clips, choice),
    )  # fmt: skip


def say_right_class(selection: Selection, clips: pd.DataFrame, widget: str) -> None:
    """Give the clips the chosen class. That of the last step joins it, so that both are undone in one."""
    chosen = st.session_state[widget]
    st.session_state[widget] = None
    if chosen is None:
        return
    step: notes.TagStep | None = None if selection.clips else st.session_state[f"{selection.key} step"]

    def act() -> notes.TagStep:
        some = clips[clips["clip_id"].isin(step.clips if step else list(selection.clips))]
        said = some["prediction"].astype(str) if chosen == AS_PREDICTED else pd.Series(chosen, some.index)
        differs = said != some["label"].astype(str)
        if not differs.all():
            raise UserError(f"{counted(int((~differs).sum()), 'clip')} of these have this label already.")
        now = notes.set_right_labels(selection.run, dict(zip(some["clip_id"], said, strict=True)))
        if step is None:
            return now
        before = {clip: label for clip, (label, _) in step.right_labels.items()}
        labels = {clip: (before.get(clip, old), new) for clip, (old, new) in now.right_labels.items()}
        return notes.TagStep(WRONG_LABEL, tuple({*step.tagged, *now.tagged}), (), labels)

    take_step(selection, act)


def undo_last(selection: Selection) -> None:
    step: notes.TagStep = st.session_state[f"{selection.key} step"]

    def act() -> None:
        notes.undo(selection.run, step)
        del st.session_state[f"{selection.key} step"]
        selection.tick(step.clips)
        st.session_state[f"{selection.key} changed"] = True

    run_action(selection.key, act)
