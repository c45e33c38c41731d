"""The parts of the clip page: frames, Grad-CAM, alpha by layer, scores. Each takes data and draws."""

import html
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch import Tensor

from analysis.attention.alpha_matrix import alpha_by_layer, has_attention
from analysis.explain.alpha_replacement import HALF, SPATIAL_ONLY, TEMPORAL_ONLY, SetAlpha, replacement
from analysis.explain.overlay import seen_frames
from analysis.report.plots import COLOURS, styled
from analysis.runs.run_directory import Run
from sth_core.checkpoint import Checkpoint
from sth_core.video.encoding import plays_in_browsers, transcode
from sth_core.video.fields import read_clip
from sth_core.video.modality import FLOW_STACK
from sth_core.video.transforms import crop, normalise, play_backward
from workbench.components.chart import chart
from workbench.components.context import alpha_of, computed

PER_ROW = 8


@st.cache_data(show_spinner="Converting the video for the browser", max_entries=64)
def browser_video(path: str, changed: int) -> bytes:
    """The video as bytes that browsers play; other codecs become H.264."""
    if plays_in_browsers(Path(path)):
        return Path(path).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "video.mp4"
        transcode(Path(path), target)
        return target.read_bytes()


@dataclass(frozen=True)
class Subject:
    """What is explained: a clip as a network saw it. `key` says of all of it which it is, for what is computed of it.

    frames are for people (T, 224, 224, 3), pixels are the network's input (T, H, W, C) uint8, indices the frames'
    numbers (T,), path is the video, or None where it is not kept.
    """

    checkpoint: Checkpoint
    frames: np.ndarray
    pixels: np.ndarray
    indices: np.ndarray
    path: Path | None
    key: tuple[object, ...]

    @property
    def normalised(self) -> Tensor:
        """The input (T, C, H, W)."""
        return normalise(torch.from_numpy(np.ascontiguousarray(self.pixels)), self.checkpoint.preprocessing)


def subject_of(checkpoint: Checkpoint, sha256: str, path: Path, flow: str, backward: bool) -> Subject:
    """A clip of a run; `flow` is the folder of extracted flow that it was recorded with, or empty."""
    key = (str(path), flow, backward, path.stat().st_mtime_ns, sha256)
    frames, pixels, indices = frames_and_input(key, checkpoint)
    return Subject(checkpoint, frames, pixels, indices, path, key)


@st.cache_data(show_spinner="Reading frames", max_entries=64)
def frames_and_input(key: tuple[str, str, bool, int, str], _checkpoint: Checkpoint) -> tuple[np.ndarray, ...]:
    path, flow, backward, _, _ = key
    p = _checkpoint.preprocessing
    clip, indices = read_clip(Path(path), p, flow, backward)
    return seen_frames(Path(path), indices, p), crop(clip, p.crop), indices


def show_seen(subject: Subject, backward: bool = False) -> None:
    st.subheader("What the network saw" + (", from the last frame to the first" if backward else ""))
    strip(subject.frames, [f"frame {i}" for i in subject.indices], "what the network saw")
    if subject.checkpoint.preprocessing.modality == "flow":
        st.caption(f"It saw optical flow, not these pixels: {FLOW_STACK} fields that begin at each of these frames.")


AS_IT_IS = "as it is"
ORDERS = (AS_IT_IS, "reversed", "shuffled", "frozen")
ALPHAS = (AS_IT_IS, HALF, SPATIAL_ONLY, TEMPORAL_ONLY)


