"""Commands that run in the background, and outlive the page and the app that started them.

    RUNS/.jobs/ID/job.json    the command, its run, and its process
    RUNS/.jobs/ID/log.txt     what it prints

Nothing about a job is kept in memory, so that every page of every app on the folder of runs shows the same. A job has
finished when the last line that its command prints, which ends with what was written, is in its log.
"""

import platform
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import psutil
from filelock import FileLock

from sth_core.errors import UserError, shorten
from sth_core.files import read_object, system_reason, write_json
from sth_core.network_names import NetworkName, network_name
from sth_core.resumable import no_report
from sth_core.values import Between, fits, hints_of
from workbench.pace import read_duration
from workbench.roots import resolve_inside

MOST_RUNNING = 2
PRIORITY: int = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10)  # Windows' class; elsewhere a niceness
SECONDS_TO_END = 5.0  # after SIGTERM; then SIGKILL
SECONDS_OF_CLOCK = 2.0  # by which the creation time of one process may differ when it is read again
LOG_TAIL = 8000  # bytes of a log that are read
RUN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")
# As `progress_lines` prints it; earlier versions printed no speed, and the time left in seconds alone.
PROGRESS = re.compile(
    r"(?:recording|probing|replacing α of|testing) .+: "
    r"(?P<done>\d+)/(?P<total>\d+)(?:, (?P<left>[^,]+) left)?(?:, [^:]*)?\s*"
)


@dataclass(frozen=True)
class JobProcess:
    """A process, distinguished from a later one with the same number by the time of its creation."""

    pid: Annotated[int, Between(1, 2**31)]
    created: float = 0.0  # seconds since 1970
    host: str = ""

    @classmethod
    def of(cls, pid: int) -> "JobProcess":
        return cls(pid, psutil.Process(pid).create_time(), platform.node())

    def find(self) -> psutil.Process | None:
        """The process if it is running on this machine."""
        try:
            found = psutil.Process(self.pid)
            same = self.host == platform.node() and abs(found.create_time() - self.created) < SECONDS_OF_CLOCK
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


STORED = {"run": str, "command": tuple[str, ...], "started": str, "cancelled": bool, "last": str}  # of a job.json


@dataclass(frozen=True)
class Job:
    folder: Path
    run: Path
    command: list[str]
    started: str  # UTC, ISO 8601
    process: JobProcess
    cancelled: bool = False
    last: str = ""  # how the last line that the command prints ends; of a recording with its run

    @property
    def kind(self) -> str:
        """The `sth` command."""
        return self.command[3] if len(self.command) > 3 else "record"

    @property
    def end(self) -> str:
        return self.last or f"run: {self.run}"


@dataclass(frozen=True)
class JobStatus:
    """What a job's log and its process show now."""

    state: str  # running, finished, failed, cancelled; lost: it ran on another machine, or before this one's last start
    done: int
    total: int
    seconds_left: int | None
    last_line: str
    log: str


