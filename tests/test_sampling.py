"""Which frames and which squares of a video are looked at, by the formulas of TSN and TSM; and what a mirror does."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.runs.described import sampling_of
from sth_core import load_checkpoint, save_checkpoint
from sth_core.datasets.clips import TrainClips
from sth_core.datasets.mirroring import mirror_label, mirror_labels, mirror_order
from sth_core.datasets.random_clips import Augment
from sth_core.errors import UserError
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import fields_of, positions_in, read_clips, stack_fields
from sth_core.video.sampling import (
    Protocol,
    evaluation_positions,
    segment_indices,
    slow_positions,
    training_positions,
)
from sth_core.video.transforms import Preprocessing, RandomWindow, crop, crops, mirror, resize, scaled_crop
from tests.datasets_on_disk import FRAMES, flow_folder, frame_folder, video
from tests.tiny import CLASSES, tiny_network

FLOW_STACK = 5
RGB = Preprocessing(frames=8, resize=48, crop=32)
FLOW = Preprocessing("flow", frames=8, resize=48, crop=32, mean=(0.5,), std=(0.1,))


def tsm_centre(frames: int, segments: int, new_length: int) -> list[int]:
    """`_get_test_indices` of TSM's ops/dataset.py, counted from 0."""
    tick = (frames - new_length + 1) / float(segments)
    return [int(tick / 2.0 + tick * x) for x in range(segments)]


def tsm_beginning(frames: int, segments: int, new_length: int) -> list[int]:
    """What TSM adds to it with --twice_sample."""
    tick = (frames - new_length + 1) / float(segments)
    return [int(tick * x) for x in range(segments)]


