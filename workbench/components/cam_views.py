"""The clip page's Grad-CAM: what is explained (all of it in the URL), frame by frame and as a strip."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import streamlit as st

from analysis.explain.cam_video import CamOptions, frame_rate
from analysis.explain.faithfulness import occlusion_drop
from analysis.explain.gradcam import DEFINITIONS, JOINT, Cam, cam_layers, default_layer, gradcam
from analysis.explain.overlay import NORMALISATIONS, overlay
from sth_core.checkpoint import Checkpoint
from workbench.components.clip_views import Subject, strip
from workbench.components.context import one_of, plain
from workbench.components.scrubber import CAM_COLOUR, DROP_COLOUR, Curve, scrubber

DEFINITION_NAMES = {"per_step": "weights per time step", "per_clip": "weights per clip"}
BRANCH_NAMES = {"joint": "both", "spatial": "spatial: α_S O_S", "temporal": "temporal: α_T O_T"}
NOBODY = ""  # no class to tell the explained one from


def sentence(how: CamOptions) -> str:
    what = f"**{plain(how.target or '')}**" + (f" rather than **{plain(how.against)}**" if how.against else "")
    branch = "" if how.branch == JOINT else f", {how.branch} branch"
    return (
        f"What speaks for {what} at {how.layer}{branch}, Grad-CAM with {DEFINITION_NAMES[how.definition]}, one scale "
        f"for the {how.scale}{'' if how.signed else ', negative values dropped'}."
    )


def choose(checkpoint: Checkpoint, asked: dict[str, str], of: str) -> CamOptions:
    """Two rows of choices; by default the first of the classes asked for, at the deepest layer of enough cells.

    `asked` says of some classes what they are ("predicted", "true"), `of` of which clip the classes are chosen.
    """
    layers = {layer.name: layer for layer in cam_layers(checkpoint.model, checkpoint.preprocessing.crop)}
    known = [name for name in dict.fromkeys([*asked, *checkpoint.classes]) if name in checkpoint.classes]
    named = {name: f"{name} ({asked[name]})" if name in asked else name for name in known}
    named[NOBODY] = "no other class"
    a, b, c, d = st.columns(4)
    with a:
        target = one_of("Class", known, "class", of=of, always=False, format_func=named.__getitem__)
    with b:
        against = one_of(
            "Against", [NOBODY, *(name for name in known if name != target)], "against", of=of,
            always=False, format_func=named.__getitem__,
            help="Explain how far the class's score is above this one's: what tells the two apart.",
        )  # fmt: skip
    with c:
        layer = one_of(
            "Layer",
            [*layers],
            "layer",
            default_layer([*layers.values()]),
            always=False,
            format_func=lambda name: layers[name].title,
        )
    branches = layers[layer].branches
    with d:
        branch = one_of(
            "Branch", [*branches], "branch", always=False, format_func=BRANCH_NAMES.__getitem__,
            disabled=len(branches) == 1,
            help="The layers called conv are STH convolutions: what does each of their two parts look at?",
        )  # fmt: skip
    a, b, c, d = st.columns(4)
    with a:
        definition = one_of(
            "Definition", [*DEFINITIONS], "definition", always=False, format_func=DEFINITION_NAMES.__getitem__
        )
    with b:
        scale = one_of(
            "One scale for", [*NORMALISATIONS], "scale", always=False, format_func=lambda name: f"the {name}"
        )
    signed = c.toggle(
        "Also against it", key="signed", bind="query-params",
        help="Also what speaks against the class, in blue; what speaks for it is then orange.",
    )  # fmt: skip
    opacity = d.slider("Opacity", 0.0, 1.0, 0.75, key="opacity", bind="query-params")
    return CamOptions(layer, target, against or None, branch, definition, scale, signed, opacity)


@st.cache_data(show_spinner="Explaining", max_entries=256)
def explained(
    key: tuple[object, ...], target: int, layer: str, definition: str, branch: str, against: int | None,
    _subject: Subject,
) -> Cam:  # fmt: skip
    return gradcam(_subject.checkpoint.model, _subject.normalised, target, layer, definition, branch, against)


@st.cache_data(show_spinner="Occluding one frame after the other", max_entries=256)
def occluded(key: tuple[object, ...], target: int, _subject: Subject) -> np.ndarray:
    return occlusion_drop(_subject.checkpoint.model, _subject.normalised, target)


def show_gradcam(
    subject: Subject, asked: dict[str, str], of: str, beside: Callable[[], None] = lambda: None
) -> None:  # fmt: skip
    """The choices, the clip frame by frame if its video is kept, with something `beside` it, and a strip."""
    st.subheader("Grad-CAM over time")
    how, classes = choose(subject.checkpoint, asked, of), subject.checkpoint.classes
    assert how.target is not None  # it is one of the select box's
    target, against = classes.index(how.target), classes.index(how.against) if how.against else None
    cam = explained(subject.key, target, how.layer, how.definition, how.branch, against, subject)
    if cam.maps.max() <= 0:
        st.info(f"No part of {how.layer} speaks for {plain(how.target)} in this clip: the map has no positive value.")
    if subject.path is not None:
        left, right = st.columns([3, 2])
        with left:
            frame_by_frame(subject, subject.path, cam, how)
        with right:
            beside()
    cam_strip(subject.frames, cam, subject.indices, how.opacity, how.signed, how.scale)
    st.caption(
        f"{sentence(how)} Under each frame: its number and its share of the clip's CAM.  \n"
        "**How to read this:** bright is where and when the layer's features raise this class's score."
    )


@st.fragment
def frame_by_frame(subject: Subject, path: Path, cam: Cam, how: CamOptions) -> None:
    """The scrubber; a step in it draws nothing else of the page anew."""
    picture = st.container()  # above its switch
    drop = st.toggle(
        "What each frame is worth", key="occlusion", bind="query-params",
        help=f"How far the class's score falls when a frame is replaced by its neighbour: {len(cam.maps) + 1} forward "
        "passes.",
    )  # fmt: skip
    curves = [Curve("CAM", cam.per_frame, "share", CAM_COLOUR)]
    if drop:
        values = occluded(subject.key, cam.target, subject)
        curves.append(Curve("score falls by", values, "points", DROP_COLOUR, (5, 4)))
    with picture:
        scrubber(
            path, cam, subject.indices, subject.checkpoint.preprocessing, curves, frame_rate(path),
            opacity=how.opacity, signed=how.signed, scale=how.scale,
        )  # fmt: skip
    lines = ":orange[━] the frame's share of the clip's CAM"
    if drop:
        lines += ", :blue[┅] how far the score of the class falls without the frame (n = 1 clip; each line is as high "
        lines += "as its largest value)"
    st.caption(
        f"{lines}; ticks: the {len(set(subject.indices.tolist()))} frames that the network saw. A frame between two of "
        "them has what lies between their maps.  \n**How to read this:** → and ← move by a frame, with Shift by ten, "
        "Page Up and Down to the next frame seen, Space plays. Where the two lines disagree, the CAM points at a frame "
        "that the network can do without."
    )


def cam_strip(frames: np.ndarray, cam: Cam, indices: np.ndarray, opacity: float, signed: bool, per: str) -> None:
    captions = [f"frame {i} · {share:.0%}" for i, share in zip(indices, cam.per_frame, strict=True)]
    strip(overlay(frames, cam.signed if signed else cam.maps, opacity, per), captions, "Grad-CAM")
