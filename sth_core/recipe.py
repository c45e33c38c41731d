"""Recipes: TOML files that say everything about a training run, read as they are."""

import dataclasses
import tomllib
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from types import UnionType
from typing import Any, get_origin, get_type_hints

from sth_core.datasets.clips import Augment
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError
from sth_core.network import ModelConfig, VideoNetwork, create_model
from sth_core.optimisation import Optimisation
from sth_core.video.transforms import Preprocessing


@dataclass(frozen=True)
class Start:
    """What training starts from: random weights, if neither is given.

    `checkpoint` is the path of a network of this project (.safetensors) or of a TSN/TSM-style
    .pth; `imagenet` takes torchvision's weights of the backbone.
    """

    checkpoint: str = ""
    imagenet: bool = False


@dataclass(frozen=True)
class Recipe:
    """The sections of a recipe file. `model` lacks num_classes: the data tells them."""

    data: Annotation
    model: dict[str, Any]
    preprocessing: Preprocessing
    augment: Augment
    optimisation: Optimisation
    start: Start = Start()

    def plain(self) -> dict[str, Any]:
        return asdict(self)


SECTIONS = {
    "data": Annotation,
    "model": ModelConfig,
    "preprocessing": Preprocessing,
    "augment": Augment,
    "optimisation": Optimisation,
    "start": Start,
}


def load_recipe(path: Path, changes: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe; `changes` are "section.key=value" and go before what the file says.

    Raises:
        UserError: no such file, not TOML, an unknown section or key, a value of another type.
    """
    return recipe_from(_changed(_read_sections(path), changes), str(path))


def load_annotation(path: Path | None, changes: tuple[str, ...] = ()) -> Annotation:
    """The [data] of a recipe, or the default one; `changes` are "key=value".

    Raises:
        UserError: as `load_recipe`.
    """
    sections = _read_sections(path) if path else {}
    sections = _changed(sections, tuple(f"data.{change}" for change in changes))
    return _section(Annotation, sections.get("data", {}), f"{path or ''} [data]".lstrip())


def _read_sections(path: Path) -> dict[str, Any]:
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a TOML file: {error}") from error
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise UserError(f"{path}: {name} must be a section [{name}], got {section!r}")
    return sections


def _changed(sections: dict[str, Any], changes: tuple[str, ...]) -> dict[str, Any]:
    for change in changes:
        name, _, value = change.partition("=")
        section, _, key = name.partition(".")
        if not key or not value:
            raise UserError(f"a change must look like section.key=value, got {change!r}")
        sections.setdefault(section, {})[key] = _parse(value)
    return sections


def recipe_from(sections: dict[str, Any], origin: str) -> Recipe:
    """The recipe of nested plain values, as a TOML file or a checkpoint holds them."""
    _refuse_unknown(sections, tuple(SECTIONS), f"{origin}: unknown section")
    built = {name: _section(kind, sections.get(name, {}), f"{origin} [{name}]") for name, kind in SECTIONS.items()}
    recipe = Recipe(**built)
    p, model = recipe.preprocessing, recipe.model
    if not isinstance(p.resize, int) and [type(side) for side in p.resize] != [int, int]:
        raise UserError(f"{origin} [preprocessing]: resize must be a short side or [height, width], got {p.resize}")
    for key in ("frames", "short_side", "crop"):
        if getattr(p, key) < 1:
            name = key.replace("short_side", "resize")
            raise UserError(f"{origin} [preprocessing]: {name} must be at least 1, got {getattr(p, key)}")
    if (p.frames, p.modality) != (model.get("frames", 8), model.get("modality", "rgb")):
        raise UserError(f"{origin}: frames and modality must be the same in [model] and [preprocessing]")
    if p.crop > p.short_side:
        raise UserError(f"{origin} [preprocessing]: crop ({p.crop}) must not be larger than resize ({p.short_side})")
    if recipe.start.checkpoint and recipe.start.imagenet:
        raise UserError(f"{origin} [start]: give either checkpoint or imagenet, not both")
    if problem := recipe.optimisation.problem():
        raise UserError(f"{origin} [optimisation]: {problem}")
    return recipe


def build_model(recipe: Recipe, num_classes: int, origin: str = "") -> VideoNetwork:
    """The network of a recipe, its weights at random.

    Raises:
        UserError: a value of [model] is none of the possible ones, or does not fit another.
    """
    try:
        return create_model(num_classes=num_classes, **recipe.model)
    except ValueError as error:
        raise UserError(f"{origin} [model]: {error}".lstrip()) from error


def _section(kind: type, values: dict[str, Any], where: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if kind is ModelConfig:
        del fields["num_classes"]
    _refuse_unknown(values, tuple(fields), f"{where}: unknown key")
    hints = get_type_hints(kind)
    for key, value in values.items():
        wanted = get_origin(hints[key]) or hints[key]
        possible = {float: (int, float), tuple: (list, tuple), UnionType: (int, list, tuple)}.get(wanted, (wanted,))
        if not isinstance(value, possible) or (isinstance(value, bool) and wanted is not bool):
            name = "int or a list of two" if wanted is UnionType else wanted.__name__
            raise UserError(f"{where}: {key} must be of type {name}, got {value!r}")
    values = {key: _frozen(value) for key, value in values.items()}
    if kind is ModelConfig:
        return values
    missing = [f.name for f in fields.values() if f.default is dataclasses.MISSING and f.name not in values]
    if missing:
        raise UserError(f"{where}: missing {', '.join(missing)}")
    return kind(**values)


def _refuse_unknown(given: dict[str, Any], possible: tuple[str, ...], what: str) -> None:
    for key in given:
        if key not in possible:
            near = get_close_matches(key, possible, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UserError(f"{what} {key!r}{hint}; possible: {', '.join(possible)}")


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def _parse(value: str) -> Any:
    """A value as TOML reads it; 1/4 is a number and bare words are strings."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            return value
