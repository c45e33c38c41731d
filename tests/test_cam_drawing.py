"""The drawings on a video's frames: maps lie where and when they belong, and texts are legible."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from analysis.explain.cam_drawing import FrameAnnotations, title_band
from analysis.explain.cam_video import annotated_frames
from analysis.explain.gradcam import mass_shares
from analysis.explain.overlay import draw_heatmap, fit_text, input_box, map_reach
from analysis.explain.video_explanation import CamOptions, VideoExplanation
from sth_core.errors import UserError
from sth_core.video.encoding import write_video
from sth_core.video.modality import FLOW_STACK
from sth_core.video.sampling import evaluation_positions
from sth_core.video.transforms import crop, resize
from tests.tiny import FLOW, RGB


def planted(maps: np.ndarray, seen: list[int], **how: Any) -> VideoExplanation:
    mass = mass_shares(np.abs(maps))
    return VideoExplanation(
        CamOptions("layer3.1", "opening", **how), np.array(seen), maps, mass, [("opening", 0.9)], {}
    )


@pytest.mark.parametrize("size", [(36, 48), (97, 141), (480, 270)])
@pytest.mark.parametrize("to", [36, (36, 36), (40, 60)])
def test_a_planted_map_lies_where_the_network_saw_it(
    to: int | tuple[int, int], size: tuple[int, int], tmp_path: Path
) -> None:
    """What is bright in the crop that the network gets is what is painted, also where its resize distorts."""
    H, W = size
    p = replace(RGB, resize=to)
    top, left, bottom, right = input_box(H, W, p)
    marked = np.zeros((1, H, W, 3), np.uint8)
    marked[:, top : top + (bottom - top) // 2, left : left + (right - left) // 2] = 255
    seen = crop(resize(marked, to), p.crop)[0, ..., 0] > 127
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert rows[0] == columns[0] == 0 and abs(rows[-1] - 15) <= 1 and abs(columns[-1] - 15) <= 1
    write_video(tmp_path / "x.mp4", [np.full((H + H % 2, W + W % 2, 3), 90, np.uint8)] * 2, 25)
    maps = np.zeros((1, 8, 8))
    maps[0, 1:3, 5:7] = 1  # right of the middle, above it
    top, left, bottom, right = input_box(H + H % 2, W + W % 2, p)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameAnnotations, "draw_on", lambda *_: None)
        (picture, _) = annotated_frames(tmp_path / "x.mp4", 2, planted(maps, [0]), p)
    changed = np.abs(picture.astype(int) - 90).max(2)
    outside = changed.copy()
    outside[top:bottom, left:right] = 0
    assert outside.max() <= 2
    middle = (round(top + (bottom - top) / 4), round(left + (right - left) * 6 / 8))
    assert changed[middle] > 50
    inner = changed[top + 2 : bottom - 2, left + 2 : right - 2]  # without the outline
    assert inner[len(inner) // 2 :].max() <= 2 and inner[:, : inner.shape[1] // 2].max() <= 2
    assert (changed[top, left:right] > 50).mean() > 0.9  # the outline


def test_between_two_frames_lies_what_is_between_their_maps(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", [np.zeros((32, 32, 3), np.uint8)] * 12, 25)
    maps = np.stack([np.full((2, 2), value) for value in (0.2, 1.0)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameAnnotations, "draw_on", lambda *_: None)
        found = [p[16, 16] for p in annotated_frames(tmp_path / "x.mp4", 12, planted(maps, [3, 7], opacity=0.9), RGB)]
    for t, value in enumerate([0.2] * 4 + [0.4, 0.6, 0.8] + [1.0] * 5):
        expected = draw_heatmap(np.zeros((1, 1, 3), np.uint8), np.full((1, 1), value), 0.9)[0, 0]
        np.testing.assert_allclose(found[t].astype(int), expected, atol=3)


def test_far_outside_of_a_dense_clip_lies_no_map(tmp_path: Path) -> None:
    """Frames 4 and 6 were seen; 2 and 8 are as far from them as they are from each other."""
    write_video(tmp_path / "x.mp4", [np.zeros((32, 32, 3), np.uint8)] * 12, 25)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameAnnotations, "draw_on", lambda *_: None)
        shown = annotated_frames(tmp_path / "x.mp4", 12, planted(np.ones((2, 2, 2)), [4, 6]), RGB)
        painted = [t for t, picture in enumerate(shown) if picture[16, 16].max() > 50]
    assert painted == [2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("clips", [1, 2, 10])
def test_the_maps_of_segments_reach_to_both_ends(clips: int) -> None:
    for p in (RGB, FLOW):
        for frames in range(1, 200):
            positions = frames if p is RGB else max(1, frames - FLOW_STACK)
            seen = np.unique(evaluation_positions(positions, 8, clips))
            assert seen[0] - map_reach(seen, p) <= 0 and seen[-1] + map_reach(seen, p) >= frames - 1


@pytest.mark.parametrize("size", [(120, 160), (240, 320), (720, 1280), (1280, 720), (1080, 1920)])
def test_annotations_are_legible_and_leaves_the_middle_free(size: tuple[int, int]) -> None:
    H, W = size
    e = planted(np.ones((4, 2, 2)), [1, 3, 5, 7])
    e = replace(e, alpha={f"layer{i}": 0.5 for i in range(16)}, top=[(f"class {i}", 0.2) for i in range(5)])
    annotations = FrameAnnotations(e, H, W, 9)
    picture = np.full((H, W, 3), 255, np.uint8)
    annotations.draw_on(picture, 4)
    assert annotations.size >= 9
    assert (picture[H // 2 : H * 3 // 4] == 255).all()
    assert (picture[: H // 10, : W // 4] < 130).mean() > 0.4  # white on dark, also where the video is white
    assert len(annotations.panels) == (3 if H == 120 else 4)
    x = round(annotations.x[4])
    assert (picture[-3:, x] == 255).all() and annotations.x[0] < x < annotations.x[8] < W


def test_a_picture_too_small_for_words_has_none() -> None:
    annotations = FrameAnnotations(planted(np.ones((1, 2, 2)), [0]), 48, 64, 9)
    picture = np.full((48, 64, 3), 7, np.uint8)
    annotations.draw_on(picture, 4)
    assert (picture == 7).all()


def test_long_names_are_cut_and_the_title_loses_its_end() -> None:
    e = planted(np.ones((1, 2, 2)), [0])
    wide, narrow = (title_band(e, width, 20) for width in (1280, 160))
    assert np.asarray(wide)[..., 0].sum() > np.asarray(narrow)[..., 0].sum()
    assert fit_text("turning counterclockwise", 20, 100).endswith("…")
    assert fit_text("short", 20, 100) == "short"


def test_frames_that_change_their_size_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for t, size in enumerate((64, 64, 80, 64, 64, 64, 64, 64)):
        cv2.imwrite(str(folder / f"{t}.png"), np.zeros((size, 64, 3), np.uint8))
    with pytest.raises(UserError, match="change their size, at frame 2"):
        list(annotated_frames(folder, 8, planted(np.ones((1, 2, 2)), [0]), RGB))
