"""From frames to the network's input, in numbers that can be checked by hand."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from sth_core.values import BadValue
from sth_core.video import read_frames
from sth_core.video.clip_source import ClipSource
from sth_core.video.encoding import SMALL, write_video
from sth_core.video.fields import read_clip
from sth_core.video.flow import flow_field
from sth_core.video.transforms import (
    Preprocessing,
    crop,
    mirror,
    negative,
    normalise,
    play_backward,
    resize,
)

FLOW = Preprocessing("flow", frames=4, resize=64, crop=48, mean=(0.5,), std=(0.1,), flow_bound=8.0)


def wallpaper(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """Smooth blotches, which optical flow can hold on to."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def sliding(frames: int, step: int) -> Iterator[np.ndarray]:
    """A window on the wallpaper; what is seen moves right by `step` pixels a frame."""
    wide = wallpaper(width=128 + frames * step)
    for t in range(frames):
        yield wide[:, (frames - t) * step :][:, :128].copy()


def motion(field: np.ndarray, bound: float) -> list[float]:
    """The median displacement (x, y) away from the borders, in pixels."""
    inner = field[16:-16, 16:-16].astype(float)
    return list((np.median(inner, (0, 1)) - 128) * bound / 127)


def test_the_defaults_of_the_preprocessing() -> None:
    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    plain = {"modality": "rgb", "frames": 8, "resize": 256, "crop": 224, "flow_bound": 20.0, "stride": 0}
    plain |= {"dense": "loop", "interpolation": "opencv", "crop_rounding": "down"}
    assert asdict(Preprocessing()) == plain | imagenet


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"crop": 256}, True),
        ({"crop": 257}, False),
        ({"resize": (224, 300)}, True),
        ({"resize": (300, 223)}, False),
        ({"std": (0.001, 10.0, 1.0)}, True),
        ({"std": (0.0009, 1.0, 1.0)}, False),
        ({"std": (1.0, 10.1, 1.0)}, False),
        ({"mean": (0.0, 1.0, 0.5)}, True),
        ({"mean": (0.0, 1.01, 0.5)}, False),
        ({"flow_bound": 0.01}, True),
        ({"flow_bound": 0.009}, False),
        ({"flow_bound": 1000.0}, True),
        ({"flow_bound": 1001.0}, False),
        ({"stride": 1024}, True),
        ({"stride": 1025}, False),
        ({"stride": -1}, False),
        ({"frames": 341}, True),  # 341 x 256 x 256 x 3 values are 67,043,328, of at most 2^26
        ({"frames": 342}, False),
        ({"modality": "flow", "mean": (0.5,), "std": (0.1,), "frames": 102}, True),  # x 10 channels: 66,846,720
        ({"modality": "flow", "mean": (0.5,), "std": (0.1,), "frames": 103}, False),
        ({"frames": 64, "resize": (292, 390), "crop": 256}, True),  # V-JEPA 2
        ({"frames": 64, "resize": (438, 779), "crop": 384}, True),  # V-JEPA 2, the largest: 65,506,176
        ({"frames": 128, "resize": (256, 340)}, True),  # S3D as it was evaluated
        ({"stride": 4, "dense": "hold"}, True),
        ({"stride": 4, "dense": "repeat"}, False),
        ({"dense": "spread"}, False),  # without a stride
        ({"interpolation": "bilinear"}, True),
        ({"interpolation": "bicubic"}, False),
        ({"crop_rounding": "up"}, True),
        ({"crop_rounding": "nearest"}, False),
    ],
)
def test_the_ranges_of_the_preprocessing(changes: dict[str, Any], fits: bool) -> None:
    with nullcontext() if fits else pytest.raises(BadValue):
        Preprocessing(**changes)


@pytest.mark.parametrize(
    ("height", "width", "side", "expected"),
    [(240, 320, 108, (108, 144)), (320, 240, 108, (144, 108)), (30, 90, 60, (60, 180)), (100, 100, 64, (64, 64))],
)
def test_the_short_side_is_resized_and_the_shape_kept(
    height: int, width: int, side: int, expected: tuple[int, int]
) -> None:
    frames = np.full((2, height, width, 3), 77, np.uint8)
    resized = resize(frames, side)
    assert resized.shape == (2, *expected, 3)
    assert resized.dtype == np.uint8 and (resized == 77).all()


