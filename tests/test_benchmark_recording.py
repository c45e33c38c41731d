"""`sth benchmark recording`, as small as it can be; and that recording needs no more memory for more clips."""

import tracemalloc
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.runs import rows
from analysis.runs.rows import ShardWriter
from analysis.runs.run_directory import SHARD_KINDS
from benchmarks.recording import CLASSES, synthetic_results, table_of
from sth_core.network_contract import Layer
from sth_core.shards import Shards
from tests.test_benchmark_decoding import tables
from workbench.cli import main


@pytest.mark.long
def test_what_is_kept_is_compared_in_time_bytes_and_memory(in_this_process: None) -> None:
    size = {"backbone": "resnet18", "frames": 2, "side": 32, "clips": 2, "rounds": 1, "few": 65, "many": 130}
    words = [word for name, value in size.items() for word in (f"--{name}", str(value))]
    result = CliRunner().invoke(main, ["benchmark", "recording", *words])
    assert result.exit_code == 0, result.output
    assert "resnet18, 2 x 32 x 32, 2 clips" in result.stdout and "made-up rows replace decoding" in result.stdout
    costs, written = tables(result.stdout)
    assert [row[0] for row in costs] == ["nothing", "predictions (sth evaluate)", "means of α too", "vectors of α too"]
    assert costs[0][4] == costs[1][3] == "1"
    for _, rate, milliseconds, _, of_nothing in costs:
        share = float(of_nothing.split()[0])
        assert float(rate) > 0 and share == pytest.approx(float(milliseconds) / float(costs[0][2]), rel=0.05)
    assert [row[:2] for row in written] == [
        ["65", "means of α too"], ["65", "vectors of α too"], ["130", "means of α too"],
    ]  # fmt: skip
    means, vectors, more = (int(row[2].replace(",", "")) for row in written)
    channels = 4 * (64 + 128 + 256 + 512)
    assert means + 2 * 2 * channels * 0.8 < vectors < means + 2 * 2 * channels * 1.5
    assert 500 < more <= means
    assert all(int(row[3]) > 50 for row in written)


def test_an_adapted_network_is_compared_with_its_module() -> None:
    words = ["--adapted", "r3d_18", "--frames", "2", "--side", "32", "--clips", "2", "--rounds", "1"]
    result = CliRunner().invoke(main, ["benchmark", "recording", *words])
    assert result.exit_code == 0, result.output
    [costs] = tables(result.stdout)
    assert [row[0] for row in costs] == ["nothing", "predictions (sth evaluate)", "features too"]
    unknown = CliRunner().invoke(main, ["benchmark", "recording", "--adapted", "r3d"])
    assert unknown.exit_code and "no network 'r3d' of torchvision is known here" in unknown.output


def most_held(clips: int, run: Path) -> int:
    """Bytes of Python's and numpy's that writing so many made-up clips holds at most, beside their table."""
    layers = [Layer(i, f"layer{i}", "stage") for i in range(4)]
    table = table_of(clips)
    writer = ShardWriter(Shards(run, SHARD_KINDS), 0, 1, CLASSES, layers, vectors=True)
    tracemalloc.start()
    for batch, some in synthetic_results(table, {layer.name: 16 for layer in layers}):
        writer.add(batch, some)
    writer.flush()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.long
def test_what_is_held_does_not_grow_with_the_number_of_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_PER_SHARD", 64)
    most_held(64, tmp_path / "imports")
    few, many = most_held(256, tmp_path / "few"), most_held(1024, tmp_path / "many")
    assert (many - few) / (1024 - 256) < 500, (few, many)  # bytes a clip; its rows alone would be thousands
