"""Notes: the clips of a run that have tags or a note."""

import streamlit as st

from analysis.runs.notes import clips_with, notes_table, tag_counts, to_csv, to_fiftyone
from analysis.runs.run_directory import Run
from workbench.components.context import CLIP_PAGE, choose_run, escape_markdown, run_id
from workbench.components.gallery import show_linked_clips
from workbench.components.notes import choose_tags


def show_notes_page() -> None:
    st.title("Notes")
    run = choose_run()
    table = notes_table(run)
    if table.empty:
        st.info("No clip of this run has a tag or a note yet. Open a clip to add some.")
        st.page_link(CLIP_PAGE, label="Open a clip", icon=":material/movie:", query_params={"run": run_id(run)})
        st.stop()
    tags = choose_tags(run)
    shown = table[table["clip_id"].isin(clips_with(run, tags))]
    st.caption(f"{len(shown)} of {len(table)} clips with tags or a note. The first column opens the clip.")
    show_linked_clips(run, shown, {"note": st.column_config.TextColumn(width="large")}, key="noted")
    if counts := tag_counts(run):
        st.header("Tags")
        st.dataframe({"tag": list(counts), "clips": list(counts.values())}, hide_index=True, key="counts", width=360)
    show_note_downloads(run)
    st.sidebar.caption(f"{len(shown)} of {len(table)} clips match: {escape_markdown(run.name)}")


def show_note_downloads(run: Run) -> None:
    st.header("Download")
    every = st.toggle("JSON with all clips of the run", help="Also clips that have neither a tag nor a note.")
    with st.container(horizontal=True):
        hint = "All clips with tags or a note."
        st.download_button("CSV", lambda: to_csv(run), f"{run.name}_notes.csv", "text/csv", help=hint)
        st.download_button(
            "FiftyOne JSON", lambda: to_fiftyone(run, not every), f"{run.name}_fiftyone.json", "application/json",
            help="Labels, predictions, tags and notes for fiftyone.Dataset.from_json.",
        )  # fmt: skip


show_notes_page()
