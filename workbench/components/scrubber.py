"""A clip's exact frames under the arrow keys, with Grad-CAM over each and curves below, as one network sees it or two.

The server decodes frames by number, because a browser's player does not show an exact frame. It sends one chunk of the
clip at a time, so that most steps need no request. The URL gets the frame's number once the person stops moving.
"""

from base64 import b64encode
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import streamlit as st

from analysis.explain.cam_video import frame_rate
from analysis.explain.gradcam import Cam, sum_by_frame
from analysis.explain.overlay import AGAINST, FOR, flow_colours, input_box, map_reach, scale_maps
from analysis.explain.video_explanation import CamOptions
from analysis.report.colours import DROP, MAP
from analysis.report.plots import jpeg_uri
from sth_core.video import count_frames, read_frames
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import fields_in, read_fields, read_wanted
from sth_core.video.transforms import Preprocessing, resize_frame
from workbench.components.browser import component_key, js_component
from workbench.components.cached import cache_data_of_files
from workbench.components.clip_views import ExplainedClip

CAM_COLOUR, DROP_COLOUR = MAP, DROP
CHUNK, MOST_PIXELS = 96, 320  # frames that are sent at once; pixels of a frame's shorter side
HTML = """<div class="scrubber">
  <div class="slider" tabindex="0" role="slider" aria-label="Frame" aria-valuemin="0">
    <div class="pictures"></div><canvas class="timeline"></canvas>
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
cached_frame_count = cache_data_of_files(show_spinner=False, max_entries=1000)(count_frames)


@dataclass(frozen=True)
class Curve:
    """A value (T,) for each input frame; `unit` is "share" (of a sum) or "points" (of a score)."""

    name: str
    values: np.ndarray
    unit: str
    colour: str
    dash: tuple[int, ...] = ()


def shown_size(frame: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3), no larger than is shown."""
    return resize_frame(frame, MOST_PIXELS) if min(frame.shape[:2]) > MOST_PIXELS else frame


@cache_data_of_files(show_spinner="Reading frames", max_entries=64)
def cached_jpegs(path: Path, start: int) -> tuple[list[str], int, int]:
    """JPEGs (as data URIs) of a chunk of frames from `start` on, their height and width."""
    numbers = range(start, min(start + CHUNK, cached_frame_count(path)))
    frames = read_frames(path, list(numbers), each=shown_size)
    return [jpeg_uri(frame, 88) for frame in frames], frames.shape[1], frames.shape[2]


@st.cache_data(show_spinner="Computing the flow", max_entries=32)
def cached_flow_jpegs(path: Path, flow: str, start: int, p: Preprocessing) -> tuple[list[str], int, int]:
    """As `cached_jpegs`, of the flow fields that begin at these frames; the last frame shows the field before it."""
    source = ClipSource(path, flow)
    fields = fields_in(source, p)
    numbers = [min(i, len(fields) - 1) for i in range(start, min(start + CHUNK, cached_frame_count(path)))]
    read = read_wanted(np.array(numbers), lambda wanted: read_fields(source, wanted, p, fields=fields))
    return [jpeg_uri(flow_colours(field), 88) for field in read], read.shape[1], read.shape[2]


def cam_colours(signed: bool) -> np.ndarray:
    """(256, 3) uint8: the colours of CAM values from -1 to 1."""
    if signed:
        return np.repeat(np.array([AGAINST, FOR], np.uint8), 128, 0)
    shades = np.abs(np.arange(256) - 127.5) * 2
    return cv2.applyColorMap(np.rint(shades).astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]


