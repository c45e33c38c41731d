"""Attention across time of transformers, by layer: never in one table with α, which is another quantity."""

import pandas as pd

from analysis.attention.alpha_matrix import ReadAlpha, alpha_profile, has_signal, read_signal
from analysis.attention.compare_runs import find_rows
from analysis.runs.run_directory import Run
from analysis.runs.signals import TIME_SHARE, signal_of


def has_shares(run: Run) -> bool:
    """Whether the run has recorded attention across time."""
    return has_signal(run) and signal_of(run) == TIME_SHARE


def share_table(runs: dict[str, Run], read: ReadAlpha = read_signal, clips: pd.Series | None = None) -> pd.DataFrame:
    """A row per run that has attention across time and layer, over all clips, or over these clip_ids, which all have.

    Returns:
        run (its name in `runs`), block (1, 2, ... from input to output), layer_index, layer, stage, n, groups,
        time_share (mean over clips), low and high (its 95 % interval), uniform_share (of uniform attention).
    """
    tables = []
    for name, run in runs.items():
        if not has_shares(run):
            continue
        found = read(run)
        rows = find_rows(found.clips["clip_id"] if clips is None else clips, found.clips)
        table = alpha_profile(found, rows).rename(columns={"alpha_temporal": TIME_SHARE.column})
        table.insert(0, "block", range(1, len(table) + 1))
        table.insert(0, "run", name)
        tables.append(table.assign(uniform_share=run.meta.get("uniform_share")))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def why_not_subtracted(a: Run, b: Run) -> str:
    """Why the attention of two runs that have some cannot be subtracted; empty if it can."""
    first, second = signal_of(a), signal_of(b)
    if first != second:
        return f"A has {first.name}, B has {second.name}; they are different quantities, which are not subtracted"
    kinds = [sorted({str(layer["stage"]) for layer in run.meta.get("layers", ())}) for run in (a, b)]
    if first == TIME_SHARE and kinds[0] != kinds[1]:
        said = [" and ".join(kind) for kind in kinds]
        return f"A has {said[0]}, B has {said[1]}; their shares across time are of different keys and not subtracted"
    if first == TIME_SHARE and a.meta.get("uniform_share") != b.meta.get("uniform_share"):
        return "A and B have different numbers of time steps, so their shares across time are not subtracted"
    return ""
