"""Heatmaps over frames: scales, colours, and the part of a frame that the network sees."""

import numpy as np
import pytest

from analysis.explain.overlay import (
    HeatmapTable,
    draw_heatmap,
    fit_text,
    input_box,
    load_font,
    overlay,
    scale_maps,
)
from sth_core.video.transforms import Preprocessing


def test_overlay_lights_up_where_and_when_the_map_is_high() -> None:
    frames = np.full((2, 40, 40, 3), 100, np.uint8)
    maps = np.zeros((2, 4, 4), np.float32)
    maps[1, 0, 0] = 0.02  # the clip's largest value is full brightness, however small
    painted = overlay(frames, maps)
    assert np.array_equal(painted[0], frames[0])
    assert painted[1, :5, :5].mean() > 150
    assert np.array_equal(painted[1, 30:, 30:], frames[1, 30:, 30:])
    assert np.array_equal(painted, overlay(frames, maps * 50))
    assert np.array_equal(overlay(frames, maps, opacity=0), frames)
    assert (frames == 100).all()


def test_scales() -> None:
    maps = np.array([[[1.0, -2.0]], [[4.0, 0.0]], [[0.0, 0.0]]])
    assert scale_maps(maps).tolist() == [[[0.25, -0.5]], [[1, 0]], [[0, 0]]]
    assert scale_maps(maps, "frame").tolist() == [[[0.5, -1]], [[1, 0]], [[0, 0]]]
    assert scale_maps(maps, 2.0).tolist() == [[[0.5, -1]], [[1, 0]], [[0, 0]]]  # of a dataset: beyond it is cut off
    assert not scale_maps(np.zeros((2, 3, 3))).any()  # and no warning of a division
    with pytest.raises(ValueError, match="unknown normalisation 'dataset'; possible: clip, frame, or a largest value"):
        scale_maps(maps, "dataset")


def test_signed_maps_are_orange_for_and_blue_against() -> None:
    frames = np.full((1, 40, 40, 3), 128, np.uint8)
    maps = np.zeros((1, 4, 4))
    maps[0, 0, 0], maps[0, 3, 3] = 1.0, -1.0
    painted = overlay(frames, maps, opacity=1).astype(int)[0]
    assert painted[2, 2, 0] > painted[2, 2, 2] + 100 and painted[37, 37, 2] > painted[37, 37, 0] + 100
    assert painted[20, 20].tolist() == [128, 128, 128]


def test_the_crop_s_place_by_hand() -> None:
    assert input_box(240, 320, Preprocessing(resize=256, crop=224)) == (15, 54, 225, 265)  # 341 wide, 58 from the left
    assert input_box(240, 320, Preprocessing(resize=(256, 340), crop=224)) == (15, 55, 225, 265)
    assert input_box(300, 100, Preprocessing(resize=(50, 200), crop=50)) == (0, 38, 300, 62)


@pytest.mark.parametrize("signed", [False, True])
def test_a_heatmap_by_tables_is_that_by_computation(signed: bool) -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (64, 80, 3), np.uint8)
    share = random.uniform(-1 if signed else 0, 1, (5, 6)).astype(np.float32)
    mine = picture.copy()
    HeatmapTable(0.6, signed).draw_on(mine, share)
    off = np.abs(mine.astype(int) - draw_heatmap(picture, share, 0.6, signed))
    assert off.mean() < 1.5 and np.quantile(off, 0.99) <= 8
    untouched = picture.copy()
    HeatmapTable(0.6, signed).draw_on(untouched, np.zeros((5, 6)))
    assert np.abs(untouched.astype(int) - picture).max() <= 1


@pytest.mark.parametrize(
    "text", ["a\nb", "\0", "\u202ex", "x" * 100_000, "日本", ""], ids=lambda text: ascii(text)[:20]
)
def test_every_name_can_be_drawn(text: str) -> None:
    shown = fit_text(text, 12, 200)
    assert load_font(12).getlength(shown) <= 200 and "\n" not in shown
