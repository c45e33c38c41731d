"""The results of runs, and in a separate table the results that the paper reports (Tables 2 to 5)."""

from pathlib import Path

import pandas as pd

from analysis.runs.caveats import accuracy_caveats
from analysis.runs.run_directory import Run, predictions
from analysis.statistics.accuracy import summarize_accuracy, summarize_direction_accuracy

METRICS = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class accuracy"}  # name of a column: of a metric
METRICS |= {name: name for name in ("action", "direction")}
SAME_BUT_SEED = ["dataset", "network", "conv", "p", "modality", "frames", "views", "start"]  # equal in such runs


def paper_results() -> pd.DataFrame:
    """The validation rows of Tables 2 to 5: table, dataset, method, backbone, pretrain, frames, top1, top5 (percent).

    Values are as printed; a cell that is illegible in the paper is empty. "8x6" means 8 frames in 6 views.
    """
    path = Path(__file__).with_name("paper_results.csv")
    return pd.read_csv(path, dtype={"frames": str, "pretrain": str})


def run_results(runs: list[Run]) -> pd.DataFrame:
    """A row per usable run: what it is, note (`accuracy_caveats`), and METRICS with their 95 % intervals (percent; nan
    without known labels; action and direction only if clips are played both ways)."""
    rows = []
    for run in runs:
        if run.problem or not run.usable:
            continue
        table = predictions(run)
        m = {"arch": "", "conv": "", "frames": "", "start": "", "seed": None, "protocol": {}} | run.meta
        values = summarize_accuracy(table, m["classes"])
        if m.get("direction"):
            values = pd.concat([values, summarize_direction_accuracy(table)])
        values = values.set_index("metric")
        views = f"{m['protocol'].get('clips_per_video', 1)} x {m['protocol'].get('crop', 'center')}"
        row: dict[str, object] = {"run": run.name, "dataset": m["dataset"], "network": m["arch"], "conv": m["conv"]}
        row |= {"p": run.p, "modality": run.modality, "frames": m["frames"], "views": views, "start": m["start"]}
        row |= {"seed": m["seed"], "n": int(values["n"].iloc[0])}
        row |= {"note": " ".join(accuracy_caveats(m, table["label"]))}
        for name, metric in METRICS.items():
            value = 100 * values[["value", "low", "high"]].reindex([metric]).iloc[0]
            row |= {name: value["value"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
        rows.append(row)
    return pd.DataFrame(rows)


def summarize_seeds(results: pd.DataFrame) -> pd.DataFrame:
    """A row per group of two or more runs of `run_results` that differ only in their seed: the mean of each of METRICS
    over the seeds and its standard deviation, NAME_sd (percent); n is the clips of one run."""
    groups = results.dropna(subset="seed").groupby(SAME_BUT_SEED, sort=False)
    numbers = {f"{name}{end}": (name, how) for name in METRICS for end, how in (("", "mean"), ("_sd", "std"))}
    table = groups.agg(different=("seed", "nunique"), seeds=("seed", "size"), n=("n", "min"), **numbers)
    return table[table["different"] > 1].drop(columns="different").reset_index()
