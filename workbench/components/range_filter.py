"""A filter by a range of numbers: a slider below a histogram. Its ends never cut off a clip, and it can be reset."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from analysis.report.scales import Ends, Scale, scale_of
from analysis.runs.run_directory import Run
from workbench.components.cached import cached_result
from workbench.components.context import escape_markdown

BINS = 40  # of a histogram
STYLE = """<style>
.bins { display: flex; align-items: flex-end; gap: 1px; height: 28px; margin: 0 6px 1.2rem }
.bins i { flex: 1; background: var(--st-primary-color, #0072B2); min-height: 0; border-radius: 1px 1px 0 0 }
.bins i.out { background: #8886 }
</style>"""


def fit_choice(chosen: Sequence[float], ends: Ends, scale: Scale) -> Ends | None:
    """What was chosen between `ends`, on another scale: an open end stays open; None if no part of it is there."""
    low = scale.low if chosen[0] <= ends[0] else max(chosen[0], scale.low)
    high = scale.high if chosen[1] >= ends[1] else min(chosen[1], scale.high)
    return scale.outward((low, high)) if low <= high else None


def choose_range(
    run: Run, title: str, values: pd.Series, key: str, hint: str | None = None
) -> tuple[str, NDArray[np.bool_]] | None:
    """A range of these values of a run's clips, which the URL has as `key`: its words, and which values lie in it; None
    if it is not narrowed.

    A choice that was made on another scale (of another run) is kept as far as it fits."""
    numbers = values.to_numpy(float, na_value=np.nan)
    scale = scale_of(numbers)
    if scale is None:
        return None
    lost = keep_choice(key, scale)
    with st.container(gap=None, key=f"{key}_filter"):
        st.markdown(f"<small>{title}</small>", help=hint, unsafe_allow_html=True)
        histogram = st.empty()
        step, form = scale.step, f"%.{scale.decimals}f"
        at = st.slider(
            title, *scale.ends, scale.ends, step, form, key=key, bind="query-params", label_visibility="collapsed"
        )
        chosen = round(at[0], scale.decimals), round(at[1], scale.decimals)  # the browser adds up steps
        counts = cached_result("histogram", [run], lambda: counts_of(numbers, scale), key)
        histogram.html(histogram_html(counts, scale, chosen))
        if lost:
            st.caption(f"{escape_markdown(lost)} is outside of this run's range, so it filters nothing here.")
    st.session_state[f"{key} ends"] = scale.ends
    words = scale.describe(chosen)
    return (words, (numbers >= chosen[0]) & (numbers <= chosen[1])) if words else None


def keep_choice(key: str, scale: Scale) -> str:
    """Before its slider is drawn, make the session's choice, or the link's, one of this scale; the words of a choice
    that does not fit."""
    ends = st.session_state.get(f"{key} ends")
    chosen: Sequence[float] | None = st.session_state.get(key)
    if chosen is None and (linked := linked_range(key)):
        chosen, ends = linked, (-math.inf, math.inf)
    if chosen is None or scale.ends == ends:
        return ""
    fitted = fit_choice(chosen, ends or (-math.inf, math.inf), scale)
    st.session_state[key] = fitted or scale.ends
    return "" if fitted else f"The range {chosen[0]:g} to {chosen[1]:g}"


def linked_range(key: str) -> Ends | None:
    """The two numbers that the URL has as `key`, if it has two."""
    try:
        low, high = map(float, st.query_params.get_all(key))
    except ValueError:
        return None
    return (low, high) if low <= high else None


def reset_range(key: str) -> None:
    if ends := st.session_state.get(f"{key} ends"):
        st.session_state[key] = ends


def counts_of(numbers: NDArray[np.float64], scale: Scale) -> NDArray[np.intp]:
    """(BINS,): how many values lie in each part of the scale."""
    return np.histogram(numbers[np.isfinite(numbers)], BINS, scale.ends)[0]


def histogram_html(counts: NDArray[np.intp], scale: Scale, chosen: Ends) -> str:
    """Bars over the slider: how many clips have which number, those outside of the choice in gray."""
    edges = np.linspace(*scale.ends, BINS + 1)
    middle = (edges[:-1] + edges[1:]) / 2
    shares = np.where(counts, np.maximum(counts / counts.max(), 0.06), 0)
    bars = "".join(
        f'<i style="height: {share:.0%}"{"" if chosen[0] <= at <= chosen[1] else " class=out"}></i>'
        for share, at in zip(shares, middle, strict=True)
    )
    return f'{STYLE}<div class="bins" aria-hidden="true">{bars}</div>'
