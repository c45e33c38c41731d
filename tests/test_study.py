"""`sth study`: a grid of trainings, interrupted and resumed, and its page."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
from click.testing import CliRunner

from sth_core import load_checkpoint
from sth_core.errors import UserError
from sth_core.recipe import SHIPPED_RECIPES
from sth_core.resumable import Work, working_on
from sth_core.study import load_study
from tests.forked import Forked, sth
from tests.test_stop_and_go import RECIPE, same
from tests.tiny import listed_clips
from workbench import study_runner
from workbench.cli import main
from workbench.study_runner import study_work

STUDY = """
recipe = "recipe.toml"
seeds = [0, 1]

[axes.question]
"what moves" = { "optimisation.epochs" = 1, "optimisation.warmup_epochs" = 0 }

[axes.network]
"2D" = { "model.conv" = "2d" }
"STH, p = 1/2" = { "model.temporal_fraction" = 0.5 }

[paper]
of = "Table 6: Something-Something V1, top-1 %"
top1 = { "2D" = 19.7 }
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return written(tmp_path)


def written(folder: Path, text: str = STUDY) -> Path:
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder / "study.toml"


def words(study: Path, data: Path, out: Path) -> list[str]:
    return ["study", str(study), "--data", str(data), "-o", str(out), "--jobs", "2", "--device", "cpu"]


def test_every_combination_with_every_seed(study: Path) -> None:
    cells = load_study(study).cells
    assert [cell.name for cell in cells] == [
        "what_moves-2d-seed0",
        "what_moves-sth_p_1_2-seed0",
        "what_moves-2d-seed1",
        "what_moves-sth_p_1_2-seed1",
    ]
    assert cells[1].values == {"question": "what moves", "network": "STH, p = 1/2"}
    assert cells[3].changes == (
        "optimisation.epochs=1",
        "optimisation.warmup_epochs=0",
        "model.temporal_fraction=0.5",
        "optimisation.seed=1",
    )


@pytest.mark.parametrize("name", [path.stem for path in sorted(SHIPPED_RECIPES.glob("study_*.toml"))])
def test_the_studies_that_ship(name: str) -> None:
    study = load_study(name)
    seeds = 5 if name == "study_real_people" else 3
    assert len(study.cells) >= 6 and {cell.seed for cell in study.cells} == set(range(seeds))


@pytest.fixture(scope="module")
def data(scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips to train on, and twelve to test with."""
    return listed_clips(scenes_folder, tmp_path_factory.mktemp("clips") / "data", train=12, val=12)


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was killed while its first networks were trained, and then resumed."""
    folder = tmp_path_factory.mktemp("study")
    out = folder / "out"
    with Forked(sth, *words(written(folder), data, out)) as process:
        process.wait_until(lambda: list(out.glob("networks/*/state.pt")))
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while subprocess.run(["pgrep", "-f", str(out)], stdout=subprocess.DEVNULL).returncode == 0:
        assert time.monotonic() < deadline, "its trainings go on without it"
        time.sleep(0.1)
    assert not list(out.glob("runs/*seed1/run.json")), "it was done before it was stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_runner.RunningCell, "start_next", call_next)
        patch.setattr(study_runner, "SECONDS_BETWEEN_POLLS", 0)
        again = CliRunner().invoke(main, words(folder / "study.toml", data, out))
    assert again.exit_code == 0, again.output
    assert "Mean over seeds" in again.stdout and "page: " in again.stdout
    return out


def call_next(cell: study_runner.RunningCell) -> subprocess.Popen[bytes]:
    """Calls the next command in this process; the study that was killed had started its own, which take seconds."""
    called = CliRunner().invoke(main, cell.waiting.pop(0))
    cell.log.write_text(called.output, encoding="utf-8")
    return Mock(spec=subprocess.Popen, poll=lambda: called.exit_code)


def test_each_cell_is_trained_as_its_recipe_says_and_recorded(done: Path) -> None:
    for cell in load_study(done.parent / "study.toml").cells:
        config = load_checkpoint(done / "networks" / cell.name / "model.safetensors").model.config
        assert (config.conv, config.temporal_fraction) == (("sth", 0.5) if "sth" in cell.name else ("2d", 0.0))
        meta = json.loads((done / "runs" / cell.name / "run.json").read_text())
        assert (meta["seed"], meta["start"], meta["clips"]) == (cell.seed, "random weights", 12) and meta["finished"]
    assert not same(done / "networks" / "what_moves-2d-seed0", done / "networks" / "what_moves-2d-seed1")


def test_its_page_shows_what_its_tables_say(done: Path) -> None:
    results = pd.read_csv(done / "results.csv")
    assert list(results["network"]) == ["2D", "STH, p = 1/2"] * 2 and list(results["seed"]) == [0, 0, 1, 1]
    assert set(results["network of the run"]) == {"resnet18"}
    page = (done / "index.html").read_text(encoding="utf-8")
    mean = results[results["network"] == "2D"]["top1"].mean()
    assert f'<td>2D</td><td class="number">{mean:.1f} ±' in page
    assert all(f'id="what_moves-{name}"' in page for name in ("curves", "confusion"))
    assert (
        page.count('<td class="paper">19.7</td>') == page.count('<td class="paper"></td>') == 1
    )  # it has no STH, p = 1/2
    curves = pd.read_csv(done / "curves.csv")
    assert len(curves) == 4 and set(curves["epoch"]) == {1}


def test_what_is_done_is_not_done_again(done: Path, data: Path) -> None:
    networks = sorted(done.glob("networks/*/model.safetensors"))
    before = [file.stat().st_mtime_ns for file in networks]
    result = CliRunner().invoke(main, words(done.parent / "study.toml", data, done))
    assert result.exit_code == 0, result.output
    assert [file.stat().st_mtime_ns for file in networks] == before


def test_another_study_is_refused_and_one_with_more_seeds_continues(tmp_path: Path) -> None:
    def work(text: str, data: str = "data") -> Work:
        return study_work(load_study(written(tmp_path, text)), Path(data), tmp_path / "out")

    with working_on(work(STUDY), {"paper": {}}):
        pass
    for other, sentence in (
        (work(STUDY.replace('fraction" = 0.5', 'fraction" = 0.25')), "trainings.what_moves-sth_p_1_2-seed0 is ['opt"),
        (work(STUDY, "elsewhere"), "data is 'data', now 'elsewhere'"),
    ):
        with pytest.raises(UserError, match="holds another study") as refused, working_on(other):
            pass
        assert sentence in str(refused.value)
    with working_on(work(STUDY.replace("[0, 1]", "[0, 1, 2]"))):
        pass
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("momentum = 0.9", "momentum = 0.8"), encoding="utf-8")
    changed = study_work(load_study(tmp_path / "study.toml"), Path("data"), tmp_path / "out")
    with pytest.raises(UserError, match=r"base\.optimisation\.momentum is 0\.9, now 0\.8"), working_on(changed):
        pass


