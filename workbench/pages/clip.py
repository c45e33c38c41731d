"""Clip: the video, Grad-CAM over time, the input frames, the scores, and the attention of one clip."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from analysis.attention.clip_profiles import most_confident_first, similar_clips
from analysis.runs.caveats import imported_caveat
from analysis.runs.correctness import is_misclassified
from analysis.runs.run_directory import Run, all_of, clip_of
from analysis.runs.signals import signal_of
from sth_core.errors import UserError
from sth_core.files import error_sentence
from sth_core.video import UnreadableVideo
from sth_core.video.clip_source import ClipSource
from workbench.components import clip_views
from workbench.components.attention_views import show_definition
from workbench.components.cached import cached_alpha, cached_has_clip, cached_overview, cached_result
from workbench.components.cam_views import show_gradcam
from workbench.components.channel_views import show_attention_by_channel
from workbench.components.chart import show_chart
from workbench.components.clip_head import OF_ONE_CLIP, list_of, show_clip_title, show_steps
from workbench.components.context import choose_run, escape_markdown, linked_selectbox, say_samples
from workbench.components.explained_clips import explained_clip, roles_of, show_recorded_scores, why_not_allowed
from workbench.components.gallery import show_gallery
from workbench.components.neighbours import show_neighbours_by_features
from workbench.components.pair_views import Side, choose_other_run, show_pair

MOST_OPTIONS = 2000  # the browser receives all options of a select box
# All that one needs lies above the fold, also of a low screen (tests/test_clip_page.py).
STYLE = """<style>
.st-key-clip_title :is(h1, h2) { padding: 0; line-height: 1.25 }
.st-key-clip_title h1 { font-size: 1.5rem }
.st-key-clip_title h2 { font-size: 1.25rem; font-weight: 600 }
.st-key-clip_top [data-testid="stPageLink-NavLink"] { padding: 0.25rem 0.6rem; border: 1px solid #8886 }
.st-key-clip_steps { flex-wrap: wrap; row-gap: 0.5rem }
.st-key-clip_steps :is(.st-key-clip_marks, :has(.st-key-clip_marks)) {
  flex: 0 0 auto; width: max-content; flex-wrap: nowrap;
}
.st-key-clip_steps button { padding-inline: 0.6rem }
.stMainBlockContainer h3 { padding: 0.25rem 0; font-size: 1.05rem }
.st-key-clip_player video { max-height: calc(100vh - 20rem) }
</style>"""


def show_clip_page() -> None:
    st.html(STYLE)
    top = st.container(key="clip_top", gap="xsmall")
    with top:
        run = choose_run(sample=True)
    table = cached_overview(run)
    linked = st.query_params.get("clip")
    if run.every > 1 and linked and not (table["clip_id"] == linked).any() and cached_has_clip(run, linked):
        st.info("The linked clip is not in the sample of this run, so all clips were read.")
        run = all_of(run)
        table = cached_overview(run)
    say_samples({run.name: run})
    wrong = is_misclassified(table)
    misclassified = cached_result("misclassified", [run], lambda: most_confident_first(table, wrong))
    row = int(np.flatnonzero(table["clip_id"] == choose_clip(table, misclassified))[0])
    clip = clip_of(run, table.iloc[row])
    with top:
        show_clip_title(run, clip)
        show_steps(run, table, row, list_of(run, table, row, misclassified))
        show_remarks(run, clip)
    other = choose_other_run(run, str(clip["clip_id"]))
    if other is not None:
        show_pair(other, Side(run, row))
        return
    explained = explained_clip(run, clip)
    if explained is not None:
        show_explanations(run, clip, explained)
    else:
        left, right = st.columns([3, 2])
        with left:
            show_player(clip)
        with right:
            show_recorded_scores(run, clip)
    show_clip_attention(run, table, row)
    show_neighbours_by_features(run, str(clip["clip_id"]))


def show_remarks(run: Run, clip: pd.Series) -> None:
    """What to know before one believes the label, the prediction and the confidence."""
    if isinstance(segment := clip.get("segment"), str) and segment:
        part = escape_markdown(segment)
        st.caption(f"The clip is a part of its video: {part}. Frames are numbered as in the whole video.")
    if caveat := imported_caveat(run.meta):
        st.caption(caveat)
    if not np.isfinite(clip["confidence"]):
        st.caption("The network's scores of this clip are not finite (NaN or infinity), so they name no class.")
    elif clip["label"] and pd.isna(clip["correct"]):
        st.caption("The network does not know this label, so the prediction is neither correct nor wrong.")


def choose_clip(table: pd.DataFrame, misclassified: NDArray[np.intp]) -> str:
    """The clip in the URL, which the select box changes; by default the most confident misclassified clip."""
    every = table["clip_id"]
    preferred = every.iloc[misclassified] if len(misclassified) else every
    with st.sidebar:
        none = not len(misclassified)
        only_wrong = st.toggle("Misclassified clips only", key="only_wrong", bind="query-params", disabled=none)
        listed = preferred if only_wrong else every
        if len(listed) > MOST_OPTIONS:
            what = "misclassified clips" if only_wrong else "clips" if none else "clips, misclassified ones first"
            st.caption(
                f"The list has {MOST_OPTIONS:,} of {len(listed):,} {what}. The Predictions page has all of them."
            )
            some = [part.head(MOST_OPTIONS) for part in (preferred, listed)]
            listed = pd.concat(some).drop_duplicates().head(MOST_OPTIONS)
        shown = {st.session_state.get("clip"), st.query_params.get("clip")}  # the last one, and that of a link
        options = pd.concat([every[every.isin(shown) & ~every.isin(listed)], listed]).tolist()
        return linked_selectbox("Clip", options, "clip", default=preferred.iloc[0], on_change=forget_clip)


def forget_clip() -> None:
    for key in OF_ONE_CLIP:
        st.query_params.pop(key, None)


def show_explanations(run: Run, clip: pd.Series, explained: clip_views.ExplainedClip) -> None:
    """Grad-CAM, input frames and what if, which need the network."""
    beside = partial(show_scores_and_what_if, run, clip)
    seen = show_gradcam(explained, roles_of(clip), str(clip["clip_id"]), beside)
    clip_views.show_input_frames(seen, clip.get("backward") in (True,))
    with st.expander("The video in the browser's player", key="player", bind="query-params") as player:
        if player.open:
            show_player(clip)


def show_scores_and_what_if(run: Run, clip: pd.Series, explained: clip_views.ExplainedClip) -> clip_views.ExplainedClip:
    show_recorded_scores(run, clip)
    return clip_views.choose_what_if(explained)


def show_player(clip: pd.Series) -> None:
    """The video in the browser's player."""
    try:
        source = ClipSource.from_row(clip)
        if problem := why_not_allowed(source):
            raise UserError(problem)
        with st.container(key="clip_player"):
            st.video(clip_views.cached_browser_video(source.path, str(source.segment)), loop=True, muted=True)
    except (OSError, UnreadableVideo) as error:
        gone = (
            "The video has been moved, deleted or damaged, or may not be read. The page shows what was recorded of it."
        )
        st.info(f"{gone}  \n{escape_markdown(error_sentence(error))}")
    except UserError as error:
        st.info(escape_markdown(str(error)))


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
    show_attention_by_channel(run, str(table["clip_id"].iloc[row]))
    if st.toggle("Show clips with similar attention", key="similar", bind="query-params"):
        clip_id = table["clip_id"].iloc[row]
        similar = cached_result("similar_clips", [run], lambda: similar_clips(cached_alpha(run), clip_id), clip_id)
        origin = f"clips with attention like that of {clip_id}"
        show_gallery(run, table, similar["row"].to_numpy(), "similar", origin=origin)


show_clip_page()
