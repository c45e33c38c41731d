"""Your own: a network on an uploaded video, or recorded over a dataset's folder as a job in the background."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256 as sha256_of
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st
import torch

from analysis.report.plots import COLOURS, styled
from analysis.runs.run_directory import find_runs
from analysis.statistics.accuracy import top_classes
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from sth_core.video.transforms import Preprocessing
from workbench.components.cam_views import show_gradcam
from workbench.components.chart import chart
from workbench.components.clip_views import Subject, show_seen, show_top, show_what_if
from workbench.components.context import checksum, network, plain, runs_folder
from workbench.jobs import Job, cancel, find_jobs, look, record_job
from workbench.roots import allowed_roots, resolve_inside
from workbench.uploads import Limits, Seen, decode

BY_PATH = ""
VIDEOS = ["mp4", "webm", "avi", "mov", "mkv"]
SECONDS_BETWEEN_LOOKS = 2
MOST_JOBS = 20  # that are listed
STATES = {"running": "blue", "finished": "green", "failed": "red", "cancelled": "gray", "lost": "orange"}


@contextmanager
def sentences() -> Iterator[None]:
    """A mistake in this part of the page is a sentence in its place; the other parts stay."""
    try:
        yield
    except UserError as error:
        st.error(plain(str(error)))


@st.cache_data(show_spinner="Decoding the video", max_entries=16)
def seen(content_sha256: str, p: Preprocessing, megabytes: int, _content: memoryview) -> Seen:
    return decode(_content, p, Limits(megabytes=megabytes))


def choose_network() -> tuple[Path, Checkpoint] | None:
    """A checkpoint of one of the runs, if the file is still the one they are of, or another by its path."""
    known = {}  # path -> a run of it
    for run in find_runs(runs_folder()):
        if run.meta.get("checkpoint") and Path(run.meta["checkpoint"]).is_file():
            known[run.meta["checkpoint"]] = run
    chosen = st.selectbox(
        "Network", [*known, BY_PATH],
        format_func=lambda path: f"{Path(path).name} ({known[path].title})" if path else "another, by its path",
    )  # fmt: skip
    if chosen != BY_PATH:
        path = Path(chosen)
    else:
        roots = allowed_roots()
        inside = f"Inside {plain(', '.join(map(str, roots)))}"
        given = st.text_input("Checkpoint (.safetensors)", placeholder="/.../model.safetensors", help=inside)
        if not given:
            return None
        path = resolve_inside(given, roots)
        if path.suffix != ".safetensors" or not path.is_file():
            raise UserError(f"{path} is no .safetensors file; `sth train` and `sth import` make them")
    content = checksum(str(path), path.stat().st_mtime_ns)
    if chosen != BY_PATH and content != known[chosen].meta["checkpoint_sha256"]:
        raise UserError(
            f"{path} is no longer the checkpoint that the run {known[chosen].name} is of; name it by its path"
        )
    return path, network(str(path), content)


def show_video(path: Path, checkpoint: Checkpoint) -> None:
    megabytes = int(st.get_option("server.maxUploadSize"))
    upload = st.file_uploader("A video", VIDEOS, help="It is decoded, shown, and not kept.")
    if upload is None:
        return
    content = upload.getbuffer()
    with sentences():
        of = sha256_of(content).hexdigest()
        video = seen(of, checkpoint.preprocessing, megabytes, content)
        key = (of, checksum(str(path), path.stat().st_mtime_ns))
        subject = Subject(checkpoint, video.frames, video.clip, video.indices, None, key)
        best = show_scores(subject)
        show_seen(subject)
        show_what_if(subject)
        show_gradcam(subject, {best: "predicted"}, of)


@torch.inference_mode()
def predict(subject: Subject) -> tuple[list[float], dict[str, float]]:
    """The score of each class, and each layer's alpha_T, the mean over its channels."""
    logits, alphas = subject.checkpoint.model.forward_with_attention(subject.normalised[None])
    return logits[0].softmax(0).tolist(), {name: float(alpha[0, 1].mean()) for name, alpha in alphas.items()}


def show_scores(subject: Subject) -> str:
    """Top 5 and alpha_T; returns the predicted class."""
    scores, alphas = predict(subject)
    top = top_classes(scores, subject.checkpoint.classes)
    left, right = st.columns([2, 3])
    with left:
        st.markdown("**Top 5**, softmax score")
        show_top(top)
    with right:
        st.markdown("**Attention by layer**")
        if alphas:
            figure = go.Figure(go.Scatter(x=[*alphas], y=[*alphas.values()], mode="lines+markers"))
            figure.update_traces(line_color=COLOURS[1], hovertemplate="%{x}: %{y:.3f}<extra></extra>")
            styled(figure, "layer, from input to output", "α_T (α_S = 1 - α_T)").update_layout(height=300)
            chart(figure, key="own_alpha", alt="alpha_T of this video by layer")
        else:
            st.info("This network has no attention (conv = '2d', or attention = false).")
    return str(top["label"][0])


def show_recording(checkpoint: Path) -> None:
    roots = allowed_roots()
    with st.form("record"):
        inside = f"Inside {plain(', '.join(map(str, roots)))}"
        folder = st.text_input("Dataset's folder", placeholder="/.../videos", help=inside)
        a, b, c = st.columns(3)
        split = a.text_input("Split", "val")
        label = b.text_input("Column of labels", placeholder="the one trained on")
        name = c.text_input("Name of the run", placeholder="first", help="Letters, digits, -, _ and . only.")
        if st.form_submit_button("Record", icon=":material/play_arrow:"):
            with sentences():
                data = resolve_inside(folder, roots)
                record_job(roots[0], name, checkpoint, data, split, label)


def show_jobs() -> None:
    """The recordings, looked at again every two seconds while one runs."""
    jobs = find_jobs(runs_folder().resolve())
    if not jobs:
        return
    st.subheader("Recordings")
    running = any(look(job).state == "running" for job in jobs)
    st.fragment(list_jobs, run_every=SECONDS_BETWEEN_LOOKS if running else None)()


def list_jobs() -> None:
    for job in find_jobs(runs_folder().resolve())[:MOST_JOBS]:
        with st.container(border=True):
            show_job(job)


def show_job(job: Job) -> None:
    status, key = look(job), job.folder.name
    text, button = st.columns([5, 1])
    state = f":{STATES[status.state]}[{status.state}]"
    text.markdown(f"**{plain(job.run.name)}** · {state} · started {plain(job.started)}")
    if status.state == "running":
        left = f", {status.left} s left" if status.left is not None else ""
        counted = f"{status.done} of {status.total} clips{left}" if status.total else "starting"
        text.progress(status.done / status.total if status.total else 0.0, text=counted)
        button.button("Cancel", key=f"cancel {key}", on_click=cancel, args=(job,))
    elif status.state == "finished":
        text.caption(plain(status.word))
        if (job.run / "run.json").is_file():
            where = {"run": job.run.name}
            button.page_link("workbench/pages/predictions.py", label="Open the run", query_params=where)
    elif status.state == "failed":
        text.error(f"It failed: {plain(status.word or 'without a word.')}")
    else:
        why = "The machine was started again meanwhile" if status.state == "lost" else "It was cancelled"
        text.caption(f"{why}; record under the same name, and it goes on.")
    if status.log:
        with st.expander("Log"):
            st.code(status.log, language=None)


st.title("Your own")
with sentences():
    chosen = choose_network()
    if chosen is not None:
        path, checkpoint = chosen
        one, many = st.tabs(["One video", "Record a dataset"])
        with one:
            show_video(path, checkpoint)
        with many:
            show_recording(path)
show_jobs()
