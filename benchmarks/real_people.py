"""Figures 5 to 8 on real people: the trainings of a study, many at a time on one machine, in a limited time.

\b
    sth benchmark real_people two_questions -o out/real_people --jobs 12 --minutes 8
    sth benchmark real_people ut_interaction --study study_ut_interaction_folds -o out/folds --jobs 12 --minutes 8

Flow is extracted first, into a copy of the data in OUT if the data has none; RGB is then read from the copy too. Then
processes train and record one cell of the study after the other, all cells of a seed before those of the next, so that
an early end leaves whole seeds; no training begins after the time. Networks of the first seed are probed, and α of its
p = 1/4 is replaced (interventions). The same command continues. OUT has the networks and runs of `sth study`;
OUT/results has what `sth benchmark real_people_tables` reads: trainings.csv, a row for each cell, and the runs of each
seed as one archive.
"""

import os
import shutil
import tarfile
import time
import traceback
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import click
import pandas as pd
import torch

from analysis.attention.alpha_matrix import has_attention, read_alpha
from analysis.experiments.interventions import intervene
from analysis.experiments.probes import probe
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import record
from analysis.runs.run_directory import Run, open_run
from analysis.statistics.results import run_results
from benchmarks.measuring import machine, print_head, print_row
from sth_core.datasets.extraction import extract_flow
from sth_core.datasets.media import FLOW_FOLDER
from sth_core.errors import UserError
from sth_core.files import read_object, temporary_beside, write_csv
from sth_core.network import pick_device
from sth_core.outputs import LOCK
from sth_core.prefetch import in_processes
from sth_core.recipe import Recipe, load_recipe
from sth_core.study import Study, StudyCell, load_study
from sth_core.training import train
from sth_core.video.flow import Extraction
from workbench.cli.kinds import DEVICE, FOLDER, RECIPE, WORKERS
from workbench.training_data import open_training_data

STATES = ("state.pt", "best.safetensors", "tensorboard")  # of a network that is trained and recorded
INTERVENED_P = 0.25
CLIPS_AT_ONCE = 64
NO_TIME = "no time"


@dataclass(frozen=True)
class Place:
    """Where a study's cells are trained and recorded, and until when (of `time.time`) a training may begin."""

    recipe: Path
    data: Path
    out: Path
    device: str
    threads: int
    until: float

    def network(self, cell: StudyCell) -> Path:
        return self.out / "networks" / cell.name

    def run(self, cell: StudyCell) -> Path:
        return self.out / "runs" / cell.name


def train_and_record(place: Place, cell: StudyCell, probed: bool) -> str:
    """Do what is missing of one cell; returns why it is not done: NO_TIME, or an error; empty if it is."""
    try:
        recipe = load_recipe(place.recipe, cell.changes)
        run = open_run(place.run(cell))
        if not run.meta.get("finished"):
            if time.time() > place.until:
                return NO_TIME
            torch.set_num_threads(place.threads)
            recipe = replace(recipe, data=open_training_data(place.recipe, recipe.data, place.data)[0])
            run = train_and_open(place, cell, recipe)
        if probed:
            look_inside(run, place)
    except Exception:  # the other cells go on
        return traceback.format_exc()
    return ""


def train_and_open(place: Place, cell: StudyCell, recipe: Recipe) -> Run:
    """Train a cell and record it; what only a longer training needs is removed."""
    network = place.network(cell)
    dataset = open_training_data(place.recipe, recipe.data, place.data)[1]
    trained = train(recipe, dataset.clips, network, place.device, found=dataset.found)
    record(trained.checkpoint, place.data, place.run(cell), options_of(place))
    for name in STATES:
        path = network / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return open_run(place.run(cell))


def look_inside(run: Run, place: Place) -> None:
    """Probes, and interventions of a network with attention and p = 1/4."""
    if not (run.path / "probes" / "probes.json").is_file():
        probe(run, place.data, options_of(place))
    if run.meta["attention"] and run.meta["temporal_fraction"] == INTERVENED_P:
        intervene(run, place.data, options_of(place))


def options_of(place: Place) -> DatasetOptions:
    return DatasetOptions(device=place.device, batch_size=CLIPS_AT_ONCE)


@click.command(help=__doc__)
@click.argument("data", type=FOLDER)
@click.option("--study", "study_file", default="study_real_people", show_default=True, type=RECIPE)
@click.option("-o", "--out", type=FOLDER, required=True, help="Where all goes.")
@click.option("--jobs", default=1, show_default=True, type=WORKERS, help="Processes that train at the same time.")
@click.option("--minutes", default=1e6, type=float, help="No training begins after so many.")
@click.option("--seeds", default=0, type=click.IntRange(0), help="Only the first so many seeds of the study.")
@click.option("--only", multiple=True, metavar="VALUE", help="Only cells with this value of an axis; several: any.")
@click.option(
    "--probed", default=1, show_default=True, type=click.IntRange(0), help="Seeds of which networks are probed."
)
@click.option("--device", default="auto", show_default=True, type=DEVICE)
def main(
    data: Path, study_file: Path, out: Path, jobs: int, minutes: float, seeds: int, only: tuple[str, ...], probed: int,
    device: str,
) -> None:  # fmt: skip
    began = time.time()
    study = load_study(study_file)
    cells = chosen_cells(study, seeds, only)
    out = out.resolve()
    data = with_flow(study, cells, data.resolve(), out)
    print(f"{machine(str(pick_device(device)))}; {len(cells)} trainings, {jobs} at a time", flush=True)
    print(f"flow and tables: {time.time() - began:.0f} s", flush=True)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    place = Place(study.recipe, data, out, device, threads, began + 60 * minutes)
    first = set(study.seeds[:probed])
    work = {cell.name: (place, cell, cell.seed in first) for cell in cells}
    done, failed = 0, 0
    try:
        for name, reason in in_processes(train_and_record, work, jobs):
            done, failed = done + (not reason), failed + (reason not in ("", NO_TIME))
            if reason != NO_TIME:
                what = f"failed: {reason}" if reason else f"{done} of {len(cells)}"
                print(f"{time.time() - began:6.0f} s: {name}: {what}", flush=True)
    finally:  # also when it is stopped
        table = write_results(place, study)
    print(f"{len(table)} trainings are recorded after {time.time() - began:.0f} s: {out / 'results'}\n")
    print_over_cells(table, list(study.axes))
    if failed:
        raise UserError(f"{failed} of {len(cells)} trainings failed, as said above; the same command tries them again")


