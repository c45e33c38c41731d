"""Tables of numbers about predictions, with their uncertainty."""

import math

import pandas as pd


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927): sound for small n and shares near 0 or 1."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy_per_class(predictions: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """A row per class: label, n, correct, accuracy, low, high (95 %), most_confused_with."""
    rows = []
    for label in classes:
        clips = predictions[predictions["label"] == label]
        n, correct = len(clips), int(clips["correct"].sum())
        wrong = clips.loc[~clips["correct"].astype(bool), "prediction"]
        low, high = wilson_interval(correct, n)
        rows.append(
            {
                "label": label,
                "n": n,
                "correct": correct,
                "accuracy": correct / n if n else math.nan,
                "low": low,
                "high": high,
                "most_confused_with": wrong.value_counts().index[0] if len(wrong) else "",
            }
        )
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
