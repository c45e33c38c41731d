"""The web app's pages. Start it with `sth app RUNS`."""

import streamlit as st

from sth_core.errors import UserError
from workbench.components.address import keep_address
from workbench.components.ahead import load_charts
from workbench.components.context import plain
from workbench.components.tour import show_tour

CHARTS = ("Attention", "Clip", "Compare", "Figures")  # pages that open with some
# A laptop's screen is low: no room above the page, nor for components that show nothing.
STYLE = """<style>
.stMainBlockContainer { padding-top: 3.5rem }
.st-key-address, .st-key-ahead { position: absolute }
</style>"""


def main() -> None:
    st.set_page_config(page_title="STH Workbench", page_icon=":material/movie:", layout="wide")
    page = st.navigation(
        [
            st.Page("workbench/pages/attention.py", title="Attention", icon=":material/ssid_chart:", default=True),
            st.Page("workbench/pages/predictions.py", title="Predictions", icon=":material/table_rows:"),
            st.Page("workbench/pages/clip.py", title="Clip", icon=":material/movie:"),
            st.Page("workbench/pages/compare.py", title="Compare", icon=":material/compare_arrows:"),
            st.Page("workbench/pages/figures.py", title="Figures", icon=":material/insert_chart:"),
            st.Page("workbench/pages/notes.py", title="Notes", icon=":material/edit_note:", url_path="notes"),
            st.Page("workbench/pages/own.py", title="Your own", icon=":material/upload:", url_path="own"),
        ]
    )
    st.html(STYLE)
    try:
        show_tour()
        keep_address()
        load_charts(now=page.title in CHARTS)
        page.run()
    except UserError as error:  # a file that cannot be used: a sentence, not a traceback
        st.error(plain(str(error)))


if __name__ == "__main__":  # and not in a process that a page starts, which imports this file
    main()
