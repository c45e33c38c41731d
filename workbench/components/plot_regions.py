"""Which clips are drawn as points of a plot, and which of all clips lie in a region that a user draws in it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.components.chart import chosen_points

# WebGL would draw more, but Plotly's needs `eval`, which the app's content security policy forbids.
MOST_POINTS = 5000


def sample_of(count: int) -> NDArray[np.intp]:
    """Which of so many clips are drawn: all, or a sample that is always the same."""
    if count <= MOST_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MOST_POINTS, replace=False))


def drawn_note(drawn: int, count: int) -> str:
    return f" {drawn:,} of them are drawn, by chance; a region takes all that lie in it." if drawn < count else ""


def region_rows(event: Any, rows: NDArray[np.intp], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """The rows of the points that are selected; where not all are drawn, those whose places lie in a selected box or
    lasso too."""
    if not event:
        return rows[:0]
    inside = np.isin(rows, [int(point["customdata"][0]) for point in chosen_points(event) if "customdata" in point])
    if len(rows) <= MOST_POINTS:
        return rows[inside]
    for region in (*event["selection"].get("box", ()), *event["selection"].get("lasso", ())):
        corners = [np.asarray(region[axis], np.float64) for axis in ("x", "y")]
        if len(corners[0]) == 2:  # opposite corners of a box
            (x0, x1), (y0, y1) = (np.sort(corner) for corner in corners)
            inside |= (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        else:
            inside |= in_polygon(x, y, *corners)
    return rows[inside]


def in_polygon(
    x: NDArray[np.float64], y: NDArray[np.float64], px: NDArray[np.float64], py: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether each point is in a polygon: a ray from it crosses the sides an odd number of times."""
    inside = np.zeros(len(x), bool)
    for x0, y0, x1, y1 in zip(px, py, np.roll(px, -1), np.roll(py, -1), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside
