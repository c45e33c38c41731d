"""Training that is interrupted, distributed over processes, or reads its clips from disk ends with the same network."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from analysis.attention.alpha_matrix import read_alpha
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import record
from analysis.runs.run_directory import open_run, predictions
from sth_core import load_checkpoint
from sth_core.datasets.clips import TrainClips
from sth_core.datasets.random_clips import Augment
from sth_core.datasets.table import read_dataset
from sth_core.optimisation import learning_rate, set_train
from sth_core.recipe import load_recipe
from sth_core.shards import shards
from sth_core.training import Progress, train
from tests.forked import ROOT, Forked, ended, sth, sth_by_two
from tests.test_training import tiny, weights
from tests.tiny import FLOW, RGB, listed_clips, one_torch_thread, save_tiny, tiny_network

RECIPE = """
[data]
label = "motion"
[model]
backbone = "resnet18"
width = 8
frames = 2
dropout = 0.2
[preprocessing]
frames = 2
resize = 36
crop = 32
[augment]
flip = true
[optimisation]
epochs = 3
batch_size = 6
learning_rate = 0.05
warmup_epochs = 1
momentum = 0.9
weight_decay = 5e-4
label_smoothing = 0.05
clip_gradient = 5.0
seed = 0
evaluate_every = 1
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def data(scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 clips to train on, three steps an epoch, and 6 to test with."""
    return listed_clips(scenes_folder, tmp_path_factory.mktemp("clips") / "data", train=18, val=6)


TWO_EPOCHS = ("--set", "optimisation.epochs=2")


def training(recipe: Path, data: Path, out: Path, *more: str) -> list[str]:
    words = ["train", str(recipe), "--data", str(data), "-o", str(out), "--device", "cpu"]
    return [*words, "--save-every", "0", *more]


def same(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return all(torch.equal(one[name], other[name]) for name in one)


def stop(words: list[str], out: Path, when: Callable[[], bool], number: signal.Signals) -> None:
    """Start a training, and end it by a signal as soon as `when` holds."""
    with Forked(sth, *words) as process:
        process.wait_until(when)
        os.kill(process.pid, number)
        process.wait()
    assert not (out / "model.safetensors").exists(), "it was done before it was stopped"
    if number == signal.SIGKILL:
        assert process.code == -number
    else:
        assert process.code == 128 + number and "stopped; the same command continues from here" in process.said


@pytest.mark.long
def test_interrupted_three_times_it_ends_with_the_same_weights(
    recipe: Path, data: Path, tmp_path: Path, whole: Path
) -> None:
    out = tmp_path / "broken"
    words = training(recipe, data, out)
    last = (0, 0)
    for lines, number in ((0, signal.SIGTERM), (2, signal.SIGINT), (3, signal.SIGKILL)):  # metrics.csv has a head

        def reached(lines: int = lines) -> bool:
            return (out / "state.pt").exists() and len(lines_of(out / "metrics.csv")) >= lines

        stop(words, out, reached, number)
        state = torch.load(out / "state.pt", weights_only=True)
        assert (state["epoch"], state["step"]) > last
        last = state["epoch"], state["step"]
    again = ended(sth, *words)
    assert again.code == 0, again.said
    assert same(out, whole)
    for name in ("model.safetensors", "metrics.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def lines_of(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    done = ended(sth, *training(folder / "recipe.toml", data, folder / "run"))
    assert done.code == 0, done.said
    return folder / "run"


def test_a_run_shows_its_curves_and_keeps_its_best_epoch(whole: Path) -> None:
    table = pd.read_csv(whole / "metrics.csv", float_precision="round_trip")
    assert list(table["epoch"]) == [1, 2, 3]
    assert table[["accuracy", "val_accuracy"]].stack().between(0, 1).all()
    best = load_checkpoint(whole / "best.safetensors").training
    assert best["val_accuracy"] == table["val_accuracy"].max()
    assert "scatter" in (whole / "curves.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def by_two(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs by two processes, which torchrun starts."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    sth = str(Path(sys.executable).with_name("sth"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = training(folder / "recipe.toml", data, folder / "run", *TWO_EPOCHS)
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, "--no-python", sth, *words], cwd=ROOT, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("held-out clips; network:") == 1
    return folder / "run"


def test_two_processes_train_as_one_that_accumulates_two_parts(
    recipe: Path, data: Path, tmp_path: Path, by_two: Path
) -> None:
    """Batch norm sees a process's part of the batch; otherwise only the order of sums differs."""
    alone = load_recipe(recipe, ("optimisation.epochs=2", "optimisation.accumulate=2"))
    with one_torch_thread():  # as each of the two has
        train(alone, read_dataset(data, alone.data), tmp_path / "one", "cpu")
    first, second = weights(tmp_path / "one"), weights(by_two)
    for name in first:
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(first[name], second[name], atol=2e-4, rtol=2e-3, msg=name)
    losses = [pd.read_csv(folder / "metrics.csv")["loss"] for folder in (tmp_path / "one", by_two)]
    assert losses[0].tolist() == pytest.approx(losses[1].tolist(), rel=1e-3)


@pytest.mark.long
def test_two_nodes_train_as_two_processes_of_one(recipe: Path, data: Path, tmp_path: Path, by_two: Path) -> None:
    """Each node is a network namespace of its own: they reach each other over a virtual cable alone."""
    namespace = ["unshare", "--map-root-user", "--net"]
    try:
        cable = [*namespace, "ip", "link", "add", "name", "node0", "type", "veth", "peer", "name", "node1"]
        tried = subprocess.run(cable, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"two nodes need unshare and ip (util-linux, iproute2): {error}")
    if tried.returncode:
        pytest.skip(f"this machine allows no network namespaces: {tried.stderr.strip()}")
    nodes = [*namespace, "bash", str(ROOT / "tests" / "two_nodes.sh"), sys.executable]
    words = [str(Path(sys.executable).with_name("sth")), *training(recipe, data, tmp_path / "run", *TWO_EPOCHS)]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*nodes, *words], cwd=ROOT, env=alone, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("held-out clips; network:") == 1
    assert same(tmp_path / "run", by_two)


