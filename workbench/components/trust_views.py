"""The tests of explanations on the Experiments page: which to believe, the curves behind it, and the clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from analysis.experiments import trust_tables
from analysis.experiments.changed_clips import explained_clips
from analysis.experiments.clip_tests import CONTROLS
from analysis.experiments.found_results import PLACES, TRUST, FoundResults, reading_results, results_in
from analysis.experiments.trust_tables import BELIEVED, NOT_BELIEVED, UNDECIDED, TrustResults
from analysis.experiments.verdicts import trust_sentence
from analysis.report.colours import CORRECT, MISCLASSIFIED, PLAIN, REFERENCE
from analysis.report.intervention_page import plot_replacement_effects
from analysis.report.plots import horizontal_bars
from analysis.report.trust_page import SIGN, plot_randomization, plot_removal_curves
from analysis.runs.run_directory import Run
from analysis.statistics.accuracy import units_of_clips
from sth_core.datasets.media import counted
from sth_core.errors import UserError
from workbench.components.chart import show_chart
from workbench.components.context import escape_markdown, linked_selectbox
from workbench.components.experiment_views import (
    cached_experiment,
    chosen_point,
    interval_texts,
    show_experiment_table,
    show_openable,
)
from workbench.roots import runs_folder

BELIEF_COLOURS = {BELIEVED: CORRECT, NOT_BELIEVED: MISCLASSIFIED, UNDECIDED: PLAIN}


def of_run(run: Run, found: Sequence[FoundResults]) -> list[FoundResults]:
    """Those in the run's folder, then others of its network."""
    inside = [one for one in found if one.folder.is_relative_to(run.path)]
    own = results_in(run.path / PLACES[TRUST][0], TRUST)  # also if its description is missing
    inside += [own] if own and own.folder not in [one.folder for one in inside] else []
    same = [one for one in found if one.meta.get("checkpoint_sha256") == run.meta["checkpoint_sha256"]]
    return inside + [one for one in same if not one.folder.is_relative_to(run.path)]


def cached_trust(run: Run, results: FoundResults) -> dict[str, Any]:
    """The results and their tables. Raises UserError: they are damaged, or there is no clip yet."""

    def compute() -> dict[str, Any]:
        with reading_results(results.folder, TRUST):
            found = TrustResults(results.folder)
            if found.clips.empty:
                raise UserError(f"{results.folder} holds no clip yet; the same `sth trust` command tests them")
            verdicts = trust_tables.trust_verdicts(found)
            return {
                "results": found, "verdicts": verdicts,
                "ranking": trust_tables.ranking_table(found, verdicts),
                "sanity": trust_tables.randomization_table(found),
                "agreement": trust_tables.frame_agreement_table(found),
                "attention": trust_tables.replacement_effects(found.alpha, found.groups),
                "curves": plot_removal_curves(found.curves),
                "units": units_of_clips(found.clips),
            }  # fmt: skip

    tables: dict[str, Any] = cached_experiment("trust", run, results.folder, compute)
    return tables


def trust_verdict(run: Run, results: FoundResults) -> str:
    tables = cached_trust(run, results)
    return trust_sentence(tables["ranking"], len(tables["results"].clips))


def choose_results(found: Sequence[FoundResults]) -> FoundResults:
    """One of several folders."""
    if len(found) == 1:
        return found[0]
    names = {place_of(one.folder): one for one in found}
    return names[linked_selectbox("Results in", list(names), "trusted", default_in_url=False, width=480)]


def place_of(folder: Path) -> str:
    return str(folder.relative_to(runs_folder()))


def show_trust(run: Run, results: FoundResults) -> None:
    tables = cached_trust(run, results)
    found, ranking, units = tables["results"], tables["ranking"], tables["units"]
    n = len(found.clips)
    if results.meta.get("checkpoint_sha256") not in (None, run.meta["checkpoint_sha256"]):
        st.warning("These results are of another network than the run's: its file was replaced in between.")
    st.header("Explanations, the best first")
    colours = [BELIEF_COLOURS[belief] for belief in ranking["belief"]]
    figure = horizontal_bars(ranking, "explanation", "value", "areas better than the controls' by", colours=colours)
    alt = "By how much the areas of each explanation beat those of the controls, with 95 % intervals"
    show_chart(figure, key="ranking", alt=alt, on_select=open_explanation, selection_mode="points")
    st.caption(
        f"{counted(n, 'clip')} (whiskers: 95 % intervals over {units}). Blue: to be believed, as it fails no test, "
        "depends on the weights, and beats a random map and a centre prior; orange: it fails a test; gray: undecided. "
        "Areas are those under the curves of deletion and insertion below. Click a bar to see its clips."
    )
    show_experiment_table(ranking, shown_ranking(ranking), "ranking")
    st.header("Each test")
    verdicts = tables["verdicts"]
    signs = verdicts.assign(said=verdicts["verdict"].map(SIGN) + " (" + verdicts["detail"] + ")")
    wide = signs.pivot(index="explanation", columns="question", values="said")
    wide = wide.loc[ranking["explanation"], list(dict.fromkeys(verdicts["question"]))].fillna("-").reset_index()
    show_experiment_table(verdicts, wide, "verdicts")
    show_explained_clips(run, results, tables)
    show_evidence(tables, n, units)


