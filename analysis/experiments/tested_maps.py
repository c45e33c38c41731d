"""The maps that `trust` tests: ways to explain a clip, each at one layer and with one definition."""

from dataclasses import dataclass
from itertools import takewhile

import torch.nn.functional as F
from torch import Tensor

from analysis.explain.gradcam import CELL_WEIGHTS, DEFINITIONS, SPATIAL, TEMPORAL, cam_layers, default_layer
from analysis.explain.methods import GRADCAM, INPUT, METHODS, Question
from sth_core.network_contract import Network
from sth_core.resumable import no_report


@dataclass(frozen=True)
class Explanation:
    """A way to make maps of a clip."""

    name: str
    layer: str
    definition: str
    branch: str = "joint"
    method: str = GRADCAM


def explanations(model: Network, side: int, methods: tuple[str, ...] = (GRADCAM,)) -> list[Explanation]:
    """Those of each method: of Grad-CAM both definitions at the default layer, and the branches of the last STH layer
    up to it."""
    layers = cam_layers(model, side)
    chosen = default_layer(layers)
    below = takewhile(lambda layer: layer.name != chosen, layers)
    hybrids = [layer.name for layer in below if len(layer.branches) > 1]
    found = [Explanation(f"Grad-CAM, weights {d.replace('_', ' ')}", chosen, d) for d in DEFINITIONS]
    if hybrids:
        found += [Explanation(f"Grad-CAM, {b} branch", hybrids[-1], "per_step", b) for b in (SPATIAL, TEMPORAL)]
    others = [m for m in map(METHODS.__getitem__, methods) if m.name != GRADCAM and m.serves(model)]
    for method in others:
        definition = method.name if method.name in CELL_WEIGHTS else ""
        layer = chosen if method.layered else INPUT
        found.append(Explanation(method.title, layer, definition, method=method.name))
    return found if GRADCAM in methods else found[len(found) - len(others) :]


def map_of(model: Network, clip: Tensor, target: int, e: Explanation, precision: str = "fp32", seed: int = 0) -> Tensor:
    """The signed map (T, h, w) of a clip (T, C, H, W)."""
    asked = Question(target, None, e.layer, e.branch, e.definition, precision, seed)
    return METHODS[e.method].explain(model, clip, asked, no_report)


def maps_of(
    model: Network, clip: Tensor, target: int, wanted: list[Explanation], precision: str = "fp32"
) -> dict[str, Tensor]:
    """{explanation: signed map (T, h, w)} of a clip (T, C, H, W)."""
    return {e.name: map_of(model, clip, target, e, precision) for e in wanted}


def at_cells(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map of pixels (T, H, W) -> the mean of each cell (T, h, w), so that all maps are tested at one resolution and
    against controls of that resolution; a map that is no finer stays as it is."""
    finer = maps.shape[1] > grid[0] and maps.shape[2] > grid[1]
    return F.adaptive_avg_pool2d(maps[None], grid)[0] if finer else maps


def cells_of(model: Network, side: int) -> tuple[int, int]:
    """The height and width of the maps of the default layer."""
    layers = cam_layers(model, side)
    chosen = default_layer(layers)
    return next((layer.height, layer.width) for layer in layers if layer.name == chosen)


def import_slow(wanted: list[Explanation]) -> None:
    """Import what the methods need, so that no clip's seconds have it."""
    if not all(METHODS[e.method].layered for e in wanted):
        import captum.attr  # noqa: F401