def said_by_us(said: str) -> list[str]:
    """Without the lines of torch.distributed, of which some versions greet each process."""
    return [line for line in said.splitlines() if not line.startswith("[Gloo]")]


def test_two_processes_refuse_the_folder_of_another_training(recipe: Path, data: Path, by_two: Path) -> None:
    before = (by_two / "model.safetensors").read_bytes()
    words = training(recipe, data, by_two, *TWO_EPOCHS)
    for refused in sth_by_two(*words, "--set", "optimisation.seed=1"):
        assert refused.code == 2 and refused.said.count("(optimisation.seed is 0, now 1)") == 1
    first, second = sth_by_two(*words)
    assert first.code == 0 and "was finished before; nothing was done" in first.said
    assert second.code == 0 and not said_by_us(second.said)
    assert (by_two / "model.safetensors").read_bytes() == before


@pytest.mark.long
def test_two_processes_record_the_same_as_one(data: Path, tmp_path: Path) -> None:
    network = save_tiny(tmp_path / "model.safetensors")
    words = ("record", network, "--data", data, "-o", tmp_path / "two", "--device", "cpu", "--batch-size", 1)
    first, second = sth_by_two(*words)
    assert first.code == second.code == 0, first.said + second.said
    assert "6 clips, 0 of them unreadable" in first.said and not said_by_us(second.said)
    record(network, data, tmp_path / "one", DatasetOptions(batch_size=1))
    one, two = (open_run(tmp_path / name) for name in ("one", "two"))
    assert two.problem == "" and len(shards(two.path, "predictions")) == 2
    a, b = predictions(one), predictions(two)
    assert list(a["clip_id"]) == list(b["clip_id"]) and list(a["prediction"]) == list(b["prediction"])
    np.testing.assert_allclose(np.stack(list(a["scores"])), np.stack(list(b["scores"])), atol=1e-5)
    alphas = [read_alpha(run).temporal for run in (one, two)]
    np.testing.assert_allclose(*alphas, atol=1e-5)


def train_and_die_once(recipe: Path, data: Path, out: Path) -> None:
    """As one of two processes, of which the second kills itself after its fifth step, but not when restarted."""
    loaded = load_recipe(recipe, ("optimisation.epochs=2",))

    def die(p: Progress) -> None:
        first_attempt = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if (p.stage, p.done, os.environ["RANK"]) == ("training", 5, "1") and first_attempt:
            os.kill(os.getpid(), signal.SIGKILL)

    train(loaded, read_dataset(data, loaded.data), out, "cpu", die, save_every=0)


def under_torchrun(call: Callable[..., None], *arguments: Path) -> None:
    """What `torchrun --standalone --nproc-per-node 2 --max-restarts 1` does, but its processes are forked."""
    config = LaunchConfig(
        1, 1, 2, run_id="once", rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=1, start_method="fork"
    )
    elastic_launch(config, call)(*arguments)


@pytest.mark.long
def test_a_process_that_dies_is_restarted_and_nothing_is_lost(
    recipe: Path, data: Path, tmp_path: Path, by_two: Path
) -> None:
    done = ended(under_torchrun, train_and_die_once, recipe, data, tmp_path / "run")
    assert done.code == 0, done.said
    assert re.search("exitcode: -9|by peer", done.said), done.said  # torchrun names whichever ended first
    assert same(tmp_path / "run", by_two)


