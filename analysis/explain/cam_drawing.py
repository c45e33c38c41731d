"""The drawings of `sth cam`: title, score bars, alpha bars and timeline on every frame, and the contact sheet."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from analysis.explain.overlay import HeatmapTable, OverlayPanel, fit_text, load_font, seen_frames, shaded_canvas
from analysis.explain.video_explanation import TOP_CLASSES, VideoExplanation
from sth_core.errors import visible
from sth_core.video.transforms import Preprocessing

WHITE, GREY, BAR, CURVE, DARK = (255, 255, 255), (190, 190, 190), (0, 114, 178, 220), (230, 159, 0), (24, 24, 24)
SMALLEST_TEXT, LINE_HEIGHT = 9, 1.4  # pixels; a line's height in units of the text's size
PER_ROW, CELL, GAP = 8, 224, 8  # of the contact sheet: frames; pixels


def title_band(e: VideoExplanation, width: int, size: int) -> Image.Image:
    """One line with as many parts of the title as fit."""
    image, draw = shaded_canvas(width, LINE_HEIGHT * size)
    room = width - size
    texts = [visible(" · ".join(e.title[:n])) for n in range(len(e.title), 0, -1)]
    text = next((text for text in texts if load_font(size).getlength(text) <= room), fit_text(e.title[0], size, room))
    draw.text((size / 2, image.height / 2), text, WHITE, load_font(size), "lm")
    return image


def score_bars(e: VideoExplanation, width: float, size: int, rows: int) -> Image.Image:
    """The best classes and their scores."""
    image, draw = shaded_canvas(width, (LINE_HEIGHT * rows + 0.4) * size)
    edge, line = size / 2, LINE_HEIGHT * size
    for row, (name, score) in enumerate(e.top[:rows]):
        top, number = 0.2 * size + row * line, f"{score:.0%}"
        draw.rectangle((edge / 2, top + 1, edge / 2 + score * (width - edge), top + line - 2), BAR)
        draw.text((width - edge, top + line / 2), number, WHITE, load_font(size), "rm")
        room = width - 3 * edge - load_font(size).getlength(number)
        draw.text((edge, top + line / 2), fit_text(name, size, room), WHITE, load_font(size), "lm")
    return image


def alpha_bars(e: VideoExplanation, width: float, size: int) -> Image.Image:
    """A bar of alpha_T for each layer, from input to output, and a line at one half."""
    image, draw = shaded_canvas(width, 3 * LINE_HEIGHT * size)
    values, edge = list(e.alpha.values()), size / 2
    text = f"alpha_T, mean {np.mean(values):.2f}"
    draw.text((edge, LINE_HEIGHT * size / 2), fit_text(text, size, width - size), WHITE, load_font(size), "lm")
    low, high, step = image.height - edge, LINE_HEIGHT * size, (width - size) / len(values)
    for i, value in enumerate(values):
        left = edge + i * step
        draw.rectangle((left, low - value * (low - high), max(left, left + step - 2), low), CURVE)
    draw.line((edge, (low + high) / 2, width - edge, (low + high) / 2), GREY)
    return image


def timeline_band(
    e: VideoExplanation, width: int, size: int, frames: int
) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """The band at the bottom, with a mark for each frame that the network saw; and x and y (frames,) in it, where it
    shows each frame's share of the CAM."""
    image, draw = shaded_canvas(width, 2.6 * size)
    seen, _, mass = e.by_frame()
    left, edge, peak = size / 2, size / 2, max(mass.max(), 1e-9)
    if width >= 24 * size:
        for row, text in enumerate(("CAM per frame", f"at most {mass.max():.0%}")):
            draw.text((edge, (0.75 + 1.1 * row) * size), text, WHITE, load_font(round(0.85 * size)), "lm")
        left += 7 * size
    x = np.linspace(left, width - edge, frames) if frames > 1 else np.array([(left + width - edge) / 2])
    high, low = 0.4 * size, image.height - 0.7 * size
    y = low - np.interp(np.arange(frames), seen, mass) / peak * (low - high)
    draw.polygon([(x[0], low), *zip(x, y, strict=True), (x[-1], low)], (*CURVE, 190))
    draw.line((left, low, width - edge, low), GREY)
    for frame in seen:
        draw.line((x[frame], low, x[frame], image.height - 0.2 * size), WHITE, max(1, size // 12))
    return image, x, y


class FrameAnnotations:
    """Everything that is drawn on frames (H, W) except the map; on small frames, only what fits."""

    def __init__(self, e: VideoExplanation, H: int, W: int, frames: int) -> None:
        self.size = size = max(SMALLEST_TEXT, round(min(H, W) / 34))
        self.panels: list[OverlayPanel] = []
        lines = H / (LINE_HEIGHT * size)
        if lines < 8 or W / size < 10:
            return
        rows = min(TOP_CLASSES, int(0.3 * lines))
        stack = [title_band(e, W, size), score_bars(e, min(0.62 * W, 13 * size), size, rows)]
        if e.alpha and lines >= 18:
            stack.append(alpha_bars(e, stack[1].width, size))
        timeline, self.x, y = timeline_band(e, W, size, frames)
        self.bottom = H - timeline.height
        self.y = self.bottom + y
        tops = np.cumsum([0, *(image.height for image in stack[:-1])]).tolist()
        self.panels = [OverlayPanel(*at) for at in zip([*stack, timeline], [*tops, self.bottom], strict=True)]

    def draw_on(self, picture: np.ndarray, frame: int) -> None:
        for panel in self.panels:
            panel.draw_on(picture)
        if self.panels:
            x, y = round(self.x[frame]), round(self.y[frame])
            cv2.line(picture, (x, self.bottom), (x, len(picture) - 1), WHITE, max(1, self.size // 8))
            cv2.circle(picture, (x, y), max(2, self.size // 5), WHITE, -1, cv2.LINE_AA)


def contact_sheet(path: Path, e: VideoExplanation, p: Preprocessing, size: int = 16) -> Image.Image:
    """The frames that the network saw with their maps, eight in a row, below the title and the bars."""
    columns, heatmap = max(4, min(PER_ROW, len(e.seen))), HeatmapTable(e.options.opacity, e.options.signed)
    width, line = GAP + columns * (CELL + GAP), round(LINE_HEIGHT * size)
    head, row_height = 8 * line + 2 * GAP, CELL + line + GAP
    image = Image.new("RGB", (width, head + -(-len(e.seen) // columns) * row_height), DARK)
    draw = ImageDraw.Draw(image)
    for row, text in enumerate((path.name, " · ".join(e.title))):
        draw.text((GAP, GAP + row * line), fit_text(text, size, width - 2 * GAP), WHITE, load_font(size))
    image.paste(score_bars(e, 420, size, TOP_CLASSES), (GAP, GAP + 2 * line))
    if e.alpha:
        image.paste(alpha_bars(e, 420, size), (2 * GAP + 420, GAP + 2 * line))
    for start in range(0, len(e.seen), columns):
        numbers, top = e.seen[start : start + columns], head + start // columns * row_height
        for i, picture in enumerate(np.ascontiguousarray(seen_frames(path, numbers, p, CELL))):
            heatmap.draw_on(picture, e.maps[start + i])
            left = GAP + i * (CELL + GAP)
            image.paste(Image.fromarray(picture), (left, top))
            caption = f"frame {numbers[i]} · {100 * e.mass[start + i]:.0f} %"
            draw.text((left + CELL / 2, top + CELL + line / 2), caption, WHITE, load_font(size), "mm")
    return image
