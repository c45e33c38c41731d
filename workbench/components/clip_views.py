"""What the pages for one clip show besides Grad-CAM: input frames, scores, what if, alpha by layer."""

import html
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch import Tensor

from analysis.attention.alpha_matrix import alpha_by_layer, has_signal
from analysis.explain.alpha_replacement import HALF, WITHOUT_SPATIAL, WITHOUT_TEMPORAL, replacing
from analysis.explain.changed_network import ChangedNetwork
from analysis.explain.overlay import seen_frames
from analysis.report.colours import CHANGED, PLAIN, REFERENCE, TEMPORAL, TRUE_CLASS
from analysis.report.plots import LAYER_AXIS, add_line, styled
from analysis.runs.run_directory import Run
from analysis.runs.signals import ALPHA
from sth_core.checkpoint import Checkpoint
from sth_core.evaluation import refuse_not_finite
from sth_core.network_contract import Network
from sth_core.video.clip_source import ClipSource
from sth_core.video.encoding import plays_in_browsers, transcode
from sth_core.video.fields import read_clip
from sth_core.video.modality import FLOW_STACK
from sth_core.video.reorder import FROZEN, REVERSED, SHUFFLED, frame_order, reorder
from sth_core.video.segment import Segment
from sth_core.video.transforms import Preprocessing, centre_crop, normalise
from workbench.components.cached import cache_data_of_files, cached_alpha, cached_result
from workbench.components.chart import ALPHA_AXIS
from workbench.components.context import choose_one

FRAMES_PER_ROW = 8
NO_ATTENTION = "This network has no attention that is shown (conv = '2d', attention = false, or another module)."
AS_IT_IS = "as it is"
ORDERS = (AS_IT_IS, REVERSED, SHUFFLED, FROZEN)
ALPHAS = (AS_IT_IS, HALF, WITHOUT_TEMPORAL, WITHOUT_SPATIAL)
SHORT_ALPHAS = {AS_IT_IS: AS_IT_IS, HALF: HALF, WITHOUT_TEMPORAL: "α_T = 0", WITHOUT_SPATIAL: "α_S = 0"}
SCORES = """<style>
.score { display: grid; grid-template-columns: 1fr auto; column-gap: 0.5rem; font-size: 0.875rem; line-height: 1.5 }
.score .name { overflow-wrap: anywhere }
.score .value { font-variant-numeric: tabular-nums }
.score .bar { grid-column: 1 / -1; height: 6px; border-radius: 3px; margin-bottom: 2px; min-width: 2px }
.score .bar:last-child { margin-bottom: 0.4rem }
</style>"""


@cache_data_of_files(show_spinner="Converting the video for the browser", max_entries=64)
def cached_browser_video(path: Path, segment: str) -> bytes:
    """A clip that browsers play: the file itself, or the file or the part of it that is the clip converted to H.264."""
    part = Segment.parse(segment)
    if part.whole and plays_in_browsers(path):
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "video.mp4"
        transcode(path, target, None if part.whole else part.frames_in(path))
        return target.read_bytes()


@dataclass(frozen=True)
class ExplainedClip:
    """A clip, as input of the network that explains it."""

    checkpoint: Checkpoint
    frames: np.ndarray  # (T, 224, 224, 3) uint8, for display
    pixels: np.ndarray  # (T, H, W, C) uint8, the network's input before normalisation
    indices: np.ndarray  # (T,) the numbers of the input frames
    path: Path | None  # the video, if it is kept
    key: tuple[object, ...]  # identifies all of this, for caches
    flow: str = ""  # the folder of the video's extracted flow, if there is one
    alpha: str = AS_IT_IS  # or by what it is replaced in all layers, of `ALPHAS`

    @property
    def network(self) -> Network:
        """The network that is explained: with α replaced, if it is."""
        model = self.checkpoint.model
        if self.alpha == AS_IT_IS:
            return model
        return ChangedNetwork(model, replacing(self.alpha, [layer.name for layer in model.attention_layers]))

    @property
    def normalised(self) -> Tensor:
        """The network's input (T, C, H, W)."""
        return normalise(torch.from_numpy(np.ascontiguousarray(self.pixels)), self.checkpoint.preprocessing)

    def reordered(self, how: str) -> "ExplainedClip":
        """The clip with its frames in another order (`reorder`)."""
        T = len(self.indices)
        order = np.arange(T)[::-1] if how == REVERSED else frame_order(how, T, np.random.default_rng(0))
        pixels = reorder(self.pixels, how, self.checkpoint.preprocessing.modality)
        frames, indices = self.frames[order], self.indices[order]
        return replace(self, frames=frames, pixels=pixels, indices=indices, key=(*self.key, how))


