"""The `sth` command."""

import math
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pandas as pd
from rich.table import Table

from sth_core.errors import UserError
from sth_core.files import write_atomically
from sth_core.memory import keep_freed_memory
from workbench.cli.cam import cam
from workbench.cli.data import data
from workbench.cli.options import FOLDER, friendly, over_a_dataset
from workbench.cli.probe import probe
from workbench.cli.progress import console, progress_bars
from workbench.cli.trust import intervene, trust
from workbench.serve import serve

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sth-workbench")
def main() -> None:
    """STH Workbench: spatio-temporal hybrid convolution, and what such networks look at."""


main.add_command(cam)
main.add_command(data)
main.add_command(intervene)
main.add_command(probe)
main.add_command(trust)


@main.command()
@click.argument("recipe", type=FOLDER)
@click.option("--data", "folder", type=FOLDER, required=True, help="A dataset's folder.")
@click.option("-o", "--out", type=FOLDER, required=True, help="Where the network and its metrics go.")
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a value of the recipe.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option("--save-every", default=300.0, show_default=True, help="Seconds between saves of what is under way.")
@click.option("--memory", type=float, help="GB for decoded clips; by default a quarter of the machine's.")
@friendly
def train(
    recipe: Path,
    folder: Path,
    out: Path,
    changes: tuple[str, ...],
    device: str,
    save_every: float,
    memory: float | None,
) -> None:
    """Train a network by a RECIPE (a TOML file, see recipes/).

    Stopped at any moment, the same command goes on from what was saved last, and ends with the same
    network. On many GPUs or machines: torchrun ... -m workbench train ...
    """
    from analysis.report.training_curves import write_training_curves
    from sth_core.datasets.table import read_dataset
    from sth_core.recipe import load_recipe
    from sth_core.training import Progress, train

    keep_freed_memory()
    loaded = load_recipe(recipe, changes)
    table = read_dataset(folder, loaded.data)
    with progress_bars() as show:

        def report(p: Progress) -> None:
            if not is_first():
                return
            shown = f"epoch {p.epoch}, loss {p.loss:.3f}, accuracy {p.accuracy:.3f}, {p.clips_per_second:.0f} clips/s"
            show("reading clips" if p.stage == "reading" else "training", p.done, p.total, shown if p.epoch else "")

        trained = train(loaded, table, out, device, report, save_every, memory * 1e9 if memory is not None else None)
    if not is_first():
        return
    curves = write_training_curves(out / "metrics.csv")
    click.echo(f"accuracy {trained.accuracy:.3f} on {trained.clips} held-out clips; network: {trained.checkpoint}")
    click.echo(f"curves: {curves}")
    for clip_id, reason in trained.failures.items():
        click.echo(f"not read: {clip_id}: {reason}")


def of_a_network(command: Callable[..., None]) -> Callable[..., None]:
    """The options of what runs a network over a dataset."""
    for option in (
        click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1), help="Views at once."),
        click.option(
            "--crops",
            default="1",
            show_default=True,
            type=click.Choice(["1", "3", "10"]),
            help="1: the centre; 3: the whole frame, in squares as high as it; 10: TSN's.",
        ),
        click.option("--clips", default=1, show_default=True, type=click.IntRange(1, 30), help="Clips of a video."),
        click.option("--label", help="The manifest's column of labels; by default the one trained on."),
        click.option("-o", "--out", "run", type=FOLDER, required=True, help="The run directory to write."),
    ):
        command = option(command)
    return over_a_dataset(command)


def is_first() -> bool:
    """Whether this is the process that speaks; under torchrun there are others."""
    return int(os.environ.get("RANK", "0")) == 0


