"""Records of a training: TensorBoard's files, a table of epochs, the clips that could not be read."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from sth_core.files import temporary_beside, write_atomically


class TrainingLog:
    """Loss, learning rate and speed of each step, and the metrics of each epoch, as TensorBoard shows them.

    Of a run that was killed before it saved, TensorBoard no longer shows what was logged from `next_step` on.
    """

    def __init__(self, out: Path, next_step: int) -> None:
        # Imported here, as it takes a second.
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(out / "tensorboard", purge_step=next_step)

    def step(self, number: int, loss: float, learning_rate: float, clips_per_second: float) -> None:
        values = {"loss": loss, "learning_rate": learning_rate, "clips_per_second": clips_per_second}
        for name, value in values.items():
            self.writer.add_scalar(f"step/{name}", value, number)

    def epoch(self, number: int, metrics: dict[str, Any]) -> None:
        """A row of metrics.csv, at the step at which its epoch ended."""
        for name in ("loss", "accuracy", "val_accuracy"):
            if metrics[name] == metrics[name]:  # NaN where the held-out clips were not evaluated
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


def read_failures(out: Path) -> dict[str, str]:
    table = pd.read_parquet(out / "failures.parquet")
    return dict(zip(table["clip_id"], table["reason"], strict=True))
