"""The command that is kept beside results can be typed in a shell, in any folder, and does the same."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from analysis.runs.run_directory import open_run
from tests.forked import ROOT
from tests.test_cli import ends_well
from tests.tiny import copy_clips, save_tiny
from workbench.cli.kinds import PATH, RECIPE, RUNS
from workbench.cli.options import changes_option, device_option, overwrite_option
from workbench.cli.typed import command_line


@click.group()
def sth() -> None: ...


@sth.command("made")
@click.argument("recipe", type=RECIPE)
@click.argument("runs", nargs=-1, type=RUNS)
@click.option("-o", "--out", type=PATH)
@click.option("--label")
@changes_option
@device_option
@overwrite_option
def made_command(**_: object) -> None:
    click.echo(command_line())


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("made ut", "made ut"),  # a shipped recipe, though there is a folder of the name
        ("made my.toml", "made {here}/my.toml"),
        ("made ut a ../b -o 'c d'", "made ut {here}/a {here}/../b --out '{here}/c d'"),
        ("made -o=c ut s3://bucket/runs", "made ut s3:/bucket/runs --out {here}/=c"),
        ("made ut --label=-x --overwrite --set a.b=1 --set 'a.c=\"2d\"'",
         "made ut --label=-x --set a.b=1 --set 'a.c=\"2d\"' --overwrite"),
        ("made ut --device cpu --label 'it''s; rm *'", "made ut --label 'its; rm *' --device cpu"),
    ],
)  # fmt: skip
def test_paths_are_absolute_and_words_quoted(
    typed: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ut").mkdir()
    (tmp_path / "my.toml").touch()
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(sth, shlex.split(typed)).output.strip()
    assert said == f"sth {kept.format(here=tmp_path)}"


def test_a_run_is_repeated_by_its_command_from_another_folder(
    scenes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my network").mkdir()
    save_tiny(tmp_path / "my network" / "tiny.safetensors")
    copy_clips(scenes_folder, tmp_path / "my data", 2)
    monkeypatch.chdir(tmp_path)
    ends_well("record", "my network/tiny.safetensors", "--data", "my data", "-o", "my run", "--device", "cpu")
    command = json.loads(Path("my run/run.json").read_text())["command"]
    (tmp_path / "my run").rename(tmp_path / "earlier")
    (tmp_path / "elsewhere").mkdir()
    words = [sys.executable, "-m", "workbench", *shlex.split(command)[1:]]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(words, cwd=tmp_path / "elsewhere", env=environment, check=True, capture_output=True)
    again, earlier = (open_run(tmp_path / name).meta for name in ("my run", "earlier"))
    assert {key for key in again if again[key] != earlier[key]} <= {"started", "finished"}


def test_a_command_without_out_keeps_where_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command("made")
    @click.option("-o", "--out", type=PATH)
    def made(out: Path | None) -> None:
        click.echo(command_line(out=out or Path("tiny-trust")))

    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(made, []).output.split() == ["sth", "--out", str(tmp_path / "tiny-trust")]
