"""A recording that is cut off and begun again ends as one that was not; a foreign run is refused."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.runs import recording, rows
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import RecordingSummary, record
from analysis.runs.run_directory import SHARD_KINDS, open_run, predictions
from benchmarks.recording import CLASSES, synthetic_results, table_of
from sth_core import shards
from sth_core.datasets.clips import EvaluationClips
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError
from sth_core.files import HOST, temporary_beside
from sth_core.resumable import no_report
from sth_core.shards import Shards
from sth_core.video.sampling import Protocol
from tests.forked import Forked, ended
from tests.tiny import attention_of, copy_clips, save_tiny

PART, BATCH = 4, 2


def record_and_die(moment: str, checkpoint: Path, data: Path, run: Path) -> None:
    """Record, and kill this process without a word when the second part (clips 4 to 7) comes to be written."""
    write_table = shards.write_table

    def write(path: Path, table: pd.DataFrame) -> None:
        if path.name == "part-00001.parquet" and path.parent.name == moment.split()[-1]:
            if moment.startswith("half"):
                with temporary_beside(path) as temporary:
                    table.to_parquet(temporary)
                    os.truncate(temporary, temporary.stat().st_size // 2)
                    os.kill(os.getpid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        write_table(path, table)

    shards.write_table, rows.CLIPS_PER_SHARD, rows.SECONDS_PER_SHARD = write, PART, 0
    record(checkpoint, data, run, DatasetOptions(batch_size=BATCH))


def record_slowly(checkpoint: Path, data: Path, run: Path, part: int) -> None:
    """Record on a disk that is slow, so that many a process dies while it writes."""
    write_table, fsync = pq.write_table, os.fsync

    def write_slowly(table: pa.Table, path: Path, **options: Any) -> None:
        sink = pa.BufferOutputStream()
        write_table(table, sink, **options)
        content = sink.getvalue().to_pybytes()
        with path.open("wb", buffering=0) as file:
            file.write(content[: len(content) // 2])
            time.sleep(0.01)
            file.write(content[len(content) // 2 :])

    def sync_slowly(handle: int) -> None:
        fsync(handle)
        time.sleep(0.005)

    pq.write_table, os.fsync = write_slowly, sync_slowly
    rows.CLIPS_PER_SHARD, rows.SECONDS_PER_SHARD = part, 0
    record(checkpoint, data, run, DatasetOptions(batch_size=1, device="cpu"))


class Cut(Exception):
    pass


@pytest.fixture(scope="module")
def dozen(scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of twelve val clips (of the train clips only the rows); read it, never write in it."""
    return copy_clips(scenes_folder, tmp_path_factory.mktemp("dozen"), 12, train_rows=True)


@pytest.fixture(scope="module")
def record_dozen(checkpoint: Path, dozen: Path) -> Callable[..., RecordingSummary]:
    """Records the twelve clips into a run, by the options and keywords given."""

    def into(run: Path, batch_size: int = BATCH, progress: Callable = no_report, **keywords: Any) -> RecordingSummary:
        return record(checkpoint, dozen, run, DatasetOptions(batch_size=batch_size, progress=progress), **keywords)

    return into


@pytest.fixture(scope="module")
def whole(record_dozen, tmp_path_factory) -> Path:
    """A recording that nothing interrupted; read it, never write in it."""
    return record_dozen(tmp_path_factory.mktemp("runs") / "whole").run


@pytest.fixture
def another(whole: Path, tmp_path: Path) -> Path:
    """A copy of `whole` to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "another"))


@pytest.fixture
def clips_per_shard(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many clips a shard has, however fast the recording is."""
    monkeypatch.setattr(rows, "SECONDS_PER_SHARD", 0)
    return partial(monkeypatch.setattr, rows, "CLIPS_PER_SHARD")


def assert_equal_runs(run: Path, whole: Path) -> None:
    """The same clips, each once, with the same predictions and attention, and both finished."""
    a, b = open_run(run), open_run(whole)
    assert a.problem == b.problem == ""
    table, expected = predictions(a), predictions(b)
    assert len(expected) == 12
    same = ["clip_id", "path", "label", "prediction", "correct"]
    pd.testing.assert_frame_equal(table[same], expected[same])
    np.testing.assert_allclose(np.stack(table["scores"]), np.stack(expected["scores"]), atol=1e-6)
    assert np.array_equal(np.stack(table["frame_indices"]), np.stack(expected["frame_indices"]))
    pd.testing.assert_frame_equal(attention_of(run), attention_of(whole), check_exact=False, atol=1e-6)
    same_meta = set(b.meta) - {"started", "finished"}
    assert {key: a.meta[key] for key in same_meta} == {key: b.meta[key] for key in same_meta}
    pd.testing.assert_frame_equal(*(pd.read_parquet(of / "failures.parquet") for of in (run, whole)))


