"""The sample of a large run in files of its own: the same clips as without it, and never those of other files."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.attention.alpha_matrix import read_alpha
from analysis.runs import large_runs
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.importing import ImportOptions, import_predictions
from analysis.runs.large_runs import sampled, store_sample
from analysis.runs.left_out import why_unreadable
from analysis.runs.recording import record
from analysis.runs.run_directory import Run, all_of, clip_of, clips_of, open_run, predictions
from analysis.runs.stored_sample import SAMPLE_FOLDER
from analysis.statistics.fusion import fuse
from benchmarks.made_runs import make_run
from sth_core.errors import UserError
from sth_core.shards import shards
from tests.test_app import ATTENTION, PREDICTIONS, open_page, words
from tests.tiny import copy_clips
from workbench.components.cached import cached_overview


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 clips in 12 files, of which pages read a tenth; the sample is in several files."""
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        patch.setattr("benchmarks.made_runs.CLIPS_PER_SHARD", 10)
        return make_run(tmp_path_factory.mktemp("made") / "large", 120, classes=6, layers=2)


def small(patch: pytest.MonkeyPatch, read_whole: int = 100) -> None:
    patch.setattr(large_runs, "READ_WHOLE", read_whole)
    patch.setattr(large_runs, "SAMPLE", 12)
    patch.setattr(large_runs, "ROWS_PER_FILE", 7)


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    small(monkeypatch)
    return open_run(shutil.copytree(made, tmp_path / "runs" / "large"))


def change_a_value(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[100] ^= 1  # in the names of clips, the first column
    file.write_bytes(content)


def test_pages_get_the_same_clips_from_it_as_from_all_files(run: Run) -> None:
    of_sample, of_all = sampled(run), replace(sampled(run), stored=None)
    assert of_sample.stored and of_sample.every == 10 and of_sample.stored.clips == 120
    assert len(shards(run.path / SAMPLE_FOLDER, "predictions")) == 2
    assert len(shards(run.path / SAMPLE_FOLDER, "attention")) == 3
    a, b = read_alpha(of_sample), read_alpha(of_all)
    assert len(a.clips) == 12 and a.clips["shard"].nunique() == 12
    pd.testing.assert_frame_equal(a.clips, b.clips)
    pd.testing.assert_frame_equal(a.layers, b.layers)
    assert np.array_equal(a.temporal, b.temporal)
    pd.testing.assert_frame_equal(predictions(of_sample), predictions(of_all))  # with scores, which it does not have
    whole = clip_of(of_sample, a.clips.iloc[3])
    assert whole["clip_id"] == a.clips["clip_id"][3] and len(whole["scores"]) == 6
    assert not why_unreadable(of_sample)


def test_the_other_files_are_not_read(run: Run) -> None:
    """Until another command, or *Read all clips*, reads them."""
    change_a_value(run.path / "predictions" / "part-00000.parquet")
    assert len(clips_of(sampled(run))) == 12 and not why_unreadable(sampled(run))
    for other in (run, replace(sampled(run), stored=None)):
        assert "part-00000.parquet" in why_unreadable(other)


def test_if_it_is_damaged_one_is_told_what_to_do(run: Run) -> None:
    for kind in ("predictions", "attention"):
        file = run.path / SAMPLE_FOLDER / kind / "part-00001.parquet"
        content = file.read_bytes()
        file.write_bytes(content[:4])
        said = f"its {kind} cannot be read \\(clip_sample/{kind}/part-00001.*; if you delete clip_sample, all files"
        with pytest.raises(UserError, match=said):
            read_alpha(sampled(run))
        file.write_bytes(content)
    shutil.rmtree(run.path / SAMPLE_FOLDER)
    assert len(read_alpha(sampled(run)).clips) == 12


def begun_again(run: Run) -> None:
    said = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(said | {"finished": None}))


def without_a_column(file: Path) -> None:
    pd.read_parquet(file).drop(columns="bytes").to_parquet(file)


OTHER_FILES: dict[str, Callable[[Run], object]] = {
    "one is missing": lambda run: (run.path / "attention/part-00003.parquet").unlink(),
    "one more": lambda run: (run.path / "predictions/more.parquet").touch(),
    "another size": lambda run: without_a_column(run.path / "predictions/part-00003.parquet"),
    "the run is not finished": begun_again,
    "its description is damaged": lambda run: (run.path / "clip_sample/sample.json").write_text("{"),
    "its description says less": lambda run: (run.path / "clip_sample/sample.json").write_text('{"every": 10}'),
}


@pytest.mark.parametrize("change", OTHER_FILES)
def test_a_sample_of_other_files_is_not_read(change: str, run: Run) -> None:
    OTHER_FILES[change](run)
    found = sampled(open_run(run.path))
    assert found.every == 10 and found.stored is None


def test_a_sample_of_another_share_is_not_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_runs, "SAMPLE", 60)
    assert sampled(run).every == 2 and sampled(run).stored is None and len(clips_of(sampled(run))) == 60


