"""The commands of docs/your-own-videos.md, one after the other as they stand there, on a fresh folder of videos."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sth_core.video.encoding import write_video
from tests.test_docs import blocks
from workbench.cli import main

PAGE = Path(__file__).parent.parent / "docs" / "your-own-videos.md"
SMALL = ("optimisation.epochs=1", "model.backbone=resnet18", "model.width=8", "start.imagenet=false")
FASTER = {"train": [word for change in SMALL for word in ("--set", change)]}


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten videos in two class folders, named as the page's example; the working folder is the one around them."""
    random = np.random.default_rng(0)
    for i in range(10):
        name = tmp_path / "videos" / ("hug", "push")[i % 2] / f"set1_{i}_{1 + i // 4}_{i % 2}.mp4"
        name.parent.mkdir(parents=True, exist_ok=True)
        picture = random.integers(0, 255, (8, 10, 3), np.uint8).repeat(12, 0).repeat(12, 1)
        write_video(name, (np.roll(picture, (2 + i % 2) * t, 1) for t in range(12)), 12)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "videos"


def test_every_command_of_the_page_runs(videos: Path) -> None:
    lines = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]
    outputs = {}
    for line in lines:
        words = shlex.split(line)[1:]
        if words[0] == "app":
            continue
        done = CliRunner().invoke(main, [*words, *FASTER.get(words[0], [])])
        assert done.exit_code == 0, f"{line}\n{done.output}"
        outputs[line] = done.output
    trained, recorded, results = outputs[lines[1]], outputs[lines[2]], outputs["sth results out/runs"]
    one_line = " ".join(trained.split())
    assert "(invented, by checksum, no groups known)" in one_line and "held_out" not in one_line
    number = re.search(r"trained on (\d+) of these 10 clips; the (\d+) held-out ones are taken", recorded)
    assert number and int(number[1]) + int(number[2]) == 10
    leak = "Held-out clips were chosen by checksum; no groups known: clips of one source video may also be in training."
    assert leak in trained and leak in recorded and f"both, first, second, ten: {leak}" in results
    over_seeds = results.partition("Mean over seeds")[2].partition("Runs in")[0]
    assert re.findall(r"(\d+) +│ +\d+ +│\n", over_seeds) == ["2"]  # first and second, not grouped and both
    grouped = next(output for line, output in outputs.items() if "--group-pattern" in line)
    assert "groups: 3 (from the pattern" in " ".join(grouped.split())
    card = (videos.parent / "grouped" / "model.md").read_text(encoding="utf-8")
    assert "data.group_pattern=" in card
