"""Notes and tags on a run's clips, in RUN/notes.sqlite: changes are appended, nothing is overwritten.

The file keeps each tag that was added or removed and each saved text of a note, so that two people who write at once
lose nothing. Every call opens the file, does one short transaction and closes it: tabs, threads and processes share
only the file, and a killed process leaves it as it was before or after its transaction.
"""

import errno
import json
import os
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.runs.run_directory import Run, query
from sth_core.errors import UserError
from sth_core.files import WAYS, inert

LONGEST_TAG, LONGEST_NOTE = 60, 10_000  # characters
PATIENCE, READING_PATIENCE = 15.0, 3.0  # seconds that a write, and a page, waits for another's transaction
VERSION = 0  # of the file, its `user_version`; a later version of this program may write others
TAG, UNTAG, NOTE, ASIDE = "tag", "untag", "note", "aside"  # kinds of change; ASIDE: the text that lost a conflict
SCHEMA = """CREATE TABLE IF NOT EXISTS history (
    version INTEGER PRIMARY KEY AUTOINCREMENT, clip_id TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    changed TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now')))"""
HISTORY = (
    "SELECT version, clip_id, kind, text, changed FROM history WHERE clip_id = coalesce(?, clip_id) ORDER BY version"
)
LEADS_OUT = "{} is a link out of its run's folder, and is not followed; put the file itself there."
CLASSIFICATION = "fiftyone.core.fields.EmbeddedDocumentField(fiftyone.core.labels.Classification)"
STRING = "fiftyone.core.fields.StringField"
FIELDS = {"clip_id": STRING, "ground_truth": CLASSIFICATION, "prediction": CLASSIFICATION, "note": STRING}


@dataclass(frozen=True)
class Change:
    """A row of the history; `changed` is in UTC, ISO 8601."""

    version: int
    clip_id: str
    kind: str
    text: str
    changed: str


@dataclass(frozen=True)
class Note:
    """A clip's note, as of `version`; without a note the version is 0 and the text empty."""

    text: str = ""
    version: int = 0
    changed: str = ""


class Conflict(UserError):
    """Somebody saved `current` meanwhile: it stays the note, and the later text is in the history."""

    def __init__(self, current: Note) -> None:
        super().__init__("This note was changed meanwhile; put the two texts together and save again.")
        self.current = current


def _file(run: Run) -> Path:
    return run.path / "notes.sqlite"


def why_not_kept(run: Run) -> str:
    """A sentence that says why notes cannot be written beside this run; empty if they can."""
    if not isinstance(run.path, Path):
        return f"Notes cannot be kept in object storage ({run.path}); copy the run to a local folder."
    file = _file(run)
    if leads_out(run):
        return LEADS_OUT.format(file)
    if not os.access(run.path, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
        return f"Notes cannot be kept in {run.path}, as it is read-only; copy the run to a folder of your own."
    return ""


def leads_out(run: Run) -> bool:
    """Whether notes.sqlite is a link out of the run's folder, to a file that a run from elsewhere must not name."""
    file = _file(run)
    return file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(run.path))


def _failure(error: Exception) -> str:
    locked = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return f"{error}; another program holds it: close it there, and try again" if locked else str(error)


def _without(text: str, categories: tuple[str, ...], but: str = "") -> str:
    """`text` without the characters of these Unicode categories, except those in `but`."""
    return "".join(c for c in text if c in but or unicodedata.category(c) not in categories)


def _clean_tag(tag: str) -> str:
    """One line without control and invisible characters, which would make two tags look the same."""
    tag = " ".join(_without(" ".join(tag.split()), ("Cc", "Cf", "Cs")).split())
    tag = unicodedata.normalize("NFC", tag)
    if not tag:
        raise UserError("A tag needs a letter, a digit or a sign.")
    if len(tag) > LONGEST_TAG:
        raise UserError(f"A tag has at most {LONGEST_TAG} characters; this one has {len(tag)}.")
    return tag


def _tags(changes: list[Change]) -> list[str]:
    last = {change.text: change for change in changes if change.kind in (TAG, UNTAG)}
    return [change.text for change in sorted(last.values(), key=lambda c: c.version) if change.kind == TAG]


