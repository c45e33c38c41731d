"""The web app with its gate, as `sth app` serves it."""

import os
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from workbench.access import TOKEN, Gate

token = os.environ.get(TOKEN)
app = st.App(Path(__file__).parent.parent / "app.py", middleware=[Middleware(Gate, token=token)] if token else None)
