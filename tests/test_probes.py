"""`sth probe`: each probe by hand, on real files, resumed, and its tables by hand."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from analysis.attention.clip_profiles import clip_overview
from analysis.experiments import probes
from analysis.experiments.probe_tables import (
    DROPPED,
    FROZEN,
    PLAIN,
    PROBES,
    REVERSED,
    SHUFFLED,
    alpha_order_agreement,
    order_dependence,
    probe_summary_sentence,
    probe_table,
    probes_in,
    reversed_predictions,
)
from analysis.experiments.probes import ProbedClips, probe, probe_rows, probed_view, shown_probes, slow_view
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import open_or_record, record
from analysis.runs.run_directory import open_run, predictions
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import read_clip
from sth_core.video.transforms import Preprocessing
from tests.datasets_on_disk import flow_folder, frame_folder
from tests.forked import Forked
from tests.test_cli import ends_well, mistake, sth
from tests.tiny import CLASSES, FLOW, RGB, copy_clips, save_tiny, write_run

COLUMNS = ["clip_id", "probe", "repeat", "label", "prediction", "correct", "confidence", "score_label", "score_plain"]


def frames_of(T: int, channels: int = 3) -> NDArray[np.uint8]:
    """A clip whose frame t is filled with t."""
    return np.broadcast_to(np.arange(T, dtype=np.uint8)[:, None, None, None], (T, 2, 2, channels)).copy()


def seen(probe_name: str, T: int = 8, clip_id: str = "a", repeat: int = 0) -> list[int]:
    return probed_view(frames_of(T), probe_name, clip_id, "rgb", repeat)[:, 0, 0, 0].tolist()


def test_what_is_random_is_drawn_by_the_clip_and_the_repeat() -> None:
    assert seen(PLAIN) == list(range(8)) and seen(FROZEN) == [4] * 8
    for probe_name in (SHUFFLED, DROPPED):
        assert seen(probe_name) == seen(probe_name) != seen(probe_name, clip_id="b")
    assert seen(SHUFFLED) != seen(SHUFFLED, repeat=1)


def test_slow_is_the_middle_half(tmp_path: Path) -> None:
    """Images whose grey is 10 times their number, 16 of them: frames 4 to 11 are the middle half."""
    for i in range(16):
        cv2.imwrite(str(tmp_path / f"{i + 1:05d}.png"), np.full((40, 40, 3), 10 * i, np.uint8))
    source = ClipSource(tmp_path)
    p = Preprocessing("rgb", frames=8, resize=36, crop=32)
    assert (slow_view(source, p)[:, 0, 0, 0] // 10).tolist() == [4, 5, 6, 7, 8, 9, 10, 11]
    assert (slow_view(replace(source, backward=True), p)[:, 0, 0, 0] // 10).tolist() == [11, 10, 9, 8, 7, 6, 5, 4]
    plain, _ = read_clip(source, p)
    assert (plain[:, 0, 0, 0] // 10).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]


@pytest.mark.parametrize("p", [RGB, FLOW], ids=["rgb", "flow"])
@pytest.mark.parametrize("extracted", [False, True])
@pytest.mark.parametrize(("frames", "length"), [(1, 1), (4, 1), (4, 2), (4, 10)])
def test_short_clips_of_every_kind(tmp_path: Path, p: Preprocessing, extracted: bool, frames: int, length: int) -> None:
    frame_folder(tmp_path / "clip", frames=length)
    flow = str(flow_folder(tmp_path / "flow", fields=max(1, length - 1))) if extracted else ""
    row = {"clip_id": "a", "path": str(tmp_path / "clip"), "label": "", "flow": flow, "problem": "", "backward": True}
    row |= {"segment": ""}
    p = Preprocessing(**(vars(p) | {"frames": frames}))
    clips = ProbedClips(pd.DataFrame([row]), CLASSES, p)
    views = clips[0].views
    assert views is not None and views.shape == (len(shown_probes(3)), frames, 32, 32, 3 if p.modality == "rgb" else 10)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    save_tiny(folder / "sth.safetensors")
    save_tiny(folder / "flat.safetensors", conv="2d")
    return folder


def words(networks: Path, name: str, data: Path, run: Path) -> tuple[object, ...]:
    return "probe", networks / f"{name}.safetensors", "--data", data, "-o", run, "--shuffles", 2


@pytest.fixture(scope="module")
def runs(networks: Path, scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sth probe` makes of a network with and without time."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("sth", "flat"):
        said = ends_well(*words(networks, name, scenes_folder, folder / name))
        assert "page: " in said and "sub-sampled" in said
        agreement = pd.read_csv(folder / name / "probes" / "agreement.csv")
        assert probe_summary_sentence(agreement) in " ".join(said.split())
    return folder


def wide(run: Path, column: str) -> pd.DataFrame:
    return probes_in(run).read("probes").pivot(index="clip_id", columns=["probe", "repeat"], values=column)


def test_only_a_network_with_time_sees_the_order(runs: Path) -> None:
    for name in ("score_label", "confidence", "score_plain"):
        flat, sth = wide(runs / "flat", name), wide(runs / "sth", name)
        for other in ((REVERSED, 0), (SHUFFLED, 0), (SHUFFLED, 1)):
            np.testing.assert_allclose(flat[other], flat[PLAIN, 0], atol=1e-5)
            assert (sth[other] - sth[PLAIN, 0]).abs().max() > 1e-3
        assert (flat[FROZEN, 0] - flat[PLAIN, 0]).abs().max() > 1e-3


def test_plain_is_what_was_recorded(runs: Path) -> None:
    rows = probes_in(runs / "sth").read("probes")
    assert list(rows) == COLUMNS and len(rows) == 24 * 9
    plain = rows[rows["probe"] == PLAIN].reset_index(drop=True)
    before = predictions(open_run(runs / "sth"))
    for column in ("clip_id", "label", "prediction", "correct"):
        assert list(plain[column]) == list(before[column])
    np.testing.assert_allclose(plain["confidence"], before["confidence"], atol=1e-5)
    np.testing.assert_allclose(plain["score_plain"], plain["confidence"])


def test_tables_and_page(runs: Path) -> None:
    run = open_run(runs / "sth")
    table = probe_table(run)
    assert list(table["probe"]) == list(PROBES) and set(table["n"]) == {24}
    assert table["accuracy"][0] == predictions(run)["correct"].mean() and table["change"][0] == 0
    score = wide(run.path, "score_label")
    expected = score[PLAIN, 0] - (score[SHUFFLED, 0] + score[SHUFFLED, 1]) / 2
    classes = order_dependence(run).set_index("label")
    labels = predictions(run).set_index("clip_id")["label"]
    np.testing.assert_allclose(classes["drop"], expected.groupby(labels).mean()[classes.index], atol=1e-6)
    back = (score[PLAIN, 0] - score[REVERSED, 0]).groupby(labels).mean()
    np.testing.assert_allclose(classes["drop_reversed"], back[classes.index], atol=1e-6)
    found = alpha_order_agreement(run)
    assert list(found["layer"].unique()) == ["mean", *(layer["layer"] for layer in run.meta["layers"])]
    assert (found["n"] == [len(classes), 24] * (len(found) // 2)).all()
    assert classes["alpha_temporal"].between(classes["alpha_low"], classes["alpha_high"]).all()
    assert clip_overview(run)["needs_order"].to_numpy() == pytest.approx(expected.to_numpy())
    changed = table.set_index("probe").loc[REVERSED, "changed"]
    assert reversed_predictions(run)["n"].sum() == pytest.approx(changed * 24)
    page = (run.path / "probes" / "index.html").read_text(encoding="utf-8")
    assert "Does it use the frame order?" in page and "<script src" not in page
    for name in ("probes", "classes", "agreement", "turned"):
        assert (run.path / "probes" / f"{name}.csv").is_file()
    flat = open_run(runs / "flat")
    classes = order_dependence(flat)
    assert (classes[["drop", "drop_reversed"]] == 0).all(axis=None)  # rounding is no need
    assert classes["alpha_temporal"].isna().all()
    assert "it has no attention" in probe_summary_sentence(alpha_order_agreement(flat))


def probe_slowly(run: Path, data: Path) -> None:
    """A clip at a time."""
    probes.CLIPS_PER_SHARD = 1
    probe(open_run(run), data, shuffles=2)


@pytest.mark.long
def test_killed_it_goes_on_and_ends_as_one_call_would(runs: Path, scenes_folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(runs / "sth", tmp_path / "run", ignore=shutil.ignore_patterns("probes"))
    parts = run / "probes"
    with Forked(probe_slowly, run, scenes_folder) as process:
        process.wait_until(lambda: list(parts.glob("part-*.parquet")))
        time.sleep(np.random.default_rng().uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
    assert process.code == -signal.SIGKILL
    written = {file: file.stat().st_mtime_ns for file in parts.glob("part-*.parquet")}
    assert 0 < len(written) < 24
    assert probe(open_run(run), scenes_folder, shuffles=2) == {}
    assert {file: file.stat().st_mtime_ns for file in written} == written
    assert json.loads((parts / "probes.json").read_text())["finished"]
    whole, again = (probes_in(folder).read("probes") for folder in (runs / "sth", run))
    pd.testing.assert_frame_equal(whole, again, atol=1e-6)
    for table in (probe_table, order_dependence, reversed_predictions):
        pd.testing.assert_frame_equal(table(open_run(runs / "sth")), table(open_run(run)), atol=1e-6)


@pytest.fixture(scope="module")
def relabelled(scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips, all `said` to move left, and a file that is no video."""
    folder = tmp_path_factory.mktemp("relabelled")
    clips = sorted((scenes_folder / "val").glob("*.mp4"))[:4]
    (folder / "torn.mp4").write_bytes(b"torn")
    table = pd.DataFrame({"path": [*(str(clip) for clip in clips), "torn.mp4"], "motion": CLASSES[1]})
    table.assign(said=CLASSES[0], split="val").to_csv(folder / "manifest.csv", index=False)
    return folder


