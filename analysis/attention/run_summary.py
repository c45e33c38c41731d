"""What a table of many runs shows of each: its accuracy, its attention by layer, and why it cannot be shown."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.attention.alpha_matrix import has_signal, read_signal
from analysis.runs.correctness import counted_clips, is_correct
from analysis.runs.left_out import why_unreadable
from analysis.runs.run_directory import Run, clips_of
from analysis.statistics.accuracy import group_numbers, mean_or_nan
from analysis.statistics.shares import share_interval


@dataclass(frozen=True)
class RunSummary:
    """`problem` says why nothing of the run can be shown; then the rest is empty. What the run does not have is nan."""

    problem: str = ""
    clips: int = 0  # that have a prediction, of those that are read
    counted: int = 0  # of them, for accuracy
    accuracy: float = math.nan
    low: float = math.nan  # the 95 % interval over source videos (`share_interval`)
    high: float = math.nan
    attention: tuple[float, ...] = ()  # mean over clips by layer: alpha_T, of a transformer its attention across time
    every: int = 1  # `Run.every` of what was read

    @property
    def mean_attention(self) -> float:
        return mean_or_nan(list(self.attention))


def summarize_run(run: Run) -> RunSummary:
    """Reads all but the scores of a run: 10 ms of 60 clips, seconds of 240,000."""
    if problem := why_unreadable(run):
        return RunSummary(problem, every=run.every)
    alpha = read_signal(run, ("group",)) if has_signal(run) else None
    clips = clips_of(run, ("group",)) if alpha is None else alpha.clips
    counted = counted_clips(clips)
    correct = is_correct(counted)
    low, high = share_interval(correct, group_numbers(counted))
    layers = () if alpha is None else tuple(alpha.temporal.mean(0, np.float64).tolist())
    return RunSummary("", len(clips), len(counted), mean_or_nan(list(correct)), low, high, layers, run.every)


def when_recorded(run: Run) -> str:
    """When its recording finished, or else began, in ISO 8601, so that later times sort last; empty if unknown."""
    return str(run.meta.get("finished") or run.meta.get("started") or "")


def question_of(run: Run) -> tuple[str, str, str]:
    """What a run was asked: its dataset, the column of labels, and the split. Accuracies of others do not compare."""
    return run.meta["dataset"], str(run.meta.get("label", "")), str(run.meta.get("split", ""))


def best_first(runs: Mapping[str, Run], summaries: Mapping[str, RunSummary]) -> list[str]:
    """The names of the runs: those of the question that was recorded last come first, and of each question the most
    accurate; those whose accuracy is unknown come last among them."""
    latest: dict[tuple[str, str, str], str] = {}
    for run in runs.values():
        latest[question_of(run)] = max(latest.get(question_of(run), ""), when_recorded(run))
    questions = sorted(latest, key=lambda question: (latest[question], question), reverse=True)
    place = {question: i for i, question in enumerate(questions)}

    def rank(name: str) -> tuple[int, float]:
        accuracy = summaries[name].accuracy if name in summaries else math.nan
        return place[question_of(runs[name])], math.inf if math.isnan(accuracy) else -accuracy

    return sorted(runs, key=rank)


def things_apart(a: Run, b: Run) -> list[str]:
    """In which things two runs differ, of those that a comparison is about."""
    things = {
        "data": question_of, "network": lambda run: (run.meta.get("arch"), run.meta.get("conv")),
        "p": lambda run: run.p, "input": lambda run: run.modality, "frames": lambda run: run.meta.get("frames"),
        "start": lambda run: run.meta.get("start"), "seed": lambda run: run.meta.get("seed"),
    }  # fmt: skip
    return [thing for thing, of in things.items() if of(a) != of(b)]


def best_partner(name: str, runs: Mapping[str, Run], order: Collection[str]) -> str:
    """The run to compare with this one: on the same data if there is one, and differing in one thing or in as few as
    possible; the first of such in `order`. Raises StopIteration without another run."""

    def distance(other: str) -> tuple[bool, bool, int]:
        apart = things_apart(runs[name], runs[other])
        return "data" in apart, not apart, len(apart)

    return min((other for other in order if other != name), key=distance)