def load_explained_clip(checkpoint: Checkpoint, sha256: str, source: ClipSource) -> ExplainedClip:
    """A clip of a run; `sha256` is the checkpoint's."""
    path = source.path
    key = (str(path), source.flow, source.backward, str(source.segment), path.stat().st_mtime_ns, sha256)
    frames, pixels, indices = _cached_frames(key, source, checkpoint.preprocessing)
    return ExplainedClip(checkpoint, frames, pixels, indices, path, key, source.flow)


@st.cache_data(show_spinner="Reading frames", max_entries=64)
def _cached_frames(key: tuple[object, ...], _source: ClipSource, _p: Preprocessing) -> tuple[np.ndarray, ...]:
    clip, indices = read_clip(_source, _p)
    return seen_frames(_source.path, indices, _p), centre_crop(clip, _p), indices


def show_input_frames(clip: ExplainedClip, backward: bool = False) -> None:
    st.header("Input frames" + (", in reverse order" if backward else ""))
    show_frame_strip(clip.frames, [f"frame {i}" for i in clip.indices], "input")
    if clip.checkpoint.preprocessing.modality == "flow":
        fields = f"{FLOW_STACK} flow fields, starting at each of these frames"
        st.caption(f"The input of this network is optical flow, not these pixels: {fields}.")


def show_frame_strip(images: np.ndarray, captions: list[str], alt: str) -> None:
    """Images in temporal order, eight in a row, with a caption under each."""
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        if i % FRAMES_PER_ROW == 0:
            columns = st.columns(FRAMES_PER_ROW, gap="xxsmall")
        columns[i % FRAMES_PER_ROW].image(image, caption=caption, width="stretch", alt=f"{alt}, {caption}")


@torch.inference_mode()
def what_if_scores(checkpoint: Checkpoint, pixels: np.ndarray, order: str, alpha: str) -> np.ndarray:
    """The softmax scores (K,) for the frames in another order, or for attention replaced in all layers.
    Raises UserError: they are not finite."""
    model = checkpoint.inference_model
    changed = pixels if order == AS_IT_IS else reorder(pixels, order, checkpoint.preprocessing.modality)
    clip = normalise(torch.from_numpy(np.ascontiguousarray(changed)), checkpoint.preprocessing)[None]
    if alpha == AS_IT_IS:
        logits = model(clip)
    else:
        logits = model(clip, replacing(alpha, [layer.name for layer in model.attention_layers]))
    refuse_not_finite(logits, "this clip")
    return logits.softmax(1)[0].numpy()


@st.cache_data(show_spinner="Computing the scores", max_entries=256)
def _cached_what_if_scores(key: tuple[object, ...], order: str, alpha: str, _clip: ExplainedClip) -> np.ndarray:
    return what_if_scores(_clip.checkpoint, _clip.pixels, order, alpha)


