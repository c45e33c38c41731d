"""The app's page for one's own videos and datasets, and its jobs in the background."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from playwright.sync_api import expect

from analysis.runs.run_directory import find_runs, open_run, predictions
from benchmarks.browser import serving
from sth_core.checkpoint import save_checkpoint
from sth_core.errors import UserError
from sth_core.video.transforms import Preprocessing
from tests.test_app import open_page
from tests.tiny import CLASSES, RGB, save_tiny, tiny_network, write_moving_video
from workbench import jobs, uploads
from workbench.jobs import Job, JobProcess, JobStatus, cancel_job, find_jobs, job_status, record_job, start_job
from workbench.uploads import DecodedUpload, UploadLimits

OWN = "workbench/pages/own.py"


def wait_for(job: Job, seconds: float = 60) -> JobStatus:
    deadline = time.monotonic() + seconds
    while job_status(job).state == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    return job_status(job)


def sleeper(runs: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Job:
    """A job that runs this Python script, and has begun to."""
    (runs / "fake").mkdir(parents=True, exist_ok=True)
    sleep = "print('sleeping', flush=True)\nimport time; time.sleep(3600)"
    (runs / "fake" / "workbench.py").write_text(f"{script}\n{sleep}")
    monkeypatch.setenv("PYTHONPATH", str(runs / "fake"))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # or else `-m workbench` were the one in this folder
    job = start_job(runs, runs / "x", [])
    while "sleeping" not in job_status(job).log:
        assert job_status(job).state == "running", job_status(job).log
        time.sleep(0.05)
    return job


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, scenes_folder: Path) -> tuple[Path, Job, Job]:
    """A folder of runs with a recording that has finished, and one that failed. Two at a time; a third was refused."""
    runs = tmp_path_factory.mktemp("runs")
    checkpoint = save_tiny(runs / "tiny.safetensors")
    good = record_job(runs, "first", checkpoint, scenes_folder, "val", "motion")
    bad = record_job(runs, "second", checkpoint, scenes_folder, "<b>none*")
    assert job_status(good).state == job_status(bad).state == "running"
    with pytest.raises(UserError, match="2 jobs are running already"):
        record_job(runs, "third", checkpoint, scenes_folder, "val")
    assert psutil.Process(good.process.pid).nice() == jobs.PRIORITY
    wait_for(good)
    wait_for(bad)
    return runs, good, bad


def test_a_recording_in_the_background_makes_a_run(recorded):
    runs, good, _ = recorded
    status = job_status(good)
    assert (status.state, status.done, status.total) == ("finished", 24, 24), status.log
    run = open_run(runs / "first")
    assert not run.problem and len(predictions(run)) == 24
    assert [run.name for run in find_runs(runs)] == ["first"]
    assert [job.run.name for job in find_jobs(runs)] == ["second", "first"] and find_jobs(runs)[1] == good


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[" * 9999,
        {"run": 3},
        {"process": {"pid": "1"}},
        {"process": {"pid": -1}},
        {"command": [1]},
        {"started": "today"},
    ],
)
def test_a_damaged_job_is_named_and_the_others_are_listed(content, recorded, tmp_path):
    _, good, _ = recorded
    folders = [Path(shutil.copytree(good.folder, tmp_path / ".jobs" / name)) for name in ("1", "2")]
    file = folders[0] / "job.json"
    stored = json.loads(file.read_text())
    file.write_text(content if isinstance(content, str) else json.dumps(stored | content))
    said: list[str] = []
    assert [job.folder.name for job in find_jobs(tmp_path, said.append)] == ["2"]
    assert len(said) == 1 and said[0].startswith(f"{file} is damaged (")


def test_a_failure_is_its_last_line(recorded):
    *_, bad = recorded
    status = job_status(bad)
    assert status.state == "failed"
    assert status.last_line.startswith("no clips in the split '<b>none*'")


def test_the_page_lists_the_jobs_as_plain_text(recorded, monkeypatch):
    app = open_page(recorded[0], monkeypatch, OWN)
    errors = [error.value for error in app.error]
    assert len(errors) == 1 and "split '\\<b\\>none\\*'" in errors[0]
    assert ":green[finished]" in "\n".join(m.value for m in app.markdown)
    assert not any(m.allow_html for m in app.markdown)
    (link,) = app.get("page_link")
    assert (link.proto.label, link.proto.query_string) == ("Open the run", "run=first")


NOW = "2999-01-01T00:00:00+00:00"  # after any start of this machine


def test_progress_is_read_from_the_log(tmp_path):
    job = Job(tmp_path, tmp_path / "x", [], NOW, JobProcess(os.getpid()))
    (tmp_path / "log.txt").write_text("recording x: 8/240\nrecording x: 12/240, 30 s left \n\x1b[31mnoise\n")
    status = job_status(job)
    assert (status.done, status.total, status.seconds_left, status.last_line) == (12, 240, 30, "[31mnoise")


def test_another_process_with_the_jobs_number_is_not_the_job(tmp_path):
    (tmp_path / "log.txt").touch()
    me = JobProcess.of(os.getpid())
    job = Job(tmp_path, tmp_path / "x", [], NOW, me)
    earlier = replace(job, process=replace(me, created=me.created - 60))
    for changed, state in (
        (job, "running"),
        (earlier, "failed"),
        (replace(earlier, started="2001-01-01T00:00:00+00:00"), "lost"),  # before the machine's last start
        (replace(job, process=replace(me, host="another")), "lost"),
    ):
        assert job_status(changed).state == state
    cancel_job(earlier)  # or else this test would end here


@pytest.mark.parametrize(
    ("log", "cancelled", "state"),
    [("24 clips; run: {run}", False, "finished"), ("no", False, "lost"), ("no", True, "cancelled")],
)
def test_a_job_of_an_older_version_can_be_read(log, cancelled, state, tmp_path):
    folder, run = tmp_path / ".jobs" / "20240101-000000-000000-abc", tmp_path / "x"
    folder.mkdir(parents=True)
    process = {"pid": os.getpid(), "boot": "7bd6", "began": 1234}
    old = {"run": str(run), "command": ["sth"], "started": "2001-01-01T00:00:00+00:00", "process": process}
    (folder / "job.json").write_text(json.dumps(old | {"cancelled": cancelled}))
    (folder / "log.txt").write_text(log.format(run=run))
    (job,) = find_jobs(tmp_path)
    assert job_status(job).state == state
    cancel_job(job)


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_cancel_ends_a_job(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "SECONDS_TO_END", 3600.0)  # SIGTERM is enough
    job = sleeper(tmp_path, monkeypatch, "")
    cancel_job(job)
    assert job_status(find_jobs(tmp_path)[0]).state == "cancelled"


def test_cancel_ends_a_job_that_does_not_listen_and_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "SECONDS_TO_END", 0.3)
    script = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)']).pid)"
    )
    job = sleeper(tmp_path, monkeypatch, script)
    child = int(job_status(job).log.split()[0])
    cancel_job(job)
    wait_for(job)  # SIGKILL is not instantaneous
    assert job_status(find_jobs(tmp_path)[0]).state == "cancelled"
    deadline = time.monotonic() + 60  # nor is it for the child
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not runs(child)


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


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving_video(tmp_path_factory.mktemp("video") / "<b>my *video*.mp4")


def decode_at_once(content: memoryview, p: Preprocessing, limits: UploadLimits) -> DecodedUpload:
    """Stands in for the child, which other tests start."""
    if len(content) < 100:
        raise UserError("*no video*")
    return DecodedUpload(
        np.zeros((p.frames, p.crop, p.crop, 3), np.uint8), np.zeros((p.frames, 224, 224, 3), np.uint8), np.arange(4)
    )


def test_a_network_by_its_path_and_an_upload(tmp_path, video, monkeypatch):
    monkeypatch.setattr(uploads, "decode_upload", decode_at_once)
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
    next(control for control in app.segmented_control if control.label == "Frames").set_value("reversed").run()
    scores, what_if = (html.proto.body for html in app.get("html") if "score" in html.proto.body)
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
        by_label["Folder of the dataset"].set_value(str(folder))
        by_label["Name of the run"].set_value("mine")
        app.button[0].click().run()
        assert ["lies outside" in error.value for error in app.error] == [True] * (folder != scenes_folder)
    assert ":blue[running]" in "\n".join(m.value for m in app.markdown)
    assert "Everyone who uses this app sees these and can cancel them" in " ".join(one.value for one in app.caption)
    next(button for button in app.button if button.label == "Cancel").click().run()
    assert ":gray[cancelled]" in "\n".join(m.value for m in app.markdown)
    (job,) = find_jobs(tmp_path)
    assert not job.process.find() and job.run == tmp_path / "mine"
    assert job.command[3:] == [
        "record", str(recorded[0] / "tiny.safetensors"), f"--data={scenes_folder}", f"--out={tmp_path / 'mine'}",
        f"--inside={tmp_path}", f"--inside={scenes_folder}",
    ]  # fmt: skip


@pytest.mark.browser
@pytest.mark.long
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
