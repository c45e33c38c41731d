"""`sth benchmark real_people` on a small study, and the tables of docs/real-people.md from what it leaves."""

import tarfile
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from analysis.experiments.interventions import intervene
from benchmarks import real_people
from benchmarks.real_people_tables import fold_values, part, unpacked_runs
from sth_core.datasets import extraction
from sth_core.errors import UserError
from sth_core.recipe import load_recipe
from sth_core.study import load_study
from tests.test_stop_and_go import RECIPE
from tests.tiny import write_moving_video
from workbench.cli import main

STUDY = """
recipe = "tiny.toml"
seeds = [0]
[axes.question]
"way" = { "data.label" = "way", "data.kind" = "temporal", "data.folder" = "a" }
"thing" = { "data.label" = "thing", "data.kind" = "appearance", "data.folder" = "b" }
[axes.modality]
"Flow" = { "model.modality" = "flow", "preprocessing.modality" = "flow", "preprocessing.mean" = [0.5] }
[axes.backbone]
"ResNet-18" = { "preprocessing.std" = [0.1], "optimisation.epochs" = 1, "optimisation.warmup_epochs" = 0 }
[axes.network]
"STH, p = 1/4" = {}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = ["path,way,thing,split", *(f"{i}.mp4,{'ud'[i % 2]},{'xy'[i % 2]},{'tv'[i > 1]}" for i in range(4))]
    text = "\n".join(rows).replace(",t\n", ",train\n").replace(",v", ",val")
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "manifest.csv").write_text(text)
        for i in range(4):
            write_moving_video(tmp_path / "data" / name / f"{i}.mp4", 4, 48, 48)
    return tmp_path / "data"


def one_after_the_other(function, arguments, workers):
    yield from ((key, function(*of_key)) for key, of_key in arguments.items())


def test_a_study_in_a_limited_time_and_its_tables(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_people, "in_processes", one_after_the_other)  # processes take seconds to start
    monkeypatch.setattr(extraction, "in_processes", one_after_the_other)
    monkeypatch.setattr(
        real_people, "intervene", lambda run, *more: run.meta["label"] == "way" and intervene(run, *more)
    )
    monkeypatch.setattr(real_people.torch, "set_num_threads", lambda threads: None)
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("[data]", "[data]\nsplit = 'split'"))
    (tmp_path / "study.toml").write_text(STUDY)
    out = tmp_path / "out"

    def call(*words: str) -> str:
        study = ["--study", str(tmp_path / "study.toml"), "-o", str(out), "--device", "cpu"]
        result = CliRunner().invoke(main, ["benchmark", "real_people", str(data), *study, *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "0 trainings are recorded" in call("--minutes", "0")
    with monkeypatch.context() as broken:
        broken.setattr(real_people, "train", lambda *_, **__: 1 / 0)
        with pytest.raises(AssertionError, match=r"(?s)ZeroDivisionError.*2 of 2 trainings failed"):
            call()
    assert "2 trainings are recorded" in call() and "2 trainings are recorded" in call("--minutes", "0")
    assert {path.name for path in (out / "results").iterdir()} == {"runs-seed0.tar.xz", "trainings.csv"}
    assert (data / "a" / "flow").exists() is False and (out / "data" / "a" / "flow" / "flow.json").is_file()
    table = pd.read_csv(out / "results" / "trainings.csv")
    assert list(table["question"]) == ["way", "thing"] and set(table["kind"]) == {"temporal", "appearance"}
    assert table["alpha_T"].between(0.4, 0.6).all() and table["seconds"].ge(0).all()
    result = CliRunner().invoke(main, ["benchmark", "real_people_tables", str(out / "results")])
    assert result.exit_code == 0, result.output
    assert "resnet18 sth, p = 1/4, Flow: a: way less b: thing" in result.stdout
    for heading in ("Accuracy on", "α_T, mean", "Probes", "α replaced"):
        assert f"\n{heading}" in f"\n{result.stdout}"


def test_a_cut_archive_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "runs-seed0.tar.xz", "w:xz") as archive:
        archive.add(__file__, "file")
    whole = (tmp_path / "runs-seed0.tar.xz").read_bytes()
    (tmp_path / "runs-seed0.tar.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"runs-seed0.tar.xz cannot be read"):
        unpacked_runs(tmp_path, tmp_path / "runs")


def test_rgb_and_flow_are_of_one_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Figure 8 would not compare them."""
    extracted: list[Path] = []
    monkeypatch.setattr(real_people, "extract_flow", lambda table, out, *_, **__: extracted.append(out))
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("[data]", "[data]\nsplit = 'split'"))
    (tmp_path / "study.toml").write_text(STUDY.replace("[axes.modality]", '[axes.modality]\n"RGB" = {}'))
    study = load_study(tmp_path / "study.toml")
    for modality, flows in (("RGB", []), ("Flow", ["a", "b"])):
        cells = real_people.chosen_cells(study, 0, (modality,))
        assert real_people.with_flow(study, cells, data, tmp_path / "out") == tmp_path / "out" / "data"
        assert [out.parent.name for out in extracted] == flows


