"""Runs of so many clips that pages read a sample of them: what is read, that it is said, and how to read all."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import chisquare

from analysis.attention.alpha_matrix import read_alpha
from analysis.runs import large_runs
from analysis.runs.clip_rows import sample_clips
from analysis.runs.large_runs import sample_sentence, sampled
from analysis.runs.left_out import why_unreadable
from analysis.runs.run_directory import Run, clip_of, clips_of, open_run
from sth_core.errors import UserError
from tests.test_app import ATTENTION, CLIP, PREDICTIONS, open_page, words
from tests.tiny import write_run

ALPHAS = [[i / 20, 1 - i / 20] for i in range(12)]  # of 12 clips in two layers
HERE = "a random sample is read, one clip in 3 of each file"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """12 clips in six files of two, of which pages read a third: one clip of each file."""
    monkeypatch.setattr(large_runs, "READ_WHOLE", 11)
    monkeypatch.setattr(large_runs, "SAMPLE", 4)
    return open_run(write_run(tmp_path / "large", ALPHAS, parts=6))


@pytest.mark.parametrize(("clips", "every"), [(0, 1), (1_000_000, 1), (1_000_001, 5), (1_250_001, 6), (10_000_000, 40)])
def test_about_a_quarter_of_a_million_clips_of_larger_runs_are_read(clips: int, every: int) -> None:
    found = sampled(Run(Path("run"), {"clips": clips}))
    assert found.every == every and (every == 1 or 200_000 <= clips / every <= 250_000)
    assert sample_sentence(found) == (f"a random sample is read, one clip in {every} of each file" if every > 1 else "")


def test_the_sample_is_of_each_file_and_the_same_clips_in_each_table(run: Run) -> None:
    whole, sample = read_alpha(run), read_alpha(sampled(run))
    assert sampled(run).every == 3 and len(sample.clips) == 6  # of two clips in a file at least one
    assert sample.clips["shard"].nunique() == 6
    chosen = whole.clips["clip_id"].isin(sample.clips["clip_id"])
    expected = whole.clips[chosen].reset_index(drop=True)
    pd.testing.assert_frame_equal(sample.clips.astype({"shard": str}), expected.astype({"shard": str}))
    assert (sample.temporal == whole.temporal[chosen]).all()
    assert not why_unreadable(sampled(run))  # fewer clips than run.json says
    other = whole.clips[~chosen].iloc[0]
    assert clip_of(sampled(run), other)["clip_id"] == other["clip_id"]


def test_any_clip_may_be_in_the_sample_and_order_does_not_matter() -> None:
    """Not the first of each source video, say: clips of one video follow each other."""
    names = [f"c{i:03d}" for i in range(300)]
    table = pa.table({"clip_id": names})
    attention = pa.table({"clip_id": [name for name in names[::-1] for _ in "ab"], "layer": ["a", "b"] * 300})
    counts = pd.Series(0, names)
    for shard in range(1000):
        sample = sample_clips(table, 10, f"part-{shard:05d}.parquet")["clip_id"].to_pylist()
        assert len(sample) == 30
        counts[sample] += 1
        if shard < 5:
            twice = sample_clips(attention, 10, f"part-{shard:05d}.parquet")
            assert twice["clip_id"].to_pylist() == [name for name in sample[::-1] for _ in "ab"]
    expected = np.full(300, 100.0)
    assert chisquare(counts, expected).pvalue > 0.001
    assert chisquare(counts.groupby(np.arange(300) % 10).sum()).pvalue > 0.001


def test_a_damaged_file_is_said(run: Run) -> None:
    (run.path / "attention" / "part-00001.parquet").write_bytes(b"PAR1")
    assert "part-00001.parquet" in why_unreadable(sampled(run))
    with pytest.raises(UserError, match=r"part-00001\.parquet"):
        read_alpha(sampled(run))


def test_pages_say_it_and_read_all_if_they_are_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in (PREDICTIONS, ATTENTION, CLIP):
        said = [box.value for box in open_page(run.path.parent, monkeypatch, page).info]
        assert any(HERE in text for text in said), page
    some = open_page(run.path.parent, monkeypatch, PREDICTIONS, view="All clips")
    assert len(some.dataframe[0].value) == 6
    some.sidebar.toggle(key="read_all").set_value(True).run()
    assert len(some.dataframe[0].value) == 12 and HERE not in words(some)
    every = open_page(run.path.parent, monkeypatch, PREDICTIONS, view="All clips", read_all="true")
    assert len(every.dataframe[0].value) == 12


def test_a_link_to_a_clip_outside_the_sample_opens_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = set(clips_of(sampled(run))["clip_id"])
    outside = next(clip for clip in clips_of(run)["clip_id"] if clip not in sample)
    app = open_page(run.path.parent, monkeypatch, CLIP, run="large", clip=outside)
    assert app.sidebar.selectbox(key="clip").value == outside
    said = [box.value for box in app.info]
    assert said[0] == "The linked clip is not in the sample of this run, so all clips were read."
    assert not any("a random sample is read" in text for text in said)


def test_a_link_to_no_clip_does_not_read_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(run.path.parent, monkeypatch, CLIP, run="large", clip="nowhere.mp4")
    assert "nowhere.mp4" in words(app) and HERE in words(app) and "all clips were read" not in words(app)


@pytest.mark.parametrize("in_sample", [True, False])
def test_another_large_run_is_shown_beside_a_clip(in_sample: bool, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = write_run(run.path.parent / "other", ALPHAS[::-1], parts=6)
    sample = set(clips_of(sampled(open_run(other)))["clip_id"])
    clip = next(clip for clip in clips_of(run)["clip_id"] if (clip in sample) == in_sample)
    app = open_page(run.path.parent, monkeypatch, CLIP, run="large", clip=clip, **{"with": "other"})
    assert not app.exception and "is not shown beside it" not in words(app)
    assert {"A: other", "B: large"} <= {subheader.value for subheader in app.subheader}


def test_a_small_run_beside_it_has_no_switch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(run.path)
    write_run(run.path, ALPHAS[:8], parts=2)
    app = open_page(run.path.parent, monkeypatch, PREDICTIONS)
    assert not [toggle for toggle in app.sidebar.toggle if toggle.key == "read_all"] and not app.info
    assert json.loads((run.path / "run.json").read_text())["clips"] == 8


def test_the_table_of_runs_says_that_it_read_a_sample(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(run.path.parent, monkeypatch)
    assert f"**large**: {HERE}; its accuracy, interval and α_T are of these." in words(app)
    [row] = app.dataframe[0].value.to_dict("records")
    assert row["clips"] == 12 and row["attention"] == pytest.approx(0.5)


def test_clips_that_are_not_there_are_said_whatever_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(said | {"clips": 13}))
    less = "run.json says 13 clips, its tables have 12 clips and 0 failures"
    damaged = open_run(run.path)
    assert less in why_unreadable(sampled(damaged)) and less in why_unreadable(damaged)
    for query in ({}, {"read_all": "true"}):
        [warning] = open_page(run.path.parent, monkeypatch, PREDICTIONS, **query).warning
        assert "13 clips, its tables have 12 clips" in warning.value


def test_a_page_that_reads_all_of_it_checks_all_of_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found of a sample does not speak for the other clips."""
    sample = set(clips_of(sampled(run))["clip_id"])
    file = run.path / "attention" / "part-00001.parquet"
    rows = pd.read_parquet(file)
    other = rows.index[~rows["clip_id"].isin(sample)][0]
    rows.drop(index=other).to_parquet(file)  # of one of its two layers
    assert not open_page(run.path.parent, monkeypatch, PREDICTIONS).warning
    [warning] = open_page(run.path.parent, monkeypatch, PREDICTIONS, read_all="true").warning
    assert "its attention does not cover all clips and layers once" in warning.value