def _note(changes: list[Change]) -> Note:
    return next((Note(c.text, c.version, c.changed) for c in reversed(changes) if c.kind == NOTE), Note())


def _check_version(connection: sqlite3.Connection) -> None:
    """Raises DatabaseError: a later version of this program wrote the file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise sqlite3.DatabaseError(f"a newer version of this program wrote it, in format {version}; use that version")


def _changes(connection: sqlite3.Connection, clip_id: str | None = None) -> list[Change]:
    """The changes of one clip, or of all, in order. Raises DatabaseError: they are not as this version writes them."""
    _check_version(connection)
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'history'").fetchone() is None:
        return []  # the process that made the file was killed before its first transaction
    rows = connection.execute(HISTORY, [clip_id]).fetchall()
    if any(list(map(type, row)) != [int, str, str, str, str] for row in rows):
        raise sqlite3.DatabaseError("a value in it is of another type than was written")
    return [Change(*row) for row in rows]


def _append(connection: sqlite3.Connection, clip_id: str, kind: str, text: str) -> None:
    connection.execute("INSERT INTO history (clip_id, kind, text) VALUES (?, ?, ?)", [clip_id, kind, text])


def _read(run: Run, clip_id: str | None = None) -> list[Change]:
    if not isinstance(run.path, Path) or not os.path.lexists(_file(run)):
        return []
    if leads_out(run):
        raise UserError(LEADS_OUT.format(_file(run)))
    # To read, SQLite makes two files beside this one, which it cannot in a read-only folder; "immutable" makes none,
    # but does not notice other writers.
    for way in ("mode=rw", "immutable=1") if why_not_kept(run) else ("mode=rw",):
        try:
            address = f"{_file(run).absolute().as_uri()}?{way}"
            with closing(sqlite3.connect(address, uri=True, timeout=READING_PATIENCE)) as connection:
                return _changes(connection, clip_id)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            failure = error
    refused = f"{os.strerror(errno.EACCES)}; {WAYS[errno.EACCES]}"
    why = _failure(failure) if os.access(_file(run), os.R_OK) else refused
    raise UserError(f"{_file(run)} cannot be read ({why}).") from failure


@contextmanager
def _writing(run: Run, clip_id: str) -> Iterator[sqlite3.Connection]:
    """A transaction that excludes other writers; it is committed when the block ends without an exception."""
    if reason := why_not_kept(run):
        raise UserError(reason)
    if query(run, "predictions", "SELECT 1 FROM {files} WHERE clip_id = ? LIMIT 1", [clip_id]).empty:
        raise UserError(f"{run.path} has no clip {clip_id!r}.")
    try:
        with closing(sqlite3.connect(_file(run), timeout=PATIENCE, isolation_level=None)) as connection:
            _check_version(connection)
            with suppress(sqlite3.OperationalError):  # a file system without shared memory, or another process does it
                connection.execute("PRAGMA journal_mode = WAL")  # readers wait for nobody
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(SCHEMA)
            yield connection
            connection.execute("COMMIT")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise UserError(f"Notes cannot be written to {_file(run)} ({_failure(error)}).") from error


def tags_of(run: Run, clip_id: str) -> list[str]:
    """The clip's tags in the order in which they were added."""
    return _tags(_read(run, clip_id))


def add_tag(run: Run, clip_id: str, tag: str) -> None:
    """Tag a clip, unless it has this tag already.

    Raises:
        UserError: the run has no such clip, the tag is empty or too long, or nothing can be written.
    """
    tag = _clean_tag(tag)
    with _writing(run, clip_id) as connection:
        if tag not in _tags(_changes(connection, clip_id)):
            _append(connection, clip_id, TAG, tag)


def remove_tag(run: Run, clip_id: str, tag: str) -> None:
    """Remove a tag from a clip, if the clip has it.

    Raises:
        UserError: the run has no such clip, or nothing can be written.
    """
    with _writing(run, clip_id) as connection:
        if tag in _tags(_changes(connection, clip_id)):
            _append(connection, clip_id, UNTAG, tag)


