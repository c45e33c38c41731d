"""Maps over time of one clip: options (all in the URL), the clip frame by frame, and the input frames in a row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from analysis.explain.faithfulness import occlusion_drop
from analysis.explain.gradcam import DEFINITIONS, JOINT, Cam, cam_layers, default_layer
from analysis.explain.methods import GRADCAM, INPUT, METHODS, Question, explain_clip
from analysis.explain.overlay import FLOW_COLOURS, overlay
from analysis.explain.video_explanation import CamOptions
from sth_core.checkpoint import Checkpoint
from workbench.components.clip_views import AS_IT_IS, ExplainedClip, choose_what_if, show_frame_strip
from workbench.components.context import errors_shown, escape_markdown, linked_selectbox
from workbench.components.scrubber import CAM_COLOUR, DROP_COLOUR, Curve, View, show_scrubber

DEFINITION_NAMES = {"per_step": "weights per step", "per_clip": "weights per clip"}
SCALE_NAMES = {"clip": "one for the clip", "frame": "one for each frame"}
BRANCH_NAMES = {"joint": "joint", "spatial": "spatial: α_S O_S", "temporal": "temporal: α_T O_T"}
NO_CLASS = ""
OPENED = "explain"  # the URL's parameter while the controls are shown
FOLDED = """<style>
.st-key-explanation_controls { display: none }
.st-key-explanation button, .st-key-explanation button * { justify-content: flex-start; text-align: left }
</style>"""
READING = "bright areas show where and when the layer's features raise the score of the class."
SLOW_MAPS, MOST_SLOW_MAPS = "slow maps", 16  # where a session keeps them, and how many


def choose_named(label: str, names: dict[str, str], key: str, **more: Any) -> str:
    """One of the keys of `names`, which the select box shows by its name; the default is not in the URL."""
    return linked_selectbox(label, [*names], key, default_in_url=False, format_func=names.__getitem__, **more)


def choose_folded(checkpoint: Checkpoint, roles: dict[str, str], clip_id: str) -> CamOptions:
    """One line that states what is explained and how; a click on it shows its controls (`choose_cam_options`)."""
    # An expander would not do: its line is drawn before its controls, which say what the line states.
    line, controls = st.container(), st.container(key="explanation_controls")
    with controls:
        options = choose_cam_options(checkpoint, roles, clip_id)
    shown = OPENED in st.query_params
    icon = ":material/expand_less:" if shown else ":material/expand_more:"
    stated = stated_options(options, roles)
    line.button(stated, key="explanation", icon=icon, width="stretch", on_click=open_or_close, args=(not shown,))
    st.html(FOLDED if not shown else FOLDED.replace("none", "flex"))
    return options


def open_or_close(opened: bool) -> None:
    if opened:
        st.query_params[OPENED] = "true"
    else:
        st.query_params.pop(OPENED, None)


def stated_options(options: CamOptions, roles: dict[str, str]) -> str:
    """What is explained and how, as Markdown in one line."""
    method, target = METHODS[options.method], options.target or ""
    role = f" ({roles[target]})" if target in roles else ""
    parts = [f"**{method.title}** of **{escape_markdown(target)}**{role}"]
    if options.against:
        parts[0] += f" against **{escape_markdown(options.against)}**"
    if method.layered:
        parts.append(escape_markdown(options.layer))
    if options.branch != JOINT:
        parts.append(BRANCH_NAMES[options.branch])
    if options.method == GRADCAM:
        parts.append(DEFINITION_NAMES[options.definition])
    parts.append(f"colour scale: {SCALE_NAMES[options.scale]}")
    parts.append("negative values too" if options.signed else "positive values")
    return " · ".join(parts)


def choose_cam_options(checkpoint: Checkpoint, roles: dict[str, str], clip_id: str) -> CamOptions:
    """Two rows of controls. `roles` marks some classes as "predicted" or "true"; its first class is the default."""
    methods = {name: method.title for name, method in METHODS.items() if method.serves(checkpoint.model)}
    layers = cam_layers(checkpoint.model, checkpoint.preprocessing.crop)
    known = [name for name in dict.fromkeys([*roles, *checkpoint.classes]) if name in checkpoint.classes]
    classes = {name: f"{name} ({roles[name]})" if name in roles else name for name in known}
    a, b, c, d = st.columns(4)
    target = choose_named("Class", classes, "class", place=a, scope=clip_id)
    others = {NO_CLASS: "no other class"} | {name: title for name, title in classes.items() if name != target}
    hint = "Explain the difference between the scores of the two classes: what separates them."
    against = choose_named("Against", others, "against", place=b, scope=clip_id, help=hint)
    hint = "What each measures, and which to believe: `sth trust --methods all` tests them."
    method = METHODS[choose_named("Method", methods, "method", place=c, help=hint)]
    titles = {layer.name: layer.title for layer in layers}
    layer = choose_named("Layer", titles, "layer", place=d, default=default_layer(layers), disabled=not method.layered)
    branches = {name: BRANCH_NAMES[name] for one in layers if one.name == layer for name in one.branches}
    hint = "Layers named conv are STH convolutions. Each has a spatial and a temporal branch."
    a, b, c, d, e = st.columns([4, 5, 5, 7, 5], vertical_alignment="bottom")
    fixed = len(branches) == 1 or not method.layered
    branch = choose_named("Branch", branches, "branch", place=a, disabled=fixed, help=hint)
    hint = "The gradients of a channel are averaged over the pixels of each time step, or of the whole clip."
    fixed = method.name != GRADCAM
    definition = choose_named("Definition", DEFINITION_NAMES, "definition", place=b, disabled=fixed, help=hint)
    scale = choose_named("Colour scale", SCALE_NAMES, "scale", place=c)
    hint = "Orange raises the score of the class, blue lowers it."
    signed = d.toggle("Show negative values", key="signed", bind="query-params", help=hint)
    opacity = e.slider("Opacity", 0.0, 1.0, 0.75, key="opacity", bind="query-params")
    if not method.layered:
        layer, branch, definition = INPUT, JOINT, DEFINITIONS[0]
    shown: Any = {"scale": scale, "signed": signed, "opacity": opacity, "method": method.name}
    return CamOptions(layer, target, against or None, branch, definition, **shown)


@st.cache_data(show_spinner="Computing the map", max_entries=256)
def _cached_map(key: tuple[object, ...], method: str, asked: Question, _clip: ExplainedClip) -> Cam:
    return explain_clip(method, _clip.network, _clip.normalised, asked)


def map_of_clip(clip: ExplainedClip, method: str, asked: Question, of: str = "") -> Cam | None:
    """The map; of a method of many passes only once its button was pressed, until then None. Any other widget of the
    page cancels it. `of` says in the button of whom the map is."""
    T, _, H, W = clip.normalised.shape
    if not METHODS[method].is_slow(T, H, W):
        return _cached_map(clip.key, method, asked, clip)
    kept: dict[object, Cam] = st.session_state.setdefault(SLOW_MAPS, {})
    if (name := (clip.key, method, asked)) not in kept:
        title, passes = METHODS[method].title, sum(METHODS[method].passes(T, H, W))
        if not st.button(f"Compute {title}{of}", key=f"compute{of}", help="Any other control of the page cancels it."):
            st.info(f"{title} needs {passes} passes through the network.")
            return None
        bar = st.progress(0.0, f"{title}: {passes} passes")

        def report(done: int, total: int) -> None:
            bar.progress(done / total, f"{title}: {done} of {total} passes")

        kept[name] = explain_clip(method, clip.network, clip.normalised, asked, report)
        bar.empty()
        while len(kept) > MOST_SLOW_MAPS:
            del kept[next(iter(kept))]
    return kept[name]


@st.cache_data(show_spinner="Occluding one frame at a time", max_entries=256)
def _cached_occlusion_drop(key: tuple[object, ...], target: int, _clip: ExplainedClip) -> np.ndarray:
    changed = _clip.alpha != AS_IT_IS
    return occlusion_drop(_clip.network if changed else _clip.checkpoint.inference_model, _clip.normalised, target)


def show_gradcam(
    clip: ExplainedClip, roles: dict[str, str], clip_id: str,
    change_beside: Callable[[ExplainedClip], ExplainedClip] = choose_what_if,
) -> ExplainedClip:  # fmt: skip
    """The choices in one line, the clip frame by frame (if its video is kept), and the input frames. What is beside it
    may change the clip: that one is explained, and returned."""
    options, classes = choose_folded(clip.checkpoint, roles, clip_id), clip.checkpoint.classes
    assert options.target is not None  # the select box always has a class
    target, against = classes.index(options.target), classes.index(options.against) if options.against else None
    asked = Question(target, against, options.layer, options.branch, options.definition)
    left, right = st.columns([3, 2]) if clip.path is not None else (st.container(), st.container())
    with right:
        clip = change_beside(clip)
    with left:
        cam = map_of_clip(clip, options.method, asked)
        if cam is not None and cam.maps.max() <= 0:
            st.info(
                f"The map has no positive value: nothing at {options.layer} raises the score of "
                f"{escape_markdown(options.target)} in this clip."
            )
        if cam is not None and clip.path is not None:
            show_cam_scrubber(clip, cam, options)
    if cam is None:
        return clip
    st.header(f"{METHODS[options.method].title} over time")
    maps = cam.signed if options.signed else cam.maps
    captions = [f"frame {i} · {share:.0%}" for i, share in zip(clip.indices, cam.per_frame, strict=True)]
    show_frame_strip(
        overlay(clip.frames, maps, options.opacity, options.scale), captions, METHODS[options.method].title
    )
    st.caption(
        f"{cam_caption(options)} Under each frame: its number and its share of the clip's map.  \n"
        f"**How to read this:** {READING if METHODS[options.method].layered else measured(options.method)}"
    )
    return clip


def measured(method: str) -> str:
    """What a method of pixels or of attention measures, as a sentence."""
    return f"the map shows {METHODS[method].measures}."


def cam_caption(options: CamOptions) -> str:
    target = f"**{escape_markdown(options.target or '')}**"
    against = f" rather than **{escape_markdown(options.against)}**" if options.against else ""
    branch = "" if options.branch == JOINT else f", {options.branch} branch"
    weights = f" with {DEFINITION_NAMES[options.definition]}" if options.method == GRADCAM else ""
    return (
        f"Evidence for {target}{against} at {options.layer}{branch}. {METHODS[options.method].title}{weights}, one "
        f"colour scale per {options.scale}"
        f"{'' if options.signed else ', positive values only'}."
    )


def occlusion_curve(clip: ExplainedClip, cam: Cam) -> Curve:
    """What each frame is worth: how far the class's score falls when a neighbour replaces it."""
    drop = _cached_occlusion_drop(clip.key, cam.target, clip)
    return Curve("score falls by", drop, "points", DROP_COLOUR, (5, 4))


