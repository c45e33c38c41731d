"""The `sth` command: what it makes, and what it says to a user's mistake."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from analysis.runs import recording
from analysis.runs.run_directory import open_run, predictions
from sth_core.errors import UserError
from sth_core.files import sha256
from tests import forked
from tests.forked import Forked
from tests.tiny import save_tiny, write_run
from workbench.cli import COMMANDS, main

RECIPE = """
[data]
label = "motion"
[model]
backbone = "resnet18"
width = 8
frames = 4
[preprocessing]
frames = 4
resize = 36
crop = 32
[optimisation]
epochs = 2
batch_size = 8
learning_rate = 0.01
warmup_epochs = 0.5
momentum = 0.9
weight_decay = 5e-4
label_smoothing = 0.0
clip_gradient = 5.0
seed = 0
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("network") / "tiny.safetensors")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


def sth(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def ends_well(*arguments: Any) -> str:
    """What the command prints."""
    result = sth(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def mistake(*arguments: Any) -> str:
    """The one line that a mistake gets."""
    result = sth(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("sth: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    return result.stderr


def test_help_lists_every_command() -> None:
    said = ends_well("--help")
    assert {"data", "train", "record", "figures", "app", "demo", "import"} <= set(COMMANDS)
    for command in COMMANDS:
        assert f"\n  {command} " in said


def test_data_synthesize(tmp_path: Path) -> None:
    arguments = ("data", "synthesize", tmp_path / "set", "--clips", 3, "--split", "test", "--workers", 1)
    assert str(tmp_path / "set" / "manifest.csv") in ends_well(*arguments)
    assert len(list((tmp_path / "set" / "test").glob("*.mp4"))) == 3
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "set" / "test").iterdir()}
    assert "3 clips" in ends_well(*arguments)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "set" / "test").iterdir()} == written


def test_train_record_figures(scenes_folder: Path, recipe: Path, tmp_path: Path) -> None:
    network = tmp_path / "out" / "model.safetensors"
    said = ends_well("train", recipe, "--data", scenes_folder, "-o", tmp_path / "out", "--set", "optimisation.epochs=1")
    assert f"on 24 held-out clips; network: {network}" in said
    assert (tmp_path / "out" / "metrics.csv").read_text().count("\n") == 2  # --set was heard
    card = network.with_suffix(".md").read_text(encoding="utf-8")
    assert f"model card: {network.with_suffix('.md')}" in said
    assert f"command: `sth train {recipe.name} --set optimisation.epochs=1 --data DATA -o OUT`" in card
    assert str(tmp_path) not in card and str(scenes_folder) not in card

    run = tmp_path / "runs [1]" / "first"  # brackets are markup to the library that draws the bars
    said = ends_well("record", network, "--data", scenes_folder, "-o", run)
    table = predictions(open_run(run))
    accuracy = table["correct"].mean()
    assert said.endswith(f"24 clips, 0 of them unreadable; accuracy {accuracy:.3f}; run: {run}\n")
    assert open_run(run).meta["checkpoint_sha256"] == sha256(network)

    said = ends_well("figures", tmp_path / "runs [1]", "-o", tmp_path / "figures")
    pages = sorted((tmp_path / "figures").glob("figure[5-8]*.html"))
    assert [page.stem for page in pages] == ["figure5_layers", "figure6_proportions", "figure7_datasets"]
    for page in pages:
        assert f"{page} (" in said


