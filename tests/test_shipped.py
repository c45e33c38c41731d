"""The networks that ship, and the demo that they make."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.runs.run_directory import failures, open_run, predictions
from sth_core.checkpoint import load_checkpoint
from sth_core.recipe import load_recipe, recipe_from
from workbench.demo import NETWORKS, SHIPPED_NETWORKS, order_accuracy, summarize_demo

FILES = [SHIPPED_NETWORKS / f"{network.name}.safetensors" for network in NETWORKS]


def test_they_answer_both_questions_at_three_p_in_rgb_and_at_one_in_flow():
    made = set()
    for file in FILES:
        c = load_checkpoint(file)
        made.add((c.annotation.label, c.model.config.modality, c.model.config.temporal_fraction))
    rgb = {(q, "rgb", p) for q in ("motion", "appearance") for p in (1 / 2, 1 / 4, 1 / 8)}
    assert made == rgb | {("motion", "flow", 1 / 4), ("appearance", "flow", 1 / 4)}


def test_they_are_12_megabytes_at_most():
    assert sum(file.stat().st_size for file in FILES) <= 12e6


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_each_carries_its_recipe_seed_and_accuracy_and_is_made_by_its_command(network):
    training = load_checkpoint(SHIPPED_NETWORKS / f"{network.name}.safetensors").training
    assert recipe_from(training["recipe"], network.name) == load_recipe(network.recipe, network.changes)
    assert training["seed"] == 0
    assert 0 < training["val_accuracy"] <= 1
    assert f"`{network.command}`" in (SHIPPED_NETWORKS / "README.md").read_text(encoding="utf-8")


def test_the_demo_records_every_clip_of_every_network(demo: Path):
    for network in NETWORKS:
        run = open_run(demo / "runs" / network.name)
        assert not run.problem
        assert len(predictions(run)) == 60
        assert failures(run).empty
    assert len(list((demo / "figures").glob("figure*.html"))) == 6


@pytest.mark.parametrize("p", ["p2", "p4", "p8"])
def test_the_motion_networks_know_the_order_of_time(demo: Path, p: str):
    pair, order = order_accuracy(predictions(open_run(demo / "runs" / f"motion-rgb-{p}")))
    assert pair >= 0.98  # of 60 clips
    assert order >= 0.98


def test_at_a_quarter_of_temporal_kernels_98_of_100_motions_are_right(demo: Path):
    table = summarize_demo(demo / "runs").set_index("network")
    assert table.loc["motion-rgb-p4", "accuracy"] >= 0.98
    assert table.loc["motion-flow-p4", "accuracy"] >= 0.98


def test_the_same_pixels_under_two_questions(demo: Path):
    motion, thing = (predictions(open_run(demo / "runs" / f"{q}-rgb-p4")) for q in ("motion", "appearance"))
    pd.testing.assert_series_equal(motion["clip_id"], thing["clip_id"])
    assert [list(i) for i in motion["frame_indices"]] == [list(i) for i in thing["frame_indices"]]
    assert not set(motion["label"]) & set(thing["label"])
