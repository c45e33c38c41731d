"""`sth study`: trains and records every cell of a study, several at a time, each command in a process of its own.

    OUT/networks/CELL       what `sth train` writes, and the log of both commands
    OUT/runs/CELL           what `sth record` writes
    OUT/study.json          the cells

When it is stopped and started again, it continues: finished cells stay, the others resume their training.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from analysis.runs.run_directory import open_run
from sth_core.errors import UserError
from sth_core.recipe import load_recipe
from sth_core.resumable import Work, flatten_keys, no_report, working_on
from sth_core.stopping import hear_signals
from sth_core.study import Study, StudyCell
from workbench.parent import PARENT

SECONDS_BETWEEN_POLLS = 1.0
LINES_OF_LOG = 5  # of a command that failed
STUDY_FILES = ("networks", "runs", "index.html", "results.csv", "curves.csv")


class RunningCell:
    """A cell that is trained and then recorded, with so many threads and workers; stops when this process ends."""

    def __init__(self, study: Study, cell: StudyCell, data: Path, out: Path, device: str, threads: int) -> None:
        network = out / "networks" / cell.name
        network.mkdir(parents=True, exist_ok=True)
        self.name, self.log = cell.name, network / "log.txt"
        self.environment = os.environ | {"OMP_NUM_THREADS": str(threads), PARENT: str(os.getpid())}
        changes = [word for change in cell.changes for word in ("--set", change)]
        common = ["--data", str(data), "--device", device, "--workers", str(threads)]
        self.waiting = [
            ["train", str(study.recipe.absolute()), *common, "-o", str(network), *changes],
            ["record", str(network / "model.safetensors"), *common, "-o", str(out / "runs" / cell.name)],
        ]
        self.process = self.start_next()

    @property
    def doing(self) -> str:
        return f"{'training' if self.waiting else 'recording'} {self.name}"

    def start_next(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "workbench", *self.waiting.pop(0)]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def finished(self) -> bool:
        """Whether the last command has ended; if an earlier one has, the next is started.

        Raises:
            UserError: a command failed; quotes the end of its log.
        """
        code = self.process.poll()
        if code:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_OF_LOG:]
            raise UserError(f"{self.name} failed; the end of {self.log}: {' / '.join(lines)}")
        if code is None:
            return False
        if not self.waiting:
            return True
        self.process = self.start_next()
        return False


def run_study(
    study: Study, data: Path, out: Path, jobs: int, device: str, show: Callable[..., None], *,
    overwrite: bool = False, command: str = "", notify: Callable[[str], None] = no_report,
) -> None:  # fmt: skip
    """Train and record all cells of the study, `jobs` at a time.

    A folder with another study is refused, unless `overwrite` moves that aside. Cells may be added.

    Raises:
        UserError: a cell failed (quotes the end of its log), or the folder holds something else.
        KeyboardInterrupt: stopped by SIGTERM or Ctrl-C; the running cells have saved their state.
    """
    cells = study.cells
    facts = {"recipe": str(study.recipe), "paper": study.paper, "cells": [asdict(cell) for cell in cells]}
    work, threads = study_work(study, data, out), max(1, (os.cpu_count() or 1) // jobs)
    epochs = {cell.name: load_recipe(study.recipe, cell.changes).optimisation.epochs for cell in cells}
    with working_on(work, facts, command=command, overwrite=overwrite, notify=notify), hear_signals():
        waiting = [cell for cell in cells if not cell_is_recorded(out, cell)]
        running: list[RunningCell] = []
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.append(RunningCell(study, waiting.pop(0), data, out, device, threads))
                time.sleep(SECONDS_BETWEEN_POLLS)
                running = [cell for cell in running if not cell.finished()]
                done = sum(min(epochs_done(out, cell), epochs[cell.name]) for cell in cells)
                doing = "now " + ", ".join(cell.doing for cell in running) if running else ""
                show("training", done, sum(epochs.values()), doing, unit="epoch")
        finally:
            end_cells(running, notify)


def end_cells(running: list[RunningCell], notify: Callable[[str], None]) -> None:
    """Ask the cells to stop, and wait until they have saved their state."""
    if running:
        networks = "1 network to save its" if len(running) == 1 else f"{len(running)} networks to save their"
        notify(f"stopping: waiting for {networks} state")
    for cell in running:
        cell.process.send_signal(signal.SIGTERM)
    for cell in running:
        cell.process.wait()


def study_work(study: Study, data: Path, out: Path) -> Work:
    """Two studies are the same if the cells that they share are, and the recipe and data of all."""
    trainings = {cell.name: list(cell.changes) for cell in study.cells}
    identity = {"data": str(data), "base": asdict(load_recipe(study.recipe)), "trainings": trainings}
    return Work(out, "study.json", "study", identity, STUDY_FILES, flatten_keys(identity))


def cell_is_recorded(out: Path, cell: StudyCell) -> bool:
    return bool(open_run(out / "runs" / cell.name).meta.get("finished"))


def epochs_done(out: Path, cell: StudyCell) -> int:
    file = out / "networks" / cell.name / "metrics.csv"
    return len(file.read_bytes().splitlines()) - 1 if file.is_file() else 0
