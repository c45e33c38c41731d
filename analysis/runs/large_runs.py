"""Runs of so many clips that a page would wait long for all of them: it reads a random sample of them.

How long all would take, and how much memory: docs/scale.md.
"""

import math
from dataclasses import replace

from analysis.runs.run_directory import Run

READ_WHOLE = 1_000_000  # clips of the largest run of which a page reads all
SAMPLE = 500_000  # about so many clips of a larger one are read


def sampled(run: Run) -> Run:
    """A run of more than `READ_WHOLE` clips with the `every` that leaves about `SAMPLE` clips; another one as it is."""
    clips = run.meta.get("clips", 0)
    return replace(run, every=math.ceil(clips / SAMPLE)) if clips > READ_WHOLE else run


def sample_sentence(run: Run) -> str:
    """How much of the run is read; empty if it is all."""
    clips = run.meta.get("clips", 0)
    return f"a random sample is read, about {clips // run.every:,} of {clips:,} clips" if run.every > 1 else ""
