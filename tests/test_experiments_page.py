"""The Experiments page: results of probe, intervene and trust, whole, missing, damaged, and started as jobs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.experiments.changed_clips import explained_clips, probed_clips, replaced_clips
from analysis.experiments.found_results import INTERVENE, PROBE, TRUST, results_of, trust_results
from analysis.experiments.interventions import effects_in
from analysis.experiments.probe_tables import PROBES, probe_table, probes_in
from analysis.experiments.trust_tables import TrustResults
from analysis.experiments.verdicts import frame_order_sentence
from analysis.explain.alpha_replacement import EVERY_LAYER, HALF
from analysis.runs.run_directory import open_run, predictions
from sth_core.errors import UserError
from tests.test_app import edit, open_page, words
from tests.test_own import wait_for
from tests.tiny import write_run
from workbench.experiments import experiment_command, experiment_job, why_impossible
from workbench.jobs import find_jobs, job_status

PAGE = "workbench/pages/experiments.py"


@pytest.fixture
def copied(experiments: Path, tmp_path: Path) -> Path:
    shutil.copytree(experiments, tmp_path / "runs")
    return tmp_path / "runs"


def test_verdicts_come_first_and_tables_have_the_commands_numbers(
    experiments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(experiments, monkeypatch, PAGE, run="tiny")
    text, table = words(app), probe_table(open_run(experiments / "tiny"))
    assert not app.error and not app.warning, text
    for question in ("Does it use the frame order?", "Does attention matter?", "Which explanation can be trusted?"):
        assert f"**{question}**" in text
    assert frame_order_sentence(table) in text and "random map and a centre prior (95 %:" in text
    assert "24 clips (whiskers: 95 % intervals over clips)" in text
    shown = next(frame.value for frame in app.dataframe if "probe" in frame.value)
    assert shown["probe"].tolist() == list(PROBES)
    np.testing.assert_allclose(shown["accuracy"], (100 * table["accuracy"]).round(1))
    links = next(frame.value for frame in app.dataframe if "open" in frame.value)["open"]
    assert links.iloc[0].startswith("clip?run=tiny&clip=")


@pytest.mark.parametrize(
    ("experiment", "heading", "charts"), [("Interventions", "By class, everywhere", 3), ("Trust", "Each test", 5)]
)
def test_the_other_views(
    experiment: str, heading: str, charts: int, experiments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(experiments, monkeypatch, PAGE, run="tiny", experiment=experiment)
    assert not app.error, app.error
    assert heading in [header.value for header in app.header] and len(app.get("plotly_chart")) == charts


def test_what_is_not_there_is_said_with_its_command(recorded: Path, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(recorded, tmp_path / "tiny")
    app = open_page(tmp_path, monkeypatch, PAGE, run="tiny")
    assert f"the page looked for {tmp_path}/tiny/probes/probes.json" in words(app)
    assert app.code[0].value == experiment_command(open_run(tmp_path / "tiny"), PROBE)
    assert app.code[0].value.startswith("sth probe /") and f"--out={tmp_path}/tiny" in app.code[0].value


@pytest.mark.parametrize(
    ("meta", "sentence"),
    [
        ({"fused": [{"run": "a"}]}, "fused from several networks"),
        (
            {"imported": {"file": "a.csv", "columns": {}, "softmax": False, "invented": ""}},
            "its predictions were imported from a.csv",
        ),
        ({}, "run.json does not say where the run's network is"),
        ({"checkpoint": "torchvision:r3d_18", "conv": "other"}, "no attention α that could be replaced"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(meta: dict, sentence: str, tmp_path: Path, monkeypatch) -> None:
    write_run(tmp_path / "a", [[0.5], [0.6]])
    edit(tmp_path / "a", **meta)
    monkeypatch.setenv("STH_RUNS", str(tmp_path))
    assert sentence in why_impossible(open_run(tmp_path / "a"), INTERVENE)
    with pytest.raises(UserError, match=sentence.split("'")[0]):
        experiment_job(open_run(tmp_path / "a"), INTERVENE)
    assert sentence in words(open_page(tmp_path, monkeypatch, PAGE, run="a", experiment="Interventions"))
    assert not find_jobs(tmp_path)


def test_damaged_results_are_sentences_and_the_others_stay(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = copied / "tiny"
    next((run / "interventions" / "effects").iterdir()).write_bytes(b"PAR1 torn")
    (run / "trust" / "trust.json").write_text(json.dumps({"command": "sth trust"}))
    text = words(open_page(copied, monkeypatch, PAGE, run="tiny"))
    assert "It uses" in text or "it uses the frame order is not shown" in text
    assert f"{run}/interventions cannot be read (" in text and "moves damaged parts aside" in text
    assert "trust.json is damaged (it has no clips)" in text
    (run / "interventions" / "interventions.json").write_text("{")
    for name, said in (("Interventions", "interventions.json is damaged"), ("Trust", "trust.json is damaged")):
        assert said in words(open_page(copied, monkeypatch, PAGE, run="tiny", experiment=name))
    (run / "trust" / "trust.json").unlink()
    assert f"{run}/trust/trust.json is missing" in words(open_page(copied, monkeypatch, PAGE, run="tiny"))
    (run / "probes" / "part-00000.parquet").write_bytes(b"PAR1 torn")  # without them no page shows the run
    assert "its probes cannot be read" in words(open_page(copied, monkeypatch, PAGE))


def test_unfinished_results_are_shown_and_said(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = copied / "tiny" / "probes" / "probes.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"finished": None}))
    app = open_page(copied, monkeypatch, PAGE, run="tiny")
    assert "has not finished these results" in app.warning[0].value and len(app.dataframe) > 3
    results = results_of(open_run(copied / "tiny"), PROBE)
    assert results and "the same command continues it" in results.problem


def test_trust_of_any_folder_below_the_runs_is_found(copied: Path) -> None:
    shutil.move(copied / "tiny" / "trust", copied / "elsewhere")
    assert [found.folder for found in trust_results(copied)] == [copied / "elsewhere"]


def test_the_clips_behind_a_number(experiments: Path) -> None:
    run = open_run(experiments / "tiny")
    rows, clips = probes_in(run.path).read("probes"), probed_clips(run, "reversed")
    one = clips.iloc[0]
    of_clip = rows[rows["clip_id"] == one["clip_id"]].set_index("probe")
    assert one["score_fall"] == pytest.approx(
        of_clip.loc["plain", "score_label"] - of_clip.loc["reversed", "score_label"], abs=1e-6
    )
    assert clips["score_fall"].is_monotonic_decreasing and len(clips) == 24
    shuffled = probed_clips(run, "shuffled")
    assert set(shuffled["changed"]) <= {0, 1 / 3, 2 / 3, 1}
    effects = effects_in(run.path).read("effects")
    replaced = replaced_clips(effects, EVERY_LAYER, HALF)
    assert len(replaced) == 24 and (replaced["changed"] == (replaced["predicted"] != replaced["predicted_plain"])).all()
    results = TrustResults(run.path / "trust")
    assert explained_clips(results, results.explanations[0])["better_by"].is_monotonic_increasing


def row_of(name: str, change: float, p: float) -> dict:
    return {"probe": name, "change": change, "low": change - 0.1, "high": change + 0.1, "p_holm": p}


@pytest.mark.parametrize(
    ("reversed_p", "frozen_p", "finding"),
    [
        (0.01, 0.01, "It uses the frame order."),
        (0.3, 0.01, "It uses several pictures of a clip; that it uses their order is not shown."),
        (0.3, np.nan, "That it uses the frame order is not shown, nor that it uses several pictures."),
    ],
)
def test_the_verdict_on_frame_order_by_hand(reversed_p: float, frozen_p: float, finding: str) -> None:
    rows = [row_of("reversed", -0.5, reversed_p), row_of("shuffled", 0.2, 0.01), row_of("frozen", -0.3, frozen_p)]
    said = frame_order_sentence(pd.DataFrame(rows))
    assert said.startswith(finding) and "reversed -50.0 (-60.0 to -40.0)" in said


@pytest.mark.long
def test_a_job_makes_the_probes(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(recorded, tmp_path / "tiny")
    monkeypatch.setenv("STH_RUNS", str(tmp_path))
    job = experiment_job(open_run(tmp_path / "tiny"), PROBE, ["--shuffles=1"])
    status = wait_for(job, 300)
    assert (status.state, status.done, status.total) == ("finished", 24, 24), status.log
    assert len(probes_in(tmp_path / "tiny").read("probes")) == 24 * 8
    app = open_page(tmp_path, monkeypatch, PAGE, run="tiny")
    assert "Probes: tiny" in words(app) and f"page: {tmp_path}/tiny/probes/index.html" in words(app)
    assert job_status(find_jobs(tmp_path)[0]).state == "finished"


def test_a_network_or_data_that_is_gone_is_refused_before_a_job(recorded: Path, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(recorded, tmp_path / "tiny")
    monkeypatch.setenv("STH_RUNS", str(tmp_path))
    for values, sentence in (
        ({"data": "/no/such/folder"}, "dataset is not there"),
        ({"checkpoint": "/no/such.safetensors"}, "network is not there any more"),
        ({"checkpoint": "/a/my_model.py:build"}, "runs no code that a run names"),
    ):
        edit(tmp_path / "tiny", **values)
        with pytest.raises(UserError, match=sentence):
            experiment_job(open_run(tmp_path / "tiny"), TRUST)
    assert not find_jobs(tmp_path)


def test_other_roots_are_passed_on(recorded: Path, scenes_folder: Path, tmp_path: Path, monkeypatch) -> None:
    """With a --root, an experiment reads no video outside, whatever the dataset lists."""
    shutil.copytree(recorded, tmp_path / "runs" / "tiny")
    outside = predictions(open_run(tmp_path / "runs" / "tiny"))
    monkeypatch.setenv("STH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("STH_ROOTS", str(tmp_path))
    with pytest.raises(UserError, match="may not be read"):
        experiment_job(open_run(tmp_path / "runs" / "tiny"), PROBE)
    assert str(scenes_folder) in outside["path"].iloc[0]
