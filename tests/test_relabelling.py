"""A run follows its dataset: changed labels and groups are joined anew, new clips are recorded, lost ones are named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from analysis.attention.alpha_matrix import read_alpha
from analysis.experiments.interventions import effects_in, intervene
from analysis.experiments.probe_tables import probes_in
from analysis.experiments.probes import probe
from analysis.experiments.trust import TABLES, remove_relabelled
from analysis.runs import recording
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.features import features_of_clip, read_features
from analysis.runs.notes import note_of, save_note
from analysis.runs.recorded_network import checkpoint_and_clips
from analysis.runs.recording import open_or_record, record
from analysis.runs.run_directory import open_run, predictions
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError
from sth_core.shards import Shards
from tests.tiny import CLASSES, attention_of, copy_clips
from workbench.cli import main


@pytest.fixture
def few(scenes_folder: Path, tmp_path: Path) -> Path:
    return copy_clips(scenes_folder, tmp_path / "few", 4)


def edit(folder: Path, column: str, values: dict[str, str]) -> None:
    """Change cells of the manifest: {path: value}."""
    table = pd.read_csv(folder / "manifest.csv").set_index("path")
    for path, value in values.items():
        table.loc[path, column] = value
    table.reset_index().to_csv(folder / "manifest.csv", index=False)


def unchanged(run: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What does not depend on labels: predictions with their scores, and attention."""
    return predictions(open_run(run)).drop(columns=["label", "correct", "group"]), attention_of(run)


def recorded_again(checkpoint: Path, few: Path, run: Path, **options) -> list[str]:
    told: list[str] = []
    record(checkpoint, few, run, DatasetOptions(notify=told.append), **options)
    return told


def test_corrected_labels_are_joined_anew_and_nothing_is_computed(checkpoint, few, tmp_path, monkeypatch):
    run = tmp_path / "run"
    record(checkpoint, few, run)
    before, first = unchanged(run), predictions(open_run(run)).iloc[0]
    assert recorded_again(checkpoint, few, run)[1:] == []  # nothing has changed
    wrong = next(label for label in CLASSES if label not in (first["label"], first["prediction"]))
    monkeypatch.setattr(
        recording, "batch_results", lambda _, mine, *__: iter(()) if mine.empty else pytest.fail("computed")
    )
    for now, correct in ((first["prediction"], True), (wrong, False), ("unheard of", None)):
        was = predictions(open_run(run)).iloc[0]["label"]
        edit(few, "motion", {first["clip_id"]: now})
        told = recorded_again(checkpoint, few, run)
        if now == was:
            continue
        assert told[1].startswith(f"1 label changed: {first['clip_id']} {was} -> {now}; accuracy ")
        table = predictions(open_run(run))
        assert table["label"][0] == now
        assert table["correct"].isna()[0] if correct is None else bool(table["correct"][0]) == correct
        for one, other in zip(before, unchanged(run), strict=True):
            pd.testing.assert_frame_equal(one, other)
        notes = open_run(run).meta["relabelled"]
        assert notes[-1]["labels"] == {first["clip_id"]: [was, now]} and open_run(run).meta["finished"]
        counted = table["correct"].dropna()
        assert notes[-1]["accuracy"][1] == counted.mean()
    assert len(notes) >= 2  # earlier ones are kept


def test_an_interrupted_correction_is_finished_by_the_next_call(checkpoint, few, tmp_path, monkeypatch):
    run = tmp_path / "run"
    monkeypatch.setattr("analysis.runs.rows.MOST_PER_SHARD", 1)  # a shard for each clip
    record(checkpoint, few, run, DatasetOptions(batch_size=1))
    clips = list(predictions(open_run(run))["clip_id"])
    edit(few, "motion", dict.fromkeys(clips, CLASSES[0]))
    written: list[Path] = []

    def synced(path: Path) -> None:
        written.append(path)
        if len(written) == 6:  # a file and its folder, for each shard
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("sth_core.shards.sync", synced)
        record(checkpoint, few, run)
    assert 0 < predictions(open_run(run))["label"].eq(CLASSES[0]).sum() < 4
    record(checkpoint, few, run)
    assert predictions(open_run(run))["label"].eq(CLASSES[0]).all() and not open_run(run).problem