def choose_what_if(clip: ExplainedClip) -> ExplainedClip:
    """Controls that change the clip or the network, the scores before and after, and the clip as changed."""
    st.subheader("What if", anchor=False)
    order = choose_one("Frames", ORDERS, "order")
    alphas = ALPHAS if clip.checkpoint.model.attention_layers else ALPHAS[:1]
    named = SHORT_ALPHAS.get
    hint = "One half in place of both, or one of them 0: without the temporal, or without the spatial part."
    alpha = choose_one("α in all layers", alphas, "alpha", format_func=named, help=hint)
    if (order, alpha) == (AS_IT_IS, AS_IT_IS):
        return clip
    before = _cached_what_if_scores(clip.key, AS_IT_IS, AS_IT_IS, clip)
    after = _cached_what_if_scores(clip.key, order, alpha, clip)
    st.html(changed_scores(before, after, clip.checkpoint.classes))
    st.caption(
        "Gray: as it is, from one view of the clip; red: with the changes, as are the map and its timeline. "
        "**How to read this:** if the scores stay the same when the frames are reversed or shuffled, the network does "
        "not use their order in this clip. If they stay the same when α is replaced, it does not need its attention."
    )
    changed = clip if order == AS_IT_IS else clip.reordered(order)
    return replace(changed, alpha=alpha, key=(*changed.key, alpha))


def changed_scores(before: np.ndarray, after: np.ndarray, classes: list[str]) -> str:
    """The scores (K,) before and after the change as HTML, for the classes that are among the highest in either."""
    top = list(dict.fromkeys([*after.argsort()[::-1][:3], *before.argsort()[::-1][:3]]))
    return SCORES + "".join(
        class_bars(classes[i], f"{before[i]:.1%} → {after[i]:.1%}", {PLAIN: before[i], CHANGED: after[i]}) for i in top
    )


def class_bars(name: str, value: str, bars: dict[str, float]) -> str:
    """A class, its value as text, and a bar of each colour, as HTML."""
    drawn = "".join(
        f'<div class="bar" style="width: {share:.1%}; background: {colour}"></div>' for colour, share in bars.items()
    )
    words = f'<span class="name">{html.escape(name)}</span><span class="value">{value}</span>'
    return f'<div class="score">{words}{drawn}</div>'


def show_top_scores(top: pd.DataFrame, label: str = "") -> None:
    """The highest scores as bars, the true class in orange. They are HTML, because another chart slows the page."""
    if top.empty:
        return
    st.subheader(f"Top {len(top)}, softmax score", anchor=False)
    rows = (
        class_bars(str(row.label), f"{row.score:.1%}", {TRUE_CLASS if row.label == label else PLAIN: row.score})
        for row in top.itertuples()
    )
    st.html(SCORES + "".join(rows))


def clip_alpha_figure(run: Run, row: int) -> go.Figure | None:
    """alpha_T, or attention across time, by layer of the clip in this row of `clips_of`, with mean and spread of its
    class and of the run."""
    if not has_signal(run):
        return None
    alpha = cached_alpha(run)
    label = alpha.clips["label"].iloc[row]
    of_class = cached_result("layers", [run], lambda: alpha_by_layer(alpha, alpha.clips["label"] == label), label)
    of_all = cached_result("layers", [run], lambda: alpha_by_layer(alpha))
    of_clip = alpha_by_layer(alpha, [row])
    figure = go.Figure()
    mean, sd = of_class["alpha_temporal"], of_class["sd"]
    for rows, name, colour, options in (
        (of_all, f"all clips (n = {of_all['n'].max()})", REFERENCE, {"line_dash": "longdashdot"}),
        (of_class, f"its class (n = {of_class['n'].max()})", PLAIN, {"band": (mean - sd, mean + sd)}),
        (of_clip, "this clip", TEMPORAL, {"line_width": 3}),
    ):
        hover = "%{x}: %{y:.3f}"
        add_line(figure, rows["layer"], rows["alpha_temporal"], name, colour, hovertemplate=hover, **options)
    axis = ALPHA_AXIS if alpha.signal == ALPHA else alpha.signal.name
    return styled(figure, LAYER_AXIS, axis, height=380, hovermode="x unified")
