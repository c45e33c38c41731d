"""Where work is written: by one process at a time, and without what killed processes left there.

FOLDER/.lock         who works in the folder; the system releases the lock if the process dies
.FILE.lock           the same for a single file, while it is written
"""

import os
import platform
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from sth_core.errors import UserError
from sth_core.files import HOST, LEFTOVER, short_name, system_reason

LOCK = ".lock"
RUN_FILE = "run.json"  # which makes a folder a run
SECONDS_OF_CLOCK = 2.0  # by which a file's time and that of a process may differ
SECONDS_OF_OTHERS = 86_400.0  # after which a temporary file of another machine, unchanged, is a leftover
MOST_HELD = 200  # bytes that are read of a lock
HOLDER = re.compile(r"process \d+ on [\w.-]+")


@contextmanager
def writing_into(folder: Path, *subfolders: str) -> Iterator[None]:
    """While the block runs, no other process writes into the folder, which is made. Such blocks can be nested.

    Removed, before and after: what processes that were killed left there and in `subfolders`.
    Raises UserError: another process writes there, or the file system has no locks."""
    folder.mkdir(parents=True, exist_ok=True)
    places = (folder, *(folder / name for name in subfolders))
    with held(folder / LOCK, f"works in {folder}", nested=True, remove=True):
        remove_leftovers(*places)
        yield
        remove_leftovers(*places)


@contextmanager
def writing_file(path: Path) -> Iterator[None]:
    """While the block runs, no other process writes the file, or files beside it that differ in the suffix alone.

    Its folder is made, and what killed processes left of those files is removed. Raises UserError as `writing_into`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{short_name(path.name, path.stem)}.lock")
    with held(lock, f"writes {path}", remove=True):
        remove_leftovers(path.parent, of=path)
        yield


def refuse_replacing(outputs: Iterable[tuple[str, Path | None, str]], inputs: Iterable[Path | None] = ()) -> None:
    """Refuse, before anything is written, what would replace a file of a person; `outputs` are (option, file, suffix),
    without a file where the option is not given. An earlier table, a file with this suffix, may be replaced.

    Raises:
        UserError: an output is an input, is named twice, is a run's description, lies in a run, or is another file.
    """
    read = [path for path in inputs if path]
    named = dict[str, Path]()
    for option, file, suffix in outputs:
        if file is None:
            continue
        if any(same_file(file, path) for path in read):
            raise UserError(f"{option} {file} is a file that is read; name another one")
        if other := next((earlier for earlier, path in named.items() if same_file(file, path)), ""):
            raise UserError(f"{other} and {option} both name {file}; give each a file of its own")
        if file.name == RUN_FILE:
            raise UserError(f"{option} {file} has the name of a run's description; choose another name")
        if run := run_around(file):
            raise UserError(f"{option} {file} lies in the run {run}; name a file outside of it")
        if file.exists() and file.suffix.lower() != suffix:
            raise UserError(f"{option} {file} exists and does not end in {suffix}; name a new file, or one that does")
        named[option] = file


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths are of one file, which links and file systems that ignore case can make of different names."""
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


def run_around(file: Path) -> Path | None:
    """The run in whose folder, or in a folder of whose folder, the file lies: itself, or what it is a link to."""
    above = (place for name in (file, file.parent) for place in (name.resolve(), *name.resolve().parents))
    return next((folder for folder in above if (folder / RUN_FILE).is_file()), None)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; raises UserError if another process or this one holds it, or there can be none."""
    with held(folder / LOCK, f"works in {folder}"):
        yield


@contextmanager
def held(lock: Path, doing: str, *, nested: bool = False, remove: bool = False) -> Iterator[None]:
    """Hold a lock; `doing` says in a message what another process does that holds it.

    `nested`: this process may hold it already; `remove`: the lock's file goes, if it does not."""
    lock = lock.parent.resolve() / lock.name
    file = FileLock(lock, blocking=False, is_singleton=True)  # one object for each path and thread
    try:
        if (inner := file.is_locked) and not nested:
            raise Timeout(str(lock))
        file.acquire()
    except Timeout as error:
        ways = f"wait until it has finished, end it{holder(lock)}, or choose another folder"
        raise UserError(f"another process {doing}; {ways}") from error
    except (OSError, NotImplementedError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else "its file system has no locks; name another"
        raise UserError(f"cannot lock {lock.parent} ({reason})") from error
    try:
        with suppress(OSError):  # a full disk; then the message does not name the process
            lock.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        if remove and not inner:  # while it is held: a process that has opened it sees that it is gone
            with suppress(OSError):
                lock.unlink()
        file.release()


def holder(lock: Path) -> str:
    """ " (process 4242 on this-machine)" as the one that holds the lock wrote it, or nothing."""
    with suppress(OSError, ValueError), lock.open(encoding="utf-8") as file:
        found = HOLDER.fullmatch(file.read(MOST_HELD))
        return f" ({found[0]})" if found else ""
    return ""


def remove_leftovers(*folders: Path, of: Path | None = None) -> None:
    """Remove the temporary files (of `temporary_beside`) in these folders whose processes have ended.

    `of`: only those that were to become this file."""
    stem = of and short_name(of.name, of.stem)
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            found = LEFTOVER.fullmatch(path.name)
            if (
                not found
                or (stem is not None and found["stem"] != stem)
                or being_written(path, found["host"], int(found["pid"]))
            ):
                continue
            with suppress(FileNotFoundError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def being_written(path: Path, host: str, pid: int) -> bool:
    """Whether the process that made a temporary file still runs, and not a later one with its number.

    Of another machine that is not known: its file counts as being written for a day after its last change."""
    with suppress(psutil.NoSuchProcess, OSError):
        if host != HOST:
            return time.time() - path.lstat().st_mtime < SECONDS_OF_OTHERS
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return not ended and process.create_time() <= path.lstat().st_mtime + SECONDS_OF_CLOCK
    return False
