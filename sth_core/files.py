"""Files that are either whole or not there."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sth_core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A path to write to; it takes the name `path` when the block ends well, and goes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: Exception) -> UserError:
    """What to raise when a library failed to write to `temporary_beside(path)`, most often for want of space."""
    free = shutil.disk_usage(path.parent).free / 1e6
    return UserError(f"cannot write {path} ({error}; {free:.0f} MB are free there); what was written before is kept")


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


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table without its index; the same table gives the same bytes on every system."""
    with write_atomically(path) as file:
        table.to_csv(file, index=False, lineterminator="\n")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():  # which some file systems cannot do
            raise
    finally:
        os.close(handle)
