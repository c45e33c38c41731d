"""One safetensors file: weights, and the metadata that is needed to use them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sth_core.checkpoint_metadata import CUT_OFF, WAYS, CheckpointFacts, read_facts
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError
from sth_core.files import cannot_write, temporary_beside
from sth_core.files import sha256 as file_sha256
from sth_core.forms import weight_type
from sth_core.inference import for_inference
from sth_core.network import ModelConfig, VideoNetwork
from sth_core.network_contract import Network
from sth_core.network_names import FILE, NetworkName
from sth_core.video.transforms import Preprocessing

MOST_NAMED = 4  # tensors that do not fit, all named in the message
# The types of numbers that a file may hold, where the network has floating-point numbers or others.
FLOATS, COUNTS = ("F64", "F32", "F16", "BF16"), ("I64",)
ORDINARY_WIDTH, ORDINARY_CLASSES = 64, 1000  # the largest network of so many has 170 million weights, 0.7 GB
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Checkpoint:
    """A network (in eval mode) with what it was trained on and how.

    `model` computes the branches, which Grad-CAM reads; `inference_model` is its faster form for everything else that
    leaves the weights as they are. `named` is how it can be opened again; None for one that was made in Python.
    """

    model: Network
    classes: list[str]
    preprocessing: Preprocessing
    annotation: Annotation
    training: dict[str, Any]
    named: NetworkName | None = None
    made: dict[tuple[torch.device, torch.dtype, bool], VideoNetwork] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def inference_model(self) -> Network:
        """`for_inference(model)` in the arithmetic around the call, made once for each; another network as it is."""
        if not isinstance(self.model, VideoNetwork):
            return self.model
        device = next(self.model.parameters()).device
        arithmetic = (device, weight_type(device), torch.backends.cudnn.allow_tf32)  # on which the form depends
        if arithmetic not in self.made:
            self.made[arithmetic] = for_inference(self.model, arithmetic[1])
        return self.made[arithmetic]

    @cached_property
    def sha256(self) -> str:
        """By which results say which network they are of: of its file, or else of its weights, classes and
        preprocessing."""
        if self.named and self.named.kind == FILE and not self.named.class_names:
            return file_sha256(Path(self.named.name))
        return network_sha256(self)


def network_sha256(checkpoint: Checkpoint) -> str:
    """A checksum of a network's weights, classes and preprocessing, which does not depend on its device."""
    about = {"classes": checkpoint.classes, "preprocessing": asdict(checkpoint.preprocessing)}
    digest = hashlib.sha256(json.dumps(about | checkpoint.model.described(), sort_keys=True).encode())
    for name, tensor in sorted(checkpoint.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def save_checkpoint(
    path: str | PathLike[str],
    model: VideoNetwork,
    classes: list[str],
    preprocessing: Preprocessing,
    annotation: Annotation = Annotation(),
    training: dict[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write the network; `half` stores its floating-point weights in 16 bits. The same network makes the same bytes.
    Raises UserError: `load_checkpoint` would refuse it (classes that are not one for each output, weights that are not
    finite, ...), or it cannot be written."""
    path = Path(path)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        weights = {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}
    if broken := broken_weights(weights):
        raise UserError(f"{path} is not written: {broken}")
    try:
        facts = CheckpointFacts(model.config, preprocessing, annotation, classes, training or {})
    except ValueError as error:
        raise UserError(f"{path} is not written: {error}") from error
    try:
        with temporary_beside(path) as temporary:
            temporary.write_bytes(sort_metadata(save(weights, facts.as_metadata())))
    except (SafetensorError, OSError) as error:
        raise cannot_write(path, error) from error


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

    The metadata are checked first, then the shapes of the weights: a file that claims a large network takes no memory
    if it does not hold its weights.

    Raises UserError: no such file, not a checkpoint of this project, metadata that cannot be, or weights that do not
    fit, are not finite, or are a negative variance."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder, no checkpoint; name the .safetensors file")
    if not path.is_file():
        raise UserError(f"no such checkpoint: {path}")
    try:
        facts = read_facts(path)
        with safe_open(path, "pt") as file:
            model = build_fitting(facts.config, file, path)
            with torch.no_grad():
                for name, tensor in model.state_dict(keep_vars=True).items():
                    tensor.copy_(file.get_tensor(name))
    except SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file: {error}; {CUT_OFF}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if broken := broken_weights(model.state_dict()):
        raise UserError(f"{path} cannot be used: {broken}")
    facts_kept = (facts.classes, facts.preprocessing, facts.annotation, facts.training)
    return Checkpoint(model.to(device).eval(), *facts_kept, NetworkName(str(path.resolve())))


def build_fitting(config: ModelConfig, file: Any, path: Path) -> VideoNetwork:
    """The network whose weights an open safetensors file holds. Raises UserError: it holds others."""
    try:
        if config.width > ORDINARY_WIDTH or config.num_classes > ORDINARY_CLASSES:
            with torch.device("meta"):  # not always: torch takes a second to import what computes without memory
                refuse_misfits(VideoNetwork(config).state_dict(), file, path)
        model = VideoNetwork(config)
    except ValueError as error:
        raise UserError(f"{path}: config: {error}{WAYS}") from error
    refuse_misfits(model.state_dict(), file, path)
    return model


def refuse_misfits(expected: Mapping[str, Tensor], file: Any, path: Path) -> None:
    """Raises UserError: an open safetensors file does not hold tensors of these names, shapes and kinds of numbers."""
    given = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    shapes = {name: tuple(part.get_shape()) for name, part in given.items()}
    if problems := misfits({name: tuple(tensor.shape) for name, tensor in expected.items()}, shapes):
        raise UserError(f"{path}: weights do not fit the network: {problems}")
    for name, tensor in expected.items():
        possible, kind = FLOATS if tensor.is_floating_point() else COUNTS, given[name].get_dtype()
        if kind not in possible:
            raise UserError(f"{path}: {name} is of type {kind}; it must be {' or '.join(possible)}")


def misfits(expected: Shapes, given: Shapes) -> str:
    """The tensors that are missing, unexpected or of another shape, as one sentence; empty if all fit. Of many, the
    first of each kind are named, and how many there are."""
    kinds = [
        [f"missing {name}" for name in expected if name not in given],
        [f"unexpected {name}" for name in given if name not in expected],
        [
            f"{name} is {given[name]} where the network has {shape}"
            for name, shape in expected.items()
            if name in given and given[name] != shape
        ],
    ]
    if sum(map(len, kinds)) > MOST_NAMED:
        kinds = [[f"{some[0]}, and {len(some) - 1} more"] if len(some) > 1 else some for some in kinds]
    return "; ".join(chain(*kinds))


def load_fitting(module: nn.Module, weights: Mapping[str, Tensor], mismatch: str) -> None:
    """Give a module its weights. Raises UserError, which begins with `mismatch`: they do not fit."""
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if problems := misfits(expected, {name: tuple(tensor.shape) for name, tensor in weights.items()}):
        raise UserError(f"{mismatch}: {problems}")
    module.load_state_dict(weights)


def broken_weights(weights: Mapping[str, Tensor]) -> str:
    """What makes every output of a network meaningless, as one sentence: weights that are not finite, or a variance
    below 0; empty for others."""
    kinds = {
        "not finite (NaN or infinity)": [n for n, w in weights.items() if not torch.isfinite(w).all()],
        "a variance below 0": [n for n, w in weights.items() if n.endswith("running_var") and (w < 0).any()],
    }
    parts = [
        f"{names[0]} has a value that is {what}" + (f", as have {len(names) - 1} more" if len(names) > 1 else "")
        for what, names in kinds.items()
        if names
    ]
    return "; ".join(parts) and f"its weights are broken: {'; '.join(parts)}"
