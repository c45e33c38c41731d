"""`sth trust`'s OUT/index.html: which explanation of a network passes which test, and the curves behind each verdict.
Its numbers beside it: ranking, verdicts, faithfulness, sanity, agreement, attention (CSV)."""

import json
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.experiments import trust_tables
from analysis.experiments.clip_tests import CONTROLS
from analysis.experiments.tested_maps import explanations, maps_of
from analysis.experiments.trust_tables import (
    BELIEVED,
    FAILS,
    NOT_BELIEVED,
    OPEN,
    PASSES,
    STILL_THERE,
    UNDECIDED,
    TrustResults,
)
from analysis.explain.faithfulness import DELETION, REMOVAL_DIRECTIONS, REMOVAL_WAYS
from analysis.explain.methods import DEFAULT_METHODS
from analysis.explain.overlay import overlay, seen_frames
from analysis.report.colours import OTHERS, PLAIN, REFERENCE
from analysis.report.intervention_page import plot_replacement_effects
from analysis.report.page import PageTable, Picture, Section, TableCell, write_page
from analysis.report.plots import add_line, horizontal_bars, styled
from analysis.runs.caveats import accuracy_caveats
from analysis.runs.chosen_clips import open_for_network
from analysis.runs.correctness import counted_clips, with_correctness
from analysis.statistics.clusters import describe_interval
from analysis.statistics.correlations import FEW_VIDEOS
from sth_core.datasets.clips import EvaluationClips
from sth_core.open_network import Named, open_network
from sth_core.video.transforms import normalise

HEADING = "Which explanation can be trusted?"
SIGN = {PASSES: "✓ passes", FAILS: "✗ fails", OPEN: "? undecided"}
CONTROL_COLOURS = dict(zip(CONTROLS, (PLAIN, REFERENCE), strict=True))


def write_trust_page(out: Path, example: tuple[str, dict[str, np.ndarray]] | None = None) -> Path:
    """Write the page from what `trust` left in `out`; `example` is a clip's name and, for each explanation, its
    frames with the map over them (T, H, W, 3) uint8."""
    meta = json.loads((out / "trust.json").read_text(encoding="utf-8"))
    results = TrustResults(out)
    tables = trust_page_tables(results)
    ranking = trust_tables.ranking_table(results, tables["verdicts"])
    sections = [
        ranking_section(ranking, len(results.clips)),
        Section("Each test", table=verdict_table(tables["verdicts"]), data={"ranking": ranking} | tables),
    ]
    if example:
        name, maps = example
        pictures = [Picture(title, np.concatenate(list(frames), 1)) for title, frames in maps.items()]
        sections.append(Section(f"One clip: {name}", pictures=pictures))
    correct = counted_clips(with_correctness(results.clips, meta["classes"]))["correct"]
    accuracy = f"accuracy {correct.mean():.0%}" if len(correct) else "no accuracy"
    about = (
        f"{meta['network']} on {len(results.clips)} clips of {meta['dataset']} ({meta['split']}; {accuracy}). Each "
        f"explanation is of the predicted class. Checkpoint {meta['checkpoint_sha256'][:12]}. "
    ) + " ".join(accuracy_caveats(meta, results.clips))
    sections += evidence_sections(results, tables)
    title, command = f"{HEADING} {meta['network']}", meta["command"]
    return write_page(out / "index.html", HEADING, sections, title=title, about=about, command=command)


def trust_page_tables(results: TrustResults) -> dict[str, pd.DataFrame]:
    """The tables of the page that have rows, by name."""
    tables = {
        "verdicts": trust_tables.trust_verdicts(results),
        "faithfulness": trust_tables.faithfulness_table(results),
        "sanity": trust_tables.randomization_table(results),
        "agreement": trust_tables.frame_agreement_table(results),
        "attention": trust_tables.replacement_effects(results.alpha, results.groups),  # empty without attention
    }
    return {name: table for name, table in tables.items() if len(table)}


