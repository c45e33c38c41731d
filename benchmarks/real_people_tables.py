"""The tables of docs/real-people.md, from what `sth benchmark real_people` has left in OUT/results.

\b
    sth benchmark real_people_tables out/real_people/results --folds out/folds/results --figures docs/images/real-people

Accuracy and α_T over seeds, the paper's hypotheses, probes and interventions; of a study of folds, accuracy over all
sequences. FIGURES gets Figures 5 to 8 of each backbone as PNG.
"""

import tarfile
from collections.abc import Callable, Iterator
from itertools import combinations
from lzma import LZMAError
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pandas as pd

from analysis.attention.alpha_matrix import has_attention
from analysis.attention.hypotheses import Tested, evaluate_hypotheses, hypothesis_verdicts
from analysis.experiments.probe_tables import PLAIN, probe_table
from analysis.explain.alpha_replacement import EVERY_LAYER
from analysis.report.figures_5_to_8 import attention_by_layer, supplement_figures
from analysis.report.image_export import write_pictures
from analysis.report.intervention_page import intervention_tables
from analysis.report.supplement import with_caption
from analysis.runs.correctness import counted_clips
from analysis.runs.run_directory import Run, find_runs, predictions
from analysis.statistics.clusters import describe_interval, describe_p
from analysis.statistics.effects import Effect, mean_effect, paired_difference
from benchmarks.measuring import print_head, print_row
from sth_core.errors import UserError
from sth_core.files import read_csv, why_unread
from sth_core.video.reorder import FROZEN, REVERSED, SHUFFLED
from workbench.cli.kinds import FOLDER

ORDERS = (REVERSED, SHUFFLED, FROZEN)
METRICS = {"top1": "top-1", "action": "action correct", "direction": "direction correct"}


@click.command(help=__doc__)
@click.argument("results", type=FOLDER)
@click.option("--folds", type=FOLDER, help="The results of study_ut_interaction_folds.")
@click.option("--figures", type=FOLDER, help="Where the figures go.")
def main(results: Path, folds: Path | None, figures: Path | None) -> None:
    with TemporaryDirectory() as temporary:
        runs = unpacked_runs(results, Path(temporary) / "people")
        trainings = read_csv(results / "trainings.csv")
        print_accuracy(trainings)
        print_attention(trainings)
        print_hypotheses(evaluate_hypotheses([run for run in runs if has_attention(run)]))
        print_probes(runs)
        print_interventions(runs)
        if folds:
            print_folds(unpacked_runs(folds, Path(temporary) / "folds"), read_csv(folds / "trainings.csv"))
        if figures:
            write_figures_of_backbones(runs, figures)


def unpacked_runs(results: Path, folder: Path) -> list[Run]:
    """The runs in the archives of a folder of results, unpacked."""
    archives = sorted(results.glob("runs-seed*.tar.xz"))
    if not archives:
        raise UserError(f"{results} has no runs-seed*.tar.xz; `sth benchmark real_people` makes them in OUT/results")
    for file in archives:
        try:
            with tarfile.open(file) as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, LZMAError) as error:
            raise UserError(
                f"{file} cannot be read ({why_unread(error)}); `sth benchmark real_people` writes it"
            ) from error
    return find_runs(folder)


def over_seeds(values: pd.Series, form: str) -> str:
    """ "71.2 ± 3.4 (5)": the mean, the standard deviation, how many trainings."""
    values = values.dropna().astype(float)
    spread = f" ± {values.std():{form}}" if len(values) > 1 else ""
    return f"{values.mean():{form}}{spread} ({len(values)})" if len(values) else "-"


def print_across(table: pd.DataFrame, rows: list[str], across: list[str], value: str, form: str) -> None:
    """A row for each combination of the columns `rows`, a column for each of `across`: `over_seeds` of the value."""
    columns = list(table.groupby(across, sort=False).groups)
    print_head(*rows, *(" ".join(key) for key in columns))
    for key, some in table.groupby(rows, sort=False):
        cells = dict(list(some.groupby(across)))
        print_row(*key, *(over_seeds(cells[c][value], form) if c in cells else "-" for c in columns))
    print()


def print_accuracy(trainings: pd.DataFrame) -> None:
    print("Accuracy on the held-out clips, % (± standard deviation over seeds; their number)\n")
    print_across(trainings, ["question", "network"], ["backbone", "modality"], "top1", ".1f")


def print_attention(trainings: pd.DataFrame) -> None:
    print("α_T, mean over layers and held-out clips (± standard deviation over seeds; their number)\n")
    with_attention = trainings[trainings["alpha_T"].astype(str).str.strip().ne("")].dropna(subset=["alpha_T"])
    print_across(with_attention, ["question", "network"], ["backbone", "modality"], "alpha_T", ".4f")


def print_hypotheses(tested: Tested) -> None:
    print("The hypotheses of Section 6.1\n")
    print_head("hypothesis", "verdict", "comparisons", "hold", "do not hold", "undecided", "these networks only")
    for row in hypothesis_verdicts(tested).itertuples(index=False):
        print_row(*row)
    for hypothesis, left_out in tested.left_out.items():
        rows = tested.comparisons[tested.comparisons["hypothesis"] == hypothesis]
        if rows.empty and not left_out:
            continue
        print(f"\n{hypothesis}\n")
        print_head("compared", "effect on α_T (95 %)", "p (Holm)", "clips", "seeds", "paired", "verdict")
        for c in rows.itertuples():
            effect = f"{c.effect:+.4f} ({describe_interval(c.low, c.high, '+.4f')})"
            print_row(c.compared, effect, describe_p(c.p_holm), c.n, c.seeds, "yes" if c.paired else "no", c.verdict)
        for name, why in left_out.items():
            print_row(name, "", "", "", "", "", f"not compared: {why}")
    print()


