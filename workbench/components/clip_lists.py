"""The list through which one steps on the Clip page: the clips of a cell, of a filter, of a gallery. It is in the
address, so that a link that is copied has it too; the rows of a long list are in the user's cache folder instead."""

import sqlite3
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from analysis.runs.large_runs import sample_every
from analysis.runs.run_directory import Run
from sth_core.errors import UserError
from sth_core.files import cache_folder
from workbench.components.context import READ_ALL, run_id

FROM, LIST = "from", "list"  # the URL's parameters: the list's name, and its rows
BESIDE = "with"  # and the run whose network is shown beside the run's
MOST_IN_LINK = 80  # clips; a longer list would make links too long
LONGEST_NAME = 300  # characters
KEPT = "kept-"  # begins the parameter of a list that is not in the link
MOST_OFFERED, MOST_KEPT = 50, 1000  # lists: of links on pages, and that were opened
MARK = 4  # bytes that tell of which run a list is
UNUSABLE = (sqlite3.Error, OSError, RuntimeError, zlib.error)  # a full disk, a damaged file, no home folder

offered: dict[str, bytes] = {}  # long lists of links that may be opened


@dataclass(frozen=True)
class ClipList:
    """Clips in an order, by their rows in the run's table (`cached_overview`), and what they are."""

    name: str
    rows: NDArray[np.intp]
    word: str = ""  # stands for the rows in the URL, if every run has such a list

    def position(self, row: int) -> int | None:
        """Where the clip is, from 0; None if it is not in the list."""
        found = np.flatnonzero(self.rows == row)
        return int(found[0]) if len(found) else None


def list_query(run: Run, listed: ClipList) -> dict[str, str]:
    """The URL's parameters of a list of clips of this run; none of an empty one."""
    if not len(listed.rows):
        return {}
    whole = {READ_ALL: "true"} if sample_every(run) > run.every else {}  # the rows are those of all clips
    if listed.word:
        return {LIST: listed.word} | whole
    content = mark_of(run) + np.asarray(listed.rows).astype("<u4").tobytes()
    name = {FROM: listed.name[:LONGEST_NAME]} | whole
    if len(listed.rows) <= MOST_IN_LINK:
        return name | {LIST: urlsafe_b64encode(zlib.compress(content, 9)).decode().rstrip("=")}
    which = blake2b(content, digest_size=12).hexdigest()
    offered[which] = content
    while len(offered) > MOST_OFFERED:
        offered.pop(next(iter(offered)), None)
    return name | {LIST: KEPT + which}


def linked_list(run: Run, clips: int, query: Mapping[str, str]) -> ClipList | None:
    """The list that the URL names, of a run with so many clips; None if it names none.

    Raises:
        UserError: it is damaged, of another run, or was kept elsewhere.
    """
    text = query.get(LIST)
    if not text:
        return None
    content = recall(text.removeprefix(KEPT)) if text.startswith(KEPT) else unpacked(text)
    if content[:MARK] != mark_of(run):
        raise UserError("The list in this link is of another run.")
    rows = np.frombuffer(content[MARK:], "<u4").astype(np.intp)
    if not len(rows) or rows.max() >= clips or len(np.unique(rows)) < len(rows):
        raise UserError("The list in this link names clips that this run does not have.")
    return ClipList(query.get(FROM, "")[:LONGEST_NAME] or "a link", rows)


def mark_of(run: Run) -> bytes:
    """Tells a recording, and a sample of it, from others: there the same row is another clip."""
    recording = f"{run_id(run)} {run.meta.get('checkpoint_sha256')} {run.meta.get('started')}"
    if run.every > 1:  # its table has other rows
        recording += f" {run.every}"
    return blake2b(recording.encode(), digest_size=MARK).digest()


def unpacked(text: str) -> bytes:
    most = MARK + 4 * MOST_IN_LINK
    try:
        packed = zlib.decompressobj()
        content = packed.decompress(urlsafe_b64decode(text + "=" * (-len(text) % 4)), most + 1)
    except (ValueError, zlib.error) as error:
        raise UserError("The list in this link is damaged.") from error
    if not packed.eof or len(content) > most or len(content) % 4:
        raise UserError("The list in this link is damaged.")
    return content


def recall(which: str) -> bytes:
    """The content of a long list, which is kept from now on."""
    with suppress(*UNUSABLE), closing(open_lists()) as kept, kept:
        if content := offered.get(which):
            kept.execute("INSERT OR IGNORE INTO lists VALUES (?, ?)", [which, zlib.compress(content)])
            kept.execute("DELETE FROM lists WHERE rowid <= (SELECT max(rowid) FROM lists) - ?", [MOST_KEPT])
            return content
        if row := kept.execute("SELECT content FROM lists WHERE id = ?", [which]).fetchone():
            return zlib.decompress(row[0])
    if content := offered.get(which):
        return content
    raise UserError(f"The list in this link has more than {MOST_IN_LINK} clips, and is not kept on this computer.")


def open_lists() -> sqlite3.Connection:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    kept = sqlite3.connect(folder / "lists.sqlite", timeout=10)
    kept.execute("PRAGMA synchronous = OFF")  # what is lost was a list, not its clips
    kept.execute("CREATE TABLE IF NOT EXISTS lists (id TEXT UNIQUE, content BLOB)")
    return kept
