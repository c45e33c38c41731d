"""The supplement's figures from hand-written runs: what is plotted, from which runs, and what is written."""

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from analysis.report.figures_5_to_8 import attention_by_layer, supplement_figures
from analysis.report.figures_9_and_10 import class_figures
from analysis.report.plots import SupplementFigure
from analysis.runs.run_directory import Run, find_runs
from tests.tiny import write_run

LAYERS = ["layer0.0.conv1", "layer1.0.conv1", "layer2.0.conv1"]
FIGURES = ["figure5_layers", "figure6_proportions", "figure7_datasets", "figure8_modalities"]
# run: dataset, p, modality, mean of alpha_T at the three layers; the two clips lie 0.1 beside it.
STUDY = {
    "motion-p2": ("motion", 1 / 2, "rgb", (0.40, 0.50, 0.60)),
    "motion-p4": ("motion", 1 / 4, "rgb", (0.50, 0.60, 0.70)),
    "motion-p8": ("motion", 1 / 8, "rgb", (0.60, 0.65, 0.70)),
    "motion-flow": ("motion", 1 / 4, "flow", (0.70, 0.75, 0.80)),
    "things-p2": ("things", 1 / 2, "rgb", (0.20, 0.20, 0.30)),
    "things-p4": ("things", 1 / 4, "rgb", (0.20, 0.30, 0.40)),
    "things-p8": ("things", 1 / 8, "rgb", (0.15, 0.25, 0.35)),
    "things-flow": ("things", 1 / 4, "flow", (0.30, 0.40, 0.50)),
}
SD = 0.1 * 2**0.5  # of two clips 0.2 apart


def runs_of(folder: Path, *names: str) -> list[Run]:
    for name in names or STUDY:
        dataset, p, modality, means = STUDY[name]
        clips = [[mean + shift for mean in means] for shift in (-0.1, 0.1)]
        write_run(folder / name, clips, dataset=dataset, temporal_fraction=p, modality=modality)
    return find_runs(folder)


@pytest.fixture
def study(tmp_path: Path) -> dict[str, SupplementFigure]:
    return {item.name: item for item in supplement_figures(attention_by_layer(runs_of(tmp_path / "runs")))}


def plotted(figure: go.Figure) -> dict[str, list[float]]:
    """The y values of each line or bar that has a name."""
    return {trace.name: [float(y) for y in trace.y] for trace in figure.data if trace.name}


def test_four_figures(study: dict[str, SupplementFigure]) -> None:
    assert list(study) == FIGURES
    assert [item.title[:9] for item in study.values()] == [f"Figure {i}:" for i in (5, 6, 7, 8)]


@pytest.mark.parametrize(
    "name,expected",
    [
        ("figure5_layers", {
            "motion: α_T": (0.5, 0.6, 0.7), "motion: α_S": (0.5, 0.4, 0.3),
            "things: α_T": (0.2, 0.3, 0.4), "things: α_S": (0.8, 0.7, 0.6),
        }),
        ("figure6_proportions", {
            "motion, p = 1/8": (0.6, 0.65, 0.7), "motion, p = 1/4": (0.5, 0.6, 0.7), "motion, p = 1/2": (0.4, 0.5, 0.6),
            "things, p = 1/8": (0.15, 0.25, 0.35), "things, p = 1/4": (0.2, 0.3, 0.4),
            "things, p = 1/2": (0.2, 0.2, 0.3),
        }),
        ("figure7_datasets", {"α_S": (0.4, 0.7), "α_T": (0.6, 0.3)}),
        ("figure8_modalities", {
            "motion, RGB": (0.5, 0.6, 0.7), "motion, Flow": (0.7, 0.75, 0.8),
            "things, RGB": (0.2, 0.3, 0.4), "things, Flow": (0.3, 0.4, 0.5),
        }),
    ],
)  # fmt: skip
def test_what_is_plotted_by_hand(
    study: dict[str, SupplementFigure], name: str, expected: dict[str, tuple[float, ...]]
) -> None:
    lines = plotted(study[name].figure)
    assert set(lines) == set(expected)
    for line, values in expected.items():
        np.testing.assert_allclose(lines[line], values, atol=1e-9)
    for trace in study[name].figure.data:
        if trace.name:
            assert list(trace.x) == (LAYERS if len(trace.x) == 3 else ["motion", "things"])


@pytest.mark.parametrize(
    "name,runs",
    [
        ("figure5_layers", {"motion-p4", "things-p4"}),
        ("figure6_proportions", {name for name in STUDY if "flow" not in name}),
        ("figure7_datasets", {"motion-p4", "things-p4"}),
        ("figure8_modalities", {"motion-p4", "things-p4", "motion-flow", "things-flow"}),
    ],
)
def test_a_figure_uses_the_runs_that_differ_in_its_variable(
    study: dict[str, SupplementFigure], name: str, runs: set[str]
) -> None:
    assert set(study[name].data["run"]) == runs


def test_proportions_are_in_order(study: dict[str, SupplementFigure]) -> None:
    names = [name for name in plotted(study["figure6_proportions"].figure) if name.startswith("motion")]
    assert names == ["motion, p = 1/8", "motion, p = 1/4", "motion, p = 1/2"]


