"""The paper's Figures 5 to 8 (Section 6.1) from whatever runs are there.

A layer's coefficients are averaged over its channels, then over all clips of the dataset. alpha_S + alpha_T = 1, so
Figures 6 and 8 show alpha_T alone. The paper shows means alone; here each has its 95 % interval: over clips, or their
source videos, and over the seeds of a network that was trained several times.
"""

from collections.abc import Collection, Mapping
from fractions import Fraction

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.attention.alpha_matrix import Alpha, ReadAlpha, has_attention, read_alpha
from analysis.attention.alpha_tables import alpha_clip_table, alpha_layer_table
from analysis.attention.conditions import Condition, group_conditions, recorded_again
from analysis.attention.hypotheses import stack_values
from analysis.report.colours import (
    BAR_INTERVAL,
    MODALITY_MARKERS,
    REFERENCE,
    SPATIAL,
    SPATIAL_MARKER,
    TEMPORAL,
    TEMPORAL_MARKER,
    dashes_of,
    dataset_colours,
)
from analysis.report.plots import LAYER_AXIS, SupplementFigure, add_line, error_bars, styled
from analysis.runs.run_directory import Run
from analysis.statistics.accuracy import units_of
from analysis.statistics.effects import half_widths, mean_effect, spreads_of


def attention_by_layer(runs: list[Run], read: ReadAlpha = read_alpha) -> pd.DataFrame:
    """What Figures 5 to 8 are drawn from: a row per network and layer, of all usable runs that have attention.

    Runs that differ in their seed alone are one network, and of several recordings of one the last is used
    (`runs_not_drawn`). `read` gives a run's attention.

    Returns:
        run (their names), dataset, p, modality, seeds, layer_index, layer, stage, n, groups, alpha_spatial,
        alpha_temporal, its low and high (95 %), sd (over clips); mean, mean_low, mean_high: over all layers.
    """
    tables = []
    for c in networks_of(runs):
        alphas = [read(run) for run in c.runs]
        layers = alpha_layer_table(alphas[0]) if len(alphas) == 1 else mean_over_seeds(alphas)
        mean = mean_effect(*stack_values([alpha_clip_table(alpha) for alpha in alphas]))
        layers = layers.assign(
            run=", ".join(run.name for run in c.runs), **{name: c[name] for name in ("dataset", "p", "modality")},
            seeds=len(c.runs), mean=mean.value, mean_low=mean.low, mean_high=mean.high,
        )  # fmt: skip
        tables.append(layers)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def networks_of(runs: list[Run]) -> list[Condition]:
    """The networks of the runs that have attention."""
    return group_conditions([run for run in runs if has_attention(run)])


def runs_not_drawn(runs: list[Run]) -> dict[str, str]:
    """{run: why} of the runs with α that no figure of α uses, as a later one is of the same network."""
    return recorded_again(networks_of(runs))


def split_drawn(named: Mapping[str, Run], *, of_alpha: bool = False) -> tuple[list[str], dict[str, str]]:
    """The names of the runs that are drawn, and {name: why} of those that are not: `runs_not_drawn`, and if only α is
    drawn, those without."""
    networks = networks_of(list(named.values()))
    not_drawn = recorded_again(networks, {run.path: name for name, run in named.items()})
    if of_alpha:
        not_drawn |= {name: "it has no α" for name, run in named.items() if not has_attention(run)}
    return [name for name in named if name not in not_drawn], not_drawn


def named_in(text: str, names: Collection[str]) -> list[str]:
    """Which of these names the text "NAME, NAME, ..." has, in their order; a name may have ", " in it."""
    rest, found = f", {text}, ", set[str]()
    for name in sorted(names, key=len, reverse=True):
        if f", {name}, " in rest:
            rest = rest.replace(f", {name}, ", ", , ")
            found.add(name)
    return [name for name in names if name in found]


