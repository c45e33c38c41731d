"""`sth probe`: each probe by hand, whole on real files, gone on with, and its tables by hand."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy import stats

from analysis.browsing import overview
from analysis.probe_tables import agreement, order_dependence, probe_table, rank_correlations, summary, turned_into
from analysis.probes import (
    DROPPED,
    FAST,
    FROZEN,
    PLAIN,
    PROBES,
    REVERSED,
    SHUFFLED,
    SLOW,
    SUBSAMPLED,
    ProbedClips,
    outcome_rows,
    played,
    probe,
    results_in,
    shown,
    slow_view,
)  # fmt: skip
from analysis.recording import record
from analysis.runs import open_run, predictions
from sth_core.errors import UserError
from sth_core.video.fields import read_clip
from sth_core.video.transforms import Preprocessing
from tests.datasets_on_disk import flow_folder, frame_folder
from tests.tiny import CLASSES, FLOW, RGB, save_tiny
from workbench.cli import main

COLUMNS = ["clip_id", "probe", "repeat", "label", "prediction", "correct", "confidence", "score_label", "score_plain"]


def frames_of(T: int, channels: int = 3) -> NDArray[np.uint8]:
    """A clip whose frame t is filled with t."""
    return np.broadcast_to(np.arange(T, dtype=np.uint8)[:, None, None, None], (T, 2, 2, channels)).copy()


def seen(probe_name: str, T: int = 8, clip_id: str = "a", repeat: int = 0) -> list[int]:
    return played(frames_of(T), probe_name, clip_id, "rgb", repeat)[:, 0, 0, 0].tolist()


def test_each_probe_by_hand() -> None:
    assert seen(PLAIN) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert seen(REVERSED) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert seen(FROZEN) == [4] * 8
    assert seen(SUBSAMPLED) == [0, 0, 2, 2, 4, 4, 6, 6]
    assert seen(FAST) == [0, 2, 4, 6, 6, 6, 6, 6]
    assert seen(FAST, T=5) == [0, 2, 4, 4, 4] and seen(SUBSAMPLED, T=5) == [0, 0, 2, 2, 4]


def test_shuffled_is_neither_forward_nor_backward_and_drawn_by_the_clip() -> None:
    for i in range(200):
        found = seen(SHUFFLED, T=3, clip_id=f"c{i}")
        assert sorted(found) == [0, 1, 2] and found not in ([0, 1, 2], [2, 1, 0])
        assert seen(SHUFFLED, T=2, clip_id=f"c{i}") == [1, 0]
    assert seen(SHUFFLED) == seen(SHUFFLED) and seen(SHUFFLED) != seen(SHUFFLED, repeat=1)
    assert seen(SHUFFLED) != seen(SHUFFLED, clip_id="b")


def test_a_quarter_of_the_frames_is_dropped() -> None:
    at_the_beginning = 0
    for i in range(100):
        found = seen(DROPPED, clip_id=f"c{i}")
        kept = sorted(set(found))
        assert len(kept) == 6 and found == sorted(found) and found == seen(DROPPED, clip_id=f"c{i}")
        for t, frame in enumerate(found):
            before = [k for k in kept if k <= t]
            assert frame == (before[-1] if before else kept[0])
        at_the_beginning += 0 not in kept
        assert len(set(seen(DROPPED, T=3, clip_id=f"c{i}"))) == 2  # at least one
    assert at_the_beginning > 5


@pytest.mark.parametrize("name", [name for name in PROBES if name != SLOW])
def test_a_single_frame_stays(name: str) -> None:
    assert seen(name, T=1) == [0]


def test_flow_is_negated_backward_and_gone_when_frozen() -> None:
    clip = frames_of(4, 10) + np.uint8(100)
    back = played(clip, REVERSED, "a", "flow")
    assert back[:, 0, 0, 0].tolist() == [256 - 103, 256 - 102, 256 - 101, 256 - 100]
    assert (played(clip, FROZEN, "a", "flow") == 128).all()
    assert sorted(played(clip, SHUFFLED, "a", "flow")[:, 0, 0, 0]) == [100, 101, 102, 103]


def test_slow_is_the_middle_half(tmp_path: Path) -> None:
    """Images whose grey is 10 times their number, 16 of them: frames 4 to 11 are the middle half."""
    for i in range(16):
        cv2.imwrite(str(tmp_path / f"{i + 1:05d}.png"), np.full((40, 40, 3), 10 * i, np.uint8))
    source = {"path": str(tmp_path), "flow": "", "backward": False}
    p = Preprocessing("rgb", frames=8, resize=36, crop=32)
    assert (slow_view(source, p)[:, 0, 0, 0] // 10).tolist() == [4, 5, 6, 7, 8, 9, 10, 11]
    assert (slow_view(source | {"backward": True}, p)[:, 0, 0, 0] // 10).tolist() == [11, 10, 9, 8, 7, 6, 5, 4]
    plain, _ = read_clip(tmp_path, p)
    assert (plain[:, 0, 0, 0] // 10).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]


@pytest.mark.parametrize("p", [RGB, FLOW], ids=["rgb", "flow"])
@pytest.mark.parametrize("extracted", [False, True])
@pytest.mark.parametrize(("frames", "length"), [(1, 1), (4, 1), (4, 2), (4, 10)])
def test_short_clips_of_every_kind(tmp_path: Path, p: Preprocessing, extracted: bool, frames: int, length: int) -> None:
    frame_folder(tmp_path / "clip", frames=length)
    flow = str(flow_folder(tmp_path / "flow", fields=max(1, length - 1))) if extracted else ""
    row = {"clip_id": "a", "path": str(tmp_path / "clip"), "label": "", "flow": flow, "problem": "", "backward": True}
    p = Preprocessing(**(vars(p) | {"frames": frames}))
    clips = ProbedClips(pd.DataFrame([row]), CLASSES, p)
    views = clips[0].views
    assert views is not None and views.shape == (len(shown(3)), frames, 32, 32, 3 if p.modality == "rgb" else 10)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    save_tiny(folder / "sth.safetensors")
    save_tiny(folder / "flat.safetensors", conv="2d")
    return folder


def words(networks: Path, name: str, data: Path, run: Path) -> list[str]:
    return ["probe", str(networks / f"{name}.safetensors"), "--data", str(data), "-o", str(run), "--shuffles", "2"]


@pytest.fixture(scope="module")
def runs(networks: Path, scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sth probe` makes of a network with and without time."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("sth", "flat"):
        result = CliRunner().invoke(main, words(networks, name, scenes_folder, folder / name))
        assert result.exit_code == 0, result.output
        run = open_run(folder / name)
        assert "page: " in result.output and "sub-sampled" in result.output
        assert summary(pd.read_csv(run.path / "probes" / "agreement.csv")) in " ".join(result.output.split())
    return folder


def wide(run: Path, column: str) -> pd.DataFrame:
    return results_in(run).read("probes").pivot(index="clip_id", columns=["probe", "repeat"], values=column)


def test_only_a_network_with_time_sees_the_order(runs: Path) -> None:
    for name in ("score_label", "confidence", "score_plain"):
        flat, sth = wide(runs / "flat", name), wide(runs / "sth", name)
        for other in ((REVERSED, 0), (SHUFFLED, 0), (SHUFFLED, 1)):
            np.testing.assert_allclose(flat[other], flat[PLAIN, 0], atol=1e-5)
            assert (sth[other] - sth[PLAIN, 0]).abs().max() > 1e-3
        assert (flat[FROZEN, 0] - flat[PLAIN, 0]).abs().max() > 1e-3


def test_plain_is_what_was_recorded(runs: Path) -> None:
    rows = results_in(runs / "sth").read("probes")
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
    np.testing.assert_allclose(classes["drop"], expected.groupby(labels).mean()[classes.index])
    assert classes["alpha_temporal"].between(classes["alpha_low"], classes["alpha_high"]).all()
    assert overview(run)["order"].to_numpy() == pytest.approx(expected.to_numpy())
    assert turned_into(run)["n"].sum() <= table.set_index("probe").loc[REVERSED, "changed"] * 24
    page = (run.path / "probes" / "index.html").read_text(encoding="utf-8")
    assert "Does it need the order of time?" in page and "<script src" not in page
    for name in ("probes", "classes", "agreement", "turned"):
        assert (run.path / "probes" / f"{name}.csv").is_file()
    flat = open_run(runs / "flat")
    assert order_dependence(flat)["alpha_temporal"].isna().all() and "it has no attention" in summary(agreement(flat))


def test_going_on_ends_as_one_call_would(runs: Path, networks: Path, scenes_folder: Path) -> None:
    parts = sorted((runs / "sth" / "probes").glob("*.parquet"))
    before = results_in(runs / "sth").read("probes")
    assert len(parts) == 2
    parts[0].unlink()  # as if it had been killed there
    standing = parts[1].stat().st_mtime_ns
    assert CliRunner().invoke(main, words(networks, "sth", scenes_folder, runs / "sth")).exit_code == 0
    again = results_in(runs / "sth").read("probes")
    pd.testing.assert_frame_equal(before, again, atol=1e-5)
    assert parts[1].stat().st_mtime_ns == standing
    assert json.loads((runs / "sth" / "probes" / "probes.json").read_text())["finished"]


def test_another_network_and_other_settings_are_refused(runs: Path, networks: Path, scenes_folder: Path) -> None:
    result = CliRunner().invoke(main, words(networks, "flat", scenes_folder, runs / "sth"))
    assert result.exit_code == 2 and "checkpoint_sha256" in result.output
    with pytest.raises(UserError, match="holds other results \\(shuffles is 2, now 5"):
        probe(open_run(runs / "sth"), scenes_folder, shuffles=5)


def test_a_checkpoint_that_was_replaced_is_refused(scenes_folder: Path, tmp_path: Path) -> None:
    network = save_tiny(tmp_path / "it.safetensors")
    record(network, scenes_folder, tmp_path / "run")
    with pytest.raises(UserError, match="holds no probes"):
        probe_table(open_run(tmp_path / "run"))
    save_tiny(network, seed=1)
    with pytest.raises(UserError, match="is no longer the checkpoint"):
        probe(open_run(tmp_path / "run"), scenes_folder)


def test_outcomes_by_hand() -> None:
    scores = torch.full((8, 2), 0.5)
    scores[0], scores[1] = torch.tensor([0.75, 0.25]), torch.tensor([0.125, 0.875])
    rows = pd.DataFrame(outcome_rows("x", "b", ["a", "b"], scores, shuffles=1))
    assert list(rows["probe"]) == list(PROBES) and list(rows["prediction"][:2]) == ["a", "b"]
    assert list(rows["correct"][:2]) == [False, True] and list(rows["score_plain"][:2]) == [0.75, 0.125]
    assert list(rows["score_label"][:2]) == [0.25, 0.875] and list(rows["confidence"][:2]) == [0.75, 0.875]
    assert pd.DataFrame(outcome_rows("x", "?", ["a", "b"], scores, 1))["score_label"].isna().all()


def test_correlations_by_hand() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(list("abcde"), 6)
    alpha = random.normal(size=30)
    clips = pd.DataFrame({"label": labels, "group": [f"g{i % 6}" for i in range(30)], "alpha_temporal": alpha})
    clips["drop"] = alpha + random.normal(size=30)
    found = rank_correlations(clips).set_index("over")
    means = clips.groupby("label")[["alpha_temporal", "drop"]].mean()
    assert found.loc["clips", "value"] == pytest.approx(stats.spearmanr(clips["alpha_temporal"], clips["drop"])[0])
    assert found.loc["classes", "value"] == pytest.approx(stats.spearmanr(means["alpha_temporal"], means["drop"])[0])
    assert list(found["n"]) == [5, 30] and (found["low"] <= found["high"]).all()
    alone = rank_correlations(clips.assign(group="one"))
    assert alone["low"].isna().all() and alone["value"].notna().all()
    assert rank_correlations(clips.assign(alpha_temporal=np.nan))["value"].isna().all()
