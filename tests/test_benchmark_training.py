"""`sth benchmark training`, on clips as small as it makes them."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import training
from sth_core import readers
from tests.forked import FORKS
from tests.test_benchmark_decoding import tables
from tests.test_stop_and_go import RECIPE
from workbench.cli import main


@pytest.fixture(autouse=True)
def short_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    make = training.make_dataset
    monkeypatch.setattr(training, "make_dataset", lambda folder, count, length, place: make(folder, count, 8, place))


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    recipe = folder / "tiny.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    result = CliRunner().invoke(
        main, ["benchmark", "training", str(recipe), "--rounds", "1", "--turn", "1", *arguments]
    )
    return result.exit_code, result.stdout if result.exit_code == 0 else result.output


@pytest.mark.long
def test_ways_to_get_clips_are_compared_with_memory(tmp_path: Path) -> None:
    code, printed = run(tmp_path, "--count", "8", "--batch", "2", "--steps", "5")
    assert code == 0, printed
    rates, memory = tables(printed)
    assert [row[:3] for row in rates] == [
        ["tiny", "resnet18 sth, 2 x 32", way] for way in ("memory", "clips kept", "files, read anew")
    ]
    for _, _, _, trained, share, _, _ in rates:
        assert float(share) == pytest.approx(float(trained) / float(rates[0][3]), rel=0.05)
    assert rates[0][4] == rates[0][6] == "1.00" and rates[1][5:] == ["-", "-"]
    assert [int(step) for step, _ in memory] == [1, 2, 3, 4, 5] and all(int(mb) > 50 for _, mb in memory)


def test_too_few_clips_are_refused(tmp_path: Path) -> None:
    code, printed = run(tmp_path, "--count", "4", "--batch", "6")
    assert code == 2 and "needs at least 6 clips to train on and one to test with, has 3 and 1" in printed


@pytest.mark.long
def test_numbers_of_workers_and_ways_to_store_clips_are_compared(tmp_path: Path, monkeypatch) -> None:
    for module in (training, readers):
        monkeypatch.setattr(module, "reading_context", lambda: FORKS)
    options = (
        "--count",
        "8",
        "--batch",
        "2",
        "--workers",
        "0",
        "--workers",
        "2",
        "--stored",
        "jpeg",
        "--stored",
        "mp4",
    )
    code, printed = run(tmp_path, *options, "--processes", "--passes", "1")
    assert code == 0, printed
    rates, decoders = tables(printed)
    read = [f"{kind}, {workers} workers" for kind in ("jpeg", "mp4") for workers in (0, 2)]
    assert [row[2] for row in rates] == ["memory", "clips kept", *read]
    assert all(float(row[5]) > 0 for row in (rates[0], *rates[2:]))
    assert [row[:2] for row in decoders] == [["jpeg", "2"], ["mp4", "2"]] and all(float(row[2]) > 0 for row in decoders)
