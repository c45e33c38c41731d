"""Which clips lie in a region that a user draws in a plot of points."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.report.clip_plots import MOST_POINTS
from workbench.components.chart import chosen_points


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
