"""What a training leaves to look at: TensorBoard's files, a table of its epochs, the clips that it could not read."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from sth_core.files import temporary_beside, write_atomically


class TrainingLog:
    """Loss, learning rate and speed of each step, and the metrics of each epoch, as TensorBoard shows them.

    What was logged from `next_step` on, by a run that was killed before it saved, TensorBoard no longer shows.
    """

    def __init__(self, out: Path, next_step: int) -> None:
        # Imported here: it takes a second, and whoever only reads clips need not wait for it.
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(out / "tensorboard", purge_step=next_step)

    def step(self, number: int, loss: float, learning_rate: float, clips_per_second: float) -> None:
        values = {"loss": loss, "learning_rate": learning_rate, "clips_per_second": clips_per_second}
        for name, value in values.items():
            self.writer.add_scalar(f"step/{name}", value, number)

    def epoch(self, number: int, metrics: dict[str, Any]) -> None:
        """A row of metrics.csv, at the step at which its epoch ended."""
        for name in ("loss", "accuracy", "val_accuracy"):
            if metrics[name] == metrics[name]:  # not nan: the held-out clips are not looked at in every epoch
                self.writer.add_scalar(f"epoch/{name}", metrics[name], number)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.writer.close()


def write_metrics(out: Path, metrics: list[dict[str, Any]]) -> None:
    with write_atomically(out / "metrics.csv") as file:
        writer = csv.DictWriter(file, list(metrics[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(metrics)


def write_failures(out: Path, failures: dict[str, str]) -> None:
    rows = [{"clip_id": clip_id, "reason": reason} for clip_id, reason in failures.items()]
    with temporary_beside(out / "failures.parquet") as temporary:
        pd.DataFrame(rows, columns=["clip_id", "reason"]).to_parquet(temporary)
