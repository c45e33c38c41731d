"""Saved views of the app: a name, a note and a link, each in a file of its own beside the runs.

    RUNS/.views/ID.json             a view
    RUNS/.views/.deleted/ID.json    one that was deleted, and can be put back

A view is written under a temporary name, synced and renamed, and is never changed: sessions that save at once lose
nothing, and a killed process leaves no half of one.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from analysis.runs.run_directory import location
from sth_core.errors import UserError, shorten
from sth_core.files import read_object, sync, system_reason, write_json
from sth_core.resumable import no_report
from sth_core.values import has_surrogates

FOLDER, DELETED = ".views", ".deleted"
LONGEST_VIEW_NAME, LONGEST_VIEW_NOTE = 100, 10_000  # characters


@dataclass(frozen=True)
class SavedView:
    """`page` is the page's path in the app's address ("" of the first one), `query` its parameters; `saved` is in UTC,
    ISO 8601."""

    file: Path
    name: str
    note: str
    page: str
    query: Mapping[str, Sequence[str]]
    saved: str

    @property
    def link(self) -> str:
        """What follows the app's address."""
        return f"{self.page}?{urlencode(self.query, doseq=True)}" if self.query else self.page


def views_folder(runs: Path) -> Path:
    return runs / FOLDER


def save_view(runs: Path, name: str, note: str, page: str, query: Mapping[str, Sequence[str]]) -> SavedView:
    """Raises UserError: the name is empty, too long or taken, or the file cannot be written."""
    if not isinstance(location(runs), Path):
        raise UserError(f"views cannot be kept in object storage ({runs}); copy the runs to a local folder")
    name, now = " ".join(name.split()), datetime.now(UTC)
    if not name or not name.isprintable() or has_surrogates(name) or len(name) > LONGEST_VIEW_NAME:
        raise UserError(f"{shorten(name)} cannot be a view's name; give 1 to {LONGEST_VIEW_NAME} printable characters")
    if len(note) > LONGEST_VIEW_NOTE:
        raise UserError(f"A view's note has at most {LONGEST_VIEW_NOTE:,} characters; this one has {len(note):,}.")
    if any(view.name == name for view in saved_views(runs)):
        raise UserError(f"there is a view with the name {name} already; choose another name, or delete that one")
    file = views_folder(runs) / f"{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}.json"
    view = SavedView(
        file, name, note.strip(), page, {k: list(v) for k, v in query.items()}, f"{now:%Y-%m-%dT%H:%M:%SZ}"
    )
    stored = {key: getattr(view, key) for key in ("name", "note", "page", "query", "saved")}
    write_json(file, stored)
    sync(file.parent)
    return view


def saved_views(runs: Path, damaged: Callable[[str], object] = no_report, *, deleted: bool = False) -> list[SavedView]:
    """All views, or the deleted ones, the newest first; `damaged` is told of each file that cannot be read."""
    folder = views_folder(runs) / DELETED if deleted else views_folder(runs)
    try:
        files = sorted((file for file in folder.iterdir() if file.suffix == ".json"), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        damaged(f"{folder} cannot be read ({system_reason(error)})")
        return []
    found = []
    for file in files:
        if file.name.startswith("."):  # which a process writes now, or was killed while writing
            continue
        try:
            found.append(read_view(file))
        except UserError as error:
            damaged(str(error))
    return found


def read_view(file: Path) -> SavedView:
    """Raises UserError: it cannot be read, or is no view."""
    said = read_object(file)
    for key in ("name", "note", "page", "saved"):
        if not isinstance(said.get(key), str) or has_surrogates(said[key]):
            raise UserError(f"{file} is damaged ({key} is {shorten(said.get(key))})")
    query = said.get("query")
    if not isinstance(query, dict) or not all(is_list_of_texts(values) for values in query.values()):
        raise UserError(f"{file} is damaged (query is {shorten(query)})")
    return SavedView(file, said["name"], said["note"], said["page"], query, said["saved"])


def is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and not has_surrogates(one) for one in value)


def delete_view(view: SavedView) -> None:
    """Move it to the deleted ones; nothing if somebody else has."""
    move(view.file, view.file.parent / DELETED / view.file.name)


def restore_view(view: SavedView) -> None:
    """Put a deleted one back."""
    move(view.file, view.file.parent.parent / view.file.name)


def move(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        file.replace(target)
    except FileNotFoundError:
        return
    sync(target.parent)
    sync(file.parent)
