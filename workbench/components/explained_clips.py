"""A clip of a run with the network that explains it, if both can be read."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from analysis.runs.caveats import known_scores
from analysis.runs.run_directory import Run
from analysis.statistics.accuracy import top_classes
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from sth_core.files import error_sentence
from sth_core.network_names import FILE
from sth_core.video import UnreadableVideo
from sth_core.video.clip_source import ClipSource
from workbench.components.cached import cached_network
from workbench.components.clip_views import ExplainedClip, load_explained_clip, show_top_scores
from workbench.components.context import escape_markdown
from workbench.networks import network_of_run
from workbench.roots import why_not_readable


def explained_clip(run: Run, clip: pd.Series) -> ExplainedClip | None:
    """The clip (of `clip_of`) as input of the run's network; without the network, the page says why there is no map.
    None too of a clip that cannot be read, or whose scores are not finite."""
    if not is_readable(clip) or not np.isfinite(clip["confidence"]):
        return None
    checkpoint = load_run_checkpoint(run)
    if checkpoint is None:
        return None
    return load_explained_clip(checkpoint, run.meta["checkpoint_sha256"], ClipSource.from_row(clip))


def roles_of(clip: pd.Series) -> dict[str, str]:
    """{class: "predicted" or "true"}; the first one is explained first."""
    right = pd.notna(clip["correct"]) and clip["correct"]
    return {clip["label"]: "true"} if right else {clip["prediction"]: "predicted", clip["label"]: "true"}


def show_recorded_scores(run: Run, clip: pd.Series) -> None:
    if "scores" in clip:  # runs of early versions have none
        best = top_classes(list(clip["scores"]), run.meta["classes"]).head(known_scores(run.meta))
        show_top_scores(best, clip["label"])


def load_run_checkpoint(run: Run) -> Checkpoint | None:
    """The run's network; without it, the page says why there is no Grad-CAM."""
    try:
        name = network_of_run(run)
        if name.kind == FILE and not Path(name.name).is_file():
            raise UserError(f"Grad-CAM needs the run's checkpoint, which no longer exists: {name.name}.")
        return cached_network(name, run)
    except OSError as error:
        st.info(escape_markdown(f"Grad-CAM needs the run's checkpoint, which cannot be read: {error_sentence(error)}."))
    except UserError as error:
        st.info(escape_markdown(str(error)))
    return None


def why_not_allowed(source: ClipSource) -> str:
    return why_not_readable(source.path) or (why_not_readable(source.flow) if source.flow else "")


def is_readable(clip: pd.Series) -> bool:
    try:
        source = ClipSource.from_row(clip)
        return not why_not_allowed(source) and len(source.frames()) > 0
    except (OSError, UnreadableVideo):
        return False
