"""Datasets whose clips are played forward and backward: the label then includes the frame order."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from analysis.report.seed_summary import summarize_seeds
from analysis.runs.recording import record
from analysis.runs.run_directory import Run, open_run, predictions
from analysis.statistics.accuracy import summarize_direction_accuracy
from analysis.statistics.results import run_results
from sth_core import create_model
from sth_core.checkpoint import save_checkpoint
from sth_core.datasets.clips import EvaluationClips, TrainClips
from sth_core.datasets.random_clips import Augment
from sth_core.datasets.table import Annotation, read_dataset
from sth_core.video import read_frames
from sth_core.video.sampling import Protocol
from tests.tiny import FLOW, RGB, write_run
from workbench.cli import main

BOTH = Annotation(label="motion", direction=True)


@pytest.fixture(scope="module")
def table(scenes_folder: Path) -> pd.DataFrame:
    return read_dataset(scenes_folder, BOTH)


def test_each_clip_is_there_twice_in_one_split_with_its_direction_in_the_label(
    scenes_folder: Path, table: pd.DataFrame
) -> None:
    once = read_dataset(scenes_folder, Annotation(label="motion"))
    assert not once["backward"].any()
    assert (
        len(table) == 2 * len(once)
        and table["clip_id"].is_unique
        and list(table["clip_id"]) == sorted(table["clip_id"])
    )
    forward, backward = (table[table["backward"] == b].sort_values("path", ignore_index=True) for b in (False, True))
    assert list(forward["clip_id"]) == list(once.sort_values("path")["clip_id"])
    assert list(backward["clip_id"]) == [f"{clip} (backward)" for clip in forward["clip_id"]]
    assert list(forward["label"]) == [f"{label}, forward" for label in once.sort_values("path")["label"]]
    assert list(backward["label"]) == [label.replace("forward", "backward") for label in forward["label"]]
    assert forward[["path", "split", "group"]].equals(backward[["path", "split", "group"]])


@pytest.mark.parametrize("protocol", [Protocol(), Protocol(2, 3)])
def test_a_clip_played_backward_is_the_other_in_reverse(table: pd.DataFrame, protocol: Protocol) -> None:
    """The same frames, so that a network that only averages over frames cannot tell them apart."""
    classes = sorted(set(table["label"]))
    pair = table[table["path"] == table["path"].iloc[0]]
    forward, backward = (EvaluationClips(pair[pair["backward"] == b], classes, RGB, protocol)[0] for b in (False, True))
    assert forward.views is not None and backward.views is not None
    assert not np.array_equal(forward.views, backward.views)
    assert np.array_equal(forward.views.flip(1), backward.views)
    assert list(forward.frame_indices) == list(backward.frame_indices)[::-1]
    assert classes[forward.label].replace("forward", "backward") == classes[backward.label]


def test_flow_played_backward_is_negated(table: pd.DataFrame) -> None:
    pair = table[table["path"] == table["path"].iloc[0]]
    forward, backward = (EvaluationClips(pair[pair["backward"] == b], [], FLOW)[0].views for b in (False, True))
    assert forward is not None and backward is not None
    T, C = forward.shape[1], forward.shape[-1]
    for t in range(T):
        for field in range(C // 2):
            x, reverse = 2 * field, C - 2 - 2 * field
            np.testing.assert_array_equal(
                forward[0, t, ..., x : x + 2].int() - 128,
                128 - backward[0, T - 1 - t, ..., reverse : reverse + 2].int(),
            )


@pytest.mark.parametrize("memory", [None, 0.0], ids=["kept", "read anew"])
def test_in_training_too(table: pd.DataFrame, memory: float | None) -> None:
    some = table[table["path"] == table["path"].iloc[0]]
    clips = TrainClips(some, sorted(set(some["label"])), RGB, Augment())
    clips.load(memory=memory)
    assert len(clips.rows) == 2 and len({id(kept) for kept in clips.kept.values()}) == (1 if memory is None else 0)
    samples = [clips.sample(row, np.random.default_rng(0)) for row in clips.rows]
    assert samples[0] is not None and samples[1] is not None
    assert np.array_equal(samples[0][0][::-1], samples[1][0]) and samples[0][1] != samples[1][1]


def test_a_2d_network_predicts_the_direction_at_chance(
    table: pd.DataFrame, scenes_folder: Path, tmp_path: Path
) -> None:
    classes = sorted(set(table["label"]))
    model = create_model("resnet18", len(classes), frames=4, conv="2d", width=8).eval()
    torch.nn.init.normal_(model.fc.weight)
    save_checkpoint(tmp_path / "model.safetensors", model, classes, RGB, BOTH)
    record(tmp_path / "model.safetensors", scenes_folder, tmp_path / "run")
    run = open_run(tmp_path / "run")
    rows = predictions(run)
    assert rows["backward"].sum() == len(rows) / 2 == 24
    assert run.meta["direction"] and run.meta["dataset"].endswith("motion, both directions")
    summary = summarize_direction_accuracy(rows).set_index("metric")
    assert summary.loc["direction", "value"] == 0.5
    first = rows[rows["backward"]].iloc[0]
    frames = read_frames(first["path"], list(first["frame_indices"]))
    assert len(frames) == RGB.frames and list(first["frame_indices"]) == sorted(first["frame_indices"], reverse=True)
    results = run_results([run])
    assert results["direction"].item() == 50 and results["action"].item() == 100 * summary.loc["action", "value"]


def test_action_and_direction_by_hand() -> None:
    rows = pd.DataFrame(
        {
            "label": ["hug, forward", "hug, backward", "shake, hands, forward", "kick, backward"],
            "prediction": ["hug, backward", "hug, backward", "shake, hands, forward", "hug, backward"],
            "correct": [False, True, True, False],
        }
    )
    summary = summarize_direction_accuracy(rows).set_index("metric")
    assert summary.loc["action", "value"] == summary.loc["direction", "value"] == 0.75
    assert (
        summary.loc["direction", "n"] == 4 and summary.loc["direction", "low"] < 0.75 < summary.loc["direction", "high"]
    )


def test_runs_that_differ_in_the_seed_are_averaged(tmp_path: Path) -> None:
    def run(name: str, seed: int, right: int, **meta: object) -> Run:
        """Of ten clips of class "a", so many of which are correct."""
        path = write_run(tmp_path / name, [[0.5]] * 10, seed=seed, **({"start": "ImageNet"} | meta))
        table = pd.read_parquet(path / "predictions" / "part-00000.parquet")
        predicted = np.where(np.arange(10) < right, "a", "b")
        scores = [[0.9, 0.1] if name == "a" else [0.1, 0.9] for name in predicted]
        table = table.assign(label="a", prediction=predicted, correct=predicted == "a", scores=scores)
        table.to_parquet(path / "predictions" / "part-00000.parquet")
        return open_run(path)

    runs = [run(f"r{seed}", seed, right) for seed, right in ((0, 5), (1, 6), (2, 7))]
    others = [
        run("other convolution", 0, 1, conv="tsm"),
        run("trained on other clips", 3, 1, trained_on="others"),
        run("fused of the first two", 0, 9, fused=[{"run": "r0"}, {"run": "r1"}]),
    ]
    (row,) = summarize_seeds([*others, *runs], run_results([*others, *runs])).to_dict("records")
    assert (row["conv"], row["seeds"], row["n"]) == ("sth", 3, 10)
    assert (row["top1"], row["top1_sd"]) == pytest.approx((60, 10))
    earlier = [run(f"a{seed}", seed, 5, dataset="a") for seed in (0, 1)]  # rows stay in the order of the runs
    found = summarize_seeds([*runs, *earlier], run_results([*runs, *earlier]))
    assert found["dataset"].tolist() == ["set", "a"]
    assert summarize_seeds(others, run_results(others)).empty


def test_the_option_is_the_recipe_s(scenes_folder: Path, tmp_path: Path) -> None:
    small = (
        "model.width=8",
        "model.frames=2",
        "preprocessing.frames=2",
        "preprocessing.resize=36",
        "preprocessing.crop=32",
    )
    changes = (*small, "optimisation.epochs=1", "optimisation.warmup_epochs=0", "data.direction=true")
    words = [word for change in changes for word in ("--set", change)]
    network = tmp_path / "model.safetensors"
    for command in (
        ["train", "synthetic_appearance", "--data", str(scenes_folder), "-o", str(tmp_path), *words],
        ["evaluate", str(network), "--data", str(scenes_folder), "-o", str(tmp_path / "run")],
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    assert len(predictions(open_run(tmp_path / "run"))) == 48
