"""Components of our own that run a script in the page."""

from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer


def js_component(name: str, html: str = "") -> ComponentRenderer:
    """Register the component `name`.js, with `name`.css if it exists; both lie beside this file."""
    script, style = (Path(__file__).with_name(f"{name}.{kind}") for kind in ("js", "css"))
    css = style.read_text() if style.exists() else None
    return st.components.v2.component(f"sth_{name}", html=html or None, css=css, js=script.read_text())
