"""Compare: two runs or more on the same clips, in accuracy and in attention."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from analysis.attention.alpha_matrix import has_signal
from analysis.attention.clip_profiles import most_confident_first
from analysis.attention.compare_runs import GAINED, LOST, OUTCOMES, accuracy_change, label_agreement, side_by_side
from analysis.attention.run_summary import best_partner
from analysis.runs.caveats import confidence_is_known
from analysis.runs.run_directory import Run
from analysis.statistics.accuracy import describe_groups
from analysis.statistics.clusters import describe_interval, describe_p
from sth_core.datasets.media import counted
from workbench.components.cached import cached_overview, cached_result
from workbench.components.caveats import show_caveats
from workbench.components.compare_views import (
    run_letter,
    show_alpha_change,
    show_clips_left_out,
    show_many_runs,
    show_time_shares,
)
from workbench.components.context import (
    Usable,
    choose_one,
    choose_runs,
    end_if_missing,
    end_page,
    escape_markdown,
    linked_selectbox,
    readable_runs,
    show_run_warnings,
    usable_runs,
)
from workbench.components.difference_map import PAIRED
from workbench.components.gallery import show_gallery, tags_of_both
from workbench.components.notes import choose_tags, has_tags


def show_compare_page() -> None:
    st.title("Compare")
    st.caption("Two or more runs on the same clips: RGB and optical flow, two values of p, or two checkpoints.")
    usable = usable_runs()
    for key in ("a", "b"):
        end_if_missing(key, key.upper(), usable)
    if len(usable.runs) < 2:
        end_page("A comparison needs two runs, and this folder has one. Record another network on the same clips.")
    compared = choose_compared(usable)
    names, runs = list(compared), list(compared.values())
    a, b = runs[:2]
    show_run_warnings(compared)
    both = cached_result("side_by_side", [a, b], lambda: side_by_side(cached_overview(a), cached_overview(b)))
    if both.empty:
        both_names = f"{escape_markdown(a.name)} and {escape_markdown(b.name)}"
        end_page(f"{both_names} have no clip in common. Record both on the same dataset and split.")
    if len(names) > 2:
        show_many_runs(compared)
        st.header("A and B")
    known = both[both["outcome"].notna()]
    if len(known):
        show_accuracy_change(a, b, known)
    else:
        st.info("No accuracy: no common clip has a label that both networks know.")
    show_clips_left_out([a, b])
    show_caveats({run_letter(i): run for i, run in enumerate(runs)})
    if has_signal(a) and has_signal(b):
        show_alpha_change(a, b)
    if len(names) == 2:  # of more, all lines are drawn above
        show_time_shares({f"{run_letter(i)}: {run.name}": run for i, run in enumerate((a, b))}, [a, b])
    if len(known):
        show_clips_by_outcome(a, b, known)


def choose_compared(usable: Usable) -> dict[str, Run]:
    """A, B, and any others, by name; by default the best run, and the one that differs from it in one thing."""
    names, best = sorted(usable.runs), next(iter(usable.runs))
    with st.sidebar:
        a = linked_selectbox("A", names, "a", default=best)
        b = linked_selectbox("B", names, "b", default=best_partner(a, usable.runs, usable.runs))
    if a == b:
        end_page("A and B are the same run. Choose another run for one of them.")
    pair = {name: usable.runs[name] for name in (a, b)}
    if len(readable_runs(pair)) < 2:
        end_page("Choose another run in the sidebar.")
    others = {name: run for name, run in usable.runs.items() if name not in pair}
    if "more" in st.session_state:  # a run that has become A or B must leave the URL
        st.session_state["more"] = [name for name in st.session_state["more"] if name in others]
    hint = "Compared with A and B on the clips that all have."
    taken = dict.fromkeys(pair, "it is A or B already")
    more = choose_runs("More runs", others, "more", usable, hint=hint, not_offered=taken) if others else {}
    chosen = pair | more
    titles = [escape_markdown(run.title) for run in chosen.values()]
    st.sidebar.caption("  \n".join(f"{run_letter(i)}: {title}" for i, title in enumerate(titles)))
    return chosen


def show_accuracy_change(a: Run, b: Run, both: pd.DataFrame) -> None:
    """The accuracies of A and B on their common clips, and whether they differ."""

    def column_of(run: Run, name: str) -> pd.Series:
        return cached_overview(run)[name].iloc[both["row_a" if run is a else "row_b"]]

    labels = (column_of(a, "label"), column_of(b, "label"))
    same_labels = cached_result("same_labels", [a, b], lambda: label_agreement(*labels))
    if same_labels < 1:
        st.warning(f"The two runs have different labels: only {same_labels:.0%} of the common clips have the same one.")
    change = cached_result("accuracy_change", [a, b], lambda: accuracy_change(both, column_of(a, "group")))
    groups = cached_result("groups", [a, b], lambda: column_of(a, "group").nunique())
    counts = both["outcome"].value_counts()
    first, second, third, fourth = st.columns(4)
    first.metric("Accuracy of A", f"{both['correct_a'].mean():.1%}")
    second.metric("Accuracy of B", f"{both['correct_b'].mean():.1%}", f"{100 * change.value:+.1f} points")
    third.metric("Gained", f"{int(counts.get(GAINED, 0)):,}", help="Clips that A misclassifies and B does not.")
    fourth.metric("Lost", f"{int(counts.get(LOST, 0)):,}", help="Clips that B misclassifies and A does not.")
    st.caption(
        f"Accuracy of B minus accuracy of A: {100 * change.value:+.1f} points (95 % interval over "
        f"{describe_groups(len(both), groups)}: {describe_interval(100 * change.low, 100 * change.high, '+.1f')}), p = "
        f"{describe_p(change.p)} ({PAIRED}). **How to read this:** if the interval contains 0, these clips show no "
        "difference."
    )


def show_clips_by_outcome(a: Run, b: Run, both: pd.DataFrame) -> None:
    counts = both["outcome"].value_counts()
    first = next(outcome for outcome in (GAINED, LOST, *OUTCOMES) if counts.get(outcome, 0))
    # In the title: the URL would have what `format_func` returns, and links name the outcome alone.
    numbers = ", ".join(f"{counts.get(one, 0):,} {one}" for one in OUTCOMES)
    outcome = choose_one(f"Clips: {numbers}", OUTCOMES, "changed", first)
    tags = choose_tags(a, b)
    table = cached_overview(b)
    rows = most_confident_first(table, table.index.isin(both["row_b"][both["outcome"] == outcome]))
    tagged = rows[has_tags(table["clip_id"].iloc[rows], tags, a, b).to_numpy(bool)]
    if not len(tagged):
        st.success(f"No clip is {outcome}{' and has these tags' if len(rows) else ''}.")
        return
    count = f"{len(tagged):,} of {counted(len(rows), 'clip')}" if tags else counted(len(rows), "clip")
    order = "most confident predictions of B first. Links open the clips as both networks see them; B keeps new tags."
    st.caption(f"{count}, {outcome}, {order}")
    origin, answers = ", ".join(["Compare", outcome, *tags]), partial(answers_of_both, a, b, both)
    show_gallery(b, table, tagged, "compared", origin=origin, beside=a, tags=tags_of_both(a, b), answers=answers)


def answers_of_both(a: Run, b: Run, both: pd.DataFrame, rows: NDArray[np.intp]) -> Mapping[str, list[str]]:
    """What A and B predict, by clip_id, for these rows of B."""
    of_both = both.set_index("row_b")["row_a"].loc[rows]
    lines = zip(answers_of(a, of_both.to_numpy(), "A"), answers_of(b, rows, "B"), strict=True)
    return dict(zip(cached_overview(b)["clip_id"].iloc[rows], map(list, lines), strict=True))


def answers_of(run: Run, rows: NDArray[np.intp], letter: str) -> list[str]:
    clips = cached_overview(run)[["prediction", "confidence", "correct"]].iloc[rows]
    known = confidence_is_known(run.meta)
    return [
        f"{letter}: {':green' if row.correct else ':red'}[{escape_markdown(str(row.prediction))}]"
        + (f" ({row.confidence:.0%})" if known else "")
        for row in clips.itertuples()
    ]


show_compare_page()
