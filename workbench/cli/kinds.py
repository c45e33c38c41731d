"""The kinds of values that arguments and options take: what none of them can be is refused before a command begins."""

import math
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sth_core import network_names
from sth_core.network_names import NetworkName

URL = re.compile("[a-z][a-z0-9+.-]+:/")
METHOD_NAMES = (  # of analysis.explain.methods, which takes seconds to import
    "gradcam", "hirescam", "layercam", "integrated-gradients", "gradient-shap", "occlusion", "feature-ablation", "rise",
    "attention-rollout", "gradient-attention",
)  # fmt: skip
LARGEST_SEED = 2**32 - 1  # of NumPy's and scikit-learn's generators
UNWRITABLE = {"Cc": "a line break, a NUL or another control character", "Cs": "bytes that are not UTF-8"}

Context = click.Context | None
Parameter = click.Parameter | None


class PathKind(click.Path):
    """A path on this machine, or, with `remote`, also a URL from which runs can be read (s3://bucket/runs).

    What is there must be of the kind `wanted`, "file" or "folder"; "" takes both. What is not there is let through:
    whether it must exist, the command says.
    """

    def __init__(self, wanted: str = "", *, remote: bool = False) -> None:
        super().__init__(path_type=Path)
        self.wanted, self.remote = wanted, remote

    def convert(self, value: Any, param: Parameter, ctx: Context) -> Any:
        text = os.fsdecode(value)
        if not text.strip():
            self.fail(f"it is empty; give the path of a {self.wanted or 'file or folder'}", param, ctx)
        refuse_unwritable(self, text, param, ctx)
        if URL.match(text) and not os.path.lexists(text):
            if not self.remote:
                self.fail(f"{text!r} is a URL; give the path of a {self.wanted or 'file or folder'} here", param, ctx)
            return Path(text)
        path = Path(text)
        refuse_unwritable(self, str(path.absolute()), param, ctx)
        try:
            path.stat()
        except FileNotFoundError:
            return path
        except OSError as error:  # below a file, a link to itself, too long a name, a folder that may not be entered
            self.fail(f"{text!r} cannot be used: {error.strerror}", param, ctx)
        if self.wanted == "folder" and not path.is_dir():
            self.fail(f"{text!r} is a file; give a folder", param, ctx)
        if self.wanted == "file" and path.is_dir():
            self.fail(f"{text!r} is a folder; give a file", param, ctx)
        return path


class NetworkKind(click.ParamType):
    """A network's name: a file, FILE.py:FUNCTION, torchvision:NAME or hf:NAME."""

    name = "network"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> Any:
        if isinstance(value, NetworkName):
            return value
        text = os.fsdecode(value)
        refuse_unwritable(self, text, param, ctx)
        if NetworkName(text).kind == network_names.FILE:
            FILE.convert(value, param, ctx)
        return NetworkName(text)


class TextKind(click.ParamType):
    """A name in one line; empty only where that is the default."""

    name = "text"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> Any:
        given = ctx and param and param.name and ctx.get_parameter_source(param.name) == ParameterSource.COMMANDLINE
        if given and not str(value).strip():
            self.fail("it is empty; give a name, or leave the option out", param, ctx)
        refuse_unwritable(self, str(value), param, ctx)
        return str(value)


class NumberKind(click.FloatRange):
    """A number in a range, which neither nan nor inf is."""

    def convert(self, value: Any, param: Parameter, ctx: Context) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not in the range {self._describe_range()}", param, ctx)
        return number


class DeviceKind(click.ParamType):
    """A device that computes here, or "auto"."""

    name = "text"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> Any:
        of_torchrun = value == "cuda" and "LOCAL_RANK" in os.environ  # each process looks at its own GPU
        if value != "auto" and not of_torchrun:
            from sth_core.network import pick_device

            pick_device(str(value))
        return value


def refuse_unwritable(kind: click.ParamType, text: str, param: Parameter, ctx: Context) -> None:
    """No message, table or command line could hold such a text as it is."""
    found = next((UNWRITABLE[of] for of in map(unicodedata.category, text) if of in UNWRITABLE), "")
    if found:
        kind.fail(f"{text!r:.200} has {found} in it; choose another name, or rename it", param, ctx)


PATH, FILE, FOLDER = PathKind(), PathKind("file"), PathKind("folder")
RUNS = PathKind("folder", remote=True)  # read alone
RECIPE = PathKind()  # a file, or the name of one that ships
TEXT, DEVICE, NETWORK = TextKind(), DeviceKind(), NetworkKind()
SEED = click.IntRange(0, LARGEST_SEED)
WORKERS = click.IntRange(1, 1024)  # threads or processes
READERS = click.IntRange(0, 1024)  # of clips; 0 read none ahead
MANY = 1_000_000  # clips or classes, more than any dataset of videos has
