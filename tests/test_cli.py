"""The `sth` command: what it makes, and what it says to a user's mistake."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from analysis.runs.run_directory import open_run, predictions
from sth_core.errors import UserError
from sth_core.files import sha256
from tests.tiny import save_tiny, write_run
from workbench.cli import COMMANDS, main

# A shell that starts tests in the background lets them ignore Ctrl-C: here it must work.
STH = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from workbench.cli import main; main(prog_name='sth')",
]
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


def all_commands(group: click.Group, name: str = "") -> dict[str, click.Command]:
    found, context = {}, click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        below = all_commands(command, f"{name}{word} ") if isinstance(command, click.Group) else {}
        found |= below or {f"{name}{word}": command}
    return found


def test_help_lists_every_command() -> None:
    said = ends_well("--help")
    assert {"data synthesize", "train", "record", "figures", "app", "demo"} <= set(all_commands(main))
    for command in COMMANDS:
        assert f"\n  {command} " in said


@pytest.mark.parametrize("name", sorted(all_commands(main)))
def test_every_command_has_help(name: str) -> None:
    command = all_commands(main)[name]
    assert command.help
    assert len(command.help) > 20
    said = ends_well(*name.split(), "-h")
    assert f"Usage: main {name}" in said
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.opts[-1] in said


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


def test_a_checkpoint_that_is_none(scenes_folder: Path, tmp_path: Path) -> None:
    arguments = ("--data", scenes_folder, "-o", tmp_path / "run")
    assert "no such checkpoint" in mistake("record", tmp_path / "nothing.safetensors", *arguments)
    (tmp_path / "text.safetensors").write_text("hello")
    assert "is not a safetensors file" in mistake("record", tmp_path / "text.safetensors", *arguments)


def test_data_that_is_not_there(checkpoint: Path, recipe: Path, scenes_folder: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert "no such dataset folder" in mistake("record", checkpoint, "--data", nowhere, "-o", tmp_path / "run")
    assert "no such dataset folder" in mistake("train", recipe, "--data", nowhere, "-o", tmp_path / "out")
    said = mistake("record", checkpoint, "--data", scenes_folder, "-o", tmp_path / "run", "--split", "test")
    assert "'train': 24" in said
    said = mistake("record", checkpoint, "--data", scenes_folder, "-o", tmp_path / "run", "--label", "colour")
    assert "has no column 'colour'" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change,words",
    [
        ("optimisation.epoch=3", "unknown key 'epoch' (did you mean 'epochs'?)"),
        ("optimization.epochs=3", "unknown section 'optimization' (did you mean 'optimisation'?)"),
        ("epochs=3", "a change must look like section.key=value, got 'epochs=3'"),
        ("optimisation.epochs=many", "epochs must be of type int, got 'many'"),
        ("model.backbone=resnet19", "unknown backbone 'resnet19' (did you mean 'resnet18'?)"),
        ("model.temporal_fraction=0.3", "temporal_fraction must be 1/n"),
    ],
)
def test_a_bad_recipe(change: str, words: str, recipe: Path, scenes_folder: Path, tmp_path: Path) -> None:
    said = mistake("train", recipe, "--data", scenes_folder, "-o", tmp_path / "out", "--set", change)
    assert words in said
    assert not (tmp_path / "out").exists()


def test_a_recipe_with_an_unknown_key_names_the_file(recipe: Path, scenes_folder: Path, tmp_path: Path) -> None:
    recipe.write_text(RECIPE + "colour = 1\n")
    said = mistake("train", recipe, "--data", scenes_folder, "-o", tmp_path / "out")
    assert f"{recipe} [optimisation]: unknown key 'colour'" in said
    assert "cannot read the recipe" in mistake("train", tmp_path / "no.toml", "--data", scenes_folder, "-o", tmp_path)


def test_runs_that_are_none(tmp_path: Path) -> None:
    assert "no such folder of runs" in mistake("figures", tmp_path / "nowhere", "-o", tmp_path / "out")
    (tmp_path / "runs").mkdir()
    assert "no run with attention" in mistake("figures", tmp_path / "runs", "-o", tmp_path / "out")
    write_run(tmp_path / "runs" / "flat", [[0.5]], conv="2d", attention=False)
    assert "no run with attention" in mistake("figures", tmp_path / "runs", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_places_that_cannot_be_written(checkpoint: Path, scenes_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    write_run(tmp_path / "runs" / "one", [[0.5]])
    assert "file" in mistake("record", checkpoint, "--data", scenes_folder, "-o", tmp_path / "file" / "run")
    assert "file" in mistake("figures", tmp_path / "runs", "-o", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_mistake_in_a_real_process(tmp_path: Path) -> None:
    command = [*STH, "record", "nothing.safetensors", "--data", str(tmp_path), "-o", "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sth: no such checkpoint: nothing.safetensors\n"


def test_developers_can_have_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STH_DEBUG", "1")
    assert isinstance(sth("figures", tmp_path / "nowhere", "-o", tmp_path).exception, UserError)


def test_ctrl_c_and_on_again(checkpoint: Path, scenes_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["record", str(checkpoint), "--data", str(scenes_folder), "-o", str(run)]
    process = subprocess.Popen(
        [*STH, *arguments, "--batch-size", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 120
        while not (run / "run.json").exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "sth: stopped; the same command continues from here\n" in said
    assert "Traceback" not in said
    assert "recording has not finished" in open_run(run).problem
    ends_well(*arguments)
    assert open_run(run).problem == ""
    assert len(predictions(open_run(run))) == 24
