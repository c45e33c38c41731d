"""What a checkpoint's metadata says of its network. Every value is checked before anything is made of it.

A safetensors file begins with the length of its header (8 bytes) and the header, JSON, whose `__metadata__` has a text
for each of `PARTS`, JSON too, and the format.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from sth_core.datasets.table import Annotation
from sth_core.errors import UserError, shorten
from sth_core.network import MOST_CLASSES, ModelConfig
from sth_core.optimisation import Seed
from sth_core.values import BadValue, Items, Label, Text, build_from, describe_values, fits, refuse_unknown_keys
from sth_core.video.modality import CHANNELS
from sth_core.video.transforms import Preprocessing

FORMAT = "sth-workbench-1"
LARGEST_HEADER = 2**25  # bytes; of a training of 200,000 clips it has 2 million
CUT_OFF = "it may be cut off or damaged, copy it again"
DEEPEST = 20  # lists and tables, one inside the other
SMALLEST_CROP = {"vgg16": 32}  # of whose maps five poolings leave something
Classes = Annotated[tuple[Label, ...], Items(1, MOST_CLASSES)]
PARTS: dict[str, Any] = {
    "config": dict, "preprocessing": dict, "annotation": dict, "classes": Classes, "training": dict,
}  # fmt: skip
USED = {  # of what `training` says, by dotted key; the rest is for people
    "seed": Seed | None,
    "train_keys": str,
    "split_from": Text | None,
    "groups_from": Text | None,
    "recipe": dict,
    "recipe.start": dict,
    "recipe.start.imagenet": bool,
    "recipe.start.checkpoint": Text,
}
WAYS = (
    "; the file may be of a newer version of this project (update it), or changed or damaged (write it anew with "
    "sth train or sth import)"
)


@dataclass(frozen=True)
class CheckpointFacts:
    """All that a checkpoint has beside its weights.
    Raises BadValue: classes that are not one for each output, or parts that do not fit each other."""

    config: ModelConfig
    preprocessing: Preprocessing
    annotation: Annotation
    classes: list[str]
    training: dict[str, Any]

    def __post_init__(self) -> None:
        if not fits(self.classes, Classes):
            raise BadValue(f"classes must be {describe_values(Classes)}, got {shorten(self.classes)}")
        names, outputs = len(self.classes), self.config.num_classes
        if names != outputs:
            raise BadValue(f"classes must have a name for each of the network's {outputs} outputs, got {names}")
        if len(set(self.classes)) < len(self.classes):
            [(twice, _)] = Counter(self.classes).most_common(1)
            raise BadValue(f"classes must have each name once, got {shorten(twice)} more often")
        check_input(self.config, self.preprocessing)

    def as_metadata(self) -> dict[str, str]:
        return {"format": FORMAT} | {name: json.dumps(value) for name, value in asdict(self).items()}


def check_input(config: ModelConfig, p: Preprocessing) -> None:
    """Raises BadValue: the network cannot take the clips that the preprocessing makes."""
    ours, theirs = (f"{of.frames} of {of.modality}" for of in (config, p))
    if ours != theirs:
        raise BadValue(f"frames and modality must be the same in [model] and [preprocessing], got {ours} and {theirs}")
    for name, values in (("mean", p.mean), ("std", p.std)):
        channels = CHANNELS[p.modality]
        if not values or channels % len(values):
            raise BadValue(
                f"{name} must have as many values as divide {channels} channels ({p.modality}), got {values}"
            )
    if p.crop < (least := SMALLEST_CROP.get(config.backbone, 1)):
        raise BadValue(f"crop must be at least {least} for a {config.backbone}, got {p.crop}")


def read_facts(path: Path) -> CheckpointFacts:
    """What the metadata of a file say. Raises UserError: it is no checkpoint, or a value that cannot be; the sentence
    names the file, the key and the value. Raises OSError."""
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this project: its metadata has no format {FORMAT!r}")
    refuse_unknown_keys(metadata, ("format", *PARTS), f"{path}: unknown metadata", WAYS)
    parts = {name: parse_part(metadata, name, path) for name in PARTS}
    for key, value in used_values(parts["training"]):
        if not fits(value, USED[key]):
            wanted = describe_values(USED[key])
            raise UserError(f"{path}: training.{key} must be {wanted}, got {shorten(value)}{WAYS}")
    kinds = {"config": ModelConfig, "preprocessing": Preprocessing, "annotation": Annotation}
    for name, kind in kinds.items():
        parts[name] = build_from(kind, parts[name], f"{path}: {name}", WAYS)
    try:
        return CheckpointFacts(**parts)
    except BadValue as error:
        raise UserError(f"{path}: {error}{WAYS}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, which may be none; no more is read of it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= size - 8:
            raise UserError(f"{path} is not a safetensors file: it has {size:,} bytes and no whole header; {CUT_OFF}")
        if length > LARGEST_HEADER:
            raise UserError(f"{path} is not a checkpoint: its header has {length:,} bytes, at most {LARGEST_HEADER:,}")
        header = parse_json(file.read(length), f"{path} is not a safetensors file: its header")
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise UserError(f"{path} is not a safetensors file: its metadata are no texts, {shorten(metadata)}")
    return metadata


def parse_part(metadata: Mapping[str, str], name: str, path: Path) -> Any:
    if name not in metadata:
        raise UserError(f"{path}: its metadata lack {name!r}{WAYS}")
    value = parse_json(metadata[name], f"{path}: {name}", WAYS)
    if not fits(value, PARTS[name]):
        raise UserError(f"{path}: {name} must be {describe_values(PARTS[name])}, got {shorten(value)}{WAYS}")
    return value


def parse_json(text: str | bytes, where: str, hint: str = "") -> Any:
    """Raises UserError: it is not JSON, is nested too deep, or has a key twice; `hint` is the end of the sentence."""
    try:
        value = json.loads(text, object_pairs_hook=refuse_twice)
    except ValueError as error:
        raise UserError(f"{where} is not JSON: {error}{hint}") from error
    except RecursionError as error:
        raise UserError(f"{where} is nested too deep{hint}") from error
    level, depth = [value], 0
    while level := [inner for outer in level for inner in inner_values(outer)]:
        if (depth := depth + 1) > DEEPEST:
            raise UserError(f"{where} is nested too deep: more than {DEEPEST} lists or tables in one another{hint}")
    return value


def inner_values(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"it has {shorten(name)} more than once")
    return values


def used_values(training: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys of USED that are there, the outer ones first, and their values."""
    for key in USED:
        value: Any = training
        for name in key.split("."):
            if name not in value:
                break
            value = value[name]
        else:
            yield key, value