def example_of(
    network: Named, data: Path, results: TrustResults, methods: tuple[str, ...] = DEFAULT_METHODS
) -> tuple[str, dict[str, np.ndarray]]:
    """The clip with the most confident prediction, with every explanation's map over its frames."""
    checkpoint = open_network(network)
    p, best = checkpoint.preprocessing, results.clips.sort_values("confidence").iloc[-1]
    table = open_for_network(checkpoint, data, checkpoint.annotation).clips
    row = table[table["clip_id"] == best["clip_id"]]
    sample = EvaluationClips(row, checkpoint.classes, p)[0]
    if sample.views is None:  # it has become unreadable since the tests ran
        return str(best["clip_id"]), {}
    clip = normalise(sample.views[0], p)
    wanted = explanations(checkpoint.model, p.crop, methods)
    maps = maps_of(checkpoint.model, clip, checkpoint.classes.index(best["prediction"]), wanted)
    frames = seen_frames(Path(row["path"].iloc[0]), sample.frame_indices, p, side=128)
    painted = {name: overlay(frames, m.clamp(min=0).numpy(), 0.75) for name, m in maps.items()}
    return f"{best['clip_id']} ({best['prediction']}, {best['confidence']:.0%})", {"input frames": frames} | painted


def ranking_section(ranking: pd.DataFrame, clips: int) -> Section:
    """The explanations, the best first, with the cost of a clip's map, and a sentence that says which to believe."""
    tones = {BELIEVED: "passes", NOT_BELIEVED: "fails", UNDECIDED: "undecided"}
    rows = [
        {
            "rank": i, "explanation": row.explanation, "believe": TableCell(row.belief, tones[row.belief]),
            "passes": row.passes, "fails": row.fails, "of tests": row.tests,
            "areas better by": f"{row.value:+.3f} ({describe_interval(row.low, row.high, '+.3f', FEW_VIDEOS)})",
            "forward passes": int(row.forwards), "backward passes": int(row.backwards),
            "seconds for a clip": f"{row.seconds:.2g}",
        }
        for i, row in enumerate(ranking.itertuples(), 1)
    ]  # fmt: skip
    return Section(
        lead=trust_tables.conclusion(ranking, clips),
        table=PageTable(pd.DataFrame(rows), {"areas better by": "number", "seconds for a clip": "number"}),
        caption="Believe an explanation that fails no test, depends on the weights, and beats the random map and the "
        "centre prior in space, in time or in both; do not believe one that fails a test. Within these, more passed "
        "tests come first, then the larger advantage: the mean by which the areas of deletion and insertion beat the "
        "controls' (95 % over clips). Passes and seconds are of the map of one clip (median over clips, on the "
        "computer that made this page). All maps are tested at the cells of Grad-CAM's layer: of a map of pixels each "
        "cell has the mean. Feature Ablation has no places, so it is tested in time alone, and it hides frames as "
        "the test of agreement with frame occlusion does, though with another replacement.",
    )  # fmt: skip


def verdict_table(table: pd.DataFrame) -> PageTable:
    """A row per explanation, a column per question; a dash where the question is not asked of an explanation."""
    cells = {
        name: {row.question: TableCell(SIGN[row.verdict], row.verdict, row.detail) for row in rows.itertuples()}
        for name, rows in table.groupby("explanation", sort=False)
    }
    asked = dict.fromkeys(table["question"])
    rows = [{"explanation": name} | {q: of.get(q, TableCell("–")) for q in asked} for name, of in cells.items()]
    return PageTable(pd.DataFrame(rows))


