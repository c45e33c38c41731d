"""A damaged run is left out by name, with its reason, wherever runs are shown; the sound one beside it is shown."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.runs.left_out import split_usable, why_unreadable
from analysis.runs.run_directory import SHARD_KINDS, clips_of, find_runs, open_run, predictions
from benchmarks.damaged_runs import damaged_runs
from benchmarks.made_runs import make_run
from sth_core.errors import UserError
from tests.test_app import COMPARE, FIGURES, PREDICTIONS, open_page, words
from tests.test_cli import ends_well
from tests.tiny import write_run

ATTENTION = "workbench/pages/attention.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sound runs, and a damaged copy of one for each kind of damage."""
    folder = tmp_path_factory.mktemp("damaged")
    sound = make_run(folder / "runs" / "sound", 12, 3, 2, 0)
    make_run(folder / "runs" / "sound too", 12, 3, 2, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.made_runs.CLIPS_PER_SHARD", 5)
        three_parts = make_run(folder / "three parts", 12, 3, 2, 0)
    names = dict(damaged_runs(three_parts, folder / "runs" / "damaged", seed=0))
    assert len(names) > 150 and sound.is_dir()
    (folder / "names.json").write_text(json.dumps({path.name: name for name, path in names.items()}))
    return folder / "runs"


def test_each_damage_is_found_and_named(runs: Path) -> None:
    names = json.loads((runs.parent / "names.json").read_text())
    usable, left_out = split_usable(find_runs(runs))
    accepted = [names.get(run.name, run.name) for run in usable]
    assert accepted == ["sound", "sound too"]
    assert {Path(path).name for path in left_out} == set(names)
    assert [reason for reason in left_out.values() if "\n" in reason or len(reason) > 300] == []


def test_commands_name_them_and_go_on(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.report.supplement.write_pictures", lambda *_: "")
    for command in (("results", runs), ("figures", runs, "-o", tmp_path)):
        said = ends_well(*command)
        assert said.count("left out: ") >= 150 and ("sound too" in said or "figure6_proportions.html" in said)


@pytest.mark.parametrize(
    "page,query",
    [(ATTENTION, {}), (PREDICTIONS, {"run": "sound"}), (COMPARE, {"a": "sound", "b": "sound too"}), (FIGURES, {})],
)
def test_pages_name_them_and_show_the_others(
    page: str, query: dict[str, str], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(runs, monkeypatch, page, **query)
    assert not app.error, words(app)
    assert "damaged000" in words(app)


def test_one_run_that_is_damaged_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[0.5, 0.5]] * 4, parts=2)
    shutil.copy(run / "predictions" / "part-00000.parquet", run / "predictions" / "part-00002.parquet")
    for read in (predictions, clips_of):
        with pytest.raises(UserError, match=r"c0 stands twice in its predictions \(part-00000.parquet and part-00002"):
            read(open_run(run))


def test_a_run_whose_description_counts_more_clips_than_its_tables(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[0.5, 0.5]] * 4, parts=2)
    (run / "predictions" / "part-00001.parquet").unlink()
    _, left_out = split_usable(find_runs(tmp_path))
    assert left_out == {
        str(run): "run.json says 4 clips, its tables have 2 clips and 0 failures; the same command resumes it"
    }


def test_scores_are_one_for_each_class(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [[0.5, 0.5]] * 2)
    file = run / "predictions" / "part-00000.parquet"
    pd.read_parquet(file).assign(scores=[[0.5, 0.5], [0.2, 0.3, 0.5]]).to_parquet(file)
    reason = split_usable([open_run(run)])[1][str(run)]
    assert reason.startswith("c1 has 3 scores (part-00000.parquet), the run has 2 classes")


def test_one_changed_bit_in_any_column_is_found(recorded: Path, tmp_path: Path) -> None:
    for kind in SHARD_KINDS:
        file = sorted((recorded / kind).iterdir())[0]
        group = pq.read_metadata(file).row_group(0)
        chunks = {(chunk := group.column(i)).path_in_schema.split(".")[0]: chunk for i in range(group.num_columns)}
        for column, chunk in chunks.items():
            run = shutil.copytree(recorded, tmp_path / f"{kind} {column}")
            with (run / kind / file.name).open("r+b") as damaged:
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                damaged.seek(place := start + chunk.total_compressed_size - 1)
                byte = damaged.read(1)[0]
                damaged.seek(place)
                damaged.write(bytes([byte ^ 1]))
    found = find_runs(tmp_path)
    read_when_needed = {"attention alpha_spatial"}
    assert {run.name for run in split_usable(found)[0]} == read_when_needed
    unseen = {"scores", "view_scores", "flow", "backward", "segment", "bytes"}
    assert {run.name for run in found if not why_unreadable(run)} == read_when_needed | {
        f"predictions {column}" for column in unseen
    }
    with pytest.raises(UserError, match=r"its predictions cannot be read .*CRC"):
        predictions(open_run(tmp_path / "predictions scores"))
