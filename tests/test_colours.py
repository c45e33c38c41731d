"""One colour or dash means one thing, and everybody can tell apart those that meet in a plot, in both themes."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from analysis.report import colours
from analysis.report.colours import (
    APPEARANCE,
    CHANGED,
    CORRECT,
    DATASETS,
    HELD_OUT,
    MISCLASSIFIED,
    MOTION,
    PLAIN,
    RUN_A,
    RUN_B,
    SPATIAL,
    TEMPORAL,
    TRAINING,
    dashes_of,
    dataset_colours,
    run_colours,
)
from analysis.report.figures_5_to_8 import attention_by_layer, supplement_figures
from tests.test_figures import runs_of

ROOT = Path(__file__).parent.parent
LIGHT, DARK = "#ffffff", "#171614"  # the app's pages
SIMULATED = {  # Machado et al. 2009, severity 1, on linear RGB
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    low, high = sorted(float(linear(c) @ TO_XYZ[1]) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt((np.array(TO_XYZ) @ rgb.clip(0, 1)) / [0.95047, 1, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_the_functions_by_hand() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert lab(linear("#ffffff")) == pytest.approx([100, 0, 0], abs=0.02)


@pytest.mark.parametrize(
    "pair",
    [(SPATIAL, TEMPORAL), (MOTION, APPEARANCE), (CORRECT, MISCLASSIFIED), (RUN_A, RUN_B), (PLAIN, TEMPORAL),
     (PLAIN, MISCLASSIFIED), (PLAIN, CHANGED), (TRAINING, HELD_OUT)],
)  # fmt: skip
def test_colours_that_meet_differ_to_everybody(pair: tuple[str, str]) -> None:
    for matrix in [np.eye(3), *map(np.array, SIMULATED.values())]:
        a, b = (lab(matrix @ linear(colour)) for colour in pair)
        assert np.linalg.norm(a - b) >= 15


def test_lines_are_seen_on_light_and_dark_pages() -> None:
    lines = [colour for colour in vars(colours).values() if str(colour).startswith("#")]
    for colour in [*lines, *colours.OTHERS, *DATASETS.values()]:
        assert contrast(colour, LIGHT) >= 3 and contrast(colour, DARK) >= 3, colour
    assert contrast(colours.TEXT["light"], LIGHT) >= 7 and contrast(colours.TEXT["dark"], DARK) >= 7


def test_what_has_a_meaning_has_a_colour_of_its_own() -> None:
    meanings = [SPATIAL, TEMPORAL, MOTION, APPEARANCE, RUN_A, RUN_B, CORRECT, MISCLASSIFIED, PLAIN]
    assert all(a != b for a, b in combinations([*meanings, *colours.OTHERS], 2))
    assert run_colours(3)[:2] == [RUN_A, RUN_B]
    assert dataset_colours(["things", "synthetic: motion"])["synthetic: motion"] == MOTION
    assert dashes_of(["1/8", "1/3", "1/4"]) | {"1/3": ""} == {"1/8": "dot", "1/4": "solid", "1/3": ""}


def test_no_plot_has_a_colour_or_a_dash_of_its_own() -> None:
    """All come from the module of colours; what is drawn by another hand than Plotly's is listed."""
    allowed = {"colours.py", "figure_layout.py", "figures_5_to_8.py", "figures_9_and_10.py"}  # black text, gray axes
    for folder in ("analysis", "workbench"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            found = re.findall(r"\"#[0-9A-Fa-f]{6}\"|dash[^=\n]{0,4}[=:] ?\"dot\"", text)
            assert not found or file.name in allowed or "template" in file.name, (file, found)


def test_a_line_means_the_same_in_each_figure(tmp_path: Path) -> None:
    """Colour by data set, dash by p, marker by modality; α_S and α_T by filled and open circles, or by colour."""
    items = {item.name: item.figure for item in supplement_figures(attention_by_layer(runs_of(tmp_path)))}
    colour: dict[str, str] = {}
    dash: dict[str, str] = {}
    for name in ("figure5_layers", "figure6_proportions", "figure8_modalities"):
        for line in items[name].data:
            if not line.name:
                continue
            dataset = line.name.split(":")[0].split(",")[0]
            assert colour.setdefault(dataset, line.line.color) == line.line.color
            p = re.search(r"p = (\S+)", line.name)
            assert dash.setdefault(p[1] if p else "1/4", line.line.dash) == line.line.dash
            assert (line.marker.symbol == "circle-open") == line.name.endswith("α_S")
            assert (line.marker.symbol == "diamond-open") == line.name.endswith("Flow")
    assert dash == {"1/4": "solid", "1/2": "dash", "1/8": "dot"} and len(set(colour.values())) == 2
    assert [bar.marker.color for bar in items["figure7_datasets"].data] == [SPATIAL, TEMPORAL]
