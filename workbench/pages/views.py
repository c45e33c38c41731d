"""Views: what was saved with *Save this view*, each opened by a click, and a report of them."""

import streamlit as st

from workbench.components.report_form import show_report_form
from workbench.components.saved_views import show_deleted, show_views

st.title("Views")
left, right = st.columns([3, 2], gap="medium")
with left:
    views = show_views()
    show_deleted()
with right:
    show_report_form(views)
