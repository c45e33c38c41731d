"""Initial weights: ImageNet's from torchvision, .pth files of TSN and TSM, another checkpoint.

The first two are of 2D networks: spatial kernels take their values, temporal kernels and the attention stay random
(Section 4.2).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike

import torch
from torch import Tensor

from sth_core.backbones import BACKBONES
from sth_core.checkpoint import broken_weights, load_checkpoint, misfits
from sth_core.convolution import VideoConv
from sth_core.errors import UserError
from sth_core.network import VideoNetwork, create_model
from sth_core.weight_names import plain_names

COUNT = "num_batches_tracked"


@dataclass(frozen=True)
class Loaded:
    """Names of the network's tensors that were given weights, and of those that were not changed."""

    taken: list[str]
    kept: list[str]


def load_imagenet(model: VideoNetwork) -> Loaded:
    """Load torchvision's IMAGENET1K_V1 weights, from which TSN and TSM start.

    They are downloaded once into torch's hub cache (TORCH_HOME). Raises UserError: a network of another width, or the
    weights cannot be downloaded.
    """
    if model.config.width != 64:
        raise UserError(
            f"ImageNet weights are for width 64, this network has width {model.config.width}; "
            f"train it from random weights, or set width to 64"
        )
    import torchvision  # here, as it is slow to import

    name = {"vgg16": "vgg16_bn"}.get(model.config.backbone, model.config.backbone)
    try:
        entry = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
        weights = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no internet, a full disk, or a damaged file in the cache
        raise UserError(
            f"cannot get the ImageNet weights of {name}: {error or type(error).__name__}; on a machine without "
            f"internet, copy the file named here into $TORCH_HOME/hub/checkpoints; if it is there, it is damaged"
        ) from error
    return load_2d_weights(model, without_classifier(plain_names(weights)), f"torchvision's {name}")


@torch.no_grad()
def start_from(model: VideoNetwork, classes: list[str], path: str | PathLike[str]) -> Loaded:
    """Load the weights of a checkpoint of the same backbone and width; convolution and p must be the same, or 2D.

    It may have no attention, or the other modality. The classifier's weights are taken for the same classes only.
    Raises UserError: the checkpoint cannot be used, or differs; the message names the difference.
    """
    source = load_checkpoint(path)
    assert isinstance(source.model, VideoNetwork)  # a file has no other
    theirs, ours = source.model.config, model.config
    weights = source.model.state_dict()
    if source.classes != classes:
        weights = without_classifier(weights)
    same = ["backbone", "width"]
    if flat := theirs.conv in ("2d", "tsm"):
        weights = {name.removeprefix("backbone."): weight for name, weight in weights.items()}
    else:
        same += ["conv", "temporal_fraction"] if "sth" in theirs.conv else ["conv"]
    for key in same:
        values = [getattr(config, key) for config in (theirs, ours)]
        if values[0] != values[1]:
            their, our = (f"p = {Fraction(v)}" if key == "temporal_fraction" else f"{key} {v}" for v in values)
            raise UserError(f"{path} has {their}, this network has {our}; start from one that has the same")
    if flat:
        return load_2d_weights(model, weights, str(path))
    mine = model.state_dict(keep_vars=True)
    first = next(iter(mine))
    weights[first] = of_channels(weights[first], mine[first].shape[1])
    taken = [name for name in mine if name in weights and weights[name].shape == mine[name].shape]
    for name in taken:
        mine[name].copy_(weights[name])
    return Loaded(taken, [name for name in mine if name not in taken])


