"""A training's folder is never overwritten by other work, and a training can be continued with other settings."""

import json
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from sth_core import load_checkpoint, training_state
from sth_core.datasets.table import read_dataset
from sth_core.errors import OtherWork, UserError
from sth_core.training import Progress, Trained, first_state, train
from sth_core.training_state import TrainingState, read_metrics
from tests.test_stop_and_go import RECIPE
from tests.test_training import tiny, weights
from workbench.cli import main

ONE_EPOCH = {"optimisation__epochs": 1, "optimisation__batch_size": 4}
TWO_EPOCHS = ONE_EPOCH | {"optimisation__epochs": 2}


@pytest.fixture(scope="module")
def table(scenes_folder: Path) -> pd.DataFrame:
    """8 clips to train on, and 8 to test with whose classes have training clips."""
    clips = read_dataset(scenes_folder, tiny().data)
    trained = set(clips.loc[clips["split"] == "train", "label"].head(8))
    return clips[clips["label"].isin(trained)].groupby("split").head(8).reset_index(drop=True)


@pytest.fixture(scope="module")
def finished(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch: copy it, never write in it."""
    folder = tmp_path_factory.mktemp("finished")
    train(tiny(**ONE_EPOCH), table, folder, "cpu", command="sth train ...")
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def refusal(folder: Path, table: pd.DataFrame, changes: dict[str, Any], **options: bool) -> str:
    """Why a training is refused; the folder is as it was."""
    before = contents(folder)
    with pytest.raises(UserError) as refused:
        train(tiny(**ONE_EPOCH | changes), table, folder, "cpu", **options)
    assert contents(folder) == before
    return str(refused.value)


def continued(
    folder: Path, table: pd.DataFrame, changes: dict[str, Any], **options: bool
) -> tuple[list[str], set[int]]:
    """The sentences that it says, and the epochs that are trained."""
    sentences: list[str] = []
    steps: list[Progress] = []
    train(tiny(**ONE_EPOCH | changes), table, folder, "cpu", steps.append, notify=sentences.append, **options)
    return sentences, {p.epoch for p in steps if p.stage == "training"}


def test_training_json_describes_the_training(folder: Path, table: pd.DataFrame) -> None:
    meta = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert meta["optimisation"]["learning_rate"] == 0.05 and meta["data"]["label"] == "motion"
    assert (meta["model"]["backbone"], meta["model"]["width"], meta["model"]["conv"]) == ("resnet18", 8, "sth")
    assert meta["classes"] == sorted(set(table.loc[table["split"] == "train", "label"]))
    assert (meta["clips"], meta["val_clips"], meta["adjustments"], meta["command"]) == (16, 8, [], "sth train ...")
    assert meta["val_accuracy"] == load_checkpoint(folder / "model.safetensors").training["val_accuracy"]
    assert meta["started"] <= meta["finished"] and "torch" in meta["versions"]


@pytest.mark.parametrize(
    ("changes", "differences"),
    [
        ({"optimisation__learning_rate": 0.1}, "optimisation.learning_rate is 0.05, now 0.1"),
        ({"optimisation__seed": 1}, "optimisation.seed is 0, now 1"),
        ({"model__width": 16, "data__fold": 2}, "data.fold is 1, now 2; model.width is 8, now 16"),
        ({"model__conv": "tsm"}, "model.temporal_fraction is 0.25, now 0.0; model.attention is True, now False"),
        ({"augment__flip": True}, "augment.flip is False, now True"),
        ({"start__checkpoint": "workbench/networks/motion-rgb-p4.safetensors"}, "start.checkpoint is '', now 'work"),
    ],
)
def test_another_training_is_refused_and_each_difference_is_named(
    changes: dict[str, Any], differences: str, folder: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sth_core.training.load_start_weights", lambda *_: None)
    sentence = refusal(folder, table, changes)
    assert sentence.startswith(f"{folder} holds another training (") and differences in sentence
    assert "choose another folder, or give --overwrite" in sentence
    adjustable = "optimisation__learning_rate" in changes
    assert ("give --resume" in sentence) == adjustable
    if not adjustable:
        assert differences in refusal(folder, table, changes, resume=True)


@pytest.mark.parametrize(
    ("column", "words"),
    [("label", "(2 labels changed: train/"), ("split", "(1 split changed: val/"), ("clip_id", "(2 clips are new: ")],
)
def test_other_clips_are_another_training_and_the_difference_is_named(
    column: str, words: str, folder: Path, table: pd.DataFrame
) -> None:
    other = table.copy()
    rows = other.index[other["split"] == "train"] if column == "label" else other.index[-2:]
    other.loc[rows[:2], column] = other.loc[rows[1::-1], column].to_numpy() if column == "label" else ["train", "x"]
    sentence = refusal(folder, other, {})
    assert words in sentence and "clips_sha256" not in sentence
    (folder / "clips.csv").unlink()  # as an earlier version left it
    assert "labels or splits of its clips differ" in refusal(folder, other, {})


def test_a_finished_training_is_not_repeated(folder: Path, table: pd.DataFrame) -> None:
    before, first = contents(folder), json.loads((folder / "training.json").read_text(encoding="utf-8"))
    sentences: list[str] = []

    def report(p: Progress) -> None:
        raise AssertionError("it reads clips")

    again = train(tiny(**ONE_EPOCH), table, folder, "cpu", report, notify=sentences.append)
    assert again == Trained(folder / "model.safetensors", first["val_accuracy"], 8, {})
    assert sentences == [f"the training in {folder} was finished before; nothing was done"]
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("failures.parquet", b"PAR1", "failures.parquet cannot be read ("),
        ("failures.parquet", b"", "failures.parquet cannot be read ("),
        ("training.json", {"val_accuracy": "x"}, "training.json is damaged (it has val_accuracy 'x', not a number"),
        ("training.json", {"val_clips": None}, "training.json is damaged (it has val_clips None, not a whole number"),
        ("training.json", b"[" * 9999, "training.json is damaged ("),
        ("training.json", b"[1]", "training.json is damaged (it holds [1], not a JSON object)"),
        ("training.json", b"{}\xff", "training.json is damaged ("),
    ],
)
def test_a_finished_training_whose_files_are_damaged(
    name: str, content: bytes | dict[str, Any], said: str, folder: Path, table: pd.DataFrame
) -> None:
    file = folder / name
    if isinstance(content, dict):
        content = json.dumps(json.loads(file.read_text()) | content).encode()
    file.write_bytes(content)
    assert said in refusal(folder, table, ONE_EPOCH)


def test_a_kept_table_of_clips_in_which_one_stands_twice_explains_nothing(folder: Path, table: pd.DataFrame) -> None:
    file = folder / "clips.csv"
    file.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")
    changed = table.assign(label=table["label"].where(table.index != 0, table["label"].iloc[-1]))
    assert "clips.csv cannot be read, so that it is not known which" in refusal(folder, changed, ONE_EPOCH)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "No columns"), (b"epoch,loss\n0,1\n", "it has no numbers in accuracy, learning_rate, val_accuracy"),
        (b"\xff\xfe", "codec"), (b'a,b\n"1', "EOF"),
        (b"epoch,loss,accuracy,learning_rate,val_accuracy,val_clips\n0,x,1,1,1,1\n", "it has no numbers in loss"),
    ],
)  # fmt: skip
def test_damaged_metrics_are_named(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"^{file} cannot be read .*{said}"):
        read_metrics(file)


def test_resume_continues_with_more_epochs_and_another_learning_rate(folder: Path, table: pd.DataFrame) -> None:
    changes = {"optimisation__epochs": 2, "optimisation__learning_rate": 0.01, "optimisation__momentum": 0.5}
    assert "give --resume" in refusal(folder, table, changes)
    sentences, epochs = continued(folder, table, changes, resume=True)
    assert epochs == {2}, "the first epoch was trained again"
    assert sentences == [
        "resumed after 1 epochs and 0 steps with optimisation.epochs 2 (before: 1), "
        "optimisation.learning_rate 0.01 (before: 0.05), optimisation.momentum 0.5 (before: 0.9)"
    ]
    differences = {"epochs": [1, 2], "learning_rate": [0.05, 0.01], "momentum": [0.9, 0.5]}
    made = [{"epoch": 1, "step": 0, "changes": {f"optimisation.{key}": pair for key, pair in differences.items()}}]
    training = load_checkpoint(folder / "model.safetensors").training
    meta = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert training["adjustments"] == meta["adjustments"] == made and training["epochs"] == 2
    assert meta["optimisation"]["learning_rate"] == 0.01 and meta["finished"]
    groups = torch.load(folder / "state.pt", weights_only=True)["optimiser"]["param_groups"]
    assert {group["momentum"] for group in groups} == {0.5}
    metrics = pd.read_csv(folder / "metrics.csv")
    assert list(metrics["epoch"]) == [1, 2] and metrics["learning_rate"][1] < 0.01
    assert continued(folder, table, changes) == (
        [f"the training in {folder} was finished before; nothing was done"], set(),
    )  # fmt: skip


def test_resuming_with_more_epochs_is_the_training_that_was_stopped_and_changed(
    folder: Path, table: pd.DataFrame, tmp_path: Path
) -> None:
    """With a schedule that does not depend on the number of epochs the weights are those of one long training."""
    constant = {"optimisation__schedule": "step", "optimisation__decay_epochs": [9]}
    train(tiny(**ONE_EPOCH | constant), table, tmp_path / "short", "cpu")
    continued(tmp_path / "short", table, TWO_EPOCHS | constant, resume=True)
    train(tiny(**TWO_EPOCHS | constant), table, tmp_path / "long", "cpu")
    one, other = weights(tmp_path / "short"), weights(tmp_path / "long")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_resuming_a_training_that_has_enough_epochs_is_refused(folder: Path, table: pd.DataFrame) -> None:
    sentence = refusal(folder, table, {"optimisation__learning_rate": 0.1}, resume=True)
    assert sentence == (
        f"the training in {folder} has 1 epochs already; to resume it with other values, set optimisation.epochs to "
        "more (now 1)"
    )


def test_a_setting_that_is_newer_than_the_folder_has_its_default(folder: Path, table: pd.DataFrame) -> None:
    file = folder / "training.json"
    meta = json.loads(file.read_text(encoding="utf-8"))
    del meta["optimisation"]["evaluate_every"], meta["model"]["dilations"], meta["data"]["direction"], meta["start"]
    file.write_text(json.dumps(meta), encoding="utf-8")
    assert continued(folder, table, {})[1] == set()
    assert continued(folder, table, {"optimisation__epochs": 2}, resume=True)[1] == {2}
    assert "model.dilations is [1], now [2]" in refusal(
        folder, table, {"optimisation__epochs": 2, "model__dilations": [2]}
    )


def test_overwrite_moves_the_earlier_training_aside(folder: Path, table: pd.DataFrame) -> None:
    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    sentences, epochs = continued(folder, table, {"optimisation__seed": 1}, overwrite=True)
    assert sentences == [f"the earlier training was moved to {folder / '.replaced-1'}"] and epochs == {1}
    assert contents(folder / ".replaced-1") == {name: text for name, text in before.items() if name != "notes.txt"}
    assert json.loads((folder / "training.json").read_text(encoding="utf-8"))["optimisation"]["seed"] == 1


@pytest.mark.parametrize("kept", ["state.pt", "model.safetensors"])
def test_a_folder_of_an_earlier_version_is_refused(kept: str, folder: Path, table: pd.DataFrame) -> None:
    for path in folder.iterdir():
        if path.is_file() and path.name != kept:
            path.unlink()
    shutil.rmtree(folder / "tensorboard")
    sentence = refusal(folder, table, {}, resume=True)
    assert sentence.startswith(f"{folder} holds {kept} but no training.json")
    assert "choose another folder, or give --overwrite, which moves it to" in sentence


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_state_is_named(share: float, folder: Path, table: pd.DataFrame) -> None:
    file = folder / "state.pt"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    sentence = refusal(folder, table, {"optimisation__epochs": 2}, resume=True)
    assert sentence.startswith(f"{file} is damaged (") and sentence.count("\n") == 0
    assert "delete it to train from the first epoch again, or give --overwrite" in sentence


@pytest.fixture(scope="module")
def first(table: pd.DataFrame) -> TrainingState:
    """The state before the first step, which no refused file changes."""
    return first_state(tiny(**ONE_EPOCH), sorted(set(table["label"])), torch.device("cpu"))


@pytest.fixture
def state_file(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(finished / "state.pt", tmp_path))


def state_refusal(state: TrainingState, file: Path) -> str:
    """Why a state is refused; nothing has changed."""
    before = {name: weight.clone() for name, weight in state.model.state_dict().items()}
    with pytest.raises(OtherWork) as refused:
        state.load(file, torch.device("cpu"))
    assert all(torch.equal(weight, before[name]) for name, weight in state.model.state_dict().items())
    assert state.epoch == 0 and not state.optimiser.state
    sentence = str(refused.value)
    assert sentence.endswith("; delete it to train from the first epoch again, or give --overwrite")
    assert sentence.startswith(str(file)) and "\n" not in sentence
    return sentence.removeprefix(f"{file} ")


def edited_state(file: Path, *path: Any, value: Any) -> None:
    """Replace a value of a saved state; `path` are the keys that lead to it."""
    state = torch.load(file, weights_only=True)
    inner = state
    for key in path[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value(inner[path[-1]]) if callable(value) else value
    torch.save(state, file)


GONE = object()


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("model",), GONE, "state has ['sums', 'epoch', 'step',"),
        (("model",), {}, "missing backbone.conv1.weight, and "),
        (("model", "fc.weight"), torch.zeros(3, 3), "fc.weight is (3, 3) where the network has (8, "),
        (("model", "fc.weight"), "a text", "'fc.weight' is no tensor"),
        (("model", "fc.weight"), lambda w: w.to_sparse(), "'fc.weight' is no tensor"),
        (("model", "fc.weight"), lambda w: w.to(torch.int8), "fc.weight is of type torch.int8"),
        (("model", "fc.weight"), lambda w: w * torch.nan, "fc.weight has a value that is not finite"),
        (("model", "backbone.bn1.running_var"), lambda w: w - 9, "running_var has a value that is a variance below 0"),
        (("epoch",), -1, "state has epoch -1, not a whole number from 0"),
        (("epoch",), 2, "its metrics are not those of its epochs"),
        (("step",), "1", "state has step '1'"),
        (("best",), float("nan"), "state has best nan"),
        (("metrics", 0), [], "metrics is []"),
        (("metrics", 0, "loss"), None, "metrics has loss None, not a number"),
        (("sums", "loss"), float("inf"), "sums has loss inf"),
        (("val_failures",), {"a": 3}, "val_failures has {'a': 3}, not texts"),
        (("scaler",), {"scale": 1.0}, "scaler has ['scale']"),
        (("optimiser", "param_groups"), [], "the optimiser's parameters are others"),
        (("optimiser", "param_groups", 0, "lr"), float("nan"), "the optimiser's learning rate is none"),
        (("optimiser", "state", 0), None, "the optimiser's momentum does not fit the network"),
        (("optimiser", "state", 0, "momentum_buffer"), torch.zeros(2), "momentum does not fit the network"),
        (("optimiser", "state", 0, "momentum_buffer"), lambda w: w / 0, "or is not finite"),
        (("optimiser", "state", 999), {"momentum_buffer": None}, "momentum does not fit the network"),
    ],
)
def test_a_state_that_is_none_of_this_training_is_named_with_what_is_wrong(
    path: tuple[Any, ...], value: Any, problem: str, first: TrainingState, state_file: Path
) -> None:
    edited_state(state_file, *path, value=value)
    sentence = state_refusal(first, state_file)
    assert sentence.startswith("is no state of this training: ") and problem in sentence


def another_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("a.txt", "no state")


def another_pickle(file: Path) -> None:
    file.write_bytes(pickle.dumps({"model": Path}))


def cut_off(share: float) -> Callable[[Path], Any]:
    return lambda file: file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])


def half_random(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] + random.Random(0).randbytes(len(content) // 2))


@pytest.mark.parametrize(
    ("write", "beginning"),
    [
        *[(cut_off(share), "is damaged (") for share in (0, 0.0001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999)],
        (another_zip, "is damaged ("),
        (another_pickle, "is damaged ("),
        (half_random, "is damaged ("),
        (lambda file: file.write_bytes(random.Random(0).randbytes(5000)), "is damaged ("),
        (lambda file: file.write_text("a text"), "is damaged ("),
        (lambda file: torch.save([1, 2], file), "is no state of this training: state is [1, 2]"),
        (lambda file: torch.save({}, file), "is no state of this training: state has []"),
    ],
)
def test_a_strange_state_is_named(
    write: Callable[[Path], Any], beginning: str, first: TrainingState, state_file: Path
) -> None:
    write(state_file)
    assert state_refusal(first, state_file).startswith(beginning)


def test_a_state_of_another_network_is_named(first: TrainingState, tmp_path: Path) -> None:
    first_state(tiny(**ONE_EPOCH, model__width=16), ["a", "b"], torch.device("cpu")).save(tmp_path / "state.pt")
    assert "is no state of this training: backbone.conv1.weight is (16, 3, 7, 7)" in state_refusal(
        first, tmp_path / "state.pt"
    )


def test_a_state_is_on_the_disk_before_it_has_its_name(
    first: TrainingState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(training_state, "sync", lambda path: synced.append(path))
    first.save(tmp_path / "state.pt")
    assert len(synced) == 2 and synced[1] == tmp_path
    assert synced[0].parent == tmp_path and synced[0].name.startswith(".state.")


def test_a_network_without_its_state_is_not_trained_again(folder: Path, table: pd.DataFrame) -> None:
    (folder / "state.pt").unlink()
    assert "holds a network, but no state.pt" in refusal(folder, table, {"optimisation__epochs": 2}, resume=True)


def test_the_command_has_both_options(scenes_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    out = tmp_path / "run"

    def sth(*more: str) -> tuple[int, str]:
        words = ["train", str(tmp_path / "tiny.toml"), "--data", str(scenes_folder), "-o", str(out), "--device", "cpu"]
        result = CliRunner().invoke(main, [*words, *more])
        return result.exit_code, result.output

    def epochs(count: int) -> tuple[str, ...]:
        return ("--set", f"optimisation.epochs={count}", "--set", "optimisation.warmup_epochs=0")

    assert sth(*epochs(1))[0] == 0
    code, refused = sth(*epochs(2))
    assert code == 2 and "optimisation.epochs is 1, now 2" in refused and "--resume" in refused
    code, output = sth(*epochs(2), "--resume")
    assert code == 0 and "resumed after 1 epochs and 0 steps with optimisation.epochs 2 (before: 1)" in output
    code, output = sth(*epochs(1), "--overwrite")
    assert code == 0 and f"the earlier training was moved to {out / '.replaced-1'}" in output.replace("\n", "")
    assert (out / ".replaced-1" / "curves.html").is_file() and len(pd.read_csv(out / "metrics.csv")) == 1