def test_cells_are_chosen_by_their_values() -> None:
    study = load_study("study_real_people")
    chosen = real_people.chosen_cells(study, 2, ("Flow", "TSM", "TSN"))
    assert len(chosen) == 2 * 4 * 1 * 2 * 2 and {cell.values["modality"] for cell in chosen} == {"Flow"}
    with pytest.raises(real_people.UserError, match="no axis of the study has the value 'flow'"):
        real_people.chosen_cells(study, 0, ("flow",))


def test_the_study_compares_networks_that_are_alike_but_for_one_thing() -> None:
    """Figure 7 compares cells that differ in their data alone, Figure 8 in the modality and its normalisation."""
    study = load_study("study_real_people")
    for cell in study.cells:
        if cell.seed == 0 and cell.values["question"] != "direction":
            recipe, base = (load_recipe(study.recipe, changes) for changes in (cell.changes, ()))
            assert recipe.augment == base.augment and recipe.preprocessing.resize == base.preprocessing.resize
            assert recipe.optimisation.epochs == base.optimisation.epochs
            assert recipe.data.kind == {"command": "temporal"}.get(cell.values["question"], "appearance")


def test_every_clip_is_tested_once_for_each_seed_of_folds() -> None:
    study = load_study("study_ut_interaction_folds")
    held_out = [load_recipe(study.recipe, cell.changes).data.held_out for cell in study.cells if cell.seed == 0]
    per_network = [sorted(sum(held_out[i : i + 5], ()), key=int) for i in range(0, len(held_out), 5)]
    assert per_network == [[str(i) for i in range(1, 21)]] * 6


def test_what_folds_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folds and two seeds, of which the second lacks a fold: right are 1 of 2 classes, 2 of 2 actions."""
    clips = {
        name: pd.DataFrame({"clip_id": [name[0]], "label": ["hug, forward"], "prediction": [said], "group": [name[0]]})
        for name, said in {"a0": "hug, forward", "b0": "hug, backward", "a1": "hug, forward"}.items()
    }
    monkeypatch.setattr(
        "benchmarks.real_people_tables.predictions",
        lambda run: clips[run.name].assign(correct=lambda t: t["label"] == t["prediction"]),
    )
    runs = [type("Run", (), {"name": name})() for name in clips]
    cells = pd.DataFrame({"fold": ["a", "b", "a", "b"], "seed": [0, 0, 1, 1]}, ["a0", "b0", "a1", "b1"])
    found = {name: values.tolist() for name, values, _ in fold_values(runs, cells)}
    assert found == {"class": [[1, 0]], "action": [[1, 1]], "direction": [[1, 0]]}
    assert list(part(pd.Series(["hug, backward"]), 1)) == ["backward"]
