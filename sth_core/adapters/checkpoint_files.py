"""Networks in the PyTorch files of other libraries, recognised by the names of their tensors.

What a file does not say, the number of frames and how far apart they lie, is read from its name, as MMAction2, TSM and
PySlowFast write it there; if that is not there either, the file is refused.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sth_core.adapted import adapt
from sth_core.adapters.slow_resnet import DEPTHS, SlowResNet50
from sth_core.checkpoint import Checkpoint, load_fitting
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError
from sth_core.grids import ChannelsFirst
from sth_core.network import create_model
from sth_core.pretrained import load_2d_weights
from sth_core.values import BadValue
from sth_core.video.transforms import Preprocessing
from sth_core.weight_files import read_state
from sth_core.weight_names import SHIFTED, plain_names

SUFFIXES = (".pth", ".pyth", ".pt", ".tar")
OPENED = "MMAction2's and TSM's ResNet-50 (TSN, TSM) and pytorchvideo's slow_r50 are opened"
OTHERWISE = "write a function that returns sth_core.adapt(module, ...), and name it as FILE.py:FUNCTION with --weights"
# Of networks that are recognised and not opened, by a name that no other has.
TWO_PATHWAYS = "a SlowFast network of {}, whose module takes two clips at different rates"
NOT_OPENED = {
    r"blocks\.\d+\.multipathway_": TWO_PATHWAYS.format("pytorchvideo"),
    r"s\d_fuse\.|s\d\.pathway1_": TWO_PATHWAYS.format("PySlowFast"),
    r"backbone\.(slow|fast)_path\.": TWO_PATHWAYS.format("MMAction2"),
    r"s\d\.pathway0_": "a network of PySlowFast with one pathway",
    r"backbone\.layer\d\.\d+\.conv\d\.conv\.weight3d": "a 3D network of MMAction2",
    r"cls_head\.": "a network of MMAction2 that is no TSN or TSM",
    r"blocks\.\d+\.res_blocks\.": "a network of pytorchvideo that is no slow_r50",
}
SEGMENTS = re.compile(r"(?:^|[_-])1x1x(?P<frames>\d+)(?=[_-]|$)|segment(?P<segments>\d+)")
POOLED = re.compile(r"temporal[_-]?pool|_tpool", re.I)  # its tensors have the names of a plain TSM's
FRAMES_X_STRIDE = re.compile(r"(?:^|[_-])(?P<frames>\d+)x(?P<stride>\d+)(?=[_-]|$)")
DENSE_RANGE = 64  # frames that a dense clip of MMAction2 and TSM covers


def network_of_pytorch_file(path: Path, classes: list[str] | None) -> Checkpoint:
    """The network in a file of MMAction2, TSM or pytorchvideo.

    Raises UserError: no such file, it needs pickle, it is of another network, its name does not say how many frames a
    clip has, or the class names are missing or of another number.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    weights = read_state(path)
    names = list(weights)
    if "blocks.0.conv.weight" in names and f"blocks.{len(DEPTHS) + 1}.proj.weight" in names:
        return slow_r50(path, weights, classes)
    shapes = {name: tuple(w.shape) for name, w in weights.items()}
    if is_2d_resnet50(shapes):
        return tsn_or_tsm(path, weights, classes)
    for pattern, what in NOT_OPENED.items():
        if any(re.match(pattern, name) for name in names):
            raise UserError(f"{path} is {what}; of such files {OPENED}. For others {OTHERWISE}")
    raise UserError(
        f"{path} is not recognised (its tensors: {', '.join(names[:3])}, ...); of PyTorch files {OPENED}. For others "
        f"{OTHERWISE}"
    )


