"""Tags and a note on a clip, for its page, and a filter by tag for a sidebar.

What a person typed and has not saved stays in the session, by clip, with the version of the note that it began from.
"""

from collections.abc import Callable

import streamlit as st

from analysis.runs.notes import (
    LONGEST_NOTE,
    LONGEST_TAG,
    NOTE,
    Conflict,
    Note,
    add_tag,
    history_of,
    note_of,
    remove_tag,
    save_note,
    tag_counts,
    tags_of,
    why_not_kept,
)
from analysis.runs.run_directory import Run
from sth_core.errors import UserError
from workbench.components.context import plain

SUGGESTED = 12  # tags of the run, the most used


def tag_filter(run: Run) -> list[str]:
    """The tags chosen in the sidebar, which are in the URL; `clips_with` finds the clips that have all of
    them. Nothing is shown as long as the run has no tag."""
    counts = tag_counts(run)
    if not counts:
        return []
    with st.sidebar:
        return st.multiselect(
            "Tags", list(counts), key="tags", bind="query-params", placeholder="any", help="Clips with all of these."
        )


@st.fragment
def notes_panel(run: Run, clip_id: str) -> None:
    """The clip's tags and note, to see and to change; a mistake is a sentence in its place."""
    key = f"notes {run.path} {clip_id}"
    try:
        refusal = why_not_kept(run)
        if refusal:
            st.info(plain(refusal))
        show_tags(run, clip_id, key, bool(refusal))
        show_note(run, clip_id, key, bool(refusal))
    except UserError as error:  # the app does not catch what a fragment raises when it alone is run again
        st.error(plain(str(error)))


def show_tags(run: Run, clip_id: str, key: str, fixed: bool) -> None:
    tags = tags_of(run, clip_id)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Tags**" if tags else "**Tags:** none yet")
        for tag in tags:
            st.button(
                plain(tag), key=f"{key} tag {tag}", icon=":material/close:", help="Remove this tag", disabled=fixed,
                on_click=attempt, args=(key, lambda tag=tag: remove_tag(run, clip_id, tag)),
            )  # fmt: skip
    if not fixed:
        typed = f"{key} new tag"
        st.text_input(
            "Add a tag", key=typed, placeholder="type it and press Enter", max_chars=LONGEST_TAG, on_change=attempt,
            args=(key, lambda: add_typed(run, clip_id, typed)),
        )  # fmt: skip
        others = [tag for tag in tag_counts(run) if tag not in tags][:SUGGESTED]
        if others:
            picked = f"{key} suggested"
            st.pills(
                "Tags of other clips", others, key=picked, format_func=plain, on_change=attempt,
                args=(key, lambda: add_typed(run, clip_id, picked)),
            )  # fmt: skip
    if problem := st.session_state.pop(f"{key} problem", ""):
        st.error(plain(problem))


def show_note(run: Run, clip_id: str, key: str, fixed: bool) -> None:
    now = note_of(run, clip_id)
    area = f"{key} text"
    seen: Note = st.session_state.setdefault(f"{key} seen", now)
    draft = st.session_state.get(area, st.session_state.get(f"{key} draft", seen.text))
    if draft == seen.text:  # nothing is typed: show what others saved meanwhile
        st.session_state[f"{key} seen"], draft = now, now.text
        st.session_state.pop(f"{key} conflict", None)
    st.session_state[area] = st.session_state[f"{key} draft"] = draft
    st.text_area(
        "Note", key=area, max_chars=LONGEST_NOTE, disabled=fixed, placeholder="What is there to see in this clip?"
    )
    if not fixed:
        st.button(
            "Save the note", key=f"{key} save", icon=":material/save:", on_click=attempt,
            args=(key, lambda: save(run, clip_id, key)),
        )  # fmt: skip
    conflict: Note | None = st.session_state.get(f"{key} conflict")
    if conflict is not None:
        st.warning(
            "Meanwhile another text was saved, which is now the note. Yours is in the box above. Put into it what "
            "should stay of both, and save again. Now saved is:"
        )
        st.code(conflict.text or "(nothing: the note was emptied)", language=None, wrap_lines=True)
    elif st.session_state.pop(f"{key} saved", False):
        st.success("The note is saved.", icon=":material/check:")
    elif now.changed:
        st.caption(f"Last saved {when(now.changed)}" + (" · you have changes to save" if draft != now.text else ""))
    show_history(run, clip_id)


def show_history(run: Run, clip_id: str) -> None:
    """All texts that were saved, those that lost a race too."""
    texts = [change for change in history_of(run, clip_id) if change.kind not in ("tag", "untag")]
    if len(texts) > 1:
        with st.expander(f"All {len(texts)} texts that were saved"):
            for change in reversed(texts):
                aside = "" if change.kind == NOTE else ", set aside, as another text had been saved"
                st.caption(when(change.changed) + aside)
                st.code(change.text or "(nothing)", language=None, wrap_lines=True)


def when(changed: str) -> str:
    """Of ISO 8601 in UTC the date, hour and minute."""
    return plain(changed[:16].replace("T", " ")) + " UTC"


def attempt(key: str, act: Callable[[], object]) -> None:
    """Do what was clicked; why it could not be done is shown when the panel is drawn next."""
    try:
        act()
    except UserError as error:
        st.session_state[f"{key} problem"] = str(error)


def add_typed(run: Run, clip_id: str, widget: str) -> None:
    tag = st.session_state[widget]
    if tag:
        add_tag(run, clip_id, tag)
        st.session_state[widget] = None if widget.endswith("suggested") else ""


def save(run: Run, clip_id: str, key: str) -> None:
    seen: Note = st.session_state[f"{key} seen"]
    try:
        saved = save_note(run, clip_id, st.session_state[f"{key} text"], seen.version)
    except Conflict as conflict:  # whoever saves again has seen the other text
        st.session_state[f"{key} conflict"] = st.session_state[f"{key} seen"] = conflict.current
        return
    st.session_state.pop(f"{key} conflict", None)
    st.session_state[f"{key} seen"], st.session_state[f"{key} text"] = saved, saved.text
    st.session_state[f"{key} saved"] = True
