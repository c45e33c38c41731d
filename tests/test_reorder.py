"""The orders of a clip's frames, by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sth_core.video.reorder import DROPPED, FAST, FROZEN, REVERSED, SHUFFLED, SUBSAMPLED, reorder

ORDERS = (REVERSED, SHUFFLED, FROZEN, DROPPED, SUBSAMPLED, FAST)


def frames_of(T: int, channels: int = 3) -> NDArray[np.uint8]:
    """A clip whose frame t is filled with t."""
    return np.broadcast_to(np.arange(T, dtype=np.uint8)[:, None, None, None], (T, 2, 2, channels)).copy()


def seen(how: str, T: int = 8, seed: int = 0) -> list[int]:
    return reorder(frames_of(T), how, "rgb", seed)[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("how", "T", "expected"),
    [
        (REVERSED, 8, [7, 6, 5, 4, 3, 2, 1, 0]),
        (FROZEN, 8, [4] * 8),
        (FROZEN, 5, [2] * 5),
        (SUBSAMPLED, 8, [0, 0, 2, 2, 4, 4, 6, 6]),
        (SUBSAMPLED, 5, [0, 0, 2, 2, 4]),
        (FAST, 8, [0, 2, 4, 6, 6, 6, 6, 6]),
        (FAST, 5, [0, 2, 4, 4, 4]),
        (SHUFFLED, 2, [1, 0]),
        *((how, 1, [0]) for how in ORDERS),
    ],
)
def test_orders_by_hand(how: str, T: int, expected: list[int]) -> None:
    assert seen(how, T) == expected


def test_shuffled_is_neither_forward_nor_backward_and_drawn_by_the_seed() -> None:
    for seed in range(200):
        found = seen(SHUFFLED, T=3, seed=seed)
        assert sorted(found) == [0, 1, 2] and found not in ([0, 1, 2], [2, 1, 0])
    assert seen(SHUFFLED) == seen(SHUFFLED) and seen(SHUFFLED) != seen(SHUFFLED, seed=1)


def test_a_quarter_of_the_frames_is_dropped() -> None:
    at_the_beginning = 0
    for seed in range(100):
        found = seen(DROPPED, seed=seed)
        kept = sorted(set(found))
        assert len(kept) == 6 and found == sorted(found) and found == seen(DROPPED, seed=seed)
        for t, frame in enumerate(found):
            before = [k for k in kept if k <= t]
            assert frame == (before[-1] if before else kept[0])
        at_the_beginning += 0 not in kept
        assert len(set(seen(DROPPED, T=3, seed=seed))) == 2  # at least one
    assert at_the_beginning > 5


def test_flow_is_negated_backward_and_gone_when_frozen() -> None:
    clip = frames_of(4, 10) + np.uint8(100)
    back = reorder(clip, REVERSED, "flow")
    assert back[:, 0, 0, 0].tolist() == [256 - 103, 256 - 102, 256 - 101, 256 - 100]
    assert (reorder(clip, FROZEN, "flow") == 128).all()
    assert sorted(reorder(clip, SHUFFLED, "flow")[:, 0, 0, 0]) == [100, 101, 102, 103]


def test_an_unknown_order_is_an_error() -> None:
    with pytest.raises(ValueError, match="no order 'sideways'"):
        reorder(frames_of(4), "sideways", "rgb")
