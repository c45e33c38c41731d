"""Videos and datasets of one's own in the app: what may be read, decoded, run, and by whom."""

import json
import os
import pickle
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from playwright.sync_api import expect

from analysis.runs.run_directory import find_runs, open_run, predictions
from benchmarks.browser import serving
from sth_core.checkpoint import save_checkpoint
from sth_core.errors import UserError
from sth_core.video.encoding import write_video
from sth_core.video.fields import read_clip
from sth_core.video.transforms import Preprocessing, crop
from tests.test_app import open_page
from tests.tiny import CLASSES, FLOW, RGB, save_tiny, tiny_network
from workbench import jobs, uploads
from workbench.cli import main
from workbench.jobs import Job, Process, boot, cancel, find_jobs, look, record_job, start
from workbench.roots import allowed_roots, resolve_inside
from workbench.uploads import Limits, Seen, decode, load

OWN = "workbench/pages/own.py"
INDICES = np.arange(4)


# What may be read.


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    for name in ("runs", "data/set", "data2", "outside"):
        (tmp_path / name).mkdir(parents=True)
    return [tmp_path / "runs", tmp_path / "data"]


def test_what_lies_inside_a_root_is_found_also_by_a_link_and_before_it_is_there(roots, tmp_path):
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "data" / "set")
    assert resolve_inside(tmp_path / "runs" / "link", roots) == tmp_path / "data" / "set"
    assert resolve_inside(str(tmp_path / "runs" / ".." / "data"), roots) == tmp_path / "data"
    assert resolve_inside(tmp_path / "runs" / "new", roots) == tmp_path / "runs" / "new"


def test_a_root_that_is_a_link_is_the_folder_it_points_to(roots, tmp_path):
    (tmp_path / "root").symlink_to(tmp_path / "outside")
    assert resolve_inside(tmp_path / "root" / "x", [tmp_path / "root"]) == tmp_path / "outside" / "x"


@pytest.mark.parametrize(
    "path",
    [
        "data/../outside",
        "data/../../..",
        "data2",
        "data2/no such file",
        "data/out",
        "data/out/x",
        "data/circle",
        "a\0b",
    ],
)
def test_what_leads_out_of_the_roots_is_refused_and_the_roots_are_named(path, roots, tmp_path):
    (tmp_path / "data" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "data" / "circle").symlink_to(tmp_path / "data" / "circle")
    with pytest.raises(UserError, match=f"{tmp_path / 'runs'}, {tmp_path / 'data'}$"):
        resolve_inside(f"{tmp_path}/{path}", roots)


@pytest.mark.parametrize("path", ["", "data/set", "~/data", "file:///etc/passwd"])
def test_a_path_that_is_not_absolute_is_refused(path, roots):
    with pytest.raises(UserError, match="no absolute path"):
        resolve_inside(path, roots)


# Uploads.