def test_it_is_written_anew_or_removed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what a killed process left of an earlier one."""
    left = run.path / f".{SAMPLE_FOLDER}"
    (left / "attention").mkdir(parents=True)
    said: list[str] = []
    store_sample(run.path, run.meta, said.append)
    assert said == [f"writing a random sample of the clips to {run.path / SAMPLE_FOLDER}, which the app reads"]
    assert sampled(run).stored and not left.exists()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(large_runs, "write_json", ctrl_c)
        store_sample(run.path, run.meta)
    assert not (run.path / SAMPLE_FOLDER).exists() and not left.exists()
    store_sample(run.path, run.meta)
    small(monkeypatch, read_whole=120)
    store_sample(run.path, run.meta, said.append)
    assert not (run.path / SAMPLE_FOLDER).exists() and len(said) == 1


def ctrl_c(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("read_whole", [100, 120])
@pytest.mark.parametrize("what", ["a folder", "a link"])
def test_what_a_person_put_in_its_place_stays(
    what: str, read_whole: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, read_whole)
    place, theirs = run.path / SAMPLE_FOLDER, tmp_path / "theirs"
    place.rename(theirs)
    if what == "a link":
        place.symlink_to(theirs)
    else:
        place.mkdir()
        (place / "mine.txt").touch()
    said: list[str] = []
    store_sample(run.path, run.meta, said.append)
    assert (place / ("sample.json" if what == "a link" else "mine.txt")).is_file()
    assert [line for line in said if "no sample of the clips was written, so the app reads all files" in line] or (
        read_whole == 120 and not said
    )
    if read_whole == 100:  # before anything is read for it
        [why] = said
        assert f"{place} is in its place and not written by this program; move it away" in why


def test_a_run_that_a_sample_cannot_be_taken_of_is_whole_without_it(run: Run) -> None:
    change_a_value(run.path / "predictions" / "part-00000.parquet")
    said: list[str] = []
    store_sample(run.path, run.meta, said.append)
    assert said[-1].startswith("no sample of the clips was written") and "part-00000.parquet" in said[-1]
    shutil.rmtree(run.path / "predictions")
    store_sample(run.path, run.meta, said.append)  # no clip could be read
    assert len(said) == 2 and not (run.path / SAMPLE_FOLDER).exists()


def test_shards_of_other_types_and_without_rows(run: Run) -> None:
    """As other writers make them."""
    file = run.path / "attention" / "part-00003.parquet"
    table = pq.read_table(file)
    pq.write_table(table.set_column(0, "clip_id", table["clip_id"].dictionary_encode()), file)
    empty = table.slice(0, 0).set_column(0, "clip_id", pa.array([], pa.null()))
    pq.write_table(empty, run.path / "attention" / "part-00060.parquet")
    assert len(read_alpha(run).clips) == 120
    before = read_alpha(sampled(run))
    store_sample(run.path, run.meta)
    assert sampled(run).stored and len(before.clips) == 12
    assert np.array_equal(read_alpha(sampled(run)).temporal, before.temporal)


def test_attention_without_predictions_is_left_out_whatever_is_read(run: Run) -> None:
    shutil.copy(run.path / "attention/part-00003.parquet", run.path / "attention/part-00070.parquet")
    store_sample(run.path, run.meta)
    for found, clips in ((sampled(run), 12), (run, 120), (all_of(sampled(run)), 120)):
        assert len(read_alpha(found).clips) == clips and not why_unreadable(found)


def test_another_sample_is_read_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By pages, also where the names and sizes of all files are as before."""
    overview = cached_overview(sampled(run))
    file = run.path / SAMPLE_FOLDER / "predictions" / "part-00000.parquet"
    table = pq.read_table(file)
    pq.write_table(
        table.set_column(table.column_names.index("confidence"), "confidence", pa.array([0.125] * len(table))), file
    )
    description = run.path / SAMPLE_FOLDER / "sample.json"
    description.write_text(description.read_text())  # as when it is written anew
    again = cached_overview(sampled(run))
    assert (again["confidence"] == 0.125).sum() == len(table) and not (overview["confidence"] == 0.125).any()


def test_all_commands_that_write_runs_write_it(
    recorded: Path, checkpoint: Path, scenes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, read_whole=3)
    monkeypatch.setattr(large_runs, "SAMPLE", 2)
    data, once = copy_clips(scenes_folder, tmp_path / "data", 4), open_run(recorded)
    record(checkpoint, data, tmp_path / "recorded")
    fuse([once, once], [1, 1], tmp_path / "fused")
    write_csv_of_scores(tmp_path / "scores.csv")
    import_predictions(tmp_path / "scores.csv", tmp_path / "imported", ImportOptions(name="theirs"))
    for name in ("recorded", "fused", "imported"):
        run = open_run(tmp_path / name)
        assert sampled(run).stored, name
        assert clips_of(sampled(run)).equals(clips_of(replace(sampled(run), stored=None))), name
        assert not why_unreadable(sampled(run)), name
    record(checkpoint, data, tmp_path / "recorded", DatasetOptions(overwrite=True), with_attention=False)
    assert (tmp_path / "recorded" / ".replaced-1" / SAMPLE_FOLDER).is_dir()
    again = sampled(open_run(tmp_path / "recorded"))
    assert again.stored and not (again.stored.folder / "attention").is_dir()


def write_csv_of_scores(path: Path) -> None:
    table = pd.DataFrame({"clip": [f"{i}.mp4" for i in range(6)], "label": [*"abcabc"]})
    random = np.random.default_rng(0).dirichlet([1, 1, 1], 6)
    table.assign(**{name: random[:, i] for i, name in enumerate("abc")}).to_csv(path, index=False)


def test_pages_read_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And say what is damaged once they read the other files."""
    change_a_value(run.path / "predictions" / "part-00000.parquet")
    for page in ("", PREDICTIONS, ATTENTION):
        app = open_page(run.path.parent, monkeypatch, page)
        assert "a random sample is read, one clip in 10 of each file" in words(app)
        assert not app.warning and not app.error
    assert "part-00000.parquet" in words(open_page(run.path.parent, monkeypatch, PREDICTIONS, read_all="true"))
