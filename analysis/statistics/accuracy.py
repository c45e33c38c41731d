"""Tables of numbers about predictions, with their uncertainty."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from analysis.statistics.uncertainty import CONFIDENCE_LEVEL, group_sums, standard_error

CLASS_RESAMPLES = 1000


def wilson_interval(successes: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927): sound for small n and shares near 0 or 1."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def share_interval(right: NDArray[np.bool_], groups: NDArray | pd.Series) -> tuple[float, float]:
    """The 95 % interval of a share of clips (n,), of which those of one group, a source video, are alike.

    It is Wilson's, of as many clips as these are worth were they independent of each other (Korn and Graubard 1998):
    n by the design effect, the variance over groups against that of so many independent clips; fewer for few groups,
    by Student's t. Where all clips are right, or all wrong, none can be told, and they are worth their groups.
    Where each clip is a group of its own it is `wilson_interval`.
    """
    n = len(right)
    sums, counts = group_sums(right[:, None].astype(float), groups)
    G, share = len(counts), float(np.mean(right)) if n else 0.0
    if n == G:
        return wilson_interval(share * n, n)
    if G == 1:
        return 0.0, 1.0
    effective_n = float(G)
    if 0 < share < 1:
        effect = float(standard_error(sums, counts)[0]) ** 2 / (share * (1 - share) / (n - 1))
        effective_n = n / max(effect, 1)
    few = special.stdtrit(n - 1, 0.5 + CONFIDENCE_LEVEL / 2) / special.stdtrit(G - 1, 0.5 + CONFIDENCE_LEVEL / 2)
    return wilson_interval(share * effective_n * few**2, effective_n * few**2)


def group_numbers(clips: pd.DataFrame) -> NDArray[np.intp]:
    """(N,), a number for the source video of each clip; where none is known, the clip's own."""
    return pd.factorize(clips["group"])[0] if "group" in clips else np.arange(len(clips))


def summarize_accuracy(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Top-1, top-5 and mean class accuracy of the clips whose label is one of `classes`.

    Returns:
        A row per metric: metric, value, low, high (95 % over source videos: `share_interval`, and for the mean class
        accuracy a bootstrap over those of each class), n (clips), groups (source videos).
    """
    numbers = {label: i for i, label in enumerate(classes)}
    known = predictions[predictions["label"].isin(numbers)]
    n, groups = len(known), group_numbers(known)
    G = len(np.unique(groups))
    labels = known["label"].map(numbers).to_numpy(dtype=int)
    scores = np.stack(list(known["scores"])) if n else np.empty((0, len(classes)))
    better = (scores > scores[np.arange(n), labels][:, None]).sum(1)  # classes that score higher than the label's
    rows = []
    for k in (1, 5):
        right = better < k
        rows.append((f"top-{k}", right.mean() if n else math.nan, *share_interval(right, groups), n, G))
    rng = np.random.default_rng(0)
    values, drawn = [], []
    for label in np.unique(labels):
        right = (better == 0)[labels == label]
        sums, counts = group_sums(right[:, None].astype(float), groups[labels == label])
        often = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), CLASS_RESAMPLES)
        values.append(right.mean())
        drawn.append((often @ sums)[:, 0] / (often @ counts))
    low, high = np.percentile(np.mean(drawn, 0), [2.5, 97.5]) if n else (0.0, 1.0)
    rows.append(("mean class accuracy", np.mean(values) if n else math.nan, low, high, n, G))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "groups"])


def summarize_direction_accuracy(predictions: pd.DataFrame) -> pd.DataFrame:
    """Of a dataset played both ways (`Annotation.direction`): the share of clips whose action is right, whatever
    the direction, and the share whose direction is right, whatever the action.

    Returns:
        A row for "action" and "direction": metric, value, low, high (95 %, `share_interval`), n, groups.
    """
    said, true = (predictions[column].str.rpartition(", ") for column in ("prediction", "label"))
    rows, n, groups = [], len(predictions), group_numbers(predictions)
    for metric, part in (("action", 0), ("direction", 2)):
        right = (said[part] == true[part]).to_numpy(bool)
        interval = share_interval(right, groups)
        rows.append((metric, right.mean() if n else math.nan, *interval, n, len(np.unique(groups))))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "groups"])


def accuracy_per_class(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """A row per class: label, n, correct, accuracy, low, high (95 %, `share_interval`), most_confused_with."""
    right, groups = predictions["correct"].to_numpy(bool), group_numbers(predictions)
    of_label = predictions.groupby("label", observed=True).indices
    wrong = predictions[~predictions["correct"].astype(bool)].groupby(["label", "prediction"], observed=True).size()
    confused = wrong.sort_values(ascending=False, kind="stable").reset_index().drop_duplicates("label")
    most = dict(zip(confused["label"], confused["prediction"], strict=True))
    rows = []
    for label in classes:
        clips = of_label.get(label, np.empty(0, int))
        n, correct = len(clips), int(right[clips].sum())
        low, high = share_interval(right[clips], groups[clips])
        row = {"label": label, "n": n, "correct": correct, "accuracy": correct / n if n else math.nan}
        rows.append(row | {"low": low, "high": high, "most_confused_with": most.get(label, "")})
    return pd.DataFrame(rows)


def top_classes(scores: list[float], classes: list[str], k: int = 5) -> pd.DataFrame:
    """The k classes of highest score: rank, label, score."""
    best = sorted(range(len(classes)), key=lambda i: -scores[i])[:k]
    return pd.DataFrame(
        {
            "rank": range(1, len(best) + 1),
            "label": [classes[i] for i in best],
            "score": [float(scores[i]) for i in best],
        }
    )


def describe_groups(n: int, groups: int) -> str:
    """What an interval is over, in words: "24 clips", "the 4 source videos of 24 clips"."""
    return f"{n} clips" if groups == n else f"the {groups} source videos of {n} clips"


def describe_clips_per_class(n: pd.Series) -> str:
    """How many clips the classes have, in words: "20 clips a class", "3 to 20 clips a class"."""
    low, high = n.min(), n.max()
    return f"{low} clips a class" if low == high else f"{low} to {high} clips a class"
