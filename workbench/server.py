"""The web app with its access control, as `sth app` serves it.

What pages need is imported while the first person opens the address. Streamlit collects garbage each time that a page
has run; imported modules are excluded from it, or every click would wait until all of torch was searched.
"""

import atexit
import gc
import importlib
import os
import secrets
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

import workbench.uploads  # noqa: F401
from analysis.runs.mirror import keep_fresh, mirror_at
from workbench.access import Gate
from workbench.roots import runs_folder
from workbench.serve import NEEDS_TOKEN, ORIGINS

HTML = Path(st.__file__).parent / "static" / "index.html"  # of every page
# Of other projects alone: two threads that import modules of one package may find them half imported.
SLOW_TO_IMPORT = ("torch", "torchvision", "plotly.graph_objects", "scipy.optimize", "sklearn.metrics")
REFRESH_SECONDS = 60  # of runs that are in object storage
ORIGINS_SERVED = os.environ[ORIGINS].split()
token = secrets.token_urlsafe() if os.environ[NEEDS_TOKEN] else None


@asynccontextmanager
async def print_address(app: st.App) -> AsyncIterator[None]:
    """Print the address once the app answers there."""
    threading.Thread(target=import_slow_packages, daemon=True).start()
    atexit.register(gc.unfreeze)  # or libraries would report leaked objects
    if mirror := mirror_at(runs_folder()):
        keep_fresh(mirror, REFRESH_SECONDS, lambda said: print(said, file=sys.stderr, flush=True))
    address = ORIGINS_SERVED[0] + (f"/?token={token}" if token else "")
    print(f"\nSTH Workbench: {address}   (Ctrl-C stops it)", flush=True)
    yield


def import_slow_packages() -> None:
    for name in SLOW_TO_IMPORT:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


gate = Middleware(Gate, origins=ORIGINS_SERVED, token=token, html=HTML.read_text(encoding="utf-8"))
app = st.App(Path(__file__).parent.parent / "app.py", middleware=[gate], lifespan=print_address)
