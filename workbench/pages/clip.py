"""Clip: the video, Grad-CAM over time, the input frames, the scores, and the attention of one clip."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from analysis.attention.clip_profiles import most_confident_first, similar_clips
from analysis.runs.caveats import confidence_is_known, imported_caveat, known_scores
from analysis.runs.correctness import is_misclassified
from analysis.runs.run_directory import Run, clip_of
from analysis.runs.signals import signal_of
from analysis.statistics.accuracy import top_classes
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from sth_core.files import error_sentence
from sth_core.network_names import FILE
from sth_core.video import UnreadableVideo
from sth_core.video.clip_source import ClipSource
from workbench.components import clip_views
from workbench.components.attention_views import show_definition
from workbench.components.cached import cached_alpha, cached_network, cached_overview, cached_result
from workbench.components.cam_views import show_gradcam
from workbench.components.chart import show_chart
from workbench.components.context import CLIP_PAGE, choose_run, escape_markdown, linked_selectbox
from workbench.components.gallery import NO_LABEL, clip_query, show_gallery
from workbench.components.neighbours import show_neighbours_by_features
from workbench.components.notes import show_notes_panel
from workbench.networks import network_of_run
from workbench.roots import why_not_readable

MOST_OPTIONS = 2000  # the browser receives all options of a select box
KEYS_OF_ONE_CLIP = ("class", "against", "frame")  # URL parameters that mean nothing for another clip


def show_clip_page() -> None:
    st.title("Clip")
    run = choose_run()
    table = cached_overview(run)
    row = int(np.flatnonzero(table["clip_id"] == choose_clip(run, table))[0])
    clip = clip_of(run, table.iloc[row])
    predicted = f"predicted: {escape_markdown(clip['prediction'])}"
    verdict = ":green[correct]" if is_right(clip) else f":red[{predicted}]" if is_known(clip) else predicted
    label = escape_markdown(clip["label"] or NO_LABEL)
    confidence = f" · confidence {clip['confidence']:.1%}" if confidence_is_known(run.meta) else ""
    st.markdown(f"## {label} · {verdict}{confidence}")
    if caveat := imported_caveat(run.meta):
        st.caption(caveat)
    if not np.isfinite(clip["confidence"]):
        st.caption("The network's scores of this clip are not finite (NaN or infinity), so they name no class.")
    elif clip["label"] and not is_known(clip):
        st.caption("The network does not know this label, so the prediction is neither correct nor wrong.")
    st.caption(escape_markdown(clip["clip_id"]))
    explainable = is_readable(clip) and np.isfinite(clip["confidence"])
    checkpoint = load_run_checkpoint(run) if explainable else None
    if checkpoint is not None:
        show_explanations(checkpoint, run, clip)
    else:
        show_player(run, clip)
    with st.expander("Tags and notes", icon=":material/edit_note:"):
        show_notes_panel(run, clip["clip_id"])
    show_clip_attention(run, table, row)
    show_neighbours_by_features(run, str(clip["clip_id"]))


def is_known(clip: pd.Series) -> bool:
    """Whether the network knows the clip's label."""
    return bool(pd.notna(clip["correct"]))


def is_right(clip: pd.Series) -> bool:
    return is_known(clip) and bool(clip["correct"])


def choose_clip(run: Run, table: pd.DataFrame) -> str:
    """The clip in the URL, which the select box changes; by default the most confident misclassified clip."""
    every = table["clip_id"]
    wrong = is_misclassified(table)
    misclassified = cached_result("misclassified", [run], lambda: every.iloc[most_confident_first(table, wrong)])
    preferred = misclassified if len(misclassified) else every
    with st.sidebar:
        none = not len(misclassified)
        only_wrong = st.toggle("Misclassified clips only", key="only_wrong", bind="query-params", disabled=none)
        listed = preferred if only_wrong else every
        if len(listed) > MOST_OPTIONS:
            current = st.session_state.get("clip", st.query_params.get("clip"))
            listed = pd.concat([every[every == current], preferred.head(MOST_OPTIONS)])
            st.caption(f"The list has {MOST_OPTIONS} of {len(table)} clips. The Predictions page has all of them.")
        options = listed.drop_duplicates().tolist()
        clip_id = linked_selectbox("Clip", options, "clip", default=preferred.iloc[0], on_change=forget_clip)
        if len(misclassified):
            position = np.flatnonzero(misclassified == clip_id)
            following = misclassified.iloc[(position[0] + 1) % len(misclassified) if len(position) else 0]
            kept = {key: value for key, value in st.query_params.to_dict().items() if key not in KEYS_OF_ONE_CLIP}
            query = kept | clip_query(run, following)
            st.page_link(CLIP_PAGE, label="Next misclassified", icon=":material/skip_next:", query_params=query)
    return clip_id