def is_2d_resnet50(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether they are of MMAction2's or TSM's names, and of a 2D ResNet-50's first and last block."""
    mmaction = "backbone.layer3.5.conv3.conv.weight" in shapes and "cls_head.fc_cls.weight" in shapes
    tsm = "base_model.layer3.5.conv3.weight" in shapes and "new_fc.weight" in shapes
    first = shapes.get("backbone.conv1.conv.weight" if mmaction else "base_model.conv1.weight", ())
    return (mmaction or tsm) and first == (64, 3, 7, 7) and not any("layer3.6." in name for name in shapes)


def tsn_or_tsm(path: Path, weights: Mapping[str, Tensor], classes: list[str] | None) -> Checkpoint:
    shifted = [name for name in weights if SHIFTED.search(name)]
    blocks = {f"layer{stage + 1}.{i}.conv1." for stage, depth in enumerate(DEPTHS) for i in range(depth)}
    if shifted and {block for block in blocks if any(block in name for name in shifted)} != blocks:
        raise UserError(f"{path} is a TSM that shifts some of its blocks alone; {OPENED}. For others {OTHERWISE}")
    if POOLED.search(path.stem):
        raise UserError(f"{path} is a TSM with temporal pooling by its name; {OPENED}. For others {OTHERWISE}")
    found = SEGMENTS.search(path.stem)
    if not found:
        raise UserError(unsaid(path, "tsm_r50_1x1x8.pth, of 8 frames, or TSM_segment8.pth"))
    frames = int(found["frames"] or found["segments"])
    plain = plain_names(weights)
    names = named_classes(path, classes, len(plain["fc.weight"]))
    of_mmaction = any(name.startswith("cls_head.") for name in weights)
    stride = DENSE_RANGE // frames if "dense" in path.stem else 0
    try:
        p = Preprocessing(frames=frames, stride=stride, interpolation="opencv_linear" if of_mmaction else "pil")
        model = create_model("resnet50", len(names), frames=frames, conv="tsm" if shifted else "2d")
    except BadValue as error:
        raise UserError(f"{path}: its name says {found[0].strip('_-')}: {error}") from error
    load_2d_weights(model, plain, str(path))
    return Checkpoint(model.eval(), names, p, Annotation(), {})


def slow_r50(path: Path, weights: Mapping[str, Tensor], classes: list[str] | None) -> Checkpoint:
    found = FRAMES_X_STRIDE.search(path.stem)
    if not found:
        raise UserError(unsaid(path, "SLOW_8x8_R50.pyth, of 8 frames, each the 8th of the video"))
    head = weights[f"blocks.{len(DEPTHS) + 1}.proj.weight"]
    names = named_classes(path, classes, len(head))
    module = SlowResNet50(len(names))
    load_fitting(module, weights, f"{path} is no slow_r50 of pytorchvideo, which alone of its networks is opened")
    how: dict[str, Any] = {"interpolation": "bilinear", "crop_rounding": "even", "dense": "spread"}
    sizes: dict[str, Any] = {"resize": 256, "crop": 256, "mean": (0.45,) * 3, "std": (0.225,) * 3}
    try:
        p = Preprocessing(frames=int(found["frames"]), stride=int(found["stride"]), **how, **sizes)
    except BadValue as error:
        raise UserError(f"{path}: its name says {found[0].strip('_-')}: {error}") from error
    layers = {"blocks.0": ChannelsFirst()} | {
        f"blocks.{stage + 1}.res_blocks.{i}": ChannelsFirst()
        for stage, depth in enumerate(DEPTHS)
        for i in range(depth)
    }
    return adapt(module, classes=names, preprocessing=p, name="slow_r50", layers=layers)


def named_classes(path: Path, classes: list[str] | None, count: int) -> list[str]:
    if classes is None:
        raise UserError(f"{path} has {count} classes, whose names are not in it; give them with --class-names")
    if len(classes) != count:
        raise UserError(f"{path} has {count} classes, and {len(classes)} names were given")
    return classes


def unsaid(path: Path, example: str) -> str:
    return (
        f"neither {path} nor its name says how many frames a clip has; give it a name that does, as {example}; "
        f"or {OTHERWISE}"
    )
