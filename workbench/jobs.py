"""Commands that run in the background, and outlive the page and the app that started them.

    RUNS/.jobs/ID/job.json    which command, for which run, and its process
    RUNS/.jobs/ID/log.txt     what it says

All that is known of a job is read from there and from /proc, so that every page of every app on the folder of
runs says the same. A job has finished when the last word of `sth record`, the run's path, is in its log.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

from sth_core.errors import UserError
from sth_core.files import write_json
from workbench.access import TOKEN
from workbench.roots import resolve_inside

AT_A_TIME = 2
NICENESS = 10
SECONDS_TO_END = 5.0  # after SIGTERM; then SIGKILL
TAIL = 8000  # bytes of a log that are read
RUN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")
PROGRESS = re.compile(r"recording .+: (?P<done>\d+)/(?P<total>\d+)(?:, (?P<left>\d+) s left)?\s*")
PROC = Path("/proc")
ENDED = "ZX"  # states of a process that only waits to be asked how it ended


@dataclass(frozen=True)
class Process:
    """A process, told from a later one that got its number: by the start of the machine, and when it began after it."""

    pid: int
    boot: str
    began: int  # clock ticks

    @property
    def alive(self) -> bool:
        found = process(self.pid)
        return found is not None and found[0] == self and found[1] not in ENDED


@dataclass(frozen=True)
class Job:
    folder: Path
    run: Path
    command: list[str]
    started: str  # UTC, ISO 8601
    process: Process
    cancelled: bool = False


@dataclass(frozen=True)
class Status:
    """What is known of a job now. `word` is its last line, `left` seconds or None."""

    state: str  # running, finished, failed, cancelled; lost: the machine was started again since, or is another one
    done: int
    total: int
    left: int | None
    word: str
    log: str


def record_job(runs: Path, name: str, checkpoint: Path, data: Path, split: str, label: str = "") -> Job:
    """Start `sth record` in the background; without `label` the labels are those that the network was trained on.

    Raises:
        UserError: the name cannot be a run's, the folder is not there, or too many jobs are running.
    """
    if not RUN_NAME.fullmatch(name):
        raise UserError(f"{name!r} cannot be a run's name; use letters, digits, '-', '_' and '.', at most 80 of them")
    for what, value in (("split", split), ("label", label)):
        if not value.isprintable():
            raise UserError(f"{value!r} cannot be a {what}; use letters and digits")
    if not data.is_dir():
        raise UserError(f"there is no folder {data}")
    run = resolve_inside(runs / name, [runs])
    if run.exists() and not (run / "run.json").is_file():
        raise UserError(f"{run} is there already, and is no run; choose another name")
    words = ["record", str(checkpoint), f"--data={data}", f"--out={run}", f"--split={split}"]
    return start(runs, run, [*words, *([f"--label={label}"] if label else [])])


def start(runs: Path, run: Path, words: list[str]) -> Job:
    """Start `sth WORDS...`, in a session of its own and at low priority.

    Raises:
        UserError: as many jobs are running already as may, or this system has no /proc.
    """
    if process(os.getpid()) is None:
        raise UserError("background jobs need Linux; run the command yourself: `sth record`")
    with one_at_a_time(runs):
        if sum(look(job).state == "running" for job in find_jobs(runs)) >= AT_A_TIME:
            raise UserError(f"{AT_A_TIME} jobs are running already; wait until one has finished, or cancel one")
        now = datetime.now(UTC)
        folder = jobs_folder(runs) / f"{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}"
        folder.mkdir()
        command = [sys.executable, "-m", "workbench", *words]
        environment = {name: value for name, value in os.environ.items() if name != TOKEN}
        with (folder / "log.txt").open("wb") as log:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        found = process(child.pid)
        assert found is not None  # also if it has ended: it stays there until it is waited for
        with suppress(ProcessLookupError):  # it has ended already
            os.setpriority(os.PRIO_PGRP, child.pid, NICENESS)
        Thread(target=child.wait, daemon=True).start()  # or else it stays as a zombie
        job = Job(folder, run, command, now.isoformat(timespec="seconds"), found[0])
        save(job)
    return job


def find_jobs(runs: Path) -> list[Job]:
    """All jobs of a folder of runs, the newest first."""
    files = sorted(jobs_folder(runs).glob("*/job.json"), reverse=True)
    return [read(file.parent) for file in files]


def look(job: Job) -> Status:
    """What has become of a job."""
    log = tail(job.folder / "log.txt")
    lines = [line for line in log.splitlines() if line.strip()]
    progress = next(filter(None, map(PROGRESS.fullmatch, reversed(lines))), None)
    done, total = (int(progress["done"]), int(progress["total"])) if progress else (0, 0)
    left = int(progress["left"]) if progress and progress["left"] else None
    word = lines[-1].removeprefix("sth: ") if lines else ""
    return Status(state_of(job, lines), done, total, left, word, log)


def state_of(job: Job, lines: list[str]) -> str:
    if job.process.alive:
        return "running"
    if any(line.endswith(f"run: {job.run}") for line in lines):
        return "finished"
    if job.cancelled:
        return "cancelled"
    return "failed" if job.process.boot == boot() else "lost"


def cancel(job: Job) -> None:
    """End a job: it is asked to (SIGTERM), and after some seconds made to (SIGKILL). What it recorded stays."""
    if not job.process.alive:
        return
    save(replace(job, cancelled=True))
    with suppress(ProcessLookupError):  # it has ended meanwhile
        os.killpg(job.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + SECONDS_TO_END
        while job.process.alive and time.monotonic() < deadline:
            time.sleep(0.05)
        if job.process.alive:
            os.killpg(job.process.pid, signal.SIGKILL)


def jobs_folder(runs: Path) -> Path:
    return runs / ".jobs"


@contextmanager
def one_at_a_time(runs: Path) -> Iterator[None]:
    """While the block runs no other page or app starts a job."""
    import fcntl

    jobs_folder(runs).mkdir(parents=True, exist_ok=True)
    with (jobs_folder(runs) / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def save(job: Job) -> None:
    values = asdict(job) | {"run": str(job.run)}
    del values["folder"]
    write_json(job.folder / "job.json", values)


def read(folder: Path) -> Job:
    values = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    return Job(folder, **values | {"run": Path(values["run"]), "process": Process(**values["process"])})


def tail(file: Path) -> str:
    """The end of a log, without what would steer a terminal."""
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - TAIL))
        text = log.read(TAIL).decode("utf-8", "replace")
    return "".join(character for character in text if character.isprintable() or character == "\n")


def boot() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def process(pid: int) -> tuple[Process, str] | None:
    """The process that has this number, and its state (R, S, Z, ...); None if there is none."""
    try:
        stat = (PROC / str(pid) / "stat").read_bytes().decode("utf-8", "replace")
        fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
        return Process(pid, boot(), int(fields[19])), fields[0]
    except OSError:
        return None
