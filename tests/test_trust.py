"""`sth trust` and `sth intervene`: on real files, resumed, and their tables by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.experiments.interventions import effects_in
from analysis.experiments.trust import TABLES, choose_clips, trust
from analysis.experiments.trust_tables import (
    FAILS,
    OPEN,
    PASSES,
    TrustResults,
    describe_correlation,
    faithfulness_table,
    frame_agreement_table,
    overall_verdict,
    randomization_table,
    replacement_effects,
    undefined_sentence,
)
from analysis.explain.alpha_replacement import DATASET_MEAN, EVERY_LAYER, HALF, REPLACEMENTS
from analysis.report.intervention_page import intervention_tables, summarize_interventions
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.run_directory import open_run
from benchmarks.planted import PLACE, shares_inside
from sth_core.shards import Shards
from tests.test_cli import ends_well, mistake, sth
from tests.tiny import CLASSES, save_tiny


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    save_tiny(folder / "sth.safetensors")
    save_tiny(folder / "flat.safetensors", conv="2d")
    return folder


@pytest.fixture(scope="module")
def out(networks: Path, scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trust folder of three clips, interrupted after the second and resumed."""
    folder = tmp_path_factory.mktemp("trust") / "out"

    class Cut(Exception):
        pass

    def cut(done: int, total: int) -> None:
        if done == 2:
            raise Cut

    with pytest.raises(Cut):
        trust(
            networks / "sth.safetensors",
            scenes_folder,
            folder,
            DatasetOptions(progress=cut),
            clips=3,
            methods=("gradcam",),
        )
    assert len(TrustResults(folder).clips) == 2
    words = ("--data", scenes_folder, "-o", folder, "--clips", 3, "--methods", "gradcam")
    said = ends_well("trust", networks / "sth.safetensors", *words)
    assert "3 clips; page:" in said and "Grad-CAM, temporal branch" in said
    return folder


def test_the_page_has_every_part_and_every_number(out: Path) -> None:
    page = (out / "index.html").read_text(encoding="utf-8")
    for title in ("Remove what it points at", "Make the weights random", "Hide single frames", "Replace attention"):
        assert f"<h2>{title}</h2>" in page
    assert page.count("data:image/jpeg;base64,") == 5 and "<script src" not in page
    found = pd.read_csv(out / "verdicts.csv")
    assert set(found["verdict"]) <= {PASSES, FAILS, OPEN} and len(found) == 4 * 5
    assert len(pd.read_csv(out / "faithfulness.csv")) == 4 * 12 * 2
    assert set(pd.read_csv(out / "attention.csv")["place"]) >= {"layer1.0.conv1", "layer1", EVERY_LAYER}


@pytest.mark.long
def test_going_on_ends_as_one_call_would(out: Path, networks: Path, scenes_folder: Path, tmp_path: Path) -> None:
    assert not list(out.glob(".replaced-*"))  # the earlier call's parts are no damaged ones
    trust(networks / "sth.safetensors", scenes_folder, tmp_path / "whole", clips=3, methods=("gradcam",))
    for kind in TABLES:
        one, other = (Shards(folder, TABLES).read(kind) for folder in (out, tmp_path / "whole"))
        for column in one:
            a, b = one[column].to_list(), other[column].to_list()
            if column == "seconds":
                continue
            if one[column].dtype.kind == "f":
                np.testing.assert_allclose(a, b, atol=1e-5)
            elif column not in ("shares", "scores"):
                assert a == b, column


def test_a_network_without_attention_has_no_branches_and_no_alpha(
    networks: Path, scenes_folder: Path, tmp_path: Path
) -> None:
    words = (networks / "flat.safetensors", "--data", scenes_folder, "-o")
    assert "branch" not in ends_well("trust", *words, tmp_path / "flat", "--clips", 2)
    assert not (tmp_path / "flat" / "attention.csv").exists()
    assert "has no α to replace" in mistake("intervene", *words, tmp_path / "run")


def test_results_of_something_else_are_refused(out: Path, networks: Path, scenes_folder: Path) -> None:
    said = mistake("trust", networks / "flat.safetensors", "--data", scenes_folder, "-o", out, "--clips", 3)
    assert "holds another test of explanations (checkpoint_sha256" in said


