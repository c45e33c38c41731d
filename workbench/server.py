"""The web app with its gate, as `sth app` serves it.

What pages need is imported before the first of them is opened. Streamlit collects garbage each time that a page has
run: what was imported is taken out of that, or every click would wait until all of torch was looked at.
"""

import atexit
import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

import workbench.uploads  # noqa: F401
from workbench.access import TOKEN, Gate

ADDRESS = "STH_ADDRESS"  # in the environment, by workbench/serve.py: what a person is to open


@asynccontextmanager
async def announced(app: st.App) -> AsyncIterator[None]:
    """Says where the app is, once it is there."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # or libraries would say that their objects have leaked
    print(f"\nSTH Workbench: {os.environ[ADDRESS]}   (Ctrl-C stops it)", flush=True)
    yield


token = os.environ.get(TOKEN)
gate = [Middleware(Gate, token=token)] if token else None
app = st.App(Path(__file__).parent.parent / "app.py", middleware=gate, lifespan=announced)
