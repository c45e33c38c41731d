"""Saving the page that is shown under a name, and the list of what was saved."""

import streamlit as st

from analysis.runs.saved_views import (
    LONGEST_VIEW_NAME,
    LONGEST_VIEW_NOTE,
    SavedView,
    delete_view,
    restore_view,
    save_view,
    saved_views,
    views_folder,
)
from workbench.components.context import errors_shown, escape_markdown, run_action, show_problem
from workbench.roots import runs_folder

PAGES = ("runs", "attention", "predictions", "clip", "compare", "experiments", "figures", "notes", "own")
MOST_DELETED = 5  # that are offered again
SAVING, SAVED = "views saved", "view saved"  # how many this session has saved; the name of the last one
NOT_OF_A_VIEW = ("tour",)  # parameters of the address: a view opens what was shown, not the text above it


def show_save_view(page: str) -> None:
    """A form in the sidebar that saves what is shown; `page` is the page's path in the address."""
    if (page or PAGES[0]) not in PAGES:
        return
    number = st.session_state.get(SAVING, 0)  # another one closes the form, and empties it
    with (
        st.sidebar.popover(
            "Save this view", key=f"save_view_{number}", icon=":material/bookmark_add:", width="stretch"
        ),
        st.form(f"view_{number}", border=False),
    ):
        st.caption("This page with all choices that are in its address. The page *Views* lists them, for everyone.")
        st.text_input("Name", key=f"view_name_{number}", max_chars=LONGEST_VIEW_NAME)
        st.text_area("Note", key=f"view_note_{number}", max_chars=LONGEST_VIEW_NOTE)
        args = ("save_view", save_entered_view, page, number)
        st.form_submit_button("Save", icon=":material/save:", on_click=run_action, args=args)
        show_problem("save_view")
    if name := st.session_state.pop(SAVED, ""):
        st.toast(f"Saved: {escape_markdown(name)}", icon=":material/bookmark_added:")


def save_entered_view(page: str, number: int) -> None:
    name, note = st.session_state[f"view_name_{number}"], st.session_state[f"view_note_{number}"]
    query = {key: st.query_params.get_all(key) for key in st.query_params if key not in NOT_OF_A_VIEW}
    st.session_state[SAVED] = save_view(runs_folder(), name, note, page, query).name
    st.session_state[SAVING] = number + 1


def show_views() -> list[SavedView]:
    """All views, each with its link and note; returns them, the newest first."""
    damaged: list[str] = []
    views = saved_views(runs_folder(), damaged.append)
    st.caption(
        f"{len(views)} saved in {escape_markdown(str(views_folder(runs_folder())))}. Every page has *Save this view* "
        "in its sidebar. Everyone who uses this app sees the same list."
    )
    for view in views:
        with st.container(border=True):
            show_view(view)
    for sentence in damaged:
        st.caption(f"A view is not listed: {escape_markdown(sentence)}.")
    show_problem("views")
    return views


def show_view(view: SavedView) -> None:
    row = st.container(horizontal=True, vertical_alignment="center")
    with row, st.container(gap="xsmall"):
        page = view.page or PAGES[0]
        if page in PAGES:
            query = {key: list(values) for key, values in view.query.items()}
            st.page_link(f"workbench/pages/{page}.py", label=f"**{escape_markdown(view.name)}**", query_params=query)
        else:
            st.markdown(f"**{escape_markdown(view.name)}**: this version has no page {escape_markdown(page)}")
        if view.note:
            st.markdown(escape_markdown(view.note))
        st.caption(
            f"{escape_markdown(page.capitalize())} · saved {escape_markdown(view.saved[:16].replace('T', ' '))} UTC"
        )
    row.button(
        "Delete", key=f"delete {view.file.name}", icon=":material/delete:", on_click=run_action,
        args=("views", delete_view, view), help=f"Delete {escape_markdown(view.name)}; it can be put back.",
    )  # fmt: skip


def show_deleted() -> None:
    """The views that were deleted last, which can be put back."""
    with errors_shown():
        deleted = saved_views(runs_folder(), deleted=True)[:MOST_DELETED]
        if not deleted:
            return
        st.header("Deleted")
        for view in deleted:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.button(
                    f"Put {escape_markdown(view.name)} back", key=f"restore {view.file.name}", icon=":material/undo:",
                    on_click=run_action, args=("views", restore_view, view),
                )  # fmt: skip
