"""The results of runs, and in a separate table the results that the paper reports (Tables 2 to 5)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.runs.caveats import accuracy_caveats
from analysis.runs.left_out import unread_sentence
from analysis.runs.run_directory import Run, failures, predictions
from analysis.statistics.accuracy import summarize_accuracy, summarize_direction_accuracy

METRICS = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class accuracy"}  # name of a column: of a metric
METRICS |= {name: name for name in ("action", "direction")}
WHOLE = ["seed", "frames", "n", "unread"]  # columns of whole numbers


def paper_results() -> pd.DataFrame:
    """The rows of Tables 2 to 5: table, dataset, method, backbone, pretrain, frames, top1, top5 (on val, percent) and
    test_top1 (on test, Table 2).

    Values are as printed; a cell that is illegible in the paper is empty. "8x6" means 8 frames in 6 views.
    """
    path = Path(__file__).with_name("paper_results.csv")
    return pd.read_csv(path, dtype={"frames": str, "pretrain": str})


def run_results(runs: list[Run]) -> pd.DataFrame:
    """A row per run, none of them one that `split_usable` leaves out: what it is, unread (how many clips could not be
    read), device and precision (None if the run does not say), note (`accuracy_caveats`, and which those clips are),
    and METRICS with their 95 % intervals (percent; nan without known labels; action and direction only if clips are
    played both ways)."""
    rows = []
    for run in runs:
        table = predictions(run)
        m = {"arch": "", "conv": "", "frames": "", "start": "", "seed": None, "protocol": {}} | run.meta
        values = summarize_accuracy(table, m["classes"])
        if m.get("direction"):
            values = pd.concat([values, summarize_direction_accuracy(table)])
        values = values.set_index("metric")
        if m.get("imported", {}).get("invented"):  # of imported predictions only the best class is known
            values.loc["top-5", ["value", "low", "high"]] = np.nan
        views = f"{m['protocol'].get('clips_per_video', 1)} x {m['protocol'].get('crop', 'center')}"
        row: dict[str, object] = {"run": run.name, "dataset": m["dataset"], "network": m["arch"], "conv": m["conv"]}
        row |= {"p": run.p, "modality": run.modality, "frames": m["frames"], "views": views, "start": m["start"]}
        row |= {"seed": m["seed"], "n": int(values["n"].iloc[0])}
        row |= {"device": m.get("device"), "precision": m.get("precision") if m.get("device") else None}
        unread = unread_sentence(run)
        row |= {"unread": len(failures(run)), "note": " ".join([*accuracy_caveats(m, table), unread]).strip()}
        for name, metric in METRICS.items():
            value = 100 * values[["value", "low", "high"]].reindex([metric]).iloc[0]
            row |= {name: value["value"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
        rows.append(row)
    return pd.DataFrame(rows)


def with_left_out(results: pd.DataFrame, left_out: Mapping[str, str]) -> pd.DataFrame:
    """The table of `run_results`, and at its end a row with nothing but a note for each run that is left out; whole
    numbers stay whole where others are missing."""
    whole = [name for name in WHOLE if pd.api.types.is_numeric_dtype(results[name])]
    results = results.astype(dict.fromkeys(whole, "Int64"))
    rows = [{"run": name, "note": f"left out: {reason}"} for name, reason in left_out.items()]
    return pd.concat([results, pd.DataFrame(rows)], ignore_index=True) if rows else results
