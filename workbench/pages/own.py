"""Your own: a network on an uploaded video, or recorded on a folder of videos by a background job."""

import os
from hashlib import sha256 as hash_of
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st
import torch

from analysis.report.colours import TEMPORAL
from analysis.report.plots import LAYER_AXIS, styled
from analysis.runs.dataset_options import SPLIT_HELP
from analysis.runs.run_directory import Run
from analysis.runs.signals import ALPHA, TIME_SHARE
from analysis.statistics.accuracy import top_classes
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from sth_core.evaluation import refuse_not_finite
from sth_core.network_names import FILE, NetworkName
from sth_core.video.transforms import Preprocessing
from workbench.components import clip_views
from workbench.components.cached import cached_network, listed_runs
from workbench.components.cam_views import show_gradcam
from workbench.components.chart import ALPHA_AXIS, show_chart
from workbench.components.context import errors_shown, escape_markdown, run_id, show_left_out
from workbench.components.job_list import show_jobs
from workbench.jobs import record_job
from workbench.networks import network_of_run, offered_networks
from workbench.roots import allowed_roots, resolve_inside
from workbench.uploads import DecodedUpload, UploadLimits, decode_upload

BY_PATH = NetworkName("")  # the option of a checkpoint that no run has
VIDEOS = ["mp4", "webm", "avi", "mov", "mkv"]


def show_own_page() -> None:
    st.title("Your own")
    st.caption("Run a network on a video of your own, or record it on a dataset of your own.")
    with errors_shown():
        if chosen := choose_network():
            name, checkpoint = chosen
            video, dataset = st.tabs(["One video", "Record a dataset"])
            with video:
                show_upload(checkpoint)
            with dataset:
                show_record_form(name)
    show_jobs()


def choose_network() -> tuple[NetworkName, Checkpoint] | None:
    """The network of one of the runs, if it has not been replaced since, one of `sth app --network`, or a checkpoint by
    its path."""
    runs = listed_runs()
    with st.sidebar:
        show_left_out({run_id(run): run.problem for run in runs if not run.meta}, "not listed")
    run_of = {name: run for run in runs if (name := openable(run))}
    titles = {name: f"{name.label} ({run.title})" for name, run in run_of.items()}
    titles |= {name: name.label for name in offered_networks() if name not in titles}
    titles[BY_PATH] = "another, by its path"
    chosen = st.selectbox("Network", [*titles], format_func=titles.__getitem__)
    if chosen == BY_PATH:
        roots = allowed_roots()
        hint = describe_roots(roots)
        given = st.text_input("Checkpoint (.safetensors)", placeholder="/.../model.safetensors", help=hint)
        if not given:
            return None
        path = resolve_inside(given, roots)
        if path.suffix != ".safetensors" or not path.is_file():
            raise UserError(f"{path} is no .safetensors file; `sth train` and `sth import` make them")
        return NetworkName(str(path)), cached_network(NetworkName(str(path)))
    return chosen, cached_network(chosen, run_of.get(chosen))


def openable(run: Run) -> NetworkName | None:
    """The network that a run names, if the app may open it and its file is still there."""
    try:
        name = network_of_run(run)
    except UserError:
        return None
    # Path.is_file raises an error where a folder may not be entered.
    return None if name.kind == FILE and not os.path.isfile(name.name) else name  # noqa: PTH113


def describe_roots(roots: list[Path]) -> str:
    return f"The path must lie inside {escape_markdown(', '.join(map(str, roots)))}."


@st.cache_data(show_spinner="Decoding the video", max_entries=16)
def cached_upload(content_sha256: str, p: Preprocessing, megabytes: int, _content: memoryview) -> DecodedUpload:
    return decode_upload(_content, p, UploadLimits(megabytes=megabytes))


def show_upload(checkpoint: Checkpoint) -> None:
    """Everything that the network computes for an uploaded video."""
    megabytes = int(st.get_option("server.maxUploadSize"))
    upload = st.file_uploader("A video", VIDEOS, help="The app decodes and shows the video, and does not keep it.")
    if upload is None:
        return
    content = upload.getbuffer()
    with errors_shown():
        content_sha256 = hash_of(content).hexdigest()
        video = cached_upload(content_sha256, checkpoint.preprocessing, megabytes, content)
        key = (content_sha256, checkpoint.sha256)
        clip = clip_views.ExplainedClip(checkpoint, video.frames, video.clip, video.indices, None, key)
        predicted = show_scores(clip)
        clip_views.show_input_frames(show_gradcam(clip, {predicted: "predicted"}, content_sha256))


def show_scores(clip: clip_views.ExplainedClip) -> str:
    """The highest scores and by layer alpha_T (mean over its channels), or attention across time (mean over its heads);
    returns the predicted class."""
    model = clip.checkpoint.inference_model
    signal = TIME_SHARE if model.token_layers else ALPHA
    with torch.inference_mode():
        forward = model.forward_with_attention if signal == ALPHA else model.forward_with_shares
        logits, attention = forward(clip.normalised[None])
    refuse_not_finite(logits, "this video")
    row = 1 if signal == ALPHA else 0  # of (alpha_S, alpha_T), or of (across time, on extra tokens)
    alphas = {name: float(values[0, row].mean()) for name, values in attention.items()}
    top = top_classes(logits[0].softmax(0).tolist(), clip.checkpoint.classes)
    left, right = st.columns([2, 3])
    with left:
        clip_views.show_top_scores(top)
    with right:
        st.markdown("**Attention by layer**")
        if alphas:
            figure = go.Figure(go.Scatter(x=[*alphas], y=[*alphas.values()], mode="lines+markers"))
            figure.update_traces(line_color=TEMPORAL, hovertemplate="%{x}: %{y:.3f}<extra></extra>")
            styled(figure, LAYER_AXIS, ALPHA_AXIS if signal == ALPHA else signal.name, height=300)
            show_chart(figure, key="own_alpha", alt=f"{signal.name} of this video by layer")
            if signal != ALPHA:
                st.caption(escape_markdown(signal.definition))
        else:
            st.info(escape_markdown(model.hidden_weights) or clip_views.NO_ATTENTION)
    return str(top["label"][0])


def show_record_form(network: NetworkName) -> None:
    roots = allowed_roots()
    with st.form("record"):
        folder = st.text_input("Folder of the dataset", placeholder="/.../videos", help=describe_roots(roots))
        a, b, c = st.columns(3)
        split = a.text_input("Split", placeholder="val, or what fits", help=SPLIT_HELP)
        label = b.text_input("Column of labels", placeholder="as in training")
        name = c.text_input("Name of the run", placeholder="first", help="Letters, digits, -, _ and . only.")
        if st.form_submit_button("Record", icon=":material/play_arrow:"):
            with errors_shown():
                data = resolve_inside(folder, roots)
                record_job(roots[0], name, network, data, split, label, inside=roots)


show_own_page()
