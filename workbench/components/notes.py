"""Tags and a note on a clip, for the Clip page, and a filter by tags for the sidebar.

An unsaved text stays in the session and in the browser, per clip, with the version of the note from which it started.
"""

from dataclasses import replace

import streamlit as st

from analysis.runs import notes
from analysis.runs.run_directory import Run
from workbench.components.browser import js_component
from workbench.components.context import errors_shown, escape_markdown, run_action, show_problem

NOTE_DRAFT = js_component("note_draft")
SUGGESTIONS = 12  # the run's most frequent tags


def choose_tags(run: Run) -> list[str]:
    """The tags chosen in the sidebar and in the URL, for `clips_with`. A run without tags shows no control."""
    counts: dict[str, int] = {}
    with st.sidebar, errors_shown():  # notes that cannot be read are no reason not to show the run
        counts = notes.tag_counts(run)
    if not counts:
        return []
    hint = "Clips that have all these."
    return st.sidebar.multiselect("Tags", [*counts], key="tags", bind="query-params", placeholder="any", help=hint)


@st.fragment
def show_notes_panel(run: Run, clip_id: str) -> None:
    """The clip's tags and note, which a person can read and change."""
    draw_notes_panel(run, clip_id)


def draw_notes_panel(run: Run, clip_id: str) -> None:
    key = f"notes {run.path} {clip_id}"
    with errors_shown():  # app.py does not catch an error of a fragment that runs alone
        if refusal := notes.why_not_kept(run):
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
        if suggestions := [tag for tag in notes.tag_counts(run) if tag not in tags][:SUGGESTIONS]:
            st.pills(
                "Tags of other clips", suggestions, key=pills_key, format_func=escape_markdown,
                on_change=run_action, args=(key, add_entered_tag, run, clip_id, pills_key),
            )  # fmt: skip
    show_problem(key)


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
    component = f"{key} kept"

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
    texts = [change for change in notes.history_of(run, clip_id) if change.kind not in (notes.TAG, notes.UNTAG)]
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
