"""Clip: the video, the frames that the network saw, its scores, its attention, and Grad-CAM over time."""

from pathlib import Path

import pandas as pd
import streamlit as st

from analysis.gradcam import DEFINITIONS, JOINT, cam_layers, default_layer
from analysis.overlay import NORMALISATIONS
from analysis.runs import Run
from analysis.statistics import top_classes
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from sth_core.files import sha256
from sth_core.network import FLOW_STACK
from sth_core.video import UnreadableVideo
from workbench.components.clip_views import (
    alpha_figure,
    browser_video,
    cam_strip,
    explain,
    frames_and_input,
    scores_figure,
    strip,
)
from workbench.components.context import CLIP_PAGE, all_runs, choose_run, network, plain, table_of
from workbench.components.gallery import link

DEFINITION_NAMES = {"per_step": "weights per time step", "per_clip": "weights per clip"}
BRANCH_NAMES = {"joint": "both", "spatial": "spatial: α_S O_S", "temporal": "temporal: α_T O_T"}


def choose_clip(run: Run, table: pd.DataFrame) -> pd.Series:
    """The clip in the URL, which the select box changes; by default the most confident mistake."""
    wrong = table[~table["correct"]].sort_values("confidence", ascending=False)
    ids = list(table["clip_id"])
    wanted = st.query_params.get("clip")
    if wanted is not None and wanted not in ids:
        st.warning(f"This run has no clip {plain(wanted)}. Showing another.")
        del st.query_params["clip"]
    first = ids.index(wrong["clip_id"].iloc[0]) if len(wrong) else 0
    with st.sidebar:
        only_wrong = st.toggle("Misclassified clips only", value=False, disabled=wrong.empty)
        options = list(wrong["clip_id"]) if only_wrong and len(wrong) else ids
        current = st.session_state.get("clip", wanted)
        if current not in options and "clip" in st.session_state:
            del st.session_state["clip"]
        clip_id = st.selectbox("Clip", options, index=0 if only_wrong else first, key="clip", bind="query-params")
        mistakes = list(wrong["clip_id"])
        if mistakes:
            after = mistakes[(mistakes.index(clip_id) + 1) % len(mistakes)] if clip_id in mistakes else mistakes[0]
            st.page_link(
                CLIP_PAGE, label="Next misclassified", icon=":material/skip_next:", query_params=link(run, after)
            )
    return table[table["clip_id"] == clip_id].iloc[0]


def load_network(run: Run) -> Checkpoint | None:
    """The run's checkpoint, or a sentence why there is none."""
    path = Path(run.meta["checkpoint"])
    if not path.is_file():
        st.info(f"The run's checkpoint is gone ({plain(str(path))}), so Grad-CAM cannot be computed.")
        return None
    if sha256(path) != run.meta["checkpoint_sha256"]:
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


st.title("Clip")
run = choose_run(all_runs())
table = table_of(run)
clip = choose_clip(run, table)
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

if readable:
    checkpoint = load_network(run)
    if checkpoint is not None:
        show_gradcam(checkpoint, clip, path, classes)

st.subheader("Attention by layer")
figure = alpha_figure(run, clip["clip_id"], clip["label"])
if figure is None:
    st.info("This network has no attention (conv = '2d', or attention = false).")
else:
    st.plotly_chart(figure, key="alpha", alt="alpha_T of this clip by layer against its class")
    st.caption(
        "**How to read this:** above the band, the network weighs time more in this clip than in others of its class."
    )
