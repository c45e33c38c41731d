"""The files of `sth cam`: an explanation over time as a video, a contact sheet of the frames that the network saw, the
maps, and the recipe."""

import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import count, islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

from analysis.explain.cam_drawing import GREY, FrameAnnotations, contact_sheet
from analysis.explain.methods import METHODS
from analysis.explain.overlay import HeatmapTable, input_box, map_reach
from analysis.explain.video_explanation import CamOptions, VideoExplanation, explain_video
from sth_core.checkpoint import Checkpoint
from sth_core.files import temporary_beside, write_json
from sth_core.outputs import writing_file
from sth_core.prefetch import prefetch
from sth_core.video.container import UnreadableVideo, opened
from sth_core.video.decoding import all_frames, count_frames
from sth_core.video.encoding import FAST_PRESET, write_video
from sth_core.video.transforms import Preprocessing

FOLDER_FRAME_RATE = 12.0  # of the Something datasets and Jester; a folder of frames does not store it


def annotated_frames(path: Path, frames: int, e: VideoExplanation, p: Preprocessing) -> Iterator[np.ndarray]:
    """Every frame of the video with its map and annotations, cropped to an even size: uint8 (H, W, 3).

    A frame between two that the network saw gets the interpolation of their maps; one far outside of the clip has none.
    """
    heatmap, shape = HeatmapTable(e.options.opacity, e.options.signed), None
    seen, maps, _ = e.by_frame()
    reach = map_reach(seen, p)
    for t, frame in enumerate(islice(all_frames(path), frames)):
        H, W = frame.shape[:2]
        picture = np.require(frame[: H - H % 2, : W - W % 2], requirements=["C", "W"])
        if shape is None:
            shape, (top, left, bottom, right) = frame.shape, input_box(H, W, p)
            annotations = FrameAnnotations(e, H - H % 2, W - W % 2, frames)
            thin = max(1, round(min(H, W) / 540))
        elif frame.shape != shape:
            raise UnreadableVideo(f"{path}: its frames change their size, at frame {t}")
        if not e.empty and seen[0] - reach <= t <= seen[-1] + reach:
            position = np.interp(t, seen, np.arange(len(seen)))
            before, after = int(position), min(int(position) + 1, len(seen) - 1)
            values = maps[before] + (position - before) * (maps[after] - maps[before])
            heatmap.draw_on(picture[top:bottom, left:right], values)
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), GREY, thin)
        annotations.draw_on(picture, t)
        yield picture


def frame_rate(path: Path) -> float:
    if path.is_dir():
        return FOLDER_FRAME_RATE
    with opened(path) as (_, stream):
        return float(stream.average_rate or 25)


def cam_video(
    checkpoint: Checkpoint, path: Path, out: Path, options: CamOptions, *,
    facts: dict[str, Any], progress: Callable[[int, int], None] = lambda done, total: None,
    explaining: Callable[[int, int], None] = lambda passes, total: None,
) -> VideoExplanation:  # fmt: skip
    """Explain a video (`explain_video`, with its errors) and write four files.

    OUT.mp4: H.264, with the video's frames, rate and size (odd sizes are cropped to even ones).
    OUT.png: the contact sheet.
    OUT.npy: the maps at their own size, float16 (N, h, w), divided by the largest value of their scale.
    OUT.json: the recipe, with `facts` added; overlay_shift is in pixels of the network's input.
    """
    e, p = explain_video(checkpoint, path, options, explaining), checkpoint.preprocessing
    frames, rate = count_frames(path), frame_rate(path)

    def encoded() -> Iterator[np.ndarray]:
        pictures, done = annotated_frames(path, frames, e, p), 0
        found = prefetch(lambda _: next(pictures, None), count(), workers=1, ahead=1)
        while (picture := next(found)) is not None:
            yield cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)  # faster than in FFmpeg
            done += 1
            progress(done, frames)

    layered = METHODS[options.method].layered  # the maps of the others are spread over the pixels themselves
    stride = round(p.crop / e.maps.shape[1])
    shift = None if e.empty else checkpoint.model.overlay_shift(options.layer, stride) if layered else 0.0
    recipe = {
        **facts,
        "video": str(path.resolve()), "frames": frames, "frames_per_second": rate,
        **asdict(e.options), "modality": p.modality, "map": None if e.empty else list(e.maps.shape[1:]),
        "overlay_shift": shift,
        "seen": e.seen.tolist(), "cam_share": e.mass.tolist(), "top": dict(e.top), "alpha_temporal": e.alpha,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "av": av.__version__},
    }  # fmt: skip
    with writing_file(out):
        write_video(out, encoded(), rate, FAST_PRESET)
        with temporary_beside(out.with_suffix(".png")) as temporary:
            contact_sheet(path, e, p).save(temporary)
        with temporary_beside(out.with_suffix(".npy")) as temporary:
            np.save(temporary, e.maps.astype(np.float16), allow_pickle=False)
        write_json(out.with_suffix(".json"), recipe)
    return e
