"""One safetensors file: weights, and the metadata that is needed to use them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sth_core.datasets.table import Annotation
from sth_core.errors import UserError
from sth_core.files import cannot_write, temporary_beside
from sth_core.inference import for_inference
from sth_core.network import VideoNetwork, create_model
from sth_core.video.transforms import Preprocessing

FORMAT = "sth-workbench-1"
MOST_NAMED = 4  # tensors that do not fit, all named in the message


@dataclass(frozen=True)
class Checkpoint:
    """A network (in eval mode) with what it was trained on and how.

    `model` computes the branches, which Grad-CAM reads; `inference_model` is its faster form for everything else that
    leaves the weights as they are.
    """

    model: VideoNetwork
    classes: list[str]
    preprocessing: Preprocessing
    annotation: Annotation
    training: dict[str, Any]

    @cached_property
    def inference_model(self) -> VideoNetwork:
        """`for_inference(model)`, made once, on the device where `model` is then."""
        return for_inference(self.model)


def save_checkpoint(
    path: str | PathLike[str],
    model: VideoNetwork,
    classes: list[str],
    preprocessing: Preprocessing,
    annotation: Annotation = Annotation(),
    training: dict[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write the network; `half` stores its floating-point weights in 16 bits. The same network makes the same bytes."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        weights = {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}
    parts: dict[str, Any] = {"config": model.config, "preprocessing": preprocessing, "annotation": annotation}
    described = {name: asdict(part) for name, part in parts.items()} | {"classes": classes, "training": training or {}}
    metadata = {"format": FORMAT} | {name: json.dumps(value) for name, value in described.items()}
    try:
        with temporary_beside(Path(path)) as temporary:
            temporary.write_bytes(sort_metadata(save(weights, metadata)))
    except (SafetensorError, OSError) as error:
        raise cannot_write(Path(path), error) from error


def sort_metadata(content: bytes) -> bytes:
    """A safetensors file with sorted metadata, as safetensors writes it in another order in every process: the same
    training must give the same checksum, by which a run directory identifies its network."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the weights begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]


def load_checkpoint(path: str | PathLike[str], device: torch.device | str = "cpu") -> Checkpoint:
    """Build the network of a checkpoint file and give it its weights.
    Raises UserError: no such file, not a checkpoint of this project, or weights that do not fit."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such checkpoint: {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this project: its metadata has no format {FORMAT!r}")
    try:
        model = create_model(**json.loads(metadata["config"]))
    except ValueError as error:
        raise UserError(f"{path}: {error}; it may be of a newer version of this project") from error
    expected = model.state_dict()
    if problems := misfits({name: tuple(tensor.shape) for name, tensor in expected.items()}, weights):
        raise UserError(f"{path}: weights do not fit the network: {problems}")
    model.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in weights.items()})
    return Checkpoint(
        model.to(device).eval(),
        json.loads(metadata["classes"]),
        Preprocessing(**_tuples(json.loads(metadata["preprocessing"]))),
        Annotation(**_tuples(json.loads(metadata["annotation"]))),
        json.loads(metadata["training"]),
    )


def misfits(expected: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor]) -> str:
    """The tensors that are missing, unexpected or of another shape, as one sentence; empty if all fit. Of many, the
    first of each kind are named, and how many there are."""
    kinds = [
        [f"missing {name}" for name in expected if name not in weights],
        [f"unexpected {name}" for name in weights if name not in expected],
        [
            f"{name} is {tuple(weights[name].shape)} where the network has {shape}"
            for name, shape in expected.items()
            if name in weights and tuple(weights[name].shape) != shape
        ],
    ]
    if sum(map(len, kinds)) > MOST_NAMED:
        kinds = [[f"{some[0]}, and {len(some) - 1} more"] if len(some) > 1 else some for some in kinds]
    return "; ".join(chain(*kinds))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
