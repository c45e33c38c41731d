"""Run directories as tables: hand-written runs, damaged ones among them, against pandas."""

import json
import shutil
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
from fsspec.registry import _registry as LOADED

from analysis.attention.alpha_matrix import read_alpha
from analysis.runs.run_directory import clip_of, clips_of, failures, find_runs, open_run, predictions
from sth_core.errors import UserError
from sth_core.shards import READERS, ahead, shards
from tests.tiny import write_run

# alpha_T of four clips (c0 and c2 of class "a", c1 and c3 of class "b") at three layers
ALPHAS = [[0.1, 0.2, 0.3], [0.5, 0.5, 0.5], [0.3, 0.4, 0.9], [0.7, 0.1, 0.1]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", ALPHAS, parts=3)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[str]:
    """A folder of runs, two whole and one half, that lies in memory://; locally it is `tmp_path / "study [1]"`."""
    study = tmp_path / "study [1]"
    write_run(study / "it's one", ALPHAS, parts=3)
    write_run(study / "deep" / "two", ALPHAS[:3])
    write_run(study / "half", ALPHAS[:2], clips=4, finished=None)
    row = {"clip_id": "c4", "path": "/data/c4.mp4", "reason": "no such file"}
    pd.DataFrame([row]).to_parquet(study / "it's one" / "failures.parquet")
    (study / "it's one" / "attention" / ".part-00003.99.part.parquet").write_bytes(b"PAR1")
    memory = fsspec.filesystem("memory")
    for file in study.rglob("*.*"):
        if file.is_file():
            memory.pipe_file(f"/bucket/{file.relative_to(tmp_path)}", file.read_bytes())
    yield "memory://bucket/study [1]"
    memory.rm("/bucket", recursive=True)


def test_find_runs_finds_nested_runs_and_says_what_is_wrong(tmp_path: Path) -> None:
    write_run(tmp_path / "good", ALPHAS)
    write_run(tmp_path / "study" / "deep" / "nested", ALPHAS)
    write_run(tmp_path / "half", ALPHAS[:2], clips=4, finished=None)
    (write_run(tmp_path / "torn", ALPHAS) / "run.json").write_text('{"dataset": "se')
    (write_run(tmp_path / "list", ALPHAS) / "run.json").write_text("[]")
    (write_run(tmp_path / "bytes", ALPHAS) / "run.json").write_bytes(b"\xff\xfe{}")
    (write_run(tmp_path / "bare", ALPHAS) / "run.json").write_text('{"dataset": "set", "clips": 4}')
    (tmp_path / "empty").mkdir()
    problems = {run.path.relative_to(tmp_path).as_posix(): run.problem for run in find_runs(tmp_path)}
    assert list(problems) == ["bare", "bytes", "good", "half", "list", "study/deep/nested", "torn"]
    assert problems["good"] == problems["study/deep/nested"] == ""
    assert problems["half"].startswith("recording has not finished: 2 of 4 clips so far; the same `sth record`")
    for name in ("torn", "bytes"):
        assert problems[name].startswith("run.json cannot be read (")
    assert problems["list"] == "run.json holds [], not a JSON object"
    assert problems["bare"] == "run.json lacks checkpoint_sha256, classes, finished, modality, temporal_fraction"


def test_find_runs_where_there_are_none(tmp_path: Path) -> None:
    assert find_runs(tmp_path) == []
    assert find_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize("change", [{"temporal_fraction": "a quarter"}, {"modality": "sound"}, {"modality": None}])
def test_a_value_that_no_recording_writes(run: Path, change: dict[str, Any]) -> None:
    meta = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(meta | change))
    opened = open_run(run)
    assert opened.meta == {}
    ((key, value),) = change.items()
    assert opened.problem.startswith(f"run.json has {key} = {value!r}, which is not ")


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ALPHAS, finished=None)
    shutil.rmtree(run / "predictions")
    opened = open_run(run)
    assert not opened.usable
    assert "0 of 4 clips so far" in opened.problem
    with pytest.raises(UserError, match="holds no predictions"):
        predictions(opened)


