"""What `sth record`, `sth evaluate`, `sth results` and `sth study` print of splits, labels and earlier results."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from sth_core.datasets.table import read_dataset
from sth_core.errors import UserError
from sth_core.files import write_json
from sth_core.recipe import SHIPPED_RECIPES, load_recipe
from sth_core.study import load_study
from sth_core.training_clips import identity_of, training_clips, write_kept
from tests.tiny import CLASSES, copy_clips
from workbench.cli import main
from workbench.training_data import check_study_data, open_training_data


def sth(*words: object) -> list[str]:
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return [line.rstrip() for line in done.output.splitlines()]


@pytest.fixture
def clips(scenes_folder: Path, tmp_path: Path) -> list[Path]:
    return sorted((copy_clips(scenes_folder, tmp_path / "few", 4) / "val").iterdir())


@pytest.mark.parametrize("command", ["record", "evaluate"])
def test_a_flat_folder_is_recorded_as_unlabelled(command, checkpoint, clips, tmp_path):
    run = tmp_path / "run"
    lines = sth(command, checkpoint, "--data", clips[0].parent, "-o", run)
    assert lines[0].startswith("val: 4 clips, no labels, read from its folders; splits: ")
    assert "(invented, by checksum, no groups known)" in lines[0]
    assert (
        lines[1]
        == "val names no splits: all 4 clips are taken; it is not known which clips this network was trained on"
    )
    assert lines[-2] == "No accuracy: none of the 4 clips has a label."
    assert lines[-1] == f"4 clips, 0 of them unreadable; no accuracy; run: {run}"
    assert "top-1" not in "".join(lines)
    meta = json.loads((run / "run.json").read_text())
    expected = {"split": "all", "split_from": "invented by checksum, no groups known", "groups_from": "", "clips": 4}
    assert {key: meta[key] for key in expected} == expected and meta["trained_clips"] is None
    table = sth("results", tmp_path)
    assert "run: No accuracy: none of the 4 clips has a label." in table


def test_labels_of_other_classes_and_some_known_ones(checkpoint, clips, tmp_path):
    for labels, accuracy, sentence in (
        (
            ["a", "b", "a", "a"],
            "no accuracy",
            "No accuracy: none of the 4 clips has a label that the network knows (theirs: a, b; its: ",
        ),
        (
            [*CLASSES[:3], "a"],
            "accuracy ",
            "Not counted: 1 with labels that the network does not know (a), of 4 clips.",
        ),
    ):
        folder = tmp_path / accuracy.strip()
        for clip, label in zip(clips, labels, strict=True):
            (folder / label).mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, folder / label)
        lines = sth("record", checkpoint, "--data", folder, "-o", tmp_path / f"run of {accuracy}")
        assert any(line.startswith(sentence) for line in lines)
        assert f"; {accuracy}" in lines[-1]
        assert any("over 3 clips" in line for line in lines) == (accuracy == "accuracy ")


def test_a_study_is_not_continued_on_other_labels(tmp_path):
    told: list[str] = []
    data, out = tmp_path / "data", tmp_path / "study"
    data.mkdir()
    rows = [(f"{i}.mp4", ("hug", "kick")[i % 2], str(5 + i // 6)) for i in range(12)]
    for path, *_ in rows:
        (data / path).write_bytes(path.encode())
    table = pd.DataFrame(rows, columns=["path", "label", "sequence"])
    table.to_csv(data / "manifest.csv", index=False)
    study = load_study("study_ut_interaction_scratch")
    cell = study.cells[0]
    kept = training_clips(read_dataset(data, load_recipe(study.recipe, cell.changes).data)).kept
    write_kept(out / "networks" / cell.name, kept)
    write_json(out / "networks" / cell.name / "training.json", {**identity_of(kept), "finished": "2026-01-01"})
    check_study_data(study, data, out, told.append)
    assert told[0].startswith(
        "data: 12 clips, 2 classes, read from manifest.csv; splits: train 6, val 6 (invented, by held_out)"
    )
    table.assign(label=["kick", *table["label"][1:]]).to_csv(data / "manifest.csv", index=False)
    with pytest.raises(UserError, match=r"is not what .* was trained on \(1 label changed: 0.mp4.* hug.* -> kick"):
        check_study_data(study, data, out, told.append)
    check_study_data(study, data, None, told.append)


def test_a_shipped_recipe_goes_on_without_the_groups_of_its_own_dataset(tmp_path):
    rows = [(f"{i}.mp4", ("hug", "kick")[i % 2]) for i in range(12)]
    for path, *_ in rows:
        (tmp_path / path).write_bytes(b"")
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(tmp_path / "manifest.csv", index=False)
    own = load_recipe("ut_interaction").data
    annotation, dataset = open_training_data(Path("ut_interaction"), own, tmp_path)
    assert annotation == replace(own, group="")
    assert "(invented, by checksum, no groups known)" in dataset.found.sentence
    assert "there is no column 'sequence', which the recipe ut_interaction takes for groups" in dataset.found.sentence
    shutil.copy(SHIPPED_RECIPES / "ut_interaction.toml", tmp_path / "mine.toml")
    for recipe, asked in ((Path("ut_interaction"), "actor"), (tmp_path / "mine.toml", "sequence")):
        with pytest.raises(UserError, match=f"has no column '{asked}'"):
            open_training_data(recipe, replace(own, group=asked), tmp_path)
