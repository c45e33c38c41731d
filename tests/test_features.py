"""The features before the classifier: recorded, neighbours by them, and the map of clips."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from analysis.report.clip_maps import plot_points
from analysis.report.report_sources import find_sources
from analysis.report.view_parts import view_part
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.features import (
    NO_FEATURES,
    PCA,
    TSNE,
    Features,
    map_of_clips,
    nearest_clips,
    read_features,
    similar_by_features,
)
from analysis.runs.recording import open_or_record, record
from analysis.runs.run_directory import open_run, predictions
from analysis.runs.saved_views import SavedView
from sth_core.adapted import adapt, frames_first
from sth_core.checkpoint import load_checkpoint
from sth_core.errors import UserError
from sth_core.network_contract import AttentionRecorder
from sth_core.video.transforms import Preprocessing
from tests.test_adapted import ADAPTED, Frames, clips_for, network_in
from tests.test_app import CLIP, PREDICTIONS, open_page, words
from tests.tiny import copy_clips, listed_clips
from workbench.components.neighbours import NO_TRAINING_RUN
from workbench.networks import network_for_report


@pytest.fixture(scope="module")
def run(scenes_folder: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    clips = copy_clips(scenes_folder, folder / "clips", 6)
    record(checkpoint, clips, folder / "runs" / "with", DatasetOptions(batch_size=4), features=True)
    record(checkpoint, clips, folder / "runs" / "without", DatasetOptions(batch_size=4))
    return folder / "runs" / "with"


def test_the_classifier_makes_the_scores_of_the_recorded_features(run: Path, checkpoint: Path) -> None:
    """The classifier is linear: its logits of the mean features are the mean of its logits."""
    found, fc = read_features(open_run(run)), load_checkpoint(checkpoint).model.get_submodule("fc")
    assert isinstance(fc, nn.Linear)
    table = predictions(open_run(run)).set_index("clip_id")
    assert found.matrix.shape == (6, fc.in_features) and list(found.clips["clip_id"]) == sorted(table.index)
    scores = fc(torch.from_numpy(found.matrix)).softmax(1).detach().numpy()
    np.testing.assert_allclose(scores, np.stack(list(table["scores"][found.clips["clip_id"]])), atol=2e-3)
    plain = predictions(open_run(run.parent / "without")).set_index("clip_id")
    np.testing.assert_array_equal(np.stack(list(plain["scores"])), np.stack(list(table["scores"][plain.index])))


def test_a_run_with_features_is_kept_as_it_is(run: Path, checkpoint: Path) -> None:
    clips = Path(open_run(run).meta["data"])
    assert open_or_record(checkpoint, clips, run).meta["features"] is True
    with pytest.raises(UserError, match="features is True, now False"):
        record(checkpoint, clips, run)
    with pytest.raises(UserError, match="holds no features"):
        read_features(open_run(run.parent / "without"))


@pytest.mark.parametrize("damage", ["cut", "lost"])
def test_a_damaged_table_of_features_is_recorded_again(
    damage: str, run: Path, checkpoint: Path, tmp_path: Path
) -> None:
    copied, said = Path(shutil.copytree(run, tmp_path / "run")), list[str]()
    [file] = (copied / "features").iterdir()
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-20])
    else:
        file.unlink()
    clips = Path(open_run(run).meta["data"])
    record(checkpoint, clips, copied, DatasetOptions(batch_size=4, notify=said.append), features=True)
    assert any("damaged part" in sentence for sentence in said)
    np.testing.assert_array_equal(read_features(open_run(copied)).matrix, read_features(open_run(run)).matrix)


@pytest.mark.parametrize("name", [name for name in ADAPTED if name not in ("r3d_18", "r2plus1d_18")])
@torch.inference_mode()
def test_the_features_of_another_network_make_its_logits(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    c = ADAPTED[name](tmp_path)
    model, clips, tap = network_in(c), clips_for(c), AttentionRecorder()
    logits = model(clips, tap)
    assert tap.features_before is not None and len(tap.features_before) == 2
    classifier = model.module.get_submodule(model.classifier)
    torch.testing.assert_close(classifier(tap.features_before), logits, rtol=1e-4, atol=1e-5)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_network_whose_classifier_is_not_known_has_none(scenes_folder: Path, tmp_path: Path) -> None:
    class Halves(Frames):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.more = nn.Linear(8, 4), nn.Linear(8, 2)  # no layer has six outputs

        def forward(self, clips: Tensor) -> Tensor:
            x = self.block(self.stem(clips.flatten(0, 1))).mean((2, 3)).unflatten(0, clips.shape[:2]).mean(1)
            return torch.cat([self.fc(x), self.more(x)], 1)

    p = Preprocessing(frames=4, resize=36, crop=32)
    c = adapt(Halves(), classes=list("abcdef"), preprocessing=p, call=frames_first)
    with pytest.raises(UserError, match="no layer of Halves has one output for each class; leave out --features"):
        record(c, scenes_folder, tmp_path / "run", features=True)


def made(matrix: Any) -> Features:
    clips = pd.DataFrame({"clip_id": [f"c{i}" for i in range(len(matrix))]})
    return Features(clips, np.asarray(matrix, np.float32))


def test_the_map_has_the_directions_of_most_difference() -> None:
    """A plane in five dimensions: its distances stay, up to rounding."""
    random = np.random.default_rng(0)
    plane, basis = random.normal(size=(20, 2)) * [3, 1], np.linalg.qr(random.normal(size=(5, 5)))[0][:2]
    places = map_of_clips(made(plane @ basis + 7), PCA)

    def distances(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, None] - points, axis=2)

    np.testing.assert_allclose(distances(places), distances(plane), atol=1e-4)
    assert places[:, 0].std() > places[:, 1].std()


def test_tsne_keeps_groups_together_and_is_the_same_again() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1], 15)
    features = made(random.normal(size=(30, 8)) + 20 * groups[:, None])
    places = map_of_clips(features, TSNE)
    centres = np.stack([places[groups == g].mean(0) for g in (0, 1)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(1)
    assert (nearest == groups).all()
    np.testing.assert_array_equal(places, map_of_clips(features, TSNE))


@pytest.mark.parametrize(("count", "kind", "message"), [(2, PCA, "at least 3 clips"), (5001, TSNE, "Choose PCA")])
def test_what_no_map_can_be_made_of(count: int, kind: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        map_of_clips(made(np.ones((count, 4))), kind)


def test_neighbours_by_features() -> None:
    found = similar_by_features(made([[1, 0], [10, 1], [0, 1], [-1, 0]]), "c0", 2)
    assert list(found["clip_id"]) == ["c1", "c2"]
    np.testing.assert_allclose(found["distance"], [1 - 10 / np.sqrt(101), 1], atol=1e-6)
    nearest = nearest_clips(made([[0, 2], [0, 0]]), np.array([0, 1], np.float32))
    assert list(nearest["distance"]) == [0, 1]
    with pytest.raises(UserError, match="features of 3 and of 2 values cannot be compared"):
        nearest_clips(made([[0, 2]]), np.ones(3, np.float32))


def test_the_map_on_the_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(run.parent, monkeypatch, PREDICTIONS, run="with", view="Map")
    assert not app.exception and "6 clips. The two directions" in words(app)
    sources = find_sources([run.parent], network_for_report, lambda path: "")
    part = view_part(SavedView(Path(), "name", "", "predictions", {"run": ["with"], "view": ["Map"]}, ""), sources)
    assert not part.problems and "PCA of 6 clips, by correct or misclassified" in part.sections[0].caption
    without = open_page(run.parent, monkeypatch, PREDICTIONS, run="without", view="Map")
    assert NO_FEATURES in [info.value for info in without.info]


def test_the_clip_page_shows_neighbours_by_features_and_where_training_clips_come_from(
    run: Path, checkpoint: Path, scenes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(run.parent, runs)
    without = words(open_page(runs, monkeypatch, CLIP, run="without"))
    assert "Nearest by features" not in without
    shown = open_page(runs, monkeypatch, CLIP, run="with", near="true")
    assert "Show clips with near features" in [toggle.label for toggle in shown.toggle]
    text = words(shown)
    assert NO_TRAINING_RUN in text and "1 - cosine similarity from" in text
    clips = listed_clips(scenes_folder, tmp_path / "clips", train=3, val=1)
    record(checkpoint, clips, runs / "training", DatasetOptions(split="train"), features=True)
    text = words(open_page(runs, monkeypatch, CLIP, run="with", near="true"))
    assert "Training clips, of the run training" in text.replace("*", "") and NO_TRAINING_RUN not in text
    assert "Training clips" not in words(open_page(runs, monkeypatch, CLIP, run="training", near="true"))


def test_the_points_of_a_map() -> None:
    points = pd.DataFrame({
        "x": [0.0, 1, 2], "y": [0.0, 1, 0], "row": [4, 7, 9], "clip_id": ["a", "b", "c"], "label": ["u", "", "v"],
        "prediction": ["u", "u", "u"], "correct": [True, None, False], "confidence": [0.5, 0.6, 0.7],
    })  # fmt: skip
    figure = plot_points(points, "answer", "correct or misclassified")
    assert {trace.name for trace in figure.data} == {"correct", "unknown label", "misclassified"}
    assert plot_points(points, "confidence", "Confidence").layout.coloraxis.colorbar.title.text == "Confidence"
