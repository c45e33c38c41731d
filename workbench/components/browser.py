"""Scripts of our own that run in the browser: its history, and the chart library."""

from hashlib import sha256
from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

STREAMLIT_SCRIPTS = Path(st.__file__).parent / "static" / "static" / "js"


def js_component(name: str, html: str = "") -> ComponentRenderer:
    """Register the component `name`.js, with `name`.css if it exists; both lie beside this file."""
    script, style = (Path(__file__).with_name(f"{name}.{kind}") for kind in ("js", "css"))
    css = style.read_text() if style.exists() else None
    return st.components.v2.component(f"sth_{name}", html=html or None, css=css, js=script.read_text())


BROWSER_HISTORY, PLOTLY_PRELOAD = js_component("browser_history"), js_component("plotly_preload")


def component_key(purpose: str, of: str) -> str:
    """A component's key of what it is for and of a path or a name. Streamlit refuses two underscores in a row in it."""
    return f"{purpose} {sha256(of.encode('utf-8', 'backslashreplace')).hexdigest()}"


def sync_browser_history() -> None:
    """Make Back go to the previous view. Call this on every page before anything changes the URL."""
    BROWSER_HISTORY(key="browser_history")


def preload_plotly(now: bool) -> None:
    """Load the chart script before the first chart needs it: now, or when the browser is idle."""
    # Streamlit's name of the file; another version may have none.
    script = next(STREAMLIT_SCRIPTS.glob("PlotlyChart.*.js"), None)
    PLOTLY_PRELOAD(key="plotly_preload", data={"script": script and script.name, "now": now})
