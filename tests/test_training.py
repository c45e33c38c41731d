"""Training by a recipe, and what it writes."""

import copy
import csv
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sth_core import create_model, load_checkpoint
from sth_core.datasets.clips import TrainClips
from sth_core.datasets.random_clips import Augment, swap_label
from sth_core.datasets.table import read_dataset
from sth_core.errors import UserError
from sth_core.optimisation import learning_rate
from sth_core.recipe import Recipe, recipe_from
from sth_core.training import Progress, train
from sth_core.video.transforms import Preprocessing

TINY = {
    "data": {"label": "motion"},
    "model": {"backbone": "resnet18", "width": 8, "frames": 2, "temporal_fraction": 0.25, "dropout": 0.2},
    "preprocessing": {"frames": 2, "resize": 36, "crop": 32},
    "augment": {"reverse": True, "reverse_swaps": [["opening", "closing"]]},
    "optimisation": {
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 0.05,
        "warmup_epochs": 1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "label_smoothing": 0.05,
        "clip_gradient": 5.0,
        "seed": 0,
    },
}


def tiny(**changes: Any) -> Recipe:
    """The tiny recipe; a change is section__key=value."""
    sections = copy.deepcopy(TINY)
    for name, value in changes.items():
        section, key = name.split("__")
        sections.setdefault(section, {})[key] = value
    return recipe_from(sections, "tiny.toml")


@pytest.fixture
def table(scenes_folder: Path) -> pd.DataFrame:
    return read_dataset(scenes_folder, tiny().data)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "model.safetensors").model.state_dict()


def test_training_writes_a_network_and_its_metrics(table: pd.DataFrame, tmp_path: Path) -> None:
    shown: list[Progress] = []
    result = train(tiny(), table, tmp_path / "run", "cpu", shown.append)

    assert result.checkpoint == tmp_path / "run" / "model.safetensors"
    assert (result.clips, result.failures) == (24, {})
    loaded = load_checkpoint(result.checkpoint)
    assert loaded.classes == sorted(set(table["label"]))
    assert loaded.preprocessing == Preprocessing(frames=2, resize=36, crop=32)
    assert loaded.annotation.label == "motion"
    assert loaded.training["val_accuracy"] == result.accuracy
    assert recipe_from(loaded.training["recipe"], "checkpoint") == tiny()
    assert not torch.equal(loaded.model.fc.weight, untrained().fc.weight)

    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(0 < float(row["loss"]) < 10 for row in rows)
    assert [(p.done, p.total) for p in shown if p.stage == "reading"] == [(i, 24) for i in range(25)]
    assert [(p.done, p.total, p.epoch) for p in shown if p.stage == "training"] == [
        (i, 6, 1 + (i > 3)) for i in range(1, 7)
    ]


def untrained() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model(num_classes=12, **tiny().model)


def test_training_interrupted_after_an_epoch_ends_with_the_same_weights(table: pd.DataFrame, tmp_path: Path) -> None:
    train(tiny(), table, tmp_path / "whole", "cpu")

    def stop_in_epoch_2(p: Progress) -> None:
        if p.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny(), table, tmp_path / "broken", "cpu", stop_in_epoch_2)
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    steps: list[Progress] = []
    train(tiny(), table, tmp_path / "broken", "cpu", steps.append)

    assert {p.epoch for p in steps if p.stage == "training"} == {2}, "the first epoch was trained again"
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert (tmp_path / "whole" / "metrics.csv").read_bytes() == (tmp_path / "broken" / "metrics.csv").read_bytes()