def record_job(
    runs: Path,
    name: str,
    network: Path | NetworkName,
    data: Path,
    split: str,
    label: str = "",
    *,
    inside: Sequence[Path] = (),
) -> Job:
    """Start `sth record` in the background; without `label`, with the labels that the network was trained on; without
    `split`, of the clips that `sth record` takes then. With `inside` it reads no video outside of these folders.

    Raises:
        UserError: the name cannot be a run's, the folder is missing, or too many jobs are running.
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
        raise UserError(f"{run} exists already and is no run; choose another name")
    words = ["record", *words_of_network(network_name(network)), f"--data={data}", f"--out={run}"]
    words += [f"--{name}={value}" for name, value in (("split", split), ("label", label)) if value]
    words += [f"--inside={folder}" for folder in inside]
    return start_job(runs, run, words)


def words_of_network(network: NetworkName) -> list[str]:
    """The argument and the options by which a command names a network."""
    more = (("weights", network.weights), ("class-names", network.class_names))
    return [network.name, *(f"--{name}={value}" for name, value in more if value)]


def start_job(runs: Path, run: Path, arguments: list[str], last: str = "") -> Job:
    """Start `sth ARGUMENTS...`, in a session of its own and at low priority, unless too many jobs are running. `last`
    is how the last line that it prints ends."""
    jobs_folder(runs).mkdir(parents=True, exist_ok=True)
    with FileLock(jobs_folder(runs) / ".lock"):
        if sum(job_status(job).state == "running" for job in find_jobs(runs)) >= MOST_RUNNING:
            raise UserError(f"{MOST_RUNNING} jobs are running already; wait until one has finished, or cancel one")
        now = datetime.now(UTC)
        folder = jobs_folder(runs) / f"{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}"
        folder.mkdir()
        command = [sys.executable, "-m", "workbench", *arguments]
        with (folder / "log.txt").open("wb") as log:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            child = subprocess.Popen(command, start_new_session=True, **streams)
        process = JobProcess.of(child.pid)  # if it has ended it is a zombie, which has these values too
        with suppress(psutil.Error):
            psutil.Process(child.pid).nice(PRIORITY)
        Thread(target=child.wait, daemon=True).start()  # or it would stay a zombie
        job = Job(folder, run, command, now.isoformat(timespec="seconds"), process, last=last)
        write_job(job)
    return job


def find_jobs(runs: Path, damaged: Callable[[str], object] = no_report) -> list[Job]:
    """All jobs of a folder of runs, the newest first; `damaged` is told of each that cannot be read."""
    jobs, folders, place = list[Job](), list[Path](), jobs_folder(runs)
    try:
        folders = sorted(place.iterdir(), reverse=True)
    except FileNotFoundError:
        pass
    except OSError as error:
        damaged(f"{place} cannot be read ({system_reason(error)})")
    for folder in folders:
        try:
            jobs.append(read_job(folder / "job.json"))
        except UserError as error:
            begins = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)  # or it is the lock
            if not begins:
                damaged(str(error))
    return jobs


def job_status(job: Job) -> JobStatus:
    log = read_tail(job.folder / "log.txt")
    lines = [line for line in log.splitlines() if line.strip()]
    progress = next(filter(None, map(PROGRESS.fullmatch, reversed(lines))), None)
    done, total, left = progress.groups() if progress else (0, 0, None)
    seconds_left = read_duration(left) if left else None
    last_line = lines[-1].removeprefix("sth: ") if lines else ""
    return JobStatus(job_state(job, lines), int(done), int(total), seconds_left, last_line, log)


def job_state(job: Job, lines: list[str]) -> str:
    """One of `JobStatus.state`, by the lines of the job's log."""
    if job.process.find():
        return "running"
    if any(line.endswith(job.end) for line in lines):
        return "finished"
    if job.cancelled:
        return "cancelled"
    another_machine = job.process.host not in ("", platform.node())
    restarted = datetime.fromisoformat(job.started).timestamp() < psutil.boot_time()
    return "lost" if another_machine or restarted else "failed"


def cancel_job(job: Job) -> None:
    """End a job and the processes that it started: SIGTERM, and after some seconds SIGKILL. What it recorded stays."""
    process = job.process.find()
    if process is None:
        return
    write_job(replace(job, cancelled=True))
    alive = [process]
    with suppress(psutil.NoSuchProcess):  # here and below: it has ended meanwhile
        alive += process.children(recursive=True)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for one in alive:
            with suppress(psutil.NoSuchProcess):
                end(one)
        _, alive = psutil.wait_procs(alive, SECONDS_TO_END)


def jobs_folder(runs: Path) -> Path:
    return runs / ".jobs"


def write_job(job: Job) -> None:
    stored = {name: value for name, value in asdict(job).items() if name != "folder"}
    write_json(job.folder / "job.json", stored | {"run": str(job.run)})


def read_job(file: Path) -> Job:
    """A job.json; the process of one that was written before `created` was stored counts as ended.
    Raises UserError: it is damaged."""
    values: dict[str, Any] = {"cancelled": False, "last": "", **read_object(file)}
    process = {"created": 0.0, "host": ""} | (values["process"] if isinstance(values.get("process"), dict) else {})
    for found, wanted in ((values, STORED), (process, hints_of(JobProcess))):
        for name, hint in wanted.items():
            if not fits(found.get(name), hint):
                raise UserError(f"{file} is damaged ({name} is {shorten(found.get(name))})")
    try:
        datetime.fromisoformat(values["started"])
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error})") from error
    stored = {name: values[name] for name in STORED} | {"folder": file.parent, "run": Path(values["run"])}
    return Job(**stored, process=JobProcess(**{name: process[name] for name in hints_of(JobProcess)}))


def read_tail(file: Path) -> str:
    """The end of a log, without characters that control a terminal; of one that cannot be read, why."""
    try:
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - LOG_TAIL))
            text = log.read(LOG_TAIL).decode("utf-8", "replace")
    except OSError as error:
        return f"{file} cannot be read ({system_reason(error)})"
    return "".join(character for character in text if character.isprintable() or character == "\n")
