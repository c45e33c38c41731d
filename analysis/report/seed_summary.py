"""The results of networks that were trained with several seeds: means over them."""

from collections.abc import Sequence

import pandas as pd

from analysis.attention.conditions import Condition, group_conditions, recorded_again
from analysis.runs.run_directory import Run
from analysis.statistics.results import METRICS

# Columns that are one in such runs.
SHARED = ["dataset", "network", "conv", "p", "modality", "frames", "views", "start"]


def summarize_seeds(runs: Sequence[Run], results: pd.DataFrame) -> pd.DataFrame:
    """A row per network that was trained with two or more seeds, of runs and their `run_results`: the mean of each of
    METRICS over the seeds and its standard deviation, NAME_sd (percent); n is the clips of one run.

    The runs differ in nothing else that is known of their training, clips and protocol (`group_conditions`). Fused runs
    are left out: they are of several networks."""
    of_run = {run.path: i for i, run in enumerate(runs)}
    rows = []
    for condition in several_seeds(runs):
        some = results.iloc[[of_run[run.path] for run in condition.runs]]
        row = some[SHARED].iloc[0].to_dict() | {"seeds": len(some), "n": some["n"].min()}
        row |= {name: some[name].mean() for name in METRICS}
        rows.append(row | {f"{name}_sd": some[name].std() for name in METRICS})
    return pd.DataFrame(rows)


def several_seeds(runs: Sequence[Run]) -> list[Condition]:
    """The networks that were trained with two or more seeds."""
    return [c for c in group_conditions([run for run in runs if not run.meta.get("fused")]) if len(c.runs) > 1]


def runs_not_in_means(runs: Sequence[Run]) -> dict[str, str]:
    """{run: why} of the runs of these networks that `summarize_seeds` does not use, as a later one is of the same
    training."""
    return recorded_again(several_seeds(runs))
