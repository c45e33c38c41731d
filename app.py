"""The web app's pages. Start it with `sth app RUNS`."""

import streamlit as st

from workbench.components.browser import preload_plotly, sync_browser_history
from workbench.components.cached import files_looked_at_once
from workbench.components.context import errors_shown, redirect_old_links
from workbench.components.saved_views import show_save_view
from workbench.components.tour import show_tour

PAGES_WITH_CHARTS = ("Attention", "Clip", "Compare", "Experiments", "Figures")
# A film strip. Streamlit's browser code would fetch an icon that is given by its name from a server of Google's.
ICON = """<svg viewBox="0 0 24 24"><rect x="2" y="3" width="20" height="18" rx="3" fill="#0072B2"/>
<path d="M9 8v8l7-4z" fill="white"/><path d="M5 5v14M19 5v14" stroke="white" stroke-width="2" stroke-dasharray="2"/>
</svg>"""
# Laptop screens are low: no empty space above the page, nor for components that draw nothing.
# Text that Streamlit makes too pale, and a focus that can be seen (tests/test_accessibility.py).
STYLE = """<style>
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p {
  color: light-dark(#5c5b58, #b4b2ac); opacity: 1 }
[data-testid="stWidgetLabel"] p { color: light-dark(#31333f, #e6e4de) }
.stMultiSelect [data-tag] :is(span, button) { color: light-dark(#ffffff, #101418) }
:is(a, button, input, textarea, summary, [role="slider"], [tabindex="0"]):focus-visible {
  outline: 2px solid light-dark(#00629b, #56b4e9) !important; outline-offset: 2px }
.stMainBlockContainer { padding: 1rem clamp(1rem, 3vw, 4rem) 3.5rem }
.stMainBlockContainer h1 { padding-block: 0.25rem 0.5rem }
.stAppHeader { height: 2.5rem; min-height: 2.5rem; background: none; pointer-events: none }
.stAppHeader :is(a, button) { pointer-events: auto }
:has([data-testid="stExpandSidebarButton"]) .stMainBlockContainer { padding-top: 3rem }
[data-testid="stSidebarHeader"] { height: 2.5rem; margin-bottom: 0 }
.st-key-browser_history, .st-key-plotly_preload { position: absolute }
</style>"""


def main() -> None:
    st.set_page_config(page_icon=ICON, layout="wide")  # before the pages: the browser would fetch the icon of one
    page = st.navigation(
        [
            st.Page("workbench/pages/runs.py", title="Runs", icon=":material/list_alt:", default=True),
            st.Page("workbench/pages/attention.py", title="Attention", icon=":material/ssid_chart:"),
            st.Page("workbench/pages/predictions.py", title="Predictions", icon=":material/table_rows:"),
            st.Page("workbench/pages/clip.py", title="Clip", icon=":material/movie:"),
            st.Page("workbench/pages/compare.py", title="Compare", icon=":material/compare_arrows:"),
            st.Page("workbench/pages/experiments.py", title="Experiments", icon=":material/science:"),
            st.Page("workbench/pages/figures.py", title="Figures", icon=":material/insert_chart:"),
            st.Page("workbench/pages/notes.py", title="Notes", icon=":material/edit_note:", url_path="notes"),
            st.Page("workbench/pages/views.py", title="Views", icon=":material/bookmark:"),
            st.Page("workbench/pages/own.py", title="Your own", icon=":material/upload:", url_path="own"),
        ]
    )
    st.set_page_config(page_title=f"{page.title} · STH Workbench")
    redirect_old_links(first_page=page.title == "Runs")
    st.html(STYLE)
    with errors_shown():
        show_tour()
        sync_browser_history()
        preload_plotly(now=page.title in PAGES_WITH_CHARTS)
        with files_looked_at_once():
            page.run()
        show_save_view(page.url_path)


if __name__ == "__main__":  # a process that a page starts imports this file, and must not run it
    main()
