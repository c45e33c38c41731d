"""Networks in the PyTorch files of other libraries, recognised by the names of their tensors.

What a file does not say, the number of frames and how far apart they lie, is read from its name, as MMAction2, TSM and
PySlowFast write it there; if that is not there either, the file is refused.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sth_core.adapted import adapt
from sth_core.adapters.slowfast import (
    DEPTHS,
    FAST,
    POOL,
    SLOW,
    SlowFast,
    SlowResNet50,
    pytorchvideo_names,
    temporal_kernels,
    temporal_size,
)
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
OPENED = (
    "TSN and TSM with a ResNet-50 (of MMAction2 or the TSM repository), SlowFast (of MMAction2 or pytorchvideo) and "
    "pytorchvideo's slow_r50 are opened"
)
OTHERWISE = "write a function that returns sth_core.adapt(module, ...), and name it as FILE.py:FUNCTION with --weights"
# Of networks that are recognised and not opened, by a name that no other has.
NOT_OPENED = {
    r"blocks\.\d+\.multipathway_": "a SlowFast network of pytorchvideo that has no classifier of whole clips",
    r"backbone\.(slow|fast)_path\.": "a SlowFast network of MMAction2 that has no classifier of whole clips",
    r"s\d_fuse\.|s\d\.pathway1_": "a SlowFast network of PySlowFast",
    r"s\d\.pathway0_": "a network of PySlowFast with one pathway",
    r"backbone\.layer\d\.\d+\.conv\d\.conv\.weight3d": "a 3D network of MMAction2",
    r"cls_head\.": "a network of MMAction2 that is no TSN or TSM",
    r"blocks\.\d+\.res_blocks\.": "a network of pytorchvideo that is no slow_r50",
}
SEGMENTS = re.compile(r"(?:^|[_-])1x1x(?P<frames>\d+)(?=[_-]|$)|segment(?P<segments>\d+)")
POOLED = re.compile(r"temporal[_-]?pool|_tpool", re.I)  # its tensors have the names of a plain TSM's
FRAMES_X_STRIDE = re.compile(r"(?:^|[_-])(?P<frames>\d+)x(?P<stride>\d+)(?:x1)?(?=[_-]|$)")
DENSE_RANGE = 64  # frames that a dense clip of MMAction2 and TSM covers
FAST_STRIDE = 2  # the fast pathway of SlowFast takes every second frame of the video, in both libraries
FUSION = "blocks.0.multipathway_fusion"
OF_PYTORCHVIDEO: dict[str, Any] = {
    "resize": 256, "crop": 256, "mean": (0.45,) * 3, "std": (0.225,) * 3, "interpolation": "bilinear",
    "crop_rounding": "even", "dense": "spread",
}  # fmt: skip


def network_of_pytorch_file(path: Path, classes: list[str] | None) -> Checkpoint:
    """The network in a file of MMAction2, TSM or pytorchvideo.

    Raises UserError: no such file, it needs pickle, it is of another network, its name does not say how many frames a
    clip has, or the class names are missing or of another number.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    weights = read_state(path)
    names = list(weights)
    if "blocks.0.conv.weight" in names and "blocks.5.proj.weight" in names:
        return slow_r50(path, weights, classes)
    shapes = {name: tuple(w.shape) for name, w in weights.items()}
    if is_2d_resnet50(shapes):
        return tsn_or_tsm(path, weights, classes)
    if "backbone.slow_path.conv1_lateral.conv.weight" in names and "cls_head.fc_cls.weight" in names:
        return slowfast(path, pytorchvideo_names(weights), classes, of_mmaction=True)
    if f"{FUSION}.conv_fast_to_slow.weight" in names and "blocks.6.proj.weight" in names:
        return slowfast(path, weights, classes, of_mmaction=False)
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
    with said_by_name(path, found[0]):
        p = Preprocessing(frames=frames, stride=stride, interpolation="opencv_linear" if of_mmaction else "pil")
        model = create_model("resnet50", len(names), frames=frames, conv="tsm" if shifted else "2d")
    load_2d_weights(model, plain, str(path))
    return Checkpoint(model.eval(), names, p, Annotation(), {})


