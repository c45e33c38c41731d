"""Runs of object storage as files on this machine: fetched once, and again when they have changed there.

What the app adds to such runs (notes, saved views, results of experiments) stays on this machine, and fetching again
keeps it. Notes of the storage are fetched once; what people then add to them here is not replaced. All other files
that are fetched are never written to.
"""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from analysis.runs import notes_file
from analysis.runs.run_directory import location
from sth_core.errors import UserError, visible
from sth_core.files import cache_folder, cannot_write, error_sentence, write_json

INDEX = ".mirror.json"  # in the mirror's folder: the URL, {file: which version of it is here}, when it was compared
MARKS = ("run.json", "trust.json")  # a folder that holds one of them is fetched, with all below it
AT_ONCE = 32  # files that are asked for together
Progress = Callable[[int, int, str], object]  # how many files of how many are here, and the last one


@dataclass(frozen=True)
class Mirror:
    """The runs at a URL, and the folder on this machine that has the same files."""

    url: str
    folder: Path

    @property
    def index(self) -> dict[str, Any]:
        """What was fetched: url, files and when; empty before the first time."""
        try:
            return dict(json.loads((self.folder / INDEX).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}


@dataclass(frozen=True)
class Fetched:
    """How many files were fetched and how many are gone; `left_out` says which of the storage could not be."""

    files: int
    gone: int
    left_out: tuple[str, ...]


def mirror_of(url: str | Path) -> Mirror | None:
    """Where the runs of a URL are mirrored, in the user's cache; None for a folder of this machine.
    Raises UserError: a URL of a kind that is not known, or that needs a package which is not installed."""
    root = location(url)
    if isinstance(root, Path):
        return None
    spelt = str(root).rstrip("/")
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in spelt.rpartition("/")[2])[:40].lstrip(".")
    folder = cache_folder() / "mirrors" / f"{name}-{hashlib.sha256(spelt.encode()).hexdigest()[:12]}"
    return Mirror(spelt, folder)


def nearest_mirror(url: str | Path) -> tuple[Mirror, Path] | None:
    """The mirror of a URL, or that of a folder above it which this machine has, and where in it the URL's files are;
    None for a folder of this machine. Raises UserError: as of `mirror_of`."""
    own = found = mirror_of(url)
    while own and found and not found.index:
        above = found.url.rpartition("/")[0]
        found = mirror_of(above) if not above.endswith("/") else None
    if own is None:
        return None
    return (found, found.folder / own.url.removeprefix(found.url).lstrip("/")) if found else (own, own.folder)


def mirror_at(folder: Path) -> Mirror | None:
    """The mirror that this folder is; None if it is an ordinary one."""
    found = Mirror("", folder).index
    return Mirror(found["url"], folder) if found else None


def refresh(mirror: Mirror, progress: Progress = lambda done, total, name: None) -> Fetched:
    """Fetch what the mirror lacks or has in another version, and remove what is gone there; notes are not replaced, and
    not removed.

    A run's tables are here before its run.json is. If it is interrupted, the next call goes on.

    Raises:
        UserError: the storage cannot be read or holds no run, or this machine has no room.
    """
    mirror.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(mirror.folder / ".lock"):
        fs, there, left_out = listing(mirror.url)
        here: dict[str, str] = mirror.index.get("files", {})
        missing = [name for name, (version, _) in there.items() if here.get(name) != version]
        kept = [name for name in missing if is_notes(name) and (mirror.folder / name).exists()]
        left_out += [f"{name}: it has changed there, and the notes on this machine are kept" for name in kept]
        missing = [name for name in missing if name not in kept]
        missing.sort(key=lambda name: (PurePosixPath(name).name in MARKS, name))
        refuse_without_room(mirror, sum(there[name][1] for name in missing))
        gone = sorted(here.keys() - there.keys())
        try:
            for name in gone:
                if not is_notes(name):
                    (mirror.folder / name).unlink(missing_ok=True)
                del here[name]
            root = location(mirror.url).path.rstrip("/")  # type: ignore[attr-defined]
            for first in range(0, len(missing), AT_ONCE):
                names = missing[first : first + AT_ONCE]
                for name in fetch(fs, root, mirror.folder, names):
                    here[name] = there[name][0]
                progress(len(here), len(there), names[-1])
        except OSError as error:
            raise cannot_write(mirror.folder / INDEX, error) from error
        finally:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(mirror.folder / INDEX, {"url": mirror.url, "when": now, "files": here})
    return Fetched(len(missing), len(gone), tuple(left_out))


