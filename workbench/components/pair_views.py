"""Two networks on one clip: their maps on the same frame, their scores and their attention side by side."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.attention.alpha_matrix import alpha_by_layer, has_signal
from analysis.explain.gradcam import JOINT, cam_layers, default_layer
from analysis.explain.methods import GRADCAM, METHODS, Question
from analysis.explain.overlay import FLOW_COLOURS
from analysis.explain.video_explanation import CamOptions
from analysis.report.colours import REFERENCE, RUN_A, RUN_B
from analysis.report.plots import LAYER_AXIS, add_line, styled
from analysis.runs.large_runs import sampled
from analysis.runs.run_directory import Run, all_of, clip_of
from analysis.runs.signals import ALPHA, signal_of
from workbench.components.cached import cached_alpha, cached_has_clip, cached_overview, listed_runs
from workbench.components.cam_views import choose_flow_field, choose_folded, map_of_clip, occlusion_curve
from workbench.components.chart import ALPHA_AXIS, show_chart
from workbench.components.clip_head import verdict_of
from workbench.components.clip_lists import BESIDE
from workbench.components.clip_views import NO_ATTENTION, ExplainedClip
from workbench.components.context import (
    cached_why_unreadable,
    errors_shown,
    escape_markdown,
    linked_selectbox,
    run_id,
)
from workbench.components.explained_clips import explained_clip, roles_of, show_recorded_scores
from workbench.components.scrubber import Curve, View, show_scrubber

ALONE = ""
LETTERS, COLOURS = ("A", "B"), (RUN_A, RUN_B)


@dataclass(frozen=True)
class Side:
    """A run, and the clip's row in its table (`cached_overview`)."""

    run: Run
    row: int

    @cached_property
    def clip(self) -> pd.Series:
        return clip_of(self.run, cached_overview(self.run).iloc[self.row])


def choose_other_run(run: Run, clip_id: str) -> Side | None:
    """The run whose network is shown beside this run's, from the URL and the sidebar, with its row of the clip."""
    others = {run_id(other): other for other in listed_runs() if other.meta and other.path != run.path}
    if not others:
        return None
    names = {ALONE: "no other run"} | {name: name for name in sorted(others)}
    with st.sidebar:
        name = linked_selectbox(
            "Beside it", [*names], BESIDE, default_in_url=False, format_func=names.__getitem__,
            help="Another run's network on the same clip and the same frame.",
        )  # fmt: skip
    if name == ALONE:
        return None
    other = sampled(others[name])
    if problem := cached_why_unreadable(other):
        st.warning(escape_markdown(f"{name} is not shown beside it: {problem}"))
        return None
    found = np.flatnonzero(cached_overview(other)["clip_id"] == clip_id)
    if not len(found) and other.every > 1 and cached_has_clip(other, clip_id):
        other = all_of(other)
        found = np.flatnonzero(cached_overview(other)["clip_id"] == clip_id)
    if not len(found):
        st.warning(escape_markdown(f"{name} is not shown beside it: it has no clip {clip_id}."))
        return None
    return Side(other, int(found[0]))


def show_pair(a: Side, b: Side) -> None:
    sides = (a, b)
    explained = [explained_clip(side.run, side.clip) for side in sides]
    show_maps(sides, explained)
    for place, side, letter in zip(st.columns(2), sides, LETTERS, strict=True):
        with place:
            st.subheader(f"{letter}: {escape_markdown(run_id(side.run))}", anchor=False)
            st.markdown(verdict_of(side.run, side.clip))
            show_recorded_scores(side.run, side.clip)
    show_attention_of_both(sides)
    st.caption("What if, the input frames and similar clips are shown of one network: choose *no other run*.")


def show_maps(sides: tuple[Side, Side], explained: list[ExplainedClip | None]) -> None:
    """The clip with the map of each network that can be read, all at the same frame."""
    there = [(side, clip, letter, colour) for side, clip, letter, colour in
             zip(sides, explained, LETTERS, COLOURS, strict=True) if clip is not None]  # fmt: skip
    if not there:
        st.info("Neither network's map can be shown: its checkpoint, or the video, cannot be read.")
        return
    first, clip, *_ = there[0]
    roles = roles_of(first.clip)
    options = choose_folded(clip.checkpoint, roles, str(first.clip["clip_id"]))
    drawn = []
    for side, clip, letter, colour in there:
        own = options_for(options, clip, next(iter(roles)), roles_of(side.clip))
        cam = map_of_clip(clip, own.method, question(own, clip), of=f" of {letter}")
        if cam is not None:
            drawn.append((View(clip, cam, [Curve("CAM", cam.per_frame, "share", colour)], own), letter, side))
    if len({view.clip.path for view, *_ in drawn}) > 1:
        st.warning("The two runs name different videos of this clip: the same number may be another frame.")
    if drawn:
        show_pair_scrubber(drawn)


