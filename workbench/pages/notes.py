"""Notes: the clips of a run that somebody tagged or wrote about."""

import streamlit as st

from analysis.runs.notes import clips_with, notes_table, tag_counts, to_csv, to_fiftyone
from workbench.components.context import CLIP_PAGE, all_runs, choose_run, name_of, plain
from workbench.components.gallery import address
from workbench.components.notes import tag_filter

st.title("Notes")
run = choose_run(all_runs())
table = notes_table(run)
if table.empty:
    st.info("No clip of this run has a tag or a note yet. Open a clip, and tag it or write about it there.")
    st.page_link(CLIP_PAGE, label="Open a clip", icon=":material/movie:", query_params={"run": name_of(run)})
    st.stop()

chosen = tag_filter(run)
shown = table[table["clip_id"].isin(clips_with(run, chosen))].reset_index(drop=True)
shown.insert(0, "open", [address(run, clip_id) for clip_id in shown["clip_id"]])
st.caption(f"{len(shown)} of {len(table)} clips with a tag or a note. The first column opens the clip.")
st.dataframe(
    shown, hide_index=True, key="noted",
    column_config={
        "open": st.column_config.LinkColumn("", display_text=":material/open_in_new:", width="small"),
        "note": st.column_config.TextColumn(width="large"),
    },
)  # fmt: skip

counts = tag_counts(run)
if counts:
    st.subheader("Tags")
    st.dataframe({"tag": list(counts), "clips": list(counts.values())}, hide_index=True, key="counts", width=360)

st.subheader("Take them elsewhere")
every = st.toggle("All clips of the run in the JSON", help="Also those that have neither a tag nor a note.")
with st.container(horizontal=True):
    st.download_button("CSV", lambda: to_csv(run), f"{run.name}_notes.csv", "text/csv", help="All clips with notes.")
    st.download_button(
        "FiftyOne JSON", lambda: to_fiftyone(run, not every), f"{run.name}_fiftyone.json", "application/json",
        help="For fiftyone.Dataset.from_json, with labels and predictions.",
    )  # fmt: skip
st.sidebar.caption(f"{len(shown)} of {len(table)} noted clips fit: {plain(run.name)}")
