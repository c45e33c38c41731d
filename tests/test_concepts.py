"""The page on STH convolutions: its figure and its table are what the networks compute."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor

from docs.kernels_figure import kernels_figure
from sth_core import create_model

ROOT = Path(__file__).parent.parent
PAGE, FIGURE = ROOT / "docs" / "concepts.md", ROOT / "docs" / "images" / "kernels.svg"
SVG = "{http://www.w3.org/2000/svg}"
FRAMES, WIDTH = 3, 16  # of the networks


def layer(**options: Any) -> torch.nn.Module:
    """The first convolution of the first block, 16 channels to 16."""
    model = create_model("resnet18", num_classes=2, width=WIDTH, frames=FRAMES, **options)
    return model.backbone.get_submodule("layer1.0.conv1").eval()


def reaches(conv: torch.nn.Module, channel: int) -> Tensor:
    """(C_out, T, 5, 5): where the output is not zero, for one pixel of the middle frame of an input channel."""
    clip = torch.zeros(FRAMES, WIDTH, 5, 5)
    clip[1, channel, 2, 2] = 1
    with torch.no_grad():
        return (conv(clip) != 0).transpose(0, 1)


def shapes_of(conv: torch.nn.Module) -> list[list[str]]:
    """What the basic kernel of each output and input channel reads: the frame, the times of one pixel, or both."""
    rows = [[""] * WIDTH for _ in range(WIDTH)]
    for c in range(WIDTH):
        for m, there in enumerate(reaches(conv, c)):
            in_time, in_space = int(there[:, 2, 2].sum()), int(there[1].sum())
            rows[m][c] = {(1, 9, 9): "spatial", (3, 1, 3): "temporal", (3, 9, 27): "both"}[
                in_time, in_space, int(there.sum())
            ]
    return rows


def spread(cells: list[list[str]]) -> list[list[str]]:
    """The drawn types and 8 input channels, as so many rows and columns as the layer has channels."""
    return [[row[c * len(row) // WIDTH] for c in range(WIDTH)] for row in cells for _ in range(WIDTH // len(cells))]


@pytest.mark.parametrize("p", ["1/8", "1/4", "1/2", "merge"])
def test_the_drawn_channels_are_temporal_in_the_network_and_no_others(p: str) -> None:
    drawn = ElementTree.parse(FIGURE).find(f".//{SVG}g[@id='p-{p.replace('/', '-')}']")
    rows: dict[str, list[str]] = {}
    for cell in drawn:
        rows.setdefault(cell.get("y"), []).append(cell.get("class"))
    options = {"conv": "sth_merge", "temporal_fraction": 1 / 4}
    if p != "merge":
        options = {"conv": "sth", "temporal_fraction": 1 / int(p[2:])}
    assert spread([*rows.values()]) == shapes_of(layer(**options))


def test_the_drawn_kernels_are_those_of_the_networks() -> None:
    rows: dict[str, list[str]] = {}
    for use in ElementTree.parse(FIGURE).iter(f"{SVG}use"):
        rows.setdefault(use.get("y"), []).append(use.get("href")[1:])
    plain, first, then, whole, *hybrid = rows.values()
    assert spread([plain]) == shapes_of(layer(conv="2d")) == spread([first])
    assert set(then) == {"temporal"}  # reads what the first gives
    assert spread([whole]) == shapes_of(layer(conv="3d"))
    assert spread(hybrid) == shapes_of(layer(conv="sth", temporal_fraction=1 / 4))


def test_the_stored_figure_is_what_the_script_draws() -> None:
    assert FIGURE.read_text(encoding="utf-8") == kernels_figure(), "run `python docs/kernels_figure.py`"


def test_the_weights_of_the_table_are_those_of_the_layers() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+)(, and biases)? \| ([\d.]+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(rows) == 7
    for name, weights, _, temporal in rows:
        fraction = re.search(r"p = 1/(\d)", name)
        options: dict[str, Any] = {"conv": {"2D": "2d", "(2+1)D": "2plus1d_parallel", "3D": "3d"}.get(name, "sth")}
        if fraction:
            options |= {"temporal_fraction": 1 / int(fraction[1]), "attention": "attention" in name}
        sizes = {key: w.numel() / WIDTH**2 for key, w in layer(**options).named_parameters() if "bias" not in key}
        assert (sum(sizes.values()), sizes.get("weight_temporal", sizes["weight"] if name == "3D" else 0)) == (
            float(weights), float(temporal)
        ), name  # fmt: skip
