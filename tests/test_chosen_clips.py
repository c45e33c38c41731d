"""Which clips a command takes of a dataset that names no splits, and what it says of them."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.runs.chosen_clips import choose_split
from sth_core.checkpoint import Checkpoint
from sth_core.datasets.table import Annotation, only_inside, open_dataset, read_dataset
from sth_core.datasets.trained_clips import trained_on, training_keys
from sth_core.errors import UserError
from sth_core.video.transforms import Preprocessing
from tests.tiny import tiny_network


def network(keys: str | None = None, annotation: Annotation = Annotation()) -> Checkpoint:
    """One that knows "hug" and "run", and was trained on clips of these keys."""
    training = {} if keys is None else {"train_keys": keys}
    return Checkpoint(tiny_network(), ["hug", "run"], Preprocessing(), annotation, training)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten files, five in each of two class folders: no videos, as nothing decodes them here."""
    for label in ("hug", "run"):
        (tmp_path / "videos" / label).mkdir(parents=True)
        for i in range(5):
            (tmp_path / "videos" / label / f"{label}{i}.mp4").write_bytes(label.encode() * (i + 1))
    return tmp_path / "videos"


def keys_of(folder: Path) -> str:
    return training_keys(read_dataset(folder))


def test_all_clips_of_a_folder_without_splits_are_taken_and_it_is_said(folder: Path) -> None:
    chosen = choose_split(network(), folder, Annotation(), "")
    assert (chosen.split, len(chosen.clips)) == ("all", 10)
    assert chosen.why == (
        "videos names no splits: all 10 clips are taken; it is not known which clips this network was trained on"
    )
    assert chosen.facts["split_from"] == "invented by checksum, no groups known"
    elsewhere = choose_split(network(keys=""), folder, Annotation(), "")
    assert elsewhere.why == "videos names no splits: all 10 clips are taken" and elsewhere.facts["trained_clips"] == 0


@pytest.mark.parametrize("change", ["as it was", "copied", "grown", "one moved to another class"])
def test_a_network_is_not_tested_on_the_clips_that_it_was_trained_on(change: str, folder: Path, tmp_path: Path) -> None:
    table = read_dataset(folder)
    trained, keys = set(table.loc[table["split"] == "train", "clip_id"]), keys_of(folder)
    held_out = set(table["clip_id"]) - trained
    if change == "copied":
        folder = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    elif change == "grown":
        for i in range(5, 9):
            (folder / "hug" / f"hug{i}.mp4").write_bytes(b"hug" * (i + 1))
            held_out.add(f"hug/hug{i}.mp4")
    elif change.startswith("one moved"):
        name = min(trained)
        (folder / name).rename(folder / "run" / Path(name).name)
        trained = trained - {name} | {f"run/{Path(name).name}"}
    chosen = choose_split(network(keys), folder, Annotation(), "")
    assert chosen.split == "held-out" and set(chosen.clips["clip_id"]) == held_out
    n = len(trained)
    assert chosen.why == (
        f"this network was trained on {n} of these {n + len(held_out)} clips; the {len(held_out)} held-out ones are "
        "taken; --split all takes all"
    )
    every = choose_split(network(keys), folder, Annotation(), "all")
    assert every.facts["trained_clips"] == n and every.facts["clips"] == n + len(held_out)
    assert every.why == f"this network was trained on {n} of the {n + len(held_out)} clips that are taken"
    assert not every.trained[every.clips["clip_id"].isin(held_out).to_numpy()].any()


def test_files_of_one_name_and_size_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    for name in ("hug/1.mp4", "run/1.mp4", "hug/2.mp4", "run/2.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"same")
    table = read_dataset(tmp_path).assign(split=["train", "val", "train", "train"])
    assert list(trained_on(table, training_keys(table))) == [True, False, True, True]


def test_named_splits_are_taken_at_their_word(folder: Path) -> None:
    rows = [
        (f"{label}/{label}{i}.mp4", label, "val" if i == 0 else "train") for label in ("hug", "run") for i in range(5)
    ]
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(folder / "manifest.csv", index=False)
    keys = keys_of(folder)
    chosen = choose_split(network(keys), folder, Annotation(), "")
    assert (chosen.split, len(chosen.clips), chosen.why) == ("val", 2, "")
    with pytest.raises(UserError, match=r"no clips in the split 'test' .* --split all takes all of them"):
        choose_split(network(keys), folder, Annotation(), "test")


def test_columns_of_the_network_s_own_training_are_not_needed(folder: Path) -> None:
    pd.DataFrame({"path": ["hug/hug1.mp4", "run/run1.mp4"]}).to_csv(folder / "manifest.csv", index=False)
    own = Annotation(label="motion", group="actor", split="part")
    chosen = choose_split(network(annotation=own), folder, own, "")
    assert chosen.split == "all" and list(chosen.clips["label"]) == ["", ""]
    assert "there is no column 'motion', as in the network's training, so it has no labels" in chosen.found.sentence
    with pytest.raises(UserError, match="has no column 'colour'"):
        choose_split(network(annotation=own), folder, replace(own, label="colour"), "")


def test_a_clip_that_leads_out_of_the_folders_is_not_read_and_the_reason_does_not_tell_whether_it_exists(tmp_path):
    data, outside = tmp_path / "data", tmp_path / "outside"
    for folder in (data, outside):
        folder.mkdir()
        for name in ("a.mp4", "b.mp4"):
            (folder / name).touch()
    (data / "link.mp4").symlink_to(outside / "a.mp4")
    (data / "folder").symlink_to(outside)
    led_out = ["../outside/a.mp4", "link.mp4", "folder/b.mp4", str(outside / "b.mp4")]
    rows = [f"{path},x,val" for path in ["a.mp4", "../data/b.mp4", *led_out]]
    (data / "manifest.csv").write_text("\n".join(["path,label,split", *rows]))
    dataset = only_inside(open_dataset(data), [tmp_path / "runs", data])
    reason = f"it lies outside of the folders that may be read: {tmp_path / 'runs'}, {data}"
    problems = dataset.clips.set_index("clip_id")["problem"].to_dict()
    assert problems == {"a.mp4": "", "../data/b.mp4": ""} | dict.fromkeys(led_out, reason)