def network_cells(run: Run) -> tuple[str, str, str, str]:
    """Question, backbone, modality, network."""
    network = {"2d": "TSN", "tsm": "TSM"}.get(run.meta["conv"], f"STH, p = {run.p}")
    return run.meta["label"], run.meta["arch"], run.modality, network


def print_probes(runs: list[Run]) -> None:
    print("Probes, the first seed: accuracy in %, and its change in points (95 % over source videos or clips)\n")
    print_head("question", "backbone", "input", "network", "plain", *ORDERS)
    for run in runs:
        if not (run.path / "probes" / "probes.json").is_file():
            continue
        table = probe_table(run).set_index("probe")
        changes = table.loc[list(ORDERS), ["change", "low", "high"]].to_numpy() * 100
        cells = [f"{change:+.1f} ({describe_interval(low, high, '+.1f')})" for change, low, high in changes]
        print_row(*network_cells(run), f"{100 * table.loc[PLAIN, 'accuracy']:.1f}", *cells)
    print()


def print_interventions(runs: list[Run]) -> None:
    print("α replaced in every layer, the first seed: change of accuracy in points (95 %)\n")
    head = False
    for run in runs:
        if not (run.path / "interventions" / "interventions.json").is_file():
            continue
        places = intervention_tables(run)[0]
        everywhere = places[places["place"] == EVERY_LAYER]
        if not head:
            print_head("question", "backbone", "input", "network", *everywhere["kind"])
            head = True
        points = 100 * everywhere[["value", "low", "high"]].to_numpy()
        print_row(*network_cells(run), *(f"{v:+.1f} ({describe_interval(a, b, '+.1f')})" for v, a, b in points))
    print()


def print_folds(runs: list[Run], trainings: pd.DataFrame) -> None:
    """Accuracy of each network over all sequences, and the differences between networks."""
    cells = trainings.set_index("run")
    print("UT-Interaction, five folds: accuracy on all clips, % (95 % over sequences and seeds)\n")
    print_head("question", "network", "correct", "%", "seeds", "clips")
    found: dict[tuple[str, str, str], tuple[np.ndarray, pd.Series]] = {}
    for question, of_question in cells.groupby("question", sort=False):
        for network, of_network in of_question.groupby("network", sort=False):
            chosen = [run for run in runs if run.name in of_network.index]
            for name, values, groups in fold_values(chosen, of_network):
                found[str(question), str(network), name] = values, groups
                print_row(question, network, name, shown_effect(mean_effect(values, groups)), *values.shape)
    print("\nDifferences in points, on the same clips\n")
    print_head("question", "correct", "networks", "difference (95 %)", "p")
    for (q, first, name), (other_q, second, other_name) in combinations(found, 2):
        if (q, name) == (other_q, other_name):
            (a, groups), (b, _) = found[q, first, name], found[q, second, name]
            effect = paired_difference(a, b, groups)
            print_row(q, name, f"{first} less {second}", shown_effect(effect, "+.1f"), describe_p(effect.p))
    print()


def shown_effect(effect: Effect, form: str = ".1f") -> str:
    low, high = 100 * effect.low, 100 * effect.high
    return f"{100 * effect.value:{form}} ({describe_interval(low, high, form)})"


def fold_values(runs: list[Run], cells: pd.DataFrame) -> Iterator[tuple[str, np.ndarray, pd.Series]]:
    """What is counted, whether it is right (S, N) for the seeds with all folds, and the sequence of each clip."""
    folds = cells["fold"].nunique()
    tables = {run.name: counted_clips(predictions(run)) for run in runs}
    seeds = [seed for seed, some in cells.groupby("seed") if len(set(some.index) & set(tables)) == folds]
    if not seeds:
        return
    by_seed = [pd.concat([tables[name] for name in cells.index[cells["seed"] == seed]]) for seed in seeds]
    by_seed = [table.set_index("clip_id").sort_index() for table in by_seed]
    groups = by_seed[0]["group"]
    counted: dict[str, Callable[[pd.DataFrame], pd.Series]] = {"class": lambda table: table["correct"].astype(float)}
    if by_seed[0]["label"].str.contains(", ").all():
        counted["action"] = lambda t: (part(t["label"], 0) == part(t["prediction"], 0)).astype(float)
        counted["direction"] = lambda t: (part(t["label"], 1) == part(t["prediction"], 1)).astype(float)
    for name, right in counted.items():
        yield name, np.stack([right(table).to_numpy() for table in by_seed]), groups


def part(labels: pd.Series, number: int) -> pd.Series:
    """ "hug, backward": the action is part 0, the direction part 1."""
    return labels.astype(str).str.rsplit(", ", n=1).str[number]


def write_figures_of_backbones(runs: list[Run], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    figures = {}
    for backbone in sorted({run.meta["arch"] for run in runs}):
        some = [run for run in runs if run.meta["arch"] == backbone and has_attention(run)]
        for item in supplement_figures(attention_by_layer(some)):
            figures[f"{backbone}-{item.name}"] = with_caption(item)
    if missing := write_pictures(figures, out, ("png",)):
        raise UserError(missing)


if __name__ == "__main__":
    main()