def chosen_cells(study: Study, seeds: int, only: tuple[str, ...]) -> list[StudyCell]:
    """The study's cells of its first seeds, with one of the values `only`; all of them by default."""
    values = {value for axis in study.axes.values() for value in axis}
    if unknown := [value for value in only if value not in values]:
        raise UserError(f"no axis of the study has the value {unknown[0]!r}; it has {', '.join(sorted(values))}")
    wanted = {axis: set(only) & set(of_axis) or set(of_axis) for axis, of_axis in study.axes.items()}
    first = study.seeds[: seeds or None]
    return [c for c in study.cells if c.seed in first and all(c.values[axis] in some for axis, some in wanted.items())]


def with_flow(study: Study, cells: list[StudyCell], data: Path, out: Path) -> Path:
    """The folder of the data, with the flow that the cells need. If the data has no flow, and some cell of the study
    needs it, all are trained on a copy in `out`: networks are compared if their data is the same."""
    recipes = {cell.name: load_recipe(study.recipe, cell.changes) for cell in study.cells}
    of_flow = [recipe for recipe in recipes.values() if recipe.preprocessing.modality == "flow"]
    if all((recipe.data.inside(data) / FLOW_FOLDER / "flow.json").is_file() for recipe in of_flow):
        return data
    copy, chosen = out / data.name, [recipes[cell.name] for cell in cells]
    for name in {recipe.data.folder for recipe in chosen}:
        shutil.copytree(data / name, copy / name, dirs_exist_ok=True, copy_function=shutil.copyfile)
    for recipe in {r.data.folder: r for r in chosen if r.preprocessing.modality == "flow"}.values():
        p, folder = recipe.preprocessing, recipe.data.inside(copy)
        how = Extraction("dis", p.flow_bound, p.short_side)
        table = open_training_data(study.recipe, recipe.data, copy)[1].clips
        extract_flow(table, folder / FLOW_FOLDER, how, folder=folder)
    return copy


def write_results(place: Place, study: Study) -> pd.DataFrame:
    """OUT/results: trainings.csv, which is returned, and the runs of each seed."""
    results, rows = place.out / "results", []
    results.mkdir(parents=True, exist_ok=True)
    for seed in study.seeds:
        done = {c.name: c for c in study.cells if c.seed == seed and open_run(place.run(c)).meta.get("finished")}
        if not done:
            continue
        runs = [open_run(place.run(cell)) for cell in done.values()]
        with temporary_beside(results / f"runs-seed{seed}.tar.xz") as path, tarfile.open(path, "w:xz") as archive:
            for run in runs:
                archive.add(run.path, run.name, filter=without_locks)
        for result, run in zip(run_results(runs).to_dict("records"), runs, strict=True):
            cell = done[run.name]
            row = {"run": run.name, **cell.values, "seed": seed, "kind": run.meta["kind"], "clips": result["n"]}
            row |= {key: result[key] for key in ("top1", "action", "direction")}
            row["seconds"] = seconds_of(place.network(cell))
            if has_attention(run):
                row |= alpha_values(run)
            rows.append(row)
    table = pd.DataFrame(rows)
    write_csv(results / "trainings.csv", table)
    return table


def seconds_of(network: Path) -> float:
    """From the first step of a training to its end, pauses included."""
    meta = read_object(network / "training.json")
    return (datetime.fromisoformat(meta["finished"]) - datetime.fromisoformat(meta["started"])).total_seconds()


def alpha_values(run: Run) -> dict[str, float]:
    """alpha_T: the mean over all layers and clips, and over the clips at each layer."""
    alpha = read_alpha(run)
    by_layer = {f"alpha_T {i}": round(float(value), 5) for i, value in enumerate(alpha.temporal.mean(0, float))}
    return {"alpha_T": round(float(alpha.mean.mean()), 5)} | by_layer


def without_locks(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Names and times that do not depend on who runs it; no lock files."""
    if Path(member.name).name == LOCK:
        return None
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def print_over_cells(table: pd.DataFrame, axes: list[str]) -> None:
    """Mean and standard deviation over the seeds, of each combination of the axes' values."""
    if table.empty:
        return
    print_head(*axes, "top-1, %", "alpha_T", "seeds", "seconds")
    alpha = table["alpha_T"] if "alpha_T" in table else float("nan")
    for values, rows in table.assign(alpha_T=alpha).groupby(axes, sort=False):
        top1 = f"{rows['top1'].mean():.1f} ± {rows['top1'].std(ddof=0):.1f}"
        mean = (
            "" if rows["alpha_T"].isna().all() else f"{rows['alpha_T'].mean():.4f} ± {rows['alpha_T'].std(ddof=0):.4f}"
        )
        print_row(*values, top1, mean, len(rows), f"{rows['seconds'].mean():.0f}")


if __name__ == "__main__":
    main()