@dataclass(frozen=True)
class View:
    """A clip as one network sees it, with its map; `name` is written above it. `flow_field` is shown in place of the
    frames if the network's input is optical flow."""

    clip: ExplainedClip
    cam: Cam
    curves: list[Curve]
    options: CamOptions
    name: str = ""
    flow_field: bool = False

    def data(self, start: int) -> dict[str, Any]:
        """What the browser needs to draw it, with the frames from `start` on."""
        path, p, indices, cam = self.clip.path, self.clip.checkpoint.preprocessing, self.clip.indices, self.cam
        assert path is not None
        images, height, width = (
            cached_flow_jpegs(path, self.clip.flow, start, p) if self.flow_field else cached_jpegs(path, start)
        )
        inputs, repeats = sum_by_frame(indices, np.ones(len(indices)))  # a short clip has some frames several times
        maps = scale_maps(cam.signed if self.options.signed else cam.maps, self.options.scale)
        maps = sum_by_frame(indices, maps)[1] / repeats[:, None, None]
        sums = [sum_by_frame(indices, curve.values)[1] for curve in self.curves]
        return {
            "name": self.name, "images": images, "height": height, "width": width,
            "box": list(input_box(height, width, p)), "inputs": inputs.tolist(), "reach": map_reach(inputs, p),
            "maps": b64encode(np.rint(127 * maps).astype(np.int8).tobytes()).decode(),
            "rows": maps.shape[1], "columns": maps.shape[2], "opacity": self.options.opacity,
            "colours": b64encode(cam_colours(self.options.signed).tobytes()).decode(),
            "curves": [
                asdict(curve) | {"values": (total / repeats if curve.unit == "points" else total).tolist()}
                for curve, total in zip(self.curves, sums, strict=True)
            ],
        }  # fmt: skip


def show_scrubber(views: list[View]) -> None:
    """Show a clip, whose video is kept, frame by frame, as one network sees it or several. The shown frame is `frame`
    in the URL."""
    clip, cam = views[0].clip, views[0].cam
    assert clip.path is not None
    count, key = cached_frame_count(clip.path), component_key("scrubber", str(clip.path))
    frame, requests = current_frame(key, count, int(clip.indices[cam.per_frame.argmax()]))
    start = frame // CHUNK * CHUNK
    data = {
        "clip": str(clip.path), "count": count, "rate": frame_rate(clip.path), "start": start, "request": requests,
        "frame": frame, "views": [view.data(start) for view in views],
    }  # fmt: skip
    COMPONENT(key=key, data=data, on_frame_change=lambda: None, on_redraw_change=lambda: None)
    redraw = (st.session_state.get(key) or {}).get("redraw")
    if redraw != st.session_state.setdefault(f"{key} redraw", None):
        st.session_state[f"{key} redraw"] = redraw
        st.rerun()


def current_frame(key: str, count: int, first: int) -> tuple[int, int]:
    """The frame to show, and how many frames were requested so far by a link or Back.

    A frame to which the person moved in the browser is no request: the browser shows it already. Nor is one that the
    URL had before in this view: the browser sent it before it heard of the newer one.
    """
    moved = (st.session_state.get(key) or {}).get("frame")
    view = tuple(str(st.query_params.get(name)) for name in ("run", "with"))
    none_yet: dict[str, Any] = {
        "moved": None,
        "url": None,
        "frame": first,
        "requests": 0,
        "view": view,
        "earlier": set(),
    }
    known = st.session_state.setdefault(f"{key} known", none_yet)
    if view != known["view"]:
        known.update(view=view, earlier=set())
    text = st.query_params.get("frame")
    if moved is not None and moved != known["moved"]:
        known["earlier"].add(known["url"])
        known.update(moved=moved, url=str(moved), frame=moved)
        st.query_params["frame"] = str(moved)
    elif text != known["url"] and text not in known["earlier"]:
        frame = first
        if text is not None:  # it is None after Back to before the first step
            frame = int(text) if text.isdecimal() and len(text) < 10 else count
            if frame >= count:
                st.warning(f"This clip has no such frame. Its frames are 0 to {count - 1}.")
        known.update(moved=moved, url=text, frame=frame, requests=known["requests"] + 1)
    return known["frame"] if known["frame"] < count else first, known["requests"]
