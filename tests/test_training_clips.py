"""Which clips take part in a training, what is said of the others, and in what words two trainings differ."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sth_core.checkpoint import save_checkpoint
from sth_core.datasets.clips import EvaluationClips
from sth_core.datasets.table import open_dataset
from sth_core.errors import UserError
from sth_core.evaluation import accuracy
from sth_core.training_clips import explained_differences, identity_of, keys_of_network, training_clips, write_kept
from tests.tiny import CLASSES, RGB, copy_clips, tiny_network


def dataset(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A manifest of (path, label, split), and a file for each path: no video, as nothing decodes it here."""
    for path, *_ in rows:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(folder / "manifest.csv", index=False)
    return folder


ROWS = [("a.mp4", "hug", "train"), ("b.mp4", "run", "train"), ("c.mp4", "hug", "val"), ("d.mp4", "run", "val")]


def kept(folder: Path) -> pd.DataFrame:
    return training_clips(open_dataset(folder).clips).kept


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ([("a.mp4", "run", "train"), *ROWS[1:]], "1 label changed: a.mp4 hug -> run"),
        ([*ROWS[:3], ("d.mp4", "run", "train")], "1 split changed: d.mp4 val -> train"),
        ([*ROWS, ("e.mp4", "run", "train")], "1 clip is new: e.mp4"),
        ([ROWS[0], *ROWS[1:3]], "1 clip is gone: d.mp4"),
        (
            [(path, "jump", split) for path, _, split in ROWS],
            "4 labels changed: a.mp4 hug -> jump, b.mp4 run -> jump, c.mp4 hug -> jump, ...",
        ),
    ],
)
def test_differences_are_named(change, sentence, tmp_path):
    write_kept(tmp_path, kept(dataset(tmp_path / "before", ROWS)))
    before, now = kept(tmp_path / "before"), kept(dataset(tmp_path / "now", change))
    assert identity_of(before)["clips_sha256"] != identity_of(now)["clips_sha256"]
    assert explained_differences(tmp_path, now)["clips_sha256"] == sentence


def test_the_order_of_the_clips_makes_no_difference(tmp_path: Path) -> None:
    clips = kept(dataset(tmp_path, ROWS))
    assert identity_of(clips) == identity_of(clips[::-1])


def test_a_file_that_was_replaced_under_its_name_is_named(tmp_path):
    folder = dataset(tmp_path / "videos", ROWS)
    before = kept(folder)
    write_kept(tmp_path, before)
    (folder / "c.mp4").write_bytes(b"another video")
    now = kept(folder)
    assert identity_of(before)["clips_sha256"] == identity_of(now)["clips_sha256"]
    assert identity_of(before)["files_sha256"] != identity_of(now)["files_sha256"]
    assert explained_differences(tmp_path, now)["files_sha256"] == "1 file size changed: c.mp4 5 -> 13"


def test_clips_without_a_label_are_not_trained_on(tmp_path):
    rows = [(f"{i}.mp4", "hug" if i % 2 else "", "") for i in range(10)]
    table = open_dataset(dataset(tmp_path / "some", rows)).clips
    data = training_clips(table)
    assert data.classes == ["hug"]
    unlabelled = data.train[data.train["label"] == ""]
    assert len(unlabelled) and unlabelled["problem"].eq("it has no label").all()
    none = open_dataset(dataset(tmp_path / "none", [(path, "", "") for path, *_ in rows])).clips
    with pytest.raises(
        UserError, match=r"training needs labels, and none of the \d clips of the split 'train' has one"
    ):
        training_clips(none)


def test_val_clips_whose_label_is_no_class_are_not_counted_and_it_is_said(scenes_folder, tmp_path):
    folder = copy_clips(scenes_folder, tmp_path / "few", 4)
    table = pd.read_csv(folder / "manifest.csv").assign(label=[*CLASSES[:2], "juggling", ""])[
        ["path", "label", "split"]
    ]
    train = pd.DataFrame({"path": ["t0.mp4", "t1.mp4"], "label": CLASSES[:2], "split": "train"})
    for path in train["path"]:
        (folder / path).write_bytes(b"not read")
    pd.concat([table, train]).to_csv(folder / "manifest.csv", index=False)
    data = training_clips(open_dataset(folder).clips)
    assert data.notes == (
        "not counted in the accuracy: 1 val clip of the class 'juggling': no training clip has it",
        "not counted in the accuracy: 1 val clip without a label",
    )
    found = accuracy(tiny_network(), EvaluationClips(data.val, CLASSES, RGB), RGB)
    assert found.clips == 2 and found.share in (0, 0.5, 1)
    none = accuracy(tiny_network(), EvaluationClips(data.val, ["x"] * len(CLASSES), RGB), RGB)
    assert none.clips == 0 and np.isnan(none.share)


@pytest.mark.parametrize(("rows", "counts"), [(ROWS[:2], "{'train': 2}"), (ROWS[2:], "{'val': 2}")])
def test_a_training_needs_both_splits(rows: list[tuple[str, str, str]], counts: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"needs clips in the splits 'train' and 'val'; this dataset has {counts}"):
        training_clips(open_dataset(dataset(tmp_path, rows)).clips)


def test_the_clips_of_the_network_that_training_starts_from_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    save_checkpoint(file, tiny_network(), CLASSES, RGB, training={"train_keys": "the keys"})
    assert keys_of_network(file) == "the keys"
    save_checkpoint(tmp_path / "silent.safetensors", tiny_network(), CLASSES, RGB)
    assert keys_of_network(tmp_path / "silent.safetensors") == ""
    (tmp_path / "a.pth").write_bytes(b"weights of another project")
    assert [keys_of_network(other) for other in (None, tmp_path / "none.safetensors", tmp_path / "a.pth")] == [""] * 3
