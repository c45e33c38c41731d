"""Explanations of single clips: Grad-CAM, overlays, and tests of them. Imports no other package of `analysis`."""
