"""From a folder of real videos to its misclassified clips in the app."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from analysis.runs.run_directory import failures, open_run, predictions
from benchmarks.browser import serving, settle, until
from tests.test_app import CLIP, PREDICTIONS, open_page, words
from tests.test_browser import a_mistake
from workbench.cli import main

pytestmark = [pytest.mark.real_data, pytest.mark.long]
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
    assert f"predicted: {wrong['prediction']}" in text
    app = open_page(run.parent, monkeypatch, CLIP, run="people", clip=wrong["clip_id"], player="true")
    assert len(app.get("video")) == 1  # MPEG-4 in AVI, converted
    assert len(app.get("image")) == 16


@pytest.mark.browser
def test_from_plot_to_frame_by_keyboard(run: Path, page: Page):
    def go(link: str, heading: str) -> None:
        settle(page)
        page.get_by_role("link", name=re.compile(link)).first.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()

    with serving(run.parent) as (address, _):
        page.goto(f"{address}/attention")
        expect(page.get_by_role("heading", name="Figure 5: attention by layer")).to_be_visible()
        go("Predictions", "Predictions")
        settle(page)
        page.get_by_role("radio", name="Misclassified", exact=True).focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        matrix = page.locator(".matrix[data-drawn]")
        expect(matrix).to_be_visible()
        row, column, label, prediction = a_mistake(matrix)
        settle(page)
        matrix.locator("canvas").focus()
        for key in ["ArrowDown"] * (row + 1) + ["ArrowRight"] * column + ["Enter"]:  # the first one enters
            page.keyboard.press(key)
        expect(page.get_by_role("heading", name=f"{label}, predicted {prediction}")).to_be_visible()
        go("Inspect", "Clip")
        expect(page.locator(".status")).to_contain_text("frame")
        settle(page)
        before = int(page.locator(".scrubber").get_attribute("data-frame"))
        page.get_by_role("slider", name="Frame").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator(f".scrubber[data-frame='{before + 1}']")).to_be_visible()
        until(page, "n => new URLSearchParams(location.search).get('frame') === n", arg=str(before + 1))


def test_a_class_folder_of_real_videos_trains_too(real_data: Path, tmp_path: Path):
    for label in ("hug", "kick"):
        shutil.copytree(real_data / "ut_interaction" / label, tmp_path / "videos" / label)
    recipe = Path(__file__).parent.parent / "recipes" / "ut_interaction.toml"
    changes = [word for c in (*SMALL, 'data.group=""', "data.held_out=[]") for word in ("--set", c)]
    command = ["train", str(recipe), "--data", str(tmp_path / "videos"), "-o", str(tmp_path / "out"), *changes]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "model.safetensors").is_file()