def test_a_damaged_part_of_an_unfinished_run_is_its_problem(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ALPHAS, parts=2, finished=None)
    (run / "predictions" / "part-00001.parquet").write_bytes(b"PAR1 and no more")
    assert "its predictions cannot be read" in open_run(run).problem
    with pytest.raises(UserError, match=r"run: its predictions cannot be read \(.*part-00001"):
        predictions(open_run(run))


def test_what_a_killed_recording_left_behind_is_no_part(run: Path) -> None:
    (run / "predictions" / ".part-00003.99.part.parquet").write_bytes(b"PAR1")
    (run / "attention" / ".part-00003.99.part.parquet").write_bytes(b"PAR1")
    assert [file.name for file in shards(run, "predictions")] == [f"part-0000{i}.parquet" for i in range(3)]
    assert len(predictions(open_run(run))) == 4
    assert read_alpha(open_run(run)).temporal.shape == (4, 3)


@pytest.mark.parametrize(
    "fraction,modality,p,title",
    [(0.25, "rgb", "1/4", "set, p = 1/4, RGB"), (0.125, "flow", "1/8", "set, p = 1/8, Flow"),
     (1 / 3, "rgb", "1/3", "set, p = 1/3, RGB"), (0.0, "rgb", "0", "set, p = 0, RGB")],
)  # fmt: skip
def test_names_of_a_run(tmp_path: Path, fraction: float, modality: str, p: str, title: str) -> None:
    run = open_run(write_run(tmp_path / "some name", ALPHAS, temporal_fraction=fraction, modality=modality))
    assert (run.name, run.p, run.title, run.problem) == ("some name", p, title, "")


def test_predictions_of_all_parts_in_order(run: Path) -> None:
    table = predictions(open_run(run))
    assert list(table["clip_id"]) == ["c0", "c1", "c2", "c3"]
    assert list(table["label"]) == ["a", "b", "a", "b"]
    assert list(table["correct"]) == [True, False, True, False]


@pytest.mark.parametrize("name", ["it's a run", "50% [1] *?", "{files} {0}", 'ünï "code"', "a'; DROP TABLE x; --'"])
def test_folders_of_any_name(tmp_path: Path, name: str) -> None:
    (run,) = find_runs(write_run(tmp_path / name, ALPHAS, parts=2))
    assert run.name == name
    assert len(predictions(run)) == 4
    alpha = read_alpha(run)
    assert list(alpha.clips["clip_id"]) == ["c0", "c1", "c2", "c3"] and (alpha.temporal == np.float32(ALPHAS)).all()
    assert clip_of(run, alpha.clips.iloc[2])["clip_id"] == "c2"


def test_failures(run: Path) -> None:
    opened = open_run(run)
    assert list(failures(opened).columns) == ["clip_id", "path", "reason"]
    assert failures(opened).empty
    row = {"clip_id": "c4", "path": "/data/c4.mp4", "reason": "no such file"}
    pd.DataFrame([row]).to_parquet(run / "failures.parquet")
    assert failures(opened).to_dict("records") == [row]


def test_runs_in_object_storage_are_found_and_described_as_local_ones(stored: str, tmp_path: Path) -> None:
    local, remote = find_runs(tmp_path), find_runs(stored)
    assert [run.name for run in remote] == [run.name for run in local] == ["two", "half", "it's one"]
    for a, b in zip(local, remote, strict=True):
        assert (a.meta, a.problem, a.title, a.usable) == (b.meta, b.problem, b.title, b.usable)
        assert str(b.path) == f"{stored}/{a.path.relative_to(tmp_path / 'study [1]')}"
    assert "2 of 4 clips so far" in remote[1].problem
    assert [run.path for run in find_runs(f"{stored}/it's one/")] == [remote[2].path]
    assert find_runs("memory://nowhere") == []


def test_tables_of_a_run_in_object_storage_are_those_of_the_local_one(stored: str, tmp_path: Path) -> None:
    local, remote = open_run(tmp_path / "study [1]" / "it's one"), open_run(f"{stored}/it's one")
    assert len(predictions(remote)) == 4
    np.testing.assert_array_equal(read_alpha(remote).temporal, np.float32(ALPHAS))
    assert clip_of(remote, clips_of(remote).iloc[2])["clip_id"] == "c2"
    assert list(failures(remote)["clip_id"]) == ["c4"]
    for query in (predictions, failures, clips_of):
        pd.testing.assert_frame_equal(query(remote), query(local))
    assert failures(open_run(f"{stored}/deep/two")).empty