def test_shrinking_by_two_averages_four_pixels() -> None:
    frame = np.array([[0, 4, 10, 10], [8, 12, 30, 30]], np.uint8)[None, ..., None].repeat(3, -1)
    assert resize(frame, 1)[0, 0, :, 0].tolist() == [6, 20]


def test_shrinking_by_four_averages_sixteen_pixels() -> None:
    """Linear interpolation, which would see the four in the middle alone, gives 0 and 160."""
    frame = np.zeros((1, 4, 8, 3), np.uint8)
    frame[:, 0, 0], frame[:, 1:3, 5:7] = 160, 160
    assert resize(frame, 1)[0, 0, :, 0].tolist() == [10, 40]


def test_enlarging_interpolates_between_pixels() -> None:
    """A pixel's middle stays in its place: the new ones are at 1/4 and 3/4 of the way."""
    frame = np.array([[0, 100], [0, 100]], np.uint8)[None, ..., None].repeat(3, -1)
    assert resize(frame, 4)[0, 0, :, 0].tolist() == [0, 25, 75, 100]
    assert resize(frame, (2, 4))[0, 0, :, 0].tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize(("size", "to"), [((60, 80), 60), ((60, 80), (60, 80))])
def test_frames_of_the_wanted_size_are_not_resized(size: tuple[int, int], to: int | tuple[int, int]) -> None:
    frames = np.zeros((1, *size, 3), np.uint8)
    assert resize(frames, to) is frames


def test_the_crop_is_central() -> None:
    clip = np.arange(5 * 8).reshape(1, 5, 8, 1)
    assert crop(clip, 3)[0, :, :, 0].tolist() == [[10, 11, 12], [18, 19, 20], [26, 27, 28]]


def test_a_random_crop_gets_everywhere_and_never_outside() -> None:
    clip, rng = np.arange(4 * 5).reshape(1, 4, 5, 1), np.random.default_rng(0)
    crops = [crop(clip, 3, rng) for _ in range(200)]
    assert {c.shape for c in crops} == {(1, 3, 3, 1)}
    counts = np.bincount([int(c[0, 0, 0, 0]) for c in crops], minlength=8)
    assert set(np.flatnonzero(counts)) == {0, 1, 2, 5, 6, 7}
    assert counts.max() < 60  # 33 expected, 5 is one standard deviation


def test_mirroring_swaps_left_and_right() -> None:
    clip = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3, 1).repeat(3, -1)
    assert mirror(clip, "rgb")[0, :, :, 0].tolist() == [[2, 1, 0], [5, 4, 3]]


def test_mirroring_flow_negates_x_and_leaves_y() -> None:
    clip = np.full((1, 1, 2, 4), 128, np.uint8)
    clip[0, 0, 0] = [138, 120, 1, 200]  # x +10, y -8, x -127, y +72
    assert mirror(clip, "flow")[0, 0].tolist() == [[128, 128, 128, 128], [118, 120, 255, 200]]
    assert np.array_equal(mirror(mirror(clip, "flow"), "flow"), clip)


def test_playing_rgb_backward_reverses_the_frames() -> None:
    clip = np.arange(4, dtype=np.uint8)[:, None, None, None].repeat(3, -1)
    assert play_backward(clip, "rgb")[:, 0, 0, 0].tolist() == [3, 2, 1, 0]


def test_playing_flow_backward_reverses_frames_and_fields_and_negates() -> None:
    clip = np.array([[129, 130, 131, 132], [133, 134, 135, 136]], np.uint8).reshape(2, 1, 1, 4)  # x y x y
    assert play_backward(clip, "flow")[:, 0, 0].tolist() == [[121, 120, 123, 122], [125, 124, 127, 126]]


@pytest.mark.parametrize(("modality", "channels"), [("rgb", 3), ("flow", 10)])
def test_backward_twice_is_forward(modality: str, channels: int) -> None:
    clip = np.random.default_rng(0).integers(1, 256, (4, 5, 6, channels), np.uint8)
    assert np.array_equal(play_backward(play_backward(clip, modality), modality), clip)


