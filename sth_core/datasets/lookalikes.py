"""Clips of a dataset that show the same: twice the same clip, or perhaps two clips of one source video.

All clips are compared with all others, by products of matrices with 128 numbers for each clip.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sth_core.datasets.entries import SPLITS
from sth_core.datasets.thumbnails import (
    Floats,
    in_parts,
    motion,
    projected_motion,
    scenes,
    unpack_thumbnails,
)

SAME_MOTION = 0.9  # correlation of what moves in two encodings of one clip; of two talking heads it is below 0.87
PROJECTED_MOTION = 0.8  # ... of the projections: far enough below that a pair is not missed
SAME_LENGTH = 0.03  # share by which the frames, or the seconds, of two encodings of one clip may differ
ALIKE, VERY_ALIKE = 0.95, 0.98  # correlation of two scenes
MOST_COPIES = 32  # pairs of one clip that are looked at closely
COLUMNS_AT_ONCE = 8192

DUPLICATE_COLUMNS = ["a", "b", "split_a", "split_b", "differing"]
LOOKALIKE_COLUMNS = ["a", "b", "split_a", "split_b", "group_a", "group_b", "likeness", "alike"]


def find_duplicates(checked: pd.DataFrame) -> pd.DataFrame:
    """Pairs of clips that show the same, also after another compression: columns a, b, split_a, split_b, differing.

    They are of one length, and what moves in them, in eight pictures of 16 x 16 cells, correlates by at least 0.9;
    `differing` is 1 minus this correlation. Where nothing moves, all cells must be equal. Two clips of one place, or of
    one talking head, differ in what moves. A clip that is there more than 32 times is paired with some of its copies
    only."""
    usable = with_thumbnails(checked)
    pictures = unpack_thumbnails(usable["thumbnails"])
    vectors = projected_motion(pictures)
    found = {}
    for a, b in [*close_pairs(vectors), *equal_rows(pictures, np.flatnonzero(~vectors.any(1)))]:
        differing = max(0.0, 1 - float(motion(pictures[a]) @ motion(pictures[b]))) if vectors[a].any() else 0.0
        if np.array_equal(pictures[a], pictures[b]):
            differing = 0.0
        if differing <= 1 - SAME_MOTION and same_length(usable.iloc[a], usable.iloc[b]):
            found[a, b] = differing
    clip, split = usable["clip_id"].to_numpy(), usable["split"].to_numpy()
    pairs = [(clip[a], clip[b], split[a], split[b], differing) for (a, b), differing in sorted(found.items())]
    return pd.DataFrame(pairs, columns=DUPLICATE_COLUMNS)


def find_lookalikes(checked: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """For each clip, the clip of a split before its own that looks most like it, if any does: perhaps two clips of one
    source video.

    Their places look alike (the medians over the frames correlate by 0.95 or more), or one begins or ends as the other
    begins, ends or looks. Columns: a, b, their splits and groups, `likeness` (the correlation), and `alike`, how many
    clips of b's split look like a. Pairs of `duplicates` are not among them."""
    usable = with_thumbnails(checked)
    same = set(zip(duplicates["a"], duplicates["b"], strict=True))
    same |= {(b, a) for a, b in same}
    of_clip = scenes(unpack_thumbnails(usable["thumbnails"]))
    clip, group = usable["clip_id"].to_numpy(), usable["group"].to_numpy()
    rows = []
    for earlier, later in combinations([split for split in SPLITS if split in set(usable["split"])], 2):
        a_rows, b_rows = (np.flatnonzero(usable["split"] == split) for split in (later, earlier))
        for a, best, likeness, alike in best_matches(of_clip, a_rows, b_rows):
            if alike and (clip[a], clip[best]) not in same:
                rows.append((clip[a], clip[best], later, earlier, group[a], group[best], likeness, alike))
    return pd.DataFrame(rows, columns=LOOKALIKE_COLUMNS)


def with_thumbnails(checked: pd.DataFrame) -> pd.DataFrame:
    return checked[checked["problem"].eq("") & checked["thumbnails"].ne("")].reset_index(drop=True)


def close_pairs(vectors: Floats) -> Iterator[tuple[int, int]]:
    """Rows a < b whose vectors, of length 1, correlate; of each a, the MOST_COPIES that do so most."""
    for start in range(0, len(vectors), COLUMNS_AT_ONCE):
        columns = vectors[start : start + COLUMNS_AT_ONCE].T
        first = 0
        for part in in_parts(vectors[: start + COLUMNS_AT_ONCE]):
            products = part @ columns
            for row in np.flatnonzero((products > PROJECTED_MOTION).any(1)):
                near = np.flatnonzero(products[row] > PROJECTED_MOTION)
                near = near[near + start > first + row]
                for column in near[np.argsort(-products[row, near], kind="stable")][:MOST_COPIES]:
                    yield first + int(row), start + int(column)
            first += len(part)


def equal_rows(pictures: NDArray[np.uint8], rows_without_motion: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Rows a < b of clips without motion that have equal pictures."""
    rows: dict[bytes, list[int]] = {}
    for row in rows_without_motion:
        if pictures[row].std() > 1:  # black clips are not one clip
            rows.setdefault(pictures[row].tobytes(), []).append(int(row))
    for of_one in rows.values():
        yield from combinations(of_one[:MOST_COPIES], 2)


def same_length(a: pd.Series, b: pd.Series) -> bool:
    frames = abs(a["frames"] - b["frames"]) <= max(1, SAME_LENGTH * a["frames"])
    return bool(frames or abs(a["seconds"] - b["seconds"]) <= SAME_LENGTH * a["seconds"])


def best_matches(
    of_clip: Floats, a_rows: NDArray[np.integer], b_rows: NDArray[np.integer]
) -> Iterator[tuple[int, int, float, int]]:
    """(row a, the row of `b_rows` most like it, their likeness, how many of them are ALIKE), from scenes (clips, 3, N).

    The likeness is the largest correlation of one of a's three pictures with one of b's."""
    for rows in in_parts(a_rows):
        best, likeness, alike = np.zeros(len(rows), int), np.full(len(rows), -1.0), np.zeros(len(rows), int)
        for start in range(0, len(b_rows), COLUMNS_AT_ONCE // 2):
            others = b_rows[start : start + COLUMNS_AT_ONCE // 2]
            products = np.full((len(rows), len(others)), -1, np.float32)
            for i in range(3):
                for j in range(3):
                    np.maximum(products, of_clip[rows, i] @ of_clip[others, j].T, out=products)
            column = products.argmax(1)
            closest = products[np.arange(len(rows)), column]
            best = np.where(closest > likeness, others[column], best)
            likeness = np.maximum(likeness, closest)
            alike += (products >= ALIKE).sum(1)
        yield from zip(rows.tolist(), best.tolist(), likeness.tolist(), alike.tolist(), strict=True)
