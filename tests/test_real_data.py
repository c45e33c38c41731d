"""Videos that nobody on this project made: odd metadata, packed B-frames, headers that overstate."""

import csv
from pathlib import Path

import av
import numpy as np
import pytest

from sth_core.video import UnreadableVideo, count_frames, read_frames
from sth_core.video.clip_source import ClipSource
from sth_core.video.container import ANY_METADATA
from sth_core.video.fields import read_clip
from sth_core.video.transforms import Preprocessing

pytestmark = pytest.mark.real_data


def frames_in_order(path: Path) -> list[np.ndarray]:
    with av.open(str(path), **ANY_METADATA) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def real_clips(folder: Path) -> list[Path]:
    paths = sorted(p for p in (folder / "real_clips").iterdir() if p.suffix in (".mp4", ".avi"))
    assert len(paths) >= 4, f"too few videos in {folder / 'real_clips'}"
    return paths


def twelve_interactions(folder: Path) -> dict[Path, int]:
    """Every tenth clip of UT-Interaction, two of each class, with the frames that its manifest tells."""
    with (folder / "ut_interaction" / "manifest.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["path"])[::10]
    assert len(rows) == 12
    return {folder / "ut_interaction" / row["path"]: int(row["frames"]) for row in rows}


def scattered(count: int) -> list[int]:
    """First, middle and last frame, out of order."""
    return [count // 2, count - 1, 0]


def test_frames_of_well_known_clips_equal_a_full_decode(real_data: Path) -> None:
    for path in real_clips(real_data):
        frames = frames_in_order(path)
        assert count_frames(path) == len(frames), path.name
        for index, frame in zip(scattered(len(frames)), read_frames(path, scattered(len(frames))), strict=True):
            assert np.array_equal(frame, frames[index]), f"frame {index} of {path.name}"
        with pytest.raises(UnreadableVideo):
            read_frames(path, [len(frames)])


def test_interactions_have_the_frames_that_the_manifest_tells(real_data: Path) -> None:
    counted = {path.name: count_frames(path) for path in twelve_interactions(real_data)}
    assert counted == {path.name: frames for path, frames in twelve_interactions(real_data).items()}


def test_frames_of_interactions_equal_a_full_decode(real_data: Path) -> None:
    for path, count in twelve_interactions(real_data).items():
        frames = frames_in_order(path)
        for index, frame in zip(scattered(count), read_frames(path, scattered(count)), strict=True):
            assert np.array_equal(frame, frames[index]), f"frame {index} of {path.name}"


@pytest.mark.parametrize("modality", ["rgb", "flow"])
def test_a_clip_of_a_real_video_reaches_the_network(modality: str, real_data: Path) -> None:
    for path in real_clips(real_data):
        clip, indices = read_clip(ClipSource(path), Preprocessing(modality, resize=64, crop=56))
        assert min(clip.shape[1:3]) == 64 and clip.shape[3] == {"rgb": 3, "flow": 10}[modality]
        assert (np.diff(indices) > 0).all()
        assert clip.max() > clip.min(), f"{path.name} looks empty"
