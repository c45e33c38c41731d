"""The parts of the Compare page: two runs, or more, on the clips that all of them have."""

from itertools import cycle
from string import ascii_uppercase

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.attention import compare_runs
from analysis.attention.alpha_matrix import has_attention, has_signal
from analysis.attention.clip_profiles import most_confident_first
from analysis.attention.compare_runs import SharedClips
from analysis.attention.share_tables import has_shares, share_table, why_not_subtracted
from analysis.report.colours import REFERENCE, RUN_MARKERS, run_colours
from analysis.report.plots import LAYER_AXIS, add_layer_means, styled
from analysis.report.run_figures import plot_alpha_change
from analysis.report.time_share_figure import SHARE_HOW_TO_READ, plot_time_share
from analysis.runs.left_out import clips_left_out, left_out_sentence
from analysis.runs.run_directory import Run
from analysis.runs.signals import TIME_SHARE, signal_of
from analysis.statistics.accuracy import describe_groups
from analysis.statistics.clusters import describe_interval
from sth_core.datasets.media import counted
from workbench.components.cached import cached_alpha, cached_overview, cached_result
from workbench.components.chart import show_chart
from workbench.components.clip_links import show_links_of_points
from workbench.components.context import choose_one, escape_markdown
from workbench.components.csv_files import show_table_csv
from workbench.components.difference_map import show_pairwise_differences
from workbench.components.gallery import show_gallery

CLICK = "Click a point for links to the clips of its layer."
MOST_SETS = 5
LONGEST_NAME = 36  # characters of a run's name beside an axis