def moving(frames: int, height: int, width: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    for i in range(frames):
        yield np.roll(picture, 3 * i, 1)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "<b>my *video*.mp4"
    write_video(path, moving(30, 96, 128), 12)
    return path


HARD = Preprocessing("flow", frames=8, resize=480, crop=448, mean=(0.5,), std=(0.1,), flow_bound=8.0)
Decoding = tuple[Callable[[bytes], bytes], Preprocessing, Limits]
REFUSED: dict[str, Decoding] = {
    "the file is too large: 1.0 MB; at most 1 are taken": (lambda _: bytes(2**20 + 1), RGB, Limits(megabytes=1)),
    "cannot be used: not a video that": (lambda _: b"#EXTM3U\n/etc/passwd\n" * 9, RGB, Limits()),
    "not a video that can be decoded (Inv": (lambda content: content[: len(content) // 2], RGB, Limits()),
    "it is too long: 30 frames; at most 29 are taken": (lambda content: content, RGB, Limits(frames=29)),
    "its frames have 128 x 96 pixels; at most 12,000 are taken": (lambda content: content, RGB, Limits(pixels=12_000)),
    "needs more than 20 MB of memory": (lambda content: content, HARD, Limits(memory=20 * 2**20)),
    "takes more than 1 s of computing": (lambda content: content, HARD, Limits(cpu_seconds=1)),
    "was not decoded within 0.2 s": (lambda content: content, RGB, Limits(seconds=0.2)),
}  # fmt: skip


@pytest.fixture(scope="module")
def decodings(video: Path) -> Iterator[dict[str, Future]]:
    """Two at a time."""
    content = video.read_bytes()
    with ThreadPoolExecutor(2) as pool:
        yield {
            sentence: pool.submit(decode, spoiled(content), p, limits)
            for sentence, (spoiled, p, limits) in REFUSED.items()
        }


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_or_must_not_be_decoded_is_a_sentence(sentence, decodings):
    with pytest.raises(UserError) as refused:
        decodings[sentence].result()
    assert sentence in str(refused.value)
    assert "/tmp" not in str(refused.value) and "\n" not in str(refused.value)


def test_an_upload_is_what_the_network_would_see_of_the_file(video):
    seen = decode(video.read_bytes(), RGB)
    clip, indices = read_clip(video, RGB)
    assert np.array_equal(seen.clip, crop(clip, RGB.crop)) and np.array_equal(seen.indices, indices)
    assert seen.frames.shape == (4, 224, 224, 3)


class Attack:
    def __reduce__(self) -> tuple:
        return os._exit, (1,)


@pytest.mark.parametrize("array", ["pickle", "objects", "shape", "type", "missing"])
def test_the_childs_arrays_are_not_trusted(array, tmp_path):
    good: dict[str, Any] = {
        "clip": np.zeros((4, 32, 32, 3), np.uint8),
        "frames": np.zeros((4, 224, 224, 3), np.uint8),
        "indices": INDICES,
    }
    for name, values in good.items():
        np.save(tmp_path / f"{name}.npy", values)
    assert load(tmp_path, RGB).clip.shape == (4, 32, 32, 3)
    clip = tmp_path / "clip.npy"
    if array == "pickle":
        clip.write_bytes(pickle.dumps(Attack()))
    elif array == "missing":
        clip.unlink()
    else:
        bad = {"objects": np.array([Attack()]), "shape": good["clip"][1:], "type": good["clip"].astype(np.int8)}
        np.save(clip, bad[array], allow_pickle=True)
    with pytest.raises(UserError, match="no usable result"):
        load(tmp_path, RGB)


def test_the_child_gets_neither_the_token_nor_credentials(video, monkeypatch):
    monkeypatch.setenv("STH_TOKEN", "secret")
    given = {}
    monkeypatch.setattr(uploads.subprocess, "run", lambda *_, env, **__: given.update(env) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decode(video.read_bytes(), FLOW)
    assert set(given) <= {*uploads.INHERITED, "XDG_CACHE_HOME", "OMP_NUM_THREADS"}


# Jobs.


def wait_for(job: Job, seconds: float = 60) -> jobs.Status:
    deadline = time.monotonic() + seconds
    while look(job).state == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    return look(job)


def sleeper(runs: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Job:
    """A job that runs this Python script, and has begun to."""
    (runs / "fake").mkdir(parents=True, exist_ok=True)
    (runs / "fake" / "workbench.py").write_text(script + "\nprint('sleeping', flush=True)\nimport time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(runs / "fake"))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # or else `-m workbench` were the one in this folder
    job = start(runs, runs / "x", [])
    while "sleeping" not in look(job).log:
        assert look(job).state == "running", look(job).log
        time.sleep(0.05)
    return job


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, scenes_folder: Path) -> tuple[Path, Job, Job]:
    """A folder of runs with a recording that has finished, and one that failed. Two at a time; a third was refused."""
    runs = tmp_path_factory.mktemp("runs")
    checkpoint = save_tiny(runs / "tiny.safetensors")
    good = record_job(runs, "first", checkpoint, scenes_folder, "val", "motion")
    bad = record_job(runs, "second", checkpoint, scenes_folder, "<b>none*")
    assert look(good).state == look(bad).state == "running"
    with pytest.raises(UserError, match="2 jobs are running already"):
        record_job(runs, "third", checkpoint, scenes_folder, "val")
    assert os.getpriority(os.PRIO_PGRP, good.process.pid) == jobs.NICENESS
    wait_for(good)
    wait_for(bad)
    return runs, good, bad


def test_a_recording_in_the_background_makes_a_run(recorded):
    runs, good, _ = recorded
    status = look(good)
    assert (status.state, status.done, status.total) == ("finished", 24, 24), status.log
    run = open_run(runs / "first")
    assert not run.problem and len(predictions(run)) == 24
    assert [run.name for run in find_runs(runs)] == ["first"]
    assert [job.run.name for job in find_jobs(runs)] == ["second", "first"] and find_jobs(runs)[1] == good


def test_a_failure_is_its_last_line(recorded):
    *_, bad = recorded
    status = look(bad)
    assert status.state == "failed"
    assert status.word.startswith("no clips in the split '<b>none*'")


def test_the_page_lists_the_jobs_as_plain_text(recorded, monkeypatch):
    app = open_page(recorded[0], monkeypatch, OWN)
    errors = [error.value for error in app.error]
    assert len(errors) == 1 and "split '\\<b\\>none\\*'" in errors[0]
    assert ":green[finished]" in "\n".join(m.value for m in app.markdown)
    assert not any(m.allow_html for m in app.markdown)
    (link,) = app.get("page_link")
    assert (link.proto.label, link.proto.query_string) == ("Open the run", "run=first")


def test_progress_is_read_from_the_log(tmp_path):
    job = Job(tmp_path, tmp_path / "x", [], "", Process(os.getpid(), boot(), 0))
    (tmp_path / "log.txt").write_text("recording x: 8/240\nrecording x: 12/240, 30 s left \n\x1b[31mnoise\n")
    status = look(job)
    assert (status.done, status.total, status.left, status.word) == (12, 240, 30, "[31mnoise")


def test_another_process_with_the_jobs_number_is_not_the_job(tmp_path):
    (tmp_path / "log.txt").touch()
    me, _ = jobs.process(os.getpid())
    job = Job(tmp_path, tmp_path / "x", [], "", me)
    assert look(job).state == "running"
    assert look(replace(job, process=replace(me, began=me.began - 1))).state == "failed"
    assert look(replace(job, process=replace(me, boot="another"))).state == "lost"
    cancel(replace(job, process=replace(me, began=me.began - 1)))  # or else this test would end here


def test_cancel_ends_a_job(tmp_path, monkeypatch):
    job = sleeper(tmp_path, monkeypatch, "")
    began = time.monotonic()
    cancel(job)
    assert time.monotonic() - began < jobs.SECONDS_TO_END
    assert look(find_jobs(tmp_path)[0]).state == "cancelled"


def test_cancel_ends_a_job_that_does_not_listen_and_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "SECONDS_TO_END", 0.3)
    script = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    )
    job = sleeper(tmp_path, monkeypatch, script)
    child = int(look(job).log.split()[0])
    cancel(job)
    wait_for(job, 5)  # SIGKILL is not instantaneous
    assert look(find_jobs(tmp_path)[0]).state == "cancelled"
    for _ in range(50):  # nor is it for the child
        found = jobs.process(child)
        if found is None or found[1] in jobs.ENDED:
            break
        time.sleep(0.1)
    assert found is None or found[1] in jobs.ENDED


@pytest.mark.parametrize("name", ["", ".", "..", ".jobs", "a/b", "../a", "a b", "a\0", "<b>", "x" * 81, "ünïcode"])
def test_a_name_that_could_lead_elsewhere_is_refused(name, tmp_path):
    with pytest.raises(UserError, match="cannot be a run's name"):
        record_job(tmp_path, name, tmp_path / "a.safetensors", tmp_path, "val")
    assert not list(tmp_path.iterdir())


def test_other_mistakes_in_the_form_are_sentences(tmp_path):
    runs, network = tmp_path / "runs", tmp_path / "a.safetensors"
    (runs / "study" / "a").mkdir(parents=True)
    (runs / "out").symlink_to(tmp_path)
    for name, data, split, sentence in (
        ("a", tmp_path, "v\0", "cannot be a split"),
        ("a", tmp_path / "no", "val", "there is no folder"),
        ("study", tmp_path, "val", "is no run"),
        ("out", tmp_path, "val", "lies outside"),
    ):
        with pytest.raises(UserError, match=sentence):
            record_job(runs, name, network, data, split)


def test_without_proc_a_job_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "PROC", tmp_path)
    with pytest.raises(UserError, match="need Linux"):
        start(tmp_path, tmp_path / "x", [])


# Who gets in.


def served(monkeypatch: pytest.MonkeyPatch, *options: Any) -> tuple[str, list[str], dict[str, str]]:
    """What `sth app` prints, and the flags and environment that it starts the server with."""
    started: list[str] = []
    monkeypatch.setattr("workbench.serve.refusal", lambda host, port: "")  # of hosts that are not this one
    monkeypatch.setattr(os, "execv", lambda _, command: started.extend(command))
    monkeypatch.setattr(os, "chdir", lambda _: None)
    environment = dict(os.environ) | {"STH_TOKEN": "of another server"}
    monkeypatch.setattr(os, "environ", environment)
    result = CliRunner().invoke(main, ["app", *map(str, options)])
    return result.output, started, environment


def test_by_default_the_app_is_this_machines_alone(tmp_path, monkeypatch):
    _, flags, environment = served(monkeypatch, tmp_path / "runs")
    assert environment["STH_ADDRESS"] == "http://localhost:8501" and "STH_TOKEN" not in environment
    for flag in ("server.address=127.0.0.1", "server.allowedHosts=localhost", "server.maxUploadSize=200"):
        assert f"--{flag}" in flags
    assert "--server.enableXsrfProtection=true" in flags and "--server.enableCORS=true" in flags


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "2001:db8::7"])
def test_another_host_needs_a_token_which_is_printed_once(host, tmp_path, monkeypatch):
    _, flags, environment = served(monkeypatch, tmp_path, "--host", host, "--max-upload", 5)
    token, address = environment["STH_TOKEN"], environment["STH_ADDRESS"]
    assert len(token) >= 40 and address.endswith(f":8501/?token={token}")
    assert f"--server.address={host}" in flags and "--server.maxUploadSize=5" in flags
    assert not any(token in flag for flag in flags)
    assert ("[2001:db8::7]:8501" in address) == (":" in host)