def test_a_finished_run_is_probed_as_it_is(relabelled: Path, networks: Path, tmp_path: Path) -> None:
    network, run = networks / "sth.safetensors", tmp_path / "run"
    record(network, relabelled, run, annotation=Annotation(label="said"), vectors=True)
    described = (run / "run.json").read_bytes()
    line = words(networks, "sth", relabelled, run)
    result = sth(*line, "--label", "said")
    assert result.exit_code == 0, result.output
    assert "not read: torn.mp4: " in result.output and "5 clips, 1 of them unreadable; page: " in result.output
    assert (run / "run.json").read_bytes() == described
    rows = probes_in(run).read("probes")
    assert len(rows) == 4 * 9 and set(rows["label"]) == {CLASSES[0]} and rows["score_label"].notna().all()
    assert "label is 'said', now 'motion'" in mistake(*line)


@pytest.mark.parametrize(("key", "value"), [("split", "train"), ("data", "/elsewhere"), ("protocol", {"crop": "ten"})])
def test_a_run_of_something_else_is_refused(
    runs: Path, networks: Path, scenes_folder: Path, tmp_path: Path, key: str, value: object
) -> None:
    meta = json.loads((runs / "sth" / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(meta | {key: value}))
    shutil.copytree(runs / "sth" / "predictions", tmp_path / "predictions")
    with pytest.raises(UserError, match=f"holds another recording \\({key}[a-z._]* is "):
        open_or_record(networks / "sth.safetensors", scenes_folder, tmp_path)


def test_another_network_and_other_settings_are_refused(runs: Path, networks: Path, scenes_folder: Path) -> None:
    assert "checkpoint_sha256" in mistake(*words(networks, "flat", scenes_folder, runs / "sth"))
    with pytest.raises(UserError, match="holds another set of probes \\(shuffles is 2, now 5"):
        probe(open_run(runs / "sth"), scenes_folder, shuffles=5)


def test_a_checkpoint_that_was_replaced_is_refused(scenes_folder: Path, tmp_path: Path) -> None:
    network = save_tiny(tmp_path / "it.safetensors")
    record(network, scenes_folder, tmp_path / "run")
    with pytest.raises(UserError, match="holds no probes"):
        probe_table(open_run(tmp_path / "run"))
    save_tiny(network, seed=1)
    with pytest.raises(UserError, match="is no longer the network"):
        probe(open_run(tmp_path / "run"), scenes_folder)


def test_outcomes_by_hand() -> None:
    scores = torch.full((8, 2), 0.5)
    scores[0], scores[1] = torch.tensor([0.75, 0.25]), torch.tensor([0.125, 0.875])
    rows = pd.DataFrame(probe_rows("x", "b", ["a", "b"], scores, shuffles=1))
    assert list(rows["probe"]) == list(PROBES) and list(rows["prediction"][:2]) == ["a", "b"]
    assert list(rows["correct"][:2]) == [False, True] and list(rows["score_plain"][:2]) == [0.75, 0.125]
    assert list(rows["score_label"][:2]) == [0.25, 0.875] and list(rows["confidence"][:2]) == [0.75, 0.875]
    assert pd.DataFrame(probe_rows("x", "?", ["a", "b"], scores, 1))["score_label"].isna().all()


def test_tables_by_hand(tmp_path: Path) -> None:
    """c0 and c2 are of class a, c1 and c3 of b; all are taken for a, backward for b, and c0 for a once of two shuffles.

    Each clip is a source video of its own: the errors are those of means over two or four independent values.
    """
    run_path = write_run(tmp_path / "run", [[0.1, 0.8], [0.2, 0.6], [0.3, 0.4], [0.4, 0.2]])
    scores = {REVERSED: [0.1, 0.6, 0.3, 0.4], SHUFFLED: [0.5, 0.2, 0.3, 0.4]}
    rows = [
        {"clip_id": f"c{i}", "probe": name, "repeat": repeat, "label": "ab"[i % 2], "prediction": said,
         "correct": said == "ab"[i % 2], "confidence": 0.9, "score_plain": 0.9,
         "score_label": scores.get(name, [0.9] * 4)[i] + 0.1 * repeat}
        for i in range(4) for name, repeat in shown_probes(2)
        for said in ["b" if name == REVERSED or (name == SHUFFLED and (i, repeat) != (0, 1)) else "a"]
    ]  # fmt: skip
    probes_in(run_path).write({"probes": pd.DataFrame(rows)})
    run = open_run(run_path)
    table = probe_table(run).set_index("probe")
    assert table.loc[REVERSED, ["n", "accuracy", "change", "changed"]].tolist() == [4, 0.5, 0.0, 1.0]
    assert table.loc[SHUFFLED, ["n", "accuracy", "change", "changed"]].tolist() == [4, 0.625, 0.125, 0.875]
    assert table.loc[REVERSED, "score_change"] == pytest.approx(-0.55)
    assert table.loc[SHUFFLED, "score_change"] == pytest.approx(-0.5)
    classes = order_dependence(run).set_index("label")
    assert list(classes.index) == ["b", "a"] and list(classes["changed"]) == [1.0, 1.0]
    assert list(classes["drop"]) == pytest.approx([0.55, 0.45])
    assert list(classes["drop_reversed"]) == pytest.approx([0.4, 0.7])
    ends = classes.loc["a", ["low", "high", "reversed_low", "reversed_high"]]
    half = stats.t.ppf(0.975, 1) * 0.1  # of two values, 0.2 apart
    assert ends.tolist() == pytest.approx([0.45 - half, 0.45 + half, 0.7 - half, 0.7 + half])
    assert list(classes["alpha_temporal"]) == pytest.approx([0.35, 0.4])
    found = alpha_order_agreement(run)
    assert list(found["layer"]) == ["mean"] * 2 + ["layer0.0.conv1"] * 2 + ["layer1.0.conv1"] * 2
    over_clips = found[found["over"] == "clips"]["value"]
    drops = [0.35, 0.65, 0.55, 0.45]
    expected = [stats.spearmanr(alpha, drops)[0] for alpha in ([0.45, 0.4, 0.35, 0.3], range(4), range(4, 0, -1))]
    assert list(over_clips) == pytest.approx(expected)
    assert found[found["over"] == "classes"]["value"].isna().all() and "only 2 classes" in probe_summary_sentence(found)
    turned = reversed_predictions(run)
    assert turned.to_dict("list") == {"label": ["a", "b"], "prediction": ["b"] * 2, "n": [2] * 2, "share": [1.0] * 2}


def test_ctrl_c_keeps_what_was_probed(checkpoint: Path, scenes_folder: Path, tmp_path: Path) -> None:
    data = copy_clips(scenes_folder, tmp_path / "data", 3)
    record(checkpoint, data, tmp_path / "run")
    run, whole = open_run(tmp_path / "run"), []

    def ctrl_c(done: int, total: int) -> None:
        whole.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe(run, data, DatasetOptions(progress=ctrl_c), shuffles=1)
    assert len(probes_in(run.path).done()) == 2
    probe(run, data, DatasetOptions(progress=lambda done, _: whole.append(done)), shuffles=1)
    assert whole == [0, 1, 2, 2, 3]
