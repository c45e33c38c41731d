"""How results show themselves in Jupyter: short pieces of HTML that need nothing else, and whose texts are escaped.

They draw in the colour of the text around them, so that they can be read on light and on dark pages.
"""

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np
from jaxtyping import UInt8

BLUE = "#0072b2"  # of the Okabe-Ito palette
MOST_BARS, MOST_PICTURES = 12, 8


def card(title: str, lines: Sequence[str], *pictures: str) -> str:
    """A title, a line for each text, and HTML below them."""
    said = "".join(f'<div style="font-size:0.9em;opacity:0.85">{escape(line)}</div>' for line in lines if line)
    head = f'<div style="font-weight:600">{escape(title)}</div>'
    return f'<div style="max-width:54em;padding:0.3em 0;line-height:1.5">{head}{said}{"".join(pictures)}</div>'


def bars(names: Sequence[str], shares: Sequence[float], texts: Sequence[str], colour: str = BLUE) -> str:
    """A bar for each name, of a length from 0 to 1, and a text after it; of many the first ones, and how many more."""
    rows = [
        f'<div style="overflow:hidden;text-overflow:ellipsis;white-space:nowrap">{escape(name)}</div>'
        f'<div style="align-self:center"><div style="background:{colour};height:0.6em;border-radius:2px;'
        f'min-width:1px;width:{100 * share:.1f}%"></div></div><div>{escape(text)}</div>'
        for name, share, text in list(zip(names, shares, texts, strict=True))[:MOST_BARS]
    ]
    style = "display:grid;grid-template-columns:minmax(5em,14em) minmax(8em,1fr) auto;column-gap:0.7em;font-size:0.9em"
    more = f'<div style="font-size:0.9em">and {len(names) - MOST_BARS} more</div>' if len(names) > MOST_BARS else ""
    return f'<div style="{style};margin-top:0.4em;max-width:36em;text-align:left">{"".join(rows)}</div>{more}'


def row_of_frames(frames: UInt8[np.ndarray, "N H W 3"], captions: Sequence[str], side: int = 96) -> str:
    """Pictures in a row, with a caption under each; of many, some at equal distances, and it is said."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MOST_PICTURES)).round().astype(int))
    figures = "".join(
        f'<figure style="margin:0;text-align:center;font-size:0.8em"><img alt="{escape(captions[i])}" width="{side}" '
        f'height="{side}" src="{data_uri(frames[i], side)}"/><figcaption>{escape(captions[i])}</figcaption></figure>'
        for i in chosen
    )
    some = f"{len(chosen)} of {len(frames)} frames" if len(chosen) < len(frames) else ""
    said = f'<div style="font-size:0.8em;opacity:0.85">{some}</div>' if some else ""
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px;margin-top:0.4em">{figures}</div>{said}'


def data_uri(frame: UInt8[np.ndarray, "H W 3"], side: int) -> str:
    """A picture as a square JPEG inside the page."""
    small = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA if len(frame) > side else cv2.INTER_LINEAR)
    _, file = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return f"data:image/jpeg;base64,{base64.b64encode(file.tobytes()).decode()}"


def interval_chart(names: Sequence[str], values: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    """A line over names, from 0 to 1, with a bar for each interval that is known, as SVG."""
    width, height, left, top = 480, 150, 32, 8
    across = np.linspace(left + 8, width - 8, len(names)) if len(names) > 1 else np.array([width / 2])

    def y(value: float) -> float:
        return top + (1 - float(np.clip(value, 0, 1))) * (height - 2 * top)

    grid = "".join(
        f'<line x1="{left}" x2="{width}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="currentColor" opacity="0.2"/>'
        f'<text x="{left - 5}" y="{y(v) + 3.5:.1f}" text-anchor="end" font-size="10" fill="currentColor">{v:g}</text>'
        for v in (0, 0.5, 1)
    )
    known = [(x, v, a, b, n) for x, v, a, b, n in zip(across, values, low, high, names, strict=True) if np.isfinite(v)]
    spans = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y(a):.1f}" y2="{y(b):.1f}" stroke="{BLUE}" stroke-width="2"/>'
        for x, _, a, b, _ in known
        if np.isfinite(a) and np.isfinite(b)
    )
    line = " ".join(f"{x:.1f},{y(v):.1f}" for x, v, *_ in known)
    points = "".join(
        f'<circle cx="{x:.1f}" cy="{y(v):.1f}" r="3" fill="{BLUE}"><title>{escape(n)}: {v:.3f}</title></circle>'
        for x, v, _, _, n in known
    )
    path = f'<polyline points="{line}" fill="none" stroke="{BLUE}" stroke-width="1.5"/>'
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{grid}{path}{spans}{points}</svg>'
