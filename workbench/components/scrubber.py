"""A clip's exact frames under the arrow keys, with Grad-CAM over each and curves below.

The server decodes frames by number, because a browser's player does not show an exact frame. It sends one chunk of the
clip at a time, so that most steps need no request. The URL gets the frame's number once the person stops moving.
"""

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import streamlit as st

from analysis.explain.gradcam import Cam, sum_by_frame
from analysis.explain.overlay import AGAINST, FOR, input_box, scale_maps
from analysis.report.plots import COLOURS
from sth_core.video import count_frames, read_frames
from sth_core.video.transforms import Preprocessing, resize
from workbench.components.context import cache_data_of_files
from workbench.components.js_component import js_component

CAM_COLOUR, DROP_COLOUR = COLOURS[4], COLOURS[5]
CHUNK, MOST_PIXELS = 96, 320  # frames that are sent at once; pixels of a frame's shorter side
HTML = """<div class="scrubber">
  <div class="slider" tabindex="0" role="slider" aria-label="Frame" aria-valuemin="0">
    <canvas class="picture"></canvas>
    <canvas class="timeline"></canvas>
  </div>
  <div class="buttons">
    <button class="first" aria-label="First frame">|◀</button>
    <button class="previous" aria-label="Previous frame">◀◀</button>
    <button class="play" aria-label="Play">▶</button><button class="next" aria-label="Next frame">▶▶</button>
    <button class="last" aria-label="Last frame">▶|</button>
    <button class="previous-input" aria-label="Previous input frame">◁ input</button>
    <button class="next-input" aria-label="Next input frame">input ▷</button>
    <span class="status" role="status"></span>
  </div>
</div>"""
COMPONENT = js_component("scrubber", HTML)


@dataclass(frozen=True)
class Curve:
    """A value (T,) for each input frame; `unit` is "share" (of a sum) or "points" (of a score)."""

    name: str
    values: np.ndarray
    unit: str
    colour: str
    dash: tuple[int, ...] = ()


@cache_data_of_files(show_spinner="Reading frames", max_entries=64)
def cached_jpegs(path: Path, start: int) -> tuple[list[str], int, int]:
    """JPEGs (base64) of a chunk of frames from `start` on, their height and width."""
    numbers = range(start, min(start + CHUNK, cached_frame_count(path)))
    frames = read_frames(path, list(numbers))
    if min(frames.shape[1:3]) > MOST_PIXELS:
        frames = resize(frames, MOST_PIXELS)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 88]
    jpegs = [cv2.imencode(".jpg", np.ascontiguousarray(f[..., ::-1]), quality)[1].tobytes() for f in frames]
    return [b64encode(jpeg).decode() for jpeg in jpegs], frames.shape[1], frames.shape[2]


@cache_data_of_files(show_spinner=False, max_entries=1000)
def cached_frame_count(path: Path) -> int:
    return count_frames(path)


def cam_colours(signed: bool) -> np.ndarray:
    """(256, 3) uint8: the colours of CAM values from -1 to 1."""
    if signed:
        return np.repeat(np.array([AGAINST, FOR], np.uint8), 128, 0)
    shades = np.abs(np.arange(256) - 127.5) * 2
    return cv2.applyColorMap(np.rint(shades).astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]


def show_scrubber(
    path: Path, cam: Cam, indices: np.ndarray, p: Preprocessing, curves: list[Curve], rate: float, *, opacity: float,
    signed: bool, scale: str,
) -> None:  # fmt: skip
    """Show the clip frame by frame. `indices` (T,) are the input frames; the shown frame is `frame` in the URL."""
    count, key = cached_frame_count(path), f"scrubber {path}"
    frame, requested = current_frame(key, count, int(indices[cam.per_frame.argmax()]))
    start = frame // CHUNK * CHUNK
    images, height, width = cached_jpegs(path, start)
    inputs, repeats = sum_by_frame(indices, np.ones(len(indices)))  # a short clip has some frames several times
    maps = sum_by_frame(indices, scale_maps(cam.signed if signed else cam.maps, scale))[1] / repeats[:, None, None]
    data: dict[str, Any] = {
        "clip": str(path), "count": count, "rate": rate, "start": start, "images": images, "height": height,
        "width": width, "box": list(input_box(height, width, p)), "inputs": inputs.tolist(),
        "maps": b64encode(np.rint(127 * maps).astype(np.int8).tobytes()).decode(), "rows": maps.shape[1],
        "columns": maps.shape[2], "colours": b64encode(cam_colours(signed).tobytes()).decode(), "opacity": opacity,
        "curves": [
            {"name": c.name, "unit": c.unit, "colour": c.colour, "dash": list(c.dash),
             "values": (sum_by_frame(indices, c.values)[1] / (repeats if c.unit == "points" else 1)).tolist()}
            for c in curves
        ],
        "request": requested[0], "frame": requested[1],
    }  # fmt: skip
    COMPONENT(key=key, data=data, on_frame_change=lambda: None)


def current_frame(key: str, count: int, first: int) -> tuple[int, tuple[int, int]]:
    """The frame to show, and the last request that came by a link or Back: its serial number, and its frame.

    A frame to which the person moved in the browser is no request: the browser shows it already.
    """
    moved = (st.session_state.get(key) or {}).get("frame")
    state: dict[str, Any] = st.session_state.setdefault(
        f"{key} known", {"moved": None, "url": None, "requested": (0, first)}
    )

    def request(frame: int, url: str | None) -> None:
        state.update(url=url, moved=moved, requested=(state["requested"][0] + 1, frame))

    text = st.query_params.get("frame")
    if moved is not None and moved != state["moved"]:
        state.update(moved=moved, url=str(moved))
        st.query_params["frame"] = str(moved)
    elif text is not None and text != state["url"]:
        wanted = int(text) if text.isdecimal() and len(text) < 10 else count
        if wanted >= count:
            st.warning(f"This clip has no such frame. Its frames are 0 to {count - 1}.")
            wanted = first
        request(wanted, text)
        return wanted, state["requested"]
    elif text is None and state["url"] is not None:  # Back, to before the first step
        request(first, None)
    if state["url"] is None:
        return state["requested"][1], state["requested"]
    current = int(state["url"]) if state["url"].isdecimal() and int(state["url"]) < count else first
    return current, state["requested"]