def mean_over_seeds(alphas: list[Alpha]) -> pd.DataFrame:
    """`alpha_layer_table` of the means over several trainings, on the clips that all of them have; intervals are over
    clips and trainings, sd is the mean of the trainings' sds."""
    shared = sorted(set.intersection(*(set(alpha.clips["clip_id"]) for alpha in alphas)))
    rows = [pd.Index(alpha.clips["clip_id"]).get_indexer(shared) for alpha in alphas]
    values = np.stack([alpha.temporal[of_run] for alpha, of_run in zip(alphas, rows, strict=True)])  # S N L
    groups = alphas[0].clips["group"].iloc[rows[0]]
    mean, half = values.mean((0, 1), np.float64), half_widths(spreads_of(values, groups))
    return alphas[0].layers.assign(
        n=len(shared), groups=groups.nunique(), alpha_spatial=1 - mean, alpha_temporal=mean, low=mean - half,
        high=mean + half, sd=values.std(1, np.float64, ddof=1).mean(0) if len(shared) > 1 else 0.0,
    )  # fmt: skip


def supplement_figures(table: pd.DataFrame) -> list[SupplementFigure]:
    """Figures 5 to 8 from the table of `attention_by_layer`; Figure 8 only where a dataset has both modalities."""
    if table.empty:
        return []
    return [item for figure in (figure5, figure6, figure7, figure8) if (item := figure(table))]


def figure5(table: pd.DataFrame) -> SupplementFigure:
    """Figure 5: the attention coefficients of each convolutional layer.

    The paper finds that temporal attention grows with depth, on Kinetics-400 and Something-Something V1 among others.
    """
    modality, p = main_setting(table)
    chosen = table.query("modality == @modality and p == @p")
    caption = f"α_T (filled circles) and α_S (open circles) at each layer, {modality}, p = {p}."
    figure = plot_alpha_by_layer(chosen, spatial=True)
    return captioned("figure5_layers", "Figure 5: attention by layer", caption, figure, chosen)


def figure6(table: pd.DataFrame) -> SupplementFigure:
    """Figure 6: the attention coefficients for p = 1/2, 1/4 and 1/8; the paper's alpha_T grows as p gets smaller."""
    modality, _ = main_setting(table)
    chosen = table.query("modality == @modality")
    caption = f"α_T at each layer for each p, {modality}. A smaller p means fewer temporal kernels."
    figure = plot_alpha_by_layer(chosen, "p")
    return captioned("figure6_proportions", "Figure 6: attention by temporal proportion p", caption, figure, chosen)


def figure7(table: pd.DataFrame) -> SupplementFigure:
    """Figure 7: the attention coefficients by dataset; the paper's alpha_T is higher on Something-Something V1 than on
    Kinetics-400.

    The demo's two synthetic sets have the same videos with other labels: no difference can come from the pixels.
    """
    modality, p = main_setting(table)
    chosen = table.query("modality == @modality and p == @p")
    caption = f"Mean over the layers, {modality}, p = {p}."
    if chosen["dataset"].str.startswith("synthetic").all():
        caption += " The synthetic sets have the same videos; only the labels differ."
    return captioned("figure7_datasets", "Figure 7: attention by dataset", caption, plot_mean_alpha(chosen), chosen)


def figure8(table: pd.DataFrame) -> SupplementFigure | None:
    """Figure 8: the attention coefficients for RGB and Flow; the paper's alpha_T is higher for Flow.

    None if no dataset has runs of both.
    """
    _, p = main_setting(table)
    chosen = table.query("p == @p").groupby("dataset").filter(lambda rows: rows["modality"].nunique() > 1)
    if chosen.empty:
        return None
    caption = f"α_T at each layer for RGB (filled circles) and Flow (open diamonds) input, p = {p}."
    figure = plot_alpha_by_layer(chosen, "modality")
    return captioned("figure8_modalities", "Figure 8: attention by modality", caption, figure, chosen)


def main_setting(table: pd.DataFrame) -> tuple[str, str]:
    """The modality and the p to compare at: RGB if there is any; 1/4, the paper's choice, or else the most frequent."""
    modality = "RGB" if (table["modality"] == "RGB").any() else "Flow"
    p = table.loc[table["modality"] == modality, "p"]
    return modality, "1/4" if (p == "1/4").any() else str(p.mode()[0])


