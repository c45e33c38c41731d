"""The web app's pages. Start it with `sth app RUNS`."""

import streamlit as st

st.set_page_config(page_title="STH Workbench", page_icon=":material/movie:", layout="wide")
st.navigation(
    [
        st.Page("workbench/pages/attention.py", title="Attention", icon=":material/ssid_chart:", default=True),
        st.Page("workbench/pages/predictions.py", title="Predictions", icon=":material/table_rows:"),
        st.Page("workbench/pages/clip.py", title="Clip", icon=":material/movie:"),
    ]
).run()
