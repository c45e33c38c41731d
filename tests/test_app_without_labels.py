"""Every page of the app with runs whose labels the network does not know, or that have none: no accuracy anywhere."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import record
from sth_core.checkpoint import load_checkpoint, save_checkpoint
from sth_core.datasets.table import read_dataset
from sth_core.datasets.trained_clips import training_keys
from tests.test_app import ATTENTION, CLIP, COMPARE, FIGURES, PREDICTIONS, open_page, words
from tests.tiny import CLASSES, copy_clips, save_tiny

UNKNOWN = "No accuracy: none of the 4 clips has a label that the network knows (theirs: hug, run; its: "
UNLABELLED = "No accuracy: none of the 4 clips has a label."
NOTHING = "This view needs labels that the network knows."


@pytest.fixture(scope="module")
def runs(scenes_folder: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of four clips: with labels of other classes, without any, and with labels of which two are known."""
    folder = tmp_path_factory.mktemp("unlabelled")
    clips = sorted((copy_clips(scenes_folder, folder / "clips", 4) / "val").iterdir())
    for name, labels in (("unknown", ["hug", "run"] * 2), ("flat", [""] * 4), ("partly", [*CLASSES[:2], "hug", ""])):
        for clip, label in zip(clips, labels, strict=True):
            (folder / name / label).mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, folder / name / label)
        if name == "partly":
            rows = zip([clip.name for clip in clips], labels, strict=True)
            pd.DataFrame(rows, columns=["path", "motion"]).to_csv(folder / name / "manifest.csv", index=False)
        record(checkpoint, folder / name, folder / "runs" / name, DatasetOptions(split="all"))
    return folder / "runs"


@pytest.mark.parametrize(("run", "why"), [("unknown", UNKNOWN), ("flat", UNLABELLED)])
@pytest.mark.parametrize(
    ("page", "query"),
    [
        (PREDICTIONS, {}),
        *((PREDICTIONS, {"view": view}) for view in ("Misclassified", "Confusion", "Per class", "Calibration")),
        (CLIP, {}),
        (COMPARE, {"b": "partly"}),
        (ATTENTION, {"show": "Correct and misclassified"}),
        (ATTENTION, {"show": "By class"}),
        (ATTENTION, {"show": "Unusual clips"}),
        (FIGURES, {}),
    ],
)
def test_no_page_shows_an_accuracy(page, query, run, why, runs, monkeypatch):
    of = {CLIP: {"run": run}, PREDICTIONS: {"run": run}, COMPARE: {"a": run}, ATTENTION: {"of": run}}.get(page, {})
    app = open_page(runs, monkeypatch, page, **query | of)
    text = words(app)
    values = {metric.label: metric.value for metric in app.metric}
    assert not re.search(r"(?<![\d.])0(\.0)? ?%", text) and "is misclassified" not in text
    if page == PREDICTIONS:
        assert values == {"Accuracy": "-", "Misclassified": "-", "Unreadable": "0"} and why in text
        assert (NOTHING in text) == bool(query)
    elif page == COMPARE:
        assert "No accuracy: no common clip" in text or "have no clip in common" in text
        assert not values
    elif query == {"show": "Correct and misclassified"}:
        assert why in text and NOTHING in text
    elif page == CLIP and run == "unknown":
        assert "neither correct nor wrong" in text
    elif page == CLIP:
        assert "no label" in text


def test_the_clips_that_do_not_count_are_said(runs, monkeypatch):
    app = open_page(runs, monkeypatch, PREDICTIONS, run="partly")
    hugs = "Not counted: 1 without a label and 1 with labels that the network does not know (hug), of 4 clips."
    assert hugs in words(app)
    assert "over 2 clips" in words(app)
    assert {m.label: m.value for m in app.metric}["Accuracy"] in ("0.0%", "50.0%", "100.0%")


def test_an_invented_split_and_trained_clips_are_said(runs, tmp_path, monkeypatch):
    data = Path(shutil.copytree(runs.parent / "unknown", tmp_path / "clips"))
    facts = {"train_keys": training_keys(read_dataset(data)), "groups_from": ""}
    facts |= {"split_from": "invented by checksum, no groups known"}
    tiny, trained_here = load_checkpoint(save_tiny(tmp_path / "tiny.safetensors")), tmp_path / "trained.safetensors"
    classes = ["hug", "run", *CLASSES[2:]]
    save_checkpoint(trained_here, tiny.model, classes, tiny.preprocessing, tiny.annotation, facts)
    for split in ("", "all"):
        record(trained_here, data, tmp_path / "runs" / f"of{split}", DatasetOptions(split=split))
    leak = "Held-out clips were chosen by checksum; no groups known: clips of one source video may also be in training."
    trained = "The network was trained on 3 of these 4 clips."
    first, every = (words(open_page(tmp_path / "runs", monkeypatch, PREDICTIONS, run=run)) for run in ("of", "ofall"))
    assert leak in first and trained not in first
    assert trained in every and leak not in every
    both = words(open_page(tmp_path / "runs", monkeypatch, COMPARE, a="of", b="ofall"))
    assert f"**A**: {leak}" in both and f"**B**: {trained}" in both
