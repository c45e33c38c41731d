"""The dataset of a training or a study: read as the recipe says, and whether earlier cells were trained on the same."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sth_core.datasets.entries import NoSuchColumn
from sth_core.datasets.table import Annotation, Dataset, open_dataset
from sth_core.errors import OtherWork, UserError
from sth_core.files import read_object
from sth_core.recipe import SHIPPED_RECIPES, load_recipe, read_toml
from sth_core.study import Study, StudyCell
from sth_core.training_clips import explained_differences, identity_of, training_clips

WAYS = "choose another folder, or give --overwrite, which moves the study aside"


def open_training_data(recipe: Path, annotation: Annotation, data: Path) -> tuple[Annotation, Dataset]:
    """A dataset, and the annotation by which it was read: that of a recipe.

    A shipped recipe names the column of groups of its own dataset; another dataset may lack it, which a note says.
    Raises UserError: the dataset cannot be read, or lacks a column that was asked for."""
    try:
        return annotation, open_dataset(data, annotation)
    except NoSuchColumn as error:
        shipped = read_toml(recipe, "recipe")[0].parent == SHIPPED_RECIPES
        if not shipped or not error.column == annotation.group == load_recipe(recipe).data.group:
            raise
        annotation = replace(annotation, group="")
        dataset = open_dataset(data, annotation)
        note = f"there is no column {error.column!r}, which the recipe {recipe.stem} takes for groups"
        return annotation, replace(dataset, found=replace(dataset.found, notes=(*dataset.found.notes, note)))


def check_study_data(study: Study, data: Path, out: Path | None, notify: Callable[[str], None]) -> None:
    """Say what was found in the dataset, in a line for each way in which the study's cells read it; `out` is the
    folder of the study, if it is to be continued.

    Raises UserError: the dataset cannot be read or trained on, or it has changed since cells in `out` were trained."""
    cells: dict[Annotation, list[StudyCell]] = {}
    for cell in study.cells:
        cells.setdefault(load_recipe(study.recipe, cell.changes).data, []).append(cell)
    for annotation, of_one in cells.items():
        _, dataset = open_training_data(study.recipe, annotation, data)
        notify(dataset.found.sentence)
        kept = training_clips(dataset.clips).kept
        now = identity_of(kept)
        for folder in [out / "networks" / cell.name for cell in of_one] if out else ():
            file = folder / "training.json"
            earlier = {}
            with suppress(UserError):  # damaged: `sth train` says so of its network
                earlier = read_object(file) if file.is_file() else {}
            other = [key for key in now if key in earlier and earlier[key] != now[key]]
            if earlier.get("finished") and other:
                words = "; ".join(filter(None, (explained_differences(folder, kept).get(key) for key in other)))
                raise OtherWork(f"{data} is not what {folder} was trained on ({words})", WAYS)