def test_groups_are_joined_anew_and_a_pattern_is_remembered(checkpoint, few, tmp_path):
    run = tmp_path / "run"
    record(checkpoint, few, run)
    told = recorded_again(checkpoint, few, run, annotation=Annotation(label="motion", group_pattern="/(...)"))
    assert told[1].startswith("4 groups changed: val/") and told[1].endswith("...")
    assert predictions(open_run(run))["group"].nunique() == 1
    assert recorded_again(checkpoint, few, run)[1:] == []  # without the pattern: it is that of the run
    assert predictions(open_run(run))["group"].nunique() == 1


def test_a_column_of_groups_is_named_and_remembered(checkpoint, few, tmp_path):
    def grouped(*options: str) -> tuple[int, str]:
        command = ["record", str(checkpoint), "--data", str(few), "-o", str(tmp_path / "run"), *options]
        assert not CliRunner().invoke(main, command, catch_exceptions=False).exit_code
        run = open_run(tmp_path / "run")
        return predictions(run)["group"].nunique(), run.meta["groups_from"]

    appearances = pd.read_csv(few / "manifest.csv")["appearance"]
    assert grouped("--group", "appearance") == (appearances.nunique(), "the column appearance")
    assert grouped() == (appearances.nunique(), "the column appearance")
    assert grouped("--group", "motion") == (pd.read_csv(few / "manifest.csv")["motion"].nunique(), "the column motion")
    assert grouped("--group-pattern", "/(...)")[0] == 1
    assert grouped()[0] == 1


def test_new_clips_are_recorded_and_lost_ones_are_named(checkpoint, scenes_folder, few, tmp_path):
    run, more = tmp_path / "run", copy_clips(scenes_folder, tmp_path / "more", 6)
    record(checkpoint, few, run)
    before = predictions(open_run(run))
    for name in ("val", "manifest.csv"):
        shutil.rmtree(few / "val") if name == "val" else (few / name).unlink()
        shutil.move(more / name, few / name)
    assert record(checkpoint, few, run).clips == 6
    table = predictions(open_run(run))
    pd.testing.assert_frame_equal(table[table["clip_id"].isin(before["clip_id"])].reset_index(drop=True), before)
    lost = before["clip_id"][0]
    edit(few, "split", {lost: "train"})
    with pytest.raises(UserError, match="holds 1 clip no longer in this split of .*" + lost):
        record(checkpoint, few, run)
    assert len(predictions(open_run(run))) == 6 and open_run(run).problem == ""


@pytest.mark.long
def test_probes_and_interventions_have_the_labels_of_their_run(checkpoint, few, tmp_path):
    folder = tmp_path / "run"
    record(checkpoint, few, folder)
    probe(open_run(folder), few, shuffles=1)
    intervene(open_run(folder), few, DatasetOptions(batch_size=2))
    first = predictions(open_run(folder)).iloc[0]
    now = next(label for label in CLASSES if label != first["label"])
    edit(few, "motion", {first["clip_id"]: now})
    _, clips = checkpoint_and_clips(open_run(folder), few, DatasetOptions(device="cpu"))
    assert (
        clips.set_index("clip_id")["label"][first["clip_id"]] == first["label"]
    )  # of the run, until it is recorded again
    told: list[str] = []
    run = open_or_record(checkpoint, few, folder, DatasetOptions(notify=told.append))
    assert any(sentence.startswith("1 label changed") for sentence in told)
    assert first["clip_id"] not in probes_in(folder).done() | effects_in(folder).done()
    probe(run, few, shuffles=1)
    intervene(run, few, DatasetOptions(batch_size=2))
    for rows in (probes_in(folder).read("probes"), effects_in(folder).read("effects")):
        assert rows["clip_id"].nunique() == 4
        assert not rows.duplicated([c for c in ("clip_id", "probe", "repeat", "place", "kind") if c in rows]).any()
        assert set(rows.loc[rows["clip_id"] == first["clip_id"], "label"]) == {now}


