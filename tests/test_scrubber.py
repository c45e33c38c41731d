"""The clip frame by frame, in a real Chromium: the exact frame is painted, and on it what Python would paint."""

import io
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from analysis.attention.clip_profiles import clip_overview
from analysis.explain.faithfulness import occlusion_drop
from analysis.explain.gradcam import cam_layers, default_layer, gradcam
from analysis.explain.overlay import draw_heatmap, input_box, scale_maps
from analysis.runs.run_directory import open_run
from benchmarks.browser import settle, until
from sth_core import load_checkpoint
from sth_core.video import count_frames, read_frames
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import read_clip
from sth_core.video.transforms import crop, normalise
from workbench.components import scrubber

pytestmark = [pytest.mark.browser, pytest.mark.long]
RUN, CLIP = "motion-rgb-p4", "val/0001_00007.mp4"
LINK = f"clip?run={RUN}&clip={quote(CLIP, safe='')}"


def at_frame(page: Page, number: int) -> np.ndarray:
    """What the canvas shows (H, W, 3), once it shows this frame."""
    expect(page.locator(f".scrubber[data-frame='{number}']")).to_be_visible()
    url = page.locator(".picture").evaluate("canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(b64decode(url.split(",")[1]))).convert("RGB"))


@pytest.fixture
def video(demo: Path) -> Path:
    table = clip_overview(open_run(demo / "runs" / RUN)).set_index("clip_id")
    return Path(table.loc[CLIP, "path"])


def test_the_arrow_keys_show_exact_frames(tab: Page, address: str, video: Path):
    count = count_frames(video)
    frames = read_frames(video, list(range(count))).astype(float)
    p = load_checkpoint("workbench/networks/motion-rgb-p4.safetensors").preprocessing
    top, left, bottom, right = input_box(frames.shape[1], frames.shape[2], p)
    frames[:, [top, bottom - 1], left:right] = frames[:, top:bottom, [left, right - 1]] = 190  # the box is drawn
    tab.goto(f"{address}/{LINK}&frame=10&opacity=0")

    def nearest() -> int:
        """Which frame of a full decode the canvas is closest to."""
        shown = at_frame(tab, int(tab.locator(".scrubber").get_attribute("data-frame") or -1))
        return int(np.abs(frames - shown).mean((1, 2, 3)).argmin())

    at_frame(tab, 10)
    assert nearest() == 10
    slider = tab.get_by_role("slider", name="Frame")
    settle(tab)
    slider.focus()
    for key, to in (
        ("ArrowRight", 11), ("ArrowRight", 12), ("ArrowLeft", 11), ("Shift+ArrowRight", 21), ("End", count - 1),
        ("ArrowRight", count - 1), ("Home", 0), ("ArrowLeft", 0),
    ):  # fmt: skip
        tab.keyboard.press(key)
        at_frame(tab, to)
        assert nearest() == to
        assert slider.get_attribute("aria-valuenow") == str(to)
    expect(tab.locator(".status")).to_contain_text(f"frame 0 of {count}")
    until(tab, "new URLSearchParams(location.search).get('frame') === '0'")


def test_the_browser_draws_the_same_map_as_python(tab: Page, address: str, video: Path, demo: Path):
    checkpoint = load_checkpoint(open_run(demo / "runs" / RUN).meta["checkpoint"])
    p = checkpoint.preprocessing
    pixels, seen = read_clip(ClipSource(video), p)
    clip = normalise(torch.from_numpy(np.ascontiguousarray(crop(pixels, p.crop))), p)
    target = int(checkpoint.model(clip[None]).argmax())
    layer = default_layer(cam_layers(checkpoint.model, p.crop))
    for options, signed in (("", False), ("&signed=true", True)):
        cam = gradcam(checkpoint.model, clip, target, layer)
        maps = scale_maps(cam.signed if signed else cam.maps, "clip")
        at = int(np.abs(maps).sum((1, 2)).argmax())
        frame = read_frames(video, [int(seen[at])])[0]
        top, left, bottom, right = input_box(frame.shape[0], frame.shape[1], p)
        wanted = frame.copy()
        wanted[top:bottom, left:right] = draw_heatmap(wanted[top:bottom, left:right], maps[at], 0.9, signed)
        tab.goto(f"{address}/{LINK}&frame={seen[at]}&opacity=0.9{options}")
        shown = at_frame(tab, int(seen[at]))
        inside = np.s_[top + 1 : bottom - 1, left + 1 : right - 1]
        difference = np.abs(shown.astype(float) - wanted)[inside].mean()
        assert difference < 4, difference  # JPEG's share
        assert np.abs(wanted.astype(float) - frame)[inside].mean() > 12  # there is a map to see


def test_a_link_opens_the_same_frame_layer_and_class_in_another_browser(page: Page, browser: Browser, address: str):
    page.goto(f"{address}/{LINK}")
    page.get_by_text("Grad-CAM of ").first.click()
    page.get_by_role("combobox", name="Layer").click()
    page.get_by_role("option", name="layer2.1 (").click()
    expect(page.get_by_text("at layer2.1. Grad-CAM")).to_be_visible()
    page.get_by_role("combobox", name="Definition").click()
    page.get_by_role("option", name="weights per clip").click()
    expect(page.get_by_text("Grad-CAM with weights per clip")).to_be_visible()
    settle(page)
    page.get_by_role("slider", name="Frame").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    until(page, "new URLSearchParams(location.search).get('frame') === '1'")
    mine = at_frame(page, 1)
    other = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    other.goto(page.url)
    expect(other.get_by_text("at layer2.1. Grad-CAM with weights per clip")).to_be_visible()
    assert np.array_equal(at_frame(other, 1), mine)
    other.context.close()


def test_occluding_a_frame_lowers_the_score(tab: Page, address: str, video: Path, demo: Path):
    checkpoint = load_checkpoint(open_run(demo / "runs" / RUN).meta["checkpoint"])
    pixels, seen = read_clip(ClipSource(video), checkpoint.preprocessing)
    clip = np.ascontiguousarray(crop(pixels, checkpoint.preprocessing.crop))
    clip = normalise(torch.from_numpy(clip), checkpoint.preprocessing)
    drop = occlusion_drop(checkpoint.model, clip, int(checkpoint.model(clip[None]).argmax()))
    i = int(drop[:-1].argmax())
    assert drop[i] > 0.003
    tab.goto(f"{address}/{LINK}&frame={seen[i]}")
    expect(tab.locator(".status")).to_contain_text("CAM")
    tab.get_by_text("Occlusion of each frame").click()
    expect(tab.locator(".status")).to_contain_text(f"score falls by {100 * drop[i]:.1f} points")
    tab.get_by_role("button", name="Next input frame").click()
    expect(tab.locator(".status")).to_contain_text(f"score falls by {100 * drop[i + 1]:.1f} points")
    tab.get_by_role("button", name="Next frame", exact=True).click()
    expect(tab.locator(".status")).to_contain_text("not an input frame")


@pytest.mark.parametrize("frame", ["99999", "-1", "x", "1e3"])
def test_a_link_to_a_missing_frame_shows_a_message(frame: str, tab: Page, address: str):
    tab.goto(f"{address}/{LINK}&frame={frame}")
    expect(tab.get_by_text("This clip has no such frame")).to_be_visible()
    expect(tab.locator(".status")).to_contain_text("frame")


class Browsed:
    """A person's browser and what Streamlit knows of it, as far as `current_frame` sees them."""

    def __init__(self) -> None:
        self.session_state: dict[str, Any] = {}
        self.query_params: dict[str, str] = {"run": "a"}
        self.warned: list[str] = []

    def warning(self, text: str) -> None:
        self.warned.append(text)

    def current(self, moved: int | None, **url: str) -> tuple[int, int]:
        """What the page shows once the browser has told where the person is, and the URL as it knows it."""
        self.session_state["clip"], self.query_params = {"frame": moved}, {"run": "a"} | url
        return scrubber.current_frame("clip", 40, 7)


def test_a_url_that_lags_behind_the_person_is_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    browsed = Browsed()
    monkeypatch.setattr(scrubber, "st", browsed)
    assert browsed.current(None) == (7, 0)
    assert browsed.current(8) == (8, 0) and browsed.query_params["frame"] == "8"
    assert browsed.current(8) == (8, 0)  # another widget's change comes before the browser has the new URL
    assert browsed.current(9, frame="8") == (9, 0) and browsed.query_params["frame"] == "9"
    assert browsed.current(9, frame="8") == (9, 0)
    assert browsed.current(9) == (9, 0)
    assert browsed.current(9, frame="9") == (9, 0)
    assert browsed.current(9, frame="20") == (20, 1)  # a link
    assert browsed.current(9, run="b", frame="8") == (8, 2)  # Back to another network's view of the clip
    assert browsed.current(9, run="b", frame="99") == (7, 3) and "Its frames are 0 to 39" in browsed.warned[0]
