"""Results name the runs and clips that they leave out, and why."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis.runs.left_out import clips_left_out, some_names, split_usable, unread_sentence
from analysis.runs.run_directory import find_runs, open_run
from benchmarks.made_runs import make_run
from tests.test_app import COMPARE, FIGURES, PREDICTIONS, open_page, words
from tests.test_cli import ends_well


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A run that is whole, one of fewer clips with an unreadable one, and runs that cannot be used."""
    folder = tmp_path / "runs"
    for seed, name in enumerate(("whole", "fewer", "unfinished", "torn", "damaged", "empty", "flat")):
        make_run(folder / name, 12, 3, 2, seed)
    for kind in ("predictions", "attention"):
        for file in (folder / "fewer" / kind).glob("*.parquet"):
            table = pd.read_parquet(file)
            table[~table["clip_id"].isin(sorted(table["clip_id"].unique())[:2])].to_parquet(file)
    lost = sorted(clip_ids(folder / "whole"))[0]
    pd.DataFrame({"clip_id": [lost], "path": [""], "reason": ["gone"]}).to_parquet(folder / "fewer/failures.parquet")
    edit(folder / "fewer", clips=11)
    edit(folder / "unfinished", finished=None)
    edit(folder / "flat", attention=False, layers=[])
    torn = next((folder / "torn" / "predictions").iterdir())
    torn.write_bytes(torn.read_bytes()[:100])
    (folder / "damaged" / "run.json").write_text("{")
    next((folder / "empty" / "predictions").iterdir()).unlink()
    return folder


def clip_ids(run: Path) -> list[str]:
    return pd.read_parquet(run / "predictions")["clip_id"].tolist()


def edit(run: Path, **values: object) -> None:
    meta = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(meta | values))


REASONS = {
    "damaged": "run.json cannot be read", "empty": "it has no recorded clip",
    "torn": "its predictions cannot be read (part-",
    "unfinished": "recording has not finished: 12 of 12 clips so far",
}  # fmt: skip


def test_names_are_folded() -> None:
    assert some_names(list("abcd")) == "a, b, c, d" and some_names(list("abcde")) == "a, b, c and 2 more"


def test_each_run_has_its_reason(runs: Path) -> None:
    usable, left_out = split_usable(find_runs(runs))
    assert [run.name for run in usable] == ["fewer", "flat", "whole"]
    assert {Path(path).name for path in left_out} == set(REASONS)
    assert all(REASONS[Path(path).name] in reason for path, reason in left_out.items())
    assert unread_sentence(open_run(runs / "fewer")).startswith("1 clip could not be read: ")


def test_each_clip_has_its_reason(runs: Path) -> None:
    a, b = (open_run(runs / name) for name in ("whole", "fewer"))
    first, second = sorted(clip_ids(a.path))[:2]
    found = clips_left_out([a, b], [clip_ids(a.path), clip_ids(b.path)])
    assert found == {"unreadable in fewer": [first], "not in fewer": [second]}


def test_results_and_figures_say_it(runs: Path, tmp_path: Path) -> None:
    said = ends_well("results", runs, "--csv", tmp_path / "table.csv")
    for name, reason in REASONS.items():
        assert f"left out: {runs / name}: " in said and reason in said
    assert "fewer: " in said and "1 clip could not be read" in said
    table = pd.read_csv(tmp_path / "table.csv").set_index("run")
    assert table.loc[str(runs / "damaged"), "note"].startswith("left out: run.json")
    assert table["unread"].dropna().tolist() == [1, 0, 0]
    cells = pd.read_csv(tmp_path / "table.csv", dtype=str)[["n", "frames", "unread"]]
    assert not cells.stack().str.contains(".", regex=False).any()  # 12, not 12.0
    said = ends_well("figures", runs, "-o", tmp_path / "figures")
    assert f"left out: {runs / 'flat'}: its network has no attention" in said and "left out: Figure 8: " in said
    assert "recording has not finished: 12 of 12 clips so far" in said


def test_the_app_says_it(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for page, query in ((PREDICTIONS, {"run": "fewer"}), (COMPARE, {"a": "whole", "b": "fewer"}), (FIGURES, {})):
        app = open_page(runs, monkeypatch, page, **query)
        assert "3 runs are not listed: damaged, empty, torn" in [one.label for one in app.expander]
        text = words(app)
        assert "damaged: run.json cannot be read" in text.replace("*", "")
        if page == PREDICTIONS:
            assert "1 clip could not be read" in text
        if page == COMPARE:
            assert "1 clip left out, unreadable in fewer" in text and "1 clip left out, not in fewer" in text
        if page == FIGURES:
            assert "1 run is in no figure: flat" in [one.label for one in app.expander]
            assert "unfinished" in text and "Left out: Figure 8" in text