def test_a_run_of_an_earlier_version_is_corrected_too(checkpoint, few, tmp_path):
    run = tmp_path / "run"
    record(checkpoint, few, run)
    (shard,) = (run / "predictions").glob("*.parquet")
    table = pd.read_parquet(shard).drop(columns="group")
    table.assign(correct=table["correct"].astype(bool)).to_parquet(shard, index=False)
    edit(few, "motion", {table["clip_id"][0]: "unheard of"})
    told = recorded_again(checkpoint, few, run)
    assert "-> unheard of" in told[1]
    again = predictions(open_run(run))
    assert again["correct"].isna().tolist() == [True, False, False, False]
    assert np.array_equal(np.stack(again["scores"]), np.stack(table["scores"]))
    assert json.loads((run / "run.json").read_text())["relabelled"][0]["groups"] == {}


def test_a_video_in_the_folder_of_another_class_keeps_its_prediction_and_notes(checkpoint, few, tmp_path):
    """In a dataset of folders, to correct a label is to move a file."""
    run, clips = tmp_path / "run", sorted((few / "val").iterdir())
    for i, clip in enumerate(clips):
        (tmp_path / "data" / CLASSES[i % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / "data" / CLASSES[i % 2])
    record(checkpoint, tmp_path / "data", run, features=True)
    features = read_features(open_run(run))
    before, moved = predictions(open_run(run)), f"{CLASSES[0]}/{clips[0].name}"
    save_note(open_run(run), moved, "a wrong label", 0)
    scores = before.set_index("clip_id")["scores"][moved]
    now = f"{CLASSES[1]}/{clips[0].name}"
    (tmp_path / "data" / moved).rename(tmp_path / "data" / now)
    told = recorded_again(checkpoint, tmp_path / "data", run, features=True)
    assert f"1 clip moved: {moved} -> {now}; 1 label changed: {now} {CLASSES[0]} -> {CLASSES[1]}; accuracy" in told[-1]
    table = predictions(open_run(run)).set_index("clip_id")
    assert np.array_equal(table["scores"][now], scores) and table["group"][now] == now
    assert table["path"][now] == str(tmp_path / "data" / now)
    assert len(table) == 4 and set(attention_of(run)["clip_id"]) == set(table.index) == set(
        read_alpha(open_run(run)).clips["clip_id"]
    )
    after = read_features(open_run(run))
    assert np.array_equal(features_of_clip(after, now), features_of_clip(features, moved)) and len(after.clips) == 4
    assert note_of(open_run(run), now).text == "a wrong label"
    assert recorded_again(checkpoint, tmp_path / "data", run, features=True)[2:] == []


def test_a_file_that_was_replaced_under_its_name_is_recorded_again(checkpoint, few, tmp_path):
    run, (first, second, *_) = tmp_path / "run", sorted((few / "val").iterdir())
    record(checkpoint, few, run)
    before = predictions(open_run(run)).set_index("clip_id")["scores"]
    shutil.copy(second, first)
    told = recorded_again(checkpoint, few, run)
    assert told[1] == f"1 file of another size than when recorded, recorded again: val/{first.name}"
    now = predictions(open_run(run)).set_index("clip_id")["scores"]
    assert np.array_equal(now[f"val/{first.name}"], before[f"val/{second.name}"]) and len(now) == 4
    assert len(attention_of(run)) == 4 * 16


def test_explanations_of_a_clip_with_another_label_are_tested_again(tmp_path):
    told: list[str] = []
    shards = Shards(tmp_path, TABLES)
    for i, label in enumerate(("hug", "run", "run")):
        rows = pd.DataFrame({"clip_id": [f"{i}.mp4"], "label": [label]})
        shards.tidy()
        shards.write(dict.fromkeys(TABLES, rows))
    chosen = pd.DataFrame({"clip_id": ["0.mp4", "1.mp4"], "label": ["hug", "hug"]})  # the third is no longer chosen
    remove_relabelled(shards, chosen, DatasetOptions(notify=told.append))
    assert told == ["1 label changed: 1.mp4 run -> hug; these clips are tested again"]
    assert shards.done() == {"0.mp4"}
    assert [len(list((tmp_path / kind).glob("*.parquet"))) for kind in TABLES] == [1] * len(TABLES)
