"""Whether the labels can be told from how the clips are stored, without looking at what they show."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FOLDS = 5
BINS = 8  # of a number such as the length: each has as many clips
MOST_VALUES = 100  # of an attribute
PERMUTATIONS = 200
SIGNIFICANT = 0.01  # p below which an attribute tells the labels
LEAST_GAIN = 0.05  # in accuracy, over that of the most frequent class
FEWEST_CLIPS = 10
OTHERS = "another"

CONFOUND_COLUMNS = ["attribute", "accuracy", "most_frequent", "p", "value", "clips", "label", "of_label"]


def find_confounds(checked: pd.DataFrame) -> pd.DataFrame:
    """The attributes by which the labels can be told, the most telling first.

    A table of the most frequent label for each value of an attribute predicts the labels of a fifth of the clips, from
    the other four fifths; clips of one group are in one fifth. `accuracy` is that over all five, `most_frequent` the
    share of the most frequent class. `p` is the share of 200 permutations of the labels in which any attribute stands
    out as much as this one (Westfall & Young 1993). An attribute is listed if p < 0.01 and it gains 5 points over the
    most frequent class. `value` is the one that tells most: `of_label` of its `clips` have the label `label`."""
    clips = checked[checked["problem"].eq("") & checked["label"].ne("")]
    if len(clips) < FEWEST_CLIPS or clips["label"].nunique() < 2:
        return pd.DataFrame(columns=CONFOUND_COLUMNS)
    values = {name: texts.to_numpy() for name, texts in attributes(clips) if texts.nunique() > 1}
    labels, names = pd.factorize(clips["label"], sort=True)
    groups, _ = pd.factorize(clips["group"].where(clips["group"].ne(""), clips["clip_id"]))
    fold = np.random.default_rng(0).permutation(groups.max() + 1)[groups] % FOLDS
    codes = {name: pd.factorize(texts)[0] for name, texts in values.items()}
    p_values = stands_out({name: single_rows(code, labels, groups, fold) for name, code in codes.items()})
    most_frequent, rows = float(np.bincount(labels).max() / len(labels)), []
    for name, p in p_values.items():
        accuracy = lookup_accuracy(codes[name], labels, fold)
        if p < SIGNIFICANT and accuracy >= most_frequent + LEAST_GAIN:
            rows.append((name, accuracy, most_frequent, p, *most_telling(values[name], names[labels])))
    found = pd.DataFrame(rows, columns=CONFOUND_COLUMNS)
    return found.sort_values("accuracy", ascending=False, ignore_index=True, kind="stable")


def attributes(clips: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """The name of each attribute, and its value in each clip, as text."""
    size = clips["width"].astype(str) + " x " + clips["height"].astype(str)
    rate = clips["rate"].map(lambda rate: f"{rate:.4g} frames/s" if rate == rate else "no rate")
    pixels = clips["frames"] * clips["width"] * clips["height"]
    bits = (8 * clips["bytes"] / pixels).where(clips["bytes"].gt(0) & clips["segment"].eq(""))
    yield "frame size", common_values(size)
    yield "shape of the frame", binned(clips["width"] / clips["height"], "times as wide as high")
    yield "frame rate", common_values(rate)
    yield "frame size and rate", common_values(size + ", " + rate)
    yield "codec and container", common_values(clips["codec"] + ", " + clips["container"] + " " + clips["pixel_format"])
    yield "length", binned(clips["frames"], "frames")
    yield "compression", binned(bits, "bits a pixel")
    yield "brightness", binned(clips["brightness"], "gray levels")
    yield "first frames", clips["begins_with"].where(clips["begins_with"].ne(""), "content")


def labels_by_value(checked: pd.DataFrame, attribute: str) -> pd.DataFrame:
    """The clips of each value of an attribute, by label, the most frequent first: at most 12 of each."""
    clips = checked[checked["problem"].eq("") & checked["label"].ne("")]
    counts = pd.crosstab(dict(attributes(clips))[attribute].rename(attribute), clips["label"])
    values = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index[:12]
    labels = counts.sum().sort_values(ascending=False, kind="stable").index[:12]
    return counts.loc[values, labels].reset_index()


def common_values(texts: pd.Series) -> pd.Series:
    """The texts; those as rare as the hundredth, or rarer, are one."""
    counts = texts.value_counts()
    return texts.where(texts.map(counts).gt(counts.iloc[MOST_VALUES] if len(counts) > MOST_VALUES else 0), OTHERS)


def binned(numbers: pd.Series, unit: str) -> pd.Series:
    """Each number as the range that it is in: BINS ranges of as many numbers each."""
    edges = np.unique(numbers.dropna().quantile(np.linspace(0, 1, BINS + 1)[1:-1]))
    bins = pd.Series(np.searchsorted(edges, numbers), numbers.index).where(numbers.notna(), -1)
    ends = numbers.groupby(bins).agg(["min", "max"])
    texts = {row.Index: f"{row.min:.4g} to {row.max:.4g} {unit}" for row in ends.itertuples() if row.Index >= 0}
    return bins.map(texts | {-1: f"no {unit}"})


def single_rows(
    values: NDArray[np.integer], labels: NDArray[np.integer], groups: NDArray[np.integer], fold: NDArray[np.integer]
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]]:
    """Values, labels and folds, where the clips of one group with one value and label are one."""
    rows = pd.DataFrame({"value": values, "label": labels, "group": groups, "fold": fold}).drop_duplicates()
    return rows["value"].to_numpy(), rows["label"].to_numpy(), rows["fold"].to_numpy()


def stands_out(rows: dict[str, tuple[NDArray[np.integer], ...]]) -> dict[str, float]:
    """The p-value of each attribute, from the rows of `single_rows`."""
    observed, permuted = {}, {}
    for name, (values, labels, fold) in rows.items():
        rng = np.random.default_rng(0)  # the same permutations for all attributes with as many rows
        found = [lookup_accuracy(values, rng.permutation(labels), fold) for _ in range(PERMUTATIONS)]
        mean, deviation = np.mean(found), max(float(np.std(found)), 1e-9)
        observed[name] = (lookup_accuracy(values, labels, fold) - mean) / deviation
        permuted[name] = (np.array(found) - mean) / deviation
    largest = np.max(list(permuted.values()), axis=0) if permuted else np.empty(0)
    return {name: float((1 + (largest >= z).sum()) / (1 + PERMUTATIONS)) for name, z in observed.items()}


def lookup_accuracy(values: NDArray[np.integer], labels: NDArray[np.integer], fold: NDArray[np.integer]) -> float:
    """How many labels (N,) are the most frequent one for their value (N,) in the other folds.

    Where two are as frequent, and for a value that the other folds lack, the one that is more frequent overall."""
    V, L = values.max() + 1, labels.max() + 1
    counts = np.bincount((fold * V + values) * L + labels, minlength=FOLDS * V * L).reshape(FOLDS, V, L)
    others = counts.sum(0) - counts
    overall = others.sum(1, keepdims=True)
    best = (others + overall / (1 + overall.sum(-1, keepdims=True))).argmax(-1)
    return float((best[fold, values] == labels).mean())


def most_telling(values: np.ndarray, labels: np.ndarray) -> tuple[str, int, str, int]:
    """The value and label that are together more often than by chance, by the most clips; the clips with this value,
    and those of them with this label."""
    counts = pd.crosstab(values, labels)
    expected = np.outer(counts.sum(axis=1), counts.sum()) / len(values)
    row, column = np.unravel_index((counts.to_numpy() - expected).argmax(), counts.shape)
    together = counts.iloc[row, column]
    return str(counts.index[row]), int(counts.iloc[row].sum()), str(counts.columns[column]), int(together)
