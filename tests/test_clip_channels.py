"""The attention of one clip by channel, as it was recorded."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.attention.clip_channels import clip_channels, has_channels
from analysis.runs.run_directory import open_run
from sth_core.errors import UserError
from tests.test_app import CLIP, open_page, words
from tests.tiny import write_run


def with_vectors(path: Path, column: str, **meta: object) -> Path:
    """A run of two clips and two layers of two and three channels: clip i, layer j, channel k has the value i.jk."""
    write_run(path, [[0.5, 0.6], [0.4, 0.4]], vectors=True, **meta)
    (file,) = (path / "attention").iterdir()
    table = pd.read_parquet(file)
    rows = zip(table["clip_id"], table["layer_index"], strict=True)
    values = [[int(clip[1]) + j / 10 + k / 100 for k in range(2 + j)] for clip, j in rows]
    table.assign(**{column: values}).to_parquet(file)
    return path


@pytest.mark.parametrize(("column", "signal"), [("alpha_temporal_vector", "alpha"), ("time_share_heads", "time_share")])
def test_channels_are_in_the_order_of_the_layers(column: str, signal: str, tmp_path: Path) -> None:
    run = open_run(with_vectors(tmp_path / "run", column, signal=signal))
    table = clip_channels(run, "c1")
    assert table["layer"].tolist() == ["layer0.0.conv1"] * 2 + ["layer1.0.conv1"] * 3
    assert table["channel"].tolist() == [0, 1, 0, 1, 2]
    assert table["value"].round(4).tolist() == [1, 1.01, 1.1, 1.11, 1.12]
    assert clip_channels(run, "no such clip").empty


def test_a_run_without_vectors_has_none(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", [[0.5, 0.6]]))
    assert not has_channels(run)
    with pytest.raises(UserError):
        clip_channels(run, "c0")


def test_the_clip_page_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_vectors(tmp_path / "run", "alpha_temporal_vector")
    app = open_page(tmp_path, monkeypatch, CLIP, channels="true")
    assert "2 channels to 3 a layer" in words(app) and len(app.get("plotly_chart")) == 2
