"""The networks that ship, and the demo that they make."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.attention.alpha_matrix import read_alpha
from analysis.runs.run_directory import failures, open_run, predictions
from sth_core.checkpoint import load_checkpoint
from sth_core.recipe import Start, load_recipe, recipe_from
from workbench.demo import BASELINE, NETWORKS, SHIPPED_NETWORKS, order_accuracy, retrain_one, summarize_demo, write_card

NAMED = {network.name: network for network in NETWORKS}
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


def test_a_retrained_one_is_like_the_shipped_one(scenes_folder: Path, tmp_path: Path):
    """An epoch of two batches, by the code that retrains the demo: all but the weights is the shipped network's."""
    shutil.copytree(scenes_folder, tmp_path / "training")
    (tmp_path / "networks").mkdir()
    shutil.copy(
        SHIPPED_NETWORKS / "motion-rgb-p4.safetensors", tmp_path / "networks"
    )  # which the Flow network starts from
    short = ("optimisation.epochs=1", "optimisation.warmup_epochs=0")
    for network in (NAMED["motion-rgb-p8"], NAMED["motion-flow-p4"]):
        changed = replace(network, changes=(*network.changes, *short))
        retrain_one(changed, 0, tmp_path / "training", tmp_path / "networks", lambda *_, **__: None, lambda _: None)
        new = load_checkpoint(tmp_path / "networks" / f"{network.name}.safetensors")
        shipped = load_checkpoint(SHIPPED_NETWORKS / f"{network.name}.safetensors")
        assert (new.model.config, new.classes) == (shipped.model.config, shipped.classes)
        assert (new.preprocessing, new.annotation) == (shipped.preprocessing, shipped.annotation)
        assert new.training.keys() == shipped.training.keys()
        epochs = {"epochs": shipped.training["recipe"]["optimisation"]["epochs"], "warmup_epochs": 1}
        optimisation = new.training["recipe"]["optimisation"] | epochs
        assert new.training["recipe"] | {"optimisation": optimisation} == shipped.training["recipe"]
        assert (new.training["train_clips"], shipped.training["train_clips"]) == (24, 1800)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_its_model_card_is_that_of_its_file(network, tmp_path: Path):
    shutil.copy(SHIPPED_NETWORKS / f"{network.name}.safetensors", tmp_path)
    card = (SHIPPED_NETWORKS / f"{network.name}.md").read_text(encoding="utf-8")
    found = re.search(r"mean of 3 seeds: (0\.\d+) ± 0\.\d+ \(95 %, Student's t\)", card)
    assert found  # of seeds that do not ship
    one_training = card.replace(found[0], "one training: how much another seed changes this is not known")
    assert write_card(network, tmp_path).read_text(encoding="utf-8") == one_training
    seeds = pd.read_csv(SHIPPED_NETWORKS / "seeds.csv").set_index("network").loc[network.name]
    assert list(seeds["seed"]) == [0, 1, 2] and float(found[1]) == pytest.approx(seeds["accuracy"].mean(), abs=0.001)


def test_only_where_attention_has_four_hidden_units_is_it_the_same_for_every_clip(demo: Path):
    """layer1 has 16 channels, so 4 units, which can all be inactive (README, "Narrow layers")."""
    for network in NETWORKS:
        alpha = read_alpha(open_run(demo / "runs" / network.name))
        layers = alpha.layers["layer"][alpha.temporal.std(0, "float64") < 1e-4]
        assert layers.str.startswith("layer1.").all(), f"{network.name}: {list(layers)}"


def test_both_flow_networks_start_alike_from_the_rgb_network_of_their_task():
    recipes = {network.name: load_recipe(network.recipe, network.changes) for network in NETWORKS}
    motion, appearance = recipes["motion-flow-p4"], recipes["appearance-flow-p4"]
    for recipe, task in ((motion, "motion"), (appearance, "appearance")):
        assert recipe.start == Start(f"workbench/networks/{task}-rgb-p4.safetensors")
    assert (motion.model, motion.preprocessing) == (appearance.model, appearance.preprocessing)
    assert motion.optimisation == appearance.optimisation


def test_all_rgb_networks_are_trained_alike_the_baseline_too():
    rgb = [n for n in (*NETWORKS, BASELINE) if "-rgb-" in n.name]
    recipes = [load_recipe(network.recipe, network.changes) for network in rgb]
    assert {recipe.optimisation for recipe in recipes} == {recipes[0].optimisation}
    assert {recipe.preprocessing for recipe in recipes} == {recipes[0].preprocessing}


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


def test_at_a_quarter_of_temporal_kernels_nearly_all_motions_are_right(demo: Path):
    table = summarize_demo(demo / "runs").set_index("network")
    assert table.loc["motion-rgb-p4", "accuracy"] >= 0.98
    assert table.loc["motion-flow-p4", "accuracy"] >= 0.9  # 0.958 of the 240 clips of the whole demo


def test_the_same_pixels_under_two_questions(demo: Path):
    motion, thing = (predictions(open_run(demo / "runs" / f"{q}-rgb-p4")) for q in ("motion", "appearance"))
    pd.testing.assert_series_equal(motion["clip_id"], thing["clip_id"])
    assert [list(i) for i in motion["frame_indices"]] == [list(i) for i in thing["frame_indices"]]
    assert not set(motion["label"]) & set(thing["label"])