@pytest.mark.parametrize("batches", [1, 2, 3, 6])
def test_a_raised_exception(batches, record_dozen, whole, tmp_path, clips_per_shard):
    """Cut off after each of some batches; what is kept then is a multiple of a shard."""
    clips_per_shard(PART)
    seen: list[int] = []

    def cut(done: int, total: int) -> None:
        seen.append(done)
        assert total == 12
        if len(seen) == batches + 1:
            raise Cut

    with pytest.raises(Cut):
        record_dozen(tmp_path / "run", progress=cut)
    assert seen == [BATCH * i for i in range(batches + 1)]
    run = open_run(tmp_path / "run")
    stand = BATCH * batches // PART * PART
    assert (len(predictions(run)) if run.usable else 0) == stand
    assert f"{stand} of 12 clips so far" in run.problem
    again: list[int] = []
    record_dozen(tmp_path / "run", progress=lambda done, _: again.append(done))
    assert again == ([] if stand == 12 else list(range(stand, 13, BATCH)))
    assert_equal_runs(tmp_path / "run", whole)


def test_cut_off_twice_and_gone_on_with_other_batches(record_dozen, whole, tmp_path, clips_per_shard):
    def cut(done: int, total: int) -> None:
        if done >= 8:
            raise Cut

    for part, batch in ((PART, 3), (1, 1)):
        clips_per_shard(part)
        with pytest.raises(Cut):
            record_dozen(tmp_path / "run", batch, cut)
    record_dozen(tmp_path / "run", 5)
    assert_equal_runs(tmp_path / "run", whole)


@pytest.mark.parametrize("moment", ["at attention", "at predictions", "half of predictions"])
def test_a_killed_process(moment, checkpoint, dozen, record_dozen, whole, tmp_path):
    run = tmp_path / "run"
    died = ended(record_and_die, moment, checkpoint, dozen, run)
    assert died.code == -signal.SIGKILL, died.said
    left_over = [file.name for file in (run / "predictions").iterdir() if file.name.startswith(".")]
    assert bool(left_over) == moment.startswith("half")
    cut_off = open_run(run)
    assert "4 of 12 clips so far" in cut_off.problem
    assert len(predictions(cut_off)) == 4
    record_dozen(run)
    assert_equal_runs(run, whole)


