"""Tables of numbers about predictions, with their uncertainty."""

import math

import numpy as np
import pandas as pd

RESAMPLES = 1000


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927): sound for small n and shares near 0 or 1."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def summary(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Top-1, top-5 and mean class accuracy of the clips whose label is one of `classes`.

    Returns:
        A row per metric: metric, value, low, high (95 % over clips: Wilson's, and for the mean class
        accuracy a bootstrap over the clips of each class), n.
    """
    numbers = {label: i for i, label in enumerate(classes)}
    known = predictions[predictions["label"].isin(numbers)]
    n = len(known)
    labels = known["label"].map(numbers).to_numpy(dtype=int)
    scores = np.stack(list(known["scores"])) if n else np.empty((0, len(classes)))
    better = (scores > scores[np.arange(n), labels][:, None]).sum(1)  # classes that score higher than the label's
    rows = []
    for k in (1, 5):
        right = int((better < k).sum())
        rows.append(("top-" + str(k), right / n if n else math.nan, *wilson_interval(right, n), n))
    per_class = [(better == 0)[labels == label] for label in np.unique(labels)]
    rng = np.random.default_rng(0)
    drawn = [rng.choice(right, (RESAMPLES, len(right))).mean(1) for right in per_class]
    value = float(np.mean([right.mean() for right in per_class])) if n else math.nan
    low, high = np.percentile(np.mean(drawn, 0), [2.5, 97.5]) if n else (0.0, 1.0)
    rows.append(("mean class accuracy", value, float(low), float(high), n))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n"])


def direction_summary(predictions: pd.DataFrame) -> pd.DataFrame:
    """Of a dataset played both ways (`Annotation.direction`): the share of clips whose action is right, whatever
    the direction, and the share whose direction is right, whatever the action.

    Returns:
        A row for "action" and "direction": metric, value, low, high (Wilson's 95 %), n.
    """
    said, true = (predictions[column].str.rpartition(", ") for column in ("prediction", "label"))
    rows, n = [], len(predictions)
    for metric, part in (("action", 0), ("direction", 2)):
        right = int((said[part] == true[part]).sum())
        rows.append((metric, right / n if n else math.nan, *wilson_interval(right, n), n))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n"])


def accuracy_per_class(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """A row per class: label, n, correct, accuracy, low, high (95 %), most_confused_with."""
    found = predictions.groupby("label", observed=True)["correct"].agg(["size", "sum"])
    wrong = predictions[~predictions["correct"].astype(bool)].groupby(["label", "prediction"], observed=True).size()
    confused = wrong.sort_values(ascending=False, kind="stable").reset_index().drop_duplicates("label")
    most = dict(zip(confused["label"], confused["prediction"], strict=True))
    rows = []
    for label in classes:
        n, correct = (int(x) for x in found.loc[label]) if label in found.index else (0, 0)
        low, high = wilson_interval(correct, n)
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


def clips_a_class(n: pd.Series) -> str:
    """How many clips the classes have, in words: "20 clips a class", "3 to 20 clips a class"."""
    low, high = n.min(), n.max()
    return f"{low} clips a class" if low == high else f"{low} to {high} clips a class"
