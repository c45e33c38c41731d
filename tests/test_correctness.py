"""Clips whose label the network does not know count nowhere: neither as correct nor as misclassified."""

import numpy as np
import pandas as pd
import pytest

from analysis.attention.alpha_matrix import read_alpha
from analysis.attention.alpha_tables import alpha_class_table
from analysis.attention.clip_profiles import clip_overview, correctness_profile
from analysis.attention.compare_runs import shared_accuracy, shared_clips, side_by_side
from analysis.experiments.trust_tables import replacement_effects
from analysis.report.intervention_page import plot_replacement_effects, summarize_interventions
from analysis.runs.caveats import accuracy_caveats
from analysis.runs.correctness import uncounted_sentence
from analysis.runs.run_directory import clips_of, open_run, predictions
from analysis.statistics.accuracy import accuracy_per_class, summarize_accuracy
from analysis.statistics.calibration import calibration_bins, calibration_error
from analysis.statistics.confusion import confusion_cells
from analysis.statistics.results import run_results
from tests.tiny import write_run

ALPHAS = [[0.1], [0.2], [0.3], [0.4]]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["c", "d", "c"], ""),
        (["", ""], "no accuracy: none of the 2 clips has a label"),
        (
            ["a", "b", "a"],
            "no accuracy: none of the 3 clips has a label that the network knows (theirs: a, b; its: c, d)",
        ),
        (
            ["c", "x", "y", ""],
            "not counted: 1 without a label and 2 with labels that the network does not know (x, y), of 4 clips",
        ),
        (["c", ""], "not counted: 1 without a label, of 2 clips"),
    ],
)
def test_what_does_not_count_is_said(labels, sentence):
    assert uncounted_sentence(pd.Series(labels), ["c", "d"]) == sentence


@pytest.fixture
def unknown(tmp_path):
    """A run as an earlier version recorded it, of a network that knows neither "a" nor "b"."""
    return open_run(write_run(tmp_path / "unknown", ALPHAS, classes=["c", "d"], arch="r", conv="sth", frames=8))


@pytest.fixture
def partly(tmp_path):
    """A run of a network that knows "a" but not "b"; all its predictions are "a"."""
    return open_run(write_run(tmp_path / "partly", ALPHAS, classes=["a", "c"], arch="r", conv="sth", frames=8))


def test_a_run_whose_labels_are_unknown_has_no_accuracy_anywhere(unknown):
    table = clip_overview(unknown)
    assert predictions(unknown)["correct"].isna().all() and clips_of(unknown)["correct"].isna().all()
    assert np.isnan(run_results([unknown.__class__(unknown.path, unknown.meta)]).iloc[0]["top1"])
    assert confusion_cells(table).empty and calibration_bins(table).empty
    assert np.isnan(calibration_error(calibration_bins(table)))
    assert accuracy_per_class(table, ["c", "d"])["n"].sum() == 0
    assert correctness_profile(read_alpha(unknown)).empty
    assert alpha_class_table(read_alpha(unknown))["accuracy"].isna().all()
    assert side_by_side(table, table)["outcome"].isna().all()


def test_only_clips_of_known_labels_count(partly):
    table = clip_overview(partly)
    assert list(table["correct"][:1]) == [True] and table["correct"].isna().tolist() == [False, True, False, True]
    assert confusion_cells(table)["n"].sum() == 2
    assert accuracy_per_class(table, ["a", "c"])["n"].tolist() == [2, 0]
    assert set(correctness_profile(read_alpha(partly))["correct"]) == {True}


def test_runs_are_compared_on_the_clips_that_count_in_both(partly, unknown, tmp_path):
    whole = open_run(write_run(tmp_path / "whole", ALPHAS))
    tables = {run.name: clip_overview(run) for run in (whole, partly, unknown)}
    both = side_by_side(tables["whole"], tables["partly"])
    assert both["outcome"].notna().tolist() == [True, False, True, False]
    common = shared_clips(tables)
    assert common.names == ("whole", "partly") and common.uncounted == ("unknown",)
    assert shared_accuracy(common)[["n", "accuracy"]].to_numpy().tolist() == [[2, 1.0], [2, 1.0]]
    assert len(common.all_rows) == 4
    assert len(shared_clips({"u": tables["unknown"], "v": tables["unknown"], "w": tables["unknown"]}).rows) == 0


def test_replaced_attention_of_clips_without_a_known_label_has_no_change_of_accuracy():
    row = {"place": "everywhere", "label": "", "plain_prediction": "a", "logit_label": np.nan, "score_label": np.nan}
    rows = [
        row | {"clip_id": f"c{i}", "kind": kind, "prediction": "ab"[i % 2], "correct": False, "plain_correct": False}
        for i in range(4)
        for kind in ("one half", "spatial only")
    ]
    groups = pd.Series([f"c{i}" for i in range(4)], [f"c{i}" for i in range(4)])
    places = replacement_effects(pd.DataFrame(rows), groups)
    assert places["value"].isna().all() and places["n_changed"].tolist() == [2, 2]
    assert summarize_interventions(places) == (
        "No accuracy: the network knows the label of none of the clips. Predictions that change when α is replaced "
        "everywhere by one half: 2 of 4 clips; spatial only: 2 of 4 clips."
    )
    assert plot_replacement_effects(places, "place").data[0].text.tolist() == ["-", "-"]


@pytest.mark.parametrize(
    ("meta", "sentences"),
    [
        ({"split_from": "the column split", "split": "val"}, []),
        ({}, []),
        (
            {"split_from": "invented by checksum, no groups known", "split": "val", "groups_from": ""},
            [
                "Held-out clips were chosen by checksum; no groups known: clips of one source video may also be in "
                "training."
            ],
        ),
        (
            {"split_from": "invented by checksum", "split": "val", "groups_from": "the column sequence"},
            ["Held-out clips were chosen by checksum; groups from the column sequence."],
        ),
        (
            {"split_from": "invented by checksum, no groups known", "split": "all", "trained_clips": 16, "clips": 20},
            ["The network was trained on 16 of these 20 clips."],
        ),
    ],
)
def test_what_must_be_said_beside_an_accuracy(meta, sentences):
    assert accuracy_caveats(meta) == sentences


def test_accuracies_of_a_network_that_knows_no_label(unknown):
    assert summarize_accuracy(predictions(unknown).assign(scores=[[0.5, 0.5]] * 4), ["c", "d"])["n"].tolist() == [
        0,
        0,
        0,
    ]
