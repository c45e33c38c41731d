"""Draws docs/images/kernels.svg, the kernels of docs/concepts.md: python docs/kernels_figure.py

It has a background of its own, as a page's colours need not be those that the reader's system asks for.
"""

from pathlib import Path

TARGET = Path(__file__).with_name("images") / "kernels.svg"
CHANNELS = 8  # C_in
WIDTH, HEIGHT = 760, 772
FIRST, PITCH, NOTES = 150, 48, 560  # of the columns of input channels; where the notes begin
SPATIAL, TEMPORAL, BOTH = "spatial", "temporal", "both"
CELL = 8  # of a drawn kernel, with a gap of 1
STYLE = """
svg { color: #24292f; font: 14px system-ui, sans-serif } .page { fill: #ffffff } .note { font-size: 13px; opacity: .8 }
.head { font-weight: 600; font-size: 15px } .mid { text-anchor: middle } .end { text-anchor: end }
.line { fill: none; stroke: currentColor; stroke-width: 1.3; opacity: .75 } .rule { stroke-opacity: .25 }
.spatial { fill: #0072b2 } .temporal { fill: #d55e00 } .both { fill: #009e73 } .on { fill: #ffffff; font-weight: 600 }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3 } .page { fill: #161b22 } .spatial { fill: #3d9bd6 }
.temporal { fill: #f08a3c } .both { fill: #2fbf94 } .on { fill: #161b22 } }"""


def temporal_in(types: int, channels: int = CHANNELS) -> list[list[bool]]:
    """Section 3.2 of the paper, a row for each type of hybrid kernel: whether it is temporal in each input channel. The
    first type is as in Eq. 2; each further one is shifted by p C_in channels."""
    block = channels // types
    return [[g * block <= c < (g + 1) * block for c in range(channels)] for g in range(types)]


