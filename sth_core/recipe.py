"""Recipes: TOML files that describe a training run completely. Those that ship lie in sth_core/recipes/."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, get_type_hints

from sth_core.checkpoint_metadata import check_input
from sth_core.datasets.random_clips import Augment
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError, did_you_mean, shorten
from sth_core.network import ModelConfig, VideoNetwork, create_model
from sth_core.optimisation import Optimisation
from sth_core.values import BadValue, Text, build_from, check_fields, refuse_unknown_keys
from sth_core.video.transforms import Preprocessing

SHIPPED_RECIPES = Path(__file__).parent / "recipes"
LARGEST_TOML = 2**20  # bytes
FRACTION = re.compile(r"[+-]?(\d{1,9}/\d{1,9}|\d{0,9}\.\d{0,9})")  # and no power of ten, which may be a huge number


@dataclass(frozen=True)
class Start:
    """The weights that training starts from: random ones, if neither is given.

    `checkpoint` is the path of a network of this project (.safetensors) or of a TSN/TSM-style
    .pth; `imagenet` takes torchvision's weights of the backbone.
    """

    checkpoint: Text = ""
    imagenet: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.checkpoint and self.imagenet:
            raise BadValue("give either checkpoint or imagenet, not both")

    @property
    def file(self) -> Path:
        """`checkpoint` as a path from here, else from the folder of the packages, where shipped networks lie."""
        installed = Path(__file__).parents[1] / self.checkpoint
        return installed if installed.is_file() and not Path(self.checkpoint).is_file() else Path(self.checkpoint)


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


def load_recipe(path: Path | str, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe: a file, or a shipped one by its name. `changes` are "section.key=value" and replace its values.
    Raises UserError: no such recipe, not TOML, an unknown section or key, a value of another type or out of range."""
    sections = sections_of(read_toml(path, "recipe")[1], str(path))
    return recipe_from(_changed(sections, changes), str(path))


def load_annotation(path: Path | str | None, changes: Iterable[str] = ()) -> Annotation:
    """The [data] of a recipe, or the default one; `changes` are "key=value". Raises UserError as `load_recipe`."""
    sections = sections_of(read_toml(path, "recipe")[1], str(path)) if path else {}
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
        return file, parse_toml(file)
    except FileNotFoundError as error:
        near = did_you_mean(file.name.removesuffix(".toml"), shipped) or f"; shipped: {', '.join(shipped)}"
        raise UserError(f"cannot read the {kind} {file}: no such file, and no shipped {kind}{near}") from error
    except OSError as error:
        raise UserError(f"cannot read the {kind} {file}: {error.strerror}") from error


def parse_toml(file: Path) -> dict[str, Any]:
    """The content of a TOML file, with or without a byte order mark. Raises OSError, and UserError: it is not TOML."""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_TOML + 1)
        if len(content) <= LARGEST_TOML:
            return tomllib.loads(content.decode("utf-8-sig"))
    except ValueError as error:  # of TOML, of UTF-8, of a number with thousands of digits, or of the file's name
        raise UserError(f"{file} is not a TOML file: {error}") from error
    except RecursionError as error:
        raise UserError(f"{file} is not a TOML file of this project: its values are nested too deep") from error
    raise UserError(f"{file} is not a TOML file of this project: it has more than {LARGEST_TOML:,} bytes")


def sections_of(content: dict[str, Any], origin: str) -> dict[str, dict[str, Any]]:
    """The content itself; raises UserError: a part of it is no section."""
    for name, section in content.items():
        if not isinstance(section, dict):
            raise UserError(f"{origin}: {shorten(name)} must be a section such as [model], got {shorten(section)}")
    return content


def recipe_from(sections: dict[str, Any], origin: str) -> Recipe:
    """The recipe of nested plain values, as a TOML file or a checkpoint holds them."""
    refuse_unknown_keys(sections_of(sections, origin), SECTIONS, f"{origin}: unknown section")
    recipe = Recipe(**{n: _section(kind, sections.get(n, {}), f"{origin} [{n}]") for n, kind in SECTIONS.items()})
    try:
        check_input(ModelConfig(num_classes=1, **recipe.model), recipe.preprocessing)
    except ValueError as error:
        raise UserError(f"{origin}: {error}") from error
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
            raise UserError(f"a change must look like section.key=value, got {shorten(change)}")
        sections.setdefault(section, {})[key] = _parse(value)
    return sections


def _section(kind: type, values: dict[str, Any], where: str) -> Any:
    if kind is not ModelConfig:
        return build_from(kind, values, where)
    possible = [field.name for field in fields(ModelConfig) if field.name != "num_classes"]  # which the data determine
    refuse_unknown_keys(values, possible, f"{where}: unknown key")
    config = build_from(kind, values | {"num_classes": 1}, where)
    return {key: getattr(config, key) if isinstance(value, list) else value for key, value in values.items()}


def _parse(value: str) -> Any:
    """A value as TOML reads it; 1/4 is a number and bare words are strings."""
    try:
        parsed = tomllib.loads(f"value = {value}")
        return parsed["value"] if len(parsed) == 1 else value
    except (ValueError, RecursionError):
        pass
    try:
        return float(Fraction(value)) if FRACTION.fullmatch(value) else value
    except (ValueError, ZeroDivisionError):
        return value
