"""Tags, the right class of a wrong label and a note on a clip, for the Clip page; a filter by tags for the sidebar.

An unsaved text stays in the session and in the browser, per clip, with the version of the note from which it started.
"""

from dataclasses import replace

import pandas as pd
import streamlit as st

from analysis.runs import notes
from analysis.runs.notes_file import why_not_kept
from analysis.runs.run_directory import Run
from workbench.components.browser import component_key, js_component
from workbench.components.context import errors_shown, escape_markdown, run_action, show_problem

NOTES_PAGE = "workbench/pages/notes.py"
NOTE_DRAFT = js_component("note_draft")
SUGGESTIONS = 12  # the run's most frequent tags


def choose_tags(*runs: Run) -> list[str]:
    """The tags chosen in the sidebar and in the URL, for `has_tags`. Runs without tags show no control."""
    tags = list[str]()
    with st.sidebar, errors_shown():  # notes that cannot be read are no reason not to show the run
        tags = list(dict.fromkeys(tag for run in runs for tag in notes.tag_counts(run)))
    if not tags:
        return []
    hint = "Clips that have all these."
    return st.sidebar.multiselect("Tags", tags, key="tags", bind="query-params", placeholder="any", help=hint)


def has_tags(clip_ids: pd.Series, tags: list[str], *runs: Run) -> pd.Series:
    """Whether each clip has all of these tags, in whichever of the runs."""
    fits = pd.Series(True, clip_ids.index)
    for tag in tags:
        fits &= clip_ids.isin(set().union(*(notes.clips_with(run, [tag]) for run in runs)))
    return fits


@st.fragment
def show_notes_panel(run: Run, clip_id: str) -> None:
    """The clip's tags and note, which a person can read and change."""
    draw_notes_panel(run, clip_id)


def draw_notes_panel(run: Run, clip_id: str) -> None:
    key = f"notes {run.path} {clip_id}"
    with errors_shown():  # app.py does not catch an error of a fragment that runs alone
        if refusal := why_not_kept(run):
            st.info(escape_markdown(refusal))
        show_tags(run, clip_id, key, read_only=bool(refusal))
        show_note(run, clip_id, key, read_only=bool(refusal))


def show_tags(run: Run, clip_id: str, key: str, read_only: bool) -> None:
    tags = notes.tags_of(run, clip_id)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Tags**" if tags else "**Tags:** none yet")
        for tag in tags:
            st.button(
                escape_markdown(tag), key=f"{key} tag {tag}", icon=":material/close:", help="Remove this tag",
                disabled=read_only, on_click=run_action, args=(key, notes.remove_tag, run, clip_id, tag),
            )  # fmt: skip
    if not read_only:
        text_key, pills_key = f"{key} new tag", f"{key} suggested"
        st.text_input(
            "Add a tag", key=text_key, placeholder="type a tag and press Enter", max_chars=notes.LONGEST_TAG,
            on_change=run_action, args=(key, add_entered_tag, run, clip_id, text_key),
        )  # fmt: skip
        known = [notes.WRONG_LABEL, notes.EXCLUDED, *notes.tag_counts(run)]
        if suggestions := [tag for tag in dict.fromkeys(known) if tag not in tags][:SUGGESTIONS]:
            st.pills(
                "Known tags", suggestions, key=pills_key, format_func=escape_markdown,
                on_change=run_action, args=(key, add_entered_tag, run, clip_id, pills_key),
            )  # fmt: skip
        if notes.WRONG_LABEL in tags:
            show_right_class(run, clip_id, key)
    show_problem(key)


def show_right_class(run: Run, clip_id: str, key: str) -> None:
    """Which class a clip with a wrong label shows, for a corrected manifest (page *Notes*)."""
    right, choice = notes.right_label_of(run, clip_id), f"{key} right class"
    st.session_state[choice] = right or None
    classes = [*dict.fromkeys([*run.meta["classes"], *[right] * bool(right)])]
    st.selectbox(
        "Right class", classes, index=None, key=choice, placeholder="not said: the clip is left out of a new manifest",
        on_change=run_action, args=(key, set_chosen_class, run, clip_id, choice),
    )  # fmt: skip


