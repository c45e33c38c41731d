"""What the views of the Experiments page share: verdicts, tables, how an experiment is started, its clips."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from analysis.experiments.found_results import INTERVENE, PLACES, PROBE, QUESTIONS, TRUST, FoundResults
from analysis.report.column_titles import column_title
from analysis.runs.run_directory import Run, clips_of
from sth_core.datasets.media import counted
from sth_core.errors import UserError
from sth_core.files import csv_text, error_sentence
from workbench.components.cached import cached_overview, cached_result, parquet_files, state_of
from workbench.components.context import PREDICTIONS_PAGE, errors_shown, escape_markdown, run_id
from workbench.components.csv_files import show_table_csv
from workbench.components.gallery import show_linked_clips
from workbench.experiments import experiment_command, experiment_job, results_folder, why_impossible

WHAT = {
    PROBE: "Each clip is played backward, shuffled, frozen and so on, and the predictions are compared.",
    INTERVENE: "α of each layer, each stage and everywhere is replaced, and the predictions are compared.",
    TRUST: "Explanations of some clips are tested: what they point at is removed, weights are made random.",
}
MOST_ROWS = 1000  # of a table of clips, or of pairs of classes, that are sent to the browser
PERCENT: Any = st.column_config.NumberColumn(format="percent")


def cached_experiment(name: str, run: Run, folder: Path, compute: Callable[[], Any], *parameters: object) -> Any:
    """What `compute` returns, cached until the results in this folder, or the run's clips, change."""
    files = [file for kind in (folder, *sorted(folder.glob("*/"))) for file in sorted(parquet_files(kind))]
    state = [(str(file), state_of(file)) for file in files]
    return cached_result(name, [run], compute, str(folder), state, *parameters)


def show_verdicts(run: Run, found: Mapping[str, FoundResults | None], sentences: Mapping[str, str]) -> None:
    """A card for each experiment: its question, and the verdict or why there is none."""
    for column, experiment in zip(st.columns(len(found)), found, strict=True):
        results = found[experiment]
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{QUESTIONS[experiment]}**")
            if sentence := sentences.get(experiment):
                st.markdown(with_commands(sentence))
            elif results is None:
                st.caption(escape_markdown(why_impossible(run, experiment) or "Not done yet with this run."))
            if results and results.problem:
                st.warning(with_commands(results.problem) + ".")


def with_commands(sentence: str) -> str:
    """As Markdown, in which what stands between ` is code."""
    return escape_markdown(sentence).replace("\\`", "`")


def verdict_or_problem(compute: Callable[[], str]) -> str:
    """The sentence, or of results that cannot be read why."""
    try:
        return compute()
    except (UserError, OSError) as error:
        return error_sentence(error)


def show_missing(run: Run, experiment: str) -> None:
    """What was looked for, and how it is made."""
    if why := why_impossible(run, experiment):
        st.info(escape_markdown(why))
        return
    file = PLACES[experiment][1]
    others = ", or the same file in another folder below the folder of runs" * (experiment == TRUST)
    st.info(
        f"{WHAT[experiment]} There are no results of this run: the page looked for "
        f"{escape_markdown(str(results_folder(run, experiment) / file))}{others}."
    )
    show_start(run, experiment)


def show_start(run: Run, experiment: str) -> None:
    """A form that starts the experiment in the background, and the command that does the same."""
    if why_impossible(run, experiment):
        return
    with st.form(f"start {experiment}"), st.container(horizontal=True, vertical_alignment="bottom"):
        more = []
        if experiment == PROBE:
            more.append(f"--shuffles={st.number_input('Random orders of each clip', 1, 1000, 3, width=220)}")
        if experiment == TRUST:
            more.append(f"--clips={st.number_input('Clips, evenly over classes', 2, 100_000, 60, width=220)}")
        hint = "With another option than before. The earlier results are moved to the folder .replaced-N beside them."
        if st.checkbox("Put earlier results aside", help=hint):
            more.append("--overwrite")
        if st.form_submit_button("Start in the background", icon=":material/play_arrow:"):
            with errors_shown():
                experiment_job(run, experiment, more)
    with errors_shown():
        st.caption("Or in a terminal; the page shows the results when it is loaded again:")
        st.code(experiment_command(run, experiment), language=None, wrap_lines=True)


