"""A run's attention as a matrix: by hand, against pandas, and what is wrong with damaged ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.attention import alpha_matrix
from analysis.attention.alpha_matrix import Alpha, alpha_by_layer, read_alpha
from analysis.report.supplement import write_figures
from analysis.runs.left_out import why_unreadable
from analysis.runs.run_directory import Run, open_run
from sth_core.errors import UserError
from sth_core.shards import shards
from tests.tiny import write_run

# alpha_T of four clips (c0 and c2 of class "a", c1 and c3 of class "b") at three layers
ALPHAS = [[0.1, 0.2, 0.3], [0.5, 0.5, 0.5], [0.3, 0.4, 0.9], [0.7, 0.1, 0.1]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", ALPHAS, parts=3)


@pytest.mark.parametrize("parts", [1, 3, 4])  # whose rows are in order in one file, not in order, and in order in four
def test_the_matrix_of_a_run(parts: int, tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", ALPHAS, parts=parts))
    assert why_unreadable(run) == ""
    alpha = read_alpha(run)
    np.testing.assert_array_equal(alpha.temporal, np.float32(ALPHAS))
    assert list(alpha.layers["layer"]) == ["layer0.0.conv1", "layer1.0.conv1", "layer2.0.conv1"]
    assert list(alpha.layers["layer_index"]) == [0, 1, 2] and list(alpha.layers["stage"])[2] == "layer2"
    assert list(alpha.clips["clip_id"]) == ["c0", "c1", "c2", "c3"] and list(alpha.clips["label"]) == [*"abab"]
    np.testing.assert_allclose(alpha.mean, [0.2, 0.5, 1.6 / 3, 0.3], atol=1e-7)


def test_figures_and_hypotheses_read_each_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [open_run(write_run(tmp_path / f"run{i}", ALPHAS, parts=3)) for i in range(2)]
    seen: list[tuple[str, tuple[str, ...]]] = []

    def counted_read(run: Run, more: tuple[str, ...]) -> Alpha:
        seen.append((run.name, more))
        return read_alpha(run, more)

    monkeypatch.setattr(alpha_matrix, "read_alpha", counted_read)
    assert write_figures(runs, tmp_path / "out", pictures=False)
    assert seen == [("run0", ("group",)), ("run1", ("group",))]
    whole, lean = read_alpha(runs[0]), alpha_matrix.read_once()(runs[0])
    assert set(whole.clips) - set(lean.clips) == {"path", "margin", "disagreement"} | ({"frame"} & set(whole.clips))
    pd.testing.assert_frame_equal(whole.clips[list(lean.clips)], lean.clips)
    assert whole.groups.tolist() == lean.groups.tolist() == pd.factorize(whole.clips["group"])[0].tolist()


def test_rows_and_row_groups_in_any_order_make_the_same_matrix(run: Path) -> None:
    for file in shards(run, "attention"):
        rows = pd.read_parquet(file).sample(frac=1, random_state=1)
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), file, row_group_size=2)
    np.testing.assert_array_equal(read_alpha(open_run(run)).temporal, np.float32(ALPHAS))


@pytest.mark.parametrize("clips", [None, [0, 2], [1, 3], [3]])
def test_by_layer_by_hand(run: Path, clips: list[int] | None) -> None:
    alpha = read_alpha(open_run(run))
    table = alpha_by_layer(alpha, clips)
    chosen = np.array(ALPHAS)[clips or slice(None)]
    assert list(table["n"]) == [len(chosen)] * 3
    np.testing.assert_allclose(table["alpha_temporal"], chosen.mean(0), atol=1e-7)
    np.testing.assert_allclose(table["alpha_spatial"], 1 - chosen.mean(0), atol=1e-7)
    np.testing.assert_allclose(table["sd"], chosen.std(0, ddof=1) if len(chosen) > 1 else 0, atol=1e-7)
    if clips == [0, 2]:
        pd.testing.assert_frame_equal(table, alpha_by_layer(alpha, alpha.clips["label"] == "a"))
    assert alpha_by_layer(alpha, alpha.clips["label"] == "no such class").empty


def test_by_layer_equals_pandas(run: Path) -> None:
    rows = pd.concat([pd.read_parquet(file) for file in shards(run, "attention")])
    expected = rows.groupby(["layer_index", "layer", "stage"])["alpha_temporal"].agg(["mean", "std", "count"])
    table = alpha_by_layer(read_alpha(open_run(run)))
    np.testing.assert_allclose(table[["alpha_temporal", "sd", "n"]].astype(float), expected, atol=1e-7)


def test_a_shard_without_its_predictions_does_not_count(run: Path) -> None:
    """Of a part the attention is written first: what is there of it alone, a killed recording has left."""
    (run / "predictions" / "part-00002.parquet").unlink()
    alpha = read_alpha(open_run(run))
    assert list(alpha.clips["clip_id"]) == ["c0", "c1", "c3"] and len(alpha.temporal) == 3


def test_attention_of_other_shards_than_the_predictions_is_none(run: Path) -> None:
    for i, file in enumerate(shards(run, "attention")):
        file.rename(file.with_name(f"part-{90 + i:05d}.parquet"))
    with pytest.raises(UserError, match="run: its attention does not cover all clips and layers"):
        read_alpha(open_run(run))


def test_what_is_wrong_with_it(run: Path) -> None:
    opened = open_run(run)
    first = shards(run, "attention")[0]
    whole = first.read_bytes()
    rows = pd.read_parquet(first)
    for part, what in (
        (rows.iloc[1:], "does not cover all clips and layers"),
        (rows.assign(clip_id="another"), "does not cover all clips and layers"),
        (pd.concat([rows, rows.assign(layer_index=7)]), "does not cover all clips and layers"),
        (rows.drop(columns="alpha_temporal"), r"cannot be read \(.*alpha_temporal"),
    ):
        part.to_parquet(first)
        with pytest.raises(UserError, match=f"run: its attention {what}"):
            read_alpha(opened)
    first.write_bytes(whole[:-9])
    with pytest.raises(UserError, match=r"run: its attention cannot be read \("):
        read_alpha(opened)
    for file in shards(run, "attention"):
        file.unlink()
    with pytest.raises(UserError, match="run holds no attention"):
        read_alpha(opened)
