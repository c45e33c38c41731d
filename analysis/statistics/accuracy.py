"""Accuracy of predictions, with 95 % intervals over source videos."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from analysis.runs.correctness import counted_clips, has_scores, is_correct
from analysis.statistics.uncertainty import CONFIDENCE_LEVEL, Groups, group_sums, standard_error

CLASS_RESAMPLES = 1000


def wilson_interval(successes: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927), which holds for small n and shares near 0 or 1."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def share_interval(correct: NDArray[np.bool_], groups: Groups) -> tuple[float, float]:
    """The 95 % interval of the share of clips (n,) that are correct, if those of one group (a source video) are alike.

    It is Wilson's interval with the effective n (Korn and Graubard 1998): n divided by the design effect, the variance
    over groups relative to that of n independent clips, and reduced for few groups by Student's t. If all clips are
    correct, or all wrong, the design effect is unknown and the effective n is the number of groups.
    """
    n = len(correct)
    sums, counts = group_sums(correct[:, None].astype(float), groups)
    G, share = len(counts), float(np.mean(correct)) if n else 0.0
    if n == G:
        return wilson_interval(share * n, n)
    if G == 1:
        return 0.0, 1.0
    effective_n = float(G)
    if 0 < share < 1:
        design_effect = float(standard_error(sums, counts)[0]) ** 2 / (share * (1 - share) / (n - 1))
        effective_n = n / max(design_effect, 1)
    few_groups = special.stdtrit(n - 1, 0.5 + CONFIDENCE_LEVEL / 2) / special.stdtrit(G - 1, 0.5 + CONFIDENCE_LEVEL / 2)
    return wilson_interval(share * effective_n * few_groups**2, effective_n * few_groups**2)


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
    """The `metrics_table` of top-1, top-5 and mean class accuracy of clips with a label of `classes` and finite scores.

    The interval of the mean class accuracy is a bootstrap that resamples each class's source videos.
    """
    numbers = {label: i for i, label in enumerate(classes)}
    known = predictions[predictions["label"].isin(numbers).to_numpy() & has_scores(predictions)]
    n, groups = len(known), group_numbers(known)
    labels = known["label"].map(numbers).to_numpy(dtype=int)
    scores = np.stack(list(known["scores"])) if n else np.empty((0, len(classes)))
    rank = (scores > scores[np.arange(n), labels][:, None]).sum(1)  # of the label: classes with a higher score
    table = metrics_table({"top-1": rank < 1, "top-5": rank < 5}, groups)
    rng, values, drawn = np.random.default_rng(0), [], []
    for label in np.unique(labels):
        correct = (rank == 0)[labels == label]
        sums, counts = group_sums(correct[:, None].astype(float), groups[labels == label])
        weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), CLASS_RESAMPLES)
        values.append(correct.mean())
        drawn.append((weights @ sums)[:, 0] / (weights @ counts))
    low, high = np.percentile(np.mean(drawn, 0), [2.5, 97.5]) if n else (0.0, 1.0)
    mean_class = {"metric": "mean class accuracy", "value": mean_or_nan(values), "low": low, "high": high}
    return pd.concat([table, table[:1].assign(**mean_class)], ignore_index=True)


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
    return f"{n} clips" if groups == n else f"the {groups} source videos of {n} clips"


def describe_clips_per_class(n: pd.Series) -> str:
    """The number of clips per class: "20 clips a class" or "3 to 20 clips a class"."""
    low, high = n.min(), n.max()
    return f"{low} clips a class" if low == high else f"{low} to {high} clips a class"
