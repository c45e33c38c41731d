"""Ctrl-C and SIGTERM are heard within two seconds at any time; what was read is kept, and no process is left."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import record
from analysis.runs.run_directory import open_run, predictions
from analysis.runs.saved_views import save_view
from sth_core import trainer, training
from sth_core.datasets.table import read_dataset
from sth_core.readers import Readers
from sth_core.stopping import Interrupted, hear_signals, raise_if_stopping, stop_requested, uninterrupted
from sth_core.training import train
from tests.forked import ROOT, Forked, sth
from tests.test_stop_and_go import RECIPE, same
from tests.test_study import STUDY
from tests.test_training import tiny
from tests.tiny import copy_clips, one_torch_thread, save_tiny, write_moving_video

SECONDS = 40.0  # two are promised; a machine that does much else may need more, but not as long as the clip
LOOK = 0.05  # seconds between two looks at a process
LONG = 300_000  # packets of 1920 x 1080 after one keyframe: at least 100 seconds to decode
STH = [sys.executable, "-m", "workbench"]
DATA = "--data {data} --device cpu"
COMMANDS = {  # a command, what stops it, and whether a clip is in work then
    "train": (f"train {{recipe}} {DATA} -o {{out}}", signal.SIGINT),
    "train by processes": (f"train {{recipe}} {DATA} -o {{out}} --workers 2 --memory 0", signal.SIGINT),
    "record": (f"record {{network}} {DATA} -o {{out}} --workers 1 --batch-size 1", signal.SIGTERM),
    "check": ("data check {data} --workers 2 -o {out}", signal.SIGINT),
    "flow": ("data flow {data} --workers 2 -o {out}", signal.SIGTERM),
    "study": (f"study {{study}} {DATA} --jobs 1 -o {{out}}", signal.SIGINT),
}
KILLED = (
    "check",
    "flow",
    "study",
    "train by processes",
)  # which start processes; their main process alone is killed, in a second call


def write_long_video(path: Path, packets: int) -> None:
    """A video that takes long to decode and not to write: packets that say that nothing changes, after one keyframe."""
    buffer, picture = io.BytesIO(), np.zeros((1080, 1920, 3), np.uint8)
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "1000", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for _ in range(8):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        file.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as few, av.open(str(path), "w", format="mp4") as file:
        source = few.streams.video[0]
        stream = file.add_stream_from_template(source)
        first, *others = [bytes(packet) for packet in few.demux(source) if packet.size]
        for number in range(packets):
            packet = av.Packet(others[number % len(others)] if number else first)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), number == 0
            packet.pts = packet.dts = number
            file.mux(packet)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, a recipe, a study, and four clips of each split, of which the last two are long."""
    folder = tmp_path_factory.mktemp("interruption")
    save_tiny(folder / "network.safetensors")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    (folder / "data").mkdir()
    write_moving_video(folder / "short.mp4")
    write_long_video(folder / "long.mp4", LONG)
    lines = ["path,label,motion,split"]
    for split in ("val", "train"):
        for i in range(4):
            path = folder / "data" / f"{'c' if split == 'val' else 't'}{i}.mp4"
            os.link(folder / ("short.mp4" if i < 2 else "long.mp4"), path)
            lines.append(f"{path.name},{('still', 'moving')[i % 2]},{('still', 'moving')[i % 2]},{split}")
    (folder / "data" / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Stopped:
    """A command that was stopped while it decoded a long clip."""

    code: int | None
    said: str
    seconds: float
    left: list[psutil.Process]
    out: Path


def started(words: list[str], **more: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"} | more
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*STH, *words], cwd=ROOT, text=True, env=environment, start_new_session=True, **streams)


def seconds_until(holds: Callable[[], object], most: float = 300) -> float:
    """The seconds for which something did not hold yet, `most` if it never did.

    They are counted in looks, not by the clock: a virtual machine may stand still while its clock goes on."""
    for look in range(int(most / LOOK)):
        if holds():
            return look * LOOK
        time.sleep(LOOK)
    return most


def wait_until(holds: Callable[[], object]) -> None:
    assert seconds_until(holds, 300) < 300


