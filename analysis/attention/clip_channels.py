"""The attention of one clip by channel, or of a transformer by head: what `sth record --vectors` has kept."""

import pandas as pd

from analysis.runs.run_directory import Run, query
from analysis.runs.signals import ALPHA, signal_of

COLUMNS = {True: "alpha_temporal_vector", False: "time_share_heads"}  # by whether the signal is α


def has_channels(run: Run) -> bool:
    """Whether the run holds the attention of each channel or head."""
    return bool(run.meta.get("vectors")) and bool(run.meta.get("attention"))


def clip_channels(run: Run, clip_id: str) -> pd.DataFrame:
    """A row for each layer and channel (or head) of a clip, in order: layer, channel, value.

    Raises:
        UserError: the run's attention cannot be read, or has no such column.
    """
    column = COLUMNS[signal_of(run) == ALPHA]
    sql = f"SELECT layer_index, layer, {column} AS value FROM {{files}} WHERE clip_id = ? ORDER BY layer_index"
    rows = query(run, "attention", sql, [clip_id]).explode("value", ignore_index=True)
    rows["channel"] = rows.groupby("layer_index", sort=False).cumcount()
    return rows.astype({"value": float})[["layer", "channel", "value"]]
