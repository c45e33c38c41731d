"""Above the demo's runs: what STH is, what these networks are, and what can be found out here."""

from pathlib import Path

import streamlit as st

from workbench.components.tour import show_tour_offer

SENTENCES = (
    "An **STH convolution** looks at single frames with most of its kernels, and across frames with a proportion p of "
    "them; learned attention weighs the two, α_S + α_T = 1.",
    "These **eight small networks** answer one of two questions about the same synthetic clips, how an object moves "
    "(motion) or what it is (appearance), from RGB or from optical flow.",
    "Here you **find out** which layers rely on time, which clips and classes are confused and on what evidence, and "
    "in what two networks differ.",
)
PICTURE = Path(__file__).with_name("sth_convolution.svg").read_text(encoding="utf-8")
PICTURE_IN_WORDS = (
    "Frames go through spatial kernels, weighed by α_S, and temporal kernels, weighed by α_T; their sum is the output."
)


def show_demo_intro() -> None:
    words, picture = st.columns([5, 3], gap="medium", vertical_alignment="center")
    with words:
        st.markdown(" ".join(SENTENCES))
        show_tour_offer()
    picture.image(PICTURE, alt=PICTURE_IN_WORDS)