def note_of(run: Run, clip_id: str) -> Note:
    """The clip's note; `save_note` needs its version."""
    return _note(_read(run, clip_id))


def save_note(run: Run, clip_id: str, text: str, seen_version: int) -> Note:
    """Save the text of a user who saw `seen_version` of the note; an empty text removes the note.

    Raises:
        Conflict: the note has another version and text by now; `text` is kept in the history.
        UserError: the run has no such clip, the text is too long, or nothing can be written.
    """
    text = _without(text.replace("\r\n", "\n"), ("Cc", "Cs"), but="\n\t").rstrip()
    if len(text) > LONGEST_NOTE:
        raise UserError(f"A note has at most {LONGEST_NOTE:,} characters; this one has {len(text):,}.")
    with _writing(run, clip_id) as connection:
        current = _note(_changes(connection, clip_id))
        if text == current.text:
            return current
        up_to_date = current.version == seen_version
        _append(connection, clip_id, NOTE if up_to_date else ASIDE, text)
        saved = _note(_changes(connection, clip_id))
    if not up_to_date:
        raise Conflict(current)
    return saved


def history_of(run: Run, clip_id: str) -> list[Change]:
    """All changes of the clip's notes and tags, the oldest first."""
    return _read(run, clip_id)


def notes_table(run: Run) -> pd.DataFrame:
    """A row per clip with a note or a tag, in its order: clip_id, tags (a list), note, changed (UTC, ISO 8601)."""
    of_clip: dict[str, list[Change]] = {}
    for change in _read(run):
        of_clip.setdefault(change.clip_id, []).append(change)
    rows = [(clip_id, _tags(of), _note(of).text, of[-1].changed) for clip_id, of in sorted(of_clip.items())]
    return pd.DataFrame([row for row in rows if row[1] or row[2]], columns=["clip_id", "tags", "note", "changed"])


def tag_counts(run: Run) -> dict[str, int]:
    """The run's tags and on how many clips each is, the most used first."""
    counts = notes_table(run)["tags"].explode().value_counts().sort_index()
    return counts.sort_values(ascending=False, kind="stable").to_dict()


def clips_with(run: Run, tags: list[str]) -> set[str]:
    """The clips that have all of these tags; without tags, the clips that have a note or any tag."""
    table = notes_table(run)
    return {clip for clip, has in zip(table["clip_id"], table["tags"], strict=True) if set(tags) <= set(has)}


def to_csv(run: Run) -> str:
    """`notes_table` as CSV, the tags of a clip one a line in their cell.

    No cell is a formula to a spreadsheet (`sth_core.files.inert`).
    """
    table = notes_table(run)
    cells = table.assign(tags=table["tags"].str.join("\n"))
    return cells.map(inert).to_csv(index=False, lineterminator="\r\n")


def to_fiftyone(run: Run, annotated_only: bool = True) -> str:
    """JSON for FiftyOne's `Dataset.from_json`: a sample per clip, with its tags, note, label and prediction.

    With `annotated_only` of the clips in `notes_table`, else of all that the run has.
    """
    noted = {row.clip_id: row for row in notes_table(run).itertuples(index=False)}
    sql = "SELECT clip_id, path, label, prediction, confidence FROM {files} ORDER BY clip_id"
    samples = []
    for clip in query(run, "predictions", sql).itertuples(index=False):
        row = noted.get(clip.clip_id)
        if row is None and annotated_only:
            continue
        prediction = {"_cls": "Classification", "label": clip.prediction, "confidence": float(clip.confidence)}
        samples.append(
            {
                "filepath": clip.path,
                "tags": row.tags if row else [],
                "clip_id": clip.clip_id,
                "ground_truth": {"_cls": "Classification", "label": clip.label} if clip.label else None,
                "prediction": prediction,
                "note": row.note or None if row else None,
            }
        )
    # FiftyOne refuses samples with fields that are not declared.
    dataset = {"name": run.name, "media_type": "video", "sample_fields": FIELDS, "samples": samples}
    return json.dumps(dataset, indent=1, ensure_ascii=False)
