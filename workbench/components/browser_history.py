"""What the browser keeps: cookies, and a history in which Back goes to the previous view."""

import streamlit as st

from workbench.components.js_component import js_component

COMPONENT = js_component("browser_history")
COOKIES = "_cookies"


def set_cookie(name: str, value: str) -> None:
    """Store a cookie in the browser until it is closed; no other site receives it."""
    st.session_state.setdefault(COOKIES, {})[name] = value


def sync_browser_history() -> None:
    """Call this on every page before anything changes the URL."""
    cookies = st.session_state.get(COOKIES, {})
    COMPONENT(
        key="browser_history",
        data={"cookies": [f"{name}={value}; Path=/; SameSite=Strict" for name, value in cookies.items()]},
    )
