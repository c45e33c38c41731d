"""Accuracy of predictions, with 95 % intervals over source videos."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.runs.correctness import counted_clips, has_scores, is_correct
from analysis.statistics.shares import FEW, Reach, exact_interval, share_interval
from sth_core.datasets.media import counted

MOST_GROUPS = 2000  # with more, Student's t is close to the normal distribution


def group_numbers(clips: pd.DataFrame) -> NDArray[np.intp]:
    """(N,): the number of each clip's source video; of the clip itself if the table has no groups."""
    return pd.factorize(clips["group"])[0] if "group" in clips else np.arange(len(clips))


def metrics_table(correct: dict[str, NDArray[np.bool_]], groups: NDArray[np.intp]) -> pd.DataFrame:
    """A row per metric, from the clips (n,) that it counts as correct: its value, and `share_interval`."""
    n, G = len(groups), len(np.unique(groups))
    rows = [(name, mean_or_nan(found), *share_interval(found, groups), n, G) for name, found in correct.items()]
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "groups"])


def mean_or_nan(values: NDArray | list[float]) -> float:
    """nan without values, and no warning."""
    return float(np.mean(values)) if len(values) else math.nan


def summarize_accuracy(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """The `metrics_table` of top-1, top-5 and mean class accuracy (`class_mean_interval`) of clips with a label of
    `classes` and finite scores; without scores, as in runs of early versions, top-5 is nan."""
    numbers = {label: i for i, label in enumerate(classes)}
    known = predictions[predictions["label"].isin(numbers).to_numpy() & has_scores(predictions)]
    n, groups = len(known), group_numbers(known)
    labels = known["label"].map(numbers).to_numpy(dtype=int)
    if "scores" in known:
        rank = ranks_of_labels(np.stack(list(known["scores"])) if n else np.empty((0, len(classes))), labels)
    else:
        rank = np.where(is_correct(known), 0, len(classes))
    table = metrics_table({"top-1": rank < 1, "top-5": rank < 5}, groups)
    if "scores" not in known:
        table.loc[table["metric"] == "top-5", ["value", "low", "high"]] = math.nan
    value, low, high = class_mean_interval(rank < 1, labels, groups)
    mean_class = {"metric": "mean class accuracy", "value": value, "low": low, "high": high}
    return pd.concat([table, table[:1].assign(**mean_class)], ignore_index=True)


def ranks_of_labels(scores: NDArray[np.floating], labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """From scores (n, K): how many classes come before the label (n,); of equal scores the first class does."""
    own, earlier = scores[np.arange(len(labels)), labels][:, None], np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(1)


def class_mean_interval(
    correct: NDArray[np.bool_], labels: NDArray[np.intp], groups: NDArray[np.intp]
) -> tuple[float, float, float]:
    """The mean over K classes of the share of their clips (n,) that are correct, and its 95 % interval; nan for one
    group. `labels` and `groups` are numbers from 0.

    Like `share_interval` it is exact, and reaches as many standard errors as the groups ask for. The cluster-robust
    standard error is that of the mean's linear approximation: each group's residuals are summed over all its classes,
    with the correction CR2 in each. A class whose clips are all of one group counts as one clip.
    """
    n, G = len(correct), len(np.unique(groups))
    if not n or G == 1:
        return mean_or_nan([correct[labels == label].mean() for label in np.unique(labels)]), math.nan, math.nan
    labels = np.unique(labels, return_inverse=True)[1]
    of_class = np.bincount(labels)
    K, accuracy = len(of_class), np.bincount(labels, correct) / of_class
    value = float(accuracy.mean())
    clips = K**2 / (1 / of_class).sum()  # the number of clips, of equally hard classes, that tell as much
    codes, cell = np.unique(groups * K + labels, return_inverse=True)  # a cell: the clips of one group and class
    group, label, count = codes // K, codes % K, np.bincount(cell)
    alone = count == of_class[label]
    scale = np.where(alone, 0, 1 / np.sqrt(1 - np.where(alone, 0, count / of_class[label]))) / (K * of_class[label])
    residual = np.bincount(cell, correct - accuracy[labels])
    variance = (np.bincount(group, scale * residual) ** 2).sum() + alone.sum() * value * (1 - value) / K**2
    limits, wrong = [(math.inf, 1.0)], np.bincount(groups, ~correct)
    differing = int(min((wrong > 0).sum(), (wrong < np.bincount(groups)).sum()))
    if 0 < value < 1 and n > G:
        df = class_mean_df(group, label, scale, count, of_class)
        limits.append((df, math.sqrt(variance * clips / (value * (1 - value)))))
    if differing < FEW and n > G:
        limits.append((math.inf, math.sqrt(clips / min(G, K**2 / (1 / np.bincount(label)).sum()))))
    return value, *exact_interval(value, clips, Reach(tuple(limits)).errors)


def class_mean_df(group: NDArray, label: NDArray, scale: NDArray, count: NDArray, of_class: NDArray) -> float:
    """Bell and McCaffrey's degrees of freedom of `class_mean_interval`, from its cells."""
    G, K = group.max() + 1, len(of_class)
    if G > MOST_GROUPS:
        return math.inf
    diagonal, parts = np.bincount(group, scale**2 * count), np.zeros((G, K))
    parts[group, label] = scale * count / np.sqrt(of_class[label])
    trace = (diagonal - (parts**2).sum(1)).sum()
    squares = (diagonal**2).sum() - 2 * (diagonal * (parts**2).sum(1)).sum() + ((parts.T @ parts) ** 2).sum()
    return float(trace**2 / squares) if squares > 0 else math.inf


def summarize_direction_accuracy(predictions: pd.DataFrame) -> pd.DataFrame:
    """The `metrics_table` of the action alone and of the direction alone, for clips played both ways
    (`Annotation.direction`) and whose label the network knows."""
    predictions = counted_clips(predictions)
    predicted, true = (predictions[column].str.rpartition(", ") for column in ("prediction", "label"))
    parts = {"action": 0, "direction": 2}
    correct = {metric: (predicted[part] == true[part]).to_numpy(bool) for metric, part in parts.items()}
    return metrics_table(correct, group_numbers(predictions))


def accuracy_per_class(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """A row per class, in the given order, of the clips that count; low and high are `share_interval`."""
    predictions = counted_clips(predictions)
    correct, groups = is_correct(predictions), group_numbers(predictions)
    clips_of_label = predictions.groupby("label", observed=True).indices
    wrong = predictions[~correct].groupby(["label", "prediction"], observed=True).size()
    confused = wrong.sort_values(ascending=False, kind="stable").reset_index().drop_duplicates("label")
    most = dict(zip(confused["label"], confused["prediction"], strict=True))
    rows = []
    for label in classes:
        clips = clips_of_label.get(label, np.empty(0, int))
        hits, interval = correct[clips], share_interval(correct[clips], groups[clips])
        rows.append((label, len(clips), int(hits.sum()), mean_or_nan(hits), *interval, most.get(label, "")))
    return pd.DataFrame(rows, columns=["label", "n", "correct", "accuracy", "low", "high", "most_confused_with"])


def top_classes(scores: list[float], classes: list[str], k: int = 5) -> pd.DataFrame:
    """The k classes with the highest scores."""
    table = pd.DataFrame({"label": classes, "score": np.array(scores, float)})
    best = table.sort_values("score", ascending=False, kind="stable", ignore_index=True).head(k)
    return best.assign(rank=best.index + 1)[["rank", "label", "score"]]


def describe_groups(n: int, groups: int) -> str:
    """What an interval is over: "24 clips" or "the 4 source videos of 24 clips"."""
    if groups == n or groups == 1:
        return counted(n, "clip") + " of one source video" * bool(n > 1 and groups == 1)
    return f"the {groups:,} source videos of {counted(n, 'clip')}"


def units_of(table: pd.DataFrame) -> str:
    """What the intervals of a table with n and groups are over: "clips", or "source videos" if some clips share one."""
    return "clips" if table["groups"].eq(table["n"]).all() else "source videos"


def units_of_clips(clips: pd.DataFrame) -> str:
    """As `units_of`, of a table of clips with their group."""
    return "source videos" if clips["group"].duplicated().any() else "clips"


def describe_clips_per_class(n: pd.Series) -> str:
    """The number of clips per class: "20 clips a class" or "3 to 20 clips a class"."""
    low, high = n.min(), n.max()
    return f"{counted(low, 'clip')} a class" if low == high else f"{low:,} to {high:,} clips a class"
