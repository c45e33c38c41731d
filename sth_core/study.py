"""Studies: TOML files that vary values of a recipe; every combination is trained with every seed."""

import json
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from sth_core.errors import UserError
from sth_core.recipe import load_recipe, read_toml

KEYS = ("recipe", "seeds", "axes")  # and perhaps "paper"


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
    if not set(KEYS) <= set(content) <= {*KEYS, "paper"}:
        raise UserError(f"{path}: a study has the keys {', '.join(KEYS)}, this one {', '.join(content) or 'none'}")
    seeds, axes = content["seeds"], content["axes"]
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise UserError(f"{path}: seeds must be a list of whole numbers, got {seeds!r}")
    if not isinstance(axes, dict) or not all(isinstance(v, dict) and v for v in axes.values()):
        raise UserError(f"{path}: [axes.NAME] must name values and their changes, got {axes!r}")
    paper = content.get("paper", {})
    last = list(axes.values())[-1] if axes else {}
    if paper and (set(paper) != {"of", "top1"} or not set(paper["top1"]) <= set(last)):
        wanted = f"of and top1, of values of the last axis ({', '.join(last)})"
        raise UserError(f"{path}: [paper] must have {wanted}, got {paper}")
    changes = {axis: {name: _changes(path, name, of_name) for name, of_name in v.items()} for axis, v in axes.items()}
    recipe, _ = read_toml(str(content["recipe"]), "recipe", file.parent)
    study = Study(recipe, tuple(seeds), changes, paper)
    names = [cell.name for cell in study.cells]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{path}: two combinations would be called {sorted(twice)[0]}; choose other names")
    for cell in study.cells:
        load_recipe(study.recipe, cell.changes)  # now, not after hours
    return study


def _changes(path: Path | str, value: str, changes: Any) -> tuple[str, ...]:
    if not isinstance(changes, dict):
        raise UserError(f'{path}: {value} must be changes, {{ "section.key" = value }}, got {changes!r}')
    return tuple(f"{key}={json.dumps(new)}" for key, new in changes.items())
