"""Clip: the video, the frames that the network saw, its scores, its attention, and Grad-CAM over time."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from analysis.browsing import neighbours
from analysis.gradcam import DEFINITIONS, JOINT, cam_layers, default_layer
from analysis.overlay import NORMALISATIONS
from analysis.runs import Run
from analysis.statistics import top_classes
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from sth_core.network import FLOW_STACK
from sth_core.video import UnreadableVideo
from workbench.components.clip_views import (
    ALPHAS,
    AS_IT_IS,
    ORDERS,
    alpha_figure,
    browser_video,
    cam_strip,
    explain,
    frames_and_input,
    scores_figure,
    strip,
    what_if,
    what_if_figure,
)
from workbench.components.context import (
    CLIP_PAGE,
    all_runs,
    checksum,
    choose_run,
    clip_of,
    computed,
    network,
    one_of,
    plain,
    table_of,
)
from workbench.components.gallery import gallery, link
from workbench.components.notes import notes_panel

MOST_LISTED = 2000
DEFINITION_NAMES = {"per_step": "weights per time step", "per_clip": "weights per clip"}
BRANCH_NAMES = {"joint": "both", "spatial": "spatial: α_S O_S", "temporal": "temporal: α_T O_T"}


def choose_clip(run: Run, table: pd.DataFrame) -> str:
    """The clip in the URL, which the select box changes; by default the most confident mistake."""
    wrong = list(table[~table["correct"]].sort_values("confidence", ascending=False)["clip_id"])
    ids = list(table["clip_id"])
    with st.sidebar:
        only_wrong = st.toggle("Misclassified clips only", key="only_wrong", bind="query-params", disabled=not wrong)
        listed = wrong if only_wrong and wrong else ids
        here = st.session_state.get("clip", st.query_params.get("clip"))
        if len(listed) > MOST_LISTED:  # the browser gets all options
            listed = [*([here] if here in set(ids) else []), *(wrong or ids)[:MOST_LISTED]]
            st.caption(f"{MOST_LISTED} of {len(ids)} clips are listed; the predictions page finds any.")
        listed = list(dict.fromkeys(listed))
        clip_id = one_of("Clip", listed, "clip", wrong[0] if wrong else ids[0])
        if wrong:
            after = wrong[(wrong.index(clip_id) + 1) % len(wrong)] if clip_id in set(wrong) else wrong[0]
            st.page_link(
                CLIP_PAGE, label="Next misclassified", icon=":material/skip_next:", query_params=link(run, after)
            )
    return clip_id


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


def show_gradcam(checkpoint: Checkpoint, clip: pd.Series, path: Path, classes: list[str]) -> None:
    changed = path.stat().st_mtime_ns
    flow, backward = clip.get("flow"), clip.get("backward", False)  # runs of earlier versions have neither
    frames, pixels, indices = frames_and_input(
        clip["path"], flow if isinstance(flow, str) else "", bool(backward), changed, checkpoint,
        run.meta["checkpoint_sha256"],
    )  # fmt: skip
    st.subheader("What the network saw" + (", from the last frame to the first" if backward else ""))
    strip(frames, [f"frame {i}" for i in indices], "what the network saw")
    if checkpoint.preprocessing.modality == "flow":
        st.caption(f"It saw optical flow, not these pixels: {FLOW_STACK} fields that begin at each of these frames.")

    show_what_if(checkpoint, pixels, classes)
    st.subheader("Grad-CAM over time")
    layers = {layer.name: layer for layer in cam_layers(checkpoint.model, checkpoint.preprocessing.crop)}
    choices = (
        {clip["prediction"]: "predicted", clip["label"]: "true"} if not clip["correct"] else {clip["label"]: "true"}
    )
    known = [name for name in [*choices, *(c for c in classes if c not in choices)] if name in classes]
    named = {name: f"{name} ({choices[name]})" if name in choices else name for name in known}
    a, b, c, d = st.columns(4)
    target = a.selectbox("Class", known, format_func=named.__getitem__)
    others = [name for name in known if name != target]
    against = b.selectbox(
        "Against", others, index=None, placeholder="no other class", format_func=named.__getitem__,
        help="Explain how far the class's score is above this one's: what tells the two apart.",
    )  # fmt: skip
    layer = c.selectbox(
        "Layer", layers, index=list(layers).index(default_layer(list(layers.values()))),
        format_func=lambda name: layers[name].title,
    )  # fmt: skip
    branches = layers[layer].branches
    branch = d.selectbox(
        "Branch", branches, format_func=BRANCH_NAMES.__getitem__, disabled=len(branches) == 1,
        help="The layers called conv are STH convolutions: what does each of their two parts look at?",
    )  # fmt: skip
    a, b, c, d = st.columns(4)
    definition = a.selectbox("Definition", DEFINITIONS, format_func=DEFINITION_NAMES.__getitem__)
    per = b.selectbox("One scale for", NORMALISATIONS, format_func=lambda name: f"the {name}")
    signed = c.toggle("Also what speaks against it", help="Orange speaks for the class, blue against it.")
    opacity = d.slider("Opacity", 0.0, 1.0, 0.75)
    other = None if against is None else classes.index(against)
    cam = explain(checkpoint, pixels, classes.index(target), layer, definition, branch, other)
    what = plain(target) if against is None else f"{plain(target)} rather than {plain(against)}"
    if cam.maps.max() <= 0:
        st.info(f"No part of {layer} speaks for {what} in this clip: the map has no positive value.")
    cam_strip(frames, cam, indices, opacity, signed, per)
    part = "" if branch == JOINT else f", {branch} branch"
    st.caption(
        f"What speaks for **{what}** at {layer}{part}, Grad-CAM with {DEFINITION_NAMES[definition]}, one scale for the "
        f"{per}{'' if signed else ', negative values dropped'}. Under each frame: its number and its share of the "
        f"clip's CAM.  \n**How to read this:** bright is where and when the layer's features raise this class's score."
    )


def show_what_if(checkpoint: Checkpoint, pixels: np.ndarray, classes: list[str]) -> None:
    st.subheader("What if")
    left, right = st.columns([2, 3])
    with left:
        order = st.segmented_control("Frames", ORDERS, default=AS_IT_IS, key="order", bind="query-params") or AS_IT_IS
        known = ALPHAS if checkpoint.model.attention_layers else ALPHAS[:1]
        alpha = st.segmented_control("α everywhere", known, default=AS_IT_IS, key="alpha", bind="query-params")
        st.caption(
            "**How to read this:** if nothing moves when the frames are reversed or shuffled, the network does not use "
            "their order in this clip; if nothing moves when α is replaced, it does not need its attention here."
        )
    before, to = what_if(checkpoint, pixels, AS_IT_IS, AS_IT_IS), (order, alpha or AS_IT_IS)
    after = before if to == (AS_IT_IS, AS_IT_IS) else what_if(checkpoint, pixels, *to)
    with right:
        figure = what_if_figure(before, after, classes)
        st.plotly_chart(figure, key="what_if", alt="Scores as recorded, and as they would be")


st.title("Clip")
run = choose_run(all_runs())
clip = clip_of(run, choose_clip(run, table_of(run)))
path, classes = Path(clip["path"]), run.meta["classes"]

verdict = ":green[correct]" if clip["correct"] else f":red[said: {plain(clip['prediction'])}]"
st.markdown(f"#### {plain(clip['label'])} · {verdict} · confidence {clip['confidence']:.1%}")
st.caption(plain(clip["clip_id"]))
video, scores = st.columns([2, 3])
try:
    video.video(browser_video(str(path), path.stat().st_mtime_ns), loop=True, muted=True)
    readable = True
except (OSError, UnreadableVideo):
    readable = False
    video.info("The video is no longer at this place or cannot be read; what was recorded of it is still here.")
with scores:
    st.markdown("**Top 5**")
    top = top_classes(list(clip["scores"]), classes)
    st.plotly_chart(scores_figure(top, clip["label"]), key="top5", alt="The five highest scores")

with st.expander("Tags and notes", icon=":material/edit_note:"):
    notes_panel(run, clip["clip_id"])

if readable:
    checkpoint = load_network(run)
    if checkpoint is not None:
        show_gradcam(checkpoint, clip, path, classes)

st.subheader("Attention by layer")
figure = alpha_figure(run, clip["clip_id"], clip["label"])
if figure is None:
    st.info("This network has no attention (conv = '2d', or attention = false).")
else:
    st.plotly_chart(figure, key="alpha_by_layer", alt="alpha_T of this clip by layer against its class")
    st.caption(
        "**How to read this:** above the band, the network weighs time more in this clip than in others of its class."
    )
    if st.toggle("Clips of the most similar attention", key="similar", bind="query-params"):
        near = computed("neighbours", [run], lambda: neighbours(run, clip["clip_id"]), clip["clip_id"])
        gallery(run, near.merge(table_of(run), on="clip_id"), "similar")
