"""Accuracy, confusion, calibration, fused runs, and the uncertainty of all numbers. Imports `runs`."""
