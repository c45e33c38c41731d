"""The web app with its access control, as `sth app` serves it.

What pages need is imported before the first of them is opened. Streamlit collects garbage each time that a page has
run; imported modules are excluded from it, or every click would wait until all of torch was searched.
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
from workbench.serve import ADDRESS


@asynccontextmanager
async def print_address(app: st.App) -> AsyncIterator[None]:
    """Print the address once the app answers there."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # or libraries would report leaked objects
    print(f"\nSTH Workbench: {os.environ[ADDRESS]}   (Ctrl-C stops it)", flush=True)
    yield


token = os.environ.get(TOKEN)
gate = [Middleware(Gate, token=token)] if token else None
app = st.App(Path(__file__).parent.parent / "app.py", middleware=gate, lifespan=print_address)
