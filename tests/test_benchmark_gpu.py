"""`sth benchmark gpu` and `sth benchmark commands`, in seconds and without a GPU."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from benchmarks import commands, gpu
from workbench.cli import main


def in_this_process(command: list[str], **_: object) -> SimpleNamespace:
    """In place of subprocess.run: `sth` with the words of the command."""
    done = CliRunner().invoke(main, command[3:])
    return SimpleNamespace(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr)


def test_a_command_that_fails_is_named_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "gpu.md"
    words = ["benchmark", "gpu", "-o", str(out)]
    if not torch.cuda.is_available():
        refused = CliRunner().invoke(main, words)
        assert refused.exit_code and "no GPU" in refused.output and not out.exists()
    monkeypatch.setattr(gpu, "pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(gpu, "machine", lambda device: "an H100")
    monkeypatch.setattr(gpu.subprocess, "run", in_this_process)
    monkeypatch.setattr(gpu, "COMMANDS", ("convolutions --rounds 0", "convolutions --help"))
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    first, second = out.read_text().split("## sth benchmark ")[1:]
    assert "It failed (2)" in first and "--rounds" in first
    assert "Usage" in second and "failed" not in second
    again = CliRunner().invoke(main, words)
    assert again.exit_code and "gpu.md exists" in again.output and out.read_text().count("## sth benchmark") == 2


def test_its_commands_have_the_options_that_they_name() -> None:
    for command in gpu.COMMANDS:
        name, *words = gpu.shlex.split(command)
        options = [word for word in words if word.startswith("--")]
        known = main.get_command(None, "benchmark").get_command(None, name).params
        assert set(options) <= {name for param in known for name in param.opts}, command


def test_whole_commands_are_compared_by_their_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        started.append(command)
        return in_this_process(command)

    monkeypatch.setattr(commands.subprocess, "run", run)
    monkeypatch.setattr(commands.resource, "RUSAGE_CHILDREN", commands.resource.RUSAGE_SELF)
    small = "--rounds 1 --clips 1 --side 32 --frames 2 --backbone resnet18 --device cpu"
    done = CliRunner().invoke(main, ["benchmark", "commands", *small.split()])
    assert done.exit_code == 0, done.output
    assert len(started) == 2 * len(commands.COMPARED)  # the first of each is not measured
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == list(commands.COMPARED)
    assert rows[1][3].strip() == rows[0][4].strip() == "1.00"
