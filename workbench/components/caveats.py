"""What a page says beside an accuracy: invented splits, clips that were trained on, labels that do not count."""

import streamlit as st

from analysis.runs.caveats import accuracy_caveats, uncounted_caveat
from analysis.runs.correctness import counted_clips
from analysis.runs.run_directory import Run
from workbench.components.cached import cached_overview, cached_result
from workbench.components.context import escape_markdown


def cached_uncounted(run: Run) -> str:
    return cached_result("uncounted", [run], lambda: uncounted_caveat(cached_overview(run), run.meta["classes"]))


def has_accuracy(run: Run) -> bool:
    """Whether the network knows the label of any clip of the run."""
    return cached_result("counted", [run], lambda: len(counted_clips(cached_overview(run))) > 0)


def show_no_accuracy(run: Run) -> bool:
    """Say that there is nothing to show if the run has no accuracy; returns whether it has none."""
    if has_accuracy(run):
        return False
    st.info("This view needs labels that the network knows.")
    return True


def show_caveats(runs: dict[str, Run]) -> None:
    """A line for each sentence; `runs` are by the name that the page calls them, "" for the only one."""
    said: dict[str, list[str]] = {}
    for name, run in runs.items():
        for sentence in [*accuracy_caveats(run.meta), cached_uncounted(run)]:
            said.setdefault(sentence, []).append(name)
    for sentence, names in said.items():
        if sentence:
            of_runs = f"**{escape_markdown(', '.join(names))}**: " if any(names) else ""
            st.caption(of_runs + escape_markdown(sentence))
