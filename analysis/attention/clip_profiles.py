"""Tables to find clips by: an overview of all clips, alpha_T of groups of clips, unusual and similar clips."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import Alpha, alpha_profile
from analysis.runs.correctness import is_correct, is_misclassified
from analysis.runs.run_directory import Run, clips_of, query
from analysis.statistics.clusters import sum_by_code
from sth_core.shards import shards

LAYER = "layer:"  # begins the name of a column of one layer
SMALLEST_DEVIATION = 1e-9  # of alpha_T: a smaller standard deviation is rounding


def clip_overview(run: Run, alpha: Alpha | None = None) -> pd.DataFrame:
    """`clips_of` with alpha_temporal, or time_share of a transformer (mean over layers), if `alpha` is given, and
    needs_order (the drop of the true class's score when the frames are shuffled) if the run has probes."""
    table = clips_of(run) if alpha is None else alpha.clips.assign(**{alpha.signal.column: alpha.mean})
    if shards(run.path, "probes"):
        drop = """SELECT clip_id, any_value(score_label) FILTER (probe = 'plain')
                         - avg(score_label) FILTER (probe = 'shuffled') AS needs_order FROM {files} GROUP BY clip_id"""
        table = table.merge(query(run, "probes", drop), on="clip_id", how="left")
    return table


def clip_numbers(table: pd.DataFrame, column: str, alpha: Alpha | None = None) -> NDArray[np.float64]:
    """(N,): a column of an overview, or alpha_T of a layer ("layer:NAME") of its run's `alpha`; nan where a clip has no
    such number. Raises KeyError: there is none of this name."""
    if not column.startswith(LAYER):
        if column not in table.select_dtypes("number"):
            raise KeyError(column)
        return np.asarray(table[column].to_numpy(float, na_value=np.nan), np.float64)
    names = [] if alpha is None else list(alpha.layers["layer"])
    if (name := column.removeprefix(LAYER)) not in names or alpha is None:
        raise KeyError(column)
    return np.asarray(alpha.temporal[:, names.index(name)], np.float64)


def most_confident_first(table: pd.DataFrame, chosen: pd.Series | NDArray[np.bool_]) -> NDArray[np.intp]:
    """The rows of the chosen clips (a mask), highest confidence first."""
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(-table["confidence"].to_numpy()[rows], kind="stable")]


def confusion_profile(alpha: Alpha, label: str, prediction: str) -> pd.DataFrame:
    """`alpha_profile` of one cell of the confusion matrix ("cell" in the column part), and of the other clips of its
    row ("row")."""
    in_row, in_cell = alpha.clips["label"] == label, alpha.clips["prediction"] == prediction
    return profiles(alpha, "part", {"row": in_row & ~in_cell, "cell": in_row & in_cell})


def correctness_profile(alpha: Alpha) -> pd.DataFrame:
    """`alpha_profile` of the correct and of the wrong clips."""
    return profiles(alpha, "correct", {True: is_correct(alpha.clips), False: is_misclassified(alpha.clips)})


def profiles(alpha: Alpha, column: str, chosen: Mapping[str | bool, pd.Series | NDArray[np.bool_]]) -> pd.DataFrame:
    """`alpha_profile` of groups of clips (masks), by name in this column."""
    tables = [alpha_profile(alpha, np.flatnonzero(mask)).assign(**{column: name}) for name, mask in chosen.items()]
    return pd.concat(tables, ignore_index=True)


def unusual_clips(alpha: Alpha, count: int = 12) -> pd.DataFrame:
    """The `distances` of the clips whose alphas differ most from those of their class: the root mean square over layers
    of (alpha_T - class mean) / class standard deviation, without layers in which the class does not vary."""
    label = alpha.clips["label"].cat.codes.to_numpy()
    n = np.bincount(label)[label, None]
    deviation = alpha.temporal - sum_by_code(alpha.temporal, label)[label] / n
    sd = np.sqrt(sum_by_code(deviation**2, label)[label] / np.maximum(n - 1, 1))
    varies = sd > SMALLEST_DEVIATION
    squares = np.divide(deviation, sd, out=np.zeros_like(deviation), where=varies) ** 2
    distance = np.sqrt(squares.sum(1) / np.maximum(varies.sum(1), 1))
    return distances(alpha, distance, varies.any(1)).nlargest(count, "distance").reset_index(drop=True)


def similar_clips(alpha: Alpha, clip_id: str, count: int = 8) -> pd.DataFrame:
    """The `distances` of the clips whose alphas are closest to this clip's: the root mean square over layers of the
    difference of alpha_T."""
    others = (alpha.clips["clip_id"] != clip_id).to_numpy()
    distance = np.sqrt(((alpha.temporal - alpha.temporal[~others]) ** 2).mean(1, np.float64))
    return distances(alpha, distance, others).nsmallest(count, "distance").reset_index(drop=True)


def distances(alpha: Alpha, distance: NDArray[np.float64], chosen: NDArray[np.bool_]) -> pd.DataFrame:
    """The chosen clips (a mask), by name: row (of `alpha.clips`), clip_id, distance."""
    table = pd.DataFrame({"row": np.arange(len(chosen)), "clip_id": alpha.clips["clip_id"], "distance": distance})
    return table[chosen]
