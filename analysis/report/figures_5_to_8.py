"""The paper's Figures 5 to 8 (Section 6.1) from whatever runs are there.

For each clip a layer's coefficients are averaged over its channels, then over all clips of the dataset.
alpha_S + alpha_T = 1, so alpha_T alone is drawn in Figures 6 and 8. The paper shows means alone; here each has its 95 %
interval: over clips, or their source videos, and over the seeds of a network that was trained several times.
"""

from fractions import Fraction
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.attention.alpha_matrix import has_attention, read_alpha
from analysis.attention.alpha_tables import alpha_clip_table, alpha_layer_table
from analysis.attention.hypotheses import ReadAlpha, group_conditions, stack_values
from analysis.report.plots import COLOURS, DASHES, SupplementFigure, add_band, error_bars, styled
from analysis.runs.run_directory import Run
from analysis.statistics.uncertainty import mean_effect, seed_interval


def attention_by_layer(runs: list[Run], read: ReadAlpha = read_alpha) -> pd.DataFrame:
    """What Figures 5 to 8 are drawn from: a row per network and layer, of all usable runs that have attention.

    Runs that differ in their seed alone are one network. `read` gives a run's attention.

    Returns:
        run (their names), dataset, p, modality, seeds, layer_index, layer, stage, n, groups, alpha_spatial,
        alpha_temporal, its low and high (95 %), sd (over clips); mean, mean_low, mean_high: over all layers.
    """
    tables = []
    for condition in group_conditions([run for run in runs if has_attention(run)]):
        alphas = [read(run) for run in condition.runs]
        layers = combine_seeds([alpha_layer_table(alpha) for alpha in alphas])
        mean = mean_effect(*stack_values([alpha_clip_table(alpha) for alpha in alphas]))
        tables.append(
            layers.assign(
                run=", ".join(run.name for run in condition.runs),
                dataset=condition.dataset, p=condition.p, modality=condition.modality, seeds=len(condition.runs),
                mean=mean.value, mean_low=mean.low, mean_high=mean.high,
            )
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def combine_seeds(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """One table of those of `alpha_layer_table`, one per seed: means, with intervals over clips and seeds."""
    if len(tables) == 1:
        return tables[0]
    values = np.stack([table["alpha_temporal"] for table in tables])  # S L
    errors = np.stack([table["error"] for table in tables])
    value, half = values.mean(0), seed_interval(values, errors.mean(0))
    sd = np.stack([table["sd"] for table in tables]).mean(0)
    return tables[0].assign(
        alpha_spatial=1 - value, alpha_temporal=value, low=value - half, high=value + half, sd=sd, error=np.nan
    )


def supplement_figures(table: pd.DataFrame) -> list[SupplementFigure]:
    """Figures 5 to 8 from the table of `attention_by_layer`; Figure 8 only where a dataset has both modalities."""
    if table.empty:
        return []
    eighth = figure8(table)
    return [figure5(table), figure6(table), figure7(table), *([eighth] if eighth else [])]


def figure5(table: pd.DataFrame) -> SupplementFigure:
    """Figure 5: the attention coefficients of each convolutional layer.

    The paper finds that temporal attention grows with depth, on Kinetics-400 and Something-Something V1 among others.
    Here: a curve per dataset, at the `main_fraction`, for RGB where there is any.
    """
    chosen, words = at_main_fraction(of_main_modality(table))
    caption = f"α_T (solid) and α_S (dotted) at each layer, {words}."
    figure = plot_alpha_by_layer(chosen, spatial=True)
    return captioned("figure5_layers", "Figure 5: attention by layer", caption, figure, chosen)


def figure6(table: pd.DataFrame) -> SupplementFigure:
    """Figure 6: the attention coefficients for p = 1/2, 1/4 and 1/8; the paper's alpha_T grows as p gets smaller.

    Here: for each p that a run has.
    """
    chosen = of_main_modality(table)
    modality = chosen["modality"].iloc[0]
    caption = f"α_T at each layer for each p, {modality}. A smaller p means fewer temporal kernels."
    figure = plot_alpha_by_layer(chosen, dash_by="p")
    return captioned("figure6_proportions", "Figure 6: attention by temporal proportion p", caption, figure, chosen)


def figure7(table: pd.DataFrame) -> SupplementFigure:
    """Figure 7: the attention coefficients by dataset; the paper's alpha_T is higher on Something-Something V1 than on
    Kinetics-400.

    The demo's two synthetic sets have the same videos with other labels: no difference can come from the pixels.
    """
    chosen, words = at_main_fraction(of_main_modality(table))
    caption = f"Mean over the layers, {words}. The synthetic sets have the same videos; only the labels differ."
    return captioned("figure7_datasets", "Figure 7: attention by dataset", caption, plot_mean_alpha(chosen), chosen)


def figure8(table: pd.DataFrame) -> SupplementFigure | None:
    """Figure 8: the attention coefficients for RGB and Flow; the paper's alpha_T is higher for Flow.

    Here: at the `main_fraction`, of the datasets with runs of both; None if there are none.
    """
    main_p = main_fraction(of_main_modality(table))
    at_p = table[table["p"] == main_p]
    chosen = at_p[at_p.groupby("dataset")["modality"].transform("nunique") > 1]
    if chosen.empty:
        return None
    caption = f"α_T at each layer for RGB and Flow input, p = {main_p}."
    figure = plot_alpha_by_layer(chosen, dash_by="modality")
    return captioned("figure8_modalities", "Figure 8: attention by modality", caption, figure, chosen)


def of_main_modality(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of RGB runs, or those of Flow if there is no RGB."""
    return table[table["modality"] == ("RGB" if (table["modality"] == "RGB").any() else "Flow")]


def at_main_fraction(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows at the `main_fraction`, and what is common to them in words."""
    p = main_fraction(table)
    return table[table["p"] == p], f"{table['modality'].iloc[0]}, p = {p}"


def main_fraction(table: pd.DataFrame) -> str:
    """The p to compare at: 1/4, the paper's choice, or else the one that most runs have."""
    return "1/4" if (table["p"] == "1/4").any() else str(table["p"].mode()[0])


def captioned(name: str, title: str, caption: str, figure: go.Figure, data: pd.DataFrame) -> SupplementFigure:
    """The figure, its caption with the number of clips and seeds behind it."""
    clips, seeds = value_range(data["n"]), value_range(data["seeds"])
    trained = "" if seeds == "1" else f", {seeds} seeds"
    over = "clips" if seeds == "1" else "clips and seeds"
    sample = f"n = {clips} clips a run{trained}; shaded or barred: 95 % intervals of the mean over {over}."
    return SupplementFigure(name, title, f"{caption} {sample}", figure, data)


def value_range(values: pd.Series) -> str:
    return str(values.min()) if values.nunique() == 1 else f"{values.min()} to {values.max()}"


def plot_alpha_by_layer(table: pd.DataFrame, dash_by: str = "", *, spatial: bool = False) -> go.Figure:
    """alpha_T over the layers, with its interval: a colour per dataset, a dash per value of the column `dash_by`.

    With `spatial`, alpha_S is drawn too, dotted.
    """
    figure = go.Figure()
    colours = dict(zip(sorted(set(table["dataset"])), cycle(COLOURS), strict=False))
    alike = table.groupby(["dataset", "p", "modality"])["run"].transform("nunique")
    table = table.assign(fraction=table["p"].map(Fraction), alike=alike)
    ordered = table.sort_values(["fraction", "modality"], ascending=False)  # the largest p and RGB are solid
    dashes = dict(zip(ordered[dash_by].unique(), cycle(DASHES), strict=False)) if dash_by else {}
    for (dataset, _, _, run), rows in table.groupby(["dataset", "fraction", "modality", "run"]):
        colour, dash, name = colours[dataset], "solid", str(dataset)
        if dash_by:
            value = rows[dash_by].iloc[0]
            dash = dashes[value]
            name += f", {'p = ' if dash_by == 'p' else ''}{value}"
        if rows["alike"].iloc[0] > 1:
            name += f" ({run})"
        add_band(figure, rows["layer"], rows["low"], rows["high"], colour=colour, group=name)
        figure.add_scatter(
            x=rows["layer"], y=rows["alpha_temporal"], name=f"{name}: α_T" if spatial else name,
            mode="lines+markers", line={"color": colour, "dash": dash}, legendgroup=name,
            customdata=rows[["low", "high", "sd", "n", "run"]],
            hovertemplate="%{x}<br>α_T = %{y:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})<br>"
            "standard deviation over clips %{customdata[2]:.3f}, n = %{customdata[3]}"
            "<br>%{customdata[4]}<extra></extra>",
        )  # fmt: skip
        if spatial:
            figure.add_scatter(
                x=rows["layer"], y=rows["alpha_spatial"], name=f"{name}: α_S", mode="lines",
                line={"color": colour, "dash": "dot"}, legendgroup=name,
                hovertemplate="%{x}<br>α_S = %{y:.3f}<extra></extra>",
            )  # fmt: skip
    figure.add_hline(y=0.5, line={"color": "#888888", "width": 1})
    return styled(figure, "layer, from input to output", "attention coefficient α" if spatial else "α_T")


def plot_mean_alpha(table: pd.DataFrame) -> go.Figure:
    """Mean alpha_S and alpha_T over the layers with their intervals: a pair of bars per run, named by its dataset."""
    figure = go.Figure()
    means = table.drop_duplicates(["dataset", "run"]).reset_index(drop=True)
    unique = ~means["dataset"].duplicated(keep=False)
    names = means["dataset"].where(unique, means["dataset"] + " (" + means["run"] + ")")
    temporal = pd.DataFrame({"value": means["mean"], "low": means["mean_low"], "high": means["mean_high"]})
    spatial = 1 - temporal.rename(columns={"low": "high", "high": "low"})
    for rows, name, colour in ((spatial, "α_S", COLOURS[0]), (temporal, "α_T", COLOURS[1])):
        figure.add_bar(
            x=names, y=rows["value"], name=name, marker_color=colour, customdata=means[["n"]],
            error_y=error_bars(rows, "value"),
            text=rows["value"].map("{:.3f}".format), textposition="inside", insidetextanchor="start",
            hovertemplate=f"%{{x}}<br>{name} = %{{y:.3f}}<br>n = %{{customdata[0]}} clips<extra></extra>",
        )  # fmt: skip
    return styled(figure, "", "mean attention coefficient α")
