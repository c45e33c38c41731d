"""A tour of the demo: a few views in an order that tells what the workbench is for, each an ordinary link."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from analysis.runs.run_directory import open_run
from analysis.statistics.confusion import confused_pairs, confusion_cells
from workbench.components.address import remember
from workbench.components.context import (
    ATTENTION_PAGE,
    CLIP_PAGE,
    COMPARE_PAGE,
    OWN_PAGE,
    PREDICTIONS_PAGE,
    runs_folder,
    table_of,
)

ASKED = "sth_tour_offered"  # a cookie: the tour was taken, or was not wanted
MOTION, FLOW, APPEARANCE = DEMO = ("motion-rgb-p4", "motion-flow-p4", "appearance-rgb-p4")


@dataclass(frozen=True)
class Stop:
    title: str
    text: str
    page: str
    query: Callable[[], dict[str, str]]


def confused() -> tuple[str, str]:
    """The cell of the appearance run's confusion matrix that holds most mistakes: its label, and what was said."""
    pairs = confused_pairs(confusion_cells(table_of(open_run(runs_folder() / APPEARANCE))))
    return str(pairs["label"].iloc[0]), str(pairs["prediction"].iloc[0])


def cell() -> dict[str, str]:
    label, said = confused()
    return {"run": APPEARANCE, "view": "Confusion", "label": label, "said": said}


def mistake() -> dict[str, str]:
    label, said = confused()
    table = table_of(open_run(runs_folder() / APPEARANCE))
    some = table[(table["label"] == label) & (table["prediction"] == said)].sort_values("confidence", ascending=False)
    return {"run": APPEARANCE, "clip": some["clip_id"].iloc[0]}


STOPS = (
    Stop(
        "How much does each layer weigh time?",
        "Eight small networks were asked of the same clips how a thing *moves* (motion) or *what* it is (appearance). "
        "Solid lines are α_T, the weight of a layer's temporal kernels: Figure 7 shows which question leans on time.",
        ATTENTION_PAGE, dict,
    ),
    Stop(
        "What the paper says, put to these runs",
        "A statement of the paper's supplement holds, does not, or is undecided, with the comparisons behind it.",
        ATTENTION_PAGE, lambda: {"show": "Statements"},
    ),
    Stop(
        "What is taken for what?",
        "Squares off the diagonal are mistakes of the appearance network. Click one, here or in any matrix, and its "
        "clips are below; hold the pointer on a clip to play it.",
        PREDICTIONS_PAGE, cell,
    ),
    Stop(
        "Why did it say so?",
        "One of these clips. Move through its frames with → and ←: bright is what spoke for the class that was named. "
        "Choose the true class *against* the named one to see what tells them apart.",
        CLIP_PAGE, mistake,
    ),
    Stop(
        "Does it need the order of time?",
        "The motion network on a clip whose frames are reversed. The scores change under *What if*, further down; "
        "shuffle the frames, freeze them, or replace its attention.",
        CLIP_PAGE, lambda: {"run": MOTION, "order": "reversed"},
    ),
    Stop(
        "Two networks on the same clips",
        "Pixels (A) against optical flow (B): which clips did flow lose, and where does it weigh time differently?",
        COMPARE_PAGE, lambda: {"a": MOTION, "b": FLOW, "outcome": "lost"},
    ),
    Stop(
        "Now with a video of yours",
        "Upload one to see what any of these networks makes of it, or record your own network over your own clips.",
        OWN_PAGE, dict,
    ),
)  # fmt: skip


def show_tour() -> None:
    """Above a page: the stop of the tour that the URL names, or on a first visit the offer to take it."""
    if not all(open_run(runs_folder() / name).usable for name in DEMO):
        return
    named = st.query_params.get("tour", "")
    if named.isdecimal() and 1 <= int(named) <= len(STOPS):
        show_stop(int(named))
        return
    if ASKED not in st.context.cookies and not st.session_state.get(ASKED) and not st.query_params:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f"**New here?** A tour of the demo: {len(STOPS)} stops, a few minutes.")
            to_stop(1, "Take the tour", ":material/tour:")
            if st.button("Not now", type="tertiary"):
                st.session_state[ASKED] = True
                remember(ASKED, "1")
                st.rerun()
    else:
        with st.sidebar:
            to_stop(1, "Tour of the demo", ":material/tour:")


def show_stop(number: int) -> None:
    remember(ASKED, "1")
    st.query_params["tour"] = str(number)  # a link within a page tells the server, and not the browser's address
    stop = STOPS[number - 1]
    with st.container(border=True):
        st.markdown(f"**{number} of {len(STOPS)} · {stop.title}**  \n{stop.text}")
        with st.container(horizontal=True, vertical_alignment="center"):
            if number > 1:
                to_stop(number - 1, "Back", ":material/arrow_back:")
            if number < len(STOPS):
                to_stop(number + 1, f"Next: {STOPS[number].title}", ":material/arrow_forward:")
            if st.button("End the tour", type="tertiary"):
                del st.query_params["tour"]
                st.rerun()


def to_stop(number: int, label: str, icon: str) -> None:
    stop = STOPS[number - 1]
    st.page_link(stop.page, label=label, icon=icon, query_params=stop.query() | {"tour": str(number)})
