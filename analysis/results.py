"""What runs came to, and beside them, never among them, what the paper reports (Tables 2 to 5)."""

from pathlib import Path

import pandas as pd

from analysis.runs import Run, predictions
from analysis.statistics import summary

PAPER = Path(__file__).with_name("paper_results.csv")


def paper_results() -> pd.DataFrame:
    """The validation rows of Tables 2 to 5: table, dataset, method, backbone, pretrain, frames, top1, top5 (percent).

    As printed; where a cell of the paper cannot be told, it is empty. "8x6" are 8 frames in 6 views.
    """
    return pd.read_csv(PAPER, dtype={"frames": str, "pretrain": str}, keep_default_na=True)


def run_results(runs: list[Run]) -> pd.DataFrame:
    """A row for each run that can be used: run, dataset, network, conv, p, modality, frames, views, n, and
    top1, top5, mean_class with their 95 % intervals (percent)."""
    rows = []
    for run in runs:
        if run.problem or not run.usable:
            continue
        table = predictions(run)
        values = summary(table, run.meta["classes"]).set_index("metric")
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
            "n": int(values["n"].iloc[0]),
        }
        for name, metric in (("top1", "top-1"), ("top5", "top-5"), ("mean_class", "mean class accuracy")):
            value = 100 * values.loc[metric]
            row |= {name: value["value"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
        rows.append(row)
    return pd.DataFrame(rows)
