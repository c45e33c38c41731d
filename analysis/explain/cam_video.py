"""Grad-CAM over time of one video, as a video; beside it a sheet of the frames that the network saw, and the recipe.

A frame that the network did not see gets what lies between the maps of its neighbours that it saw.
"""

import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import av
import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from analysis.explain.gradcam import DEFINITIONS, JOINT, gradcam, mass_shares, sum_by_frame
from analysis.explain.overlay import (
    NORMALISATIONS,
    ColourTables,
    OverlayPanel,
    canvas,
    fit_text,
    font,
    input_box,
    scale_maps,
    seen_frames,
)
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError
from sth_core.files import temporary_beside, write_json
from sth_core.video.decoding import all_frames, count_frames
from sth_core.video.encoding import FAST, write_video
from sth_core.video.fields import read_clips
from sth_core.video.timeline import UnreadableVideo, opened
from sth_core.video.transforms import Preprocessing, crop, normalise

TOP = 5
WHITE, GREY, BAR, CURVE, DARK = (255, 255, 255), (190, 190, 190), (0, 114, 178, 220), (230, 159, 0), (24, 24, 24)
SMALLEST_TEXT, LINE, PER_ROW, CELL, GAP = 9, 1.4, 8, 224, 8  # pixels; times the text's size; frames; pixels
Item = TypeVar("Item")


@dataclass(frozen=True)
class CamOptions:
    """What is explained and how it is shown; classes and layer by name, `target` None for the predicted class."""

    layer: str
    target: str | None = None
    against: str | None = None
    branch: str = JOINT
    definition: str = DEFINITIONS[0]
    scale: str = NORMALISATIONS[0]
    signed: bool = False
    opacity: float = 0.55
    clips: int = 1


