"""The filters of the Predictions page, and which clips match them. Each filter is in the URL."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from analysis.report.clip_columns import MEASURES, varying_measures
from analysis.runs.correctness import is_correct, is_misclassified
from analysis.runs.run_directory import Run
from sth_core.datasets.media import counted
from workbench.components.cached import cached_result
from workbench.components.clip_columns import column_numbers, numbers_of_run
from workbench.components.context import choose_one, escape_markdown
from workbench.components.notes import choose_tags, has_tags
from workbench.components.range_filter import choose_range, reset_range

CELL = ("label", "said")  # the filters that choose a cell of the confusion matrix
UNCOUNTED = "without a label that the network knows, or without finite scores"
OUTCOMES = ("all", "correct", "misclassified")


@dataclass(frozen=True)
class FilteredClips:
    """The clips of a run, and the filters that are in force: what each says, and which clips it lets through."""

    run: Run
    table: pd.DataFrame
    filters: dict[str, tuple[str, NDArray[np.bool_]]]

    @property
    def matches(self) -> NDArray[np.bool_]:
        """(N,): whether a clip passes all filters."""
        passing = np.ones(len(self.table), bool)
        for _, passes in self.filters.values():
            passing &= passes
        return passing

    @property
    def clips(self) -> pd.DataFrame:
        """The rows of the clips that pass."""
        return self.table[self.matches] if self.filters else self.table

    def without(self, keys: tuple[str, ...]) -> "FilteredClips":
        """The same clips with fewer filters."""
        kept = {key: value for key, value in self.filters.items() if key not in keys}
        return FilteredClips(self.run, self.table, kept)

    def cached(self, name: str, compute: Callable[[], Any]) -> Any:
        """What `compute` returns, cached for these clips (`cached_result`)."""
        which = blake2b(self.matches.tobytes()).hexdigest() if self.filters else "all"
        return cached_result(name, [self.run], compute, which)

    def origin(self, *view: str) -> str:
        """What clips of this view are, for the Clip page: "Predictions, misclassified, label hug"."""
        return ", ".join(dict.fromkeys(["Predictions", *view, *(words for words, _ in self.filters.values())]))

    def describe(self, shown: int, others: str = "") -> str:
        """How many clips a view shows of how many, and why not all: "12 of 60 clips (8 do not match ...; 40 ...)".
        `others` says why matching clips are not shown."""
        total, matching = len(self.table), int(self.matches.sum())
        reasons = []
        if matching < total:
            what = "; ".join(escape_markdown(words) for words, _ in self.filters.values())
            reasons.append(f"{total - matching:,} {'does' if total - matching == 1 else 'do'} not match: {what}")
        if shown < matching:
            reasons.append(f"{matching - shown:,} {others}")
        return f"{shown:,} of {counted(total, 'clip')} ({'; '.join(reasons)})" if reasons else counted(total, "clip")


def choose_filters(run: Run, table: pd.DataFrame) -> FilteredClips:
    """The filters in the sidebar, below how many clips match them, and a button that ends all of them."""
    filters: dict[str, tuple[str, NDArray[np.bool_]]] = {}
    classes = run.meta["classes"]
    with st.sidebar:
        head = st.container()
        label = st.selectbox("Label", classes, index=None, placeholder="any", key="label", bind="query-params")
        said = st.selectbox("Predicted", classes, index=None, placeholder="any", key="said", bind="query-params")
        outcome = choose_one("Outcome", OUTCOMES, "outcome")
        for column in cached_result("varying measures", [run], lambda: varying_measures(table)):
            title, hint = MEASURES[column]
            if narrowed := choose_range(run, title, table[column], column, hint):
                filters[column] = (f"{title} {narrowed[0]}", narrowed[1])
        filters |= choose_more_ranges(run, table)
        search = st.text_input("Clip name contains", key="search", bind="query-params")
        tags = choose_tags(run)
    if label:
        filters["label"] = (f"label {label}", (table["label"] == label).to_numpy(bool))
    if said:
        filters["said"] = (f"predicted {said}", (table["prediction"] == said).to_numpy(bool))
    if outcome != OUTCOMES[0]:
        filters["outcome"] = (outcome, np.asarray((is_correct if outcome == OUTCOMES[1] else is_misclassified)(table)))
    if search:
        found = table["clip_id"].str.contains(search, case=False, regex=False)
        filters["search"] = (f"name contains {search}", found.to_numpy(bool))
    if tags:
        filters["tags"] = (f"tags {', '.join(tags)}", has_tags(table["clip_id"], tags, run).to_numpy(bool))
    filtered = FilteredClips(run, table, filters)
    with head:
        st.caption(
            f"{int(filtered.matches.sum()):,} of {counted(len(table), 'clip')} match: {escape_markdown(run.name)}"
        )
        st.button(
            "Reset the filters", on_click=reset_filters, key="reset_filters", icon=":material/filter_alt_off:",
            disabled=not filters, width="stretch",
        )  # fmt: skip
    return filtered


def choose_more_ranges(run: Run, table: pd.DataFrame) -> dict[str, tuple[str, NDArray[np.bool_]]]:
    """Ranges of other numbers, such as α_T of single layers, which the URL names as `also`."""
    others = {name: title for name, title in numbers_of_run(run, table).items() if name not in MEASURES}
    if not others:
        return {}
    linked = st.session_state.get("also", st.query_params.get_all("also"))
    st.session_state["also"] = [name for name in linked if name in others]  # another run may lack a layer
    chosen = st.multiselect(
        "Also filter by", [*others], key="also", bind="query-params", placeholder="α_T of a layer, ...",
        format_func=others.__getitem__,
    )  # fmt: skip
    found = {}
    for name in chosen:
        if narrowed := choose_range(run, others[name], pd.Series(column_numbers(run, table, name)), name):
            found[name] = (f"{others[name]} {narrowed[0]}", narrowed[1])
    return found


def reset_filters() -> None:
    for name in st.session_state.get("also", ()):
        reset_range(name)
    st.session_state.update(label=None, said=None, outcome=OUTCOMES[0], search="", also=[])
    if "tags" in st.session_state:
        st.session_state["tags"] = []
    for column in MEASURES:
        reset_range(column)