def captioned(name: str, title: str, caption: str, figure: go.Figure, data: pd.DataFrame) -> SupplementFigure:
    """The figure, its caption with the number of clips and seeds behind it."""
    clips, seeds = value_range(data["n"]), value_range(data["seeds"])
    noun = "clip" if clips == "1" else "clips"
    over = units_of(data)
    trained, over = ("", over) if seeds == "1" else (f", {seeds} seeds", f"{over} and seeds")
    sample = f"n = {clips} {noun} a run{trained}; shaded or barred: 95 % intervals of the mean over {over}."
    return SupplementFigure(name, title, f"{caption} {sample}", figure, data)


def value_range(values: pd.Series) -> str:
    return str(values.min()) if values.nunique() == 1 else f"{values.min()} to {values.max()}"


def curve_names(table: pd.DataFrame, by: str = "") -> pd.Series:
    """The name of each row's network: its dataset, its value of the column `by`, its runs if others are called so."""
    names = table["dataset"] + (", " + ("p = " if by == "p" else "") + table[by] if by else "")
    alike = table.groupby(["dataset", "p", "modality"])["run"].transform("nunique") > 1
    return names.mask(alike, names + " (" + table["run"] + ")")


def plot_alpha_by_layer(table: pd.DataFrame, by: str = "", *, spatial: bool = False) -> go.Figure:
    """alpha_T over the layers, with its interval: a colour per dataset, a dash per p, a marker per modality.

    With `spatial`, alpha_S is drawn too, with open circles.
    """
    figure = go.Figure()
    table = table.assign(name=curve_names(table, by), fraction=table["p"].map(Fraction))
    colours, dashes = dataset_colours(table["dataset"]), dashes_of(table["p"].unique())
    details = (
        "%{x}<br>α_T = %{y:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})<br>standard deviation over clips "
        "%{customdata[2]:.3f}, n = %{customdata[3]}<br>%{customdata[5]}<extra></extra>"
    )
    for (dataset, _, modality, name), rows in table.groupby(["dataset", "fraction", "modality", "name"]):
        dash, marker = dashes[rows["p"].iloc[0]], TEMPORAL_MARKER if spatial else MODALITY_MARKERS[modality]
        add_line(
            figure, rows["layer"], rows["alpha_temporal"], f"{name}: α_T" if spatial else name, colours[dataset],
            band=(rows["low"], rows["high"]), line_dash=dash, legendgroup=name,
            marker={"symbol": marker, "size": 9 if "open" in marker else 6},  # an open one is less seen
            error_y=error_bars(rows, "alpha_temporal"), customdata=rows[["low", "high", "sd", "n", "layer", "run"]],
            hovertemplate=details,
        )  # fmt: skip
        if spatial:
            add_line(
                figure, rows["layer"], rows["alpha_spatial"], f"{name}: α_S", colours[dataset], line_dash=dash,
                legendgroup=name, marker_symbol=SPATIAL_MARKER, hovertemplate="%{x}<br>α_S = %{y:.3f}<extra></extra>",
                customdata=rows[["layer", "run"]],
            )  # fmt: skip
    figure.add_hline(y=0.5, line={"color": REFERENCE, "width": 1})
    return styled(figure, LAYER_AXIS, "attention coefficient α" if spatial else "α_T")


def plot_mean_alpha(table: pd.DataFrame) -> go.Figure:
    """Mean alpha_S and alpha_T over the layers with their intervals: a pair of bars per run, named by its dataset."""
    figure = go.Figure()
    means = table.assign(name=curve_names(table)).drop_duplicates(["dataset", "run"])
    temporal = means[["mean", "mean_low", "mean_high"]]
    spatial = 1 - temporal.rename(columns={"mean_low": "mean_high", "mean_high": "mean_low"})
    for values, name, colour in ((spatial, "α_S", SPATIAL), (temporal, "α_T", TEMPORAL)):
        figure.add_bar(
            x=means["name"], y=values["mean"], name=name, marker_opacity=0.6, insidetextfont_color="#000000",
            error_y=error_bars(values, "mean", "mean_") | {"color": BAR_INTERVAL, "thickness": 2},
            marker_color=colour, texttemplate="%{y:.3f}", textposition="inside", insidetextanchor="start",
            customdata=means.assign(layer="")[["n", "layer", "run"]],
            hovertemplate=f"%{{x}}<br>{name} = %{{y:.3f}}<br>n = %{{customdata[0]}} clips<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=0.5, line={"color": REFERENCE, "width": 1})
    return styled(figure, "", "mean attention coefficient α")
