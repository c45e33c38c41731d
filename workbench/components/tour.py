"""A tour of the demo: seven stops, each an ordinary link to a page of the app."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from analysis.attention.clip_profiles import most_confident_first
from analysis.runs.run_directory import open_run
from analysis.statistics.confusion import confused_pairs, confusion_cells
from workbench.components.cached import cached_overview
from workbench.components.context import (
    ATTENTION_PAGE,
    CLIP_PAGE,
    COMPARE_PAGE,
    OWN_PAGE,
    PREDICTIONS_PAGE,
    cached_why_unreadable,
)
from workbench.roots import runs_folder
from workbench.runs_in_roots import within_roots

MOTION, FLOW, APPEARANCE = DEMO = ("motion-rgb-p4", "appearance-flow-p4", "appearance-rgb-p4")


@dataclass(frozen=True)
class TourStop:
    """A page with a text above it; `query` gives the URL's parameters."""

    title: str
    page: str
    query: Callable[[], dict[str, str]]
    text: str


def cell_query() -> dict[str, str]:
    """The largest cell of misclassified clips of the appearance network."""
    pairs = confused_pairs(confusion_cells(cached_overview(open_run(runs_folder() / APPEARANCE))))
    label, prediction = pairs[["label", "prediction"]].astype(str).iloc[0]
    return {"run": APPEARANCE, "view": "Confusion", "label": label, "said": prediction}


def misclassified_query() -> dict[str, str]:
    """The most confident clip of that cell."""
    cell, table = cell_query(), cached_overview(open_run(runs_folder() / APPEARANCE))
    in_cell = (table["label"] == cell["label"]) & (table["prediction"] == cell["said"])
    return {"run": APPEARANCE, "clip": table["clip_id"].iloc[most_confident_first(table, in_cell)[0]]}


STOPS = (
    TourStop("How much does each layer weigh time?", ATTENTION_PAGE, dict,
        "Eight small networks classify the same clips by how an object *moves* (motion) or by *what* it is "
        "(appearance). Filled points show α_T, the weight of a layer's temporal branch. Figure 7 shows which task has "
        "the higher α_T."),
    TourStop("The paper's hypotheses, tested on these runs", ATTENTION_PAGE, lambda: {"show": "Hypotheses"},
        "The paper's supplement makes four claims about attention. The page shows which of them hold on these runs; "
        "open the comparisons to see why."),
    TourStop("Which classes are confused?", PREDICTIONS_PAGE, cell_query,
        "Squares off the diagonal are misclassified clips of the appearance network. Click a square to see its clips. "
        "Hold the pointer on a clip to play it."),
    TourStop("What was the prediction based on?", CLIP_PAGE, misclassified_query,
        "This is one of these clips. Move through its frames with → and ←. Bright areas raise the score of the "
        "predicted class. To see what separates the predicted from the true class, open the line above the "
        "picture, and choose the true class under *Against*."),
    TourStop("Does the network use the frame order?", CLIP_PAGE, lambda: {"run": MOTION, "order": "reversed"},
        "The motion network sees this clip with its frames reversed. Under *What if*, beside the picture, the scores "
        "change. You can also shuffle or freeze the frames, or replace the attention."),
    TourStop("Two networks on the same clips", COMPARE_PAGE, lambda: {"a": APPEARANCE, "b": FLOW, "changed": "lost"},
        "RGB (A) is compared with optical flow (B). Which clips are correct only with RGB, and in which layers does "
        "the attention differ?"),
    TourStop("Your own videos", OWN_PAGE, dict,
        "Upload a video to see what these networks predict for it, or record your own network on your own clips."),
)  # fmt: skip


def is_demo() -> bool:
    """Whether the folder of runs has those of the demo, and they can be read."""
    return not any(cached_why_unreadable(within_roots(open_run(runs_folder() / name))) for name in DEMO)


def show_tour() -> None:
    """Above a page: the stop of the tour that the URL names."""
    number = st.query_params.get("tour", "")
    if number.isdecimal() and 1 <= int(number) <= len(STOPS) and is_demo():
        show_stop(int(number))


def show_tour_offer() -> None:
    show_stop_link(1, f"Tour of the demo: {len(STOPS)} stops in a few minutes", ":material/tour:")


def show_stop(number: int) -> None:
    st.query_params["tour"] = str(number)  # a link within a page changes the server's URL, and not the browser's
    stop = STOPS[number - 1]
    with st.container(border=True):
        st.markdown(f"**{number} of {len(STOPS)} · {stop.title}**  \n{stop.text}")
        with st.container(horizontal=True, vertical_alignment="center"):
            if number > 1:
                show_stop_link(number - 1, "Back", ":material/arrow_back:")
            if number < len(STOPS):
                show_stop_link(number + 1, f"Next: {STOPS[number].title}", ":material/arrow_forward:")
            if st.button("End the tour", type="tertiary"):
                del st.query_params["tour"]
                st.rerun()


def show_stop_link(number: int, label: str, icon: str) -> None:
    stop = STOPS[number - 1]
    st.page_link(stop.page, label=label, icon=icon, query_params=stop.query() | {"tour": str(number)})