def slow_r50(path: Path, weights: Mapping[str, Tensor], classes: list[str] | None) -> Checkpoint:
    found = FRAMES_X_STRIDE.search(path.stem)
    if not found:
        raise UserError(unsaid(path, "SLOW_8x8_R50.pyth, of 8 frames, each the 8th of the video"))
    names = named_classes(path, classes, len(weights["blocks.5.proj.weight"]))
    module = SlowResNet50(len(names))
    load_fitting(module, weights, f"{path} is another Slow network of pytorchvideo than slow_r50")
    with said_by_name(path, found[0]):
        p = Preprocessing(frames=int(found["frames"]), stride=int(found["stride"]), **OF_PYTORCHVIDEO)
    layers = {"blocks.0": ChannelsFirst()} | {
        f"blocks.{stage + 1}.res_blocks.{i}": ChannelsFirst()
        for stage, depth in enumerate(DEPTHS)
        for i in range(depth)
    }
    return adapt(module, classes=names, preprocessing=p, name="slow_r50", layers=layers)


def slowfast(path: Path, weights: Mapping[str, Tensor], classes: list[str] | None, *, of_mmaction: bool) -> Checkpoint:
    """Of weights by pytorchvideo's names. MMAction2 gives its slow pathway the first of each `ratio` frames,
    and pools over all places at once; pytorchvideo gives it evenly spaced frames from the first to the last."""
    found = FRAMES_X_STRIDE.search(path.stem)
    if not found:
        raise UserError(
            unsaid(path, "SLOWFAST_8x8_R50.pyth, whose slow pathway takes 8 frames, each the 8th of the video")
        )
    steps, stride = int(found["frames"]), int(found["stride"])
    ratio = stride // FAST_STRIDE
    frames = steps * ratio
    names = named_classes(path, classes, len(weights["blocks.6.proj.weight"]))
    by_library: dict[str, Any] = {"interpolation": "opencv_linear"} if of_mmaction else OF_PYTORCHVIDEO
    with said_by_name(path, found[0]):
        if not steps or stride % FAST_STRIDE or not ratio:
            raise BadValue(f"the frames of the slow pathway must be a multiple of {FAST_STRIDE} apart")
        p = Preprocessing(frames=frames, stride=FAST_STRIDE, **by_library)
    slow_frames = range(0, frames, ratio) if of_mmaction else torch.linspace(0, frames - 1, steps).long().tolist()
    kernels = temporal_kernels(weights, SLOW), temporal_kernels(weights, FAST)
    module = SlowFast(
        len(names), frames=frames, slow_frames=slow_frames, kernels=kernels,
        fusion_kernel=temporal_size(weights[f"{FUSION}.conv_fast_to_slow.weight"]),
        fusion_norm=f"{FUSION}.norm.weight" in weights, pool=None if of_mmaction else POOL,
    )  # fmt: skip
    load_fitting(module, weights, f"{path} is another SlowFast than those that are opened")
    layers = {f"blocks.0.multipathway_blocks.{pathway}": ChannelsFirst() for pathway in (FAST, SLOW)} | {
        f"blocks.{stage + 1}.multipathway_blocks.{pathway}.res_blocks.{i}": ChannelsFirst()
        for stage in range(len(DEPTHS))
        for pathway in (FAST, SLOW)
        for i in range(len(kernels[pathway][stage]))
    }
    return adapt(module, classes=names, preprocessing=p, name="slowfast", layers=layers)


def named_classes(path: Path, classes: list[str] | None, count: int) -> list[str]:
    if classes is None:
        raise UserError(f"{path} has {count} classes, whose names are not in it; give them with --class-names")
    if len(classes) != count:
        raise UserError(f"{path} has {count} classes, and {len(classes)} names were given")
    return classes


@contextmanager
def said_by_name(path: Path, said: str) -> Iterator[None]:
    """Raises UserError: a value that the file's name says is refused here."""
    try:
        yield
    except BadValue as error:
        raise UserError(f"{path}: its name says {said.strip('_-')}: {error}") from error


def unsaid(path: Path, example: str) -> str:
    return (
        f"neither {path} nor its name says how many frames a clip has; give it a name that does, as {example}; "
        f"or {OTHERWISE}"
    )
