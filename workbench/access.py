"""Who may see the app: on this machine everyone; from others, who has the token that `sth app --host` printed.

A browser that has shown it keeps it as a cookie, so that a page can be loaded again or opened in a second tab.
"""

import hmac
import os

import streamlit as st

from workbench.components.address import remember

TOKEN = "STH_TOKEN"  # in the environment of the app; none: no token is asked for
ADMITTED = "_admitted"


def demand_token() -> None:
    """Stop the page here unless this browser has shown the token, which then leaves the URL."""
    expected = os.environ.get(TOKEN)
    if not expected:
        return
    cookie = f"sth_token_{st.get_option('server.port')}"  # a browser shows a host's cookies at all of its ports
    for given in (st.query_params.get("token", ""), dict(st.context.cookies).get(cookie, "")):
        if hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
            st.session_state[ADMITTED] = True
            remember(cookie, expected)
    st.query_params.pop("token", None)
    if not st.session_state.get(ADMITTED):
        st.error("Open this app by the address that `sth app` printed when it was started: it ends in a token.")
        st.stop()
