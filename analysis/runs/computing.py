"""The arithmetic of commands that run a network over a dataset: its precision, and what is said of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from analysis.runs.dataset_options import AUTO_BATCH, DatasetOptions
from sth_core.errors import UserError
from sth_core.out_of_memory import fewer_views, saying_out_of_memory
from sth_core.precision import computing_in, replaced_precision


@contextmanager
def computing_as_asked(
    options: DatasetOptions, device: torch.device, fit: Callable[[], int] | None = None
) -> Iterator[DatasetOptions]:
    """While the block runs, networks on `device` compute in the precision of `options`, which are yielded; where they
    ask for the largest batch, with the one that `fit` finds.

    Raises UserError: no such precision, the memory is full, or the largest batch without `fit`."""
    if note := replaced_precision(options.precision, device):
        options.notify(note)
    with computing_in(options.precision, device):
        found = options.batch_size == AUTO_BATCH
        if found:
            if not fit:
                raise UserError("only `record` and `evaluate` find the largest batch; give its size")
            options = replace(options, batch_size=fit())
            options.notify(f"batches of {options.batch_size} views")

        def ways() -> str:
            return fewer_views(options.batch_size, options.precision, auto=bool(fit) and not found)

        with saying_out_of_memory(device, ways):
            yield options
