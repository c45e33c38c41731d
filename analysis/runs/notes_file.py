"""The file of a run's notes and tags, RUN/notes.sqlite: changes are appended, nothing is overwritten.

Every call opens the file, does one short transaction and closes it: tabs, threads and processes share only the file,
and a killed process leaves it as it was before or after its transaction.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from analysis.runs.run_directory import Run, query
from sth_core.errors import UserError
from sth_core.files import WAYS

NAME = "notes.sqlite"
PATIENCE, READING_PATIENCE = 15.0, 3.0  # seconds that a write, and a page, waits for another's transaction
VERSION = 0  # of the file, its `user_version`; a later version of this program may write others
SCHEMA = """CREATE TABLE IF NOT EXISTS history (
    version INTEGER PRIMARY KEY AUTOINCREMENT, clip_id TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    changed TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now')))"""
HISTORY = (
    "SELECT version, clip_id, kind, text, changed FROM history WHERE clip_id = coalesce(?, clip_id) ORDER BY version"
)
LEADS_OUT = "{} is a link out of its run's folder, and is not followed; put the file itself there."


@dataclass(frozen=True)
class Change:
    """A row of the history; `changed` is in UTC, ISO 8601."""

    version: int
    clip_id: str
    kind: str
    text: str
    changed: str


def notes_file(run: Run) -> Path:
    return run.path / NAME


def why_not_kept(run: Run) -> str:
    """A sentence that says why notes cannot be written beside this run; empty if they can."""
    if not isinstance(run.path, Path):
        return f"Notes cannot be kept in object storage ({run.path}); copy the run to a local folder."
    file = notes_file(run)
    if leads_out(run):
        return LEADS_OUT.format(file)
    if not os.access(run.path, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
        return f"Notes cannot be kept in {run.path}, as it is read-only; copy the run to a folder of your own."
    return ""


def leads_out(run: Run) -> bool:
    """Whether notes.sqlite is a link out of the run's folder, to a file that a run from elsewhere must not name."""
    file = notes_file(run)
    return file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(run.path))


def _failure(error: Exception) -> str:
    locked = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return f"{error}; another program holds it: close it there, and try again" if locked else str(error)


def _check_version(connection: sqlite3.Connection) -> None:
    """Raises DatabaseError: a later version of this program wrote the file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise sqlite3.DatabaseError(f"a newer version of this program wrote it, in format {version}; use that version")


def changes_in(connection: sqlite3.Connection, clip_id: str | None = None) -> list[Change]:
    """The changes of one clip, or of all, in order. Raises DatabaseError: they are not as this version writes them."""
    _check_version(connection)
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'history'").fetchone() is None:
        return []  # the process that made the file was killed before its first transaction
    rows = connection.execute(HISTORY, [clip_id]).fetchall()
    if any(list(map(type, row)) != [int, str, str, str, str] for row in rows):
        raise sqlite3.DatabaseError("a value in it is of another type than was written")
    return [Change(*row) for row in rows]


def append_change(connection: sqlite3.Connection, clip_id: str, kind: str, text: str) -> None:
    connection.execute("INSERT INTO history (clip_id, kind, text) VALUES (?, ?, ?)", [clip_id, kind, text])


def read_changes(run: Run, clip_id: str | None = None) -> list[Change]:
    if not isinstance(run.path, Path) or not os.path.lexists(notes_file(run)):
        return []
    if leads_out(run):
        raise UserError(LEADS_OUT.format(notes_file(run)))
    # To read, SQLite makes two files beside this one, which it cannot in a read-only folder; "immutable" makes none,
    # but does not notice other writers.
    for way in ("mode=rw", "immutable=1") if why_not_kept(run) else ("mode=rw",):
        try:
            address = f"{notes_file(run).absolute().as_uri()}?{way}"
            with closing(sqlite3.connect(address, uri=True, timeout=READING_PATIENCE)) as connection:
                return changes_in(connection, clip_id)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            failure = error
    refused = f"{os.strerror(errno.EACCES)}; {WAYS[errno.EACCES]}"
    why = _failure(failure) if os.access(notes_file(run), os.R_OK) else refused
    raise UserError(f"{notes_file(run)} cannot be read ({why}).") from failure


@contextmanager
def writing_notes(run: Run, *clip_ids: str) -> Iterator[sqlite3.Connection]:
    """A transaction that excludes other writers; it is committed when the block ends without an exception."""
    if reason := why_not_kept(run):
        raise UserError(reason)
    there = "SELECT clip_id FROM {files} WHERE clip_id IN (SELECT unnest(?::VARCHAR[]))"
    if missing := set(clip_ids) - set(query(run, "predictions", there, [list(clip_ids)])["clip_id"]):
        raise UserError(f"{run.path} has no clip {min(missing)!r}.")
    try:
        with closing(sqlite3.connect(notes_file(run), timeout=PATIENCE, isolation_level=None)) as connection:
            _check_version(connection)
            with suppress(sqlite3.OperationalError):  # a file system without shared memory, or another process does it
                connection.execute("PRAGMA journal_mode = WAL")  # readers wait for nobody
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(SCHEMA)
            yield connection
            connection.execute("COMMIT")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise UserError(f"Notes cannot be written to {notes_file(run)} ({_failure(error)}).") from error
