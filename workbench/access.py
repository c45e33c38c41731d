"""Who may see the app: on this machine everyone; from others, who has the token that `sth app --host` printed."""

import hmac
import os

import streamlit as st

TOKEN = "STH_TOKEN"  # in the environment of the app; none: no token is asked for
ADMITTED = "_admitted"


def demand_token() -> None:
    """Stop the page here unless this session has shown the token, which then leaves the URL."""
    expected = os.environ.get(TOKEN)
    if not expected:
        return
    if "token" in st.query_params:
        given = st.query_params["token"]
        if hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
            st.session_state[ADMITTED] = True
        del st.query_params["token"]
    if not st.session_state.get(ADMITTED):
        st.error("Open this app by the address that `sth app` printed when it was started: it ends in a token.")
        st.stop()