def test_what_is_wrong_with_a_run_in_object_storage(stored: str) -> None:
    assert open_run(f"{stored}/nowhere").problem.startswith("run.json cannot be read (")
    memory = fsspec.filesystem("memory")
    memory.rm_file("/bucket/study [1]/deep/two/attention/part-00000.parquet")
    run = open_run(f"{stored}/deep/two")
    with pytest.raises(UserError, match="two holds no attention"):
        read_alpha(run)
    memory.pipe_file("/bucket/study [1]/deep/two/predictions/part-00000.parquet", b"PAR1 and no more")
    with pytest.raises(UserError, match="two: its predictions cannot be read"):
        predictions(run)


def test_a_path_may_be_spelt_as_a_url_and_a_url_as_a_path(stored: str, run: Path) -> None:
    assert open_run(f"file://{run}") == open_run(str(run)) == open_run(run)
    assert [found.name for found in find_runs(Path(stored))] == ["two", "half", "it's one"]


def test_a_folder_whose_name_looks_like_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "s3:" / "bucket", ALPHAS)
    monkeypatch.chdir(tmp_path)
    assert open_run(Path("s3:/bucket")).problem == ""


def test_storage_that_nothing_here_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(LOADED, "s3", raising=False)
    for query in (open_run, find_runs):
        with pytest.raises(
            UserError, match=r"^s3:// needs a package that is not installed; pip install 'sth-workbench\[s3\]'$"
        ):
            query("s3://bucket/runs")
        with pytest.raises(UserError, match=r"^carrier-pigeon:// is not known; give a folder, or a URL such as"):
            query("carrier-pigeon://coop/runs")


def test_storage_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its errors are of a class of its own."""

    class NoCredentials(Exception):
        pass

    def refuse(*_: Any, **__: Any) -> None:
        raise NoCredentials("who are you?")

    for name in ("find", "cat_file", "_open", "open", "glob"):
        monkeypatch.setattr(type(fsspec.filesystem("memory")), name, refuse)
    with pytest.raises(UserError, match=r"^memory://bucket cannot be read \(who are you\?\)$"):
        find_runs("memory://bucket")
    assert open_run("memory://bucket/run").problem == "run.json cannot be read (who are you?)"


def test_without_a_group_each_clip_is_one(run: Path) -> None:
    assert list(predictions(open_run(run))["group"]) == ["c0", "c1", "c2", "c3"]
    for file in shards(run, "predictions"):
        pd.read_parquet(file).assign(group="video").to_parquet(file)
    assert list(predictions(open_run(run))["group"]) == ["video"] * 4


def test_files_are_read_ahead_in_order_and_no_further_than_is_needed() -> None:
    files, begun = [Path(str(number)) for number in range(100)], list[Path]()

    def read(file: Path) -> str:
        begun.append(file)
        time.sleep(0.01 if int(file.name) % 3 == 0 else 0)  # some take longer than those after them
        if file.name == "90":
            raise UserError("this one is damaged")
        return file.name

    found = ahead(read, files)
    assert [next(found) for _ in range(3)] == ["0", "1", "2"]
    found.close()
    assert len(begun) <= 3 + 2 * READERS + 1 and set(begun) == set(files[: len(begun)])
    with pytest.raises(UserError, match="this one is damaged"):
        list(ahead(read, files[:95]))
    assert list(ahead(read, files[:90])) == [file.name for file in files[:90]]


def test_a_storage_with_one_connection_is_read_by_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as FTP; a tar archive has one position for all of its files."""
    monkeypatch.setattr("sth_core.shards.READERS", 8)
    alphas = np.random.default_rng(0).random((60, 2)).tolist()
    local = write_run(tmp_path / "run", alphas, parts=12)
    with tarfile.open(tmp_path / "runs.tar", "w") as archive:
        archive.add(local, "run")
    expected = read_alpha(open_run(local))
    for _ in range(5):
        found = read_alpha(open_run(f"tar://run::file://{tmp_path}/runs.tar"))
        assert np.array_equal(found.temporal, expected.temporal) and found.clips.equals(expected.clips)
