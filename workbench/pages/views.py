"""Views: what was saved with *Save this view*, each opened by a click."""

import streamlit as st

from workbench.components.saved_views import show_views

st.title("Views")
show_views()