def reads_a_long_clip(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        files = [Path(file.path) for one in (process, *process.children(recursive=True)) for file in one.open_files()]
        return any(file.suffix == ".mp4" and file.stem[1:] in ("2", "3") for file in files)
    return False


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    left = []
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            left += [one] if one.is_running() and one.status() != psutil.STATUS_ZOMBIE else []
    return left


def sth_reading_by_processes(*words: object) -> None:
    """`sth WORDS` in this process, its clips read by processes as beside a GPU."""
    training.pick_readers = lambda device, workers, streams: Readers(workers, True, streams)  # type: ignore[assignment]
    sth(*words)


def stopped(name: str, folder: Path, kill: bool = False) -> Stopped:
    command, number = COMMANDS[name]
    out, number = (folder / f"{name} killed", signal.SIGKILL) if kill else (folder / name, number)
    paths = {key: folder / file for key, file in (("recipe", "recipe.toml"), ("study", "study.toml"), ("data", "data"))}
    paths |= {"network": folder / "network.safetensors", "out": out}
    call = sth_reading_by_processes if "by processes" in name else sth
    with Forked(call, *(word.format(**paths) for word in command.split())) as process:
        one = psutil.Process(process.pid)
        wait_until(lambda: reads_a_long_clip(one) or process.code is not None)
        time.sleep(0.5)
        children = one.children(recursive=True)
        # The terminal sends Ctrl-C to all processes that belong to it.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        seconds = seconds_until(lambda: process.code is not None, SECONDS)
        if process.code is None:
            os.kill(process.pid, signal.SIGABRT)  # prints where each thread is
        seconds_until(lambda: not running(children), SECONDS)
        left = running(children)
        for child in left:
            child.kill()
        return Stopped(process.wait().code, process.said, seconds, left, out)


@pytest.fixture(scope="module")
def all_stopped(folder: Path) -> dict[str, Stopped]:
    """All commands at the same time, as they wait for most of it."""
    with ThreadPoolExecutor(len(COMMANDS) + len(KILLED)) as pool:
        ways = {name: (name, False) for name in COMMANDS} | {f"{name} killed": (name, True) for name in KILLED}
        ended = {key: pool.submit(stopped, name, folder, kill) for key, (name, kill) in ways.items()}
        return {key: future.result() for key, future in ended.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_stopped_while_it_decodes(name: str, all_stopped: dict[str, Stopped]) -> None:
    done = all_stopped[name]
    print(f"{name} ended after {done.seconds:.1f} s")
    assert done.code == 128 + COMMANDS[name][1], f"after {done.seconds:.1f} s: {done.said}"
    assert "Traceback" not in done.said and "sth: stopping ..." in done.said
    assert done.said.splitlines()[-1].startswith("sth: stopped")
    assert done.seconds < SECONDS
    assert not done.left
    assert not list(done.out.rglob(".*.part*"))


@pytest.mark.parametrize("name", KILLED)
def test_no_process_outlives_a_main_process_that_was_killed_alone(name: str, all_stopped: dict[str, Stopped]) -> None:
    done = all_stopped[f"{name} killed"]
    assert done.code == -signal.SIGKILL and not done.left, done.said


def test_what_was_read_is_kept(all_stopped: dict[str, Stopped]) -> None:
    """Of the two short clips at least one was done when a long one was begun."""
    run, short = open_run(all_stopped["record"].out), {"c0.mp4", "c1.mp4"}
    recorded = set(predictions(run)["clip_id"])
    assert recorded and recorded <= short and f"{len(recorded)} of 4 clips so far" in run.problem
    lines = (all_stopped["check"].out / "checked.jsonl").read_text(encoding="utf-8").splitlines()
    checked = {json.loads(line)["clip_id"] for line in lines}
    assert checked and checked <= short
    assert list(all_stopped["flow"].out.glob("c[01]/flow_x_00001.jpg"))
    assert "stopping: waiting for 1 network to save its state" in all_stopped["study"].said


def test_a_recording_keeps_every_clip_that_it_has_counted(
    checkpoint: Path, scenes_folder: Path, tmp_path: Path
) -> None:
    data, shown = copy_clips(scenes_folder, tmp_path / "data", 4), []

    def interrupted(done: int, total: int) -> None:
        shown.append(done)
        if done == 2:
            ctrl_c()

    with hear_signals(), pytest.raises(Interrupted):
        record(checkpoint, data, tmp_path / "run", DatasetOptions(batch_size=1, progress=interrupted))
    assert "2 of 4 clips so far" in open_run(tmp_path / "run").problem
    record(checkpoint, data, tmp_path / "run", DatasetOptions(batch_size=1, progress=lambda n, _: shown.append(n)))
    assert shown == [0, 1, 2, 2, 3, 4] and len(predictions(open_run(tmp_path / "run"))) == 4


def test_while_torch_is_imported(folder: Path) -> None:
    process = started(["record", str(folder / "network.safetensors"), "--data", str(folder / "data"), "-o", "run"])
    one = psutil.Process(process.pid)
    wait_until(lambda: any("libtorch" in file.path for file in one.memory_maps()))
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130 and "Traceback" not in said and "sth: stopped" in said


def test_the_processes_of_a_pool_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    process = started(["data", "synthesize", str(tmp_path), "--clips", "500", "--workers", "2"])
    wait_until(lambda: list(tmp_path.glob("val/*.mp4")))
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert len(children) >= 2 and seconds_until(lambda: not running(children), SECONDS) < SECONDS


@pytest.mark.long
def test_a_report_that_is_interrupted_ends_its_browser_and_leaves_no_file(demo: Path, tmp_path: Path) -> None:
    runs = shutil.copytree(demo / "runs", tmp_path / "runs")
    first = min(path.name for path in runs.iterdir() if (path / "run.json").is_file())
    for number in range(20):
        save_view(runs, f"layers {number}", "", "attention", {"runs": [first]})
    process = started(["report", str(runs), "-o", str(tmp_path / "report.html")])
    one = psutil.Process(process.pid)
    wait_until(lambda: any("chrom" in child.name() for child in one.children(recursive=True)))
    children = one.children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130 and "Traceback" not in said and "sth: stopped" in said
    assert seconds_until(lambda: not running(children), SECONDS) < SECONDS
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


STUBBORN = """
import subprocess, sys, time
from sth_core.stopping import hear_signals

with hear_signals():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        print(child.pid, flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)
"""


def test_a_second_ctrl_c_ends_the_process_and_its_children_at_once() -> None:
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    child = psutil.Process(int(process.stdout.readline()))
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)  # as `timeout` and torchrun: two signals for one request
        time.sleep(0.7)
    assert seconds_until(lambda: process.poll() is not None, SECONDS) < SECONDS
    assert process.returncode in (130, 143)
    assert seconds_until(lambda: not running([child]), SECONDS) < SECONDS


def test_a_block_is_not_interrupted_and_the_request_is_heard_at_its_end() -> None:
    steps = []
    with pytest.raises(Interrupted) as interrupted, hear_signals():
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            raise_if_stopping()
            steps.append("whole")
        steps.append("not reached")
    assert steps == ["whole"] and interrupted.value.number == signal.SIGTERM
    assert not stop_requested()  # the next one starts anew
    raise_if_stopping()


def ctrl_c(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def in_forward(patch: pytest.MonkeyPatch) -> None:
    losses = trainer.Trainer.losses

    def interrupted(self: trainer.Trainer, part: trainer.Batch) -> tuple[torch.Tensor, float]:
        found = losses(self, part)
        if self.state.step == 1:
            ctrl_c()
        return found

    patch.setattr(trainer.Trainer, "losses", interrupted)


def in_backward(patch: pytest.MonkeyPatch) -> None:
    """Without a Python instruction after the signal, until the next parameter has its gradient."""
    losses = trainer.Trainer.losses

    def interrupted(self: trainer.Trainer, part: trainer.Batch) -> tuple[torch.Tensor, float]:
        loss, correct = losses(self, part)
        if self.state.step == 1:
            loss.register_hook(ctrl_c)
        return loss, correct

    patch.setattr(trainer.Trainer, "losses", interrupted)


def in_optimiser_step(patch: pytest.MonkeyPatch) -> None:
    step = torch.optim.SGD.step

    def interrupted(self: torch.optim.SGD, *arguments: object) -> None:
        ctrl_c()
        step(self, *arguments)

    patch.setattr(torch.optim.SGD, "step", interrupted)


def in_evaluation(patch: pytest.MonkeyPatch) -> None:
    evaluate = trainer.accuracy

    def interrupted(*arguments: object) -> object:
        found = evaluate(*arguments)
        ctrl_c()
        return found

    patch.setattr(trainer, "accuracy", interrupted)


def while_an_epoch_is_written(patch: pytest.MonkeyPatch) -> None:
    write = training.write_csv

    def interrupted(*arguments: object) -> None:
        ctrl_c()
        write(*arguments)

    patch.setattr(training, "write_csv", interrupted)


@pytest.fixture(scope="module")
def uninterrupted_training(scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(scenes_folder, tmp_path_factory.mktemp("training") / "whole")


def trained(scenes: Path, out: Path) -> Path:
    recipe = tiny(optimisation__batch_size=4, optimisation__epochs=2, optimisation__evaluate_every=1)
    table = read_dataset(scenes, recipe.data).groupby("split").head(8).reset_index(drop=True)
    with one_torch_thread():
        train(recipe, table, out, "cpu")
    return out


@pytest.mark.parametrize(
    ("moment", "epoch", "step"),
    [
        (in_forward, 0, 1), (in_backward, 0, 1), (in_optimiser_step, 0, 1), (in_evaluation, 0, 2),
        (while_an_epoch_is_written, 1, 0),
    ],
)  # fmt: skip
def test_a_training_interrupted_at_any_moment_goes_on_from_its_last_whole_step(
    moment: Callable[[pytest.MonkeyPatch], None], epoch: int, step: int, uninterrupted_training: Path,
    scenes_folder: Path, tmp_path: Path,
) -> None:  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        moment(patch)
        trained(scenes_folder, tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert (state["epoch"], state["step"]) == (epoch, step)
    trained(scenes_folder, tmp_path)
    assert same(tmp_path, uninterrupted_training)
    metrics = [pd.read_csv(out / "metrics.csv") for out in (tmp_path, uninterrupted_training)]
    pd.testing.assert_frame_equal(*metrics)
