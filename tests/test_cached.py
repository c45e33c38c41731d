"""What pages cache: a result is computed again once the files of a run change, and these are looked at once a page."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analysis.runs.run_directory import Run, open_run
from tests.tiny import write_run
from workbench.components.cached import cached_result, files_looked_at_once, shard_times


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_run(tmp_path / "run", [[0.4], [0.5], [0.6]], parts=2)
    return open_run(tmp_path / "run")


def test_a_result_is_kept_until_a_shard_changes(run: Run) -> None:
    counted = iter(range(10))
    assert [cached_result("next", [run], lambda: next(counted)) for _ in range(2)] == [0, 0]
    assert cached_result("next", [run], lambda: next(counted), "another parameter") == 1
    shard = next((run.path / "predictions").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes() + b" ")
    assert cached_result("next", [run], lambda: next(counted)) == 2
    shard.unlink()
    assert cached_result("next", [run], lambda: next(counted)) == 3


def test_while_a_page_runs_its_thread_looks_once_and_others_look_anew(run: Run) -> None:
    before = shard_times(run)
    with ThreadPoolExecutor(1) as other, files_looked_at_once():
        assert shard_times(run) == before
        next((run.path / "predictions").glob("*.parquet")).unlink()
        assert shard_times(run) == before
        assert len(other.submit(shard_times, run).result()) == len(before) - 1
    assert len(shard_times(run)) == len(before) - 1


def test_after_a_page_that_failed_files_are_looked_at_anew(run: Run) -> None:
    with pytest.raises(ZeroDivisionError), files_looked_at_once():
        before = shard_times(run)
        raise ZeroDivisionError
    next((run.path / "predictions").glob("*.parquet")).unlink()
    assert len(shard_times(run)) == len(before) - 1