def test_record_another_column_and_split(checkpoint: Path, scenes_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ends_well("record", checkpoint, "--data", scenes_folder, "-o", out, "--split", "train", "--label", "appearance")
    run = open_run(out)
    assert (run.meta["label"], run.meta["split"]) == ("appearance", "train")
    assert "striped disc" in set(predictions(run)["label"])


TRAIN, RECORD = "train {recipe} --data {data} -o {out} --set", "record {network} --data {data} -o {out}"
MISTAKES = [
    ("record {tmp}/nothing.safetensors --data {data} -o {out}", "no such checkpoint"),
    ("record {text} --data {data} -o {out}", "is not a safetensors file"),
    ("record {network} --data {tmp}/nowhere -o {out}", "no such dataset folder"),
    ("train {recipe} --data {tmp}/nowhere -o {out}", "no such dataset folder"),
    (f"{RECORD} --split test", "'train': 24"),
    (f"{RECORD} --label colour", "has no column 'colour'"),
    (f"{TRAIN} optimisation.epoch=3", "unknown key 'epoch' (did you mean 'epochs'?)"),
    (f"{TRAIN} optimization.epochs=3", "unknown section 'optimization' (did you mean 'optimisation'?)"),
    (f"{TRAIN} epochs=3", "a change must look like section.key=value, got 'epochs=3'"),
    (f"{TRAIN} optimisation.epochs=many", "epochs must be a whole number from 1 to 100,000, got 'many'"),
    (f"{TRAIN} model.backbone=resnet19", "unknown backbone 'resnet19' (did you mean 'resnet18'?)"),
    (f"{TRAIN} model.temporal_fraction=0.3", "temporal_fraction must be 1/n"),
    ("train {colour} --data {data} -o {out}", "colour.toml [optimisation]: unknown key 'colour'"),
    ("train {tmp}/no.toml --data {data} -o {out}", "cannot read the recipe"),
    ("figures {tmp}/nowhere -o {out}", "no such folder of runs"),
    ("figures {tmp}/empty -o {out}", "no run with attention"),
    ("figures {tmp}/flat -o {out}", "no run with attention"),
    ("record {network} --data {data} -o {text}/run", "text.safetensors"),
    ("figures {tmp}/runs -o {text}", "text.safetensors"),
]


@pytest.mark.parametrize(("command", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    command: str, sentence: str, checkpoint: Path, recipe: Path, scenes_folder: Path, tmp_path: Path
) -> None:
    text, colour = tmp_path / "text.safetensors", tmp_path / "colour.toml"
    text.write_text("hello")
    colour.write_text(RECIPE + "colour = 1\n")
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "flat" / "one", [[0.5]], conv="2d", attention=False)
    write_run(tmp_path / "runs" / "one", [[0.5]])
    paths = {"network": checkpoint, "data": scenes_folder, "out": tmp_path / "out", "tmp": tmp_path}
    words = [word.format(**paths, text=text, colour=colour, recipe=recipe) for word in command.split()]
    assert sentence in mistake(*words)
    assert not (tmp_path / "out").exists() and text.read_text() == "hello"


def test_a_mistake_in_a_real_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workbench", "record", "nothing.safetensors", "--data", str(tmp_path), "-o", "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sth: no such checkpoint: nothing.safetensors\n"


def test_developers_can_have_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STH_DEBUG", "1")
    assert isinstance(sth("figures", tmp_path / "nowhere", "-o", tmp_path).exception, UserError)


def sth_that_rests(*words: str) -> None:
    """`sth WORDS`, which rests after the second clip for as long as no signal comes."""
    results = recording.batch_results

    def resting(*arguments: Any, **more: Any) -> Iterator[Any]:
        for number, batch in enumerate(results(*arguments, **more)):
            if number == 2:
                print("resting", flush=True)
                time.sleep(300)
            yield batch

    recording.batch_results = resting
    forked.sth(*words)


def test_ctrl_c_and_on_again(checkpoint: Path, scenes_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["record", str(checkpoint), "--data", str(scenes_folder), "-o", str(run)]
    with Forked(sth_that_rests, *arguments, "--batch-size", "1") as process:
        process.wait_until(lambda: "resting" in process.said)
        os.kill(process.pid, signal.SIGINT)
        process.wait()
    assert process.code == 130, process.said
    assert "sth: stopped; the same command continues from here\n" in process.said
    assert "Traceback" not in process.said
    assert "2 of 24 clips so far" in open_run(run).problem
    ends_well(*arguments)
    assert open_run(run).problem == ""
    assert len(predictions(open_run(run))) == 24