def without_classifier(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All weights but those of the last layer, whose classes differ."""
    return {name: weight for name, weight in weights.items() if not name.startswith("fc.")}


@torch.no_grad()
def load_2d_weights(model: VideoNetwork, weights: Mapping[str, Tensor], origin: str) -> Loaded:
    """Give `model` the weights of a 2D network of the same backbone.

    Args:
        weights: by torchvision's names; "fc.weight" and "fc.bias" are the classifier's, if given.
        origin: the name of the source in the error message.

    Batch norms whose counts of batches are missing (`num_batches_tracked`, of PyTorch before 0.4.1) keep theirs.

    Raises UserError: the weights are of another backbone or another number of classes; the message names what is
    missing, unexpected or of another shape, and the backbone that they fit. The network is not changed.
    """
    weights = without_conv_biases(dict(weights))
    convs = {n: m for n, m in model.backbone.named_modules() if isinstance(m, VideoConv)}
    mine = {name.removeprefix("backbone."): tensor for name, tensor in model.state_dict(keep_vars=True).items()}
    inside = tuple(f"{name}." for name in convs)
    expected = {name: tuple(tensor.shape) for name, tensor in mine.items() if not name.startswith(inside)}
    expected |= {f"{name}.weight": (c.out_channels, c.in_channels // c.groups, 3, 3) for name, c in convs.items()}
    if not any(name.startswith("fc.") for name in weights):
        del expected["fc.weight"], expected["fc.bias"]
    uncounted = {name for name in expected if name.endswith(COUNT) and name not in weights}
    for name in uncounted:
        del expected[name]
    first = next(name for name in expected if name.endswith("weight"))
    if first in weights and tuple(weights[first].shape) == (*expected[first][:1], 3, *expected[first][2:]):
        weights[first] = of_channels(weights[first], expected[first][1])
    if problems := misfits(expected, {name: tuple(weight.shape) for name, weight in weights.items()}):
        c = model.config
        hint = nearest_backbone(weights, c.backbone, c.width)
        raise UserError(f"{origin} does not fit a {c.backbone} for {c.num_classes} classes: {problems}{hint}")
    refuse_unusable(weights, expected, origin)
    for name in expected:
        if conv := convs.get(name.removesuffix(".weight")):
            conv.load_2d(weights[name])
        else:
            mine[name].copy_(weights[name])
    spatial = {f"{name}.{part}" for name in convs for part in ("weight", "weight_spatial")}
    return Loaded(sorted(expected), sorted(mine.keys() - expected.keys() - spatial - uncounted))


def refuse_unusable(weights: Mapping[str, Tensor], names: Iterable[str], origin: str) -> None:
    """Raises UserError: weights of another type of number than the network's, packed ones, or broken ones."""
    for name in names:
        weight, counts = weights[name], name.endswith(COUNT)
        plain = weight.layout is torch.strided and weight.device.type != "meta"
        fits = not (weight.is_floating_point() or weight.is_complex()) if counts else weight.is_floating_point()
        if not plain or not fits:
            wanted = "whole numbers" if counts else "floating-point numbers"
            given = f"{weight.dtype}, {weight.layout}, on {weight.device.type}".replace("torch.", "")
            raise UserError(f"{origin}: {name} must be plain {wanted}, got {given}")
    if broken := broken_weights({name: weights[name].to(torch.float32) for name in names}):
        raise UserError(f"{origin} cannot be used: {broken}")


def nearest_backbone(weights: Mapping[str, Tensor], backbone: str, width: int) -> str:
    """The end of a sentence that names the backbone which the weights fit best, if it is another one or has another
    width; the classifier does not count."""
    given = {name: tuple(weight.shape) for name, weight in without_classifier(weights).items() if COUNT not in name}
    fits = {name: (fitting(shapes, given), len(shapes)) for name, shapes in backbone_shapes().items()}
    best = max(fits, key=lambda name: fits[name][0] / (fits[name][1] + len(given) - fits[name][0]))
    same, of = fits[best]
    if 2 * same < max(of, len(given)):
        return f"; it looks like none of the backbones here ({', '.join(fits)})"
    changes = [f"model.backbone={best}"] * (best != backbone) + ["model.width=64"] * (width != 64)
    return f"; it looks like a {best} ({same} of {of} tensors fit), set {' and '.join(changes)}" if changes else ""


def backbone_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """The names and shapes of the tensors of each 2D backbone, of full width."""
    with torch.device("meta"):
        networks = {name: create_model(name, 1, conv="2d").backbone.state_dict() for name in BACKBONES}
    return {
        name: {key: tuple(tensor.shape) for key, tensor in tensors.items() if COUNT not in key}
        for name, tensors in networks.items()
    }


def fitting(shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> int:
    return sum(given.get(name) == shape for name, shape in shapes.items())


def of_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution's RGB weight (C_out, 3, k, k), averaged and repeated for another input (TSN's
    cross-modality initialisation)."""
    if weight.shape[1] != 3 or channels == 3:
        return weight
    return weight.mean(1, keepdim=True).expand(-1, channels, -1, -1)


def without_conv_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Move the biases of VGG's convolutions into the running means of its batch norms, which subtract them."""
    for name in list(weights):
        if norm := re.fullmatch(r"features\.(\d+)\.running_mean", name):
            bias = weights.pop(f"features.{int(norm[1]) - 1}.bias", None)
            if bias is not None and bias.shape == weights[name].shape:
                weights[name] = weights[name] - bias
    return weights
