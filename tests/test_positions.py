"""Where frames and starts lie exactly, where a step more or less, or the other rounding, would go unseen."""

import numpy as np
import pytest

from sth_core.video.sampling import Protocol, evaluation_positions, segment_indices, slow_positions, training_positions


@pytest.mark.parametrize(("given", "views"), [({}, 1), ({"clips": 10}, 10), ({"clips": 10, "crops": 3}, 30)])
def test_views_are_clips_times_crops(given: dict[str, int], views: int) -> None:
    assert Protocol(**given).views == views


def test_without_a_stride_positions_are_those_of_segments() -> None:
    a, b = np.random.default_rng(0), np.random.default_rng(0)
    assert training_positions(20, 4, a).tolist() == segment_indices(20, 4, b).tolist()
    assert evaluation_positions(20, 4, 1).tolist() == [[2, 7, 12, 17]]
    assert slow_positions(16, 4).tolist() == [5, 7, 9, 11]


@pytest.mark.parametrize(
    ("positions", "frames", "stride", "expected"),
    [
        (3, 4, 0, [0, 0, 1, 1]),  # half of 3 is 2, from 0 on
        (15, 4, 0, [4, 6, 8, 10]),  # half of 15 is 8, from 3 on: the middles of 3-4, 5-6, 7-8, 9-10
        (20, 3, 3, [7, 8, 10]),  # the clip is 5, 8, 11; a quarter of its 9 frames later: 7, and steps of 1.5
    ],
)
def test_slow_positions_are_rounded_down(positions: int, frames: int, stride: int, expected: list[int]) -> None:
    assert slow_positions(positions, frames, stride).tolist() == expected


def test_ten_clips_lie_in_the_middles_of_ten_parts_of_a_segment() -> None:
    assert evaluation_positions(400, 2, 10)[:, 0].tolist() == list(range(10, 200, 20))


def test_a_random_position_never_lies_behind_the_end() -> None:
    class AlmostOne(np.random.Generator):
        def random(self, size: int) -> np.ndarray:  # type: ignore[override]
            return np.full(size, 1 - 2**-53)  # the largest that `random` gives: 7 + this is 8

    assert segment_indices(10, 8, AlmostOne(np.random.PCG64())).max() == 9


def test_a_dense_clip_takes_one_random_number() -> None:
    a, b = np.random.default_rng(0), np.random.default_rng(0)
    starts = [training_positions(20, 4, a, stride=3)[0] for _ in range(5)]
    assert starts == [b.integers(9, size=1)[0] for _ in range(5)]
