"""How a user names a network: a checkpoint's file, a function in a Python file, or one of a library."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

FILE, FUNCTION, TORCHVISION, HUGGING_FACE = "file", "function", "torchvision", "hf"
FUNCTION_OF = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")
WAYS = "a .safetensors file, FILE.py:FUNCTION, torchvision:NAME or hf:NAME"


@dataclass(frozen=True)
class NetworkName:
    """`name` is one of

        model.safetensors           a checkpoint of this project
        tsm_r50_1x1x8.pth           a PyTorch file of MMAction2, TSM or pytorchvideo that is recognised
        my_model.py:build           a function without arguments that returns a network or a module
        torchvision:swin3d_t        a video network of torchvision, with its pretrained weights
        hf:MCG-NJU/videomae-base    a video classifier of Hugging Face's hub, or in a local folder

    `weights` is a file of other weights for it, `class_names` a list of the names of its outputs; "" for none.
    """

    name: str
    weights: str = ""
    class_names: str = ""

    @property
    def kind(self) -> str:
        for kind in (TORCHVISION, HUGGING_FACE):
            if self.name.startswith(f"{kind}:"):
                return kind
        return FUNCTION if FUNCTION_OF.fullmatch(self.name) else FILE

    @property
    def rest(self) -> str:
        """What follows `torchvision:` or `hf:`."""
        return self.name.partition(":")[2]

    @property
    def function(self) -> tuple[Path, str]:
        """The file and the function of FILE.py:FUNCTION."""
        found = FUNCTION_OF.fullmatch(self.name)
        assert found
        return Path(found["file"]), found["function"]

    @property
    def stem(self) -> str:
        """A short name for folders of results."""
        if self.kind == FILE:
            return Path(self.name).stem
        if self.kind == FUNCTION:
            return self.function[0].stem
        return self.rest.rstrip("/").rpartition("/")[2]

    @property
    def label(self) -> str:
        """A short text that tells it from others."""
        if self.kind == FILE:
            return Path(self.name).name
        return f"{self.name} with {Path(self.weights).name}" if self.weights else self.name

    def absolute(self) -> "NetworkName":
        """The same with paths that do not depend on the working folder."""
        name = self.name
        if self.kind == FILE:
            name = str(Path(name).resolve())
        elif self.kind == FUNCTION:
            file, function = self.function
            name = f"{file.resolve()}:{function}"
        elif self.kind == HUGGING_FACE and self.rest and Path(self.rest).is_dir():
            name = f"{HUGGING_FACE}:{Path(self.rest).resolve()}"
        files = {key: str(Path(path).resolve()) for key in ("weights", "class_names") if (path := getattr(self, key))}
        return replace(self, name=name, **files)

    @property
    def facts(self) -> dict[str, str]:
        """What run.json says of it, by which it can be opened again."""
        more = {"weights": self.weights, "class_names_file": self.class_names}
        return {"checkpoint": self.name, **{key: value for key, value in more.items() if value}}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "NetworkName":
        """The name of which a run.json holds the `facts`. Raises KeyError: it holds none."""
        return cls(facts["checkpoint"], facts.get("weights", ""), facts.get("class_names_file", ""))


def network_name(named: str | PathLike[str] | NetworkName) -> NetworkName:
    return named if isinstance(named, NetworkName) else NetworkName(str(named))
