"""Plotly figures on a page."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from analysis.report.plots import with_escaped_text

BUTTONS: dict[str, Any] = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
WHO_HAS_ATTENTION = (
    "Only networks with conv = 'sth' and attention have it, and transformers of Hugging Face that give their weights."
)
ALPHA_AXIS = "α_T (α_S = 1 - α_T)"


def show_chart(
    figure: go.Figure, key: str, alt: str, *, lasso: bool = False, clicks: bool = False, **options: Any
) -> Any:
    """Draw a figure in the colours of the light or dark theme, with a button that saves it as SVG; with `lasso` its
    points can be selected by a region, with `clicks` one by one, and what is selected is returned; None without either.

    Names of classes and runs are shown as text, never as HTML; `alt` describes the figure to screen readers.
    """
    buttons = BUTTONS | ({"modeBarButtonsToRemove": ["autoScale2d"]} if lasso else {})
    options |= {"on_select": "rerun", "selection_mode": ("points", "box", "lasso")} if lasso else {}
    options |= {"on_select": "rerun", "selection_mode": ("points",)} if clicks else {}
    config = buttons | {"toImageButtonOptions": {"format": "svg", "filename": key}}
    event = st.plotly_chart(with_escaped_text(figure), key=key, alt=alt, config=config, **options)
    return event if lasso or clicks else None


def with_clickable_cells(
    figure: go.Figure, x: Sequence[Any], y: Sequence[Any], customdata: Sequence[Any] | NDArray[Any], hover: str
) -> go.Figure:
    """A heat map with an unseen point in each cell that can be clicked, as Streamlit reports no click on a heat map
    itself; `hover` is what stands under the pointer."""
    return figure.add_scatter(
        x=x, y=y, mode="markers", showlegend=False, customdata=customdata, hovertemplate=f"{hover}<extra></extra>",
        marker={"symbol": "square", "size": 24, "color": "black", "opacity": 0},
        selected={"marker": {"opacity": 0.25}}, unselected={"marker": {"opacity": 0}},
    )  # fmt: skip


def chosen_points(event: Any) -> list[Any]:
    """The points of a figure that are selected, as `show_chart` returned it: each with x, y and its customdata, which
    is a list or one value."""
    points = event["selection"]["points"] if event else []
    return [
        {**point, "customdata": listed(point["customdata"])} if "customdata" in point else point for point in points
    ]


def listed(customdata: Any) -> Any:
    """A browser sends a row of an array as {"0": first, "1": second, ...}."""
    return list(customdata.values()) if isinstance(customdata, Mapping) else customdata
