"""Recipes: TOML files that describe a training run completely. Those that ship lie in sth_core/recipes/."""

import dataclasses
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import UnionType
from typing import Any, get_origin, get_type_hints

from sth_core.datasets.clips import Augment
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError, did_you_mean
from sth_core.network import ModelConfig, VideoNetwork, create_model
from sth_core.optimisation import Optimisation
from sth_core.video.transforms import Preprocessing

SHIPPED_RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Start:
    """The weights that training starts from: random ones, if neither is given.

    `checkpoint` is the path of a network of this project (.safetensors) or of a TSN/TSM-style
    .pth; `imagenet` takes torchvision's weights of the backbone.
    """

    checkpoint: str = ""
    imagenet: bool = False

    @property
    def file(self) -> Path:
        """`checkpoint` as a path from here, else from the folder of the packages, where shipped networks lie."""
        installed = Path(__file__).parents[1] / self.checkpoint
        return installed if installed.is_file() and not Path(self.checkpoint).is_file() else Path(self.checkpoint)

    def validate(self) -> None:
        if self.checkpoint and self.imagenet:
            raise UserError("give either checkpoint or imagenet, not both")


@dataclass(frozen=True)
class Recipe:
    """The sections of a recipe file. `model` lacks num_classes, which the data determines."""

    data: Annotation
    model: dict[str, Any]
    preprocessing: Preprocessing
    augment: Augment
    optimisation: Optimisation
    start: Start = Start()


SECTIONS: dict[str, type] = get_type_hints(Recipe) | {"model": ModelConfig}
# The types of values that a field of another type may have.
POSSIBLE = {float: (int, float), tuple: (list, tuple), UnionType: (int, list, tuple)}


def load_recipe(path: Path | str, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe: a file, or a shipped one by its name. `changes` are "section.key=value" and replace its values.
    Raises UserError: no such recipe, not TOML, an unknown section or key, a value of another type or out of range."""
    return recipe_from(_changed(read_toml(path, "recipe")[1], changes), str(path))


def load_annotation(path: Path | str | None, changes: Iterable[str] = ()) -> Annotation:
    """The [data] of a recipe, or the default one; `changes` are "key=value". Raises UserError as `load_recipe`."""
    sections = read_toml(path, "recipe")[1] if path else {}
    sections = _changed(sections, (f"data.{change}" for change in changes))
    return _section(Annotation, sections.get("data", {}), f"{path or ''} [data]".lstrip())


def read_toml(path: Path | str, kind: str, folder: Path = Path()) -> tuple[Path, dict[str, Any]]:
    """The file and content of a "recipe" or "study": the file `path` in `folder`, else the shipped one of that name.
    Raises UserError: no such file or name, or not TOML."""
    files = sorted(SHIPPED_RECIPES.glob("*.toml"))
    shipped = {file.stem: file for file in files if file.stem.startswith("study_") == (kind == "study")}
    file = folder / path
    if not file.is_file():
        file = shipped.get(str(path).removesuffix(".toml"), file)
    try:
        return file, tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        near = did_you_mean(file.name.removesuffix(".toml"), shipped) or f"; shipped: {', '.join(shipped)}"
        raise UserError(f"cannot read the {kind} {file}: no such file, and no shipped {kind}{near}") from error
    except OSError as error:
        raise UserError(f"cannot read the {kind} {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not a TOML file: {error}") from error


def recipe_from(sections: dict[str, Any], origin: str) -> Recipe:
    """The recipe of nested plain values, as a TOML file or a checkpoint holds them."""
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise UserError(f"{origin}: {name} must be a section [{name}], got {section!r}")
    _refuse_unknown(sections, SECTIONS, f"{origin}: unknown section")
    recipe = Recipe(**{n: _section(kind, sections.get(n, {}), f"{origin} [{n}]") for n, kind in SECTIONS.items()})
    p, model = recipe.preprocessing, recipe.model
    if (p.frames, p.modality) != (model.get("frames", 8), model.get("modality", "rgb")):
        raise UserError(f"{origin}: frames and modality must be the same in [model] and [preprocessing]")
    return recipe


def build_model(recipe: Recipe, num_classes: int, origin: str = "") -> VideoNetwork:
    """The network of a recipe, with random weights; raises UserError for values of [model] that do not fit."""
    try:
        return create_model(num_classes=num_classes, **recipe.model)
    except ValueError as error:
        raise UserError(f"{origin} [model]: {error}".lstrip()) from error


def _changed(sections: dict[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    for change in changes:
        name, _, value = change.partition("=")
        section, _, key = name.partition(".")
        if not key or not value:
            raise UserError(f"a change must look like section.key=value, got {change!r}")
        sections.setdefault(section, {})[key] = _parse(value)
    return sections


def _section(kind: type, values: dict[str, Any], where: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name != "num_classes"}
    _refuse_unknown(values, fields, f"{where}: unknown key")
    hints = get_type_hints(kind)
    for key, value in values.items():
        wanted = get_origin(hints[key]) or hints[key]
        if not isinstance(value, POSSIBLE.get(wanted, wanted)) or (isinstance(value, bool) and wanted is not bool):
            name = "int or a list of two" if wanted is UnionType else wanted.__name__
            raise UserError(f"{where}: {key} must be of type {name}, got {value!r}")
    values = {key: _frozen(value) for key, value in values.items()}
    missing = [f.name for f in fields.values() if f.default is dataclasses.MISSING and f.name not in values]
    if missing:
        raise UserError(f"{where}: missing {', '.join(missing)}")
    try:
        if kind is ModelConfig:
            ModelConfig(num_classes=1, **values)  # which checks them; the data determine the number of classes
            return values
        section = kind(**values)
        section.validate()
    except (UserError, ValueError) as error:
        raise UserError(f"{where}: {error}") from error
    return section


def _refuse_unknown(given: Iterable[str], possible: Iterable[str], what: str) -> None:
    for key in given:
        if key not in possible:
            raise UserError(f"{what} {key!r}{did_you_mean(key, possible)}; possible: {', '.join(possible)}")


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
