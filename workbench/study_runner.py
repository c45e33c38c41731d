"""`sth study`: trains and records every cell of a study, some at a time, each in a process of its own.

    OUT/networks/CELL       what `sth train` writes, and its log
    OUT/runs/CELL           what `sth record` writes
    OUT/study.json          what each cell is

Stopped and started again, it goes on: finished cells stay, the others resume their training.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from sth_core.errors import UserError
from sth_core.files import write_json
from sth_core.recipe import load_recipe
from sth_core.study import Cell, Study
from sth_core.training_state import stop_signals

SECONDS_BETWEEN_LOOKS = 1.0


def run_study(study: Study, data: Path, out: Path, jobs: int, device: str, show: Callable[..., None]) -> list[Cell]:
    """Train and record all cells of the study, `jobs` at a time; returns them.

    Raises:
        UserError: a cell failed; its log says why.
        KeyboardInterrupt: stopped by SIGTERM or Ctrl-C; the cells under way have saved their state.
    """
    cells = study.cells
    described = {"recipe": str(study.recipe), "paper": study.paper, "cells": [asdict(cell) for cell in cells]}
    write_json(out / "study.json", described)
    epochs = {cell.name: load_recipe(study.recipe, cell.changes).optimisation.epochs for cell in cells}
    waiting = [cell for cell in cells if not recorded(out, cell)]
    running: dict[str, subprocess.Popen[bytes]] = {}
    with stop_signals() as stopped:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    cell = waiting.pop(0)
                    running[cell.name] = start(study, cell, data, out, jobs, device)
                if stopped.wait(SECONDS_BETWEEN_LOOKS):
                    raise KeyboardInterrupt
                for name, process in list(running.items()):
                    if process.poll() is not None:
                        del running[name]
                        if process.returncode:
                            raise UserError(f"{name} failed; the end of {log_of(out, name)}:\n{last_lines(out, name)}")
                done = sum(min(epochs_done(out, cell), epochs[cell.name]) for cell in cells)
                show("training", done, sum(epochs.values()), "epochs; now " + ", ".join(running))
        finally:
            for process in running.values():  # they save what is under way
                process.send_signal(signal.SIGTERM)
            for process in running.values():
                process.wait()
    return cells


def start(study: Study, cell: Cell, data: Path, out: Path, jobs: int, device: str) -> subprocess.Popen[bytes]:
    """A process that trains a cell and then records it, with its share of the machine's threads."""
    network, run = out / "networks" / cell.name, out / "runs" / cell.name
    network.mkdir(parents=True, exist_ok=True)
    changes = [word for change in cell.changes for word in ("--set", change)]
    where = ["--data", str(data), "--device", device]
    train = ["train", str(study.recipe), *where, "-o", str(network), *changes]
    record = ["record", str(network / "model.safetensors"), *where, "-o", str(run)]
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    with log_of(out, cell.name).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "workbench.study_runner", json.dumps([train, record])],
            env=os.environ | {"OMP_NUM_THREADS": threads}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def recorded(out: Path, cell: Cell) -> bool:
    file = out / "runs" / cell.name / "run.json"
    return file.is_file() and bool(json.loads(file.read_text(encoding="utf-8"))["finished"])


def epochs_done(out: Path, cell: Cell) -> int:
    file = out / "networks" / cell.name / "metrics.csv"
    return len(file.read_text(encoding="utf-8").splitlines()) - 1 if file.is_file() else 0


def log_of(out: Path, name: str) -> Path:
    return out / "networks" / name / "log.txt"


def last_lines(out: Path, name: str) -> str:
    return "\n".join(log_of(out, name).read_text(encoding="utf-8", errors="replace").splitlines()[-5:])


def stop_when_orphaned() -> None:
    """Save and stop if the study is killed: when it is started again, it starts this cell again too."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    from workbench.cli import main

    stop_when_orphaned()
    for words in json.loads(sys.argv[1]):
        main(words, standalone_mode=False)