def run_letter(i: int) -> str:
    """What the page calls the i-th run: A to Z, then AA, AB."""
    return (run_letter(i // 26 - 1) if i >= 26 else "") + ascii_uppercase[i % 26]


def show_alpha_change(a: Run, b: Run) -> None:
    """The difference of alpha_T, or of attention across time, between two runs by layer."""
    if why := why_not_subtracted(a, b):
        st.info(f"{escape_markdown(why)}.")
        return
    signal = signal_of(a)
    change = cached_result("alpha_change", [a, b], lambda: compare_runs.alpha_change(cached_alpha(a), cached_alpha(b)))
    if change.empty:
        st.info("The two networks have no layer in common.")
        return
    alt = f"Difference of {signal.name} by layer"
    event = show_chart(plot_alpha_change(b, change), key="alpha_change", alt=alt, clicks=True)
    show_links_of_points(event, {"A": a, "B": b})
    st.caption(
        f"Mean difference over the {counted(change['n'].max(), 'clip in common')} (bars: 95 % intervals over "
        f"{describe_groups(change['n'].max(), change['groups'].max())}). **How to read this:** above zero, B "
        f"{signal.high} than A on the same clips. {CLICK}"
    )


def show_time_shares(named: dict[str, Run], runs: list[Run], clips: pd.Series | None = None) -> None:
    """Attention across time by layer of the runs that have it, over these clips or all common ones; `runs` are all that
    determine them."""
    if not any(has_shares(run) for run in named.values()):
        return
    if clips is None:
        clips = cached_overview(runs[0])["clip_id"]
        for run in runs[1:]:
            clips = clips[clips.isin(cached_overview(run)["clip_id"])]
    table = cached_result("time_shares", runs, lambda: share_table(named, cached_alpha, clips), *named)
    alt = "Attention across time of each run by layer"
    event = show_chart(plot_time_share(table), key="time_shares", alt=alt, clicks=True)
    show_links_of_points(event, named)
    st.caption(
        f"{escape_markdown(TIME_SHARE.definition)} Mean over the {counted(table['n'].max(), 'clip in common')} "
        f"(bars: 95 % intervals over {describe_groups(table['n'].max(), table['groups'].max())}).  \n"
        f"**How to read this:** {SHARE_HOW_TO_READ} {CLICK}"
    )


def show_clips_left_out(runs: list[Run]) -> None:
    """Which clips are not compared, as they are not in all of the runs."""
    clips = [cached_overview(run)["clip_id"] for run in runs]
    left_out = cached_result("clips_left_out", runs, lambda: clips_left_out(runs, clips))
    for reason, some in left_out.items():
        st.caption(escape_markdown(f"{left_out_sentence(reason, some)}."))


def show_many_runs(named: dict[str, Run]) -> None:
    """All the runs on the clips that all of them have; links to clips open them in the first run."""
    runs = list(named.values())
    overviews = {name: cached_overview(run) for name, run in named.items()}
    common = cached_result("shared_clips", runs, lambda: compare_runs.shared_clips(overviews))
    letters = {name: run_letter(i) for i, name in enumerate(named)}
    for name in common.disjoint:
        st.info(
            f"{escape_markdown(name)} ({letters[name]}) is left out, because it has no clip in common with the other "
            "runs. Record all runs on the same dataset and split."
        )
    for name in common.uncounted:
        why = "because its network knows the label of none of its clips"
        st.info(f"{escape_markdown(name)} ({letters[name]}) is left out, {why}.")
    if len(common.names) < 3:
        return
    st.header(f"All {len(common.names)} runs on the same clips")
    show_clips_left_out([named[name] for name in common.names])
    others = [f"{s:.0%} in {letters[n]}" for n, s in zip(common.names, common.same_labels, strict=True) if s < 1]
    if others:
        which = f"of the common clips, only {', '.join(others)} have the same label as in A"
        st.warning(f"The runs have different labels: {which}.")
    titles = {name: f"{letters[name]}: {shortened(name)}" for name in common.names}
    first = named[common.names[0]]
    if len(common.rows):
        accuracies = cached_result("accuracy_table", runs, lambda: compare_runs.shared_accuracy(common))
        show_accuracy_table(accuracies, letters)
        differences = cached_result("differences", runs, lambda: compare_runs.pairwise_differences(common))
        show_pairwise_differences(differences, titles, common)
    else:
        st.info("No accuracy: no common clip has a label that all of the networks know.")
    show_alpha_by_layer({name: named[name] for name in common.names}, runs, common, titles)
    if len(common.rows):
        show_clips_by_correct_count(common, first, letters)


def shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else "…" + name[1 - LONGEST_NAME :]


def show_accuracy_table(table: pd.DataFrame, letters: dict[str, str]) -> None:
    ends = zip(table["low"], table["high"], strict=True)
    interval = [describe_interval(low, high, ".1%") for low, high in ends]
    shown = table.assign(letter=table["run"].map(letters), accuracy=100 * table["accuracy"], interval=interval)
    columns = ["letter", "run", "accuracy", "interval", "only_correct", "only_wrong", "alpha_temporal"]
    if table["alpha_temporal"].isna().all():
        columns.remove("alpha_temporal")
    text, number = st.column_config.TextColumn, st.column_config.NumberColumn
    config = {
        "letter": text("", width=30),
        "accuracy": number(format="%.1f %%"),
        "interval": text("95 % interval", help="Over source videos, or clips without groups."),
        "only_correct": number("correct only here", help="Clips that all other runs misclassify."),
        "only_wrong": number("misclassified only here", help="Clips that all other runs classify correctly."),
        "alpha_temporal": number("mean α_T", format="%.3f", help="Mean over the layers and the common clips."),
    }
    st.dataframe(shown[columns], hide_index=True, placeholder="-", key="accuracy_table", column_config=config)
    show_table_csv(table, "accuracy_of_runs")


def show_alpha_by_layer(named: dict[str, Run], runs: list[Run], common: SharedClips, titles: dict[str, str]) -> None:
    """alpha_T by layer of each run that has attention; `runs` are all that determine the common clips."""
    with_attention = {name: run for name, run in named.items() if has_attention(run)}
    clips = cached_overview(named[common.names[0]])["clip_id"].iloc[common.all_rows]
    show_time_shares({titles[name]: run for name, run in named.items()}, runs, clips)
    if not with_attention:
        return

    def compute() -> pd.DataFrame:
        return compare_runs.shared_alpha_by_layer({n: cached_alpha(run) for n, run in with_attention.items()}, clips)

    table = cached_result("alpha_by_layer", runs, compute)
    if table.empty:
        st.info("The networks have no layer in common.")
        return
    alt = "Mean alpha_T of each run by layer"
    event = show_chart(alpha_by_layer_figure(table, titles), key="alpha_by_layer", alt=alt, clicks=True)
    show_links_of_points(event, with_attention)
    without = [escape_markdown(titles[name]) for name, run in named.items() if not has_signal(run)]
    st.caption(
        f"Mean α_T over the {counted(table['n'].max(), 'clip in common')} (bars: 95 % intervals over "
        f"{describe_groups(table['n'].max(), table['groups'].max())}), in the "
        f"{counted(table['layer'].nunique(), 'layer')} in common. "
        f" **How to read this:** the higher the line of a run, the higher its α_T. {CLICK}"
        + (f" Runs without attention: {', '.join(without)}." if without else "")
    )


def alpha_by_layer_figure(table: pd.DataFrame, titles: dict[str, str]) -> go.Figure:
    figure = go.Figure()
    colours = run_colours(len(titles))
    for (name, title), colour, marker in zip(titles.items(), colours, cycle(RUN_MARKERS), strict=False):
        rows = table[table["run"] == name]
        if len(rows):
            add_layer_means(figure, rows, colour, title, marker_symbol=marker, customdata=rows[["layer", "run"]])
    figure.add_hline(y=0.5, line={"color": REFERENCE, "width": 1})
    return styled(figure, LAYER_AXIS, "α_T", height=400)


def show_clips_by_correct_count(common: SharedClips, run: Run, letters: dict[str, str]) -> None:
    """The clips that a chosen number of runs classify correctly; links open them in `run`."""
    N = len(common.names)
    counts = np.bincount(common.correct_count, minlength=N + 1)
    # The options are in the URL: "2" remains an option when another run is added, "2 of 3" would not.
    fewest = int(np.flatnonzero(counts)[0])
    k = choose_one(f"Correct in how many of {N} runs?", range(N + 1), "right_in", fewest)
    st.caption("Clips by the number of correct runs: " + " · ".join(f"**{i}**: {n}" for i, n in enumerate(counts)))
    if not counts[k]:
        st.success(f"No clip is correct in exactly {k} of {N} runs.")
        return
    sets = compare_runs.correct_sets(common, k) if 0 < k < N else []
    which = "; ".join(f"{', '.join(letters[name] for name in names)}: {count}" for names, count in sets[:MOST_SETS])
    st.caption(
        f"{counted(counts[k], 'clip')} correct in exactly {k} of {N} runs"
        + (f" ({which}{'; …' if len(sets) > MOST_SETS else ''})" if which else "")
        + f", most confident predictions of {letters[common.names[0]]} first. Links open the clips in "
        f"{letters[common.names[0]]}."
    )
    table = cached_overview(run)
    chosen = table.index.isin(common.rows[common.correct_count == k])
    rows = most_confident_first(table, chosen)
    show_gallery(run, table, rows, f"right_in_{k}", origin=f"Compare, correct in {k} of {N} runs")
