"""Where runs lie below a folder, whatever links there are."""

import errno
import os
from collections.abc import Collection
from pathlib import Path

from sth_core.datasets.media import printable
from sth_core.errors import UserError
from sth_core.files import system_reason, system_sentence


def run_folders(
    folder: Path, file: str = "run.json", parts: Collection[str] = ()
) -> tuple[list[Path], dict[Path, str]]:
    """(the folders at or below `folder` that hold this file, {folder: why} of those that cannot be read).

    Links to folders are followed. A folder to which several paths lead is read once, by the path without links if
    there is one: a link to a folder above it adds nothing. Folders whose name begins with a dot are left out, and so
    are those of these names, its `parts`, in a folder that holds the file.

    Raises:
        UserError: `folder` itself cannot be read.
    """
    found: list[Path] = []
    unread: dict[Path, str] = {}
    seen: set[tuple[int, int]] = set()
    waiting, linked = [folder], list[Path]()
    while waiting or linked:
        here = waiting.pop() if waiting else linked.pop()
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                if not os.access(here, os.X_OK):  # its names may be read, and nothing else of it
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(here))
                children = [entry for entry in entries if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            continue  # there is none, or it has just been removed
        except OSError as error:
            if here == folder:
                raise UserError(system_sentence(error)) from error
            unread[here] = f"the folder cannot be read ({system_reason(error)})"
            continue
        if any(entry.name == file for entry in children):
            children = [entry for entry in children if entry.name not in parts]
            if (name := printable(str(here))) == str(here):
                found.append(here)
            else:
                unread[Path(name)] = "its name is not UTF-8; rename the folder"
        for entry in children:
            if leads_to_folder(entry):
                (linked if entry.is_symlink() else waiting).append(here / entry.name)
    return sorted(found), unread


def leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
