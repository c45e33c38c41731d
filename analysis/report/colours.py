"""What each colour, dash and marker means, in every plot.

The first six colours are Okabe & Ito's or near them. Those that meet in a plot differ to colour-blind people too, and
each has a contrast of 3 or more with the app's light and dark pages (tests/test_colours.py).
"""

from collections.abc import Iterable, Sequence
from itertools import cycle

SPATIAL, TEMPORAL = "#0072B2", "#D55E00"  # alpha_S and alpha_T, and which of two is higher
MOTION, APPEARANCE = "#008060", "#CB72A6"  # the demo's two questions
CORRECT, MISCLASSIFIED = "#3B99D4", "#BF8300"
RUN_A, RUN_B = "#7F63C2", "#868A00"
TRAINING, HELD_OUT = "#708090", "#8C6D31"
SPLIT_COLOURS = (TRAINING, HELD_OUT, "#2C9AB7")  # training, validation, test
PLAIN = "#708090"  # what is alone in its plot, and what something is compared with
REFERENCE = "#888888"  # lines that show no data
CHANGED, TRUE_CLASS = "#C0504D", "#BF8300"  # scores after a change; the score of the label
MAP, DROP = "#BF8300", "#3B99D4"  # of a clip's timeline: the explanation, the fall of the score
BAR_INTERVAL = "#808080"  # seen on a bar, and on light and dark pages

# Of things without a colour of their own.
OTHERS = ("#2C9AB7", "#C0504D", "#A05195", "#5F8A3D", "#7A7A7A", "#8C6D31", "#6F72C8", "#D0699F")
DATASETS = {"synthetic: motion": MOTION, "synthetic: appearance": APPEARANCE}
DIVERGING = ((0, SPATIAL), (0.5, "#f7f7f7"), (1, TEMPORAL))  # a colour scale with a neutral middle

DASHES = {"1/4": "solid", "1/2": "dash", "1/8": "dot", "1": "longdash", "1/16": "dashdot"}  # by p
MODALITY_MARKERS = {"RGB": "circle", "Flow": "diamond-open"}
TEMPORAL_MARKER, SPATIAL_MARKER = "circle", "circle-open"
RUN_MARKERS = ("circle", "square", "diamond", "cross", "x", "triangle-up")
TEXT = {"light": "#1f2328", "dark": "#e4e8ec"}  # of a report's figures, on a page of this theme


def dataset_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each dataset; the demo's have their own."""
    return _with_others(dict.fromkeys(sorted(set(names))), DATASETS, OTHERS)


def run_colours(count: int) -> list[str]:
    """The colours of runs A, B, C, ..."""
    return [colour for _, colour in zip(range(count), cycle((RUN_A, RUN_B, *OTHERS)), strict=False)]


def dashes_of(proportions: Iterable[str]) -> dict[str, str]:
    """A dash for each p; those of the paper have their own."""
    return _with_others(dict.fromkeys(proportions), DASHES, ("longdashdot", "3px,1px", "8px,3px"))


def _with_others(names: Iterable[str], known: dict[str, str], others: Sequence[str]) -> dict[str, str]:
    rest = cycle(others)
    return {name: known[name] if name in known else next(rest) for name in names}