def show_results_facts(run: Run, experiment: str, results: FoundResults) -> None:
    """Where the results are, the command that made them, and how they are made again."""
    page = results.folder / "index.html"
    where = f"Files: {escape_markdown(str(results.folder))}"
    where += f"; the same as a page: {escape_markdown(str(page))}." if page.is_file() else "."
    with st.expander("Files, command, and doing it again"):
        st.caption(where)
        st.code(str(results.meta["command"]), language=None, wrap_lines=True)
        show_start(run, experiment)


def interval_texts(table: pd.DataFrame, prefix: str = "", scale: float = 1, form: str = ".1f") -> list[str]:
    """ "0.1 to 0.3" of each row's low and high; "-" where there is no interval."""
    ends = zip(scale * table[f"{prefix}low"], scale * table[f"{prefix}high"], strict=True)
    return [f"{low:{form}} to {high:{form}}" if low == low else "-" for low, high in ends]


def show_experiment_table(
    table: pd.DataFrame, shown: pd.DataFrame, name: str, config: Mapping[str, Any] | None = None
) -> None:
    """A table as people read it, and the file with all its numbers."""
    titles = {column: column_title(column) for column in shown}
    st.dataframe(
        shown, hide_index=True, placeholder="-", key=f"{name} numbers", column_config=titles | dict(config or {})
    )
    st.download_button(
        "CSV", csv_text(table), f"{name}.csv", "text/csv", key=f"{name} csv", on_click="ignore",
        help=f"All numbers of this table: {', '.join(map(str, table.columns))}.",
    )  # fmt: skip


def show_class_link(run: Run, label: str) -> None:
    """A link to all clips of a class."""
    query = {"run": run_id(run), "label": label, "view": "All clips"}
    name = f"Open the clips of {escape_markdown(label)}"
    st.page_link(PREDICTIONS_PAGE, label=name, icon=":material/table_rows:", query_params=query)


def chosen_point(key: str) -> int | None:
    """The number of the point of the chart `key` that was clicked last."""
    points = st.session_state[key]["selection"]["points"]
    return int(points[0]["point_index"]) if points else None


def show_changed_clips(run: Run, clips: pd.DataFrame, what: str, key: str) -> None:
    """The clips of `probed_clips` or `replaced_clips`: how many change, and a table that opens each of them."""
    changed = clips["changed"] > 0
    before, after = clips["correct_plain"], clips["correct"]
    lost = int((before.fillna(False) & (after.astype("Float64") < 1).fillna(False)).sum())
    gets, become = "gets" if changed.sum() == 1 else "get", "one becomes" if lost == 1 else "ones become"
    count = f"{changed.sum():,} of {counted(len(clips), 'clip')} {gets} another prediction"
    if before.notna().any():
        count += f", {lost:,} correct {become} misclassified"
    st.caption(f"**{escape_markdown(what)}**: {count}. Largest fall of the true class's score first.")
    if not changed.any():
        return
    every = st.toggle("Also clips whose prediction stays", key=f"{key}_every", bind="query-params")
    shown = clips if every else clips[changed]
    config = {
        "predicted_plain": "predicted", "predicted": st.column_config.TextColumn("predicted then"),
        "correct_plain": None, "correct": None, "changed": None,
        "score_fall": st.column_config.NumberColumn("fall of the score", format="%+.3f", help="Of the true class."),
    }  # fmt: skip
    show_openable(run, shown, config, key)


def show_openable(run: Run, clips: pd.DataFrame, config: Mapping[str, Any], key: str) -> None:
    """A table of clips: the first column opens those that the run has; the file has all rows."""
    if clips.empty:
        st.caption("There is no clip.")
        return
    recorded = cached_result("recorded_clips", [run], lambda: frozenset(clips_of(run, ())["clip_id"]))
    known = clips["clip_id"].isin(recorded)
    some = clips[known].head(MOST_ROWS)
    show_linked_clips(run, some, dict(config), key=f"{key} table")
    with st.container(horizontal=True, vertical_alignment="center"):
        paths = cached_overview(run).set_index("clip_id")["path"]
        show_table_csv(clips.assign(path=clips["clip_id"].map(paths)), key)
        if len(some) < len(clips):
            st.caption(f"The table shows {len(some):,} of {counted(len(clips), 'clip')}; the file has all.")
