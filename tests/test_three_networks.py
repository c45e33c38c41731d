"""What the script behind the pictures of docs/your-own-model.md gives its networks: splits, groups and a frame."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from docs.three_networks import HELD_OUT, middle_frame, with_splits
from sth_core.datasets.table import read_dataset
from sth_core.video.decoding import read_frames
from tests.tiny import write_moving_video


def test_the_held_out_sequences_are_its_validation_clips(tmp_path: Path) -> None:
    rows = [(f"hug/{n}.avi", "hug", str(n)) for n in (1, 5, 7, 20)]
    (tmp_path / "set" / "hug").mkdir(parents=True)
    pd.DataFrame(rows, columns=["path", "label", "sequence"]).to_csv(tmp_path / "set" / "manifest.csv", index=False)
    for path, _, _ in rows:
        write_moving_video(tmp_path / "set" / path)
    data, manifest = with_splits(tmp_path / "set", tmp_path / "out")
    table = read_dataset(data)
    assert set(table.loc[table["split"] == "val", "path"]) == {str(data / f"hug/{n}.avi") for n in (5, 20)}
    assert dict(zip(manifest["sequence"], manifest["split"], strict=True))[HELD_OUT[0]] == "val"


def test_the_middle_frame_is_that_of_the_exact_reader(tmp_path: Path) -> None:
    write_moving_video(tmp_path / "a.mp4")
    count = int(cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FRAME_COUNT))
    expected = read_frames(tmp_path / "a.mp4", [count // 2])[0]
    ours = middle_frame(tmp_path / "a.mp4").permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(int) - np.asarray(expected, int)).mean() < 3  # two conversions of colour