def test_a_cell_that_fails_ends_the_study_with_its_last_words(study: Path, tmp_path: Path) -> None:
    """No clip can be decoded; without a folder of clips no cell is begun."""
    rows = [(f"{split}{i}.mp4", "up", "red", split) for split in ("train", "val") for i in range(2)]
    (tmp_path / "damaged").mkdir()
    for path, *_ in rows:
        (tmp_path / "damaged" / path).write_bytes(b"not a video")
    labels = pd.DataFrame(rows, columns=["path", "motion", "appearance", "split"])
    labels.to_csv(tmp_path / "damaged" / "manifest.csv", index=False)
    result = CliRunner().invoke(main, [*words(study, tmp_path / "damaged", tmp_path / "out"), "--jobs", "1"])
    assert result.exit_code == 2
    assert "what_moves-" in result.output and "training clips could be read" in result.output
    result = CliRunner().invoke(main, words(study, tmp_path / "nowhere", tmp_path / "elsewhere"))
    assert result.exit_code == 2 and "no such dataset folder" in result.output
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('recipe = "recipe.toml"\n', "a study has the keys recipe, seeds, axes, this one recipe"),
        (STUDY.replace("[0, 1]", '"all"'), "seeds must be a list of 1 to 1,000 items, each a whole number from 0 to "),
        (STUDY.replace("STH, p = 1/2", "2d"), "two combinations would be called what_moves-2d-seed0"),
        (STUDY.replace("[0, 1]", "[0, -1]"), "seeds must be a list of 1 to 1,000 items, each a whole number from 0"),
        (STUDY.replace("[0, 1]", "[true]"), "got [True]"),
        (STUDY.replace("[0, 1]", "[]"), "got []"),
        (STUDY.replace("[0, 1]", str([*range(501)])), "a study may have 1,000 trainings, this one has 1,002"),
        (STUDY.replace('"recipe.toml"', "3"), "recipe must be a text of 1 to 4,096 characters, got 3"),
        (STUDY.replace('"recipe.toml"', r'"a\u0000b.toml"'), "is not a TOML file: embedded null byte"),
        (STUDY.replace("[axes.question]", "[axes.question.deeper]"), "a change must look like section.key=value"),
        (STUDY.replace('"2D" = {', '"" = {'), "must be values, each named by a text of 1 to 100 characters"),
        (STUDY.replace("what moves", "x" * 101), "must be values, each named by a text of 1 to 100 characters"),
        (STUDY.replace('"model.conv" = "2d"', '"model.conv" = 1979-05-27'), "has a value that no setting can have"),
        (STUDY.replace('"model.conv" = "2d"', '"model.conv" = nan'), "unknown conv 'NaN'"),
        (STUDY.replace('"model.conv" = "2d"', "model.conv = 1"), "a change must look like section.key=value"),
        (STUDY.replace('of = "Table 6: Something-Something V1, top-1 %"', "of = 6"), "[paper] must have of, a text"),
        (STUDY.replace("19.7", "nan"), "[paper] must have of, a text, and top1, percent of values of the last axis"),
        (STUDY.replace('top1 = { "2D" = 19.7 }', "top1 = 3"), "[paper] must have of, a text, and top1"),
        ("paper = 3\n" + STUDY[: STUDY.index("[paper]")], "paper must be a table of names and values, got 3"),
        (f"x = {'[' * 3000}{']' * 3000}", "nested too deep"),
        ("\ufeff" + STUDY.replace("[0, 1]", '"all"'), "seeds must be a list"),
        (STUDY.replace("model.conv", "model.konv"), "unknown key 'konv' (did you mean 'conv'?)"),
        (STUDY.replace('{ "model.conv" = "2d" }', '"2d"'), "2D must be changes"),
        (STUDY.replace("recipe.toml", "none.toml"), "cannot read the recipe"),
        (STUDY.replace('"2D" = 19.7', '"3D" = 50'), "of values of the last axis (2D, STH, p = 1/2)"),
        ("[axes", "is not a TOML file"),
    ],
)
def test_a_study_that_cannot_be_is_refused_before_anything_is_trained(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_study(written(tmp_path, text))
    assert sentence in str(error.value)


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the study"):
        load_study(tmp_path / "study.toml")
