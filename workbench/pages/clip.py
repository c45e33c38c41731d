"""Clip: the video, the frames that the network saw, its scores, its attention, and Grad-CAM over time."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from analysis.attention.clip_profiles import most_confident_first, similar_clips
from analysis.runs.run_directory import Run, clip_of
from analysis.statistics.accuracy import top_classes
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from sth_core.video import UnreadableVideo, count_frames
from workbench.components.cam_views import show_gradcam
from workbench.components.chart import chart
from workbench.components.clip_views import (
    alpha_figure,
    browser_video,
    show_seen,
    show_top,
    show_what_if,
    subject_of,
)
from workbench.components.context import (
    CLIP_PAGE,
    all_runs,
    alpha_of,
    checksum,
    choose_run,
    computed,
    network,
    one_of,
    plain,
    table_of,
)
from workbench.components.gallery import gallery, link
from workbench.components.notes import notes_panel

MOST_LISTED = 2000
OF_ONE_CLIP = ("class", "against", "frame")  # what a link says of one clip, and means nothing for another


def choose_clip(run: Run, table: pd.DataFrame) -> str:
    """The clip in the URL, which the select box changes; by default the most confident mistake."""
    wrong: pd.Series = computed(
        "most confident mistakes", [run], lambda: table["clip_id"].iloc[most_confident_first(table, ~table["correct"])]
    )
    best = wrong if len(wrong) else table["clip_id"]
    with st.sidebar:
        only_wrong = st.toggle(
            "Misclassified clips only", key="only_wrong", bind="query-params", disabled=not len(wrong)
        )
        listed = wrong if only_wrong and len(wrong) else table["clip_id"]
        here = st.session_state.get("clip", st.query_params.get("clip"))
        if len(listed) > MOST_LISTED:  # the browser gets all options
            listed = pd.concat([table["clip_id"][table["clip_id"] == here], best.head(MOST_LISTED)])
            st.caption(f"{MOST_LISTED} of {len(table)} clips are listed; the predictions page finds any.")
        clip_id = one_of("Clip", listed.drop_duplicates().tolist(), "clip", best.iloc[0], on_change=forget)
        if len(wrong):
            place = np.flatnonzero(wrong == clip_id)
            after = wrong.iloc[(place[0] + 1) % len(wrong) if len(place) else 0]
            st.page_link(
                CLIP_PAGE,
                label="Next misclassified",
                icon=":material/skip_next:",
                query_params={k: v for k, v in st.query_params.to_dict().items() if k not in OF_ONE_CLIP}
                | link(run, after),
            )
    return clip_id


def forget() -> None:
    for key in OF_ONE_CLIP:
        st.query_params.pop(key, None)


def load_network(run: Run) -> Checkpoint | None:
    """The run's checkpoint, or a sentence why there is none."""
    path = Path(run.meta["checkpoint"])
    if not path.is_file():
        st.info(f"The run's checkpoint is gone ({plain(str(path))}), so Grad-CAM cannot be computed.")
        return None
    if checksum(str(path), path.stat().st_mtime_ns) != run.meta["checkpoint_sha256"]:
        st.info(
            f"{plain(str(path))} is no longer the checkpoint of this run, so Grad-CAM would explain another network."
        )
        return None
    try:
        return network(str(path), run.meta["checkpoint_sha256"])
    except UserError as error:
        st.info(plain(str(error)))
        return None


def readable(path: Path) -> bool:
    try:
        return count_frames(path) > 0
    except UnreadableVideo:
        return False


def show_network(checkpoint: Checkpoint, run: Run, clip: pd.Series, path: Path) -> None:
    """All that is computed anew with the network that the run is of."""
    flow, backward = clip.get("flow"), bool(clip.get("backward", False))  # runs of earlier versions have neither
    subject = subject_of(
        checkpoint, run.meta["checkpoint_sha256"], path, flow if isinstance(flow, str) else "", backward
    )
    asked = {clip["label"]: "true"} if clip["correct"] else {clip["prediction"]: "predicted", clip["label"]: "true"}
    show_gradcam(subject, asked, str(clip["clip_id"]), show_player)
    show_seen(subject, backward)
    show_what_if(subject)


st.title("Clip")
run = choose_run(all_runs())
table = table_of(run)
row = int(np.flatnonzero(table["clip_id"] == choose_clip(run, table))[0])
clip = clip_of(run, table.iloc[row])
path, classes = Path(clip["path"]), run.meta["classes"]

verdict = ":green[correct]" if clip["correct"] else f":red[said: {plain(clip['prediction'])}]"
st.markdown(f"#### {plain(clip['label'])} · {verdict} · confidence {clip['confidence']:.1%}")
st.caption(plain(clip["clip_id"]))


def show_player() -> None:
    """The video as the browser plays it, and the scores."""
    try:
        st.video(browser_video(str(path), path.stat().st_mtime_ns), loop=True, muted=True)
    except (OSError, UnreadableVideo):
        st.info("The video is no longer at this place or cannot be read; what was recorded of it is still here.")
    st.markdown("**Top 5**, softmax score")
    top = top_classes(list(clip["scores"]), classes)
    show_top(top, clip["label"])


checkpoint = load_network(run) if readable(path) else None
if checkpoint is not None:
    show_network(checkpoint, run, clip, path)
else:
    show_player()
with st.expander("Tags and notes", icon=":material/edit_note:"):
    notes_panel(run, clip["clip_id"])

st.subheader("Attention by layer")
figure = alpha_figure(run, row)
if figure is None:
    st.info("This network has no attention (conv = '2d', or attention = false).")
else:
    chart(figure, key="alpha_by_layer", alt="alpha_T of this clip by layer against its class")
    st.caption(
        "**How to read this:** above the band, the network weighs time more in this clip than in others of its class."
    )
    if st.toggle("Clips of the most similar attention", key="similar", bind="query-params"):
        near = computed("neighbours", [run], lambda: similar_clips(alpha_of(run), clip["clip_id"]), clip["clip_id"])
        gallery(run, table, near["row"].to_numpy(), "similar")
