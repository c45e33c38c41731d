"""The middle clip of each row of a dataset's table, as the network gets it."""

from collections.abc import Iterator

import pandas as pd
from torch import Tensor

from sth_core.checkpoint import Checkpoint
from sth_core.datasets.clips import EvaluationClips
from sth_core.readers import pick_readers
from sth_core.video.transforms import normalise


def normalised_clips(
    checkpoint: Checkpoint, table: pd.DataFrame, workers: int | None, batch_size: int = 1
) -> Iterator[tuple[Tensor | None, str]]:
    """Each row's clip (T, C, H, W) on the network's device, or None, and why; a batch is read ahead by `workers`
    (`pick_readers`)."""
    device = next(checkpoint.model.parameters()).device
    clips = EvaluationClips(table, checkpoint.classes, checkpoint.preprocessing)
    with pick_readers(device, workers) as readers:
        for sample in clips.read_ahead(readers, ahead=batch_size + readers.workers):
            views = sample.views
            yield None if views is None else normalise(views[0].to(device), checkpoint.preprocessing), sample.failure
