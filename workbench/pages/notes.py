"""Notes: the clips of a run that have tags or a note, and what can be made of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from analysis.runs.corrected_manifest import CorrectedManifest, correct_manifest, corrections
from analysis.runs.notes import EXCLUDED, WRONG_LABEL, tag_counts
from analysis.runs.notes_export import noted_clips, to_csv, to_fiftyone
from analysis.runs.run_directory import Run
from sth_core.files import csv_text
from workbench.components.cached import cached_overview, cached_result, state_of
from workbench.components.clip_lists import ClipList
from workbench.components.context import CLIP_PAGE, choose_one, choose_run, errors_shown, escape_markdown, run_id
from workbench.components.gallery import show_gallery, show_linked_clips
from workbench.components.notes import choose_tags, has_tags
from workbench.roots import may_read

VIEWS = ("Table", "Gallery")
COLUMNS = ["clip_id", "label", "prediction", "tags", "right_label", "note", "changed"]


def show_notes_page() -> None:
    st.title("Notes")
    run = choose_run()
    clips = cached_overview(run)
    table = noted_clips(run, clips)
    if table.empty:
        st.info("No clip of this run has a tag or a note yet. Tick clips in a gallery, or open one, to add some.")
        st.page_link(CLIP_PAGE, label="Open a clip", icon=":material/movie:", query_params={"run": run_id(run)})
        st.stop()
    tags = choose_tags(run)
    shown = table[has_tags(table["clip_id"], tags, run)]
    show_note_downloads(run)
    st.header("Clips")
    view = choose_one("View", VIEWS, "view_notes", label_visibility="collapsed")
    how = "" if view == VIEWS[1] else " The first column opens the clip."
    st.caption(f"{len(shown)} of {len(table)} clips with tags or a note.{how}")
    origin = ", ".join(["Notes", *tags])
    if view == VIEWS[1]:
        rows = np.flatnonzero(clips["clip_id"].isin(shown["clip_id"]))
        show_gallery(run, clips, rows, "noted", origin=origin)
    else:
        widths = {"note": st.column_config.TextColumn(width="large")} if shown["note"].any() else {}
        rows = pd.Index(clips["clip_id"]).get_indexer(shown["clip_id"])
        show_linked_clips(run, shown[COLUMNS], widths, ClipList(origin, rows[rows >= 0]), key="noted")
    if counts := tag_counts(run):
        st.header("Tags")
        st.dataframe({"tag": list(counts), "clips": list(counts.values())}, hide_index=True, key="counts", width=360)
    st.sidebar.caption(f"{len(shown)} of {len(table)} clips match: {escape_markdown(run.name)}")


def show_note_downloads(run: Run) -> None:
    """All notes as files, and the manifest that the tags correct."""
    with st.container(horizontal=True, vertical_alignment="center"):
        hint = "All clips with tags or a note, with their label, prediction and path."
        st.download_button("CSV", lambda: to_csv(run), f"{run.name}_notes.csv", "text/csv", help=hint)
        every = st.session_state.get("every_clip", False)
        st.download_button(
            "FiftyOne JSON", lambda: to_fiftyone(run, not every), f"{run.name}_fiftyone.json", "application/json",
            help="Labels, predictions, tags and notes for fiftyone.Dataset.from_json.",
        )  # fmt: skip
        found = None
        with errors_shown():
            found = corrected(run)
        if found:
            st.download_button(
                "Corrected manifest", lambda: csv_text(found.table), "manifest.csv", "text/csv",
                help="The dataset's manifest with the right classes, without excluded clips: put it into its folder.",
            )  # fmt: skip
        st.toggle("JSON with all clips", key="every_clip", help="Also clips that have neither a tag nor a note.")
    if found:
        st.caption("Corrected manifest: " + escape_markdown(" ".join(found.sentences)))
    elif not any(corrections(run)):
        st.caption(f"Tag clips *{WRONG_LABEL}* or *{EXCLUDED}* to get a corrected manifest of their dataset.")


def corrected(run: Run) -> CorrectedManifest | None:
    """The corrected manifest, if there is anything to correct, made anew when notes or the dataset's folder change."""
    said = corrections(run)
    if not any(said):
        return None
    data = Path(run.meta.get("data") or "/nowhere")
    files = [state_of(path) for path in (data, *sorted(data.glob("manifest.*")))] if may_read(data) else []
    parameters = (sorted(said[0].items()), sorted(said[1]), sorted(said[2]), files)
    found: CorrectedManifest = cached_result("manifest", [run], lambda: correct_manifest(run, may_read), *parameters)
    return found


show_notes_page()
