"""No order of choices makes a page crash: random seeded paths over all widgets of all pages."""

import shutil
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from analysis.runs.saved_views import save_view
from benchmarks.made_runs import make_run
from tests.random_walk import take_step
from tests.test_app import ATTENTION, CLIP, COMPARE, FIGURES, NOTES, PREDICTIONS, edit, open_page
from tests.tiny import write_run

OWN, EXPERIMENTS, VIEWS = (f"workbench/pages/{name}.py" for name in ("own", "experiments", "views"))
STEPS = 3  # of a path; the next one goes on from where it ended
PATHS = {
    PREDICTIONS: 102, EXPERIMENTS: 10, COMPARE: 45, ATTENTION: 14, "": 5, FIGURES: 4, NOTES: 7, CLIP: 6, OWN: 4,
    VIEWS: 3,
}  # fmt: skip  # 200 in all


@pytest.fixture(scope="module")
def many(demo: Path, experiments: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's runs, and runs of other kinds: of many and of numeric classes, without α, labels or mistakes, of a
    single clip, of scores that are not finite, with tags."""
    runs = tmp_path_factory.mktemp("many") / "runs"
    shutil.copytree(demo / "runs", runs)
    shutil.copytree(experiments / "tiny", runs / "tiny")  # of which the page Experiments shows most
    make_run(runs / "classes", 150, 45, 4)
    write_run(runs / "numeric", [[0.5 + i / 50, 0.4] for i in range(20)], classes=["1", "2"])
    write_run(runs / "one", [[0.5, 0.6]])
    write_run(runs / "unlabelled", [[0.3], [0.4], [0.5]])
    write_run(runs / "not-finite", [[0.3], [0.4], [0.5]])
    write_run(runs / "without-alpha", [[0.3], [0.4]], attention=False)
    shutil.rmtree(runs / "without-alpha" / "attention")
    changes = {
        "numeric": {"label": list("12" * 10), "prediction": list("1122" * 5)},
        "unlabelled": {"label": ""},
        "not-finite": {"confidence": [float("nan"), float("inf"), 0.5]},
    }
    for name, values in changes.items():
        (file,) = (runs / name / "predictions").iterdir()
        table = pd.read_parquet(file).assign(**values)
        table.assign(correct=table["label"] == table["prediction"]).to_parquet(file)
    edit(runs / "appearance-rgb-p8", finished=None)
    for page in ("predictions", "attention"):
        save_view(runs, page, "*[<b>", page, {"run": ["tiny"]})
    return runs


@pytest.mark.long
@pytest.mark.parametrize("page", PATHS)
def test_no_order_of_choices_crashes_a_page(page: str, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(many, monkeypatch, page, **({"run": "tiny"} if page == EXPERIMENTS else {}))
    taken: list[str] = []
    for seed in range(PATHS[page]):
        random = Random(seed)
        for _ in range(STEPS):
            taken.append(take_step(app, random))
            path = "; ".join(taken[-12:])
            assert not app.exception, f"{page or 'runs'}, seed {seed}, after {path}: {app.exception[0].message}"
