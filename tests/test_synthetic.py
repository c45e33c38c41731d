"""The synthetic set keeps its promises: reproducible, balanced, and no frame tells a motion from its reverse."""

import csv
import math
import shutil
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from sth_core.datasets import synthetic
from sth_core.datasets.sprites import APPEARANCES, draw_background, draw_object
from sth_core.datasets.synthetic import (
    MOTION_PAIRS,
    MOTIONS,
    Pose,
    Scene,
    draw_scenes,
    length_of,
    level,
    paint,
    pose_at,
    render,
)
from workbench.cli import main

START = Pose(x=150.0, y=120.0, radius=50.0, angle=0.4)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_manifest_tells_every_clip(scenes_folder: Path) -> None:
    rows = rows_of(scenes_folder)
    assert list(rows[0]) == ["path", "motion", "appearance", "split", "frames", "seed"]
    assert Counter((row["split"], row["seed"]) for row in rows) == {("train", "3"): 24, ("val", "4"): 24}
    on_disk = {path.relative_to(scenes_folder).as_posix() for path in scenes_folder.rglob("*.mp4")}
    assert {row["path"] for row in rows} == on_disk
    for split, seed in (("train", 3), ("val", 4)):
        drawn = [(scene.motion, scene.appearance, str(length_of(scene))) for scene in draw_scenes(24, seed)]
        assert [(r["motion"], r["appearance"], r["frames"]) for r in rows if r["split"] == split] == drawn


def test_clips_are_h264_that_browsers_play_of_two_to_three_seconds(scenes_folder: Path) -> None:
    for row in rows_of(scenes_folder)[::6]:
        with av.open(str(scenes_folder / row["path"])) as container:
            stream = container.streams.video[0]
            codec = stream.codec_context
            assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", 320, 240)
            assert stream.average_rate == 24
            decoded = sum(1 for _ in container.decode(video=0))
        assert decoded == int(row["frames"])
        assert 48 <= decoded <= 72