@pytest.mark.parametrize("modality", ["rgb", "flow"])
def test_clips_read_from_disk_are_those_kept_in_memory(modality: str, scenes_folder: Path) -> None:
    p = FLOW if modality == "flow" else RGB
    table = read_dataset(scenes_folder, tiny().data)
    table = table[table["split"] == "train"].head(3)
    classes = sorted(set(table["label"]))
    augment = Augment(crop_scales=(1.0, 0.9), flip=True)
    kept, read = (TrainClips(table, classes, p, augment) for _ in range(2))
    kept.load()
    read.load(memory=0)
    assert len(kept.kept) == 3 and not read.kept and kept.rows == read.rows
    for row in kept.rows:
        for seed in range(4):
            a, b = (clips.sample(row, np.random.default_rng(seed)) for clips in (kept, read))
            assert a is not None and b is not None and a[1] == b[1] and np.array_equal(a[0], b[0])


def test_a_clip_that_is_lost_while_training_is_left_out_and_named(scenes_folder: Path, tmp_path: Path) -> None:
    table = read_dataset(scenes_folder, tiny().data)
    table = table.groupby("split").head(8).reset_index(drop=True)
    lost = table[table["split"] == "train"].iloc[3]
    table.loc[table["clip_id"] == lost["clip_id"], "path"] = str(tmp_path / "gone.mp4")
    result = train(tiny(), table, tmp_path / "run", "cpu", memory=0)
    assert result.failures == {lost["clip_id"]: f"{tmp_path / 'gone.mp4'}: no such file"}
    failures = pd.read_parquet(tmp_path / "run" / "failures.parquet")
    assert list(failures["clip_id"]) == [lost["clip_id"]]


def test_the_rate_falls_to_a_tenth_at_each_step() -> None:
    o = tiny(optimisation__epochs=50, optimisation__schedule="step", optimisation__decay_epochs=[20, 40]).optimisation
    assert [learning_rate(o, epoch) for epoch in (5, 19.9, 20, 39, 40)] == pytest.approx(
        [0.05, 0.05, 0.005, 0.005, 0.0005]
    )


def test_partial_batch_norm_freezes_all_but_the_first() -> None:
    model = tiny_network()
    set_train(model, partial_bn=True)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms[0].training and norms[0].weight.requires_grad
    assert not any(norm.training or norm.weight.requires_grad for norm in norms[1:])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_keeps_fp32_weights(precision: str, scenes_folder: Path, tmp_path: Path) -> None:
    table = read_dataset(scenes_folder, tiny().data).groupby("split").head(8)
    recipe = tiny(optimisation__precision=precision, optimisation__epochs=1)
    train(recipe, table, tmp_path / "run", "cpu")
    assert {tensor.dtype for tensor in weights(tmp_path / "run").values() if tensor.is_floating_point()} == {
        torch.float32
    }


def logged(out: Path, name: str) -> list[tuple[int, float]]:
    """What TensorBoard shows of a scalar."""
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_shows_each_step_once_although_training_was_stopped(scenes_folder: Path, tmp_path: Path) -> None:
    table = read_dataset(scenes_folder, tiny().data).groupby("split").head(8)
    recipe = tiny(optimisation__batch_size=4, optimisation__evaluate_every=1)

    class Stopped(Exception):
        pass

    def stop(p: Progress) -> None:
        if p.stage == "training" and p.done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train(recipe, table, tmp_path / "run", "cpu", stop)
    train(recipe, table, tmp_path / "run", "cpu")
    assert [step for step, _ in logged(tmp_path / "run", "step/loss")] == [1, 2, 3, 4]
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert [step for step, _ in logged(tmp_path / "run", "epoch/loss")] == [2, 4]
    for name in ("loss", "accuracy", "val_accuracy"):
        values = [value for _, value in logged(tmp_path / "run", f"epoch/{name}")]
        assert values == pytest.approx(metrics[name].tolist(), rel=1e-6)
    first, last = (value for _, value in logged(tmp_path / "run", "step/loss")[:2])
    assert (first + last) / 2 == pytest.approx(metrics["loss"][0], rel=1e-6)  # the epoch's mean over its two steps


def with_a_full_disk(size: int, *words: str) -> None:
    """`sth WORDS` when no file can grow beyond `size` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    sth(*words)


def test_a_full_disk_is_reported_and_nothing_is_lost(recipe: Path, data: Path, tmp_path: Path, whole: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")

    def written() -> dict[Path, bytes]:
        files = (file for file in (tmp_path / "run").glob("[a-s]*.*") if file.is_file())
        return {file: file.read_bytes() for file in files}

    before = written()
    assert {tmp_path / "run" / name for name in ("model.safetensors", "state.pt", "metrics.csv")} < set(before)
    words = training(recipe, data, tmp_path / "run", "--set", "optimisation.epochs=4", "--resume")
    full = ended(with_a_full_disk, 100_000, *words)
    assert full.code == 2 and "Traceback" not in full.said
    assert f"cannot write {tmp_path / 'run' / 'state.pt'}" in full.said
    assert "what was written before is kept" in full.said
    assert written() == before