def run_network(
    checkpoint: Path,
    folder: Path,
    run: Path,
    split: str,
    label: str | None,
    clips: int,
    crops: str,
    batch_size: int,
    workers: int,
    device: str,
    with_attention: bool,
    vectors: bool = False,
) -> None:
    from analysis.runs.recording import record
    from analysis.runs.run_directory import open_run, predictions
    from analysis.statistics.accuracy import describe_groups, summarize_accuracy
    from sth_core.checkpoint import load_checkpoint
    from sth_core.video.sampling import Protocol

    keep_freed_memory()
    annotation = replace(load_checkpoint(checkpoint).annotation, label=label) if label else None
    with progress_bars() as show:
        what = f"{'recording' if with_attention else 'evaluating'} {run.name}"
        done = record(
            checkpoint, folder, run, split, annotation, device, batch_size, workers, Protocol(clips, int(crops)),
            with_attention, vectors, command=shlex.join(["sth", *sys.argv[1:]]),
            progress=partial(show, what) if is_first() else lambda *_: None,
        )  # fmt: skip
    if not is_first():
        return
    if math.isnan(done.accuracy):
        click.echo(f"{done.clips} clips, {done.failures} of them unreadable; no label known to the network; run: {run}")
        return
    opened = open_run(run)
    for row in summarize_accuracy(predictions(opened), opened.meta["classes"]).itertuples():
        over = describe_groups(row.n, row.groups)
        click.echo(f"{row.metric}: {row.value:.3f} ({row.low:.3f} to {row.high:.3f}, 95 % over {over})")
    click.echo(f"{done.clips} clips, {done.failures} of them unreadable; accuracy {done.accuracy:.3f}; run: {done.run}")


@main.command()
@click.option("--vectors", is_flag=True, help="Keep α of every channel too, not only each layer's means.")
@of_a_network
@friendly
def record(**options: Any) -> None:
    """Record a network's predictions and attention over a dataset."""
    run_network(**options, with_attention=True)


@main.command()
@of_a_network
@friendly
def evaluate(**options: Any) -> None:
    """Evaluate a network by the paper's protocols: 1, 2 or 10 clips of a video, 1, 3 or 10 crops.

    The scores of each view are kept in the run directory.
    """
    run_network(**options, with_attention=False)


@main.command()
@click.argument("runs", nargs=-1, required=True, type=FOLDER)
@click.option("-o", "--out", type=FOLDER, required=True, help="The run directory to write.")
@click.option("--weight", "weights", multiple=True, type=float, help="One for each run; by default all are equal.")
@friendly
def fuse(runs: tuple[Path, ...], out: Path, weights: tuple[float, ...]) -> None:
    """Fuse RUNS of the same clips into one, by the weighted mean of their scores.

    Two streams (RGB and flow), or networks of 8 and of 16 frames (the paper's STH_En).
    """
    from analysis.runs.run_directory import open_run, predictions
    from analysis.statistics.accuracy import summarize_accuracy
    from analysis.statistics.fusion import fuse

    opened = [open_run(run) for run in runs]
    done = fuse(opened, list(weights) or [1.0] * len(runs), out, shlex.join(["sth", *sys.argv[1:]]))
    classes = opened[0].meta["classes"]
    for run in (*opened, open_run(out)):
        top = summarize_accuracy(predictions(run), classes).iloc[0]
        click.echo(f"{run.name}: top-1 {top['value']:.3f} ({top['low']:.3f} to {top['high']:.3f}, {top['n']} clips)")
    if done.left_out:
        click.echo(f"{done.left_out} clips are not in all of them and were left out")
    click.echo(f"{done.clips} clips; run: {out}")