def shown_ranking(ranking: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "explanation": ranking["explanation"], "believe": ranking["belief"], "passes": ranking["passes"],
            "fails": ranking["fails"], "of tests": ranking["tests"], "areas better by": ranking["value"].round(3),
            "95 % interval": interval_texts(ranking, "", 1, "+.3f"),
            "forward passes": ranking["forwards"].astype(int), "backward passes": ranking["backwards"].astype(int),
            "seconds a clip": ranking["seconds"].round(3),
        }
    )  # fmt: skip


def open_explanation() -> None:
    """A click on a bar chooses its explanation."""
    point, names = chosen_point("ranking"), st.session_state.get("explanations", [])
    if point is not None and point < len(names):
        st.session_state["explanation"] = names[point]


def show_explained_clips(run: Run, results: FoundResults, tables: dict[str, Any]) -> None:
    st.header("Clips")
    names = st.session_state["explanations"] = list(tables["ranking"]["explanation"])
    explanation = linked_selectbox("Explanation", names, "explanation", default_in_url=False, width=360)

    def compute() -> pd.DataFrame:
        with reading_results(results.folder, TRUST):
            return explained_clips(tables["results"], explanation)

    clips = cached_experiment("explained_clips", run, results.folder, compute, explanation)
    worse = int((clips["better_by"] < 0).sum())
    st.caption(f"{worse:,} of {counted(len(clips), 'clip')} have worse areas than the controls; these come first.")
    number = st.column_config.NumberColumn("areas better by", format="%+.3f")
    show_openable(run, clips, {"better_by": number}, "clips_trust")


def show_evidence(tables: dict[str, Any], n: int, units: str) -> None:
    """A plot for each of the tests."""
    st.header("Remove what it points at")
    show_chart(tables["curves"], key="removal", alt="Score while places are removed or put back, by explanation")
    st.caption(
        f"Mean score of the predicted class over {counted(n, 'clip')} (bands: 95 %, over clips) while the places that "
        "a map ranks highest are removed (deletion: a good map lets the score fall early) or put back (insertion: rise "
        f"early). Gray: the controls, {escape_markdown(' and '.join(CONTROLS))}."
    )
    st.header("Make the weights random")
    show_chart(plot_randomization(tables["sanity"]), key="randomised", alt="Correlation with the trained network's map")
    st.caption(
        f"Mean rank correlation with the map of the trained network (bars: 95 % intervals over {units}) as weights are "
        "shuffled, from the classifier down. A map that stays the same does not depend on what was learnt."
        + escape_markdown(trust_tables.undefined_sentence(tables["sanity"]))
    )
    agreement, attention = tables["agreement"], tables["attention"]
    st.header("Hide single frames")
    colours = [REFERENCE if name in CONTROLS else PLAIN for name in agreement["explanation"]]
    axis = "mean rank correlation with the drop of the score"
    figure = horizontal_bars(agreement, "explanation", "value", axis, colours=colours)
    show_chart(figure, key="frame_agreement", alt="Agreement of each explanation with frame occlusion")
    st.caption(
        "Does the sum of a map in each frame rank the frames as frame occlusion does? Mean over "
        f"{counted(n, 'clip')} (whiskers: 95 % intervals over {units})."
        + escape_markdown(trust_tables.undefined_sentence(agreement))
    )
    if len(attention):
        st.header("Replace attention")
        figure = plot_replacement_effects(attention, "place")
        show_chart(figure, key="trust_places", alt="Change of accuracy by place and kind of replacement")
        st.caption("Change of accuracy in points, on the same clips; *: p < 0.05 after Holm's correction.")
