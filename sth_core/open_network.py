"""Open a network by its name: `open_network`."""

import importlib.util
import sys
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sth_core.adapted import AdaptedNetwork
from sth_core.adapters.checkpoint_files import SUFFIXES, network_of_pytorch_file
from sth_core.adapters.torchvision_networks import torchvision_network
from sth_core.checkpoint import Checkpoint, broken_weights, load_checkpoint, load_fitting
from sth_core.datasets.class_names import read_name_list
from sth_core.errors import UserError
from sth_core.network_names import FILE, FUNCTION, HUGGING_FACE, TORCHVISION, WAYS, NetworkName, network_name
from sth_core.weight_files import read_state

Named = str | PathLike[str] | NetworkName | Checkpoint


def open_network(named: Named, device: torch.device | str = "cpu", *, download: bool = True) -> Checkpoint:
    """The network of a name (`NetworkName`), in evaluation mode on the device; one that is open already is moved there.

    FILE.py:FUNCTION runs the Python file. So it must be the user who names it: what is found in a data folder, or in
    the description of a run, is never run. Without `download`, a network of a library is opened only if an earlier
    call has downloaded it.

    Raises UserError: there is no such network, or its weights or class names do not fit.
    """
    if isinstance(named, Checkpoint):
        named.model.to(device).eval()
        return named
    given = network_name(named)
    name = given.absolute()
    if name.kind == FILE:
        own = Path(name.name).suffix not in SUFFIXES  # a checkpoint of this project
        if name.weights or (own and name.class_names):
            raise UserError(f"{name.name} has its own weights and class names; leave out --weights and --class-names")
        if own:
            return load_checkpoint(given.name, device)
    if name.kind in (TORCHVISION, HUGGING_FACE) and not name.rest.strip():
        raise UserError(f"{name.name} names no network; name one as {WAYS}")
    weights = read_weights(Path(name.weights)) if name.weights else None
    classes = read_name_list(Path(name.class_names)) if name.class_names else None
    if name.kind == FUNCTION:
        found = network_of_function(name, classes)
        if weights is not None:
            load_fitting(module_of(found.model), weights, f"{name.weights} does not fit {name.name}")
    elif name.kind == FILE:
        found = network_of_pytorch_file(Path(given.name), classes)
    elif name.kind == TORCHVISION:
        found = torchvision_network(name.rest, weights, classes, download=download)
    else:
        from sth_core.adapters.hugging_face import hugging_face_network  # which needs an extra package

        found = hugging_face_network(name.rest, weights, classes, download=download)
    if broken := broken_weights(module_of(found.model).state_dict()):
        raise UserError(f"{name.name} cannot be used: {broken}")
    found.model.to(device)
    return replace(found, named=name)


def network_of_function(name: NetworkName, classes: list[str] | None) -> Checkpoint:
    """What the function of FILE.py:FUNCTION returns. Raises UserError: no such file or function, or another value."""
    file, function = name.function
    if not file.is_file():
        raise UserError(f"no such file: {file}; a network is named as {WAYS}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))  # for what lies beside it
    try:
        spec.loader.exec_module(module)
        build: Any = getattr(module, function, None)
        if not callable(build):
            functions = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
            raise UserError(f"{file} has no function {function!r}; it has {', '.join(functions) or 'none'}")
        found = build()
    except (UserError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{name.name} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
    if isinstance(found, Checkpoint):
        if classes and len(classes) != len(found.classes):
            raise UserError(f"{name.class_names} names {len(classes)} classes; {name.name} has {len(found.classes)}")
        return replace(found, classes=classes) if classes else found
    what = "a module alone" if isinstance(found, nn.Module) else f"a {type(found).__name__}"
    raise UserError(
        f"{name.name} returned {what}; it must return sth_core.adapt(module, classes=..., preprocessing=...), "
        f"which says what the module was trained on"
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth or .pt file. Raises UserError: it cannot be read, or needs pickle."""
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    if path.suffix != ".safetensors":
        return read_state(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file: {error}") from error


def module_of(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, AdaptedNetwork) else model