def show_note(run: Run, clip_id: str, key: str, read_only: bool) -> None:
    saved = notes.note_of(run, clip_id)
    text_key = f"{key} text"
    seen: notes.Note = st.session_state.setdefault(f"{key} seen", saved)
    draft = st.session_state.get(text_key, st.session_state.get(f"{key} draft", seen.text))
    if draft == seen.text:  # nothing is unsaved here: show what others have saved
        st.session_state[f"{key} seen"], draft = saved, saved.text
        st.session_state.pop(f"{key} conflict", None)
    st.session_state[text_key] = st.session_state[f"{key} draft"] = draft
    hint = "What do you see in this clip?"
    with st.container(key="note_box"):
        st.text_area("Note", key=text_key, max_chars=notes.LONGEST_NOTE, disabled=read_only, placeholder=hint)
    if not read_only:
        keep_in_browser(run, clip_id, key, draft, saved)
        args = (key, save_entered_note, run, clip_id, key)
        st.button("Save the note", key=f"{key} save", icon=":material/save:", on_click=run_action, args=args)
    if conflict := st.session_state.get(f"{key} conflict"):
        st.warning(
            "Somebody saved another text while you were writing. Your text is still in the box above. Merge the two, "
            "and save again. The saved text is:"
        )
        st.code(conflict.text or "(empty)", language=None, wrap_lines=True)
    elif st.session_state.pop(f"{key} saved", False):
        st.success("The note is saved.", icon=":material/check:")
    elif saved.changed:
        unsaved = " · you have unsaved changes" if draft != saved.text else ""
        st.caption(f"Last saved {format_time(saved.changed)}{unsaved}")
    show_history(run, clip_id)


def keep_in_browser(run: Run, clip_id: str, key: str, draft: str, saved: notes.Note) -> None:
    """Keep what is typed in the browser until it is saved, and put what the browser has kept back into the box."""
    seen: notes.Note = st.session_state[f"{key} seen"]
    component = component_key("note kept", key)

    def restore() -> None:
        kept = st.session_state[component].get("kept") or {}
        text, version = str(kept.get("text", ""))[: notes.LONGEST_NOTE], kept.get("version")
        if version != seen.version:  # another text was saved since: saving this one must say so
            st.session_state[f"{key} seen"] = replace(saved, text="", version=int(version or 0))
        st.session_state[f"{key} text"] = text

    data = {"key": f"{run.path} {clip_id}", "version": seen.version, "text": draft, "saved": saved.text}
    NOTE_DRAFT(key=component, data=data, on_kept_change=restore)


def show_history(run: Run, clip_id: str) -> None:
    """All texts that were saved, including those that lost a conflict."""
    texts = [change for change in notes.history_of(run, clip_id) if change.kind in (notes.NOTE, notes.ASIDE)]
    if len(texts) > 1:
        with st.expander(f"All {len(texts)} saved texts"):
            for change in reversed(texts):
                aside = "" if change.kind == notes.NOTE else ", set aside because another text was saved before"
                st.caption(format_time(change.changed) + aside)
                st.code(change.text or "(empty)", language=None, wrap_lines=True)


def format_time(changed: str) -> str:
    """Date, hour and minute of a UTC time in ISO 8601."""
    return escape_markdown(changed[:16].replace("T", " ")) + " UTC"


def add_entered_tag(run: Run, clip_id: str, widget: str) -> None:
    if tag := st.session_state[widget]:
        notes.add_tag(run, clip_id, tag)
        st.session_state[widget] = None if widget.endswith("suggested") else ""


def set_chosen_class(run: Run, clip_id: str, widget: str) -> None:
    notes.set_right_labels(run, {clip_id: st.session_state[widget] or ""})


def save_entered_note(run: Run, clip_id: str, key: str) -> None:
    seen: notes.Note = st.session_state[f"{key} seen"]
    try:
        saved = notes.save_note(run, clip_id, st.session_state[f"{key} text"], seen.version)
    except notes.Conflict as conflict:  # the other text is shown now, so the next save may replace it
        st.session_state[f"{key} conflict"] = st.session_state[f"{key} seen"] = conflict.current
        return
    st.session_state.pop(f"{key} conflict", None)
    st.session_state[f"{key} seen"], st.session_state[f"{key} text"] = saved, saved.text
    st.session_state[f"{key} saved"] = True