def evidence_sections(results: TrustResults, tables: dict[str, pd.DataFrame]) -> Iterator[Section]:
    """A plot for each of the tests."""
    n, agreement = len(results.clips), tables["agreement"]
    yield Section(
        "Remove what it points at", figure=plot_removal_curves(results.curves),
        caption=f"Mean score of the predicted class over {n} clips (band: 95 %) while the places that a map ranks "
        "highest are removed (deletion: with a good map the score falls early) or put back (insertion: with a good map "
        "it rises early). Each curve is the mean over both baselines. Gray and dashed, the controls: a random map, and "
        "a prior for the middle of picture and clip. A map passes if most of its comparisons with the controls, "
        "clip by clip and corrected for their number, are in its favour and none is against it.",
    )  # fmt: skip
    yield Section(
        "Make the weights random", figure=plot_randomization(tables["sanity"]),
        caption=f"Mean rank correlation with the map of the trained network (bars: 95 %, {n} clips) as the weights are "
        f"shuffled, from the classifier down. A map that stays the same (above {STILL_THERE} when all weights are "
        "random) does not depend on what was learnt. Methods of more than two passes explain only the network whose "
        f"weights are all random.{trust_tables.undefined_sentence(tables['sanity'])}",
    )  # fmt: skip
    colours = [REFERENCE if name in CONTROLS else PLAIN for name in agreement["explanation"]]
    axis = "mean rank correlation with the drop of the score"
    yield Section(
        "Hide single frames", figure=horizontal_bars(agreement, "explanation", "value", axis, colours=colours),
        caption=f"Does the sum of a map in each frame rank the frames as frame occlusion does? Mean over {n} clips of "
        "Spearman's rank correlation with the drop of the score when a frame is replaced by its neighbour (bars: "
        f"95 %).{trust_tables.undefined_sentence(agreement)}",
    )  # fmt: skip
    if "attention" in tables:
        yield replacement_section(results, tables["attention"])


def replacement_section(results: TrustResults, table: pd.DataFrame) -> Section:
    """What replaced attention changes, and whether alpha_T is high in clips that depend on single frames."""
    caption = (
        "Change of accuracy, in points, when α_S and α_T of a layer, a stage or everywhere are replaced "
        f"({len(results.clips)} clips, paired; *: p < 0.05 after Holm's correction). If "
        "the dataset's mean or another clip's α gives the same accuracy, the prediction does not depend on α of the "
        "single clip, however much α differs between layers."
    )
    found = trust_tables.attention_and_drop(results)
    if not np.isnan(found["value"]):
        interval = describe_interval(found["low"], found["high"], "+.2f", FEW_VIDEOS)
        caption += (
            " Over clips, the rank correlation of α_T (mean over layers) with the drop of the score when single frames "
            f"are hidden is {found['value']:+.2f} (95 %: {interval})."
        )
    return Section("Replace attention", figure=plot_replacement_effects(table, "place"), caption=caption)


def plot_removal_curves(curves: pd.DataFrame) -> go.Figure:
    """A panel per direction and way; each explanation's mean over clips and baselines."""
    titles = [f"{direction} in {way}" for direction in REMOVAL_DIRECTIONS for way in REMOVAL_WAYS]
    figure = make_subplots(2, 3, subplot_titles=titles, shared_yaxes=True, vertical_spacing=0.2)
    colours = dict(zip(curves["explanation"].unique(), cycle(OTHERS), strict=False)) | CONTROL_COLOURS
    named: set[str] = set()
    for (way, direction, name), some in curves.groupby(["way", "direction", "explanation"], sort=False):
        row, col = 1 + REMOVAL_DIRECTIONS.index(direction), 1 + REMOVAL_WAYS.index(way)
        scores = np.stack([np.mean(of_clip["scores"].tolist(), 0) for _, of_clip in some.groupby("clip_id")])
        mean, half = scores.mean(0), 1.96 * scores.std(0, ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else 0
        control = name in CONTROLS
        add_line(
            figure, some["shares"].iloc[0], mean, name, colours[name], () if control else (mean - half, mean + half),
            line_dash="longdashdot" if control else "solid", mode="lines", showlegend=name not in named,
            row=row, col=col, hovertemplate=f"{name}: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
        named.add(name)
    figure = styled(figure, "", "", height=680, legend_y=1.06, margin_t=90).update_yaxes(title="score", col=1)
    for row, direction in enumerate(REMOVAL_DIRECTIONS, 1):
        figure.update_xaxes(title=f"share {'removed' if direction == DELETION else 'put back'}", row=row)
    return figure


def plot_randomization(table: pd.DataFrame) -> go.Figure:
    """Rank correlation with the trained network's map, as more of the weights are random."""
    table = table.assign(up=table["high"] - table["value"], down=table["value"] - table["low"])
    figure = px.line(
        table, x="part", y="value", error_y="up", error_y_minus="down", color="explanation", markers=True,
        color_discrete_sequence=OTHERS,
    )  # fmt: skip
    figure.add_hline(y=STILL_THERE, line={"color": REFERENCE, "dash": "longdashdot"})
    return styled(figure, "random from the classifier down to ...", "rank correlation", height=380)