def test_an_interrupted_set_is_completed_with_the_same_bytes_and_the_rest_is_kept(
    scenes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By other processes: four instead of one, with other memory, hashes and threads."""
    folder = tmp_path / "scenes"
    shutil.copytree(scenes_folder, folder)
    lost = [folder / "val" / f"0004_{i:05}.mp4" for i in (0, 9, 15, 17)]
    before = {path: path.read_bytes() for path in lost}
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4") if path not in before}
    for path in lost:
        path.unlink()
    for name, value in {"MALLOC_PERTURB_": "1", "PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "3"}.items():
        monkeypatch.setenv(name, value)

    command = ["data", "synthesize", str(folder), "--clips", "24", "--seed", "4", "--workers", "4"]
    result = CliRunner().invoke(main, command)

    assert result.exit_code == 0, result.output
    assert {path: path.read_bytes() for path in lost} == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert rows_of(folder) == rows_of(scenes_folder)


def test_another_seed_gives_other_clips(scenes_folder: Path) -> None:
    train, val = ({path.read_bytes() for path in (scenes_folder / split).iterdir()} for split in ("train", "val"))
    assert len(train) == len(val) == 24
    assert not train & val


def test_scenes_depend_on_the_seed_alone() -> None:
    assert draw_scenes(60, seed=5) == draw_scenes(60, seed=5)
    assert draw_scenes(60, seed=5) != draw_scenes(60, seed=6)


def test_labels_are_balanced_and_the_two_questions_independent() -> None:
    scenes = draw_scenes(1200, seed=0)
    assert Counter(scene.motion for scene in scenes) == dict.fromkeys(MOTIONS, 100)
    assert Counter(scene.appearance for scene in scenes) == dict.fromkeys(APPEARANCES, 100)
    together = Counter((scene.motion, scene.appearance) for scene in scenes)
    table = np.array([[together[motion, thing] for thing in APPEARANCES] for motion in MOTIONS])
    assert stats.chi2_contingency(table).pvalue > 0.01


@pytest.mark.parametrize(("first", "second"), MOTION_PAIRS)
def test_the_levels_of_a_motion_backward_are_those_of_the_other(first: str, second: str) -> None:
    phase, speed, frames = 0.3, 0.8, 50
    forward = [level(phase, speed, t / frames) for t in range(frames)]
    last = phase + speed * (frames - 1) / frames
    assert [level(last, -speed, t / frames) for t in range(frames)] == pytest.approx(forward[::-1], abs=1e-9)
    assert [pose_at(first, u, START) for u in forward] == [pose_at(second, u, START) for u in forward]


@pytest.mark.parametrize(("first", "second"), MOTION_PAIRS)
def test_a_clip_played_backward_is_a_clip_of_the_other_motion(
    first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "LENGTHS", (8, 9))
    scene, N = Scene(first, "striped letter L", (0, 1)), 8
    forward = list(render(scene))
    # The other motion's speed is the opposite; its phase is made to start where this clip ends.
    monkeypatch.setattr(synthetic, "level", lambda phase, v, t: level(phase - v * (N - 1) / N, v, t))
    other = list(render(Scene(second, scene.appearance, scene.seed)))
    for a, b in zip(forward, reversed(other), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(forward[0], forward[-1])


def levels_of(motions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """u (clips, 5) at five times of the clips that `render` makes of these motions, none of them drawn."""
    seen: list[float] = []
    monkeypatch.setattr(synthetic, "LENGTHS", (5, 6))
    monkeypatch.setattr(synthetic, "draw_background", lambda *_: None)
    monkeypatch.setattr(synthetic, "draw_object", lambda *_: None)
    monkeypatch.setattr(synthetic, "paint", lambda *_: None)
    monkeypatch.setattr(synthetic, "pose_at", lambda motion, u, start: seen.append(u))
    for scene in draw_scenes(12000, seed=9):
        if scene.motion in motions:
            list(render(scene))
    return np.array(seen).reshape(-1, 5)


def test_at_every_time_the_level_is_uniform_for_both_motions(monkeypatch: pytest.MonkeyPatch) -> None:
    firsts = levels_of(tuple(pair[0] for pair in MOTION_PAIRS), monkeypatch)
    seconds = levels_of(tuple(pair[1] for pair in MOTION_PAIRS), monkeypatch)
    assert len(firsts) == len(seconds) == 6000
    for t in range(5):
        # The largest gap between the distributions; of 6000 uniform draws it is below 0.025 in 999 of 1000 cases.
        assert stats.kstest(firsts[:, t], "uniform").statistic < 0.03
        assert stats.kstest(seconds[:, t], "uniform").statistic < 0.03
        assert stats.ks_2samp(firsts[:, t], seconds[:, t]).statistic < 0.04
    forward, backward = (np.diff(u, axis=1) % 1 for u in (firsts, seconds))
    assert (forward < 0.2).all() and (backward > 0.8).all()  # and yet one rises where the other falls


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_every_motion_of_every_thing_can_be_seen(appearance: str) -> None:
    rng = np.random.default_rng(0)
    place, thing = draw_background(synthetic.HEIGHT, synthetic.WIDTH, rng), draw_object(appearance, rng)
    for motion in MOTIONS:
        early, late = (paint(place, thing, pose_at(motion, u, START)).astype(int) for u in (0.4, 0.55))
        changed = (np.abs(early - late).max(-1) > 20).mean()
        assert changed > 0.003, f"{motion}: {changed:.2%} of the pixels change"


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_no_thing_looks_the_same_before_half_a_turn(appearance: str) -> None:
    rng = np.random.default_rng(1)
    place, thing = draw_background(240, 320, rng), draw_object(appearance, rng)
    upright = paint(place, thing, Pose(160, 120, 50, 0.0)).astype(int)
    area = (np.abs(upright - place) > 20).any(-1).sum()
    for degrees in (30, 60, 72, 90, 120, 150):
        turned = paint(place, thing, Pose(160, 120, 50, math.radians(degrees))).astype(int)
        changed = (np.abs(upright - turned) > 20).any(-1).sum()
        assert changed > 0.1 * area, f"turned by {degrees} degrees"