@st.fragment
def show_cam_scrubber(clip: ExplainedClip, cam: Cam, options: CamOptions) -> None:
    """The clip frame by frame. As a fragment: a step in it redraws nothing else of the page."""
    with errors_shown():  # app.py does not catch an error of a fragment that runs alone
        draw_cam_scrubber(clip, cam, options)


def draw_cam_scrubber(clip: ExplainedClip, cam: Cam, options: CamOptions) -> None:
    scrubber = st.container()  # above its toggles
    cost = f"Needs {len(cam.maps) + 1} forward passes."
    hint = f"How far the score of the class falls when a neighbour replaces the frame. {cost}"
    with st.container(horizontal=True):
        show_drop = st.toggle("Occlusion of each frame", key="occlusion", bind="query-params", help=hint)
        flow_field = choose_flow_field([clip])
    curves = [Curve("CAM", cam.per_frame, "share", CAM_COLOUR)]
    if show_drop:
        curves.append(occlusion_curve(clip, cam))
    with scrubber:
        show_scrubber([View(clip, cam, curves, options, flow_field=flow_field)])
    lines = ":orange[━] share of the clip's CAM in the frame"
    if show_drop:
        lines += "; :blue[┅] fall of the score when the frame is occluded (lines are scaled to their maxima)"
    st.caption(
        f"{lines}; ticks: the {len(set(clip.indices.tolist()))} input frames. Maps between them are interpolated."
        f"{f' {FLOW_COLOURS}' * flow_field}  \n"
        "**How to read this:** → and ← move by one frame, with Shift by ten; Page Up and Page Down move between input "
        "frames; Space plays."
        + (" If a frame has a high CAM but no fall, the network does not need it." if show_drop else "")
    )


def choose_flow_field(clips: list[ExplainedClip]) -> bool:
    """Whether the flow field is shown as the picture, if the input of one of the networks is optical flow."""
    if all(clip.checkpoint.preprocessing.modality != "flow" for clip in clips):
        return False
    hint = "What this network sees in place of the frames: from each frame to the next, where the picture moves to."
    return bool(st.toggle("Flow field as the picture", key="flow_field", bind="query-params", help=hint))