def test_the_opposite_of_flow_in_eight_bits() -> None:
    assert negative(np.array([1, 127, 128, 129, 255], np.uint8)).tolist() == [255, 129, 128, 127, 1]


def test_normalising_by_hand() -> None:
    p = Preprocessing(mean=(0.0, 0.2, 0.4), std=(1.0, 0.5, 0.2))
    clips = torch.tensor([51, 102, 255], dtype=torch.uint8).view(1, 1, 1, 1, 3)  # 0.2, 0.4, 1.0
    assert normalise(clips, p).shape == (1, 1, 3, 1, 1)
    torch.testing.assert_close(normalise(clips, p).flatten(), torch.tensor([0.2, 0.4, 3.0]))


def test_the_one_mean_of_flow_serves_all_its_channels() -> None:
    clips = torch.full((2, 4, 6, 5, 10), 153, dtype=torch.uint8)  # 0.6
    torch.testing.assert_close(normalise(clips, FLOW), torch.ones(2, 4, 10, 6, 5))


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-3, 0), (0, 2), (0, 0)])
def test_flow_sees_how_far_and_where_to_a_picture_moved(dx: int, dy: int) -> None:
    before = wallpaper()
    after = np.roll(before, (dy, dx), (0, 1))
    assert motion(flow_field(before, after, 20.0), 20.0) == pytest.approx([dx, dy], abs=0.25)


def test_flow_beyond_the_bound_is_clipped_to_it() -> None:
    before = wallpaper()
    field = flow_field(before, np.roll(before, 3, 1), bound=1.0)
    assert np.median(field[16:-16, 16:-16, 0]) == 255


def test_an_rgb_clip_has_the_middle_frame_of_each_segment(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, sliding(16, 2), 24)
    clip, indices = read_clip(ClipSource(path), Preprocessing(frames=4, resize=96, crop=96))
    assert indices.tolist() == [2, 6, 10, 14]
    assert np.array_equal(clip, read_frames(path, [2, 6, 10, 14]))


def test_a_flow_clip_has_five_fields_a_frame_that_see_the_motion(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, sliding(25, 3), 24, SMALL | {"crf": "8"})
    clip, indices = read_clip(ClipSource(path), FLOW)
    assert indices.tolist() == [2, 7, 12, 17]  # 20 places where five fields fit
    assert clip.shape == (4, 64, 85, 10)
    for fields in clip.reshape(4, 64, 85, 5, 2).transpose(0, 3, 1, 2, 4).reshape(-1, 64, 85, 2):
        assert motion(fields, 8.0) == pytest.approx([3 * 64 / 96, 0], abs=0.3)  # pixels of the resized frame


@pytest.mark.parametrize(("p", "channels"), [(Preprocessing(frames=8, resize=64, crop=48), 3), (FLOW, 10)])
@pytest.mark.parametrize("name", ["one.mp4", "one.avi"])
def test_a_video_of_one_frame_is_a_clip(name: str, p: Preprocessing, channels: int, tmp_path: Path) -> None:
    path = tmp_path / name
    write_video(path, sliding(1, 1), 24)  # H.264 in mp4, whatever its name: what counts is the reader
    clip, indices = read_clip(ClipSource(path), p)
    assert clip.shape == (p.frames, 64, 85, channels)
    assert indices.tolist() == [0] * p.frames
    assert (clip == clip[0]).all()
    if p.modality == "flow":
        assert (clip == 128).all()


def test_a_short_video_repeats_its_last_flow_fields(tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    write_video(path, sliding(3, 3), 24, SMALL | {"crf": "8"})
    clip, indices = read_clip(ClipSource(path), FLOW)
    assert indices.tolist() == [0, 0, 0, 0]
    assert np.array_equal(clip[..., 2:4], clip[..., 8:10])  # fields 1 and 4: there are fields 0 and 1 only
    assert motion(clip[0, ..., 8:10], 8.0) == pytest.approx([2, 0], abs=0.3)


@pytest.mark.parametrize(("resize", "side"), [(64, 64), ((64, 80), 64), ((80, 64), 64)])
def test_the_short_side_is_the_smaller_one(resize: int | tuple[int, int], side: int) -> None:
    assert Preprocessing(resize=resize, crop=48).short_side == side
