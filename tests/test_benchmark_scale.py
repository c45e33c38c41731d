"""What a large dataset costs, by hand and from the outputs."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import browsing, large_run, scale
from benchmarks.made_runs import make_run
from benchmarks.quoted import Output, read_output
from workbench.cli import main

ROOT = Path(__file__).parent.parent
HEAD = dict.fromkeys(("command", "date", "commit", "device", "versions"), "x")
OUTPUTS = {
    "gpu-training": "| network | clips/s |\n|---|---|\n| STH hybrid + attention | 100.00 |\n",
    "gpu-inference": "| network | clips/s |\n|---|---|\n| STH hybrid + attention | 1000.00 |\n",
    "decoding": "| files | reader | ms of CPU a clip |\n|---|---|---|\n| VP9, webm | sth | 1.0 |\n"
    "| VP9, webm | sth, first time | 50.0 |\n| JPEG folders | sth, first time | 10.0 |\n",
    "recording": "| clips | what is stored | bytes per clip on disk |\n|---|---|---|\n"
    "| 100,000 | means of α too | 2,000 |\n",
    "complexity": "│ STH hybrid + attention │ 30.5 │ 30.23 │ 23.2 │ 25.00 │\n",
}


def test_the_costs_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """36,000 clips, 50 epochs, 8 frames, 64 clips a step on 8 GPUs."""
    monkeypatch.setattr(scale, "read_output", lambda name: Output(HEAD, OUTPUTS[name]))
    job = scale.Job("small", "something_v2_8", 36_000, 6_000, 1, "VP9, webm", "by hand")
    found = {what: how_much for what, how_much, _ in scale.rows_of(job)}
    assert found["GPU hours, training, at least"] == "5"  # 36,000 x 50 / 100 / 3,600
    assert found["hours on 8 GPUs, at least"] == "0.6"
    assert found["cores a GPU needs, videos"] == "5.0"  # 100 clips/s x 50 ms
    assert found["cores a GPU needs, JPEG folders"] == "1.0"
    assert found["gradients sent by a GPU in a step, MB"] == "175"  # 2 x 7/8 x 25 M x 4 bytes
    assert found["... in a second, GB"] == "2.19"  # a step of 8 clips takes 0.08 s
    assert found["GPU minutes, recording the held-out clips"] == "0.1"
    assert found["cores a GPU needs to record, videos"] == "50"  # 1,000 clips/s x 50 ms
    assert found["a run of all clips, MB"] == "84"  # 42,000 x 2,000 bytes


def test_a_row_that_an_output_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "read_output", lambda name: Output(HEAD, OUTPUTS[name]))
    with pytest.raises(KeyError, match=r"docs/outputs/decoding.md has no ms of CPU a clip of AVI"):
        scale.cell("decoding", ("AVI",), "ms of CPU a clip")


def test_the_kept_output_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(main, ["benchmark", "scale"]).output
    rows, kept = (
        [line for line in text.splitlines() if line.startswith("|")] for text in (printed, read_output("scale").body)
    )
    assert len(rows) == 34 and kept == rows, "run `sth benchmark docs check --only scale --update`"


def test_a_run_is_made_and_read_in_each_way(in_this_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_run, "pages_in_browser", lambda clips, runs: [("200", "Runs", "1.00", "1.00", "300")])
    printed = CliRunner().invoke(main, ["benchmark", "large_run", "--clips", "200"])
    *rows, of_page = [line.split(" | ") for line in printed.stdout.splitlines() if line.startswith("| 200")]
    assert of_page[1:] == ["Runs", "1.00", "1.00", "300 |"]
    assert [row[2] for row in rows] == [title for title, _ in large_run.READ.values()], printed.output
    assert all(float(number.strip(" |")) > 0 for row in rows for number in row[5:])


@pytest.mark.long
@pytest.mark.browser
def test_its_pages_are_opened_in_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {name: page for name, page in browsing.pages("run", "").items() if name in ("Runs", "Clip", "Compare")}
    monkeypatch.setattr(large_run, "pages", lambda run, other: wanted)
    make_run(tmp_path / "run", 200, classes=6, layers=2)
    rows = large_run.pages_in_browser(200, tmp_path)
    assert [row[1] for row in rows] == ["Runs", "Clip"] and len(rows[0]) == 5
    assert all(float(number) > 0 for row in rows for number in row[2:])


def test_every_cell_of_the_comparison_has_a_link_a_command_or_says_that_nothing_was_found() -> None:
    text = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    defined = set(re.findall(r"^\[([\w-]+)\]: https://", text, re.M))
    used = set(re.findall(r"\]\[([\w-]+)\]", text))
    assert used == defined
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    for row in rows:
        _, ours, *others = [cell.strip() for cell in row.strip("|").split("|")]
        assert ours, row
        for cell in others:
            assert cell == "-" or "][" in cell or cell in ("Grad-CAM alone", "its own"), row
