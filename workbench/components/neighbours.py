"""The clips whose features are nearest to those of one clip: of its run, and of the network's training."""

import numpy as np
import pandas as pd
import streamlit as st

from analysis.runs.features import Features, features_of_clip, has_features, nearest_clips
from analysis.runs.run_directory import Run
from workbench.components.cached import cached_features, cached_overview, listed_runs
from workbench.components.context import errors_shown, escape_markdown, run_id
from workbench.components.gallery import show_gallery

TRAINING = "train"  # the split's name
NO_TRAINING_RUN = (
    "The nearest training clips are shown if a run of the split `train` of this network, recorded with `--features`, "
    "is in this folder of runs too."
)


def show_neighbours_by_features(run: Run, clip_id: str) -> None:
    """Nothing for a run without features."""
    if not has_features(run):
        return
    st.header("Nearest by features")
    st.caption(
        "The clips whose features before the classifier make the smallest angle with this clip's: those that the "
        "network takes for alike, whatever its attention."
    )
    if not st.toggle("Show clips with near features", key="near", bind="query-params"):
        return
    with errors_shown():
        features = cached_features(run)
        own = features_of_clip(features, clip_id)
        show_nearest(run, features, own, clip_id, "near_run")
        if run.meta.get("split") == TRAINING:
            return
        training = training_runs(run)
        if not training:
            st.caption(NO_TRAINING_RUN)
        for other in training:
            st.markdown(f"**Training clips**, of the run {escape_markdown(run_id(other))}")
            show_nearest(other, cached_features(other), own, clip_id, f"near {run_id(other)}")


def show_nearest(run: Run, features: Features, own: np.ndarray, clip_id: str, key: str) -> None:
    """A gallery of the clips of a run, except the one of this name, that are nearest to these features (F,)."""
    nearest = nearest_clips(features, own, without=clip_id)
    table = cached_overview(run)
    rows = pd.Index(table["clip_id"]).get_indexer(nearest["clip_id"])
    show_gallery(run, table, rows, key, origin=f"clips with features near those of {clip_id}")
    if len(nearest):
        span = f"{nearest['distance'].iloc[0]:.3f} to {nearest['distance'].iloc[-1]:.3f}"
        st.caption(f"Nearest first; 1 - cosine similarity from {span}.")


def training_runs(run: Run) -> list[Run]:
    """Other runs of the same network, of the training split, with features."""
    return [
        other
        for other in listed_runs()
        if other.path != run.path
        and other.meta.get("checkpoint_sha256") == run.meta["checkpoint_sha256"]
        and other.meta.get("split") == TRAINING
        and has_features(other)
    ]
