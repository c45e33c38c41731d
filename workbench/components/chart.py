"""A figure on a page: text in it is never taken for HTML, its buttons are few, and it can be kept as SVG."""

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from analysis.report.plots import with_escaped_text

BUTTONS: dict[str, Any] = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}


def chart(figure: go.Figure, key: str, alt: str, **more: Any) -> None:
    """Draw it, in the colours of the light or dark theme; `alt` is what it says to who cannot see it."""
    buttons = BUTTONS | {"toImageButtonOptions": {"format": "svg", "filename": key}}
    st.plotly_chart(with_escaped_text(figure), key=key, alt=alt, config=buttons, **more)
