"""Plotly, which the browser has before the first chart needs it."""

from pathlib import Path

import streamlit as st

from workbench.components.scripted import scripted

COMPONENT = scripted("ahead")
SCRIPTS = Path(st.__file__).parent / "static" / "static" / "js"


def load_charts(now: bool) -> None:
    """Have the tab load what draws charts: now, or when it has nothing else to do."""
    script = next(SCRIPTS.glob("PlotlyChart.*.js"), None)  # as Streamlit names it; where it does not, nothing is loaded
    COMPONENT(key="ahead", data={"script": script and script.name, "now": now})
