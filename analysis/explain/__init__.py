"""Explanations of single clips: Grad-CAM, overlays, and tests of them. Imports no other room of `analysis`."""