def reordered(pixels: np.ndarray, order: str, modality: str) -> np.ndarray:
    """The clip (T, H, W, C) with its frames in another order; frozen: the middle one throughout, without motion."""
    if order == "reversed":
        return play_backward(pixels, modality)
    if order == "shuffled":
        return pixels[np.random.default_rng(0).permutation(len(pixels))]
    if order == "frozen":
        return np.full_like(pixels, 128) if modality == "flow" else pixels[[len(pixels) // 2] * len(pixels)]
    return pixels


@torch.inference_mode()
def what_if(checkpoint: Checkpoint, pixels: np.ndarray, order: str, alpha: str) -> np.ndarray:
    """The softmax scores (K,) of the clip in another order, or with attention replaced everywhere."""
    model = checkpoint.model
    changed = np.ascontiguousarray(reordered(pixels, order, checkpoint.preprocessing.modality))
    clip = normalise(torch.from_numpy(changed), checkpoint.preprocessing)[None]
    if alpha == AS_IT_IS:
        return model(clip).softmax(1)[0].numpy()
    shapes = {name: a[0] for name, a in model.forward_with_attention(clip)[1].items()}
    return model(clip, SetAlpha(replacement(alpha, shapes, {}))).softmax(1)[0].numpy()


@st.cache_data(show_spinner="Trying", max_entries=256)
def tried(key: tuple[object, ...], order: str, alpha: str, _subject: Subject) -> np.ndarray:
    return what_if(_subject.checkpoint, _subject.pixels, order, alpha)


def show_what_if(subject: Subject) -> None:
    st.subheader("What if")
    left, right = st.columns([2, 3])
    with left:
        order = st.segmented_control("Frames", ORDERS, default=AS_IT_IS, key="order", bind="query-params") or AS_IT_IS
        known = ALPHAS if subject.checkpoint.model.attention_layers else ALPHAS[:1]
        alpha = st.segmented_control("α everywhere", known, default=AS_IT_IS, key="alpha", bind="query-params")
        st.caption(
            "**How to read this:** if nothing moves when the frames are reversed or shuffled, the network does not use "
            "their order in this clip; if nothing moves when α is replaced, it does not need its attention here."
        )
    before = tried(subject.key, AS_IT_IS, AS_IT_IS, subject)
    after = tried(subject.key, order, alpha or AS_IT_IS, subject)
    with right:
        figure = what_if_figure(before, after, subject.checkpoint.classes)
        chart(figure, key="what_if", alt="Scores as recorded, and as they would be")


def what_if_figure(before: np.ndarray, after: np.ndarray, classes: list[str]) -> go.Figure:
    """The scores before and after, of the classes that are highest in either."""
    top = list(dict.fromkeys([*before.argsort()[::-1][:4], *after.argsort()[::-1][:4]]))[::-1]
    figure = go.Figure()
    for name, scores, colour in (("now", after, COLOURS[1]), ("as recorded", before, COLOURS[0])):
        figure.add_bar(
            x=scores[top], y=[classes[i] for i in top], orientation="h", name=name, marker_color=colour,
            text=[f"{scores[i]:.1%}" for i in top], textposition="auto",
        )  # fmt: skip
    figure = styled(figure, "score (softmax)", "").update_layout(height=90 + 46 * len(top))
    return figure.update_xaxes(range=[0, 1], tickformat=".0%").update_yaxes(automargin=True)


def strip(images: np.ndarray, captions: list[str], alt: str) -> None:
    """Images side by side in the order of time, eight in a row, a caption under each."""
    for start in range(0, len(images), PER_ROW):
        row = zip(images[start : start + PER_ROW], captions[start : start + PER_ROW], strict=True)
        for column, (image, caption) in zip(st.columns(PER_ROW, gap="xxsmall"), row, strict=False):
            column.image(image, caption=caption, width="stretch", alt=f"{alt}, {caption}")


SCORES = """<style>
.score { display: grid; grid-template-columns: 1fr auto; column-gap: 0.5rem; font-size: 0.875rem; line-height: 1.5 }
.score .name { overflow-wrap: anywhere }
.score .value { font-variant-numeric: tabular-nums }
.score .bar { grid-column: 1 / -1; height: 6px; border-radius: 3px; margin-bottom: 0.4rem; min-width: 2px }
</style>"""


def show_top(top: pd.DataFrame, label: str = "") -> None:
    """The highest scores (softmax) as bars; the true class is orange. As HTML: they are on every clip's page, which a
    chart more would slow down."""
    rows = "".join(
        f'<div class="score"><span class="name">{html.escape(str(row.label))}</span>'
        f'<span class="value">{row.score:.1%}</span>'
        f'<div class="bar" style="width: {row.score:.1%}; background: {COLOURS[row.label == label]}"></div></div>'
        for row in top.itertuples()
    )
    st.html(SCORES + rows)


def alpha_figure(run: Run, row: int) -> go.Figure | None:
    """alpha_T by layer of the clip in this row of `clips_of`, against mean and spread of its class and of the run."""
    if not has_attention(run):
        return None
    alpha = alpha_of(run)
    label = alpha.clips["label"].iloc[row]
    of_class = computed("layers", [run], lambda: alpha_by_layer(alpha, alpha.clips["label"] == label), label)
    of_all = computed("layers", [run], lambda: alpha_by_layer(alpha))
    of_clip = alpha_by_layer(alpha, [row])
    figure = go.Figure()
    figure.add_scatter(
        x=[*of_class["layer"], *of_class["layer"][::-1]],
        y=[*(of_class["alpha_temporal"] + of_class["sd"]), *(of_class["alpha_temporal"] - of_class["sd"])[::-1]],
        fill="toself", mode="lines", line_width=0, fillcolor=COLOURS[0], opacity=0.18, hoverinfo="skip",
        name="± 1 standard deviation of the class",
    )  # fmt: skip
    for rows, name, line in (
        (of_all, f"all clips (n = {of_all['n'].max()})", {"color": "#999999", "dash": "dot"}),
        (of_class, f"its class (n = {of_class['n'].max()})", {"color": COLOURS[0]}),
        (of_clip, "this clip", {"color": COLOURS[1], "width": 3}),
    ):
        figure.add_scatter(
            x=rows["layer"], y=rows["alpha_temporal"], name=name, mode="lines+markers", line=line,
            hovertemplate="%{x}: %{y:.3f}",
        )  # fmt: skip
    figure.update_layout(hovermode="x unified")
    return styled(figure, "layer, from input to output", "α_T (α_S = 1 - α_T)").update_layout(height=380)
