"""How results show themselves in Jupyter: short pieces of HTML that need nothing else, and whose texts are escaped.

They draw in the colour of the text around them, so that they can be read on light and on dark pages.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Line:
    """Values over names (on the x axis), with the ends of their intervals; NaN: not known. `dash` is SVG's."""

    name: str
    over: Sequence[str]
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: str = BLUE
    dash: str = ""
    joined: bool = True
    filled: bool = True  # its points
    diamond: bool = False

    def point(self, x: float, y: float, said: str) -> str:
        look = f'fill="{self.colour}"' if self.filled else f'fill="none" stroke="{self.colour}" stroke-width="1.5"'
        shape = f'path d="M{x - 4:.1f} {y:.1f}l4 -4 4 4 -4 4z"'
        shape = shape if self.diamond else f'circle cx="{x:.1f}" cy="{y:.1f}" r="3"'
        return f"<{shape} {look}><title>{escape(said)}</title></{shape.split()[0]}>"


def interval_chart(names: Sequence[str], values: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    """A line over names, from 0 to 1, with a bar for each interval that is known, as SVG."""
    return line_chart([Line("", names, values, low, high)], (0, 1), (0, 0.5, 1))


def line_chart(lines: Sequence[Line], between: tuple[float, float], ticks: Sequence[float], height: int = 150) -> str:
    """Lines over the names that any of them has, with a bar for each interval that is known, as SVG."""
    width, left, top = 480, 32, 8
    names = list(dict.fromkeys(name for line in lines for name in line.over))
    across = left + (np.arange(len(names)) + 0.5) * (width - left) / len(names)
    if len(names) > 1 and any(line.joined for line in lines):
        across = np.linspace(left + 8, width - 8, len(names))
    place = dict(zip(names, across, strict=True))

    def y(value: float) -> float:
        share = (float(np.clip(value, *between)) - between[0]) / (between[1] - between[0])
        return top + (1 - share) * (height - 2 * top)

    drawn = [
        f'<line x1="{left}" x2="{width}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="currentColor" opacity="0.2"/>'
        f'<text x="{left - 5}" y="{y(v) + 3.5:.1f}" text-anchor="end" font-size="10" fill="currentColor">{v:g}</text>'
        for v in ticks
    ]
    for line in lines:
        rows = zip(line.over, line.values, line.low, line.high, strict=True)
        known = [(place[n], v, a, b, n) for n, v, a, b in rows if np.isfinite(v)]
        path = " ".join(f"{x:.1f},{y(v):.1f}" for x, v, *_ in known)
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        if line.joined:
            drawn.append(f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="1.5"{dash}/>')
        drawn += [
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y(a):.1f}" y2="{y(b):.1f}" stroke="{line.colour}" stroke-width="2"/>'
            for x, _, a, b, _ in known
            if np.isfinite(a) and np.isfinite(b)
        ]
        drawn += [line.point(x, y(v), f"{n}: {v:.3f}") for x, v, _, _, n in known]
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{"".join(drawn)}</svg>'


def legend(lines: Sequence[Line]) -> str:
    """What each of the lines is, with its colour, dash and point."""
    keys = "".join(
        '<span style="white-space:nowrap"><svg xmlns="http://www.w3.org/2000/svg" width="30" height="10">'
        + f'<line x1="0" x2="30" y1="5" y2="5" stroke="{line.colour}" stroke-width="1.5" '
        f'stroke-dasharray="{line.dash or "none"}"/>'
        * line.joined
        + f"{line.point(15, 5, line.name)}</svg> {escape(line.name)}</span>"
        for line in lines
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:0 1.2em;font-size:0.85em">{keys}</div>'


def round_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers between the two."""
    step = 10.0 ** np.floor(np.log10((high - low) / 3))
    step *= next(factor for factor in (5, 2, 1) if (high - low) / (step * factor) >= 3)
    return [round(float(i * step), 10) for i in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]
