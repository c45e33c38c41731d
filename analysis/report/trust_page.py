"""`sth trust`'s page: which explanation of a network passes which test, and the curves behind each verdict.

OUT/index.html (self-contained), and its numbers beside it: verdicts, faithfulness, sanity, agreement, attention (CSV).
"""

import base64
import html
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from analysis.experiments.trust import CONTROLS
from analysis.experiments.trust_tables import (
    FAILS,
    OPEN,
    PASSES,
    STILL_THERE,
    TrustResults,
    attention_and_drop,
    faithfulness_table,
    frame_agreement_table,
    randomization_table,
    replacement_table,
    trust_verdicts,
)
from analysis.explain.alpha_replacement import KINDS
from analysis.explain.faithfulness import DELETION, DIRECTIONS, REMOVAL_WAYS
from analysis.report.plots import COLOURS, DASHES, on_paper, styled
from sth_core.files import write_atomically

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{heading} {title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222 }}
h1 {{ font-size: 1.6rem; margin-bottom: .2rem }} h2 {{ font-size: 1.2rem; margin: 2.5rem 0 .3rem }}
p.caption {{ color: #444; margin: .2rem 0 }} table {{ border-collapse: collapse; font-size: 14px }}
td, th {{ text-align: left; padding: 6px 16px 6px 0; border-bottom: 1px solid #ddd; vertical-align: top }}
.passes {{ color: #00714d; font-weight: 600 }} .fails {{ color: #b3400d; font-weight: 600 }}
.undecided {{ color: #666; font-weight: 600 }} small {{ color: #666; display: block; font-weight: 400 }}
img {{ max-width: 100% }} code {{ font-size: 13px }}
</style><script>{script}</script><h1>{heading}</h1>{body}</html>"""
SIGN = {PASSES: "✓ passes", FAILS: "✗ fails", OPEN: "? undecided"}
DASH = dict.fromkeys(CONTROLS, DASHES[2])


def write_trust_page(out: Path, example: tuple[str, dict[str, np.ndarray]] | None = None) -> Path:
    """Write the page from what `trust` left in `out`; `example` is a clip's name and, for each explanation, its
    frames with the map over them (T, H, W, 3) uint8."""
    meta = json.loads((out / "trust.json").read_text(encoding="utf-8"))
    results = TrustResults(out)
    tables = {
        "verdicts": trust_verdicts(results), "faithfulness": faithfulness_table(results),
        "sanity": randomization_table(results),
        "agreement": frame_agreement_table(results), "attention": replacement_table(results),
    }  # fmt: skip
    for name, table in tables.items():
        if len(table):
            with write_atomically(out / f"{name}.csv") as file:
                table.to_csv(file, index=False, lineterminator="\n")
    parts = [heading(meta, results), verdict_table(tables["verdicts"])]
    if example:
        parts += [f"<h2>One clip: {html.escape(example[0])}</h2>", pictures(example[1])]
    n = len(results.clips)
    parts += [
        section(
            "Remove what it points at", curves_figure(results),
            f"Mean score of the predicted class over {n} clips (band: 95 %) while what a map ranks highest is removed "
            "(deletion: a good map falls early) or put back (insertion: a good map rises early); both stand-ins of a "
            "way together. Dotted: a random map, and a prior for the middle of picture and clip. A map passes a way if "
            "most of its comparisons with these two, clip by clip and corrected for their number, are in its favour, "
            "and none against it.",
        ),
        section(
            "Make the weights random", sanity_figure(tables["sanity"]),
            f"Mean rank correlation with the map of the trained network (bars: 95 %, {n} clips), as its weights are "
            f"shuffled from the classifier down. A map that stays (above {STILL_THERE} when all is random) does not "
            "show what the network learnt.",
        ),
        section(
            "Hide single frames", agreement_figure(tables["agreement"]),
            f"Does the CAM's mass per frame rank the frames as hiding them does? Mean over {n} clips of Spearman's "
            "rank correlation with the drop of the score when a frame is replaced by its neighbour (bars: 95 %).",
        ),
    ]  # fmt: skip
    if len(tables["attention"]):
        parts.append(section("Replace attention", attention_figure(tables["attention"]), attention_caption(results, n)))
    page = out / "index.html"
    with write_atomically(page) as file:
        file.write(filled("Which explanation can be trusted?", meta["network"], parts))
    return page


def filled(heading: str, title: str, parts: list[str]) -> str:
    """The page with these parts; `title` as plain text."""
    return PAGE.format(heading=heading, title=html.escape(title), script=get_plotlyjs(), body="".join(parts))


def section(title: str, figure: go.Figure, caption: str) -> str:
    drawn = on_paper(figure).to_html(full_html=False, include_plotlyjs=False)
    return f"<h2>{title}</h2>{drawn}<p class=caption>{caption}</p>"


def heading(meta: dict[str, Any], results: TrustResults) -> str:
    accuracy = results.clips["correct"].mean()
    return (
        f"<p class=caption>{html.escape(meta['network'])} on {len(results.clips)} clips of "
        f"{html.escape(meta['dataset'])} ({html.escape(meta['split'])}; accuracy {accuracy:.0%}); explained is the "
        f"class that it predicts. Checkpoint {meta['checkpoint_sha256'][:12]}, "
        f"<code>{html.escape(meta['command'])}</code></p>"
    )


def verdict_table(table: pd.DataFrame) -> str:
    questions = list(table["question"].unique())
    rows = "".join(f"<th>{html.escape(q)}</th>" for q in questions)
    for name, some in table.groupby("explanation", sort=False):
        cells = some.set_index("question").loc[questions]
        rows += f"<tr><td>{html.escape(str(name))}</td>" + "".join(
            f"<td class={c.verdict}>{SIGN[c.verdict]}<small>{html.escape(c.detail)}</small></td>"
            for c in cells.itertuples()
        )
    return f"<table><tr><th></th>{rows}</table>"


def pictures(maps: dict[str, np.ndarray]) -> str:
    rows = ""
    for name, frames in maps.items():
        encoded = cv2.imencode(".jpg", np.concatenate(list(frames), 1)[..., ::-1])[1].tobytes()
        source = f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"
        rows += f'<p class=caption>{html.escape(name)}</p><img alt="{html.escape(name)}" src="{source}">'
    return rows


def curves_figure(results: TrustResults) -> go.Figure:
    """A panel per direction and way; each explanation's mean over clips and stand-ins."""
    titles = [f"{direction} in {way}" for direction in DIRECTIONS for way in REMOVAL_WAYS]
    figure = make_subplots(2, 3, subplot_titles=titles, shared_yaxes=True, vertical_spacing=0.2)
    names = list(results.curves["explanation"].unique())
    colours = dict(zip(names, COLOURS, strict=False)) | dict(zip(CONTROLS, ("#666666", "#999999"), strict=True))
    for (way, direction, name), some in results.curves.groupby(["way", "direction", "explanation"], sort=False):
        where = {"row": 1 + DIRECTIONS.index(direction), "col": 1 + REMOVAL_WAYS.index(way)}
        scores = np.stack([np.stack(list(of_one["scores"])).mean(0) for _, of_one in some.groupby("clip_id")])
        mean, half = scores.mean(0), 1.96 * scores.std(0, ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else 0
        shares, colour = some["shares"].iloc[0], colours[name]
        if name not in CONTROLS:
            figure.add_scatter(
                x=[*shares, *shares[::-1]], y=[*(mean + half), *(mean - half)[::-1]], fill="toself", line_width=0,
                fillcolor=colour, opacity=0.12, hoverinfo="skip", showlegend=False, mode="lines", **where,
            )  # fmt: skip
        figure.add_scatter(
            x=shares, y=mean, name=name, legendgroup=name, showlegend=where == {"row": 1, "col": 1}, mode="lines",
            line={"color": colour, "dash": DASH.get(name, "solid")}, hovertemplate=f"{name}: %{{y:.3f}}<extra></extra>",
            **where,
        )  # fmt: skip
    figure = styled(figure, "", "").update_layout(height=680, legend_y=1.06, margin_t=90)
    for row, direction in enumerate(DIRECTIONS, 1):
        figure.update_xaxes(title=f"share {'removed' if direction == DELETION else 'put back'}", row=row)
        figure.update_yaxes(title="score", row=row, col=1)
    return figure


def sanity_figure(table: pd.DataFrame) -> go.Figure:
    figure = go.Figure()
    for colour, (name, some) in zip(COLOURS, table.groupby("explanation", sort=False), strict=False):
        figure.add_scatter(
            x=some["part"], y=some["value"], name=name, mode="lines+markers", line_color=colour,
            error_y={"type": "data", "array": some["high"] - some["value"], "arrayminus": some["value"] - some["low"]},
        )  # fmt: skip
    figure.add_hline(y=STILL_THERE, line={"color": "#888888", "dash": "dot"})
    return styled(figure, "random from the classifier down to ...", "rank correlation").update_layout(height=380)


def agreement_figure(table: pd.DataFrame) -> go.Figure:
    up, down = table["high"] - table["value"], table["value"] - table["low"]
    colours = ["#999999" if name in CONTROLS else COLOURS[0] for name in table["explanation"]]
    figure = go.Figure(
        go.Bar(
            x=table["value"], y=table["explanation"], orientation="h", marker_color=colours,
            error_x={"type": "data", "array": up, "arrayminus": down},
        )
    )  # fmt: skip
    figure = styled(figure, "mean rank correlation with the drop of the score", "").update_layout(height=320)
    return figure.update_yaxes(autorange="reversed", automargin=True)


def attention_figure(table: pd.DataFrame) -> go.Figure:
    """Change of accuracy by place (rows, from the input up) and kind (columns); a star where it is significant."""
    return effects_figure(table, "place")


def effects_figure(table: pd.DataFrame, rows: str) -> go.Figure:
    """The same, with a row for each value of another column of `effects_of`'s table."""
    places = list(dict.fromkeys(table[rows]))
    wide = table.pivot(index=rows, columns="kind", values="value").loc[places, list(KINDS)]
    matters = table.assign(star=table["verdict"].map({"matters": " *"}).fillna(""))
    stars = matters.pivot(index=rows, columns="kind", values="star").loc[places, list(KINDS)]
    text = wide.map(lambda v: f"{100 * v:+.0f}" if abs(v) >= 0.005 else "0") + stars
    figure = go.Figure(
        go.Heatmap(
            z=100 * wide, x=list(KINDS), y=places, text=text, texttemplate="%{text}", zmid=0, zmin=-100, zmax=100,
            colorscale=[[0, "#0072B2"], [0.5, "#ffffff"], [1, "#D55E00"]], colorbar_title="points",
        )
    )  # fmt: skip
    figure = styled(figure, "α becomes ...", "").update_layout(height=110 + 26 * len(places), margin_t=10)
    return figure.update_yaxes(autorange="reversed", automargin=True, type="category")


def attention_caption(results: TrustResults, n: int) -> str:
    found = attention_and_drop(results)
    return (
        f"Change of accuracy, in points, when α_S and α_T of a layer, a stage or everywhere are replaced ({n} clips, "
        "paired; *: p &lt; 0.05 after Holm's correction, and by McNemar's exact test). If the dataset's mean or "
        "another clip's does as well as its own, the network does not use what α says of this clip, however much α "
        "differs between layers. Over clips, α_T (mean over layers) and how much hiding single frames costs have a "
        f"rank correlation of {found['value']:+.2f} (95 %: {found['low']:+.2f} to {found['high']:+.2f})."
    )