@pytest.fixture
def with_broken(table: pd.DataFrame, tmp_path: Path) -> tuple[pd.DataFrame, str]:
    """Eight clips of each split, one more of training that cannot be read, and why."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    row = {"clip_id": "train/broken.mp4", "path": str(broken), "label": "opening", "split": "train", "group": "x"}
    row |= {"flow": "", "problem": "", "segment": ""}
    few = pd.concat([table.groupby("split").head(8), pd.DataFrame([row | {"backward": False}])], ignore_index=True)
    return few, f"{broken}: not a video that can be decoded (Invalid data found when processing input)"


def test_an_unreadable_clip_is_left_out_and_named(with_broken: tuple[pd.DataFrame, str], tmp_path: Path) -> None:
    few, reason = with_broken
    result = train(tiny(), few, tmp_path / "run", "cpu")
    assert result.failures == {"train/broken.mp4": reason}
    failures = pd.read_parquet(tmp_path / "run" / "failures.parquet")
    assert failures.to_dict("records") == [{"clip_id": "train/broken.mp4", "reason": reason}]
    assert load_checkpoint(result.checkpoint).training["train_clips"] == 8


def test_with_an_unreadable_clip_too_neither_memory_nor_a_stop_changes_the_network(
    with_broken: tuple[pd.DataFrame, str], tmp_path: Path
) -> None:
    few, reason = with_broken
    for name, memory in (("kept", None), ("read", 0.0)):
        train(tiny(), few, tmp_path / name, "cpu", memory=memory)

    def stop(p: Progress) -> None:
        if p.stage == "training" and p.done == p.total:  # after the last step, before its epoch ends
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny(), few, tmp_path / "stopped", "cpu", stop, memory=0.0)
    assert train(tiny(), few, tmp_path / "stopped", "cpu", memory=0.0).failures == {"train/broken.mp4": reason}
    kept = weights(tmp_path / "kept")
    for name in ("read", "stopped"):
        assert all(torch.equal(weight, kept[key]) for key, weight in weights(tmp_path / name).items()), name
        assert load_checkpoint(tmp_path / name / "model.safetensors").training["train_clips"] == 8
        assert len(pd.read_parquet(tmp_path / name / "failures.parquet")) == 1


def test_when_no_clip_can_be_read_the_reasons_are_given(table: pd.DataFrame, tmp_path: Path) -> None:
    gone = table.assign(path=str(tmp_path / "gone.mp4"))
    with pytest.raises(UserError, match=r"none of the 24 training clips could be read: .*gone\.mp4: no such file"):
        train(tiny(), gone, tmp_path / "run", "cpu")


def test_both_splits_are_needed(table: pd.DataFrame, tmp_path: Path) -> None:
    only_train = table[table["split"] == "train"]
    with pytest.raises(UserError, match=r"clips in the splits 'train' and 'val'; this dataset has \{'train': 24\}"):
        train(tiny(), only_train, tmp_path / "run", "cpu")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"model__temporal_fraction": 1 / 16},
            r"\[model\]: temporal_fraction 1/16 needs channels that 16 divides, got 8",
        ),
        ({"model__backbone": "resnet81"}, r"\[model\]: unknown backbone 'resnet81' \(did you mean 'resnet18'\?\)"),
        ({"model__frames": 4}, r"frames and modality must be the same in \[model\] and \[preprocessing\]"),
        ({"preprocessing__modality": "flow"}, r"frames and modality must be the same"),
    ],
)
def test_a_model_that_cannot_be_is_refused_before_any_clip_is_read(
    changes: dict, sentence: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        train(tiny(**changes), table.assign(path="nowhere"), tmp_path / "run", "cpu")


ADVICE = "try a smaller learning_rate .now 0.05. or clip_gradient .now 5.0.; "


@pytest.mark.parametrize(
    ("patched", "sentence"),
    [
        (("torch.nn.functional.cross_entropy", torch.nan), r"the loss is nan in epoch 2, step 2 \(clips train/"),
        (("torch.nn.utils.clip_grad_norm_", torch.inf), r"the norm of the gradient is inf in epoch 2, step 2 \("),
        (("torch.optim.SGD.step", torch.nan), "after epoch 2, step 2, its weights are broken: backbone.conv1.weight"),
    ],
    ids=["loss", "gradient", "weights"],
)
def test_numbers_that_are_not_finite_stop_training_and_the_last_whole_state_is_kept(
    patched: tuple[str, float], sentence: str, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the fifth step; each step's state is saved."""
    name, value = patched
    true, calls = pkgutil.resolve_name(name), list[int]()

    def at_fifth(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        result = true(*arguments, **options)
        if len(calls) < 5:
            return result
        if result is None:  # of the optimiser
            arguments[0].param_groups[0]["params"][0].data.fill_(value)
            return None
        return result * value

    monkeypatch.setattr(name, at_fifth)
    run = tmp_path / "run"
    with pytest.raises(UserError, match=f"{sentence}.*{ADVICE}{run / 'state.pt'} keeps the last whole state"):
        train(tiny(), table, run, "cpu", save_every=0)
    monkeypatch.undo()
    assert not (run / "model.safetensors").exists()
    state = torch.load(run / "state.pt", weights_only=True)
    assert (state["epoch"], state["step"]) == (1, 1)
    assert all(torch.isfinite(weight).all() for weight in state["model"].values())
    train(tiny(), table, run, "cpu")  # which resumes
    assert (run / "model.safetensors").exists()


def test_swap_exchanges_the_labels_of_a_pair_and_no_others() -> None:
    pairs = (("left", "right"), ("up", "down"))
    assert [swap_label(label, pairs) for label in ("left", "right", "down", "turning")] == [
        "right",
        "left",
        "up",
        "turning",
    ]


@pytest.mark.parametrize(
    ("augment", "changed"),
    [
        (Augment(), {("left", 0, 0)}),
        (Augment(flip=True), {("left", 0, 0), ("right", 0, 1)}),
        (Augment(reverse=True, reverse_swaps=(("left", "right"),)), {("left", 0, 0), ("right", 1, 0)}),
        (Augment(flip=True, reverse=True), {("left", 0, 0), ("left", 1, 0), ("right", 0, 1), ("right", 1, 1)}),
    ],
    ids=["none", "flip", "reverse", "both"],
)
def test_flipped_and_reversed_clips_get_their_new_label(augment: Augment, changed: set) -> None:
    assert seen_under(augment, ["left", "right"]) == changed


def test_a_clip_whose_mirror_image_is_no_class_is_not_mirrored() -> None:
    assert seen_under(Augment(flip=True), ["left", "up"]) == {("left", 0, 0)}


def test_further_labels_that_mirroring_exchanges() -> None:
    swaps = (("left", "up"),)
    assert seen_under(Augment(flip=True, flip_swaps=swaps), ["left", "up"]) == {("left", 0, 0), ("up", 0, 1)}


def seen_under(augment: Augment, classes: list[str]) -> set[tuple[str, int, int]]:
    """(label, whether it plays backward, whether it is mirrored) of 40 samples of a clip of "left"."""
    p = Preprocessing(frames=2, resize=2, crop=2)
    row = {"clip_id": "x", "path": "x", "label": "left", "flow": "", "problem": "", "backward": False, "segment": ""}
    clips = TrainClips(
        pd.DataFrame([row]),
        classes,
        p,
        augment,
    )
    clips.kept[0] = np.zeros((2, 2, 2, 3), np.uint8)
    clips.kept[0][:, :, 1] = 1  # the right side is lit,
    clips.kept[0][1] += 2  # the last frame more so
    seen = set()
    for seed in range(40):
        sample = clips.sample(0, np.random.default_rng(seed))
        assert sample is not None
        clip, label = sample
        seen.add((clips.classes[label], int(clip[0].max() > clip[1].max()), int(clip[0, 0, 0, 0] % 2)))
    return seen


def test_the_learning_rate_warms_up_then_falls_to_zero() -> None:
    o = tiny(optimisation__epochs=9, optimisation__learning_rate=0.1).optimisation
    rates = [learning_rate(o, epoch) for epoch in (0, 0.5, 1, 5, 9)]
    assert rates == pytest.approx([0.002, 0.052, 0.1, 0.05, 0.0], abs=1e-12)
