"""`sth benchmark gpu`, with commands that need no GPU."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks import gpu
from workbench.cli import main


def test_a_command_that_fails_is_named_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "gpu.md"
    words = ["benchmark", "gpu", "-o", str(out)]
    if not torch.cuda.is_available():
        refused = CliRunner().invoke(main, words)
        assert refused.exit_code and "no GPU" in refused.output and not out.exists()
    monkeypatch.setattr(gpu, "pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(gpu, "machine", lambda device: "an H100")
    monkeypatch.setattr(gpu, "COMMANDS", ("convolutions --rounds 0", "convolutions --help"))
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    first, second = out.read_text().split("## sth benchmark ")[1:]
    assert "It failed (2)" in first and "--rounds" in first
    assert "Usage" in second and "failed" not in second


def test_its_commands_have_the_options_that_they_name() -> None:
    for command in gpu.COMMANDS:
        name, *words = gpu.shlex.split(command)
        options = [word for word in words if word.startswith("--")]
        known = main.get_command(None, "benchmark").get_command(None, name).params
        assert set(options) <= {name for param in known for name in param.opts}, command
