"""Damaged parts are set aside, said, and made anew; the others are kept."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analysis.runs import rows
from analysis.runs.damaged_parts import recorded_part, set_aside_damaged
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.left_out import split_usable, why_left_out
from analysis.runs.recording import open_or_record, record
from analysis.runs.run_directory import SHARD_KINDS, open_run, predictions, run_work
from benchmarks.damaged_runs import PARTS, TABLES
from sth_core.shards import Shards
from tests.test_app import CLIP, COMPARE, FIGURES, NOTES, PREDICTIONS, open_page, words
from tests.tiny import attention_of, write_run

ATTENTION = "workbench/pages/attention.py"
LAST = "part-00002.parquet"
DAMAGES: dict[str, Callable[[Path, np.random.Generator], None]] = {
    **PARTS,
    **{name: lambda file, _, change=change: change(pd.read_parquet(file)).to_parquet(file, index=False)
       for name, change in TABLES.items()},
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, scenes_folder: Path) -> Path:
    """A recording in three parts."""
    run = tmp_path_factory.mktemp("parts") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CLIPS_PER_SHARD", 8)
        patch.setattr(rows, "SECONDS_PER_SHARD", 0)
        record(checkpoint, scenes_folder, run, DatasetOptions(batch_size=8))
    return run


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "run"))


def damage(run: Path, kind: str, name: str) -> bytes | None:
    """What the damaged file holds, if it is one."""
    file = run / kind / LAST
    DAMAGES[name](file, np.random.default_rng(0))
    return file.read_bytes() if file.is_file() else None


@pytest.mark.parametrize("kind", SHARD_KINDS)
@pytest.mark.parametrize("name", list(DAMAGES))
def test_a_damaged_part_is_set_aside_and_said(run: Path, kind: str, name: str) -> None:
    damaged, said = damage(run, kind, name), list[str]()
    meta = open_run(run).meta or json.loads((run / "run.json").read_text())
    check = recorded_part(len(meta["classes"]), [layer["index"] for layer in meta["layers"]])
    set_aside_damaged(run_work(run, meta), Shards(run, SHARD_KINDS), said.append, check)
    if (kind, name) == ("predictions", "lost"):  # which a recording that was killed leaves, too
        assert said == []
        return
    strange = {"doubled": "part-00002 (copy).parquet", "beside a stray one": "results.parquet"}.get(name, LAST)
    assert len(said) == 1 and strange in said[0] and str(run / ".replaced-1") in said[0] and "\n" not in said[0]
    if damaged is not None and strange == LAST:
        assert (run / ".replaced-1" / kind / LAST).read_bytes() == damaged
    left = {file.name for kind in SHARD_KINDS for file in (run / kind).iterdir()}
    assert left == {"part-00000.parquet", "part-00001.parquet", *[LAST] * (strange != LAST)}


@pytest.mark.parametrize(
    "kind,name",
    [("predictions", "cut"), ("predictions", "doubled"), ("attention", "scribbled"), ("attention", "lost"),
     ("predictions", "no row")],
)  # fmt: skip
def test_recording_goes_on_from_what_is_readable(
    run: Path, sound: Path, kind: str, name: str, checkpoint: Path, scenes_folder: Path
) -> None:
    damage(run, kind, name)
    assert why_left_out(open_run(run))
    said: list[str] = []
    opened = open_or_record(checkpoint, scenes_folder, run, DatasetOptions(batch_size=8, notify=said.append))
    assert why_left_out(opened) == ""
    assert [text for text in said if "damaged part moved to" in text]
    assert (run / ".replaced-1").is_dir()
    columns = ["clip_id", "label", "prediction", "correct"]
    pd.testing.assert_frame_equal(predictions(opened)[columns], predictions(open_run(sound))[columns])
    keys = ["clip_id", "layer_index"]
    pd.testing.assert_frame_equal(*(attention_of(of).sort_values(keys, ignore_index=True) for of in (run, sound)))


def test_an_unfinished_recording_with_a_damaged_part_keeps_what_run_json_says(
    run: Path, checkpoint: Path, scenes_folder: Path
) -> None:
    meta = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(meta | {"finished": None, "relabelled": [{"when": "earlier"}]}))
    damage(run, "predictions", "empty")
    record(checkpoint, scenes_folder, run, DatasetOptions(batch_size=8))
    assert open_run(run).meta["relabelled"] == [{"when": "earlier"}]


@pytest.mark.parametrize(
    "name", ["cut", "empty", "doubled", "rows twice", "a row lost", "beside a stray one", "no plain", "no reversed"]
)
def test_damaged_probes_leave_the_run_out(name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[0.5]] * 4)
    kinds = ["plain"] * 4 + ["shuffled"] * 4 + ["reversed"] * 4
    probes = pd.DataFrame({"clip_id": [f"c{i}" for i in range(4)] * 3, "probe": kinds})
    row: dict[str, Any] = {"repeat": 0, "label": "a", "prediction": "a", "correct": True, "score_label": 0.5}
    (run / "probes").mkdir()
    probes.assign(**row).to_parquet(run / "probes" / LAST)
    assert split_usable([open_run(run)])[1] == {}
    if name.startswith("no "):
        probes[probes["probe"] != name.removeprefix("no ")].assign(**row).to_parquet(run / "probes" / LAST)
    else:
        damage(run, "probes", name)
    reason = split_usable([open_run(run)])[1][str(run)]
    assert reason.startswith("its probes cannot be read (") and reason.endswith("; `sth probe` makes them again")


def numbers_of(app: AppTest) -> list[Any]:
    return [*app.metric, *app.dataframe, *app.get("plotly_chart")]


def two_runs(folder: Path) -> Path:
    for name in ("first", "second"):
        write_run(folder / "runs" / name, [[0.5, 0.5]] * 4, parts=2)
    return folder / "runs"


@pytest.mark.parametrize("page", [PREDICTIONS, CLIP])
def test_a_run_that_does_not_say_where_its_videos_are_is_shown(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(two_runs(tmp_path), monkeypatch, page, run="first")
    assert not app.error and ("does not say where the video is" in words(app) or "has been moved" in words(app))


@pytest.mark.parametrize(
    ("page", "query"),
    [
        (PREDICTIONS, {"run": "first"}),
        (CLIP, {"run": "first"}),
        (NOTES, {"run": "first"}),
        (COMPARE, {"a": "second", "b": "first"}),
        (ATTENTION, {"show": "By class"}),
        (ATTENTION, {"show": "Correct and misclassified", "of": "first"}),
    ],
)
def test_a_run_that_is_removed_while_it_is_open_is_said(
    page: str, query: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = two_runs(tmp_path)
    app = open_page(runs, monkeypatch, page, **query)
    assert numbers_of(app) or page in (CLIP, NOTES)
    shutil.rmtree(runs / "first")
    for removed in (1, 0):
        app.run()
        assert not app.exception and not numbers_of(app)
        assert words(app).count("**first** has been removed") == removed
        assert "The run first, which was open here" in words(app)
    sidebar = next(box for box in app.selectbox if box.value is None)
    sidebar.set_value("second").run()
    assert not app.exception and (numbers_of(app) or page in (CLIP, NOTES, COMPARE))


@pytest.mark.parametrize(("page", "shown"), [(ATTENTION, "Runs shown: "), (FIGURES, "Runs: ")])
@pytest.mark.parametrize("chosen", [["first", "second"], ["first"]])
def test_figures_of_runs_are_of_those_that_are_left(
    page: str, shown: str, chosen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = two_runs(tmp_path)
    app = open_page(runs, monkeypatch, page)
    app.multiselect[0].set_value(chosen).run()
    assert f"{shown}{', '.join(chosen)}" in words(app)
    shutil.rmtree(runs / "first")
    app.run()
    assert not app.exception and "**first** has been removed" in words(app)
    assert app.multiselect[0].value == chosen[1:]
    if chosen[1:]:
        assert f"{shown}second" in words(app) and app.get("plotly_chart")
    else:
        assert shown not in words(app) and not numbers_of(app)


@pytest.mark.parametrize(
    ("page", "before", "after"),
    [
        (PREDICTIONS, ["50.0%", "2", "0"], ["50.0%", "1", "0"]),
        (ATTENTION, "n = 4 clips a run", "n = 2 clips a run"),
        (FIGURES, "n = 4 clips a run", "n = 2 clips a run"),
    ],
)
def test_a_run_that_is_replaced_while_it_is_open_is_said(
    page: str, before: str | list[str], after: str | list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = two_runs(tmp_path)
    shutil.rmtree(runs / "second")
    app = open_page(runs, monkeypatch, page, run="first")
    assert [metric.value for metric in app.metric] == before if app.metric else before in words(app)
    shutil.rmtree(runs / "first")
    write_run(runs / "first", [[0.5, 0.5]] * 2, checkpoint_sha256="another")
    app.run()
    assert "**first** has been replaced by another recording" in words(app)
    assert [metric.value for metric in app.metric] == after if app.metric else after in words(app)


def test_a_run_is_browsed_while_it_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = two_runs(tmp_path)
    run = runs / "first"
    meta = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(meta | {"finished": None}))
    later = [run / kind / "part-00001.parquet" for kind in SHARD_KINDS]
    tables = [file.read_bytes() for file in later]
    for file in later:
        file.unlink()
    app = open_page(runs, monkeypatch, PREDICTIONS, run="first")
    for file, table, clips in zip(later, tables, (2, 4), strict=True):  # the attention first, as a recording writes
        file.write_bytes(table)
        app.run()
        assert not app.exception and not app.error, words(app)
        assert f"{clips} of 4 clips so far" in words(app)


def test_notes_that_cannot_be_read_do_not_hide_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = two_runs(tmp_path)
    (runs / "first" / "notes.sqlite").write_bytes(b"no database at all" * 100)
    app = open_page(runs, monkeypatch, PREDICTIONS, run="first")
    assert app.metric and "notes.sqlite cannot be read" in words(app)
    assert (runs / "first" / "notes.sqlite").read_bytes() == b"no database at all" * 100
