"""Probes, interventions and trust over a dataset, and their tables. Imports every package but `report`."""
