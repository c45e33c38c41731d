"""Loads Plotly in the browser before the first chart needs it."""

from pathlib import Path

import streamlit as st

from workbench.components.js_component import js_component

COMPONENT = js_component("plotly_preload")
SCRIPTS = Path(st.__file__).parent / "static" / "static" / "js"


def preload_plotly(now: bool) -> None:
    """Load the chart script now, or when the browser is idle."""
    script = next(SCRIPTS.glob("PlotlyChart.*.js"), None)  # Streamlit's file name; another version may have none
    COMPONENT(key="plotly_preload", data={"script": script and script.name, "now": now})
