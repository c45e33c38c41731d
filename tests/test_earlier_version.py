"""What an earlier version wrote still opens and is resumed: a checkpoint, and a recording of it interrupted after two
of three clips. tests/data/earlier-version.zip was made with the code of the commit f60dfe6.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from analysis.attention.alpha_matrix import read_alpha
from analysis.runs.recording import record
from analysis.runs.run_directory import clips_of, open_run, predictions
from sth_core.checkpoint import load_checkpoint
from sth_core.errors import UserError

ARCHIVE = Path(__file__).with_name("data") / "earlier-version.zip"
CONFIDENCE = [0.740978, 0.639634, 0.522958]  # as that version computed them, of all three clips
ALPHA_TEMPORAL = [0.541824, 0.541109, 0.540350]  # the means over the layers


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The run, its network and its clips, which now lie here."""
    shutil.unpack_archive(ARCHIVE, tmp_path)
    file = tmp_path / "run" / "run.json"
    meta = json.loads(file.read_text())
    assert (meta["data"], meta["finished"], meta["classes"]) == ("/data/clips", None, ["left", "right"])
    file.write_text(json.dumps(meta | {"data": str((tmp_path / "clips").resolve())}))
    return tmp_path


def test_its_checkpoint_and_run_open(earlier: Path) -> None:
    checkpoint = load_checkpoint(earlier / "tiny.safetensors")
    assert checkpoint.classes == ["left", "right"] and checkpoint.annotation.label == "motion"
    assert checkpoint.model.config.temporal_fraction == 0.5 and len(checkpoint.model.attention_layers) == 16
    run = open_run(earlier / "run")
    assert "2 of 3 clips so far" in run.problem and run.p == "1/2" and run.title == "clips: motion, p = 1/2, RGB"
    table = predictions(run)
    assert list(table["clip_id"]) == ["val/0.mp4", "val/1.mp4"] and list(clips_of(run)["label"]) == ["left", "right"]
    np.testing.assert_allclose(table["confidence"], CONFIDENCE[:2], atol=1e-5)
    np.testing.assert_allclose(read_alpha(run).mean, ALPHA_TEMPORAL[:2], atol=1e-5)


def test_its_recording_is_resumed(earlier: Path) -> None:
    before = {file: file.read_bytes() for file in (earlier / "run").rglob("*.parquet")}
    done = record(earlier / "tiny.safetensors", earlier / "clips", earlier / "run")
    assert (done.clips, done.failures) == (3, 0) and done.accuracy == pytest.approx(2 / 3)
    assert {file: file.read_bytes() for file in before} == before
    run = open_run(earlier / "run")
    assert run.problem == "" and list(predictions(run)["prediction"]) == ["right"] * 3
    np.testing.assert_allclose(predictions(run)["confidence"], CONFIDENCE, atol=1e-4)
    np.testing.assert_allclose(read_alpha(run).mean, ALPHA_TEMPORAL, atol=1e-4)


def test_another_recording_into_it_is_refused(earlier: Path) -> None:
    with pytest.raises(UserError, match=r"holds another recording \(vectors is False, now True\)"):
        record(earlier / "tiny.safetensors", earlier / "clips", earlier / "run", vectors=True)