def test_bands_and_bars_are_intervals_of_the_mean(study: dict[str, SupplementFigure]) -> None:
    """Of two clips that are 0.2 apart: Student's t with one degree of freedom."""
    half = 12.7062047 * 0.1
    bands = [trace for trace in study["figure5_layers"].figure.data if trace.fill == "toself"]
    assert len(bands) == 2
    np.testing.assert_allclose(bands[0].y[:3], np.array([0.5, 0.6, 0.7]) + half, rtol=1e-6)
    np.testing.assert_allclose(bands[0].y[3:], np.array([0.7, 0.6, 0.5]) - half, rtol=1e-6)
    for bar in study["figure7_datasets"].figure.data:
        np.testing.assert_allclose(bar.error_y.array, [half, half], rtol=1e-6)
        np.testing.assert_allclose(bar.error_y.arrayminus, [half, half], rtol=1e-6)
    np.testing.assert_allclose(study["figure5_layers"].data["sd"], SD)


def test_seeds_of_one_network_are_one_line(tmp_path: Path) -> None:
    for seed, mean in enumerate((0.4, 0.5, 0.6)):
        write_run(tmp_path / f"seed{seed}", [[mean - 0.01] * 3, [mean + 0.01] * 3], seed=seed)
    item = supplement_figures(attention_by_layer(find_runs(tmp_path)))[0]
    assert plotted(item.figure)["set: α_T"] == pytest.approx([0.5] * 3)
    assert set(item.data["run"]) == {"seed0, seed1, seed2"} and set(item.data["seeds"]) == {3}
    over_seeds, over_clips = (
        4.302653**2 * 0.01 / 3,
        12.7062047**2 * 0.01**2,
    )  # variances of the mean 0.01 / 3 and 0.01^2
    half = (over_seeds + over_clips) ** 0.5
    assert item.data["high"].to_numpy() == pytest.approx(0.5 + half, abs=1e-6)
    assert "3 seeds" in item.caption and "over clips and seeds" in item.caption


def test_captions_say_what_their_intervals_are_over(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [[0.4] * 3, [0.5] * 3, [0.6] * 3, [0.7] * 3])
    for file in (tmp_path / "run" / "predictions").iterdir():
        pd.read_parquet(file).assign(group=list("uvuv"), correct=True).to_parquet(file)
    runs = find_runs(tmp_path)
    items = [*supplement_figures(attention_by_layer(runs)), *class_figures(runs)]
    assert len(items) == 5 and all("over source videos" in item.caption for item in items)


def test_captions_say_how_many_clips(tmp_path: Path) -> None:
    figures = supplement_figures(attention_by_layer(runs_of(tmp_path / "runs")))
    assert all("n = 2 clips a run" in item.caption for item in figures)
    write_run(tmp_path / "runs" / "larger", [[0.5] * 3] * 5, dataset="larger")
    figures = supplement_figures(attention_by_layer(find_runs(tmp_path / "runs")))
    assert "n = 2 to 5 clips a run" in figures[0].caption


@pytest.mark.parametrize(
    "names,figures,words",
    [
        (["motion-p4"], FIGURES[:3], "RGB, p = 1/4"),
        (["motion-flow", "things-flow"], FIGURES[:3], "Flow, p = 1/4"),
        (["motion-p2", "motion-p8"], FIGURES[:3], "RGB, p = 1/2"),
        (["motion-p8", "motion-flow"], FIGURES[:3], "RGB, p = 1/8"),  # no p that both have
        (["motion-p4", "things-flow"], FIGURES[:3], "RGB, p = 1/4"),  # no dataset that both have
        (["motion-p4", "motion-flow", "things-p4"], FIGURES, "RGB, p = 1/4"),
    ],
)
def test_figures_of_few_runs(tmp_path: Path, names: list[str], figures: list[str], words: str) -> None:
    items = {item.name: item for item in supplement_figures(attention_by_layer(runs_of(tmp_path / "runs", *names)))}
    assert list(items) == figures
    assert words in items["figure5_layers"].caption
    lines = plotted(items["figure5_layers"].figure)
    for line in items["figure5_layers"].figure.data:
        assert line.fill == "toself" or list(line.x) == LAYERS  # no line goes back
    first = next(name for name in names if name in set(items["figure5_layers"].data["run"]))
    dataset, *_, means = STUDY[first]
    np.testing.assert_allclose(lines[f"{dataset}: α_T"], means, atol=1e-9)
    if "figure8_modalities" in items:
        assert set(items["figure8_modalities"].data["dataset"]) == {"motion"}


def test_two_runs_that_differ_in_nothing_shown_are_kept_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "old", [[0.2, 0.3, 0.4]])
    write_run(tmp_path / "new", [[0.6, 0.7, 0.8]])
    figures = {item.name: item.figure for item in supplement_figures(attention_by_layer(find_runs(tmp_path)))}
    lines = plotted(figures["figure6_proportions"])
    assert set(lines) == {"set, p = 1/4 (new)", "set, p = 1/4 (old)"}
    np.testing.assert_allclose(lines["set, p = 1/4 (old)"], [0.2, 0.3, 0.4])
    bar = figures["figure7_datasets"].data[1]
    assert list(bar.x) == ["set (new)", "set (old)"]
    np.testing.assert_allclose(bar.y, [0.7, 0.3])
