"""The runs of a report as a table: what each is, its accuracy with its interval, its attention, and its command."""

from collections.abc import Mapping

import pandas as pd

from analysis.attention.run_summary import best_first, summarize_run
from analysis.report.page import PageTable, Section
from analysis.runs.caveats import accuracy_caveats
from analysis.runs.left_out import unread_sentence
from analysis.runs.run_directory import Run
from analysis.statistics.clusters import describe_interval


def runs_section(runs: Mapping[str, Run]) -> tuple[Section, list[str]]:
    """A row per run that can be shown, the best first; and sentences on the others, and on what to know of these."""
    summaries = {name: summarize_run(run) for name, run in runs.items()}
    said = [f"{name} cannot be shown: {summary.problem}." for name, summary in summaries.items() if summary.problem]
    rows = []
    shown = {name: run for name, run in runs.items() if not summaries[name].problem}
    for name in best_first(shown, summaries):
        run, summary = runs[name], summaries[name]
        accuracy = "-"
        if summary.counted:
            interval = describe_interval(summary.low, summary.high, ".1%")
            accuracy = f"{summary.accuracy:.1%} ({interval})"
        attention = f"{summary.mean_attention:.3f}" if summary.attention else "-"
        rows.append({
            "run": name, "dataset": run.meta["dataset"], "network": run.meta.get("arch") or "-", "p": run.p,
            "input": run.modality, "clips": summary.clips, "accuracy (95 %)": accuracy, "mean attention": attention,
            "checkpoint": str(run.meta["checkpoint_sha256"])[:12],
        })  # fmt: skip
        if run.problem:
            said.append(f"{name}: {run.problem}; the report shows those.")
        if unread := unread_sentence(run):
            said.append(f"{name}: {unread}")
    said += grouped_caveats(shown)
    tones = {"accuracy (95 %)": "number", "mean attention": "number"}
    caption = "In brackets: 95 % intervals over source videos, or over clips without groups. Mean attention: α_T, of a "
    caption += "transformer its attention across time, over layers and clips."
    return Section(table=PageTable(pd.DataFrame(rows), tones) if rows else None, caption=caption), said


def grouped_caveats(runs: Mapping[str, Run]) -> list[str]:
    """What to know of accuracies, each sentence once with the runs that it is on."""
    found: dict[str, list[str]] = {}
    for name, run in runs.items():
        for sentence in accuracy_caveats(run.meta):
            found.setdefault(sentence, []).append(name)
    return [
        f"{', '.join(names) if len(names) < len(runs) else 'All runs'}: {sentence}" for sentence, names in found.items()
    ]
