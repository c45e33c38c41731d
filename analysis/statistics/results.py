"""The results of runs, and in a separate table the results that the paper reports (Tables 2 to 5)."""

from pathlib import Path

import pandas as pd

from analysis.runs.run_directory import Run, predictions
from analysis.statistics.accuracy import summarize_accuracy, summarize_direction_accuracy

PAPER = Path(__file__).with_name("paper_results.csv")
METRICS = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_class": "mean class accuracy",
    "action": "action",
    "direction": "direction",
}
SAME_BUT_SEED = ["dataset", "network", "conv", "p", "modality", "frames", "views", "start"]  # equal in such runs


def paper_results() -> pd.DataFrame:
    """The validation rows of Tables 2 to 5: table, dataset, method, backbone, pretrain, frames, top1, top5 (percent).

    Values are as printed; a cell that is illegible in the paper is empty. "8x6" means 8 frames in 6 views.
    """
    return pd.read_csv(PAPER, dtype={"frames": str, "pretrain": str}, keep_default_na=True)


def run_results(runs: list[Run]) -> pd.DataFrame:
    """A row per usable run: run, dataset, network, conv, p, modality, frames, views, start, seed, n, and METRICS with
    their 95 % intervals (percent; action and direction only if clips are played both ways)."""
    rows = []
    for run in runs:
        if run.problem or not run.usable:
            continue
        table = predictions(run)
        values = summarize_accuracy(table, run.meta["classes"])
        if run.meta.get("direction"):
            values = pd.concat([values, summarize_direction_accuracy(table)])
        values = values.set_index("metric")
        protocol = run.meta.get("protocol", {})
        row: dict[str, object] = {
            "run": run.name,
            "dataset": run.meta["dataset"],
            "network": run.meta.get("arch", ""),
            "conv": run.meta.get("conv", ""),
            "p": run.p,
            "modality": run.modality,
            "frames": run.meta.get("frames", ""),
            "views": f"{protocol.get('clips_per_video', 1)} x {protocol.get('crop', 'center')}",
            "start": run.meta.get("start", ""),
            "seed": run.meta.get("seed"),
            "n": int(values["n"].iloc[0]),
        }
        for name, metric in METRICS.items():
            value = 100 * values[["value", "low", "high"]].reindex([metric]).iloc[0]
            row |= {name: value["value"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
        rows.append(row)
    return pd.DataFrame(rows)


def summarize_seeds(results: pd.DataFrame) -> pd.DataFrame:
    """A row per group of two or more runs of `run_results` that differ only in their seed.

    Returns:
        ALIKE, seeds (how many), n (clips of one run), and of each of METRICS its mean over the seeds
        and its standard deviation, NAME_sd (percent).
    """
    rows = []
    for values, runs in results[results["seed"].notna()].groupby(SAME_BUT_SEED, sort=False):
        if runs["seed"].nunique() < 2:
            continue
        row = dict(zip(SAME_BUT_SEED, values, strict=True)) | {"seeds": len(runs), "n": int(runs["n"].min())}
        for name in METRICS:
            row |= {name: runs[name].mean(), f"{name}_sd": runs[name].std()}
        rows.append(row)
    return pd.DataFrame(rows)
