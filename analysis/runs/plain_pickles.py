"""Pickles of plain values, arrays and tensors, read without executing anything.

A pickle is a program that can call any function. Here it can call none: each name that it asks for is looked up in
`REBUILT`, whose few functions are of this module and make arrays of the bytes in the file. These are the names that
NumPy and PyTorch write for arrays and tensors, and so does `DumpResults` of MMEngine (`--dump` of MMAction2 1.x).
"""

import io
import math
import pickle
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sth_core.errors import UserError, shorten
from sth_core.files import naming

KINDS = "biufSU"  # of NumPy's types: numbers and texts, no objects
MOST_AXES = 8


class PlainType:
    """What stands for `numpy.dtype(code)`."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.dtype = np.dtype(code) if isinstance(code, str) else np.dtype("O")
        if self.dtype.kind not in KINDS:
            raise pickle.UnpicklingError(f"an array is of {shorten(code)}, not of numbers or text")

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.dtype = self.dtype.newbyteorder(state[1])


class PlainArray:
    """What stands for an array until its type, shape and bytes are known."""

    def __init__(self) -> None:
        self.array: NDArray = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, of, fortran, data = state
        self.array = array_of(data, of, shape, fortran)


class Rebuild:
    """One of the functions of `REBUILT`. It has no attributes that a pickle could change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function")


def array_of(data: Any, of: Any, shape: Any, fortran: Any = False) -> NDArray:
    """The array of these bytes. Raises: the bytes do not fit the type and the shape."""
    if not isinstance(of, PlainType) or not isinstance(data, bytes | bytearray) or len(shape) > MOST_AXES:
        raise pickle.UnpicklingError("an array is not of plain bytes")
    return np.frombuffer(data, of.dtype).reshape(shape, order="F" if fortran else "C")


def from_buffer(data: Any, of: Any, shape: Any, order: Any, *_: Any) -> PlainArray:
    """As pickles of protocol 5 write an array."""
    made = PlainArray()
    made.array = array_of(data, of, shape, order == "F")
    return made


def scalar(of: Any, data: Any) -> Any:
    return array_of(data, of, ()).item()


def encoded(text: Any, *_: Any) -> bytes:
    """Bytes as pickles of protocol 2 write them."""
    return str(text).encode("latin1")


def storage(data: Any) -> Any:
    """The numbers of a tensor. torch reads them, with `weights_only`: numbers alone."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def tensor(numbers: Any, offset: Any, size: Any, stride: Any, *_: Any) -> PlainArray:
    """A view into a `storage`, which torch refuses where it leaves the storage. One of more numbers than the storage
    is refused: a file of some bytes would ask for all memory."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if math.prod(size) > len(numbers):
            raise pickle.UnpicklingError("a tensor is larger than its numbers")
        whole = torch.tensor([], dtype=numbers.dtype).set_(numbers.untyped())
    made, view = PlainArray(), torch.as_strided(whole, size, stride, offset)
    made.array = (view.float() if view.dtype in (torch.bfloat16, torch.float16) else view).contiguous().numpy()
    return made


NUMPY = ("numpy.core", "numpy._core")
REBUILT: dict[str, Callable[..., Any]] = {
    **{f"{core}.multiarray._reconstruct": lambda *_: PlainArray() for core in NUMPY},
    **{f"{core}.multiarray.scalar": scalar for core in NUMPY},
    **{f"{core}.numeric._frombuffer": from_buffer for core in NUMPY},
    "numpy.ndarray": lambda *_: PlainArray(),
    "numpy.dtype": PlainType,
    "_codecs.encode": encoded,
    "collections.OrderedDict": lambda *items: dict(*items),
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch.storage._load_from_bytes": storage,
}


class PlainUnpickler(pickle._Unpickler):
    """The one of Python that is written in Python: its memory is that of the values, whatever the file claims."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str, /) -> Any:
        if (function := REBUILT.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return Rebuild(function)

    def load_bytearray8(self: Any) -> None:
        """Without memory for more bytes than there are."""
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def read_plain_pickle(path: Path) -> Any:
    """What a pickle holds: lists, dicts, numbers, texts and, as `PlainArray`, arrays.

    Raises UserError: it asks for anything else, which is not looked up, or it cannot be read."""
    with naming(path), path.open("rb") as file:
        try:
            return PlainUnpickler(file).load()
        except OSError:
            raise
        except Exception as error:  # a pickle's program can fail in any way
            why = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{path} is a pickle that is not read ({why[:200]}): only lists, dicts, numbers, texts, NumPy arrays "
                "and torch tensors are, as loading anything else could run code; save the scores as CSV or .npz"
            ) from error