def test_results_of_a_version_that_took_constant_maps_for_0_are_not_mixed(
    out: Path, networks: Path, scenes_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(out, tmp_path / "out")
    file = tmp_path / "out" / "trust.json"
    described = json.loads(file.read_text())
    assert described.pop("constant_maps") == "left out"
    file.write_text(json.dumps(described))
    words = ("trust", networks / "sth.safetensors", "--data", scenes_folder, "-o", tmp_path / "out", "--clips", 3)
    assert "(constant_maps is 'counted as 0', now 'left out')" in mistake(*words, "--methods", "gradcam")


def test_no_clips_and_no_readable_clip_are_sentences(networks: Path, scenes_folder: Path, tmp_path: Path) -> None:
    network = networks / "sth.safetensors"
    assert "no clips in the split 'test'" in mistake("trust", network, "--data", scenes_folder, "--split", "test")
    (tmp_path / "val" / "opening").mkdir(parents=True)
    (tmp_path / "val" / "opening" / "a.mp4").write_bytes(b"no video")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,motion,split\nval/opening/a.mp4,opening,val\n", encoding="utf-8")
    result = sth("trust", network, "--data", tmp_path, "-o", tmp_path / "out")
    assert result.exit_code == 2 and "none of the 1 clips could be read" in result.output
    assert "not read: val/opening/a.mp4" in result.output


@pytest.mark.long
def test_interventions_over_a_run(networks: Path, scenes_folder: Path, tmp_path: Path) -> None:
    table = pd.read_csv(scenes_folder / "manifest.csv")
    table = table[(table["split"] == "val") & table["motion"].isin(CLASSES[:6])]
    (tmp_path / "data").mkdir()
    table.assign(path=f"{scenes_folder}/" + table["path"]).to_csv(tmp_path / "data" / "manifest.csv", index=False)
    words = ("intervene", networks / "sth.safetensors", "--data", tmp_path / "data", "-o", tmp_path / "run")
    said = ends_well(*words)
    run = open_run(tmp_path / "run")
    folder = effects_in(run.path).folder
    places, classes = intervention_tables(run)
    assert summarize_interventions(places) in said and "by class" in (folder / "index.html").read_text().lower()
    assert set(places["n"]) == {12} and set(classes["n"]) == {2}
    assert set(classes["kind"]) == set(REPLACEMENTS)
    effects = effects_in(run.path).read("effects")
    assert len(effects) == 12 * (16 + 4 + 1) * len(REPLACEMENTS)
    before = sorted((folder / "effects").iterdir())
    before[1].unlink()  # as if it had been killed there
    ends_well(*words)
    again = effects_in(run.path).read("effects")
    order = ["clip_id", "place", "kind"]
    one, other = (t.sort_values(order, ignore_index=True) for t in (effects, again))
    pd.testing.assert_frame_equal(one, other, atol=1e-5)
    assert json.loads((folder / "interventions.json").read_text())["finished"]


def test_effects_by_hand() -> None:
    rows = [
        {"clip_id": f"c{i}", "place": EVERY_LAYER, "kind": HALF, "label": "a", "prediction": "b" if i < 8 else "a",
         "plain_prediction": "a", "plain_correct": True, "correct": i >= 8, "logit_label": -1.0, "score_label": -0.5}
        for i in range(10)
    ]  # fmt: skip
    groups = pd.Series({f"c{i}": f"c{i}" for i in range(10)})
    (row,) = replacement_effects(pd.DataFrame(rows), groups).to_dict("records")
    assert row["value"] == -0.8 and row["n"] == 10 and row["n_changed"] == 8 and row["verdict"] == "matters"
    assert row["logit_label"] == -1 and row["p"] == pytest.approx(2 * stats.norm.sf(8**0.5), rel=0.6)
    rows = [row | {"correct": True, "prediction": "a", "kind": DATASET_MEAN} for row in rows]
    assert "No replacement" in summarize_interventions(replacement_effects(pd.DataFrame(rows), groups))


def test_verdicts() -> None:
    assert overall_verdict(pd.Series([PASSES, PASSES, OPEN])) == PASSES
    assert overall_verdict(pd.Series([PASSES, OPEN, OPEN, PASSES])) == OPEN
    assert overall_verdict(pd.Series([PASSES, PASSES, FAILS])) == FAILS


def test_areas_are_compared_the_right_way_round(out: Path) -> None:
    """A map whose deletion falls earlier and whose insertion rises later than both controls'."""
    results = TrustResults(out)
    areas = {"good": 0.1, "random map": 0.5, "centre prior": 0.4}
    results.clips = pd.DataFrame({"clip_id": [f"c{i}" for i in range(6)], "group": [f"c{i}" for i in range(6)]})
    results.groups = results.clips.set_index("clip_id")["group"]
    results.curves = pd.DataFrame(
        [
            {"clip_id": f"c{i}", "explanation": name, "way": "space", "direction": direction, "baseline": "blur",
             "area": area + 0.01 * i * (name == "good")}
            for i in range(6) for name, area in areas.items() for direction in ("deletion", "insertion")
        ]
    )  # fmt: skip
    table = faithfulness_table(results).set_index(["direction", "control"])
    assert set(table.loc["deletion", "verdict"]) == {PASSES} and set(table.loc["insertion", "verdict"]) == {FAILS}
    assert table.loc[("deletion", "random map"), "value"] == pytest.approx(0.375)


def results_of_correlations(out: Path, correlations: list[float], masses: list[list[float]]) -> TrustResults:
    """Results with a clip for each correlation of its map with that of the random network, and each frames' masses;
    hiding a later frame costs more."""
    results, names = TrustResults(out), [f"c{i}" for i in range(len(correlations))]
    results.groups = pd.Series(names, names)
    results.randomised = pd.DataFrame(
        {"clip_id": names, "explanation": "map", "part": "all", "correlation": correlations}
    )
    results.frames = pd.DataFrame(
        [
            {"clip_id": name, "explanation": "map", "frame": t, "mass": mass, "drop": 0.1 * t}
            for name, of_clip in zip(names, masses, strict=True) for t, mass in enumerate(of_clip)
        ]
    )  # fmt: skip
    return results


def test_maps_that_are_the_same_everywhere_pass_nothing(out: Path) -> None:
    results = results_of_correlations(out, [np.nan] * 10, [[0.5, 0.5]] * 10)
    for table in (randomization_table(results), frame_agreement_table(results)):
        (row,) = table.to_dict("records")
        assert (row["verdict"], row["n"], row["undefined"]) == (OPEN, 0, 10) and np.isnan(row["value"])
        assert describe_correlation(pd.Series(row), ".2f") == "correlation not defined in any clip"


def test_clips_without_ranks_are_left_out_of_a_mean_and_counted(out: Path) -> None:
    few = [0.1, 0.2, 0.1, 0.2]
    results = results_of_correlations(out, [*few, *[np.nan] * 6], [*[[0.2, 0.8]] * 4, *[[0.5, 0.5]] * 6])
    sane, agrees = randomization_table(results), frame_agreement_table(results)
    assert [sane["value"][0], agrees["value"][0]] == pytest.approx([0.15, 1])  # not 0.06 and 0.4
    assert [*sane["n"], *agrees["n"], *sane["undefined"], *agrees["undefined"]] == [4, 4, 6, 6]
    assert (sane["verdict"][0], agrees["verdict"][0]) == (PASSES, PASSES)
    assert describe_correlation(sane.iloc[0], ".2f") == "correlation 0.15 in 4 of 10 clips"
    assert undefined_sentence(sane).endswith("has no ranks: map (6).")
    whole = randomization_table(results_of_correlations(out, few, [[0.2, 0.8]] * 4))
    assert undefined_sentence(whole) == "" and describe_correlation(whole.iloc[0], ".2f") == "correlation 0.15"


def test_clips_are_drawn_evenly_over_labels() -> None:
    table = pd.DataFrame({"clip_id": [f"c{i}" for i in range(30)], "label": ["a"] * 20 + ["b"] * 8 + ["c"] * 2})
    assert choose_clips(table, 9, 0)["label"].value_counts().to_dict() == {"a": 4, "b": 3, "c": 2}
    assert list(choose_clips(table, 9, 0)["clip_id"]) == list(choose_clips(table, 9, 0)["clip_id"])


def test_shares_inside_by_hand() -> None:
    import torch

    maps = torch.zeros(2, 4, 4)
    maps[0, :2, :2], maps[1, 2:, 2:] = 1.0, 1.0
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2] = True
    found = shares_inside(maps, masks)
    assert found == pytest.approx({PLACE: 0.5, "while it is visible": 0.5, "both": 0.5})
    masks[0] = False
    assert shares_inside(maps, masks)["both"] == 0


def test_grad_cam_finds_what_was_planted() -> None:
    """The demo's network: by weights per step, the CAM lies on the object while it is visible, beyond both controls."""
    said = ends_well("benchmark", "planted", "--clips", 24)
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| Grad-CAM, weights per step")]
    assert [row[1] for row in rows] == ["on the object", "while it is visible", "both"]
    for row in rows:
        for control in row[3:]:
            assert float(control.split("(")[1].split(" to ")[0]) > 5  # points, the interval's lower end