def options_for(options: CamOptions, clip: ExplainedClip, first: str, roles: dict[str, str]) -> CamOptions:
    """What is asked of another network: the same class if one was chosen that it knows, else its own first one (of
    `roles`); the same method, layer and branch if it has them, else Grad-CAM, its default layer, and both branches."""
    checkpoint = clip.checkpoint
    chosen = options.target if options.target != first and options.target in checkpoint.classes else next(iter(roles))
    target = chosen if chosen in checkpoint.classes else checkpoint.classes[0]
    against = options.against if options.against in checkpoint.classes and options.against != target else None
    method = options.method if METHODS[options.method].serves(checkpoint.model) else GRADCAM
    changed = replace(options, target=target, against=against, method=method)
    if not METHODS[method].layered:
        return changed
    layers = {layer.name: layer for layer in cam_layers(checkpoint.model, checkpoint.preprocessing.crop)}
    layer = options.layer if options.layer in layers else default_layer([*layers.values()])
    branch = options.branch if options.branch in layers[layer].branches else JOINT
    return replace(changed, layer=layer, branch=branch)


def question(options: CamOptions, clip: ExplainedClip) -> Question:
    classes = clip.checkpoint.classes
    assert options.target is not None
    against = classes.index(options.against) if options.against else None
    return Question(classes.index(options.target), against, options.layer, options.branch, options.definition)


@st.fragment
def show_pair_scrubber(drawn: list[tuple[View, str, Side]]) -> None:
    """As a fragment: a step in it redraws nothing else of the page."""
    with errors_shown():  # app.py does not catch an error of a fragment that runs alone
        place = st.container()
        with st.container(horizontal=True):
            hint = "How far each network's score of its class falls when a neighbour replaces the frame."
            show_drop = st.toggle("Occlusion of each frame", key="occlusion", bind="query-params", help=hint)
            flow_field = choose_flow_field([view.clip for view, *_ in drawn])
        views = []
        for view, letter, side in drawn:
            curves = [*view.curves, *([occlusion_curve(view.clip, view.cam)] if show_drop else [])]
            flow = flow_field and view.clip.checkpoint.preprocessing.modality == "flow"
            views.append(replace(view, name=view_name(letter, side, view), curves=curves, flow_field=flow))
        with place:
            show_scrubber(views)
        st.caption(
            "One timeline for each network: the share of its map in each frame"
            f"{'; dashed: the fall of its score when the frame is occluded' * show_drop}; each line is scaled to its "
            f"maximum; ticks: the frames that it saw.{f' {FLOW_COLOURS}' * flow_field} **How to read this:** where one "
            "map is bright and the other is not, the two networks look at different things."
        )


def view_name(letter: str, side: Side, view: View) -> str:
    """What is written above a picture."""
    own, at = view.options, f" at {view.options.layer}" if METHODS[view.options.method].layered else ""
    return f"{letter}: {side.run.name} · {METHODS[own.method].title} of {own.target}{at}"


def show_attention_of_both(sides: tuple[Side, Side]) -> None:
    st.header("Attention by layer")
    having = [side for side in sides if has_signal(side.run)]
    if not having:
        st.info(NO_ATTENTION)
        return
    signal = signal_of(having[0].run)
    figure, left_out = go.Figure(), []
    for side, letter, colour in zip(sides, LETTERS, COLOURS, strict=True):
        if not has_signal(side.run) or signal_of(side.run) != signal:
            left_out.append(f"{letter} is not drawn: it has no {signal.name}.")
            continue
        of_clip = alpha_by_layer(cached_alpha(side.run), [side.row])
        name = f"{letter}: {side.run.name}"
        add_line(figure, of_clip["layer"], of_clip["alpha_temporal"], name, colour, hovertemplate="%{x}: %{y:.3f}")
    if signal == ALPHA:
        figure.add_hline(y=0.5, line={"color": REFERENCE, "width": 1, "dash": "longdashdot"})
    axis = ALPHA_AXIS if signal == ALPHA else signal.name
    show_chart(styled(figure, LAYER_AXIS, axis, height=340), key="pair_alpha", alt=f"{signal.name} of both networks")
    for sentence in left_out:
        st.caption(escape_markdown(sentence))
