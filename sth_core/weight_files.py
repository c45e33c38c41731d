"""Weights in PyTorch files of other programs: where they lie, and which are taken.

Nothing that needs pickle is loaded.
"""

import re
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sth_core.errors import UserError
from sth_core.resumable import no_report
from sth_core.weight_names import SHIFTED, plain_names

# In which entries of a file weights lie, one inside the other.
HOLDERS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "module", "weights")
AVERAGES = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema")  # exponential moving averages (EMA)
OF_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")
OF_AVERAGE = re.compile(r"(?:(?:module|model)\.)?(?:model_ema|ema_model|ema|averaged_model)\.")

# Numbers of numpy, such as `best_prec1`, also by the name that numpy 1 gave them; making one runs no code.
MAKES_NUMBER: Any = np.float64().__reduce__()[0]
KINDS = (np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64)
NUMBERS: list[Any] = [MAKES_NUMBER, (MAKES_NUMBER, "numpy.core.multiarray.scalar"), np.dtype]
NUMBERS += [type(np.dtype(kind)) for kind in KINDS]


def read_pth(
    path: str | PathLike[str], *, averaged: bool = False, notify: Callable[[str], None] = no_report
) -> dict[str, Tensor]:
    """The tensors of a .pth file, by torchvision's names; of a file that also has their moving average, with `averaged`
    those of the average. `notify` gets a sentence where there is an average, or a shift.
    Raises UserError: no such file, or one that holds more than tensors and plain values."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    weights, average = find_weights(_load_plain(path), path)
    if averaged and not average:
        raise UserError(f"{path} holds no moving average of its weights ({', '.join(AVERAGES)})")
    if average and weights:
        taken, verb, other = ("average", "is", "weights") if averaged else ("weights", "are", "average")
        notify(f"{path} holds weights and their moving average (EMA): the {taken} {verb} taken, not the {other}")
    elif average:
        notify(f"{path} holds the moving average (EMA) of weights alone: it is taken")
    chosen = average if averaged or not weights else weights
    if any(map(SHIFTED.search, chosen)):
        notify(f"{path} is of a TSM network: its convolutions are trained for shifted frames (model.conv=tsm)")
    try:
        return plain_names(chosen)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth or .pt file by their own names, without what DataParallel and torch.compile put before.
    Raises UserError: it holds no weights, or more than tensors and plain values."""
    weights, average = find_weights(_load_plain(path), path)
    return {OF_WRAPPERS.sub("", name): tensor for name, tensor in (weights or average).items()}


def find_weights(content: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of what a file holds, and their moving average, by their names there; one of them may be empty."""
    outer = content if isinstance(content, Mapping) else {}
    average: Mapping[Any, Any] = next((outer[key] for key in AVERAGES if isinstance(outer.get(key), Mapping)), {})
    found, averages = _innermost(content), _tensors(_innermost(average))
    if not isinstance(found, Mapping):
        raise UserError(f"{path} holds a {type(found).__name__}, not a dictionary of weights")
    weights = _tensors(found)
    inside = {name: weights.pop(name) for name in [*weights] if OF_AVERAGE.match(name)}
    averages = averages or {OF_AVERAGE.sub("", name, count=1): weight for name, weight in inside.items()}
    if not weights and not averages:
        raise UserError(f"{path} holds no weights; its keys are: {', '.join(map(str, list(found)[:8]))}")
    return weights, averages


def _innermost(content: Any) -> Any:
    while isinstance(content, Mapping):
        key = next((key for key in HOLDERS if isinstance(content.get(key), Mapping)), "state_dict")
        if key not in content:
            break
        content = content[key]
    return content


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """All tensors but single numbers such as a count of steps, which belong to no layer."""
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return {name: tensor for name, tensor in tensors.items() if tensor.ndim or "." in name}


def _load_plain(path: Path) -> Any:
    """torch.load without pickled objects; any other file is a UserError."""
    try:
        with torch.serialization.safe_globals(NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises any of a dozen exceptions
        if isinstance(error, UnpicklingError) and ("GLOBAL" in str(error) or "class" in str(error)):
            raise UserError(
                f"{path} holds Python objects, which can run any code when they are loaded; it is not loaded. Save its "
                f"tensors alone where it was made: torch.save({{'state_dict': model.state_dict()}}, 'weights.pth')"
            ) from error
        raise UserError(f"{path} is not a PyTorch file, or is damaged ({type(error).__name__})") from error