def listing(url: str) -> tuple[Any, dict[str, tuple[str, int]], list[str]]:
    """The file system, and {name below the URL: (version, bytes)} of the files of its runs; sentences on those that
    cannot be files here. Raises UserError: it cannot be read, or holds no run."""
    where = location(url)
    fs, root = where.fs, where.path.rstrip("/")  # type: ignore[attr-defined]
    try:
        found = fs.find(root, detail=True)
    except Exception as error:  # each kind of storage has its own: no credentials, no network, no bucket
        raise UserError(f"{url} cannot be read ({error or type(error).__name__})") from error
    below = f"{root}/" if root else ""
    infos = {
        name.removeprefix(below): info
        for name, info in found.items()
        if info.get("type") != "directory" and name.startswith(below)
    }
    folders = {PurePosixPath(name).parent for name in infos if PurePosixPath(name).name in MARKS}
    files, left_out = dict[str, tuple[str, int]](), list[str]()
    for name, info in sorted(infos.items()):
        path = PurePosixPath(name)
        if not name or name.endswith("/") or any(part.startswith(".") and part != ".." for part in path.parts):
            continue  # what some storage shows in the place of a folder; hidden files
        if not folders & {*path.parents}:
            continue
        if str(path) != name or ".." in path.parts or name.startswith("/") or "\\" in name or visible(name) != name:
            left_out.append(f"{visible(name)}: no file of this machine can have this name")
        elif any(str(parent) in infos for parent in path.parents):
            left_out.append(f"{name}: it lies below a file")
        else:
            files[name] = version_of(info), int(info.get("size") or 0)
    if not files:
        raise UserError(f"{url} holds no run; a run is a folder with a run.json")
    return fs, files, left_out


def is_notes(name: str) -> bool:
    return PurePosixPath(name).name == notes_file.NAME


def version_of(info: dict[str, Any]) -> str:
    """What changes when a stored file does: its ETag, or else its size and times."""
    if etag := info.get("ETag") or info.get("etag") or info.get("md5Hash"):
        return str(etag)
    return " ".join(str(info.get(key)) for key in ("size", "LastModified", "mtime", "created", "last_modified"))


def fetch(fs: Any, root: str, folder: Path, names: list[str]) -> Iterator[str]:
    """Fetch these files, which but for notes are read-only here; the names of those that are here now.
    Raises UserError: the storage does not give them."""
    arriving = folder / ".fetching"
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir()
    waiting = [arriving / str(i) for i in range(len(names))]
    try:
        fs.get([f"{root}/{name}" if root else name for name in names], [str(path) for path in waiting])
    except OSError as error:
        if error.errno is not None and error.filename is not None:
            raise  # of this machine
        raise UserError(f"{names[0]} and others cannot be fetched ({error or type(error).__name__})") from error
    except Exception as error:
        raise UserError(f"{names[0]} and others cannot be fetched ({error or type(error).__name__})") from error
    for name, path in zip(names, waiting, strict=True):
        if not path.is_file():
            raise UserError(f"{name} cannot be fetched: it was removed meanwhile; the same command fetches the others")
        path.chmod(0o644 if is_notes(name) else 0o444)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        path.replace(folder / name)
        yield name
    shutil.rmtree(arriving, ignore_errors=True)


def refuse_without_room(mirror: Mirror, needed: int) -> None:
    free = shutil.disk_usage(mirror.folder).free
    if needed > free:
        raise UserError(
            f"{mirror.url} has {needed / 1e6:,.0f} MB to fetch, and {free / 1e6:,.0f} MB are free in {mirror.folder}; "
            "free some, or set XDG_CACHE_HOME to a folder with more room"
        )


def keep_fresh(mirror: Mirror, seconds: float, failed: Callable[[str], object]) -> threading.Event:
    """Refresh the mirror again and again, in the background, until the event is set; `failed` gets a sentence."""
    stop = threading.Event()

    def go() -> None:
        while not stop.wait(seconds):
            try:
                refresh(mirror)
            except (UserError, OSError) as error:
                failed(error_sentence(error))

    threading.Thread(target=go, daemon=True).start()
    return stop