@main.command()
@click.argument("study", type=FOLDER)
@click.option("--data", "folder", type=FOLDER, required=True, help="A dataset's folder.")
@click.option("-o", "--out", type=FOLDER, required=True, help="Where the networks and runs go.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="How many to train at a time.")
@click.option("--device", default="auto", show_default=True)
@friendly
def study(study: Path, folder: Path, out: Path, jobs: int, device: str) -> None:
    """Train and record every combination that STUDY (a TOML file, see recipes/study_*) names, with each seed.

    Stopped at any moment, the same command goes on.
    """
    from analysis.report.study_page import write_study_page
    from analysis.runs.run_directory import find_runs
    from analysis.statistics.results import run_results, summarize_seeds
    from sth_core.study import load_study
    from workbench.study_runner import run_study

    with progress_bars() as show:
        run_study(load_study(study), folder.resolve(), out.resolve(), jobs, device, show)
    print_over_seeds(summarize_seeds(run_results(find_runs(out / "runs"))))
    click.echo(f"page: {write_study_page(out)}   runs: {out / 'runs'}   networks: {out / 'networks'}")


@main.command()
@click.argument("folder", type=FOLDER, required=False)
@click.option("--csv", "file", type=FOLDER, help="Write the runs' table to this file too.")
@friendly
def results(folder: Path | None, file: Path | None) -> None:
    """Print what the runs in FOLDER came to, and apart from them the paper's Tables 2 to 5."""
    from analysis.runs.run_directory import find_runs
    from analysis.statistics.results import paper_results, run_results, summarize_seeds

    for (number, dataset), rows in paper_results().groupby(["table", "dataset"], sort=False):
        table = Table("method", "backbone", "pretrain", "frames", "top-1", "top-5")
        table.title = f"The paper's Table {number}: {dataset}, % on val"
        for row in rows.astype(object).where(rows.notna(), "").itertuples():
            style = "bold" if row.method.startswith("STH") else ""
            cells = (row.method, row.backbone, row.pretrain, row.frames, str(row.top1), str(row.top5))
            table.add_row(*cells, style=style)
        console.print(table)
    if folder is None:
        return
    runs = run_results(find_runs(folder))
    if runs.empty:
        raise UserError(f"no runs that can be used in {folder}; `sth evaluate` and `sth record` make them")
    print_over_seeds(summarize_seeds(runs))
    table = Table("run", "dataset", "network", "p", "frames", "views", "top-1", "top-5", "n")
    table.title = f"Runs in {folder}, % (95 % interval over clips)"
    for row in runs.itertuples():
        network = f"{row.network} {row.conv}, {row.modality}"
        top = f"{row.top1:.1f} ({row.top1_low:.1f} to {row.top1_high:.1f})"
        shown = (row.run, row.dataset, network, row.p, row.frames, row.views, top, f"{row.top5:.1f}", row.n)
        table.add_row(*map(str, shown))
    console.print(table)
    if file:
        with write_atomically(file) as out:
            runs.to_csv(out, index=False, lineterminator="\n")
        click.echo(f"table: {file}")


def print_over_seeds(table: pd.DataFrame) -> None:
    """`over_seeds` in the terminal; nothing if no two runs differ in the seed alone."""
    if table.empty:
        return
    shown = Table("dataset", "network", "p", "start", "top-1", "action", "direction", "seeds", "n")
    shown.title = "Mean over seeds, % (± standard deviation)"
    for row in table.itertuples():
        values = ((row.top1, row.top1_sd), (row.action, row.action_sd), (row.direction, row.direction_sd))
        cells = ["" if math.isnan(mean) else f"{mean:.1f} ± {sd:.1f}" for mean, sd in values]
        network = f"{row.network} {row.conv}, {row.modality}"
        shown.add_row(row.dataset, network, row.p, row.start, *cells, str(row.seeds), str(row.n))
    console.print(shown)


@main.command()
@click.argument("network", type=FOLDER, required=False)
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a value of the recipe.")
@click.option("--classes", default=174, show_default=True, type=click.IntRange(1), help="Of a recipe's network.")
@click.option("--csv", "file", type=FOLDER, help="Write the table to this file too.")
@friendly
def complexity(network: Path | None, changes: tuple[str, ...], classes: int, file: Path | None) -> None:
    """Count parameters and multiply-adds: the paper's Tables 6 to 9 beside ours, or NETWORK's layers.

    NETWORK is a checkpoint (.safetensors) or a recipe (.toml).
    """
    from workbench.cli.complexity_tables import layer_table, paper_table, print_paper_table

    if network is None:
        if changes:
            raise UserError(
                "--set changes a recipe: name one, as in sth complexity recipes/ut_interaction.toml --set ..."
            )
        table = paper_table()
        print_paper_table(table, console)
    else:
        table, total = layer_table(network, changes, classes)
        console.print(as_table(table))
        click.echo(total)
    if file:
        with write_atomically(file) as out:
            table.to_csv(out, index=False)
        click.echo(f"table: {file}")


@main.command("import")
@click.argument("weights", type=FOLDER)
@click.argument("recipe", type=FOLDER)
@click.option("--classes", type=FOLDER, required=True, help="A text file, one class a line, in the network's order.")
@click.option("-o", "--out", type=FOLDER, required=True, help="The checkpoint to write (.safetensors).")
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a value of the recipe.")
@friendly
def import_weights(weights: Path, recipe: Path, classes: Path, out: Path, changes: tuple[str, ...]) -> None:
    """Make a checkpoint of a TSN or TSM style WEIGHTS file (.pth); RECIPE says which network it is.

    The file must hold tensors and plain values only: nothing that needs pickle is loaded.
    """
    from sth_core.checkpoint import save_checkpoint
    from sth_core.pretrained import load_2d_weights, read_pth
    from sth_core.recipe import build_model, load_recipe

    loaded = load_recipe(recipe, changes)
    try:
        names = [line.strip() for line in classes.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"{classes} is not UTF-8 text: {error}") from error
    if len(set(names)) != len(names) or not names:
        raise UserError(f"{classes} must name each class once, one a line; it has {len(names)} lines")
    model = build_model(loaded, len(names), str(recipe))
    done = load_2d_weights(model, read_pth(weights), str(weights))
    save_checkpoint(out, model, names, loaded.preprocessing, loaded.data, {"imported": weights.name})
    click.echo(f"{len(done.taken)} tensors taken, {len(done.kept)} left at random; network: {out}")


class Benchmarks(click.Group):
    """One command for each module of benchmarks/, imported when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(file.stem for file in BENCHMARKS.glob("*.py") if "def main(" in file.read_text(encoding="utf-8"))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        command: click.Command = import_module(f"benchmarks.{name}").main
        return command


@main.command(cls=Benchmarks)
def benchmark() -> None:
    """Measure how fast and how good, side by side on this machine."""


@main.command()
@click.argument("runs", type=FOLDER)
@click.option("-o", "--out", type=FOLDER, required=True, help="Where the figures go.")
@friendly
def figures(runs: Path, out: Path) -> None:
    """Draw the supplement's Figures 5 to 10 from a folder of RUNS, and test what the paper says of them.

    Each as HTML, PDF, SVG and PNG, with its numbers (CSV) and its recipe (JSON), and one page with all: index.html.
    """
    from analysis.report.supplement import write_figures
    from analysis.runs.run_directory import find_runs

    found = find_runs(runs)
    if not found and not runs.is_dir():
        raise UserError(f"no such folder of runs: {runs}")
    written = write_figures(found, out)
    if not written:
        raise UserError(f"no run with attention in {runs}; make one with `sth record`")
    for page in written.figures:
        click.echo(f"{page} (numbers: .csv, recipe: .json)")
    table = Table("the paper says (Section 6.1)", "these runs say", "comparisons", "hold", "do not", "undecided")
    for row in written.statements.itertuples(index=False):
        table.add_row(*map(str, row))
    console.print(table)
    if written.without_pictures:
        click.echo(written.without_pictures, err=True)
    click.echo(f"all of them: {written.page}")


@main.command()
@click.argument("runs", type=FOLDER)
@click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535))
@click.option("--host", default="localhost", show_default=True, help="Another address: other machines, with a token.")
@click.option("--root", "roots", multiple=True, type=FOLDER, help="A folder whose networks and datasets may be used.")
@click.option("--max-upload", default=200, show_default=True, type=click.IntRange(1), help="MB of an uploaded video.")
@friendly
def app(runs: Path, port: int, host: str, roots: tuple[Path, ...], max_upload: int) -> None:
    """Browse a folder of RUNS in the web browser, and run networks on videos of your own.

    Served to this machine alone, unless --host says otherwise.
    """
    serve(runs, port, host, roots, max_upload)


@main.command()
@click.option("-o", "--out", type=FOLDER, default=Path("demo"), show_default=True, help="Where everything goes.")
@click.option("--no-app", is_flag=True, help="Make it all, but do not serve it.")
@click.option("--retrain", is_flag=True, help="Train the networks anew first (hours on a laptop).")
@click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535))
@friendly
def demo(out: Path, no_app: bool, retrain: bool, port: int) -> None:
    """Make clips, record eight networks on them, draw the figures, and show it all."""
    from workbench import demo as the_demo

    with progress_bars() as show:
        networks = the_demo.retrain(out, show) if retrain else the_demo.SHIPPED
        table = the_demo.make_demo(out, networks, show)
    console.print(as_table(table))
    click.echo(f"runs: {out / 'runs'}   figures: {out / 'figures'}   clips: {out / 'synthetic'}")
    if not no_app:
        serve(out / "runs", port)


def as_table(table: Any) -> Table:
    """A data frame as a terminal table; fractions with three digits."""
    shown = Table(*table.columns)
    for row in table.itertuples(index=False):
        shown.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row))
    return shown
