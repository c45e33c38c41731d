"""The part of the compare page that is about more than two runs: accuracy_table, differences, attention, clips."""

from string import ascii_uppercase

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analysis.attention.alpha_matrix import has_attention
from analysis.attention.clip_profiles import most_confident_first
from analysis.attention.compare_runs import (
    SharedClips,
    correct_sets,
    pairwise_differences,
    shared_accuracy,
    shared_alpha_by_layer,
    shared_clips,
)
from analysis.report.plots import COLOURS, DASHES, styled
from analysis.runs.run_directory import Run
from analysis.statistics.accuracy import describe_groups
from workbench.components.chart import chart
from workbench.components.context import alpha_of, computed, counted, plain, table_of
from workbench.components.gallery import gallery

LINES = COLOURS[:6]  # not black, which a dark page hides
MOST_SETS = 5
LONGEST = 36  # characters of a run's name beside an axis
DECIDED = 0.05
PAIRED = "the larger of McNemar's exact and Student's t over source videos"  # `uncertainty.paired_p`


def letter(i: int) -> str:
    """What the page calls the i-th run: A to Z, then AA, AB."""
    return (letter(i // 26 - 1) if i >= 26 else "") + ascii_uppercase[i % 26]


def show_together(named: dict[str, Run]) -> None:
    """All the runs on the clips that all have; the first is the one that the clips are opened in."""
    runs = list(named.values())
    common: SharedClips = computed(
        "together", runs, lambda: shared_clips({name: table_of(run) for name, run in named.items()})
    )
    letters = {name: letter(i) for i, name in enumerate(named)}
    for name in common.disjoint:
        st.info(
            f"{plain(name)} ({letters[name]}) has no clip in common with the others, and is left out: record all on "
            "the same dataset and split."
        )
    if len(common.names) < 3:
        return
    st.subheader(f"All {len(common.names)} runs on the same clips")
    others = [f"{s:.0%} in {letters[n]}" for n, s in zip(common.names, common.same_labels, strict=True) if s < 1]
    if others:
        st.warning(
            f"They were asked different questions: of the clips that all have, only {', '.join(others)} have the label "
            "that they have in A."
        )
    called = {name: f"{letters[name]}: {short(name)}" for name in common.names}
    show_standings(computed("accuracy_table", runs, lambda: shared_accuracy(common)), letters)
    show_differences(computed("differences", runs, lambda: pairwise_differences(common)), called, common)
    show_alpha({name: named[name] for name in common.names}, runs, common, called)
    show_right_in(common, next(iter(named.values())), letters)


def short(name: str) -> str:
    return name if len(name) <= LONGEST else "…" + name[1 - LONGEST :]


def show_standings(table: pd.DataFrame, letters: dict[str, str]) -> None:
    interval = [f"{100 * low:.1f} to {100 * high:.1f} %" for low, high in zip(table["low"], table["high"], strict=True)]
    shown = table.assign(letter=table["run"].map(letters), accuracy=100 * table["accuracy"], interval=interval)
    columns = ["letter", "run", "accuracy", "interval", "only_correct", "only_wrong", "alpha_temporal"]
    if table["alpha_temporal"].isna().all():
        columns.remove("alpha_temporal")
    st.dataframe(
        shown[columns], hide_index=True, key="accuracy_table",
        column_config={
            "letter": st.column_config.TextColumn("", width=30),
            "accuracy": st.column_config.NumberColumn(format="%.1f %%"),
            "interval": st.column_config.TextColumn("95 %", help="Wilson's, over source videos."),
            "only_correct": st.column_config.NumberColumn("alone right", help="Clips that it alone gets right."),
            "only_wrong": st.column_config.NumberColumn("alone wrong", help="Clips that it alone gets wrong."),
            "alpha_temporal": st.column_config.NumberColumn(
                "mean α_T", format="%.3f", help="Over the layers and the clips that all have."
            ),
        },
    )  # fmt: skip


def show_differences(table: pd.DataFrame, called: dict[str, str], common: SharedClips) -> None:
    chart(differences_figure(table, called), key="differences", alt=differences_text(table, called))
    decided = int((table["p"] < DECIDED).sum())
    n, groups = len(common.rows), len(np.unique(common.groups))
    st.caption(
        f"Accuracy of the row less that of the column, in points; over {describe_groups(n, groups)} that all have. **"
        f"How to read this:** orange, the row is right more often; \\* marks the pairs that these clips tell apart, "
        f"{decided} of {len(table)} (p below {DECIDED}: {PAIRED}, corrected for all pairs by Holm)."
    )


def differences_figure(table: pd.DataFrame, called: dict[str, str]) -> go.Figure:
    """A square for each ordered pair: the difference in points, with an asterisk where its p is small."""
    number = {name: i for i, name in enumerate(called)}
    i, j = table["a"].map(number).to_numpy(), table["b"].map(number).to_numpy()
    N = len(called)
    points = np.full((N, N), np.nan)
    more = np.full((N, N, 3), np.nan)  # clips that the row alone gets right, that the column alone does, p
    points[i, j], points[j, i] = 100 * table["difference"], -100 * table["difference"]
    more[i, j] = table[["only_a", "only_b", "p"]]
    more[j, i] = table[["only_b", "only_a", "p"]]
    reach = max(1.0, float(np.nanmax(np.abs(points))))
    text = [
        [
            "" if np.isnan(d) else f"{round(d, 1) + 0.0:+.1f}{' *' if p < DECIDED else ''}"
            for d, p in zip(*row, strict=True)
        ]
        for row in zip(points, more[..., 2], strict=True)
    ]
    names = list(called.values())
    figure = go.Figure(
        go.Heatmap(
            z=points, x=[name.split(":")[0] for name in names], y=names, text=text, texttemplate="%{text}",
            zmin=-reach, zmax=reach, colorscale=[[0, COLOURS[0]], [0.5, "#f7f7f7"], [1, COLOURS[1]]],
            xgap=2, ygap=2, hoverongaps=False, colorbar={"title": "points", "thickness": 14}, customdata=more,
            hovertemplate="%{y}, less %{x}: %{z:+.1f} points<br>right alone: %{customdata[0]} clips, against "
            "%{customdata[1]}<br>p = %{customdata[2]:.2g}<extra></extra>",
        )
    )  # fmt: skip
    figure = styled(figure, "less that of", "").update_layout(
        height=90 + min(48, 24 + 96 // N) * N, margin={"t": 10, "b": 60, "r": 20}
    )
    figure.update_xaxes(type="category", showgrid=False, side="bottom")
    return figure.update_yaxes(type="category", showgrid=False, autorange="reversed", automargin=True)


def differences_text(table: pd.DataFrame, called: dict[str, str]) -> str:
    pairs = (f"{called[r.a]} less {called[r.b]}: {100 * r.difference:+.1f} points" for r in table.itertuples())
    return f"Pairwise differences of accuracy. {'; '.join(pairs)}"


def show_alpha(named: dict[str, Run], runs: list[Run], common: SharedClips, called: dict[str, str]) -> None:
    """A line per run that has attention; `runs` are all those that say which clips are common."""
    some = {name: run for name, run in named.items() if has_attention(run)}
    if not some:
        return
    clips = table_of(runs[0])["clip_id"].iloc[common.rows]
    table = computed(
        "alpha_together",
        runs,
        lambda: shared_alpha_by_layer({name: alpha_of(run) for name, run in some.items()}, clips),
    )
    if table.empty:
        st.info("The networks have no layer in common.")
        return
    chart(alpha_figure(table, called), key="alpha_together", alt="Mean alpha_T of each run by layer")
    without = [name for name in named if name not in some]
    st.caption(
        f"Mean α_T over the {table['n'].max()} clips that all have (bars: 95 % over "
        f"{describe_groups(table['n'].max(), table['groups'].max())}), in the "
        f"{table['layer'].nunique()} layers that all have. **How to read this:** the higher a line, the more its "
        "network weighs time in the same clips."
        + (f" Without attention: {', '.join(plain(called[name]) for name in without)}." if without else "")
    )


def alpha_figure(table: pd.DataFrame, called: dict[str, str]) -> go.Figure:
    figure = go.Figure()
    for i, (name, shown) in enumerate(called.items()):
        rows = table[table["run"] == name]
        if rows.empty:
            continue
        figure.add_scatter(
            x=rows["layer"], y=rows["alpha_temporal"], name=shown, mode="lines+markers",
            line={"color": LINES[i % len(LINES)], "dash": DASHES[i // len(LINES) % len(DASHES)]},
            error_y={"type": "data", "array": rows["high"] - rows["alpha_temporal"], "thickness": 1.2},
            hovertemplate="%{x}: α_T = %{y:.3f}",
        )  # fmt: skip
    figure.add_hline(y=0.5, line={"color": "#888888", "width": 1})
    return styled(figure, "layer, from input to output", "α_T").update_layout(height=400)


def show_right_in(common: SharedClips, run: Run, letters: dict[str, str]) -> None:
    """How many clips are right in how many runs, and those of one such number; they are opened in `run`."""
    N = len(common.names)
    n = np.bincount(common.correct_count, minlength=N + 1)
    # Its options are what the address says: "2" is there also when another run is added, "2 of 3" would not be.
    k = st.segmented_control(f"Right in (of {N} runs)", range(N + 1), default=0, key="right_in", bind="query-params")
    k = 0 if k is None else k
    st.caption("Clips by how many runs are right: " + " · ".join(f"**{i}**: {count}" for i, count in enumerate(n)))
    if not n[k]:
        st.success(f"No clip is right in exactly {k} of {N}.")
        return
    sets = correct_sets(common, k) if 0 < k < N else []
    which = "; ".join(f"{', '.join(letters[name] for name in names)}: {count}" for names, count in sets[:MOST_SETS])
    st.caption(
        f"{counted(n[k])} right in exactly {k} of {N}"
        + (f" ({which}{'; …' if len(sets) > MOST_SETS else ''})" if which else "")
        + ", those that A is surest of first; the links open them in A."
    )
    table = table_of(run)
    of_k = np.zeros(len(table), bool)
    of_k[common.rows] = common.correct_count == k
    gallery(run, table, most_confident_first(table, of_k), f"right_in_{k}")
