"""From a folder of real videos to its misclassified clips in the app."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.runs import failures, open_run, predictions
from tests.test_app import CLIP, PREDICTIONS, open_page, words
from workbench.cli import main

pytestmark = pytest.mark.real_data
SMALL = ("optimisation.epochs=2", "model.width=8", "preprocessing.resize=36", "preprocessing.crop=32")


@pytest.fixture(scope="module")
def run(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """UT-Interaction, trained on briefly and recorded, by the commands that a user types."""
    out = tmp_path_factory.mktemp("people")
    recipe = Path(__file__).parent.parent / "recipes" / "ut_interaction.toml"
    data = str(real_data / "ut_interaction")
    changes = [word for change in SMALL for word in ("--set", change)]
    for command in (
        ["train", str(recipe), "--data", data, "-o", str(out), *changes],
        ["record", str(out / "model.safetensors"), "--data", data, "-o", str(out / "runs" / "people")],
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    return out / "runs" / "people"


def test_the_held_out_sequences_are_recorded(run: Path):
    table = predictions(open_run(run))
    sequences = {int(clip.split("_")[2]) for clip in table["clip_id"]}  # set1_17_3_0.avi: sequence 3
    assert sequences == {5, 10, 15, 20}
    assert len(table) == 24
    assert failures(open_run(run)).empty
    assert set(table["label"]) == {"handshake", "hug", "kick", "point", "punch", "push"}


def test_its_misclassified_clips_open_in_the_app(run: Path, monkeypatch):
    table = predictions(open_run(run))
    wrong = table[~table["correct"]].iloc[0]
    text = words(open_page(run.parent, monkeypatch, PREDICTIONS, run="people"))
    assert f"said: {wrong['prediction']}" in text
    app = open_page(run.parent, monkeypatch, CLIP, run="people", clip=wrong["clip_id"])
    assert len(app.get("video")) == 1  # MPEG-4 in AVI, converted
    assert len(app.get("image")) == 16


def test_a_class_folder_of_real_videos_trains_too(real_data: Path, tmp_path: Path):
    for label in ("hug", "kick"):
        shutil.copytree(real_data / "ut_interaction" / label, tmp_path / "videos" / label)
    recipe = Path(__file__).parent.parent / "recipes" / "ut_interaction.toml"
    changes = [word for c in (*SMALL, 'data.group=""', "data.held_out=[]") for word in ("--set", c)]
    command = ["train", str(recipe), "--data", str(tmp_path / "videos"), "-o", str(tmp_path / "out"), *changes]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "model.safetensors").is_file()
