"""What the browser keeps: a history in which Back is one step for each view, and cookies."""

import streamlit as st

from workbench.components.scripted import scripted

COMPONENT = scripted("address")
COOKIES = "_cookies"


def remember(name: str, value: str) -> None:
    """Have the browser keep a cookie, which it shows to this app alone, until it is closed."""
    st.session_state.setdefault(COOKIES, {})[name] = value


def keep_address() -> None:
    """On every page, before anything changes the address."""
    kept = st.session_state.get(COOKIES, {})
    COMPONENT(
        key="address", data={"cookies": [f"{name}={value}; Path=/; SameSite=Strict" for name, value in kept.items()]}
    )