@pytest.mark.parametrize(
    ("host", "said"), [("127.0.0.1", "port {port} is taken"), ("192.0.2.7", "nowhere that this machine can listen")]
)
def test_where_nothing_can_listen_a_sentence_says_so(host, said, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = CliRunner().invoke(main, ["app", str(tmp_path), "--host", host, "--port", str(port)])
    assert result.exit_code == 2 and said.format(port=port) in result.output


def test_roots_are_handed_to_the_app_as_they_are(tmp_path, monkeypatch):
    for name in ("a", "b", "c:d"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    roots = ["--root", tmp_path / "a", "--root", tmp_path / "link"]
    _, _, environment = served(monkeypatch, tmp_path / "runs", *roots)
    monkeypatch.setenv("STH_RUNS", environment["STH_RUNS"])
    monkeypatch.setenv("STH_ROOTS", environment["STH_ROOTS"])
    assert allowed_roots() == [tmp_path / "runs", tmp_path / "a", tmp_path / "b"]
    for wrong in ("c:d", "nothing"):
        said, flags, _ = served(monkeypatch, tmp_path / "runs", "--root", tmp_path / wrong)
        assert said.startswith("sth: --root") and not flags


# The page.


def decode_at_once(content: memoryview, p: Preprocessing, limits: Limits) -> Seen:
    """Stands in for the child, which other tests start."""
    if len(content) < 100:
        raise UserError("*no video*")
    return Seen(np.zeros((p.frames, p.crop, p.crop, 3), np.uint8), np.zeros((p.frames, 224, 224, 3), np.uint8), INDICES)


def test_a_network_by_its_path_and_an_upload(tmp_path, video, monkeypatch):
    monkeypatch.setattr(uploads, "decode", decode_at_once)
    (tmp_path / "runs").mkdir()
    save_tiny(tmp_path / "secret.safetensors")
    classes = [f"<b>{name}*" for name in CLASSES]
    save_checkpoint(tmp_path / "runs" / "net.safetensors", tiny_network(), classes, RGB)
    app = open_page(tmp_path / "runs", monkeypatch, OWN)
    for path, sentence in (("../secret.safetensors", "lies outside"), ("net.pth", "is no"), ("x.safetensors", "is no")):
        app.text_input[0].set_value(f"{tmp_path}/runs/{path}").run()
        assert sentence in app.error[0].value and not app.tabs
    app.text_input[0].set_value(f"{tmp_path}/runs/net.safetensors").run()
    assert not app.error
    app.file_uploader[0].upload(video.name, b"no video").run()
    assert [error.value for error in app.error] == ["\\*no video\\*"] and len(app.tabs) == 2
    app.file_uploader[0].set_value((video.name, video.read_bytes(), "video/mp4")).run()
    assert not app.error and not app.exception
    assert len(app.get("image")) == 8
    (scores,) = (html.proto.body for html in app.get("html") if "score" in html.proto.body)
    _, what_if = (chart.proto.spec for chart in app.get("plotly_chart"))
    for shown in (scores, what_if):
        assert "&lt;b&gt;" in shown and "<b>" not in shown
    by_label = {box.label: box for box in app.selectbox}
    by_label["Class"].set_value(classes[0])
    by_label["Layer"].set_value("layer2.1")
    by_label["Definition"].set_value("per_clip")
    app.run()
    name = f"\\<b\\>{CLASSES[0]}\\*"
    text = "\n".join(caption.value for caption in app.caption)
    assert f"**{name}** at layer2.1. Grad-CAM with weights per clip" in text


def test_a_checkpoint_that_changed_is_a_sentence(recorded, tmp_path, monkeypatch):
    shutil.copytree(recorded[0] / "first", tmp_path / "first")
    meta = json.loads((tmp_path / "first" / "run.json").read_text())
    (tmp_path / "first" / "run.json").write_text(json.dumps(meta | {"checkpoint_sha256": "another"}))
    app = open_page(tmp_path, monkeypatch, OWN)
    assert "has been replaced since the run first was recorded" in app.error[0].value


def test_the_form_starts_a_job_that_can_be_cancelled(recorded, tmp_path, scenes_folder, monkeypatch):
    shutil.copytree(recorded[0] / "first", tmp_path / "first")
    monkeypatch.setenv("STH_ROOTS", str(scenes_folder))
    app = open_page(tmp_path, monkeypatch, OWN)
    for folder in (scenes_folder.parent, scenes_folder):
        assert not find_jobs(tmp_path)
        by_label = {box.label: box for box in app.text_input}
        by_label["Dataset's folder"].set_value(str(folder))
        by_label["Name of the run"].set_value("mine")
        app.button[0].click().run()
        assert ["lies outside" in error.value for error in app.error] == [True] * (folder != scenes_folder)
    assert ":blue[running]" in "\n".join(m.value for m in app.markdown)
    next(button for button in app.button if button.label == "Cancel").click().run()
    assert ":gray[cancelled]" in "\n".join(m.value for m in app.markdown)
    (job,) = find_jobs(tmp_path)
    assert not job.process.alive and job.run == tmp_path / "mine"
    assert job.command[3:] == [
        "record", str(recorded[0] / "tiny.safetensors"), f"--data={scenes_folder}", f"--out={tmp_path / 'mine'}",
        "--split=val",
    ]  # fmt: skip


@pytest.mark.browser
def test_in_a_browser_an_upload_gets_its_top_5_and_grad_cam(recorded, video, page):
    with serving(recorded[0]) as (address, _):
        page.goto(f"{address}/own")
        expect(page.get_by_role("heading", name="Your own")).to_be_visible()
        page.locator("input[type=file]").set_input_files(video)
        expect(page.locator("img[alt^='Grad-CAM, frame']")).to_have_count(4)
        expect(page.get_by_text(video.name)).to_be_visible()
        expect(page.locator(".score .bar")).to_have_count(5)
        page.get_by_role("link", name="Open the run").click()
        expect(page.get_by_role("heading", name="Predictions")).to_be_visible()
        expect(page.get_by_text("over 24 clips")).to_be_visible()
