"""Files that are either whole or not there."""

import csv
import errno
import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sth_core.errors import UserError, shorten

if TYPE_CHECKING:
    import pandas as pd

LONGEST_NAME = 200  # bytes, of which a temporary name is made; with what is added, no name may have more than 255
FORMULA = re.compile(r"\s*[=+\-@'＝＋－＠]|[\t\r]")  # a spreadsheet computes a cell that begins so; ' is doubled
HARMLESS = re.compile(r"-|[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # a dash that stands for nothing, a number
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]  # several machines may write into one folder
LEFTOVER = re.compile(r"\.(?P<stem>.*)\.(?P<host>[0-9a-f]{6})\.(?P<pid>\d{1,9})\.part(\..*)?", re.DOTALL)
WAYS = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space: the quota is used up",
    errno.EACCES: "give yourself the right, or name another place",
    errno.EPERM: "give yourself the right, or name another place",
    errno.EROFS: "name another place",
    errno.EIO: "check the disk or the network mount",
    errno.ESTALE: "mount it again",
    errno.ENOTCONN: "mount it again",
    errno.EFBIG: "raise the largest size of a file, or name another place",
    errno.EMFILE: "raise the number of open files (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EEXIST: "choose another name",
    errno.ENOTDIR: "a file lies where a folder is wanted",
}


# Of a file that may be whole: another user, more open files, or the mount being back may read it.
MAY_BE_WHOLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EMFILE, errno.ENFILE)


def cache_folder() -> Path:
    """Where what is computed once of a file is kept for all processes. Raises RuntimeError: there is no home folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sth-workbench"


def system_reason(error: OSError) -> str:
    """Why the system refused, and what to do, for a sentence that names the file."""
    if error.errno in WAYS:  # whose text may be a library's: "Error writing bytes to file. Detail: ..."
        return f"{os.strerror(error.errno)}; {WAYS[error.errno]}"
    return error.strerror or str(error)


def system_sentence(error: OSError) -> str:
    """What the system refused, of which file, and what to do."""
    name = error.filename2 or error.filename
    return f"{os.fsdecode(name)}: {system_reason(error)}" if isinstance(name, str | bytes) else system_reason(error)


def error_sentence(error: UserError | OSError) -> str:
    """What a user is told of what the user or the system did not allow."""
    return system_sentence(error) if isinstance(error, OSError) else str(error)


def why_unread(error: Exception) -> str:
    """Why a file could not be read, in one line, for a sentence that names it; of Arrow's some end with a new line."""
    return " ".join((system_reason(error) if isinstance(error, OSError) else str(error)).split())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError without a file's name, as reading, writing and locking raise it, gets that of `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A path to write to; it takes the name `path` when the block ends well, and goes when it does not.

    Raises UserError: the system refuses to write there."""
    temporary = path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{short_name(path.name, path.stem)}{written_by_me()}{path.suffix[:50]}")
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)) in (temporary, path, path.parent):
            raise cannot_write(path, error) from error
        raise  # of another file, which it names
    finally:
        if temporary != path:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def written_by_me() -> str:
    """The end of a temporary name (`LEFTOVER`), which says what process of what machine writes it."""
    return f".{HOST}.{os.getpid()}.part"


def short_name(name: str, shown: str) -> str:
    """`shown`, or the checksum of `name` if that is so long that nothing can be added to it."""
    return shown if len(os.fsencode(name)) <= LONGEST_NAME else hashlib.sha256(os.fsencode(name)).hexdigest()


def cannot_write(path: Path, error: Exception) -> UserError:
    """What to raise when a library failed to write to `temporary_beside(path)`, most often for want of space."""
    reason = system_reason(error) if isinstance(error, OSError) else str(error)
    with suppress(OSError):
        reason += f"; {shutil.disk_usage(path.parent).free / 1e6:.0f} MB are free there"
    return UserError(f"cannot write {path} ({reason}); what was written before is kept")


@contextmanager
def write_atomically(path: Path) -> Iterator[IO[str]]:
    """An open text file that becomes `path` when the block ends well."""
    with temporary_beside(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    with write_atomically(path) as file:
        file.write(json.dumps(value, indent=2) + "\n")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object that `write_json` wrote. Raises UserError: the file cannot be read, or holds something else."""
    try:
        with naming(path):
            value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({system_reason(error)})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (it holds {shorten(value)}, not a JSON object)")
    return value


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table without its index; the same table gives the same bytes on every system."""
    with write_atomically(path) as file:
        file.write(csv_text(table))


def csv_text(table: "pd.DataFrame") -> str:
    """A table without its index as CSV, in which no text is a formula: see `inert`."""
    cells = table.copy(deep=False)
    of_text = [i for i, kind in enumerate(cells.dtypes) if kind.kind not in "biufM"]  # no numbers, dates, true or false
    for i in of_text:
        cells.isetitem(i, cells.iloc[:, i].astype(object).map(inert))
    cells = cells.rename(columns=inert)
    # The csv module quotes no cell for a carriage return alone, at which readers would begin another row.
    broken = any("\r" in str(cell) for i in of_text for cell in (cells.columns[i], *cells.iloc[:, i]))
    quoting = csv.QUOTE_NONNUMERIC if broken else csv.QUOTE_MINIMAL
    return cells.to_csv(index=False, lineterminator="\n", quoting=quoting)


def inert(cell: Any) -> Any:
    """A cell that a spreadsheet shows and does not compute: text that begins like a formula gets a ' in front.

    A text that begins with ' gets one too, so that `as_written` gives back what was there. Numbers stay.
    Source: OWASP, "CSV Injection".
    """
    formula = isinstance(cell, str) and FORMULA.match(cell) and not HARMLESS.fullmatch(cell)
    return f"'{cell}" if formula else cell


def as_written(cell: Any) -> Any:
    """The text of which `inert` made this cell."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and FORMULA.match(cell, 1) else cell


def read_csv(path: Path) -> "pd.DataFrame":
    """A table of `write_csv`, all cells as text."""
    import pandas as pd

    with naming(path):
        return pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns=as_written).map(as_written)


def sha256(path: Path) -> str:
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    except OSError:
        if not path.is_dir():  # which some file systems cannot do
            raise
    finally:
        os.close(handle)
