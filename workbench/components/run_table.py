"""The table of all runs on the first page, and the links that open the chosen ones."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pandas as pd
import streamlit as st

from analysis.attention.run_summary import RunSummary, when_recorded
from analysis.runs.run_directory import OTHER, Run
from analysis.statistics.clusters import describe_interval
from sth_core.datasets.media import counted
from workbench.components.context import ATTENTION_PAGE, COMPARE_PAGE, PREDICTIONS_PAGE

CHOSEN = "chosen runs"
ROW, TALLEST = 35, 16  # pixels; rows that are shown at once
NOT_READ = "not read yet"
SEARCHED = ["run", "network", "data", "question", "p", "input", "problem"]
ORDER = (
    "The data and question that were recorded last come first, of each the most accurate run; a click on a column's "
    "head sorts by it."
)
COLUMN = st.column_config
COLUMNS: dict[str, Any] = {
    "run": COLUMN.TextColumn("Run", pinned=True),
    "network": COLUMN.TextColumn("Network", width=100),
    "data": COLUMN.TextColumn("Data", width=80),
    "question": COLUMN.TextColumn("Question", width=88, help="The labels that the network predicts."),
    "p": COLUMN.TextColumn("p", width=42, help="The proportion of temporal kernels."),
    "input": COLUMN.TextColumn("Input", width=52),
    "accuracy": COLUMN.NumberColumn("Accuracy", width=72, format="%.1f %%"),
    "interval": COLUMN.TextColumn("95 % interval", width=100, help="Over source videos, or clips without them; in %."),
    "attention": COLUMN.NumberColumn(
        "α_T", width=52, format="%.3f",
        help="The weight of the temporal branch, mean over layers and clips. Of a transformer, which has no α: its "
        "attention across time.",
    ),
    "layers": None,  # `sparkline`
    "clips": COLUMN.NumberColumn("Clips", width=54, format="localized", help="Clips that have a prediction."),
    "recorded": COLUMN.DatetimeColumn("Recorded", width=115, format="YYYY-MM-DD HH:mm", help="In UTC."),
    "problem": COLUMN.TextColumn("Problem", width=220),
}  # fmt: skip


def run_rows(runs: Mapping[str, Run], summaries: Mapping[str, RunSummary]) -> pd.DataFrame:
    """A row per run, with `COLUMNS`; what a run does not say is missing."""
    return pd.DataFrame([run_row(name, run, summaries.get(name)) for name, run in runs.items()], columns=[*COLUMNS])


def run_row(name: str, run: Run, summary: RunSummary | None) -> dict[str, Any]:
    if not run.meta:
        return {"run": name, "problem": run.problem}
    m = run.meta
    parts = (m.get("arch"), None if m.get("conv") == OTHER else m.get("conv"))
    row = {"run": name, "network": " ".join(part for part in parts if part), "question": m.get("label", "")}
    row |= {"data": m["dataset"].removesuffix(f": {row['question']}"), "p": run.p, "input": run.modality}
    row |= {"recorded": pd.to_datetime(when_recorded(run), errors="coerce", utc=True), "clips": m["clips"]}
    if summary is None:
        return row | {"problem": NOT_READ}
    row |= {"problem": run.problem or summary.problem}
    if summary.problem:
        return row
    interval = describe_interval(100 * summary.low, 100 * summary.high, ".1f") if summary.counted else ""
    row |= {"accuracy": 100 * summary.accuracy, "interval": interval}
    row |= {"clips": summary.clips} if summary.every == 1 else {}
    return row | {"attention": summary.mean_attention, "layers": list(summary.attention) or None}


def choose_rows(table: pd.DataFrame, text: str) -> list[str]:
    """Draw the rows that contain all words of `text`; the names of the ticked runs, in the order of the table. Those
    that are not drawn stay ticked."""
    words = text.casefold().split()
    said = [" ".join(row).casefold() for row in table[SEARCHED].fillna("").itertuples(index=False)]
    shown = table[[all(word in row for word in words) for row in said]]
    names = list(shown["run"])
    ticked = [name for name in st.session_state.get(CHOSEN, []) if name in set(table["run"])]
    values = [value for layers in table["layers"].dropna() for value in layers]
    columns = COLUMNS | {"layers": sparkline(min(values), max(values))} if values else COLUMNS
    order = [name for name in COLUMNS if not shown[name].isna().all() and not shown[name].eq("").all()]
    drawn = sha256("\0".join(names).encode()).hexdigest()[:16]  # another table has other rows to tick
    some = f"{len(shown):,} of " if len(shown) < len(table) else ""
    st.caption(f"{some}{counted(len(table), 'run')}. {ORDER}")
    default: Any = {"selection": {"rows": [i for i, name in enumerate(names) if name in ticked]}}
    event = st.dataframe(
        shown, hide_index=True, placeholder="-", column_config=columns, column_order=order, on_select="rerun",
        key=f"runs {drawn}", selection_mode="multi-row", selection_default=default,
        height=ROW * (min(len(shown), TALLEST) + 1) + 3, alt="All runs: tick those to open",
    )  # fmt: skip
    now = {names[i] for i in event["selection"]["rows"] if i < len(names)}
    chosen = [name for name in table["run"] if (name in now if name in set(names) else name in ticked)]
    st.session_state[CHOSEN] = chosen
    return chosen


def sparkline(low: float, high: float) -> Any:
    return COLUMN.LineChartColumn(
        "α_T by layer", width=110, y_min=low, y_max=high,
        help=f"From the first layer to the last, mean over clips; all rows from {low:.2f} to {high:.2f}.",
    )  # fmt: skip


def show_links(chosen: list[str]) -> None:
    """Links to the pages that show the chosen runs."""
    if not chosen:
        st.caption("Tick runs to open them in Attention, Predictions or Compare.")
        return
    st.markdown(f"**Open {counted(len(chosen), 'run')} in**")
    st.page_link(ATTENTION_PAGE, label="Attention", icon=":material/ssid_chart:", query_params={"runs": chosen})
    label = "Predictions of the first" if len(chosen) > 1 else "Predictions"
    st.page_link(PREDICTIONS_PAGE, label=label, icon=":material/table_rows:", query_params={"run": chosen[0]})
    if len(chosen) > 1:
        query = {"a": chosen[0], "b": chosen[1], "more": chosen[2:]}
        st.page_link(COMPARE_PAGE, label="Compare", icon=":material/compare_arrows:", query_params=query)