@dataclass(frozen=True)
class VideoExplanation:
    """Of one video: `seen` (N,) are the numbers of the frames that the network saw, in the order of time (a short
    video's come up more than once), `maps` (N, h, w) what is shown of each, in [-1, 1], `mass` (N,) the shares of the
    whole CAM. `top` are the best classes and their scores, `alpha` is the mean alpha_T of each layer that has one."""

    how: CamOptions  # its target is filled in
    seen: np.ndarray
    maps: np.ndarray
    mass: np.ndarray
    top: list[tuple[str, float]]
    alpha: dict[str, float]

    @property
    def empty(self) -> bool:
        return not self.maps.any()

    @property
    def title(self) -> list[str]:
        """What is shown, the most important first."""
        how = self.how
        subject = f"{how.target} against {how.against}" if how.against else f"{how.target}"
        if self.empty:
            return [f"no map: nothing at {how.layer} speaks for {subject}"]
        shown = [subject, how.layer, f"{how.branch} map", f"weights {how.definition.replace('_', ' ')}"]
        return [*shown, "one scale" if how.scale == "clip" else "a scale for each frame", *["signed"] * how.signed]

    def by_frame(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each frame seen once (M,), its maps' mean (M, h, w), its share (M,)."""
        frames, times = sum_by_frame(self.seen, np.ones_like(self.mass))
        return (
            frames,
            sum_by_frame(self.seen, self.maps)[1] / times[:, None, None],
            sum_by_frame(self.seen, self.mass)[1],
        )


def explain(checkpoint: Checkpoint, path: Path, how: CamOptions) -> VideoExplanation:
    """Explain the class `how.target` of `how.clips` clips of a video, or the class that their mean logits predict.

    Raises:
        UnreadableVideo: it cannot be read.
        UserError: the class predicted is the one that it is to be compared with; the network gives no numbers.
    """
    p, model = checkpoint.preprocessing, checkpoint.model
    pixels, seen = read_clips(path, p, clips=how.clips)
    device = next(model.parameters()).device
    clips = normalise(torch.from_numpy(np.ascontiguousarray(crop(pixels, p.crop))).to(device), p)
    with torch.inference_mode():
        views = [model.forward_with_attention(clip[None]) for clip in clips]
        scores = torch.stack([logits[0] for logits, _ in views]).mean(0).softmax(0).cpu().numpy()
        alpha = {name: float(np.mean([of[name][0, 1].mean().item() for _, of in views])) for name in views[0][1]}
    top = [(checkpoint.classes[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")[:TOP]]
    how = replace(how, target=how.target or top[0][0])
    if how.target == how.against:
        raise UserError(f"{path}: predicted is {how.target!r}, which it cannot be told from; name a class with --class")
    target, against = (checkpoint.classes.index(name) if name else None for name in (how.target, how.against))
    assert target is not None
    cams = [gradcam(model, clip, target, how.layer, how.definition, how.branch, against) for clip in clips]
    order = np.argsort(seen, axis=None, kind="stable")
    signed = np.concatenate([cam.signed for cam in cams])[order]
    if not np.isfinite(signed).all():
        raise UserError(f"{path}: the network's gradients at {how.layer} are not finite; its weights are broken")
    positive = signed.clip(min=0)
    maps = scale_maps(signed if how.signed else positive, how.scale)
    return VideoExplanation(how, seen.ravel()[order], maps, mass_shares(positive), top, alpha)


def title_band(e: VideoExplanation, width: int, size: int) -> Image.Image:
    """One line: as many parts of the title as there is room for."""
    image, draw = canvas(width, LINE * size)
    room = width - size
    texts = [" · ".join(e.title[:n]) for n in range(len(e.title), 0, -1)]
    text = next((text for text in texts if font(size).getlength(text) <= room), fit_text(e.title[0], size, room))
    draw.text((size / 2, image.height / 2), text, WHITE, font(size), "lm")
    return image


def score_bars(e: VideoExplanation, width: float, size: int, rows: int) -> Image.Image:
    """The best classes and their scores."""
    image, draw = canvas(width, (LINE * rows + 0.4) * size)
    edge, line = size / 2, LINE * size
    for row, (name, score) in enumerate(e.top[:rows]):
        top, number = 0.2 * size + row * line, f"{score:.0%}"
        draw.rectangle((edge / 2, top + 1, edge / 2 + score * (width - edge), top + line - 2), BAR)
        draw.text((width - edge, top + line / 2), number, WHITE, font(size), "rm")
        room = width - 3 * edge - font(size).getlength(number)
        draw.text((edge, top + line / 2), fit_text(name, size, room), WHITE, font(size), "lm")
    return image


def alpha_bars(e: VideoExplanation, width: float, size: int) -> Image.Image:
    """alpha_T of each layer, from input to output: as high as its share, with a line at one half."""
    image, draw = canvas(width, 3 * LINE * size)
    values, edge = list(e.alpha.values()), size / 2
    text = f"alpha_T, mean {np.mean(values):.2f}"
    draw.text((edge, LINE * size / 2), fit_text(text, size, width - size), WHITE, font(size), "lm")
    low, high, step = image.height - edge, LINE * size, (width - size) / len(values)
    for i, value in enumerate(values):
        left = edge + i * step
        draw.rectangle((left, low - value * (low - high), max(left, left + step - 2), low), CURVE)
    draw.line((edge, (low + high) / 2, width - edge, (low + high) / 2), GREY)
    return image


@dataclass(frozen=True)
class CamTimeline:
    """The band at the bottom: a mark for each frame that the network saw, and each frame's share of the CAM."""

    image: Image.Image
    x: np.ndarray  # of each frame, in pixels of the band
    y: np.ndarray

    @staticmethod
    def of(e: VideoExplanation, width: int, size: int, frames: int) -> "CamTimeline":
        image, draw = canvas(width, 2.6 * size)
        seen, _, mass = e.by_frame()
        left, edge, peak = size / 2, size / 2, max(mass.max(), 1e-9)
        if width >= 24 * size:
            for row, text in enumerate(("CAM per frame", f"at most {mass.max():.0%}")):
                draw.text((edge, (0.75 + 1.1 * row) * size), text, WHITE, font(round(0.85 * size)), "lm")
            left += 7 * size
        x = np.linspace(left, width - edge, frames) if frames > 1 else np.array([(left + width - edge) / 2])
        high, low = 0.4 * size, image.height - 0.7 * size
        y = low - np.interp(np.arange(frames), seen, mass) / peak * (low - high)
        draw.polygon([(x[0], low), *zip(x, y, strict=True), (x[-1], low)], (*CURVE, 190))
        draw.line((left, low, width - edge, low), GREY)
        for frame in seen:
            draw.line((x[frame], low, x[frame], image.height - 0.2 * size), WHITE, max(1, size // 12))
        return CamTimeline(image, x, y)


class FrameAnnotations:
    """All that is drawn on frames (H, W) but the map; what a small picture has no room for is left out."""

    def __init__(self, e: VideoExplanation, H: int, W: int, frames: int) -> None:
        self.size = size = max(SMALLEST_TEXT, round(min(H, W) / 34))
        self.panels: list[OverlayPanel] = []
        self.timeline: CamTimeline | None = None
        lines = H / (LINE * size)
        if lines < 8 or W / size < 10:
            return
        self.timeline = CamTimeline.of(e, W, size, frames)
        self.bottom = H - self.timeline.image.height
        stack = [title_band(e, W, size), score_bars(e, min(0.62 * W, 13 * size), size, min(TOP, int(0.3 * lines)))]
        if e.alpha and lines >= 18:
            stack.append(alpha_bars(e, stack[1].width, size))
        tops = np.cumsum([0, *(image.height for image in stack)])
        self.panels = [OverlayPanel.of(image, int(top)) for image, top in zip(stack, tops, strict=False)]
        self.panels.append(OverlayPanel.of(self.timeline.image, self.bottom))

    def on(self, picture: np.ndarray, frame: int) -> None:
        for panel in self.panels:
            panel.on(picture)
        if self.timeline:
            x, y = round(self.timeline.x[frame]), self.bottom + round(self.timeline.y[frame])
            cv2.line(picture, (x, self.bottom), (x, len(picture) - 1), WHITE, max(1, self.size // 8))
            cv2.circle(picture, (x, y), max(2, self.size // 5), WHITE, -1, cv2.LINE_AA)


def painted(path: Path, frames: int, e: VideoExplanation, p: Preprocessing) -> Iterator[np.ndarray]:
    """Every frame of the video with its map and the rest, cropped to an even size: uint8 (H, W, 3)."""
    ink, shape = ColourTables.of(e.how.opacity, e.how.signed), None
    seen, maps, _ = e.by_frame()
    for t, frame in enumerate(islice(all_frames(path), frames)):
        H, W = frame.shape[:2]
        picture = np.require(frame[: H - H % 2, : W - W % 2], requirements=["C", "W"])
        if shape is None:
            shape, (top, left, bottom, right) = frame.shape, input_box(H, W, p)
            furniture = FrameAnnotations(e, H - H % 2, W - W % 2, frames)
            thin = max(1, round(min(H, W) / 540))
        elif frame.shape != shape:
            raise UnreadableVideo(f"{path}: its frames change their size, at frame {t}")
        if not e.empty:
            place = np.interp(t, seen, np.arange(len(seen)))
            before, after = int(place), min(int(place) + 1, len(seen) - 1)
            share = maps[before] + (place - before) * (maps[after] - maps[before])
            ink.paint(picture[top:bottom, left:right], share)
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), GREY, thin)
        furniture.on(picture, t)
        yield picture


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; another thread makes the next while one is in use."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = worker.submit(next, items, None)
            yield item


def frame_rate(path: Path) -> float:
    """Frames a second; a folder of frames does not say: the 12 of the Something sets and Jester, as in `transcode`."""
    if path.is_dir():
        return 12.0
    with opened(path) as (_, stream):
        return float(stream.average_rate or 25)


def contact_sheet(path: Path, e: VideoExplanation, p: Preprocessing, size: int = 16) -> Image.Image:
    """What the network saw of each frame that it saw, with its map, eight in a row; above them what the video says."""
    columns, ink = max(4, min(PER_ROW, len(e.seen))), ColourTables.of(e.how.opacity, e.how.signed)
    width, line = GAP + columns * (CELL + GAP), round(LINE * size)
    head, row_height = 8 * line + 2 * GAP, CELL + line + GAP
    image = Image.new("RGB", (width, head + -(-len(e.seen) // columns) * row_height), DARK)
    draw = ImageDraw.Draw(image)
    for row, text in enumerate((path.name, " · ".join(e.title))):
        draw.text((GAP, GAP + row * line), fit_text(text, size, width - 2 * GAP), WHITE, font(size))
    image.paste(score_bars(e, 420, size, TOP), (GAP, GAP + 2 * line))
    if e.alpha:
        image.paste(alpha_bars(e, 420, size), (2 * GAP + 420, GAP + 2 * line))
    for start in range(0, len(e.seen), columns):
        numbers, top = e.seen[start : start + columns], head + start // columns * row_height
        for i, picture in enumerate(np.ascontiguousarray(seen_frames(path, numbers, p, CELL))):
            ink.paint(picture, e.maps[start + i])
            left = GAP + i * (CELL + GAP)
            image.paste(Image.fromarray(picture), (left, top))
            caption = f"frame {numbers[i]} · {100 * e.mass[start + i]:.0f} %"
            draw.text((left + CELL / 2, top + CELL + line / 2), caption, WHITE, font(size), "mm")
    return image


def cam_video(
    checkpoint: Checkpoint, path: Path, out: Path, how: CamOptions, facts: dict[str, Any],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> VideoExplanation:  # fmt: skip
    """Write `out` (.mp4: H.264, the video's own frames, rate and size, odd ones cropped to even) and beside it .png,
    the contact sheet, .npy, the maps at their own size (N, h, w) in float16, as shares of their scale's largest
    value, and .json, the recipe; `facts` are those that the caller adds to it.

    Raises:
        UnreadableVideo: the video cannot be read.
        UserError: the video has no such explanation (`explain`).
    """
    e, p, frames, rate = explain(checkpoint, path, how), checkpoint.preprocessing, count_frames(path), frame_rate(path)

    def counted() -> Iterator[np.ndarray]:
        for t, picture in enumerate(ahead(painted(path, frames, e, p))):
            yield cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)  # faster than FFmpeg does it
            progress(t + 1, frames)

    write_video(out, counted(), rate, FAST)
    with temporary_beside(out.with_suffix(".png")) as temporary:
        contact_sheet(path, e, p).save(temporary)
    with temporary_beside(out.with_suffix(".npy")) as temporary:
        np.save(temporary, e.maps.astype(np.float16), allow_pickle=False)
    recipe = {
        **facts,
        "video": str(path.resolve()), "frames": frames, "frames_per_second": rate,
        **asdict(e.how), "modality": p.modality, "map": None if e.empty else list(e.maps.shape[1:]),
        "seen": e.seen.tolist(), "cam_share": e.mass.tolist(), "top": dict(e.top), "alpha_temporal": e.alpha,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "av": av.__version__},
    }  # fmt: skip
    write_json(out.with_suffix(".json"), recipe)
    return e
