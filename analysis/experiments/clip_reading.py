"""The middle clip of each row of a dataset's table, as the network gets it."""

from collections.abc import Iterator

import pandas as pd
from torch import Tensor

from sth_core.checkpoint import Checkpoint
from sth_core.datasets.clips import EvaluationClips
from sth_core.prefetch import prefetch
from sth_core.video.transforms import normalise


def normalised_clips(
    checkpoint: Checkpoint, table: pd.DataFrame, workers: int, ahead: int
) -> Iterator[tuple[Tensor | None, str]]:
    """Each row's clip (T, C, H, W) on the network's device, or None, and why; `ahead` clips are prefetched."""
    device = next(checkpoint.model.parameters()).device
    clips = EvaluationClips(table, checkpoint.classes, checkpoint.preprocessing)
    for sample in prefetch(clips.__getitem__, range(len(clips)), workers, ahead):
        views = sample.views
        yield None if views is None else normalise(views[0].to(device), checkpoint.preprocessing), sample.failure