def text(x: float, y: float, said: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{said}</text>'


def sub(letter: str, index: str) -> str:
    return f'{letter}<tspan dy="3" font-size="10">{index}</tspan><tspan dy="-3">\u200b</tspan>'


def square(x: float, y: float) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{CELL}" height="{CELL}"/>'


def frame(x: float, y: float) -> str:
    """3 x 3 weights, which read one frame."""
    return "".join(square(x + (CELL + 1) * i, y + (CELL + 1) * j) for j in range(3) for i in range(3))


def symbols() -> str:
    """One basic kernel of each shape, (0, 0) at its upper left, 38 x 38 at most; time runs to the upper right."""
    steps = [(0, 12), (6, 6), (12, 0)]
    gap = '<rect class="page" x="{}" y="{}" width="28" height="28"/>'
    cube = "".join(gap.format(x - 1, y - 1) + f'<g class="{BOTH}">{frame(x, y)}</g>' for x, y in reversed(steps))
    line = "".join(square(x * 1.5 + 6, y * 1.25 + 7) for x, y in steps)
    return (
        f'<defs><g id="{SPATIAL}" class="{SPATIAL}">{frame(6, 6)}</g><g id="{TEMPORAL}" class="{TEMPORAL}">{line}</g>'
        f'<g id="{BOTH}">{cube}</g></defs>'
    )


def kernels(y: float, shapes: list[str], name: str, weights: str, note: str = "") -> str:
    """A row: the basic kernels of one output channel, over the input channels."""
    drawn = "".join(f'<use href="#{shape}" x="{FIRST + PITCH * c}" y="{y:g}"/>' for c, shape in enumerate(shapes))
    return (
        text(0, y + 24, name)
        + drawn
        + text(NOTES + 40, y + 24, weights, "end")
        + text(NOTES + 56, y + 24, note, "note")
    )


def shapes_of(row: list[bool]) -> list[str]:
    return [TEMPORAL if temporal else SPATIAL for temporal in row]


def types_of_kernels() -> str:
    """2D, (2+1)D, 3D and STH with p = 1/4, one below the other over the same input channels."""
    heads = "".join(text(FIRST + 19 + PITCH * c, 42, str(c + 1), "note mid") for c in range(CHANNELS))
    parts = [
        text(0, 18, "The basic kernels of an output channel, and how many weights each has", "head"),
        text(0, 42, "input channel", "note"), heads, text(NOTES + 40, 42, "weights", "note end"),
        kernels(50, [SPATIAL] * CHANNELS, "2D", "9", "1 × 3 × 3"),
        kernels(92, [SPATIAL] * CHANNELS, "(2+1)D, first", "9", "1 × 3 × 3"),
        kernels(128, [TEMPORAL] * CHANNELS, "then, on its outputs", "+ 3", "3 × 1 × 1"),
        kernels(172, [BOTH] * CHANNELS, "3D", "27", "3 × 3 × 3"),
    ]  # fmt: skip
    for g, row in enumerate(temporal_in(4)):
        note = f"for a quarter of {sub('C', 'out')}"
        parts.append(kernels(222 + 38 * g, shapes_of(row), f"STH, p = 1/4, type {g + 1}", "9 or 3", note))
    return "".join(parts)


def interleaving(y: float) -> str:
    """A row for each type of hybrid kernel, a cell for each input channel."""
    parts = [text(0, y, "STH: where a kernel is temporal", "head")]
    variants = [("1/8", "p = 1/8", 8), ("1/4", "p = 1/4", 4), ("1/2", "p = 1/2", 2), ("merge", "merge, p = 1/4", 4)]
    for i, (key, title, types) in enumerate(variants):
        rows = temporal_in(types)[: 1 if key == "merge" else types]
        left, top = i * 196, y + 32
        cells = "".join(
            f'<rect class="{shape}" x="{left + 19 * c}" y="{top + 16 * g}" width="17" height="14" rx="2"/>'
            for g, row in enumerate(rows)
            for c, shape in enumerate(shapes_of(row))
        )
        said = f"{title}: {len(rows)} types" if len(rows) > 1 else f"{title}: 1 type"
        parts.append(text(left, y + 24, said) + f'<g id="p-{key.replace("/", "-")}">{cells}</g>')
    legend = y + 80
    for i, (shape, said) in enumerate([(SPATIAL, "spatial, 1 × 3 × 3"), (TEMPORAL, "temporal, 3 × 1 × 1")]):
        x = 392 + 196 * i
        parts.append(f'<rect class="{shape}" x="{x}" y="{legend + 40}" width="17" height="14" rx="2"/>')
        parts.append(text(x + 26, legend + 52, said, "note"))
    parts.append(text(392, legend + 76, "A row is a type of kernel, a column an input channel.", "note"))
    return "".join(parts)


def attention(y: float) -> str:
    """Eq. 3 and Figure 4: from O_S and O_T to their weighted sum."""

    def box(x: float, top: float, width: float, said: str, kind: str = "") -> str:
        shape = f'<rect x="{x:g}" y="{top:g}" width="{width:g}" height="30" rx="5" class="{kind or "line"}"/>'
        return shape + text(x + width / 2, top + 20, said, "mid on" if kind else "mid")

    def arrow(*points: tuple[float, float]) -> str:
        path = "M" + "L".join(f"{x:g} {py:g}" for x, py in points)
        return f'<path class="line" d="{path}" marker-end="url(#tip)"/>'

    top, middle, low = y + 30, y + 75, y + 120
    tip = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M1 1 7 4 1 7" fill="none" stroke="currentColor" stroke-width="1.3"/></marker>'
    )
    spatial, temporal = (f"× {sub('α', index)}" for index in "ST")
    out = sub("C", "out")
    chain = f"2 {out}→ {out}/4 → ReLU → 2 {out}→ softmax"
    return "".join([
        f"<defs>{tip}</defs>", text(0, y, "STH with attention: how both outputs are added", "head"),
        box(0, top - 15, 100, sub("O", "S"), SPATIAL), box(0, low - 15, 100, sub("O", "T"), TEMPORAL),
        arrow((100, top), (548, top)), arrow((100, low), (548, low)),
        box(116, middle - 15, 68, "means"), box(206, middle - 15, 324, chain),
        arrow((150, top), (150, middle - 15)), arrow((150, low), (150, middle + 15)),
        arrow((184, middle), (206, middle)),
        arrow((530, middle - 6), (578, middle - 6), (578, top + 15)),
        arrow((530, middle + 6), (578, middle + 6), (578, low - 15)),
        box(550, top - 15, 58, spatial), box(550, low - 15, 58, temporal),
        arrow((608, top), (668, top), (668, middle - 12)), arrow((608, low), (668, low), (668, middle + 12)),
        f'<circle class="line" cx="668" cy="{middle}" r="12"/>', text(668, middle + 5, "+", "mid"),
        arrow((680, middle), (708, middle)), text(716, middle + 5, "output"),
    ])  # fmt: skip


def kernels_figure() -> str:
    """The whole figure, as SVG."""
    title = "The kernels of 2D, (2+1)D, 3D and STH convolutions, and the attention of STH"
    rules = "".join(f'<path class="line rule" d="M0 {y}H{WIDTH}"/>' for y in (390, 606))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-20 -12 {WIDTH + 40} {HEIGHT + 24}" '
        f'width="{WIDTH + 40}" height="{HEIGHT + 24}" fill="currentColor" role="img"><title>{title}</title>'
        f"<style>{STYLE}</style>"
        f'<rect class="page" x="-20" y="-12" width="{WIDTH + 40}" height="{HEIGHT + 24}" rx="8"/>{symbols()}'
        f"{types_of_kernels()}{rules}{interleaving(418)}{attention(634)}</svg>\n"
    ).replace("><", ">\n<")


if __name__ == "__main__":
    TARGET.write_text(kernels_figure(), encoding="utf-8")
    print(TARGET)