@pytest.mark.long
def test_killed_at_random_moments(checkpoint, dozen, whole, tmp_path):
    """Four recordings, each killed three times, up to 0.2 s after a random part was written."""
    runs, part, random, moments = 4, 2, Random(7), list[int]()
    for run in (tmp_path / f"run{number}" for number in range(runs)):
        for until in sorted(random.sample(range(12 // part), 3)):
            with Forked(record_slowly, checkpoint, dozen, run, part) as process:
                process.wait_until(lambda: parts_written(run) >= until)  # noqa: B023
                process.wait(random.uniform(0, 0.2))
            assert process.code in (0, -signal.SIGKILL), process.said
            moments += [parts_written(run)] * (process.code != 0)
        assert ended(record_slowly, checkpoint, dozen, run, part).code == 0
        assert_equal_runs(run, whole)
        assert list(run.glob("*/.*")) == []
    in_the_middle = [parts for parts in moments if 0 < parts < 12 // part]
    assert len(in_the_middle) >= runs and len(set(in_the_middle)) >= 3, moments


def parts_written(run: Path) -> int:
    return len(list((run / "predictions").glob("part-*")))


def parts_of(run: Path, kind: str) -> list[str]:
    return sorted(file.name for file in (run / kind).iterdir())


def test_what_was_written_of_clips_without_a_prediction_is_removed(record_dozen, whole, tmp_path, clips_per_shard):
    """One of several processes was ahead when all were killed: the others' numbers are free, and it left halves."""
    clips_per_shard(2)
    record_dozen(tmp_path / "run")
    for kind, gone, half in (("predictions", (1, 3, 5), 3), ("attention", (1, 3), 1)):
        for number in gone:
            (tmp_path / "run" / kind / f"part-{number:05d}.parquet").unlink()
        (tmp_path / "run" / kind / f".part-{half:05d}.99.part.parquet").write_bytes(b"PAR1")
    clips_per_shard(64)
    record_dozen(tmp_path / "run")
    assert_equal_runs(tmp_path / "run", whole)
    for kind in ("predictions", "attention"):
        assert parts_of(tmp_path / "run", kind) == [f"part-0000{number}.parquet" for number in (0, 2, 4, 5)]


def test_a_part_that_stands_is_never_written_over(record_dozen, whole, another):
    for kind in ("predictions", "attention"):
        (part,) = (another / kind).iterdir()
        table = pd.read_parquet(part)
        part.unlink()
        table[table["clip_id"].isin(sorted(set(table["clip_id"]))[:4])].to_parquet(
            part.with_name("part-00001.parquet"), index=False
        )
    record_dozen(another)
    assert parts_of(another, "predictions") == ["part-00001.parquet", "part-00002.parquet"]
    assert_equal_runs(another, whole)


def test_parts_are_on_the_disk_before_they_are_named(record_dozen, tmp_path, monkeypatch):
    """What the operating system is asked to do, in order: a part's content, its name, the folder; attention first."""
    asked: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        asked.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().relative_to(tmp_path)}")
        fsync(handle)

    def named(path: Path, target: Path) -> Path:
        asked.append(f"name {target.relative_to(tmp_path)}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", named)
    record_dozen(tmp_path / "run", 8)
    temporary = f".part-00000.{HOST}.{os.getpid()}.part.parquet"
    expected = [
        step
        for kind in ("attention", "predictions")
        for step in (f"sync run/{kind}/{temporary}", f"name run/{kind}/part-00000.parquet", f"sync run/{kind}")
    ]
    assert [step for step in asked if "attention" in step or "predictions" in step] == expected


def test_two_recordings_into_one_run_at_once_are_refused(record_dozen, whole, tmp_path):
    refused = []

    def again(done: int, total: int) -> None:
        with pytest.raises(UserError, match=r"another process works in .*run; wait until it has finished"):
            record_dozen(tmp_path / "run")
        refused.append(done)
        record_dozen(tmp_path / f"other{done}")  # elsewhere it may

    record_dozen(tmp_path / "run", 6, again)
    assert refused == [0, 6, 12]
    assert_equal_runs(tmp_path / "run", whole)
    record_dozen(tmp_path / "run")


def test_clips_are_listed_some_at_a_time(record_dozen, whole, tmp_path, monkeypatch):
    listed: list[int] = []
    seen: list[int] = []

    class Counted(EvaluationClips):
        def __init__(self, table: pd.DataFrame, *arguments: Any) -> None:
            listed.append(len(table))
            super().__init__(table, *arguments)

    monkeypatch.setattr(recording, "EvaluationClips", Counted)
    monkeypatch.setattr(recording, "CLIPS_AT_ONCE", 5)
    record_dozen(tmp_path / "run", progress=lambda done, _: seen.append(done))
    assert listed == [4, 4, 4] and seen == [0, 2, 4, 6, 8, 10, 12]
    assert_equal_runs(tmp_path / "run", whole)


def test_clips_with_and_without_vectors_are_not_mixed(record_dozen, another):
    meta = json.loads((another / "run.json").read_text())
    assert meta.pop("vectors") is False
    (another / "run.json").write_text(json.dumps(meta))  # as before there were any
    with pytest.raises(UserError, match=r"another recording \(vectors is False, now True\); choose another folder"):
        record_dozen(another, vectors=True)
    record_dozen(another)
    assert open_run(another).meta["vectors"] is False


def test_a_finished_recording_is_left_as_it_is(record_dozen, another):
    parts = {file: file.stat().st_mtime_ns for file in another.glob("*/*.parquet")}
    started = open_run(another).meta["started"]
    shown: list[int] = []
    done = record_dozen(another, progress=lambda now, _: shown.append(now))
    assert shown == []
    assert {file: file.stat().st_mtime_ns for file in another.glob("*/*.parquet")} == parts
    assert open_run(another).meta["started"] == started
    assert done.accuracy == predictions(open_run(another))["correct"].mean()


@pytest.mark.parametrize("changed", ["checkpoint_sha256", "split", "data", "label", "protocol.clips_per_video"])
def test_the_run_of_something_else_is_refused(changed, checkpoint, dozen, another, tmp_path):
    data = dozen
    if changed == "checkpoint_sha256":
        checkpoint = save_tiny(tmp_path / "other.safetensors", seed=1)
    if changed == "data":
        data = tmp_path / "moved"
        data.symlink_to(dozen)
        record(checkpoint, data, another)  # the same folder by another name
        data.unlink()
        shutil.copytree(dozen, data)
    options = DatasetOptions(split="train" if changed == "split" else "val")
    protocol = Protocol(clips=2 if changed == "protocol.clips_per_video" else 1)
    annotation = Annotation(label="appearance") if changed == "label" else None
    before = {file: file.read_bytes() for file in another.rglob("*.*")}
    with pytest.raises(UserError, match=rf"another recording \({changed} is .*choose another folder"):
        record(checkpoint, data, another, options, protocol=protocol, annotation=annotation)
    assert {file: file.read_bytes() for file in another.rglob("*.*")} == before


@pytest.mark.parametrize("text", ["", '{"arch": "resn', "[1, 2]", "null", "\x00\x01"])
def test_a_damaged_run_json_is_refused(text, record_dozen, another):
    (another / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json is damaged \(.*choose another folder, or give --overwrite"):
        record_dozen(another)
    assert (another / "run.json").read_text() == text


def test_a_run_json_without_a_beginning_is_completed(record_dozen, another):
    meta = json.loads((another / "run.json").read_text())
    del meta["started"]
    (another / "run.json").write_text(json.dumps(meta))
    record_dozen(another)
    assert open_run(another).meta["started"]


@pytest.mark.parametrize(("seconds", "parts"), [(0.0, 2), (3600.0, 1)])
def test_a_fast_recording_makes_few_large_parts(seconds, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "SECONDS_PER_SHARD", seconds)
    written = Shards(tmp_path, SHARD_KINDS)
    written.tidy()
    writer = rows.ShardWriter(written, 0, 1, CLASSES, [], vectors=False)
    for batch, some in synthetic_results(table_of(128), {}):
        writer.add(batch, some)
    writer.flush()
    assert len(parts_of(tmp_path, "predictions")) == parts
    assert len(written.done()) == 128
