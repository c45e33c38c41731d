"""How a network is run over a dataset: what `record`, `probe`, `intervene` and `trust` have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sth_core.resumable import no_report

SPLIT_HELP = (
    "Which clips: train, val, ..., or all. By default val; of a dataset without splits the clips that the network was "
    "not trained on."
)


AUTO_BATCH = 0  # as a batch's size: the largest that fits


@dataclass(frozen=True)
class DatasetOptions:
    """Which clips, where, how many at once, and how exactly; `batch_size` is in views, `workers` read clips
    (`pick_readers`).

    `precision` is fp32, tf32, bf16 or fp16 (`sth_core.precision`). With `AUTO_BATCH` as `batch_size`, `record` finds
    the largest batch that fits into a GPU's memory.

    `split` is a split of the dataset, "all", or empty for what fits the dataset and the network (`choose_split`).

    With `inside`, no video outside of these folders is read, whatever the dataset lists.

    `overwrite` moves earlier results of other work aside instead of refusing them. `progress` is called with the
    number of clips done and in total, `notify` with a sentence for the user; `command` is kept with the results.
    """

    split: str = ""
    device: str = "auto"
    precision: str = "fp32"
    batch_size: int = 8
    workers: int | None = None
    overwrite: bool = False
    inside: tuple[Path, ...] = ()
    command: str = ""
    progress: Callable[[int, int], None] = no_report
    notify: Callable[[str], None] = no_report
