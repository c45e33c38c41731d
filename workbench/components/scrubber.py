"""The clip's exact frames under the arrow keys, with Grad-CAM over each and what the network made of it below.

Frames are decoded here, by number: what a browser's player shows at a time is its own guess. Those of one stretch of
the clip go to the browser at once, so that a step costs nothing; the frame is in the URL once it has been still.
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
from workbench.components.scripted import scripted

CAM_COLOUR, DROP_COLOUR = COLOURS[4], COLOURS[5]
STRETCH, SIDE = 96, 320  # frames that are sent at once; the most pixels of a frame's shorter side
HTML = """<div class="scrubber">
  <div class="slider" tabindex="0" role="slider" aria-label="Frame" aria-valuemin="0">
    <canvas class="picture"></canvas>
    <canvas class="timeline"></canvas>
  </div>
  <div class="buttons">
    <button class="first" aria-label="First frame">|◀</button><button class="back" aria-label="Frame before">◀◀</button>
    <button class="play" aria-label="Play">▶</button><button class="on" aria-label="Next frame">▶▶</button>
    <button class="last" aria-label="Last frame">▶|</button>
    <button class="earlier" aria-label="Frame seen before">◁ seen</button>
    <button class="later" aria-label="Next frame seen">seen ▷</button>
    <span class="words" role="status"></span>
  </div>
</div>"""
COMPONENT = scripted("scrubber", HTML)


@dataclass(frozen=True)
class Curve:
    """A value for each frame that the network saw (T,); `unit`: "share" of a whole, or "points" of a score."""

    name: str
    values: np.ndarray
    unit: str
    colour: str
    dash: tuple[int, ...] = ()


@st.cache_data(show_spinner="Reading frames", max_entries=64)
def stretch(path: str, changed: int, start: int) -> tuple[list[str], int, int]:
    """JPEGs (base64) of the frames from `start`, and their height and width."""
    numbers = range(start, min(start + STRETCH, frames_of(path, changed)))
    frames = read_frames(Path(path), list(numbers))
    if min(frames.shape[1:3]) > SIDE:
        frames = resize(frames, SIDE)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 88]
    pictures = [cv2.imencode(".jpg", np.ascontiguousarray(f[..., ::-1]), quality)[1].tobytes() for f in frames]
    return [b64encode(picture).decode() for picture in pictures], frames.shape[1], frames.shape[2]


@st.cache_data(show_spinner=False, max_entries=1000)
def frames_of(path: str, changed: int) -> int:
    return count_frames(Path(path))


def colours(signed: bool) -> np.ndarray:
    """(256, 3) uint8, from what speaks most against a class to what speaks most for it, zero in the middle."""
    if signed:
        return np.repeat(np.array([AGAINST, FOR], np.uint8), 128, 0)
    shades = np.abs(np.arange(256) - 127.5) * 2
    return cv2.applyColorMap(np.rint(shades).astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]


def scrubber(
    path: Path, cam: Cam, seen: np.ndarray, p: Preprocessing, curves: list[Curve], rate: float, *, opacity: float,
    signed: bool, scale: str,
) -> None:  # fmt: skip
    """Show the clip frame by frame; the one that it stands at is `frame` in the URL."""
    changed = path.stat().st_mtime_ns
    count, key = frames_of(str(path), changed), f"scrubber {path}"
    frame, given = frame_here(key, count, int(seen[cam.per_frame.argmax()]))
    start = frame // STRETCH * STRETCH
    images, height, width = stretch(str(path), changed, start)
    shown, times = sum_by_frame(seen, np.ones(len(seen)))  # of a short clip, some more than once
    maps = sum_by_frame(seen, scale_maps(cam.signed if signed else cam.maps, scale))[1] / times[:, None, None]
    data: dict[str, Any] = {
        "clip": str(path), "count": count, "rate": rate, "start": start, "images": images, "height": height,
        "width": width, "box": list(input_box(height, width, p)), "seen": shown.tolist(),
        "maps": b64encode(np.rint(127 * maps).astype(np.int8).tobytes()).decode(), "rows": maps.shape[1],
        "columns": maps.shape[2], "colours": b64encode(colours(signed).tobytes()).decode(), "opacity": opacity,
        "curves": [
            {"name": c.name, "unit": c.unit, "colour": c.colour, "dash": list(c.dash),
             "values": (sum_by_frame(seen, c.values)[1] / (times if c.unit == "points" else 1)).tolist()}
            for c in curves
        ],
        "frame": given[1], "given": given[0],
    }  # fmt: skip
    COMPONENT(key=key, data=data, on_frame_change=lambda: None)


def frame_here(key: str, count: int, first: int) -> tuple[int, tuple[int, int]]:
    """The frame to show, and the last one that was asked for from outside (by a link, or Back): its number in the
    order of such, and the frame. A frame that the person moved to is not sent to the browser, which knows it."""
    moved = (st.session_state.get(key) or {}).get("frame")
    known: dict[str, Any] = st.session_state.setdefault(
        f"{key} known", {"moved": None, "url": None, "given": (0, first)}
    )
    text = st.query_params.get("frame")
    if moved is not None and moved != known["moved"]:
        known |= {"moved": moved, "url": str(moved)}
        st.query_params["frame"] = str(moved)
    elif text is not None and text != known["url"]:
        wanted = int(text) if text.isdecimal() and len(text) < 10 else count
        if wanted >= count:
            st.warning(f"This clip has no such frame: the link names another than 0 to {count - 1}.")
            wanted = first
        known |= {"url": text, "moved": moved, "given": (known["given"][0] + 1, wanted)}
        return wanted, known["given"]
    elif text is None and known["url"] is not None:  # Back, to before the first step
        known |= {"url": None, "moved": moved, "given": (known["given"][0] + 1, first)}
    if known["url"] is None:
        return known["given"][1], known["given"]
    current = int(known["url"]) if known["url"].isdecimal() and int(known["url"]) < count else first
    return current, known["given"]
