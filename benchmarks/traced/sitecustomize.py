"""Python imports this module when it starts, if this folder is in PYTHONPATH: see `benchmarks/mutant_lines.py`."""

from benchmarks.mutant_lines import record_lines

record_lines()
