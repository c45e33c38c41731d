"""Studies: TOML files that vary values of a recipe; every combination is trained with every seed."""

import json
import math
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from sth_core.errors import UserError, first_few, shorten
from sth_core.optimisation import Seed
from sth_core.recipe import load_recipe, read_toml
from sth_core.values import Between, Items, Text, describe_values, fits

KEYS = ("recipe", "seeds", "axes")  # and perhaps "paper"
MOST_CELLS = 1000
LONGEST_NAME = 200  # bytes: of a folder, with a number or an ending
Name = Annotated[str, Items(1, 100)]  # of an axis or a value, which is part of the name of a folder
Percent = Annotated[float, Between(0, 100)]
VALUES: dict[str, Any] = {
    "recipe": Annotated[str, Items(1, 4096)], "seeds": Annotated[tuple[Seed, ...], Items(1, MOST_CELLS)],
    "axes": dict, "paper": dict,
}  # fmt: skip


@dataclass(frozen=True)
class StudyCell:
    """One training of a study: its name, the value of each axis, and the changes to the recipe that make it."""

    name: str
    values: dict[str, str]
    seed: int
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """`axes` are {axis: {value: (changes, ...)}}, the changes as `load_recipe` takes them.

    `paper` are the paper's results of the same comparison, shown apart from ours: {"of": where and on what,
    "top1": {value of the last axis: percent}}.
    """

    recipe: Path
    seeds: tuple[int, ...]
    axes: dict[str, dict[str, tuple[str, ...]]]
    paper: dict[str, Any]

    @property
    def cells(self) -> list[StudyCell]:
        """All combinations with the first seed, then all with the second, and so on."""
        cells = []
        for seed, values in product(self.seeds, product(*self.axes.values())):
            chosen = dict(zip(self.axes, values, strict=True))
            changes = [change for axis, value in chosen.items() for change in self.axes[axis][value]]
            name = "-".join([*map(slug, values), f"seed{seed}"])
            cells.append(StudyCell(name, chosen, seed, (*changes, f"optimisation.seed={seed}")))
        return cells


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"\W+", "_", name).lower()


def load_study(path: Path | str) -> Study:
    """Read a study: a file, or a shipped one by its name. Its recipe lies beside it, or is a shipped one.
    Raises UserError: no such study, not TOML, an unknown key, or a combination that makes no recipe."""
    file, content = read_toml(path, "study")
    check_content(path, content)
    seeds, axes = content["seeds"], content["axes"]
    changes = {axis: {name: _changes(path, name, of_name) for name, of_name in v.items()} for axis, v in axes.items()}
    recipe, _ = read_toml(content["recipe"], "recipe", file.parent)
    study = Study(recipe, tuple(seeds), changes, content.get("paper", {}))
    names = [cell.name for cell in study.cells]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{path}: two combinations would be called {sorted(twice)[0]}; choose other names")
    longest = max(names, key=lambda name: len(name.encode()))
    if len(longest.encode()) > LONGEST_NAME:
        raise UserError(f"{path}: a combination would be called {shorten(longest)}; choose shorter names")
    for cell in study.cells:
        try:
            load_recipe(study.recipe, cell.changes)  # now, not after hours
        except UserError as error:
            raise UserError(f"{path}: {cell.name}: {error}") from error
    return study


def check_content(path: Path | str, content: dict[str, Any]) -> None:
    """Raises UserError: an unknown key, values of another type or out of range, or too many trainings."""
    if not set(KEYS) <= set(content) <= {*KEYS, "paper"}:
        found = first_few(list(content), 5) or "none"
        raise UserError(f"{path}: a study has the keys {', '.join(KEYS)}, this one {found}")
    for key, hint in VALUES.items():
        if key in content and not fits(content[key], hint):
            raise UserError(f"{path}: {key} must be {describe_values(hint)}, got {shorten(content[key])}")
    for axis, values in content["axes"].items():
        if not isinstance(values, dict) or not values or not all(fits(name, Name) for name in (axis, *values)):
            names = f"each named by {describe_values(Name)}"
            raise UserError(
                f"{path}: [axes.{shorten(axis)}] must be values, {names}, and their changes, got {shorten(values)}"
            )
    number = len(content["seeds"]) * math.prod(map(len, content["axes"].values()))
    if number > MOST_CELLS:
        raise UserError(f"{path}: a study may have {MOST_CELLS:,} trainings, this one has {number:,}")
    last = list(content["axes"].values())[-1] if content["axes"] else ()
    check_paper(path, content.get("paper", {}), list(last))


def check_paper(path: Path | str, paper: dict[str, Any], last: list[str]) -> None:
    """Raises UserError: results of the paper that are not of values of the last axis."""
    top1 = paper.get("top1")
    known = isinstance(top1, dict) and set(top1) <= set(last) and all(fits(share, Percent) for share in top1.values())
    if paper and not (set(paper) == {"of", "top1"} and fits(paper["of"], Text) and known):
        wanted = f"of, a text, and top1, percent of values of the last axis ({', '.join(last)})"
        raise UserError(f"{path}: [paper] must have {wanted}, got {shorten(paper)}")


def _changes(path: Path | str, value: str, changes: Any) -> tuple[str, ...]:
    if not isinstance(changes, dict):
        raise UserError(f'{path}: {value} must be changes, {{ "section.key" = value }}, got {shorten(changes)}')
    try:
        return tuple(f"{key}={json.dumps(new)}" for key, new in changes.items())
    except TypeError as error:  # a date or a time, which no setting is
        raise UserError(f"{path}: {value} has a value that no setting can have, got {shorten(changes)}") from error
