"""Parameters and multiply-adds, layer by layer.

One multiply-add is one multiplication and the addition of its result; the paper, TSN and TSM
print it as "FLOPs". Convolutions and linear layers are counted; batch norm, pooling, TSM's
shift and the products with alpha (two per output number) are not, as is usual.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sth_core.network import ModelConfig, VideoNetwork
from sth_core.video.modality import CHANNELS


@dataclass(frozen=True)
class LayerCost:
    """The cost of a layer for one clip; `output` is its shape for one frame, (C, H, W) or (C,)."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


def layer_costs(config: ModelConfig, side: int = 224) -> list[LayerCost]:
    """Each module that has parameters, in the order of the forward pass, for one clip of side x side pixels.

    Computed on torch's meta device: no memory, and a moment at any size.
    """
    with torch.device("meta"):
        model = VideoNetwork(config).eval()
        clip = torch.empty(1, config.frames, CHANNELS[config.modality], side, side)
    costs: list[LayerCost] = []
    names = {module: name for name, module in model.named_modules()}

    def measure(module: nn.Module, _: object, output: Tensor) -> None:
        name, kind = names[module].removeprefix("backbone."), type(module).__name__
        own = list(module.parameters(recurse=False))
        parameters = sum(w.numel() for w in own)
        multiply_adds = sum(w.numel() for w in own if w.ndim > 1) * (output.numel() // output.shape[1])
        costs.append(LayerCost(name, kind, tuple(output.shape[1:]), parameters, multiply_adds))

    for module in model.modules():  # hooks on a network that only this function uses
        if list(module.parameters(recurse=False)):
            module.register_forward_hook(measure)
    with torch.no_grad():
        model(clip)
    return costs


def total(costs: list[LayerCost]) -> tuple[float, float]:
    """(multiply-adds in G, parameters in M) of one clip."""
    return sum(c.multiply_adds for c in costs) / 1e9, sum(c.parameters for c in costs) / 1e6


def pointwise(costs: list[LayerCost], frames: int) -> float:
    """Operations (in G) of batch norm and ReLU: three for each output number of a batch norm.

    With these, the FLOPs of p = 1/4, of both (2+1)D networks and of TSM equal the paper's.
    """
    return 3e-9 * frames * sum(math.prod(c.output) for c in costs if c.kind == "BatchNorm2d")


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper: the printed numbers (cost, top-1 on Something-Something V1, videos a second), our network
    (None if it is not built), and `why` its cost differs."""

    table: str
    label: str
    gflops: str
    parameters: str
    top1: str
    network: ModelConfig | None
    why: str = ""
    speed: str = "-"


def _resnet50(conv: str = "sth", p: float = 1 / 4, attention: bool = False, **changes: Any) -> ModelConfig:
    return ModelConfig("resnet50", 174, conv=conv, temporal_fraction=p, attention=attention, **changes)


ABOVE = (
    "with batch norm and ReLU counted, the paper is {} G and {} M above its own formula (Section 3.2), although its "
    "p = 1/4 row follows it to the digit"
)
I3D = (
    "the paper cites another network: I3D inflates part of the layers and pools time, its 35.3 M is that of Non-local "
    "I3D in Table 2; ours turns every 3 x 3 into 3 x 3 x 3 and keeps all frames"
)
TSM = "a ResNet-50 with 174 classes has 23.9 M, and the shift has no weights; 24.3 M is cited from TSM"
STH_8 = "Tables 7 and 8 print 30.5 for the same network; attention's own means and products would add 0.05"
STH_16 = "twice the 30.5 of Tables 7 and 8 is 61.0; attention's own means and products would add 0.1"
ECO = "not built: BNInception and a 3D ResNet-18, no ResNet-50"
ABM = "not built: another module in another network"
PAPER_ROWS = (
    PaperRow("6", "p = 0", "33.3", "24.4", "19.7", _resnet50("2d"), ABOVE.format("0.3", "0.5")),
    PaperRow("6", "p = 1/8", "32.2", "23.1", "46.6", _resnet50(p=1 / 8), ABOVE.format("0.5", "0.2")),
    PaperRow("6", "p = 1/4", "30.5", "22.0", "46.8", _resnet50()),
    PaperRow("6", "p = 1/2", "28.5", "20.3", "45.1", _resnet50(p=1 / 2), ABOVE.format("0.5", "0.2")),
    PaperRow("7", "(2+1)D sequential", "37.9", "27.6", "42.7", _resnet50("2plus1d_sequential")),
    PaperRow("7", "(2+1)D parallel", "37.9", "27.6", "45.4", _resnet50("2plus1d_parallel")),
    PaperRow("7", "STH merge", "30.5", "22.0", "45.9", _resnet50("sth_merge")),
    PaperRow("7", "STH hybrid", "30.5", "22.0", "46.8", _resnet50()),
    PaperRow("7", "STH hybrid + attention", "30.5", "23.2", "47.8", _resnet50(attention=True)),
    PaperRow("8", "Fixed", "30.5", "23.2", "47.8", _resnet50(attention=True)),
    PaperRow("8", "Dilated", "30.5", "23.2", "48.4", _resnet50(attention=True, dilations=(1, 2, 3))),
    PaperRow("9", "I3D, 64 frames", "306", "35.3", "41.6", _resnet50("3d", frames=64), I3D, speed="6.4"),
    PaperRow("9", "ECO, 16 frames", "64", "47.5", "41.4", None, ECO, speed="46.3"),
    PaperRow("9", "TSM, 8 frames", "33", "24.3", "45.6", _resnet50("tsm"), TSM, speed="80.4"),
    PaperRow("9", "TSM, 16 frames", "65", "24.3", "47.2", _resnet50("tsm", frames=16), TSM, speed="39.5"),
    PaperRow("9", "ABM-C-in, 8 x 3 frames", "53.0", "-", "44.1", None, ABM, speed="28.0"),
    PaperRow("9", "ABM-A-in, 16 x 3 frames", "106.0", "-", "46.1", None, ABM, speed="20.1"),
    PaperRow("9", "STH, 8 frames", "30.6", "23.2", "46.8", _resnet50(attention=True), STH_8, speed="68.8"),
    PaperRow("9", "STH, 16 frames", "61.3", "23.2", "48.3", _resnet50(attention=True, frames=16), STH_16, speed="35.2"),
)


def compare_with_paper() -> list[dict[str, str]]:
    """Tables 6 to 9: for each row of the paper its numbers, ours, and a remark: that they agree, or why they differ."""
    return [_compare(row) for row in PAPER_ROWS]


def _compare(row: PaperRow) -> dict[str, str]:
    gflops, parameters, remark = "-", "-", row.why
    if row.network is not None:
        costs = layer_costs(row.network)
        flops, weights = total(costs)
        remarks = []
        if row.gflops != _rounded(flops, row.gflops):
            counted = row.gflops == _rounded(flops + pointwise(costs, row.network.frames), row.gflops)
            remarks.append("as printed, once batch norm and ReLU are counted" if counted else row.why)
        if row.parameters != _rounded(weights, row.parameters) and row.why not in remarks:
            remarks.append(row.why)
        gflops, parameters, remark = f"{flops:.2f}", f"{weights:.2f}", "; ".join(remarks) or "as printed"
    return {
        "table": row.table, "network": row.label, "paper_gflops": row.gflops, "gflops": gflops,
        "paper_parameters_m": row.parameters, "parameters_m": parameters, "paper_top1": row.top1,
        "paper_videos_per_second": row.speed, "remark": remark,
    }  # fmt: skip


def _rounded(value: float, printed: str) -> str:
    """`value` with as many decimals as the paper printed."""
    return f"{value:.{len(printed.partition('.')[2])}f}"