@pytest.mark.parametrize("segments", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("new_length", [1, FLOW_STACK])
def test_one_clip_is_the_centre_of_each_segment_and_the_second_its_beginning_as_in_tsm(
    segments: int, new_length: int
) -> None:
    for frames in range(new_length, 301):
        one = evaluation_positions(frames - new_length + 1, segments, 1)
        two = evaluation_positions(frames - new_length + 1, segments, 2)
        assert one.tolist() == [tsm_centre(frames, segments, new_length)]
        assert two.tolist() == [
            tsm_centre(frames, segments, new_length),
            tsm_beginning(frames, segments, new_length),
        ]


def tsm_dense(frames: int, segments: int, start: int) -> list[int]:
    """A clip of TSM with --dense_sample, counted from 0 (ops/dataset.py of mit-han-lab/temporal-shift-module)."""
    t_stride = 64 // segments
    return [(idx * t_stride + start) % frames for idx in range(segments)]


@pytest.mark.parametrize("segments", [4, 8, 16, 32])
def test_ten_dense_clips_are_those_of_tsm(segments: int) -> None:
    rng = np.random.default_rng(0)
    for frames in range(1, 301):
        sample_pos = max(1, 1 + frames - 64)  # from here on `_get_test_indices`
        start_list = np.linspace(0, sample_pos - 1, num=10, dtype=int).tolist()
        clips = evaluation_positions(frames, segments, 10, stride=64 // segments)
        assert clips.tolist() == [tsm_dense(frames, segments, start) for start in start_list]
        (middle,) = evaluation_positions(frames, segments, 1, stride=64 // segments).tolist()
        assert middle == tsm_dense(frames, segments, (sample_pos - 1) // 2)
        drawn = training_positions(frames, segments, rng, stride=64 // segments).tolist()
        assert drawn[0] < sample_pos and drawn == tsm_dense(frames, segments, drawn[0])


def slowfast_starts(frames: int, span: int, clips: int) -> list[int]:
    """`get_start_end_idx` of SlowFast's slowfast/datasets/decoder.py, whose last clip ends with the video; whole."""
    return [math.floor(max(frames - span, 0) * clip / (clips - 1)) for clip in range(clips)]


@pytest.mark.parametrize("stride", [1, 2, 3, 8])
def test_dense_clips_start_where_slowfasts_do(stride: int) -> None:
    for frames in range(1, 301):
        for clips in (2, 3, 10):
            starts = evaluation_positions(frames, 8, clips, stride)[:, 0]
            assert starts.tolist() == slowfast_starts(frames, 8 * stride, clips)


@pytest.mark.parametrize(
    ("frames", "clips", "expected"),
    [
        (20, 1, [[4, 7, 10, 13]]),  # 4 x 3 = 12 frames start at 0 to 8: 4 is the middle
        (20, 3, [[0, 3, 6, 9], [4, 7, 10, 13], [8, 11, 14, 17]]),
        (12, 2, [[0, 3, 6, 9]] * 2),
        (5, 1, [[0, 3, 1, 4]]),  # it begins again after its end
        (1, 1, [[0, 0, 0, 0]]),
    ],
)
def test_dense_clips_by_hand(frames: int, clips: int, expected: list[list[int]]) -> None:
    assert evaluation_positions(frames, 4, clips, stride=3).tolist() == expected


def test_random_dense_clips_start_everywhere() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([training_positions(20, 4, rng, stride=3) for _ in range(300)])
    assert set(drawn[:, 0]) == set(range(9))
    assert (np.diff(drawn) == 3).all()


@pytest.mark.parametrize(
    ("positions", "stride", "expected"),
    [
        (16, 0, [5, 7, 9, 11]),  # the middle half of 16, its four segments' middles
        (48, 4, [20, 22, 24, 26]),  # the clip is 16, 20, 24, 28 of 16 to 31: 20 to 27 is its middle half
        (16, 1, [7, 7, 8, 8]),  # 6, 7, 8, 9 at half the speed
        (9, 3, [3, 4, 6, 7]),  # of 0, 3, 6, 0
    ],
)
def test_slow_clips_are_the_middle_half_at_half_the_speed(positions: int, stride: int, expected: list[int]) -> None:
    assert slow_positions(positions, 4, stride).tolist() == expected


@pytest.mark.parametrize("kind", ["rgb", "flow", "extracted"])
def test_dense_clips_of_a_video(kind: str, tmp_path: Path) -> None:
    """Ten frames; for training too, whose clips are kept in memory or read."""
    path = frame_folder(tmp_path / "clip")
    p = replace(RGB if kind == "rgb" else FLOW, frames=3, stride=2)
    flow = str(flow_folder(tmp_path / "flow")) if kind == "extracted" else ""
    places = FRAMES if kind == "rgb" else FRAMES - 1 - FLOW_STACK + 1
    every = read_clips(ClipSource(path, flow), replace(p, frames=places, stride=1))[0][0]
    views, starts = read_clips(ClipSource(path, flow), p, clips=2)
    assert starts.tolist() == evaluation_positions(places, 3, 2, 2).tolist()
    assert np.array_equal(views, every[starts])
    row = {"clip_id": "a", "path": str(path), "label": "a", "flow": flow, "problem": "", "backward": False}
    kept, read = (TrainClips(pd.DataFrame([row | {"segment": ""}]), ["a"], p, Augment()) for _ in range(2))
    kept.load()
    for seed in range(5):
        clips = [
            stack_fields(t.sampler.random_fields(t.wanted(0, []), np.random.default_rng(seed))) for t in (kept, read)
        ]
        positions = training_positions(places, 3, np.random.default_rng(seed), 2)
        assert np.array_equal(clips[0], every[positions]) and np.array_equal(clips[1], every[positions])


def test_a_checkpoint_keeps_its_stride_and_an_earlier_one_has_segments(tmp_path: Path) -> None:
    path = tmp_path / "dense.safetensors"
    save_checkpoint(path, tiny_network(), CLASSES, Preprocessing(frames=4, stride=4))
    assert load_checkpoint(path).preprocessing.stride == 4
    content = path.read_bytes().replace(b', \\"stride\\": 4', b" " * 15)
    path.write_bytes(content)
    assert load_checkpoint(path).preprocessing.stride == 0
    with pytest.raises(UserError, match="stride must be a whole number from 0 to 1,024, got -1"):
        Preprocessing(stride=-1)


@pytest.mark.parametrize(
    ("stride", "clips", "text"),
    [
        (0, 1, "segment middles"),
        (0, 10, "evenly in each segment"),
        (8, 1, "dense, stride 8, the middle clip"),
        (8, 10, "dense, stride 8, evenly spaced clips"),
    ],
)
def test_a_run_says_how_its_clips_were_sampled(stride: int, clips: int, text: str) -> None:
    assert sampling_of(Preprocessing(stride=stride), Protocol(clips)) == text


def test_with_other_numbers_of_segments_a_position_on_the_edge_of_two_frames_may_be_that_before() -> None:
    for segments in (3, 5, 7, 10, 12, 24):
        for frames in range(1, 301):
            for x, position in enumerate(evaluation_positions(frames, segments, 1)[0]):
                exact, rest = divmod((2 * x + 1) * frames, 2 * segments)
                assert position == exact or (position == exact - 1 and rest == 0)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (40, [[2, 7, 12, 17, 22, 27, 32, 37], [0, 5, 10, 15, 20, 25, 30, 35]]),
        (10, [[0, 1, 3, 4, 5, 6, 8, 9], [0, 1, 2, 3, 5, 6, 7, 8]]),
        (3, [[0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2]]),
        (1, [[0] * 8, [0] * 8]),
    ],
)
def test_two_clips_by_hand(frames: int, expected: list[list[int]]) -> None:
    assert evaluation_positions(frames, 8, 2).tolist() == expected


def test_ten_clips_share_each_segment_evenly() -> None:
    clips = evaluation_positions(80, 8, 10)  # ten frames to a segment: each clip has one of them
    assert clips.tolist() == [[start + clip for start in range(0, 80, 10)] for clip in range(10)]
    assert evaluation_positions(8, 8, 10).tolist() == [list(range(8))] * 10
    assert evaluation_positions(1, 8, 10).tolist() == [[0] * 8] * 10
    assert evaluation_positions(16, 2, 3).tolist() == [
        [1, 9],
        [4, 12],
        [6, 14],
    ]  # a sixth, a half, five sixths of eight frames


@pytest.mark.parametrize("clips", [1, 2, 3, 10, 30])
@pytest.mark.parametrize("positions", [1, 2, 7, 8, 9, 61])
def test_all_positions_are_in_the_video_and_in_order(positions: int, clips: int) -> None:
    chosen = evaluation_positions(positions, 8, clips)
    assert chosen.shape == (clips, 8)
    assert chosen.dtype == np.int64
    assert chosen.min() >= 0 and chosen.max() < positions
    assert (np.diff(chosen) >= 0).all()


@pytest.mark.parametrize(("positions", "segments"), [(80, 8), (30, 8), (17, 16), (3, 8), (1, 8)])
def test_random_positions_stay_in_their_segments_and_reach_all_of_them(positions: int, segments: int) -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([segment_indices(positions, segments, rng) for _ in range(3000)])
    for x in range(segments):
        first = x * positions // segments
        last = -(-(x + 1) * positions // segments) - 1  # the frame in which the segment ends
        assert set(drawn[:, x]) == set(range(first, last + 1))
    if positions == 80:  # ten frames each: none is preferred
        counts = np.bincount(drawn.ravel(), minlength=80)
        assert counts.min() > 220 and counts.max() < 380  # 300 expected, 16 is one standard deviation


def test_each_segment_draws_an_offset_of_its_own() -> None:
    """Four segments of three frames: of each two of them, all nine pairs come."""
    rng = np.random.default_rng(0)
    drawn = np.stack([segment_indices(12, 4, rng) for _ in range(300)]) % 3
    pairs = {(i, j): set(zip(drawn[:, i], drawn[:, j], strict=True)) for i in range(4) for j in range(i)}
    assert {len(seen) for seen in pairs.values()} == {9}


@pytest.mark.parametrize(
    ("fields", "places"),
    [(40, 36), (6, 2), (5, 1), (3, 1), (1, 1)],
)
def test_flow_starts_where_five_fields_fit(fields: int, places: int) -> None:
    assert positions_in(fields, FLOW) == places
    assert positions_in(fields, RGB) == fields


def test_a_stack_that_does_not_fit_repeats_the_last_field() -> None:
    assert fields_of(np.array([0, 3]), 8, FLOW).tolist() == [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]]
    assert fields_of(np.array([0]), 3, FLOW).tolist() == [[0, 1, 2, 2, 2]]
    assert fields_of(np.array([0]), 1, FLOW).tolist() == [[0, 0, 0, 0, 0]]
    assert fields_of(np.array([4, 6]), 8, RGB).tolist() == [[4], [6]]


@pytest.mark.parametrize("clips", [1, 2, 10])
@pytest.mark.parametrize("frames", [1, 2, 5, 6, FRAMES])
@pytest.mark.parametrize("kind", ["mp4", "frames", "extracted"])
def test_clips_of_videos_shorter_than_the_network_s(kind: str, frames: int, clips: int, tmp_path: Path) -> None:
    """Eight frames are wanted; flow has a field less than there are frames, one at least."""
    path = video(tmp_path / "clip.mp4", frames) if kind == "mp4" else frame_folder(tmp_path / "clip", frames=frames)
    fields = max(1, frames - 1)
    flow = str(flow_folder(tmp_path / "flow", fields=fields)) if kind == "extracted" else ""
    views, starts = read_clips(ClipSource(path), RGB, clips)
    assert views.shape == (clips, 8, 48, 64, 3)
    assert starts.tolist() == evaluation_positions(frames, 8, clips).tolist()
    views, starts = read_clips(ClipSource(path, flow), FLOW, clips)
    assert views.shape == (clips, 8, 48, 64, 10)
    assert starts.tolist() == evaluation_positions(max(1, fields - 4), 8, clips).tolist()


def test_the_frames_of_a_clip_are_those_at_its_positions(tmp_path: Path) -> None:
    folder = frame_folder(tmp_path / "clip")
    every = read_clips(ClipSource(folder), Preprocessing(frames=FRAMES, resize=48, crop=32))[0][0]
    views, starts = read_clips(ClipSource(folder), RGB, clips=10)
    assert np.array_equal(views, every[starts])
    assert len({frame.tobytes() for frame in every}) == FRAMES


def grid(height: int, width: int) -> np.ndarray:
    """(1, H, W, 1): pixel (y, x) is 10 y + x."""
    return (10 * np.arange(height)[:, None] + np.arange(width)).astype(np.uint8)[None, ..., None]


def corners(views: np.ndarray) -> list[int]:
    """The upper left pixel of each view."""
    return views[:, 0, 0, 0, 0].tolist()


def test_one_crop_is_the_centre() -> None:
    assert crops(grid(6, 9), 4, 1, "rgb")[0, 0, :, :, 0].tolist() == crop(grid(6, 9), 4)[0, :, :, 0].tolist()
    assert corners(crops(grid(6, 9), 4, 1, "rgb")) == [12]


@pytest.mark.parametrize(
    ("height", "width", "side", "expected"),
    [
        (4, 9, 4, [0, 2, 5]),  # as high as the frame: left, centre, right, all of it seen
        (6, 9, 4, [10, 12, 15]),
        (9, 6, 4, [1, 21, 51]),  # upright: top, centre, bottom
        (6, 6, 4, [10, 11, 12]),
        (4, 4, 4, [0, 0, 0]),
    ],
)
def test_three_crops_lie_along_the_long_side(height: int, width: int, side: int, expected: list[int]) -> None:
    views = crops(grid(height, width), side, 3, "rgb")
    assert views.shape == (3, 1, side, side, 1)
    assert corners(views) == expected


def test_ten_crops_are_the_corners_and_the_centre_and_the_same_mirrored() -> None:
    views = crops(grid(6, 9), 4, 10, "rgb")
    assert views.shape == (10, 1, 4, 4, 1)
    assert corners(views) == [0, 5, 20, 25, 12, 3, 8, 23, 28, 15]  # mirrored: what was the upper right pixel
    assert views[5, 0, 1, :, 0].tolist() == [13, 12, 11, 10]
    for view, flipped in zip(views[:5], views[5:], strict=True):
        assert np.array_equal(flipped, view[:, :, ::-1])


def test_mirrored_crops_of_flow_are_negated_in_x() -> None:
    clip = np.full((2, 6, 9, 10), 128, np.uint8)
    clip[..., 0::2], clip[..., 1::2] = 148, 100
    views = crops(clip, 4, 10, "flow")
    assert (views[:5] == [148, 100] * 5).all()
    assert (views[5:] == [108, 100] * 5).all()
    assert np.array_equal(mirror(views[7], "flow"), views[2])


def test_another_number_of_crops_is_refused() -> None:
    with pytest.raises(ValueError, match="crops must be 1, 3 or 10, got 5"):
        crops(grid(6, 9), 4, 5, "rgb")


@pytest.mark.parametrize(("H", "W"), [(40, 60), (60, 40)])
def test_a_scaled_crop_has_one_of_the_sides_and_gets_everywhere(H: int, W: int) -> None:
    """x in one channel and y in another: where a crop begins and ends shows in it."""
    side = 10
    clip = np.zeros((2, H, W, 3), np.uint8)
    clip[..., 0], clip[..., 1] = np.arange(W) * 4, np.arange(H)[:, None] * 4
    rng = np.random.default_rng(0)
    sides, centres = set(), []
    for _ in range(400):
        view = scaled_crop(clip, side, (1, 0.5), rng)
        assert view.shape == (2, side, side, 3)
        left, right, top, bottom = (view[0, 0, 0, 0], view[0, 0, -1, 0], view[0, 0, 0, 1], view[0, -1, 0, 1])
        patch = round((float(right) - left) / 4 * side / (side - 1))
        assert round((float(bottom) - top) / 4 * side / (side - 1)) == patch
        sides.add(patch)
        centres.append(((float(right) + left) / 8, (float(bottom) + top) / 8))
    assert sides == {40, 20}  # of the short side
    x, y = zip(*centres, strict=True)
    assert min(x) < 11 and max(x) > W - 12  # a side of 20: centres from 9.5 to 49.5 where the clip has 60 pixels
    assert min(y) < 11 and max(y) > H - 12


def test_a_scaled_crop_without_scales_keeps_its_pixels() -> None:
    view = scaled_crop(grid(6, 9), 4, (), np.random.default_rng(0))
    start = int(view[0, 0, 0, 0])
    assert view[0, :, :, 0].tolist() == [[start + 10 * y + x for x in range(4)] for y in range(4)]


def test_the_side_of_a_scaled_crop_is_the_nearest_whole_number() -> None:
    window = RandomWindow(4, (0.66,), np.random.default_rng(0))
    window(np.zeros((10, 12, 3), np.uint8))
    assert window.place is not None and window.place[2] == 7


def test_a_scaled_crop_without_scales_gets_everywhere() -> None:
    rng = np.random.default_rng(0)
    starts = {int(scaled_crop(grid(6, 9), 4, (), rng)[0, 0, 0, 0]) for _ in range(200)}
    assert starts == {10 * y + x for y in range(3) for x in range(6)}


def test_a_scaled_crop_of_flow_keeps_all_ten_channels() -> None:
    clip = np.empty((2, 20, 30, 10), np.uint8)
    clip[:] = np.arange(100, 110)
    view = scaled_crop(clip, 16, (0.66,), np.random.default_rng(0))
    assert view.shape == (2, 16, 16, 10)
    assert (view == np.arange(100, 110)).all()


@pytest.mark.parametrize(("height", "width"), [(240, 320), (360, 480), (100, 176), (640, 360), (256, 340)])
def test_frames_of_any_shape_become_256_by_340(height: int, width: int) -> None:
    frames = np.zeros((2, height, width, 3), np.uint8)
    frames[:, :, width // 2 :] = 200
    resized = resize(frames, (256, 340))
    assert resized.shape == (2, 256, 340, 3)
    assert (resized[:, :, :165] == 0).all() and (resized[:, :, 175:] == 200).all()


def test_a_height_and_a_width_are_not_confused() -> None:
    frame = np.array([[0, 100], [100, 200]], np.uint8)[None, ..., None].repeat(3, -1)
    assert resize(frame, (1, 2))[0, :, :, 0].tolist() == [[50, 150]]
    assert resize(frame, (2, 1))[0, :, :, 0].tolist() == [[50], [150]]


# Labels: of Something-Something and of Jester as they are written there.
SIDES = [
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Turning the camera left while filming something", "Turning the camera right while filming something"),
    ("Pushing [something] from left to right", "Pushing [something] from right to left"),
    ("Swiping Left", "Swiping Right"),
    ("Sliding Two Fingers Left", "Sliding Two Fingers Right"),
    ("Turning Hand Clockwise", "Turning Hand Counterclockwise"),
    ("LEFT", "RIGHT"),
    ("swipe_left", "swipe_right"),
    ("left-handed, clockwise", "right-handed, counterclockwise"),
]
WITHOUT_SIDES = [
    "Swiping Down",
    "Putting something upright on the table",
    "Putting something on the edge of something so it is not supported and falls down",
    "eating leftovers",
    "leftover",
    "brightening",
    "Thumb Up",
    "Rolling Hand Forward",
    "Clockwisely",
    "",
]


@pytest.mark.parametrize(("label", "image"), SIDES)
def test_a_mirror_exchanges_the_sides_in_a_label(label: str, image: str) -> None:
    assert mirror_label(label) == image
    assert mirror_label(image) == label


@pytest.mark.parametrize("label", WITHOUT_SIDES)
def test_words_that_only_hold_a_side_stay(label: str) -> None:
    assert mirror_label(label) == label


def test_anticlockwise_is_clockwise_in_a_mirror() -> None:
    assert mirror_label("Turning Anticlockwise") == "Turning Clockwise"
    assert mirror_labels(["anticlockwise", "clockwise"]) == {"anticlockwise": "clockwise"}
    both = (("anticlockwise", "clockwise"),)
    assert mirror_labels(["anticlockwise", "clockwise"], both) == dict((*both, both[0][::-1]))


def test_a_class_whose_mirror_image_is_no_class_has_none() -> None:
    classes = ["Swiping Left", "Swiping Right", "Thumb Up", "Sliding Two Fingers Left"]
    assert mirror_labels(classes) == {
        "Swiping Left": "Swiping Right",
        "Swiping Right": "Swiping Left",
        "Thumb Up": "Thumb Up",
    }
    assert mirror_order(classes) == [1, 0, 2, 3]


def test_pairs_go_before_words() -> None:
    classes = ["kick left", "kick right", "push", "pull"]
    assert mirror_labels(classes, (("push", "pull"), ("kick left", "kick left"))) == {
        "kick left": "kick left",
        "kick right": "kick left",
        "push": "pull",
        "pull": "push",
    }
