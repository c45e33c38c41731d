"""torchvision's video networks (`torchvision.models.video`), by name, with its weights or others."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sth_core.adapted import adapt
from sth_core.checkpoint import Checkpoint, load_fitting
from sth_core.errors import UserError, did_you_mean
from sth_core.grids import ChannelsFirst, ChannelsLast, Grid, SizedTokens
from sth_core.video.other_libraries import preprocessing_of_torchvision
from sth_core.video.transforms import Preprocessing

KINETICS_RATE = 30  # frames a second; torchvision's pages give the rate at which each was evaluated


@dataclass(frozen=True)
class Family:
    """What torchvision's code does not say of some of its networks: the clips that its published accuracies are of
    (frames, and the frames of the video from one to the next), and the layers that can be explained."""

    frames: int
    stride: int
    layers: Callable[[list[str]], dict[str, Grid]]
    head: str  # the weight whose first dimension is the number of classes


def of_resnet(names: list[str]) -> dict[str, Grid]:
    return {name: ChannelsFirst() for name in names if name == "stem" or is_block(name, "layer", 1)}


def of_s3d(names: list[str]) -> dict[str, Grid]:
    return {name: ChannelsFirst() for name in names if is_block(name, "features", 1)}


def of_swin(names: list[str]) -> dict[str, Grid]:
    # features.1, 3 and 5 merge patches; the others are stages of blocks.
    blocks = [n for n in names if (is_block(n, "features", 1) and f"{n}.norm" in names) or is_block(n, "features", 2)]
    return {name: ChannelsLast() for name in blocks}


def of_mvit(names: list[str]) -> dict[str, Grid]:
    """All blocks but the last: after it only the class token is read, so no gradient reaches its other tokens."""
    return {name: SizedTokens() for name in [n for n in names if is_block(n, "blocks", 1)][:-1]}


def is_block(name: str, first: str, numbers: int) -> bool:
    """Whether a name is `first`, perhaps with a digit, and so many numbers: layer1.0, features.2.1."""
    head, *rest = name.split(".")
    return head.rstrip("0123456789") == first and len(rest) == numbers and all(part.isdigit() for part in rest)


RESNET = Family(16, KINETICS_RATE // 15, of_resnet, "fc.weight")
SWIN = Family(32, KINETICS_RATE // 15, of_swin, "head.weight")
MVIT = Family(16, round(KINETICS_RATE / 7.5), of_mvit, "head.1.weight")
FAMILIES = {
    "r3d_18": RESNET, "mc3_18": RESNET, "r2plus1d_18": RESNET,
    "s3d": Family(128, KINETICS_RATE // 15, of_s3d, "classifier.1.weight"),
    "swin3d_t": SWIN, "swin3d_s": SWIN, "swin3d_b": SWIN, "mvit_v1_b": MVIT, "mvit_v2_s": MVIT,
}  # fmt: skip


def torchvision_network(
    name: str, weights: dict[str, Tensor] | None, classes: list[str] | None, *, download: bool = True
) -> Checkpoint:
    """A video network of torchvision, with the weights that torchvision publishes (downloaded once, to TORCH_HOME) or
    with others, whose classes must be named.

    Raises UserError: there is no such network, the weights or the class names do not fit, or nothing can be downloaded.
    """
    from torchvision.models import get_model, get_model_weights, list_models, video  # here, as it is slow to import

    if name not in FAMILIES:
        there = list_models(module=video)
        more = "; sth_core.adapt takes it" if name in there else did_you_mean(name, FAMILIES)
        raise UserError(f"no video network torchvision:{name} is known here{more}; possible: {', '.join(FAMILIES)}")
    family, published = FAMILIES[name], get_model_weights(name).DEFAULT
    if weights is None:
        if not download and not downloaded(published.url):
            raise UserError(f"the weights of torchvision:{name} have not been downloaded; `sth record` does it once")
        try:
            module = get_model(name, weights=published)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"torchvision's weights of {name} cannot be had from {published.url} ({error}); download the file "
                f"elsewhere into TORCH_HOME/hub/checkpoints, or name other weights with --weights"
            ) from error
        names = published.meta["categories"]
    else:
        if family.head not in weights:
            raise UserError(f"the weights are not those of torchvision's {name}: there is no {family.head}")
        module = get_model(name, weights=None, num_classes=len(weights[family.head]))
        load_fitting(module, weights, f"the weights are not those of torchvision's {name}")
        names = published.meta["categories"] if len(weights[family.head]) == 400 else []
    names = classes or names
    if not names:
        count = len(weights[family.head]) if weights else 0
        raise UserError(f"the network has {count} classes, whose names are not known; give them with --class-names")
    p, layers = preprocessing_of(name), family.layers([layer for layer, _ in module.named_modules()])
    return adapt(module, classes=names, preprocessing=p, name=name, layers=layers)


def downloaded(url: str) -> bool:
    return (Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]).is_file()


def preprocessing_of(name: str) -> Preprocessing:
    """What the published weights of a network were evaluated with."""
    from torchvision.models import get_model_weights

    family, transforms = FAMILIES[name], get_model_weights(name).DEFAULT.transforms()
    return preprocessing_of_torchvision(transforms, frames=family.frames, stride=family.stride)