def forget_clip() -> None:
    for key in KEYS_OF_ONE_CLIP:
        st.query_params.pop(key, None)


def load_run_checkpoint(run: Run) -> Checkpoint | None:
    """The run's network; without it, the page says why there is no Grad-CAM."""
    try:
        name = network_of_run(run)
        if name.kind == FILE and not Path(name.name).is_file():
            raise UserError(f"Grad-CAM needs the run's checkpoint, which no longer exists: {name.name}.")
        return cached_network(name, run)
    except OSError as error:
        st.info(escape_markdown(f"Grad-CAM needs the run's checkpoint, which cannot be read: {error_sentence(error)}."))
    except UserError as error:
        st.info(escape_markdown(str(error)))
    return None


def is_allowed(source: ClipSource) -> bool:
    return not why_not_allowed(source)


def why_not_allowed(source: ClipSource) -> str:
    return why_not_readable(source.path) or (why_not_readable(source.flow) if source.flow else "")


def is_readable(clip: pd.Series) -> bool:
    try:
        source = ClipSource.from_row(clip)
        return is_allowed(source) and len(source.frames()) > 0
    except (OSError, UnreadableVideo):
        return False


def show_explanations(checkpoint: Checkpoint, run: Run, clip: pd.Series) -> None:
    """Grad-CAM, input frames and what if, which need the network."""
    source = ClipSource.from_row(clip)
    explained = clip_views.load_explained_clip(checkpoint, run.meta["checkpoint_sha256"], source)
    roles = {clip["label"]: "true"} if is_right(clip) else {clip["prediction"]: "predicted", clip["label"]: "true"}
    show_gradcam(explained, roles, str(clip["clip_id"]), partial(show_player, run, clip))
    clip_views.show_input_frames(explained, source.backward)
    clip_views.show_what_if(explained)


def show_player(run: Run, clip: pd.Series) -> None:
    """The video in the browser's player, and the highest scores."""
    try:
        source = ClipSource.from_row(clip)
        if not source.segment.whole:
            st.caption(f"The clip is a part of its video: {source.segment}. Frames are numbered as in the whole video.")
        if problem := why_not_allowed(source):
            raise UserError(problem)
        st.video(clip_views.cached_browser_video(source.path, str(source.segment)), loop=True, muted=True)
    except (OSError, UnreadableVideo) as error:
        gone = (
            "The video has been moved, deleted or damaged, or may not be read. The page shows what was recorded of it."
        )
        st.info(f"{gone}  \n{escape_markdown(error_sentence(error))}")
    except UserError as error:
        st.info(escape_markdown(str(error)))
    if "scores" in clip:  # runs of early versions have none
        best = top_classes(list(clip["scores"]), run.meta["classes"]).head(known_scores(run.meta))
        clip_views.show_top_scores(best, clip["label"])


def show_clip_attention(run: Run, table: pd.DataFrame, row: int) -> None:
    """alpha_T, or attention across time, by layer, and the clips with the most similar attention."""
    st.header("Attention by layer")
    figure = clip_views.clip_alpha_figure(run, row)
    if figure is None:
        st.info(clip_views.NO_ATTENTION)
        return
    signal = signal_of(run)
    show_chart(figure, key="clip_alpha", alt=f"{signal.name} by layer of this clip and of its class")
    st.caption(
        f"Band: the class's mean ± 1 standard deviation. **How to read this:** above the band, {signal.name} is higher "
        "in this clip than in most clips of its class."
    )
    show_definition(run)
    if st.toggle("Show clips with similar attention", key="similar", bind="query-params"):
        clip_id = table["clip_id"].iloc[row]
        similar = cached_result("similar_clips", [run], lambda: similar_clips(cached_alpha(run), clip_id), clip_id)
        show_gallery(run, table, similar["row"].to_numpy(), "similar")


show_clip_page()
