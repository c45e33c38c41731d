"""Precision, recall, F1 and AUC of each class: by scikit-learn, and on the page."""

import math
import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics

from analysis.runs.run_directory import open_run, predictions
from analysis.statistics.class_report import averages, class_report, two_class_auc
from sth_core.errors import UserError
from sth_core.files import csv_text
from tests.test_app import PREDICTIONS, open_page, words

CLASSES = ["a", "b", "c", "d", "e", "never"]


def table_of(labels: list[str], said: list[str], **columns: object) -> pd.DataFrame:
    table = pd.DataFrame({"label": labels, "prediction": said})
    known = table["label"].isin(CLASSES)
    return table.assign(correct=(table["label"] == table["prediction"]).astype("boolean").where(known), **columns)


@pytest.fixture
def mixed() -> pd.DataFrame:
    """Of a few classes; e is never predicted, d has no clips, "x" is no class of the network."""
    random = np.random.default_rng(0)
    labels = random.choice([*"abce"], 300).tolist()
    said = [label if random.random() < 0.6 else random.choice([*"abcd"]) for label in labels]
    said = ["a" if name == "e" else name for name in said]
    return table_of([*labels, "x"], [*said, "a"])


def test_values_are_those_of_scikit_learn(mixed: pd.DataFrame) -> None:
    report, known = class_report(mixed, CLASSES), mixed[mixed["label"] != "x"]
    truth = known["label"].tolist(), known["prediction"].tolist()
    found = metrics.precision_recall_fscore_support(*truth, labels=CLASSES, zero_division=np.nan)
    for name, expected in zip(("precision", "recall", "f1", "support"), found, strict=True):
        np.testing.assert_allclose(report[name].to_numpy(float), expected)
    assert report["label"].tolist() == CLASSES and np.isnan(report.loc[5, ["precision", "recall", "f1"]].tolist()).all()
    means = averages(report).set_index("average")
    for average in ("macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(*truth, average=average, zero_division=0)[:3]
        np.testing.assert_allclose(means.loc[average].to_numpy(float), expected)


def test_the_most_frequent_confusions_by_hand() -> None:
    report = class_report(table_of([*"aaaaabb"], [*"abbcabc"]), CLASSES).set_index("label")
    assert report.loc["a", ["missed_as", "missed", "taken_from", "taken"]].tolist() == ["b", 2, "", 0]
    assert report.loc["b", ["missed_as", "missed", "taken_from", "taken"]].tolist() == ["c", 1, "a", 2]
    assert report.loc["c", ["taken_from", "taken", "support", "predicted", "correct"]].tolist() == ["a", 1, 0, 2, 0]


def test_intervals_are_exact_and_f1s_is_that_of_its_share() -> None:
    """Of class a: 6 clips, 5 predictions, 4 both, so 7 either."""
    labels, said = [*"aaaaaabbbb"], [*"aaaabbabbb"]
    row = class_report(table_of(labels, said), CLASSES).iloc[0]
    for name, k, n in (("precision", 4, 5), ("recall", 4, 6)):
        exact = stats.binomtest(k, n).proportion_ci(method="exact")
        assert row[[f"{name}_low", f"{name}_high"]].tolist() == pytest.approx([exact.low, exact.high])
    of_both = stats.binomtest(4, 7).proportion_ci(method="exact")
    expected = [2 * share / (1 + share) for share in (4 / 7, of_both.low, of_both.high)]
    assert row[["f1", "f1_low", "f1_high"]].tolist() == pytest.approx(expected)
    assert row["f1"] == pytest.approx(2 * 4 / (6 + 5))
    grouped = class_report(table_of(labels, said, group=[*"pppqqqrrss"]), CLASSES).iloc[0]
    assert grouped["recall_low"] < row["recall_low"]  # clips of one source video tell less
    assert math.isnan(class_report(table_of(labels, said, group="p"), CLASSES).iloc[0]["f1_low"])


def test_auc_is_that_of_scikit_learn_with_ties() -> None:
    random = np.random.default_rng(1)
    second = random.random(80) < 0.4
    scores = np.round(random.random(80) * 0.5 + 0.3 * second, 1)  # many are equal
    labels = ["b" if is_second else "a" for is_second in second]
    table = table_of(labels, labels, scores=[[1 - score, score] for score in scores])
    assert two_class_auc(table, ["a", "b"]) == pytest.approx(metrics.roc_auc_score(second, scores))
    assert math.isnan(two_class_auc(table[second], ["a", "b"]))
    with pytest.raises(UserError, match="two classes, and this network has 6"):
        two_class_auc(table, CLASSES)
    with pytest.raises(UserError, match="this run has none"):
        two_class_auc(table.drop(columns="scores"), ["a", "b"])


def test_the_page_shows_the_report(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(recorded, tmp_path / "a")
    query = {"run": "a", "view": "Precision and recall"}
    app = open_page(tmp_path, monkeypatch, PREDICTIONS, **query)
    shown, table = app.dataframe[-1].value.set_index("label"), predictions(open_run(recorded))
    expected = metrics.precision_recall_fscore_support(
        table["label"], table["prediction"], labels=list(shown.index), zero_division=np.nan
    )
    np.testing.assert_allclose(shown["recall"].to_numpy(), 100 * expected[1], atol=0.05)
    np.testing.assert_allclose(shown["f1"].to_numpy(), 100 * expected[2], atol=0.05)
    assert "24 clips. Intervals: 95 %, over clips" in words(app) and "Macro" in words(app)
    filtered = open_page(tmp_path, monkeypatch, PREDICTIONS, **query | {"label": table["label"].iloc[0]})
    assert "do not match: label" in words(filtered)


def most_frequent_mistake(table: pd.DataFrame) -> tuple[str, str, int]:
    """(label, prediction, clips), of a class that clips of another label are taken for too."""
    wrong = table[~table["correct"].astype(bool)]
    (label, said), count = next(iter(wrong.groupby(["label", "prediction"], observed=True).size().nlargest(1).items()))
    assert count < (wrong["prediction"] == said).sum()
    return label, said, count


@pytest.mark.parametrize("filtered_by", ["label", "said"])
def test_a_button_opens_the_clips_that_it_counts(filtered_by, recorded, tmp_path, monkeypatch) -> None:
    """One class is the page's filter, the other the row's: the button changes its own filter, and keeps the page's."""
    shutil.copytree(recorded, tmp_path / "a")
    label, said, count = most_frequent_mistake(predictions(open_run(recorded)))
    cell = {"label": label, "said": said}
    [changed] = cell.keys() - {filtered_by}
    query = {"run": "a", "view": "Precision and recall", filtered_by: cell[filtered_by]}
    app = open_page(tmp_path, monkeypatch, PREDICTIONS, **query)
    row = app.dataframe[-1].value["label"].tolist().index(cell[changed])
    app.session_state["class_report"] = {"selection": {"rows": [row], "columns": [], "cells": []}}
    app.run()
    button = app.button(key=f"report {changed}")
    assert button.label.startswith(f"{count} clip")
    button.click().run()
    assert not app.exception and {key: app.session_state[key] for key in cell} == cell
    assert app.session_state["view"] == "Misclassified" and f"{count} of 24 clips" in words(app)


def test_the_file_has_all_numbers() -> None:
    report = class_report(table_of([*"aab"], [*"abb"]), ["a", "b"])
    read = pd.read_csv(StringIO(csv_text(report)))
    assert read["f1"].tolist() == pytest.approx(report["f1"].tolist()) and "precision_low" in read
